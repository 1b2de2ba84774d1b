"""What a fault was: a read, a write, or a jump. Neither cores nor siginfo say."""

from __future__ import annotations

from unspool.arch.access import LONGEST, access_kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.model import Crash, Thread
    from unspool.space import AddressSpace

_SIGNALS = (7, 11)  # SIGBUS, SIGSEGV


def access_of(crash: Crash, threads: Sequence[Thread], space: AddressSpace) -> str | None:
    """`read`, `write`, `execute`, or None where the instruction does not tell."""
    address, index = crash.address, crash.thread_index
    if address is None or crash.number not in _SIGNALS:
        return None
    if index is None or index >= len(threads):
        return None
    registers = threads[index].registers
    pc = registers[space.arch.pc] if registers else None
    if registers is None or pc is None:
        return None
    if pc == address:
        return "execute"
    code = space.memory.read_available(pc, LONGEST)
    if pc + len(code) == address and len(code) < LONGEST:
        return "execute"  # the rest of the instruction lies in the next page
    return access_kind(space.arch.report_name, code, address, registers) or None
