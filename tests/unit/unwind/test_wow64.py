"""New-style WoW64: both stacks of a thread, in the order of calls."""

from __future__ import annotations

import pytest

from tests.build.wine_wow64 import ENTRY, EXIT, UNIX_ENTRY, VERSIONS, Wow64Process
from tests.unit.unwind.wine_walks import check, check_stack, frames, stacks, words
from unspool.model import StopReason

every = pytest.mark.parametrize("version", VERSIONS)


@every
def test_threads_in_32_bit_code(version: str) -> None:
    process = Wow64Process(version)
    process.thread().call32("main")
    process.thread().call32("main", "odd", "deep", "recurse", "work")
    check(process)


@every
def test_threads_that_wait(version: str) -> None:
    process = Wow64Process(version)
    process.thread().call32("main", "odd", "deep", "recurse", "work").syscall32()
    process.thread().call32("work", "recurse").syscall32("wow64_NtWait", "wow64_NtWait")
    process.thread().call32("main").syscall32(serve=False)
    check(process)


@every
def test_calls_of_unix_libraries(version: str) -> None:
    process = Wow64Process(version)
    process.thread().call32("main", "odd", "unix_caller").unix_call32()
    check(process)


@every
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_callbacks(version: str, depth: int) -> None:
    process = Wow64Process(version)
    for last in ("wait", "run", "unix"):
        thread = process.thread().call32("main", "odd")
        for _ in range(depth):
            thread.syscall32().callback32("deep", "work")
        if last == "wait":
            thread.syscall32()
        elif last == "unix":
            thread.call32("unix_caller").unix_call32()
    check(process)


@every
def test_suspended_threads(version: str) -> None:
    process = Wow64Process(version)
    process.thread().call32("main", "odd").signal("wait_suspend")
    process.thread().call32("main", "deep").syscall32().signal()
    process.thread().call32("main").syscall32().callback32("work").signal()
    check(process)


@every
def test_on_the_way_into_64_bit_code(version: str) -> None:
    """Before each instruction of wow64cpu.dll: the stack pointers change places there."""
    process = Wow64Process(version)
    for step, _ in ENTRY:
        process.thread().call32("main", "odd", "work").syscall32(stop=step)
        process.thread().call32("main").syscall32().callback32("deep").syscall32(stop=step)
    for step, _ in UNIX_ENTRY:
        process.thread().call32("main", "unix_caller").unix_call32(stop=step)
    check(process)


@every
def test_on_the_way_back(version: str) -> None:
    process = Wow64Process(version)
    for step, _ in EXIT:
        process.thread().call32("main", "odd", "work").syscall32(leave=step)
        process.thread().call32("main").syscall32().callback32("deep").syscall32(leave=step)
        process.thread().call32("main", "recurse").syscall32(leave=step).signal()
    check(process)


@every
def test_modules_without_names(version: str) -> None:
    """wow64cpu.dll is what 32-bit code is told to jump to, whatever it is called."""
    process = Wow64Process(version, named=False)
    process.thread().call32("main", "odd").syscall32()
    process.thread().call32("main", "odd").syscall32(stop="load eip")
    process.thread().call32("main", "odd", "deep")
    check(process)


@every
def test_at_the_thunk(version: str) -> None:
    """A far jump within wow64cpu.dll, which 32-bit code executes."""
    process = Wow64Process(version)
    thread = process.thread().call32("main", "odd").syscall32(stop="xchg")
    thread.registers["rip"] = process.thunk
    check(process)


@every
def test_stale_copies_of_registers(version: str) -> None:
    """The same call site at the same stack pointer as before, with other registers."""
    process = Wow64Process(version)
    thread = process.thread().call32("main", "odd", "deep").syscall32()
    context = thread.area + 4
    copy = bytearray(process.read(context, 0x2CC))
    copy[0x9C:0xA8] = bytes([0x11] * 12)
    copy[0xB4:0xB8] = bytes([0x22] * 4)
    for place in (thread.sp - 0x1000, thread.sp - 0x2000, thread.esp - 0x800, context):
        try:
            process.write(place, bytes(copy))
        except LookupError:
            continue
    for stack in stacks(process):
        check_stack(thread, stack)


@every
@pytest.mark.parametrize("lie", ["r14", "teb32", "bounds", "all"])
def test_32_bit_code_that_is_lost(version: str, lie: str) -> None:
    """It is not left out in silence."""
    process = Wow64Process(version)
    process.thread().call32("main").syscall32()
    thread = process.thread().call32("main", "odd").syscall32()
    if lie == "r14":
        process.store(thread.frame + 0x60, thread.area)
    elif lie == "teb32":
        process.write(thread.teb32 + 0x18, bytes(4))
    elif lie == "all":
        for each in process.threads:
            process.write(each.teb + 0x180C, bytes(4))
    else:
        process.write(thread.teb32 + 4, bytes(4))
    found = stacks(process)
    if lie != "all":
        check_stack(process.threads[0], found[0])
    assert found[1].gaps or found[1].stop.reason != StopReason.ROOT
    wide = [each for each in thread.expected() if not _is_32_bit(process, each[0])]
    assert words(thread, frames(found[1])) == words(thread, list(wide))


def _is_32_bit(process: Wow64Process, pc: int) -> bool:
    return any(module.base <= pc < module.base + 0x8000 for module in process.made32)


@every
def test_two_null_words_are_no_end(version: str) -> None:
    process = Wow64Process(version)
    thread = process.thread().call32(*["main"] * 300)
    process.write(thread.frames[-3][1] - 4, bytes(4))
    thread.registers["rbp"] = 0
    (stack,) = stacks(process)
    assert stack.gaps or stack.stop.reason != StopReason.ROOT
