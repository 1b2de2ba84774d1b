"""What is kept of an ELF image in memory: headers, build id, unwind data of some functions."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable

from .kept import Kept

PT_LOAD, PT_NOTE, PT_GNU_EH_FRAME = 1, 4, 0x6474E550
# Pointer to .eh_frame relative to its place, a count, a table relative to the header: all that
# GNU ld and LLD write.
ENCODINGS = bytes((1, 0x1B, 0x03, 0x3B))


def keep_elf(kept: Kept, base: int, touched: Iterable[int]) -> None:
    """Keeps an image at `base`; `touched` are addresses in functions that a walk meets."""
    ident = kept.keep(base, 64)
    is_64 = ident[4] == 2
    (phoff,) = struct.unpack_from("<Q" if is_64 else "<I", ident, 32 if is_64 else 28)
    entry, count = struct.unpack_from("<HH", ident, 54 if is_64 else 42)
    headers = kept.keep(base + phoff, entry * count)
    rows = []
    for at in range(0, len(headers), entry):
        if is_64:
            kind, _, _, address, _, _, size, _ = struct.unpack_from("<IIQQQQQQ", headers, at)
        else:
            kind, _, address, _, _, size, _, _ = struct.unpack_from("<IIIIIIII", headers, at)
        rows.append((kind, address, size))
    bias = base - min(address & -0x1000 for kind, address, _ in rows if kind == PT_LOAD)
    for kind, address, size in rows:
        if kind == PT_NOTE:
            kept.keep(bias + address, size)
        elif kind == PT_GNU_EH_FRAME:
            keep_unwind_data(kept, bias + address, size, sorted(touched))


def keep_unwind_data(kept: Kept, header: int, size: int, touched: Iterable[int]) -> None:
    """Keeps the FDEs that cover addresses, and a search table of these and their neighbours.

    The neighbour behind an address ends the function in front; the one that an address without
    unwind data would be taken to be in has a range that speaks against it.
    """
    raw = kept.memory.read(header, size)
    assert raw[:4] == ENCODINGS, raw[:4].hex()
    section, count = struct.unpack_from("<iI", raw, 4)
    table = [struct.unpack_from("<ii", raw, 12 + 8 * index) for index in range(count)]
    starts = [start for start, _ in table]
    wanted = set()
    end = 0
    for address in touched:
        index = bisect_right(starts, address - header)
        wanted |= {index - 1, index} & set(range(count))
        if index:
            end = max(end, keep_fde(kept, header + table[index - 1][1]))
    # It is read as one piece from its begin on.
    kept.whole.add(header + 4 + section, end)
    rows = b"".join(struct.pack("<ii", *table[index]) for index in sorted(wanted))
    kept.replace(header, raw[:8] + struct.pack("<I", len(wanted)) + rows, size)


def keep_fde(kept: Kept, address: int) -> int:
    """Keeps a record and the one with what it shares with others; says where it ends."""
    length, back = struct.unpack("<II", kept.memory.read(address, 8))
    cie = address + 4 - back
    (shared,) = struct.unpack("<I", kept.memory.read(cie, 4))
    kept.keep(cie, 4 + shared)
    return address + len(kept.keep(address, 4 + length))
