"""DWARF call frame information: CIEs and FDEs of .eh_frame and .debug_frame, and the
search table .eh_frame_hdr. (DWARF 5, 6.4 and 7.24; Linux Standard Base 5, 10.6.)

Addresses are those of the file that the section was linked into (`file_address`);
`cfi_row.py` runs an FDE's instructions.
"""

from __future__ import annotations

from bisect import bisect_right
from struct import Struct

from unspool.cursor import Cursor
from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer

# DW_EH_PE_* (LSB 5, 10.5.1).
PE_ABSPTR, PE_ULEB, PE_UDATA2, PE_UDATA4, PE_UDATA8 = 0x00, 0x01, 0x02, 0x03, 0x04
PE_SLEB, PE_SDATA2, PE_SDATA4, PE_SDATA8 = 0x09, 0x0A, 0x0B, 0x0C
PE_PCREL, PE_TEXTREL, PE_DATAREL, PE_FUNCREL, PE_ALIGNED = 0x10, 0x20, 0x30, 0x40, 0x50
PE_INDIRECT, PE_OMIT = 0x80, 0xFF

# Pairs of a search table (start, FDE), by the format of its encoding.
_PAIRS = {
    PE_SDATA4: Struct("<ii"), PE_UDATA4: Struct("<II"),
    PE_SDATA8: Struct("<qq"), PE_UDATA8: Struct("<QQ"),
}  # fmt: skip


class Cie:
    """A common information entry: what its FDEs share."""

    __slots__ = (
        "address_size", "augmentation", "code_align", "data_align", "encoding", "end",
        "has_augmentation_data", "instructions", "ra_column", "signal_frame",
    )  # fmt: skip

    def __init__(self) -> None:
        self.augmentation = b""
        self.code_align = 1
        self.data_align = 1
        self.ra_column = 0
        self.address_size = 8
        self.encoding = PE_ABSPTR
        self.has_augmentation_data = False
        self.signal_frame = False
        self.instructions = 0  # offset in the section's buffer
        self.end = 0


class Fde:
    """A frame description entry: the instructions for code at `[start, end)`."""

    __slots__ = ("cie", "end", "instructions", "instructions_end", "start")

    def __init__(
        self, cie: Cie, start: int, end: int, instructions: int, instructions_end: int
    ) -> None:
        self.cie = cie
        self.start = start
        self.end = end
        self.instructions = instructions
        self.instructions_end = instructions_end


class CfiSection:
    """A .eh_frame (`is_eh`) or .debug_frame section: `buffer[start:end]`.

    `address` is the file address of `buffer[start]`. `data_base` and `text_base` are what
    DW_EH_PE_datarel and textrel are relative to, where known. `relocated` is what a loader has
    added to every absolute address in the buffer: 0 for the bytes of a file.
    """

    __slots__ = (
        "_cies", "_fdes", "_starts", "address", "address_size", "buffer", "data_base", "end",
        "is_eh", "relocated", "start", "text_base",
    )  # fmt: skip

    def __init__(
        self,
        buffer: Buffer,
        start: int,
        end: int,
        address: int,
        *,
        is_eh: bool,
        address_size: int,
        data_base: int = 0,
        text_base: int = 0,
        relocated: int = 0,
    ) -> None:
        self.buffer = buffer
        self.start = start
        self.end = min(end, len(buffer))
        self.relocated = relocated
        self.address = address
        self.is_eh = is_eh
        self.address_size = address_size
        self.data_base = data_base
        self.text_base = text_base
        self._cies: dict[int, Cie] = {}
        self._starts: list[int] | None = None
        self._fdes: list[int] = []

    def fde_at_address(self, address: int) -> Fde:
        """The FDE whose record lies at a file address. Raises `FormatError` if none does."""
        fde = self.fde_at(address - self.address + self.start)
        if fde is None:
            raise FormatError(f"FDE at 0x{address:x}", "is no FDE")
        return fde

    def fde_at(self, offset: int) -> Fde | None:
        """The FDE at an offset in the buffer; None if a CIE or a terminator lies there."""
        record = self.record(offset)
        if record is None or record[3]:
            return None
        body, end, id_offset, _ = record
        cie = self.cie_at(id_offset)
        cursor = Cursor(self.buffer, body, end)
        low = self.read_encoded(cursor, cie.encoding, cie.address_size)
        # The length has the encoding's format, but is never relative to anything.
        size = self.read_encoded(cursor, cie.encoding & 0x0F, cie.address_size, signed=False)
        if cie.has_augmentation_data:
            cursor.skip(cursor.uleb())
        return Fde(cie, low, low + size, cursor.offset, end)

    def find(self, address: int) -> Fde | None:
        """The FDE that covers a file address, found by an index of the whole section.

        For sections without a search table. The index is made once (`cfi_index.py`).
        """
        if self._starts is None:
            from unspool.formats.cfi_index import index_of

            self._starts, self._fdes = index_of(self)
        index = bisect_right(self._starts, address) - 1
        # FDEs can overlap (a cold part inside another's range), so look at a few more.
        for candidate in range(index, max(index - 4, -1), -1):
            try:
                fde = self.fde_at(self._fdes[candidate])
            except FormatError:
                continue  # only its range has been looked at so far
            if fde is not None and fde.start <= address < fde.end:
                return fde
        return None

    def record(self, offset: int) -> tuple[int, int, int, bool] | None:
        """(body, end, offset of its CIE, is CIE) of the record at `offset`; None: terminator."""
        if not self.start <= offset < self.end:
            raise FormatError(f"CFI record at 0x{offset:x}", "outside its section")
        cursor = Cursor(self.buffer, offset, self.end)
        length = cursor.u32()
        wide = length == 0xFFFFFFFF
        if wide:
            length = cursor.u64()
        if length == 0:
            return None
        id_at = cursor.offset
        end = id_at + length
        if end > self.end:
            raise FormatError(f"CFI record at 0x{offset:x}", "reaches past its section")
        # .eh_frame keeps four-byte ids even in records with 64-bit lengths.
        if self.is_eh:
            id_ = cursor.u32()
            return cursor.offset, end, id_at - id_, id_ == 0
        id_ = cursor.u64() if wide else cursor.u32()
        is_cie = id_ == (0xFFFFFFFFFFFFFFFF if wide else 0xFFFFFFFF)
        return cursor.offset, end, self.start + id_, is_cie

    def cie_at(self, offset: int) -> Cie:
        """The CIE at an offset in the buffer. Raises `FormatError` if none lies there."""
        cie = self._cies.get(offset)
        if cie is None:
            record = self.record(offset)
            if record is None or not record[3]:
                raise FormatError(f"CIE at 0x{offset:x}", "is no CIE")
            cie = self._cies[offset] = self._parse_cie(Cursor(self.buffer, record[0], record[1]))
        return cie

    def _parse_cie(self, cursor: Cursor) -> Cie:
        cie = Cie()
        version = cursor.u8()
        if version not in (1, 3, 4):
            raise FormatError("CIE", f"version {version}")
        cie.augmentation = augmentation = cursor.cstring(64)
        cie.address_size = self.address_size
        if version == 4:
            cie.address_size = cursor.u8()
            if cie.address_size not in (4, 8) or cursor.u8():
                raise FormatError("CIE", "odd address or segment selector size")
        if augmentation == b"eh":
            cursor.skip(self.address_size)  # g++ 2.x: pointer to exception handling data
        cie.code_align = cursor.uleb()
        cie.data_align = cursor.sleb()
        cie.ra_column = cursor.u8() if version == 1 else cursor.uleb()
        if augmentation[:1] == b"z":
            cie.has_augmentation_data = True
            after = cursor.uleb() + cursor.offset
            self._parse_augmentation(cie, cursor)
            cursor.offset = after
        elif augmentation not in (b"", b"eh"):
            raise FormatError("CIE", f"unknown augmentation {augmentation!r}")
        cie.instructions, cie.end = cursor.offset, cursor.end
        return cie

    def _parse_augmentation(self, cie: Cie, cursor: Cursor) -> None:
        for letter in cie.augmentation[1:]:
            if letter == 0x52:  # 'R': encoding of the FDEs' addresses
                cie.encoding = cursor.u8()
            elif letter == 0x50:  # 'P': personality routine
                encoding = cursor.u8()
                if encoding != PE_OMIT:
                    self.read_encoded(cursor, encoding & ~PE_INDIRECT, cie.address_size)
            elif letter == 0x4C:  # 'L': encoding of the LSDA pointer
                cursor.u8()
            elif letter == 0x53:  # 'S': signal frame
                cie.signal_frame = True
            elif letter not in b"BG":  # 'B': AArch64 B key; 'G': memory tagged stack
                return  # the length in front lets us skip what we do not know

    def read_encoded(
        self, cursor: Cursor, encoding: int, address_size: int, *, signed: bool = True
    ) -> int:
        """A pointer with a DW_EH_PE encoding, as a file address. Raises `FormatError`.

        `signed` is false for sizes: they are never negative, and nothing relocates them.
        """
        if encoding == PE_OMIT:
            return 0
        mask = (1 << address_size * 8) - 1
        relative = encoding & 0x70
        base = -self.relocated if signed and relative in (PE_ABSPTR, PE_ALIGNED) else 0
        if relative == PE_ALIGNED:
            at = self.address + cursor.offset - self.start
            cursor.skip(-at % address_size)
        elif relative == PE_PCREL:
            base = self.address + cursor.offset - self.start
        elif relative == PE_DATAREL:
            base = self.data_base
        elif relative == PE_TEXTREL:
            base = self.text_base
        value = read_value(cursor, encoding & 0x0F, address_size)
        if not signed and value < 0:
            value &= (1 << 8 * _SIZES.get(encoding & 0x0F, 8)) - 1
        if encoding & PE_INDIRECT:
            raise FormatError("encoded pointer", "indirect")
        return (value + base) & mask


_SIZES = {PE_SDATA2: 2, PE_SDATA4: 4, PE_SDATA8: 8}
_READERS = {
    PE_ULEB: Cursor.uleb, PE_UDATA2: Cursor.u16, PE_UDATA4: Cursor.u32, PE_UDATA8: Cursor.u64,
    PE_SLEB: Cursor.sleb, PE_SDATA2: Cursor.i16, PE_SDATA4: Cursor.i32, PE_SDATA8: Cursor.i64,
}  # fmt: skip


def read_value(cursor: Cursor, format_: int, address_size: int) -> int:
    """A value in one of the DW_EH_PE formats (the encoding's lower four bits)."""
    if format_ in (PE_ABSPTR, 0x08):  # 0x08 is DW_EH_PE_signed: a signed pointer
        return cursor.u64() if address_size == 8 else cursor.u32()
    reader = _READERS.get(format_)
    if reader is None:
        raise FormatError("encoded pointer", f"unknown format {format_}")
    return reader(cursor)


class EhFrameHdr:
    """.eh_frame_hdr: where .eh_frame is, and its FDEs sorted by start (LSB 5, 10.6.2).

    `address` is the file address of `buffer[start]`. Raises `FormatError` if the header
    is of no known version or its table has no fixed-size entries.
    """

    __slots__ = ("_base", "_count", "_entry", "_table", "_unpack", "buffer", "eh_frame", "end")

    def __init__(
        self, buffer: Buffer, start: int, end: int, address: int, address_size: int
    ) -> None:
        self.buffer = buffer
        self.end = min(end, len(buffer))
        section = CfiSection(
            buffer, start, end, address, is_eh=True, address_size=address_size, data_base=address
        )
        cursor = Cursor(buffer, start, end)
        if cursor.u8() != 1:
            raise FormatError(".eh_frame_hdr", "unknown version")
        pointer, count, table = cursor.u8(), cursor.u8(), cursor.u8()
        self.eh_frame = section.read_encoded(cursor, pointer, address_size)
        self._count = 0
        self._table = self._entry = 0
        self._base = address
        self._unpack = _PAIRS[PE_SDATA4].unpack_from
        if PE_OMIT in (count, table):
            return
        claimed = section.read_encoded(cursor, count, address_size)
        format_, relative = table & 0x0F, table & 0x70
        if format_ == PE_ABSPTR:
            # Differences to the header can be negative, addresses cannot.
            signed = PE_SDATA8 if address_size == 8 else PE_SDATA4
            format_ = signed if relative else signed & ~0x08
        pairs = _PAIRS.get(format_)
        if pairs is None or relative not in (PE_DATAREL, PE_ABSPTR) or table & PE_INDIRECT:
            raise FormatError(".eh_frame_hdr", f"table of encoding 0x{table:02x}")
        self._base = address if relative == PE_DATAREL else 0
        self._unpack = pairs.unpack_from
        self._entry = pairs.size
        self._table = cursor.offset
        self._count = max(0, min(claimed, (self.end - self._table) // self._entry))

    def __len__(self) -> int:
        """The number of entries in the table that really lie in the section."""
        return self._count

    def find(self, address: int) -> int | None:
        """File address of the FDE with the greatest start not above `address`, or None.

        The FDE's own range must be checked: the table has no ends, and the code after a
        library's last function belongs to none (a JIT's, or the next library's).
        """
        unpack, buffer, table, entry = self._unpack, self.buffer, self._table, self._entry
        relative = address - self._base
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            if unpack(buffer, table + middle * entry)[0] <= relative:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            return None
        fde: int = unpack(buffer, table + (low - 1) * entry)[1]
        return fde + self._base
