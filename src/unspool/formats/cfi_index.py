"""The FDEs of a section that has no search table, by the address that they start at."""

from __future__ import annotations

from struct import Struct

from unspool.errors import FormatError
from unspool.formats.cfi import (
    PE_ABSPTR,
    PE_PCREL,
    PE_SDATA4,
    PE_SDATA8,
    PE_UDATA4,
    PE_UDATA8,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unspool.cursor import Buffer
    from unspool.formats.cfi import CfiSection, Cie

    # What unpacks an FDE's start and size; their bytes; whether the start is
    # relative to where it lies.
    Reader = tuple[Callable[[Buffer, int], tuple[int, ...]], int, bool]

_MAX_RECORDS = 4_000_000
_MAX_TERMINATORS = 10_000

_HEAD = Struct("<II")
_RANGES = {
    PE_SDATA4: Struct("<iI"), PE_UDATA4: Struct("<II"),
    PE_SDATA8: Struct("<qQ"), PE_UDATA8: Struct("<QQ"),
}  # fmt: skip


def index_of(section: CfiSection) -> tuple[list[int], list[int]]:
    """Starts (file addresses) and offsets of all FDEs, sorted; those that make no sense left out.

    Nothing of an FDE is decoded but its range, which nearly always is two integers of fixed
    size: 10,000 FDEs, the most that a program of 10 MB has, take 5 ms.
    """
    pairs = []
    readers: dict[int, Reader | None] = {}
    buffer, address = section.buffer, section.address - section.start
    relocated, mask = section.relocated, (1 << 8 * section.address_size) - 1
    for offset, body, end, cie in fdes(section):
        if cie not in readers:
            readers[cie] = _reader(section, cie)
        reader = readers[cie]
        if reader is not None and body + reader[1] <= end:
            unpack, _, relative = reader
            start, size = unpack(buffer, body)
            start = start + (address + body if relative else -relocated) & mask
        else:
            try:
                fde = section.fde_at(offset)
            except FormatError:
                continue
            if fde is None:
                continue
            start, size = fde.start, fde.end - fde.start
        # Linkers that drop a function leave its FDE behind with address 0.
        if start and size > 0:
            pairs.append((start, offset))
    pairs.sort()
    return [start for start, _ in pairs], [offset for _, offset in pairs]


def _reader(section: CfiSection, at: int) -> Reader | None:
    """How to read the ranges of a CIE's FDEs; None if they need more than one unpacking."""
    try:
        cie: Cie = section.cie_at(at)
    except FormatError:
        return None
    format_, relative = cie.encoding & 0x0F, cie.encoding & 0xF0
    if format_ == PE_ABSPTR:
        format_ = PE_UDATA8 if cie.address_size == 8 else PE_UDATA4
    ranges = _RANGES.get(format_)
    if ranges is None or relative not in (PE_ABSPTR, PE_PCREL):
        return None
    if cie.address_size != section.address_size:
        return None
    return ranges.unpack_from, ranges.size, relative == PE_PCREL


def fdes(section: CfiSection) -> Iterator[tuple[int, int, int, int]]:
    """(offset, body, end, offset of its CIE) of every FDE, as far as the records make a chain."""
    offset, terminators = section.start, 0
    buffer, end, is_eh = section.buffer, section.end, section.is_eh
    head = _HEAD.unpack_from
    for _ in range(_MAX_RECORDS):
        if offset + 8 > end:
            return
        length, id_ = head(buffer, offset)
        if length == 0:
            # .eh_frame ends with a zero length (crtend.o); after that may follow another
            # file's part, so go on if there is room.
            terminators += 1
            if terminators > _MAX_TERMINATORS:
                return
            offset += 4
        elif length != 0xFFFFFFFF:
            after = offset + 4 + length
            if after > end:
                return
            if id_ != (0 if is_eh else 0xFFFFFFFF):
                yield offset, offset + 8, after, offset + 4 - id_ if is_eh else section.start + id_
            offset = after
        else:
            try:
                record = section.record(offset)
            except FormatError:
                return
            assert record is not None
            if not record[3]:
                yield offset, *record[:3]
            offset = record[1]
