"""What a fault was: a read, a write, or a jump. Neither cores nor siginfo say."""

from __future__ import annotations

from unspool.arch.access import READ, WRITE, aarch64_access

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.arch.base import Arch
    from unspool.model import Crash, Thread
    from unspool.space import AddressSpace

# Of the flags of a 32-bit Arm thread: it runs T32 code.
_T32 = 1 << 5
_SIGNALS = (7, 11)  # SIGBUS, SIGSEGV

# The longest instruction of x86; longer ones are invalid.
_LONGEST = 15
# The largest access of one instruction, but for fxsave and its like.
_WIDEST = 64


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
    code = space.memory.read_available(pc, _LONGEST)
    if pc + len(code) == address and len(code) < _LONGEST:
        return "execute"  # the rest of the instruction lies in the next page
    if space.arch.report_name == "aarch64":
        return aarch64_access(int.from_bytes(code[:4], "little")) if len(code) >= 4 else None
    if space.arch.report_name == "arm":
        from unspool.arch.arm_access import arm_access

        flags = threads[index].special.get("cpsr", 0)
        return arm_access(code, is_thumb=bool(flags & _T32)) or None
    return _x86_access(space.arch, code, address, registers)


def _x86_access(
    arch: Arch, code: bytes, address: int, registers: Sequence[int | None]
) -> str | None:
    """What an x86 instruction does at `address`, if the library that decodes it is there.

    One instruction can read in one place and write in another (`movs`, `push (%rax)`): the
    place that `address` belongs to decides.
    """
    try:
        from iced_x86 import Decoder, InstructionInfoFactory, OpAccess, Register
    except ImportError:
        return None
    instruction = Decoder(arch.pointer_size * 8, code).decode()
    if instruction.is_invalid:
        return None
    numbers = {getattr(Register, name.upper()): n for n, name in enumerate(arch.register_names)}
    kinds = set()
    for use in InstructionInfoFactory().info(instruction).used_memory():
        start = _value(use.base, numbers, registers) + use.displacement
        start += _value(use.index, numbers, registers) * use.scale
        reads = use.access in (OpAccess.READ, OpAccess.COND_READ)
        near = (address - start) & arch.mask < _WIDEST
        kinds.add((near, READ if reads else WRITE))
    near_kinds = {kind for near, kind in kinds if near} or {kind for _, kind in kinds}
    return near_kinds.pop() if len(near_kinds) == 1 else None


def _value(register: int, numbers: dict[int, int], registers: Sequence[int | None]) -> int:
    return registers[numbers[register]] or 0 if register in numbers else 0
