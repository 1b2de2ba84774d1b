from __future__ import annotations

import pytest

from unspool.model import Crash
from unspool.render.crash_reason import crash_reason


@pytest.mark.parametrize(
    ("signal", "number", "code", "expected"),
    [
        ("SIGSEGV", 11, 1, "SIGSEGV / SEGV_MAPERR"),
        ("SIGSEGV", 11, 2, "SIGSEGV / SEGV_ACCERR"),
        ("SIGSEGV", 11, 0x80, "SIGSEGV / SI_KERNEL"),
        ("SIGSEGV", 11, 0, "SIGSEGV"),
        ("SIGSEGV", 11, None, "SIGSEGV"),
        ("SIGSEGV", 11, 77, "SIGSEGV / 0x0000004d"),
        ("SIGSEGV", 11, -99, "SIGSEGV / 0xffffff9d"),
        ("SIGABRT", 6, -6, "SIGABRT / SI_TKILL"),
        ("SIGQUIT", 3, 0, "SIGQUIT"),
        ("SIGBUS", 7, 2, "SIGBUS / BUS_ADRERR"),
        ("SIGFPE", 8, 1, "SIGFPE / FPE_INTDIV"),
        ("SIGILL", 4, 2, "SIGILL / ILL_ILLOPN"),
        ("SIGTRAP", 5, 1, "SIGTRAP / TRAP_BRKPT"),
        ("SIGSYS", 31, 1, "SIGSYS / SYS_SECCOMP"),
        ("SIGRTMIN+2", 36, -1, "unknown 0x00000024 / 0xffffffff"),
    ],
)
def test_signals(signal: str, number: int, code: int | None, expected: str) -> None:
    assert crash_reason(Crash(signal, number, code), "linux") == expected


@pytest.mark.parametrize(
    ("signal", "number", "access", "expected"),
    [
        ("STATUS_ACCESS_VIOLATION", 0xC0000005, "write", "EXCEPTION_ACCESS_VIOLATION_WRITE"),
        ("STATUS_ACCESS_VIOLATION", 0xC0000005, "read", "EXCEPTION_ACCESS_VIOLATION_READ"),
        ("STATUS_ACCESS_VIOLATION", 0xC0000005, "execute", "EXCEPTION_ACCESS_VIOLATION_EXEC"),
        ("STATUS_ACCESS_VIOLATION", 0xC0000005, None, "EXCEPTION_ACCESS_VIOLATION"),
        ("STATUS_BREAKPOINT", 0x80000003, None, "EXCEPTION_BREAKPOINT"),
        ("STATUS_INTEGER_DIVIDE_BY_ZERO", 0xC0000094, None, "EXCEPTION_INT_DIVIDE_BY_ZERO"),
        ("STATUS_HEAP_CORRUPTION", 0xC0000374, None, "STATUS_HEAP_CORRUPTION"),
        ("0x12345678", 0x12345678, None, "unknown 0x12345678"),
        ("CXX_EXCEPTION", 0xE06D7363, None, "Unhandled C++ Exception"),
    ],
)
def test_windows_exceptions(signal: str, number: int, access: str | None, expected: str) -> None:
    assert crash_reason(Crash(signal, number, access=access), "windows") == expected


def test_other_systems_have_their_own_words() -> None:
    assert crash_reason(Crash("EXC_BAD_ACCESS", 1), "macos") == "EXC_BAD_ACCESS"
