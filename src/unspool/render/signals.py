"""What ended a process, in words: signals and their codes, exceptions, where an address lies.

The codes are those of Linux' include/uapi/asm-generic/siginfo.h.
"""

from __future__ import annotations

from unspool.render.escape import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.model import Crash, Report, Stack

SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS = 4, 5, 6, 7, 8, 11, 31

SI_USER, SI_KERNEL, SI_QUEUE, SI_TKILL = 0, 0x80, -1, -6

SEGV_MAPERR, SEGV_ACCERR = 1, 2

# Codes that any signal can have: who sent it.
SENT_BY = {
    SI_USER: "sent with kill()",
    SI_KERNEL: "sent by the kernel",
    SI_QUEUE: "sent with sigqueue()",
    -2: "sent by a timer",
    -3: "sent by a message queue",
    -4: "sent when asynchronous I/O completed",
    -5: "sent when I/O became possible",
    SI_TKILL: "sent with tgkill() or raise()",
    -60: "sent when a name was looked up",
}

# Codes with a person or a program behind them: siginfo holds the sender's pid.
HAS_SENDER = frozenset((SI_USER, SI_QUEUE, SI_TKILL))

# Codes of the signals that a CPU's fault causes.
CAUSES = {
    (SIGSEGV, SEGV_MAPERR): "nothing is mapped there",
    (SIGSEGV, SEGV_ACCERR): "its protection forbids that",
    (SIGSEGV, 3): "outside of the pointer's bounds",
    (SIGSEGV, 4): "its protection key forbids that",
    (SIGSEGV, 5): "ADI is not enabled there",
    (SIGSEGV, 6): "ADI tags differ",
    (SIGSEGV, 7): "ADI tags differ",
    (SIGSEGV, 8): "memory tags differ, reported late",
    (SIGSEGV, 9): "memory tags differ",
    (SIGSEGV, 10): "the shadow stack does not agree with the return address",
    (SIGBUS, 1): "the address is not aligned",
    (SIGBUS, 2): "no memory behind the mapping, such as past the end of a mapped file",
    (SIGBUS, 3): "an error of the hardware behind it",
    (SIGBUS, 4): "a memory error of the hardware, in use",
    (SIGBUS, 5): "a memory error of the hardware, found in passing",
    (SIGFPE, 1): "integer division by zero, or its result does not fit",
    (SIGFPE, 2): "integer overflow",
    (SIGFPE, 3): "floating-point division by zero",
    (SIGFPE, 4): "floating-point overflow",
    (SIGFPE, 5): "floating-point underflow",
    (SIGFPE, 6): "inexact floating-point result",
    (SIGFPE, 7): "invalid floating-point operation",
    (SIGFPE, 8): "subscript out of range",
    (SIGFPE, 14): "floating-point exception of unknown kind",
    (SIGFPE, 15): "a trap on a condition",
    (SIGILL, 1): "illegal opcode",
    (SIGILL, 2): "illegal operand, or an instruction meant to trap (ud2)",
    (SIGILL, 3): "illegal addressing mode",
    (SIGILL, 4): "illegal trap",
    (SIGILL, 5): "privileged opcode",
    (SIGILL, 6): "privileged register",
    (SIGILL, 7): "coprocessor error",
    (SIGILL, 8): "internal stack error",
    (SIGILL, 9): "unimplemented instruction address",
    (SIGTRAP, 1): "a breakpoint",
    (SIGTRAP, 2): "a single step",
    (SIGTRAP, 3): "a branch",
    (SIGTRAP, 4): "a hardware breakpoint or watchpoint",
    (SIGTRAP, 5): "a trap of unknown kind",
    (SIGTRAP, 6): "a performance counter",
    # x86 reports int3 so, which is what __builtin_debugtrap and DebugBreak() compile to.
    (SIGTRAP, SI_KERNEL): "a breakpoint instruction",
    (SIGSYS, 1): "a system call that seccomp forbids",
    (SIGSYS, 2): "a system call for user space to dispatch",
}

_ACCESS_WORDS = {"read": "read of", "write": "write to", "execute": "jump to"}

_PAGE = 0x1000
# vm.mmap_min_addr: no process maps anything below.
_LOWEST_MAPPING = 0x10000
# Prologues touch the stack pointer's page first; large frames are probed page by page, so
# an overflow faults near both the stack pointer and the lowest mapped page.
_NEAR_STACK = 0x10000


def crash_words(report: Report) -> str:
    """One line for `report.crash`: "SIGSEGV, write to 0x8, inside the null page".

    A Wine process has rarely crashed by a signal: then the exception that it is held in.
    """
    crash = report.crash
    if crash is None:
        titles = [each.title for each in report.findings if each.kind == "windows_exception"]
        more = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
        return printable(titles[0]) + more if titles else ""
    if report.target.os != "linux":
        return _exception_words(report, crash)
    signal = printable(crash.signal) or f"signal {crash.number}"
    words = _fault_words(report, crash) or _sender_words(report, crash)
    return f"{signal}, {words}" if words else signal


def _exception_words(report: Report, crash: Crash) -> str:
    """A Windows exception: "access violation, write to 0x8, inside the null page (0xc0000005)"."""
    from unspool.wine.exceptions import NAMES

    name = NAMES.get(crash.number, "exception") if report.target.os == "windows" else ""
    where = ""
    if crash.access is not None and crash.address is not None:
        lies = place(report, crash.address, crashed_stack(report))
        where = f", {_ACCESS_WORDS.get(crash.access, 'access to')} 0x{crash.address:x}"
        where += f", {lies}" if lies else ""
    return f"{name or printable(crash.signal)}{where} (0x{crash.number & 0xFFFFFFFF:x})"


def _fault_words(report: Report, crash: Crash) -> str:
    code, address = crash.code, crash.address
    if code is None:
        # Old Breakpad keeps the address alone.
        if crash.number in (SIGSEGV, SIGBUS) and address is not None:
            return _access_words(report, crash, address, "")
        return ""
    if crash.number == SIGSEGV and code == SI_KERNEL:
        # x86 tells nothing of a general protection fault: address 0 means nothing here.
        return "general protection fault, such as an access through a non-canonical address"
    cause = CAUSES.get((crash.number, code), "")
    if code <= 0 or not cause:
        return ""
    if crash.number in (SIGSEGV, SIGBUS) and address is not None:
        return _access_words(report, crash, address, cause)
    at = f", at 0x{address:x}" if address and crash.number != SIGSYS else ""
    return cause + at


def _access_words(report: Report, crash: Crash, address: int, cause: str) -> str:
    stack = crashed_stack(report)
    top = stack.frames[0] if stack and stack.frames else None
    access = crash.access
    if access is None and top is not None and top.pc == address:
        access = "execute"
    what = _ACCESS_WORDS.get(access or "", "invalid access at")
    where = place(report, address, stack)
    # The null page and the like explain the fault well enough.
    if where and crash.number == SIGSEGV and crash.code == SEGV_MAPERR:
        cause = ""
    where = f", {where}" if where else ""
    return f"{what} 0x{address:x}{where}" + (f": {cause}" if cause else "")


def place(report: Report, address: int, crashed: Stack | None = None) -> str:
    """Where an address lies, as far as a report knows; "" if it does not."""
    return (
        _special_place(report.target.arch, address)
        or _stack_place(report, address, crashed)
        or _module_place(report, address)
    )


def _special_place(arch: str, address: int) -> str:
    wide = arch not in ("x86", "arm")
    top = 1 << 64 if wide else 1 << 32
    if address < _PAGE:
        return "inside the null page"
    if address < _LOWEST_MAPPING:
        return "a null pointer plus an offset"
    if address >= top - _PAGE:
        return f"a null pointer less {top - address}"
    if arch == "x86_64" and 1 << 47 <= address < top - (1 << 47):
        return "not a canonical address"
    if wide and address >= 1 << 63:
        return "in the kernel's half of the address space"
    return ""


def _stack_place(report: Report, address: int, crashed: Stack | None) -> str:
    if crashed is not None and crashed.frames:
        sp = crashed.frames[0].sp
        low = crashed.segments[0].low if crashed.segments else None
        near = sp is not None and abs(address - sp) <= _NEAR_STACK
        if near and low is not None and address < low:
            return f"just below the stack of thread {crashed.index}: a stack overflow"
    for stack in report.stacks:
        for segment in stack.segments:
            if segment.low is None or segment.high is None:
                continue
            if segment.low <= address < segment.high:
                return f"in the stack of thread {stack.index}"
            if segment.low - _PAGE <= address < segment.low:
                return f"in the guard page below the stack of thread {stack.index}"
    return ""


def _module_place(report: Report, address: int) -> str:
    for module in report.modules:
        if module.base <= address < module.end:
            return f"in {printable(module.name)}+0x{address - module.base:x}"
    return ""


def _sender_words(report: Report, crash: Crash) -> str:
    if crash.code is None or crash.code not in SENT_BY:
        return f"code {crash.code}" if crash.code else ""
    sender = crash.sender_pid if crash.code in HAS_SENDER else None
    if sender is not None and sender == report.target.pid:
        # abort() is raise(SIGABRT) is tgkill() to itself.
        itself = "abort() or raise() in the process itself"
        return itself if crash.number == SIGABRT else "sent by the process to itself"
    if sender is None:
        return SENT_BY[crash.code]
    return SENT_BY[crash.code] + (f" by process {sender}" if sender else " by an unseen process")


def crashed_stack(report: Report) -> Stack | None:
    """The stack of the thread that the signal hit, if the report has it."""
    index = report.crash.thread_index if report.crash else None
    for stack in report.stacks:
        if stack.index == index or (index is None and stack.crashed):
            return stack
    return None
