"""Linux signals of the supported architectures: their names, and which of them are crashes."""

from __future__ import annotations

from unspool.model import Crash

# Signals that stop a process but crash nothing: a core with one of these was made of a
# process that ran (gcore leaves SIGSTOP or SIGTRAP behind from its own attaching).
_NO_CRASH = {0, 5, 18, 19, 20}
_FAULTS = {4, 5, 7, 8, 11}

# asm-generic/signal.h
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


def crash_of(number: int, code: int | None, word: int | None) -> Crash | None:
    """The crash by a signal of the first thread, or None if the signal is no crash.

    `code` and `word` are siginfo's si_code and what lies where si_addr would, if known.
    """
    if number in _NO_CRASH and not (number == 5 and code is not None and code > 0):
        return None
    # The word behind the code is a fault address only if the CPU raised the signal; for
    # one that a process sent it is the sender's pid. A general protection fault (SI_KERNEL,
    # a non-canonical address) has neither.
    address = sender = None
    if code is not None and word is not None:
        if code <= 0:
            sender = word & 0xFFFFFFFF
        elif number in _FAULTS and code != 0x80:
            address = word
    return Crash(signal_name(number), number, code, address, 0, sender)
