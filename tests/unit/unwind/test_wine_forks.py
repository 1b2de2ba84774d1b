"""Forks that keep private fields elsewhere, threads that Wine did not make, stacks of programs."""

from __future__ import annotations

import pytest

from tests.build.wine import WineProcess
from tests.build.wine_eras import ERAS, WITH_CALLBACKS, Era
from tests.unit.unwind.test_wine_degraded import check_sure
from tests.unit.unwind.wine_walks import check, check_stack, frames, made, report, stacks, words
from unspool.model import StopReason

every = pytest.mark.parametrize(("version", "bits"), ERAS)
with_callbacks = pytest.mark.parametrize(("version", "bits"), WITH_CALLBACKS)


def fork(version: str, bits: int, slot: int) -> WineProcess:
    era = Era(version, bits)
    era.slot = slot if bits == 64 else slot - 0x128
    return WineProcess(era)


# --- the slot of the newest frame -----------------------------------------------------


@every
@pytest.mark.parametrize("slot", [0x300, 0x348, 0x398, 0x3D8])
def test_a_slot_somewhere_else(version: str, bits: int, slot: int) -> None:
    process = fork(version, bits, slot)
    process.thread().call("main", "odd", "deep").syscall()
    thread = process.thread().call("main", "work")
    if thread.era.resume:
        thread.syscall("NtCreateWindow").callback("window_procedure").syscall("NtUserGetMessage")
        thread = process.thread().call("odd").syscall("NtCreateWindow")
        thread.callback("deep").syscall().go_back()
    check(process)


@every
@pytest.mark.parametrize("slot", [0x6F8, 0x1000])
def test_a_slot_out_of_reach(version: str, bits: int, slot: int) -> None:
    """The frame pointer, unwind data and the stack pointer lead to the frame as well."""
    process = fork(version, bits, slot)
    process.thread().call("main", "odd", "deep").syscall()
    process.thread().call("main", "odd").syscall("NtWaitForSingleObject", "server_wait", "read")
    process.thread().call("main", "work").syscall().go_back().call("odd")
    if process.unix_dispatcher is not None:
        process.thread().call("main", "work").unix_call("unix call", "read")
    check(process)


@with_callbacks
def test_callbacks_with_a_slot_out_of_reach(version: str, bits: int) -> None:
    """Nothing leads from Windows code to Unix code then."""
    process = fork(version, bits, 0x6F8)
    for last in ("syscall", "stale"):
        thread = process.thread().call("main", "odd").syscall("NtCreateWindow", "send_message")
        thread.callback("deep", "work").syscall("NtCreateWindow").callback("odd").syscall()
        if last == "stale":
            thread.go_back().call("plain")
    for thread, stack in zip(process.threads, stacks(process), strict=True):
        check_sure(thread, stack)
        assert len(stack.frames) > 2


# --- threads without a TEB ------------------------------------------------------------


def native(process: WineProcess, gs_base: int, *, in_read: bool = True) -> int:
    """A thread of a native library, in two functions of ntdll.so, on a stack of its own."""
    word = process.era.word
    low = (0x7F00_1000_0000 if word == 8 else 0xE000_0000) + 0x10_0000 * len(process.natives)
    process.block(low, bytes(0x2000))
    unix = process.ntdll_so
    pc, sp = ("rip", "rsp") if word == 8 else ("eip", "esp")
    at = low + 0x1000
    frame = 0x28 if word == 8 else 0x1C
    process.store(at + frame, unix["start_thread"].after_call())
    return process.native({pc: unix["read"].after_call(), sp: at, "gs_base": gs_base})


@every
def test_native_threads(version: str, bits: int) -> None:
    """On x86-64 they inherit the gs of the thread that made them."""
    process = made(version, bits)
    maker = process.thread().call("main", "odd").syscall("NtWaitForSingleObject", "read")
    running = process.thread().call("main").syscall().go_back().call("work")
    for thread in (maker, running):
        native(process, thread.teb)
    native(process, 0)
    native(process, 0x1234)
    found = stacks(process)
    check_stack(maker, found[0])
    check_stack(running, found[1])
    for stack in found[2:]:
        assert stack.windows_tid is None
        assert [segment.kind for segment in stack.segments] == ["unix"]
        assert len(stack.frames) == 2
        assert stack.stop.reason == StopReason.ROOT


@every
def test_a_native_thread_whose_maker_is_gone(version: str, bits: int) -> None:
    """Its TEB is still there, and its frames: stale, and nobody's."""
    process = made(version, bits)
    maker = process.thread().call("main", "odd").syscall("NtWaitForSingleObject", "read")
    native(process, maker.teb)
    process.threads.clear()
    core = process.core()
    (stack,) = report(process, core.build()).stacks
    assert stack.windows_tid is None
    assert len(stack.frames) == 2


# --- stacks that programs make --------------------------------------------------------


@every
def test_fibers(version: str, bits: int) -> None:
    """A coroutine's stack, which the TEB says nothing of; what the frames say is stale."""
    process = made(version, bits)
    for last in ("call", "syscall", "entry", "exit"):
        thread = process.thread().call("main", "odd").syscall().go_back()
        low = thread.stacks.windows[0] + 0x8_0000
        process.block(low, bytes(0x8000))
        thread.frames.clear()
        thread.sp = low + 0x7F00
        thread.registers[thread.fp_name] = 0
        thread.push(0)
        thread._enter(process.program["plain"])
        thread.call("work", "odd")
        if last == "syscall":
            thread.syscall("NtUserGetMessage", "read")
        elif last == "entry":
            thread.syscall(stop="switch")
        elif last == "exit":
            thread.syscall(stop="ret" if not thread.era.returns_by_jump else "jmp")
    for thread, stack in zip(process.threads, stacks(process), strict=True):
        check_sure(thread, stack)
        # That a thread is one of Wine's a pc in ntdll.so alone does not tell.
        if not process.ntdll_so.base <= thread.pc < process.ntdll_so.base + 0x8000:
            assert words(thread, frames(stack)) == words(thread, list(thread.expected()))
            assert stack.windows_tid is not None
