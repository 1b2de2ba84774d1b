"""Builds the tables that x64 images unwind with: RUNTIME_FUNCTION (.pdata), UNWIND_INFO (.xdata).

    xdata = Xdata(0x3000)
    plain = xdata.add(unwind_info([alloc(4, 0x28)], prologue=4))
    rest = xdata.add(unwind_info(chained=(0x1000, 0x1040, plain)))
    made = image(AMD64, [text, xdata.section()], functions=[(0x1000, 0x1040, plain), ...])

Unwind codes are bytes in the order of the table: the prologue's last instruction first.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.build.pe import Section

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 = range(16)
EHANDLER, UHANDLER, CHAININFO = 1, 2, 4


def runtime_functions(functions: Sequence[tuple[int, int, int]]) -> bytes:
    """A .pdata of (begin, end, unwind info), as they are given; honest ones are sorted."""
    return b"".join(struct.pack("<III", *function) for function in functions)


class Xdata:
    """Unwind infos one after the other from `rva` on, four-byte aligned."""

    def __init__(self, rva: int) -> None:
        self.rva = rva
        self.data = bytearray()

    def add(self, raw: bytes) -> int:
        """The RVA at which `raw` now lies."""
        self.data += bytes(-len(self.data) % 4)
        at = self.rva + len(self.data)
        self.data += raw
        return at

    def section(self) -> Section:
        from tests.build.pe import Section

        return Section(".xdata", bytes(self.data), rva=self.rva)


def unwind_info(
    codes: Sequence[bytes] = (),
    *,
    prologue: int = 0,
    version: int = 1,
    frame: tuple[int, int] = (0, 0),
    flags: int = 0,
    handler: int | None = None,
    handler_data: bytes = b"",
    chained: tuple[int, int, int] | None = None,
    count: int | None = None,
) -> bytes:
    """An UNWIND_INFO. `frame` is (register, offset in bytes); `prologue` its size.

    A `handler` (RVA) sets EHANDLER if `flags` name no kind; `chained` sets CHAININFO.
    `count` lies about the number of code slots.
    """
    raw = b"".join(codes)
    slots = len(raw) // 2
    if handler is not None and not flags & (EHANDLER | UHANDLER):
        flags |= EHANDLER
    if chained is not None:
        flags |= CHAININFO
    register, offset = frame
    header = struct.pack(
        "<BBBB", version | flags << 3, prologue, slots if count is None else count,
        register | (offset // 16) << 4,
    )  # fmt: skip
    raw += bytes(2 * (slots % 2))
    if chained is not None:
        return header + raw + struct.pack("<III", *chained)
    if handler is not None:
        return header + raw + struct.pack("<I", handler) + handler_data
    return header + raw


def code(offset: int, operation: int, info: int, *extra: int) -> bytes:
    """One unwind code: `offset` is the end of its instruction in the prologue."""
    return struct.pack(f"<BB{len(extra)}H", offset, operation | info << 4, *extra)


def push(offset: int, register: int) -> bytes:
    return code(offset, 0, register)


def alloc(offset: int, size: int) -> bytes:
    """The shortest of the three codes that hold `size`."""
    if 8 <= size <= 128:
        return code(offset, 2, size // 8 - 1)
    if size < 512 * 1024:
        return code(offset, 1, 0, size // 8)
    return code(offset, 1, 1, size & 0xFFFF, size >> 16)


def set_frame(offset: int) -> bytes:
    return code(offset, 3, 0)


def save(offset: int, register: int, where: int) -> bytes:
    """`register` saved at `where` bytes above the stack pointer."""
    if where < 512 * 1024:
        return code(offset, 4, register, where // 8)
    return code(offset, 5, register, where & 0xFFFF, where >> 16)


def save_xmm(offset: int, register: int, where: int) -> bytes:
    if where < 1 << 20:
        return code(offset, 8, register, where // 16)
    return code(offset, 9, register, where & 0xFFFF, where >> 16)


def machine_frame(offset: int, *, error_code: bool = False) -> bytes:
    return code(offset, 10, int(error_code))


def epilogues(size: int, before_end: Sequence[int], *, at_end: bool = True) -> bytes:
    """Version 2's epilogue codes: `size` bytes each, the distances of their starts to the end.

    `at_end` says that there is one that ends the function as well.
    """
    raw = code(size, 6, int(at_end))
    for distance in before_end:
        raw += code(distance & 0xFF, 6, distance >> 8)
    return raw
