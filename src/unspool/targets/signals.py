"""Linux signal numbers of the supported architectures (asm-generic/signal.h)."""

from __future__ import annotations

_NAMES = (
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
)  # fmt: skip


def signal_name(number: int) -> str:
    """`SIGSEGV` for 11; real-time signals by their distance from SIGRTMIN; else the number."""
    if 1 <= number <= len(_NAMES):
        return f"SIG{_NAMES[number - 1]}"
    if 34 <= number <= 64:
        return f"SIGRTMIN+{number - 34}"
    return f"signal {number}"
