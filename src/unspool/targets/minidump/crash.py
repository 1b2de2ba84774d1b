"""What a minidump's exception record says of the crash: a signal, or a Windows exception.

Breakpad and Crashpad write a Linux signal's number as the exception's code, and newer ones
si_code as its flags. They and debuggers also dump processes that did not crash.
"""

from __future__ import annotations

from unspool.formats.minidump.names import DUMP_REQUESTED, WINDOWS_EXCEPTIONS
from unspool.model import Crash
from unspool.targets.signals import crash_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.formats.minidump.reader import ExceptionRecord

# Of a dump that a program asked for: Breakpad's MD_EXCEPTION_CODE_LIN_DUMP_REQUESTED,
# which is Crashpad's on Linux too, and Crashpad's on macOS ("CPsx") and on Windows.
_REQUESTED = {0, DUMP_REQUESTED, 0x43507378, 0x0517A7ED}
_FAULTS = {4, 5, 7, 8, 11}
_ACCESS = {0: "read", 1: "write", 8: "execute"}
_WITH_ADDRESS = (0xC0000005, 0xC0000006)

# <mach/exception_types.h>, and Crashpad's for an exception of Objective-C ("CPnx").
_MACH = {
    1: "EXC_BAD_ACCESS", 2: "EXC_BAD_INSTRUCTION", 3: "EXC_ARITHMETIC", 4: "EXC_EMULATION",
    5: "EXC_SOFTWARE", 6: "EXC_BREAKPOINT", 10: "EXC_CRASH", 11: "EXC_RESOURCE",
    12: "EXC_GUARD", 0x43506E78: "NSException",
}  # fmt: skip


def crash_in(record: ExceptionRecord, system: str, index: int | None) -> Crash | None:
    """The crash, or None if the dump was taken of a process that ran.

    `index` is that of the thread that it happened in, if that is among the threads.
    """
    number = record.code & 0xFFFFFFFF
    if number in _REQUESTED:
        return None
    if system == "linux":
        crash = _signal(record, number)
    elif system == "windows":
        crash = _exception(record, number)
    else:
        crash = Crash(_MACH.get(number) or f"0x{number:08x}", number, address=record.address)
    if crash is not None:
        crash.thread_index = index
    return crash


def _signal(record: ExceptionRecord, number: int) -> Crash | None:
    code = (record.flags & 0xFFFFFFFF ^ 1 << 31) - (1 << 31)
    if code <= 0 and len(record.parameters) == 1:
        return crash_of(number, code, record.parameters[0])  # as we write who sent it
    if code < 0:
        return crash_of(number, code, record.address or None)
    if code:
        return crash_of(number, code, record.address)
    # No signal of the CPU's has this code: old Breakpad wrote nothing here.
    crash = crash_of(number, None, None)
    # Two parameters are our own writer's way to say that nothing more is known of the signal.
    if crash is not None and number in _FAULTS and len(record.parameters) != 2:
        crash.address = record.address
    return crash


def _exception(record: ExceptionRecord, number: int) -> Crash:
    address, access = record.address, None
    parameters = record.parameters
    if number in _WITH_ADDRESS and len(parameters) > 1:
        access, address = _ACCESS.get(parameters[0]), parameters[1]
    name = WINDOWS_EXCEPTIONS.get(number) or f"0x{number:08x}"
    return Crash(name, number, address=address, access=access)
