"""Unwind data of x86-64 PE images: the function table (.pdata) and UNWIND_INFO (.xdata).

Microsoft, "x64 exception handling". Everything is addressed by RVA. `pe_row.py` makes rows
of it.
"""

from __future__ import annotations

from struct import Struct, unpack

from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from unspool.cursor import Buffer

    Read = Callable[[int, int], bytes]

# Registers as PE numbers them, which is as instructions do; RIP is our own addition.
RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)
RIP = 16

# UNWIND_CODE.UnwindOp. 6 and 7 had another meaning in version 1, see `_SIZES`.
PUSH_NONVOL, ALLOC_LARGE, ALLOC_SMALL, SET_FPREG, SAVE_NONVOL, SAVE_NONVOL_FAR = range(6)
EPILOG, SPARE, SAVE_XMM128, SAVE_XMM128_FAR, PUSH_MACHFRAME = range(6, 11)

CHAININFO = 4  # UNWIND_INFO.Flags: a RUNTIME_FUNCTION follows the codes
INDIRECT = 1  # in RUNTIME_FUNCTION.UnwindData: it is the RVA of another RUNTIME_FUNCTION

_ENTRY = Struct("<III")
_START = Struct("<I").unpack_from

# 16-bit slots that a code takes, and what its operand counts, by version. Version 1 at first
# had 64-bit saves of XMM registers as 6 and 7; no compiler is known to have used them.
_V1 = {
    PUSH_NONVOL: (1, 0), ALLOC_LARGE: (2, 8), ALLOC_SMALL: (1, 0), SET_FPREG: (1, 0),
    SAVE_NONVOL: (2, 8), SAVE_NONVOL_FAR: (3, 1), 6: (2, 8), 7: (3, 1), SAVE_XMM128: (2, 16),
    SAVE_XMM128_FAR: (3, 1), PUSH_MACHFRAME: (1, 0),
}  # fmt: skip
# Windows takes two slots for EPILOG, LLVM one. Compilers write an even number of them, so
# that both read the same codes after them.
_SIZES = {1: _V1, 2: {**_V1, EPILOG: (1, 0), SPARE: (3, 1)}}


class RuntimeFunction:
    """RUNTIME_FUNCTION: code at `[begin, end)` and the RVA of its UNWIND_INFO.

    With its lowest bit set, `unwind` is one more than the RVA of another RUNTIME_FUNCTION,
    of whose function this is a part.
    """

    __slots__ = ("begin", "end", "unwind")

    SIZE = _ENTRY.size

    def __init__(self, begin: int, end: int, unwind: int) -> None:
        self.begin = begin
        self.end = end
        self.unwind = unwind

    @classmethod
    def parse(cls, buffer: Buffer, offset: int) -> RuntimeFunction:
        """The one at an offset. Raises `FormatError` if it is not there whole."""
        if offset < 0 or offset + _ENTRY.size > len(buffer):
            raise FormatError("RUNTIME_FUNCTION", "cut short")
        return cls(*_ENTRY.unpack_from(buffer, offset))


class FunctionTable:
    """The RUNTIME_FUNCTIONs of an image, `buffer[start:end]`, sorted by where they begin."""

    __slots__ = ("_count", "_start", "buffer")

    def __init__(self, buffer: Buffer, start: int, end: int) -> None:
        self.buffer = buffer
        self._start = start
        self._count = max(min(end, len(buffer)) - start, 0) // _ENTRY.size if start >= 0 else 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> RuntimeFunction:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return RuntimeFunction.parse(self.buffer, self._start + index * _ENTRY.size)

    def find(self, rva: int) -> RuntimeFunction | None:
        """The function whose code is at `rva`; None for a leaf function, which has no entry.

        Incremental linking leaves room at the end of the table, all zero: entries that
        begin at 0 count as behind everything.
        """
        buffer, start, size = self.buffer, self._start, _ENTRY.size
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            if 0 < _START(buffer, start + middle * size)[0] <= rva:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            return None
        found = self[low - 1]
        return found if found.begin <= rva < found.end else None


class UnwindInfo:
    """UNWIND_INFO: what a prologue did, the last step first.

    `codes` are (offset, operation, info, value): the offset in the code of the end of the
    instruction, and the operand in bytes: a size, or an offset from the frame. `prologue`
    is the prologue's size. `frame_offset` is how far the frame register, if there is one
    (not 0), points above the frame, in bytes. `parent` is the function of which this one is
    a part.

    Version 2 records epilogues: `epilogues` are their distances from the function's end, at
    which they begin, each `epilogue_size` bytes up to and with the first byte of the
    instruction that leaves. None in version 1.
    """

    __slots__ = (
        "codes", "epilogue_size", "epilogues", "flags", "frame_offset", "frame_register",
        "parent", "prologue", "version",
    )  # fmt: skip

    def __init__(self, version: int, flags: int, prologue: int, frame: int) -> None:
        self.version = version
        self.flags = flags
        self.prologue = prologue
        self.frame_register = frame & 15
        self.frame_offset = (frame >> 4) * 16
        self.codes: list[tuple[int, int, int, int]] = []
        self.epilogues: list[int] | None = None
        self.epilogue_size = 0
        self.parent: RuntimeFunction | None = None

    @property
    def chained(self) -> bool:
        return self.flags & CHAININFO != 0


def parse_unwind_info(read: Read, rva: int) -> UnwindInfo:
    """The UNWIND_INFO at an RVA. `read` gives that many bytes at an RVA and may raise `Fault`.

    Raises `FormatError` for a version or a code that is not known.
    """
    data = read(rva, 4)
    if len(data) < 4:
        raise FormatError(f"UNWIND_INFO at 0x{rva:x}", "cut short")
    head, prologue, count, frame = data
    version, flags = head & 7, head >> 3
    if version not in _SIZES:
        raise FormatError(f"UNWIND_INFO at 0x{rva:x}", f"version {version} is not supported")
    info = UnwindInfo(version, flags, prologue, frame)
    # Codes are padded to four bytes. An exception handler may follow; it finds no callers.
    padded = (count + 1) // 2 * 4
    size = padded + _ENTRY.size if info.chained else 2 * count
    data = read(rva + 4, size) if size else b""
    if len(data) < size:
        raise FormatError(f"UNWIND_INFO at 0x{rva:x}", "cut short")
    if count:
        _parse_codes(info, unpack(f"<{count}H", data[: 2 * count]), rva)
    if info.chained:
        info.parent = RuntimeFunction.parse(data, padded)
    return info


def _parse_codes(info: UnwindInfo, slots: tuple[int, ...], rva: int) -> None:
    sizes, codes, count = _SIZES[info.version], info.codes, len(slots)
    index = 0
    while index < count:
        slot = slots[index]
        offset, operation, argument = slot & 0xFF, slot >> 8 & 15, slot >> 12
        size, scale = sizes.get(operation, (0, 0))
        if operation == ALLOC_LARGE and argument:
            size, scale = (3, 1) if argument == 1 else (0, 0)
        if not size:
            raise FormatError(
                f"UNWIND_INFO at 0x{rva:x}", f"unknown unwind code {operation}/{argument}"
            )
        if index + size > count:
            raise FormatError(f"UNWIND_INFO at 0x{rva:x}", "its last unwind code is cut short")
        if size == 2:
            value = slots[index + 1] * scale
        elif size == 3:
            value = slots[index + 1] | slots[index + 2] << 16
        else:
            value = 8 * argument + 8 if operation == ALLOC_SMALL else 0
        codes.append((offset, operation, argument, value))
        index += size
    if info.version == 2:
        _take_epilogues(info)


def _take_epilogues(info: UnwindInfo) -> None:
    """Moves the EPILOG codes out of the codes.

    The first says how long all epilogues are and, in its lowest bit, whether one ends the
    function. Each further one is the distance of another; 0 is padding.
    """
    info.epilogues = found = []
    rest = []
    first = True
    for code in info.codes:
        offset, operation, argument, _ = code
        if operation != EPILOG:
            rest.append(code)
        elif first:
            first = False
            info.epilogue_size = offset
            if argument & 1:
                found.append(offset)
        elif offset or argument:
            found.append(offset | argument << 8)
    info.codes = rest
