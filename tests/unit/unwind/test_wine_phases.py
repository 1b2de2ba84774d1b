"""Threads that were stopped inside of a dispatcher, before each of its instructions."""

from __future__ import annotations

import pytest

from tests.build.wine import WineProcess
from tests.build.wine_dispatcher import Instruction
from tests.build.wine_eras import ERAS
from tests.build.wine_thread import WineThread
from tests.unit.unwind.wine_walks import check, check_stack, made, stacks

every = pytest.mark.parametrize(("version", "bits"), ERAS)
with_unix_calls = pytest.mark.parametrize(
    ("version", "bits"), [each for each in ERAS if int(each[0].split(".")[0]) >= 8]
)


def instructions(process: WineProcess, *, unix_call: bool = False) -> list[Instruction]:
    made = process.unix_dispatcher if unix_call else process.syscall_dispatcher
    assert made is not None
    return made.instructions


def in_callback(thread: WineThread) -> WineThread:
    """In Windows code that a system call of other Windows code called back."""
    if not thread.era.resume:
        return thread.call("main", "odd")
    thread.call("main", "odd").syscall("NtCreateWindow", "send_message")
    return thread.callback("window_procedure", "deep")


@every
@pytest.mark.parametrize("by_teb_pointer", [False, True])
def test_system_calls(version: str, bits: int, by_teb_pointer: bool) -> None:
    process = made(version, bits, by_teb_pointer=by_teb_pointer)
    for each in instructions(process):
        process.thread().call("main", "recurse", "work").syscall(stop=each.name)
    check(process)


@every
def test_system_calls_in_a_callback(version: str, bits: int) -> None:
    """There is an older frame, which is not the one."""
    process = made(version, bits)
    for each in instructions(process):
        in_callback(process.thread()).syscall(stop=each.name)
    check(process)


@every
def test_the_second_system_call(version: str, bits: int) -> None:
    """The frame still has the registers of the first: stale, but not to look at."""
    process = made(version, bits)
    for each in instructions(process):
        thread = process.thread().call("main", "odd", "deep", "recurse").syscall().go_back()
        thread.call("filter").syscall(stop=each.name)
    check(process)


@with_unix_calls
def test_calls_of_unix_libraries(version: str, bits: int) -> None:
    process = made(version, bits)
    for each in instructions(process, unix_call=True):
        thread = process.thread().call("main", "odd").syscall().go_back()
        thread.call("unix_caller").unix_call(stop=each.name)
        in_callback(process.thread()).call("odd").unix_call(stop=each.name)
    check(process)


@every
def test_suspended_there(version: str, bits: int) -> None:
    """A signal interrupted the dispatcher: the third stack, and whichever of the others."""
    process = made(version, bits)
    for each in instructions(process):
        in_callback(process.thread()).syscall(stop=each.name).signal("handler", "wait_suspend")
    check(process)


@pytest.mark.parametrize(
    ("version", "bits"), [each for each in ERAS if each[0] not in ("6.11", "6.16", "7.20")]
)
def test_on_the_way_into_a_callback(version: str, bits: int) -> None:
    """Unix code that has left its stack, and its frame pointer since 9.0."""
    process = made(version, bits)
    for depth in (1, 2):
        thread = process.thread().call("main", "odd")
        for _ in range(depth):
            thread.syscall("NtCreateWindow", "send_message")
            thread.callback(*["window_procedure"] * (_ + 1 < depth), entering=_ + 1 == depth)
    # The same code before it has left its stack.
    process.thread().call("main").syscall("NtCreateWindow", "call_user_mode_callback")
    process.threads[-1].registers[process.threads[-1].pc_name] = process.threads[0].pc
    for order in (None, [2, 1, 0]):
        found = stacks(process, process.core(order=order).build())
        for index, stack in zip(order or range(3), found, strict=True):
            check_stack(process.threads[index], stack)
