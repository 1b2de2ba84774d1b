from __future__ import annotations

import signal

import pytest

from tests.reports import BOOM, STACK, frames, report, stack
from unspool.model import Crash, Frame, Module, Report, Segment
from unspool.render import signals
from unspool.render.signals import crash_words, crashed_stack, place


def crashed(number: int, code: int | None, address: int | None = None, **more: object) -> Report:
    thread = stack(0, frames(BOOM + 0x105, BOOM + 0x160), crashed=True)
    name = signal.Signals(number).name
    crash = Crash(name, number, code, address, 0, **more)  # type: ignore[arg-type]
    return report(thread, crash=crash)


def segv(address: int, code: int = signals.SEGV_MAPERR) -> str:
    return crash_words(crashed(11, code, address))


def test_numbers_are_those_of_this_system() -> None:
    for name in ("SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGSEGV", "SIGSYS"):
        assert getattr(signals, name) == getattr(signal, name)


@pytest.mark.parametrize(
    ("address", "where"),
    [
        (0, "inside the null page"),
        (0x8, "inside the null page"),
        (0xFFF, "inside the null page"),
        (0x1234, "a null pointer plus an offset"),
        (2**64 - 8, "a null pointer less 8"),
        (0xDEADBEEF_DEADBEEF, "not a canonical address"),
        (2**47, "not a canonical address"),
        (2**64 - 2**47 - 1, "not a canonical address"),
        (0xFFFF_8880_0000_0000, "in the kernel's half of the address space"),
        (STACK - 8, "just below the stack of thread 0: a stack overflow"),
        (STACK + 8, "in the stack of thread 0"),
        (BOOM + 0x123, "in boom+0x123"),
    ],
)
def test_where_an_address_lies(address: int, where: str) -> None:
    assert segv(address) == f"SIGSEGV, invalid access at 0x{address:x}, {where}"


def test_an_address_that_nothing_is_known_of_is_not_mapped() -> None:
    assert segv(0x12345678) == "SIGSEGV, invalid access at 0x12345678: nothing is mapped there"


def test_32_bit_addresses_end_earlier() -> None:
    found = crashed(11, 1, 0xFFFF_FFFC)
    found.target.arch = "x86"
    assert "a null pointer less 4" in crash_words(found)
    assert place(found, 0xC000_0000) == ""


def test_aarch64_knows_no_canonical_form_but_a_kernel_half() -> None:
    found = crashed(11, 1, 0)
    found.target.arch = "aarch64"
    assert place(found, 0x0010_0000_0000_0000) == ""
    assert place(found, 0xFF10_0000_0000_0000) == "in the kernel's half of the address space"


def test_memory_that_is_there_but_protected() -> None:
    assert segv(BOOM + 0x10, signals.SEGV_ACCERR) == (
        "SIGSEGV, invalid access at 0x400010, in boom+0x10: its protection forbids that"
    )


def test_a_jump_is_told_from_an_access() -> None:
    wild = frames(0x10, BOOM + 0x160)
    found = report(stack(0, wild, crashed=True), crash=Crash("SIGSEGV", 11, 1, 0x10, 0))
    assert crash_words(found) == "SIGSEGV, jump to 0x10, inside the null page"


@pytest.mark.parametrize(
    ("access", "words"),
    [
        ("read", "read of"),
        ("write", "write to"),
        ("execute", "jump to"),
        ("x", "invalid access at"),
    ],
)
def test_the_kind_of_access_is_told_if_it_is_known(access: str, words: str) -> None:
    assert crash_words(crashed(11, 1, 8, access=access)) == (
        f"SIGSEGV, {words} 0x8, inside the null page"
    )


def test_a_stack_overflow_is_told_by_the_stack_pointer() -> None:
    deep = [Frame(BOOM + 1, STACK + 0x10, "context", True)]
    found = report(stack(3, deep, crashed=True), crash=Crash("SIGSEGV", 11, 1, STACK - 8, 3))
    words = "just below the stack of thread 3: a stack overflow"
    assert place(found, STACK - 8, crashed_stack(found)) == words
    # A large frame is probed page by page: some pages further down.
    assert place(found, STACK - 0x3000, crashed_stack(found)) == words
    # Another thread's overflow is not this one's.
    assert place(found, STACK - 0x80_0000, crashed_stack(found)) == ""


def test_the_guard_page_of_another_thread() -> None:
    found = crashed(11, 2, 0x7000_0000_0FF8)
    other = stack(1, frames(BOOM + 1))
    other.segments = [Segment("unix"), Segment("signal", 0x7000_0000_1000, 0x7000_0000_5000)]
    found.stacks.append(other)
    assert place(found, 0x7000_0000_0FF8) == "in the guard page below the stack of thread 1"


def test_a_general_protection_fault_has_no_address() -> None:
    words = crash_words(crashed(11, signals.SI_KERNEL, None))
    assert words.startswith("SIGSEGV, general protection fault")
    assert "0x" not in words


@pytest.mark.parametrize(
    ("number", "code", "address", "words"),
    [
        (8, 1, BOOM, "SIGFPE, integer division by zero, or its result does not fit, at 0x400000"),
        (4, 2, BOOM, "SIGILL, illegal operand, or an instruction meant to trap (ud2), at 0x400000"),
        (5, 128, None, "SIGTRAP, a breakpoint instruction"),
        (7, 2, BOOM + 8, "SIGBUS, invalid access at 0x400008, in boom+0x8: no memory behind the "
         "mapping, such as past the end of a mapped file"),
        (31, 1, BOOM, "SIGSYS, a system call that seccomp forbids"),
        (6, 0, None, "SIGABRT, sent with kill()"),
        (15, -2, None, "SIGTERM, sent by a timer"),
        (11, 0, None, "SIGSEGV, sent with kill()"),
        (9, 128, None, "SIGKILL, sent by the kernel"),
        (6, None, None, "SIGABRT"),
        (11, 77, None, "SIGSEGV, code 77"),
        (3, -77, None, "SIGQUIT, code -77"),
        (11, 1, None, "SIGSEGV, nothing is mapped there"),
    ],
)  # fmt: skip
def test_other_signals(number: int, code: int | None, address: int | None, words: str) -> None:
    assert crash_words(crashed(number, code, address)) == words


@pytest.mark.parametrize(
    ("number", "code", "sender", "words"),
    [
        (6, -6, 4000, "SIGABRT, abort() or raise() in the process itself"),
        (10, -6, 4000, "SIGUSR1, sent by the process to itself"),
        (3, 0, 77, "SIGQUIT, sent with kill() by process 77"),
        (3, 0, 0, "SIGQUIT, sent with kill() by an unseen process"),
        (3, -2, 5, "SIGQUIT, sent by a timer"),
    ],
)
def test_who_sent_it(number: int, code: int, sender: int, words: str) -> None:
    assert crash_words(crashed(number, code, sender_pid=sender)) == words


def test_without_a_crash_there_are_no_words() -> None:
    assert crash_words(report(stack(0, frames(1)))) == ""
    assert crashed_stack(report(stack(0, frames(1)))) is None


def test_a_signal_without_a_name_has_a_number() -> None:
    found = crashed(11, None)
    found.crash = Crash("", 44)
    assert crash_words(found) == "signal 44"


def test_the_crashed_thread_may_be_missing_from_the_report() -> None:
    found = report(crash=Crash("SIGSEGV", 11, 1, 8, 0))
    assert crashed_stack(found) is None
    assert crash_words(found) == "SIGSEGV, invalid access at 0x8, inside the null page"


def test_a_module_name_cannot_drive_the_terminal() -> None:
    found = crashed(11, 2, BOOM + 1)
    found.modules = [Module(0, "\x1b[2J", BOOM, BOOM + 16)]
    assert crash_words(found).isprintable()
