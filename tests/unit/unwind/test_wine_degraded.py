"""Walks where something is missing that they go by: what is left is right, or said to be missing.

Nothing may be left out in silence: above all not the Windows half of a stack, or the Unix half
of a callback, in a stack that is said to be complete.
"""

from __future__ import annotations

import pytest

from tests.build.wine import WineProcess
from tests.build.wine_eras import ERAS, WITH_CALLBACKS
from tests.build.wine_thread import WineThread
from tests.unit.unwind.wine_walks import check, frames, made, report, stacks, words
from unspool.model import Stack, StopReason

every = pytest.mark.parametrize(("version", "bits"), ERAS)
with_callbacks = pytest.mark.parametrize(("version", "bits"), WITH_CALLBACKS)


def check_sure(thread: WineThread, stack: Stack) -> None:
    """Each frame is one of the thread's, in order; what is left out is said to be."""
    wanted = words(thread, list(thread.expected()))
    found = words(thread, frames(stack))
    left = iter(wanted)
    assert all(each in left for each in found), f"{found} of {wanted}"
    if found != wanted:
        assert stack.gaps or stack.stop.reason != StopReason.ROOT, f"{found} of {wanted}"


def nested(process: WineProcess, *last: str) -> WineThread:
    """A thread with Unix code in between, in functions that need no registers of others."""
    thread = process.thread().call("main", "plain").syscall("NtCreateWindow", "server_wait")
    return thread.callback("plain", *last)


# --- code without unwind data ---------------------------------------------------------


@with_callbacks
def test_a_guess_may_lead_to_a_callback(version: str, bits: int) -> None:
    """The rows of KiUserCallbackDispatcher lead nowhere, and that speaks not against it."""
    process = made(version, bits)
    nested(process, "generated").syscall()
    process.thread().call("main").syscall("NtCreateWindow").callback("generated").syscall()
    process.thread().call("main", "generated").syscall("NtCreateWindow").callback("plain").syscall()
    for thread, stack in zip(process.threads, stacks(process), strict=True):
        assert words(thread, frames(stack)) == words(thread, list(thread.expected()))


@every
def test_two_null_words_are_no_end(version: str, bits: int) -> None:
    """The outermost frame record is null where the ABI asks for it; this is some object's."""
    process = made(version, bits)
    thread = process.thread().call("main", *["plain"] * 400, "generated")
    thread.registers[thread.fp_name] = thread.sp + 2 * process.era.word
    process.write(thread.sp, bytes(4 * process.era.word))
    (stack,) = stacks(process)
    check_sure(thread, stack)


@every
def test_unix_code_without_unwind_data(version: str, bits: int) -> None:
    process = made(version, bits)
    process.thread().call("main", "plain").syscall("NtCreateWindow", "unix generated", "read")
    check(process)


@with_callbacks
def test_unix_code_whose_file_is_lost(version: str, bits: int) -> None:
    """Only the TEB tells where the Windows half is; each of the halves is whole."""
    process = made(version, bits)
    process.thread().call("main", "odd", "deep").syscall()
    process.thread().call("main", "odd").syscall().go_back().call("recurse")
    found = report(process, process.core(without=[process.ntdll_so]).build()).stacks
    for thread, stack in zip(process.threads, found, strict=True):
        check_sure(thread, stack)
        wanted = [each for each in thread.expected() if _is_windows(thread, each[0])]
        assert words(thread, frames(stack))[-len(wanted) :] == words(thread, list(wanted))
    assert found[0].gaps
    assert not found[1].gaps


def _is_windows(thread: WineThread, pc: int) -> bool:
    module = thread.process.ntdll_so
    return not module.base <= pc < module.base + module.size


@with_callbacks
def test_windows_code_whose_files_are_lost(version: str, bits: int) -> None:
    process = made(version, bits)
    thread = process.thread().call("main", "odd").syscall("NtCreateWindow", "send_message")
    thread.callback("window_procedure").syscall()
    nested(process, "plain").syscall()
    for lost in ([process.ntdll], [process.program], [process.ntdll, process.program]):
        found = report(process, process.core(without=lost).build()).stacks
        for each, stack in zip(process.threads, found, strict=True):
            check_sure(each, stack)


# --- functions and pointers that are not known ----------------------------------------


@with_callbacks
def test_a_callback_dispatcher_that_is_not_exported(version: str, bits: int) -> None:
    """Its return address is 0 or another frame's, as if it were the stack's end."""
    process = made(version, bits, hidden=["KiUserCallbackDispatcher"])
    nested(process, "plain").syscall()
    nested(process, "generated").syscall()
    nested(process, "plain").syscall().go_back().call("plain")
    for thread, stack in zip(process.threads, stacks(process), strict=True):
        check_sure(thread, stack)
        assert frames(stack)[-1][0] == thread.expected()[-1][0], "the oldest Windows code is lost"


@every
def test_a_function_behind_the_callback_dispatcher(version: str, bits: int) -> None:
    """Where the next export is far, unwind data tell where the function ends."""
    process = made(version, bits, hidden=["behind"])
    process.thread().call("main", "behind", "odd").syscall()
    process.thread().call("main", "behind")
    check(process)


@every
def test_dispatchers_that_nothing_points_at(version: str, bits: int) -> None:
    process = made(version, bits, pointers=False)
    process.thread().call("main", "odd", "deep").syscall("NtWaitForSingleObject", "read")
    if process.unix_dispatcher is not None:
        process.thread().call("main", "odd").unix_call("unix call", "read")
    for thread, stack in zip(process.threads, stacks(process), strict=True):
        check_sure(thread, stack)
        wanted = [each for each in thread.expected() if _is_windows(thread, each[0])]
        assert words(thread, frames(stack))[-len(wanted) :] == words(thread, list(wanted))


@with_callbacks
def test_callbacks_where_nothing_points_at_the_dispatchers(version: str, bits: int) -> None:
    process = made(version, bits, pointers=False)
    nested(process, "plain").syscall()
    for thread, stack in zip(process.threads, stacks(process), strict=True):
        check_sure(thread, stack)
