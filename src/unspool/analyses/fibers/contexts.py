"""Where fibers wait: what Wasmtime stores at the end of each stack that it has made.

    top - 0x10   the stack pointer of the fiber while it waits; while it runs, that of whom it
                 returns to
    top - 0x18   x86-64: the return address in `wasmtime_fiber_start`, which has called all else

Below the stored stack pointer `wasmtime_fiber_switch` has saved the registers that functions keep
(crates/fiber/src, x86_64.rs and aarch64.rs).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.memory import Memory
    from unspool.space import AddressSpace

# What a stack has for the fiber's beginning, at its end.
RESERVED = 16
# `Config::async_stack_size` if nobody has set it. Stacks begin at a page that cannot be used, but
# what follows one may have become part of the same mapping.
_USUAL = 2 << 20
_LARGEST = 64 << 20
_MAX_MAPPINGS = 1 << 17
# Of all stacks together. A fiber that waits in Wasm code uses some kilobytes of its own.
_MOST_BYTES = 1 << 30


class Layout:
    """Which registers are saved where from the stored stack pointer, by DWARF number, and how
    many bytes. `entered` is where the return address to the fiber's first function is from the
    end of the stack, if it is always at the same place."""

    __slots__ = ("aligned", "entered", "saved", "size")

    def __init__(
        self, saved: dict[int, int], size: int, aligned: tuple[int, int], entered: int | None
    ) -> None:
        self.saved = saved
        self.size = size
        self.aligned = aligned
        self.entered = entered


# On aarch64 versions have saved the others in different orders, and frames need none of them.
LAYOUTS = {
    "x86-64": Layout({15: 0, 14: 8, 13: 16, 12: 24, 3: 32, 6: 40, 16: 48}, 56, (16, 8), 0x18),
    "aarch64": Layout({29: 144, 30: 152}, 160, (16, 0), None),
}


class Waiting:
    """A fiber that waits: its stack's bounds, and its registers as the switch returns to it.

    `copy` is its stack from `saved` on, the stack pointer that was stored.
    """

    __slots__ = ("copy", "high", "low", "registers", "saved")

    def __init__(
        self, low: int, high: int, saved: int, copy: bytes, registers: list[int | None]
    ) -> None:
        self.low = low
        self.high = high
        self.saved = saved
        self.copy = copy
        self.registers = registers


def waiting(space: AddressSpace, memory: Memory) -> Iterator[Waiting]:
    """What may be fibers that wait. `memory` has all of the process's bytes."""
    layout = LAYOUTS.get(space.arch.name)
    if layout is None:
        return
    seen, room = set(), _MOST_BYTES
    for low, high in _mappings(space.memory):
        for top in (high, low + _USUAL):
            if top <= high and top not in seen and top - low <= _LARGEST:
                seen.add(top)
                found = _at(space, memory, layout, low, top, room)
                if found is not None:
                    room -= len(found.copy)
                    yield found


def _mappings(memory: Memory) -> Iterator[tuple[int, int]]:
    """Mappings that may be stacks: written to, and of no file."""
    last, count = None, 0
    for region in memory.regions:
        if region.writable and not region.path and region.mapping != last:
            last = region.mapping
            count += 1
            if count > _MAX_MAPPINGS:
                return
            yield last


def _at(
    space: AddressSpace, memory: Memory, layout: Layout, low: int, top: int, room: int
) -> Waiting | None:
    data = memory.peek(top - RESERVED, 8)
    saved = int.from_bytes(data, "little")
    step, rest = layout.aligned
    if len(data) < 8 or not low <= saved <= top - RESERVED - layout.size or saved % step != rest:
        return None
    context = memory.peek(saved, layout.size)
    registers = _registers(space, layout, context)
    if registers is None or top - saved > room:
        return None
    copy = memory.peek(saved, top - saved)
    # Both once more: a running process may have gone on with it meanwhile.
    if copy[-RESERVED : 8 - RESERVED] != data or copy[: layout.size] != context:
        return None
    if layout.entered is not None:
        entered = int.from_bytes(copy[-layout.entered : 8 - layout.entered], "little")
        if not _is_return(space, entered):
            return None
    registers[space.arch.sp] = saved + layout.size
    return Waiting(low, top, saved, copy, registers)


def _registers(space: AddressSpace, layout: Layout, context: bytes) -> list[int | None] | None:
    """What was saved, if it is what a function has that has called the switch."""
    if len(context) < layout.size:
        return None
    arch = space.arch
    registers: list[int | None] = [None] * len(arch.register_names)
    for number, at in layout.saved.items():
        registers[number] = int.from_bytes(context[at : at + 8], "little")
    link = arch.link if arch.link is not None else arch.pc
    registers[arch.pc] = pc = (registers[link] or 0) & arch.code_address_mask
    return registers if _is_return(space, pc) else None


def _is_return(space: AddressSpace, pc: int) -> bool:
    """Whether a pc is a return address, as far as the code is at hand."""
    return space.is_code(pc - 1) and space.after_call(pc) is not False
