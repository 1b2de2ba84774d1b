"""What ended a process, in rust-minidump's words: "SIGSEGV / SEGV_MAPERR"."""

from __future__ import annotations

from unspool.formats.minidump.names import signal_code_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.model import Crash

# Codes that any signal can have; SI_USER, which is 0, goes without a name there.
_GENERAL = {
    0x80: "SI_KERNEL", -1: "SI_QUEUE", -2: "SI_TIMER", -3: "SI_MESGQ", -4: "SI_ASYNCIO",
    -5: "SI_SIGIO", -6: "SI_TKILL", -7: "SI_DETHREAD", -60: "SI_ASYNCNL",
}  # fmt: skip
_LAST_SIGNAL = 31

# winnt.h's names, which it prefers to those of ntstatus.h where there are both.
_EXCEPTIONS = {
    0x80000001: "GUARD_PAGE", 0x80000002: "DATATYPE_MISALIGNMENT", 0x80000003: "BREAKPOINT",
    0x80000004: "SINGLE_STEP", 0xC0000005: "ACCESS_VIOLATION", 0xC0000006: "IN_PAGE_ERROR",
    0xC0000008: "INVALID_HANDLE", 0xC000001D: "ILLEGAL_INSTRUCTION",
    0xC0000025: "NONCONTINUABLE_EXCEPTION", 0xC0000026: "INVALID_DISPOSITION",
    0xC000008C: "BOUNDS_EXCEEDED", 0xC000008D: "FLT_DENORMAL_OPERAND",
    0xC000008E: "FLT_DIVIDE_BY_ZERO", 0xC000008F: "FLT_INEXACT_RESULT",
    0xC0000090: "FLT_INVALID_OPERATION", 0xC0000091: "FLT_OVERFLOW",
    0xC0000092: "FLT_STACK_CHECK", 0xC0000093: "FLT_UNDERFLOW",
    0xC0000094: "INT_DIVIDE_BY_ZERO", 0xC0000095: "INT_OVERFLOW",
    0xC0000096: "PRIV_INSTRUCTION", 0xC00000FD: "STACK_OVERFLOW",
    0xC0000194: "POSSIBLE_DEADLOCK", 0xC0000409: "STACK_BUFFER_OVERRUN",
}  # fmt: skip
_PLAIN = {0xE0000008: "Out of Memory", 0xE06D7363: "Unhandled C++ Exception"}
_ACCESS = {"read": "READ", "write": "WRITE", "execute": "EXEC"}
_WITH_ACCESS = (0xC0000005, 0xC0000006)


def crash_reason(crash: Crash, system: str) -> str:
    """The signal and its code, or the Windows exception and its access."""
    if system == "windows":
        return _exception(crash)
    if system != "linux":
        return crash.signal
    code = crash.code or 0  # old Breakpad keeps none, and 0 is read there
    if not 0 < crash.number <= _LAST_SIGNAL:
        return f"unknown 0x{crash.number & 0xFFFFFFFF:08x} / 0x{code & 0xFFFFFFFF:08x}"
    if not code:
        return crash.signal
    name = signal_code_name(crash.number, code) or _GENERAL.get(code)
    return f"{crash.signal} / {name or f'0x{code & 0xFFFFFFFF:08x}'}"


def _exception(crash: Crash) -> str:
    number = crash.number & 0xFFFFFFFF
    if number in _PLAIN:
        return _PLAIN[number]
    if number in _EXCEPTIONS:
        access = _ACCESS.get(crash.access or "") if number in _WITH_ACCESS else None
        return f"EXCEPTION_{_EXCEPTIONS[number]}" + (f"_{access}" if access else "")
    return f"unknown 0x{number:08x}" if crash.signal[:2] == "0x" else crash.signal
