"""What is kept of a PE image in memory: headers, unwind data and exports of some functions."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Collection, Iterable

from unspool.formats.cfi import CfiSection
from unspool.formats.pe import EXCEPTION, EXPORT, MACHINE_AMD64
from unspool.pe_image import PeImage

from .kept import Kept

RUNTIME_FUNCTION = 12
# A CIE of version 1 without augmentation, for i386; the rest of the record is DW_CFA_nop.
FILLER = bytes((1, 0, 1, 0x7C, 8))


def keep_pe(kept: Kept, image: PeImage, touched: Collection[int], exports: set[str]) -> None:
    """Keeps an image; `touched` are addresses in functions that a walk meets.

    Of its export table what begins there, and `exports`, which are looked up by name.
    """
    headers = image.headers
    kept.keep(image.base, headers.size_of_headers)
    rvas = sorted(address - image.base for address in touched)
    directory = headers.directory(EXPORT)
    if directory is not None and (touched or exports):
        keep_exports(kept, image, directory, rvas, exports)
    if not touched:
        return
    directory = headers.directory(EXCEPTION)
    if directory is not None and headers.machine == MACHINE_AMD64:
        keep_function_table(kept, image.base + directory[0], directory[1], rvas)
    section = image.eh_frame()[1]
    if section is not None:
        keep_eh_frame(kept, image, section, rvas)


def keep_function_table(kept: Kept, address: int, size: int, rvas: Iterable[int]) -> None:
    """Keeps the entries of functions and their neighbours; zeros, as linkers leave, behind them.

    UNWIND_INFO lies elsewhere, and stays where it is as far as it is read.
    """
    raw = kept.memory.read(address, size)
    table = [
        struct.unpack_from("<III", raw, at)
        for at in range(0, size - size % RUNTIME_FUNCTION, RUNTIME_FUNCTION)
    ]
    table = [entry for entry in table if entry[0]]
    starts = [begin for begin, _, _ in table]
    wanted = set()
    for rva in rvas:
        index = bisect_right(starts, rva)
        wanted |= {index - 1, index} & set(range(len(table)))
    # An odd address of unwind information points back into this table.
    assert not any(table[index][2] & 1 for index in wanted)
    rows = b"".join(struct.pack("<III", *table[index]) for index in sorted(wanted))
    kept.replace(address, rows, size)


def keep_eh_frame(kept: Kept, image: PeImage, section: CfiSection, rvas: Iterable[int]) -> None:
    """Keeps the FDEs that cover addresses and their neighbours, where they are.

    Nothing leads to them but the chain of records: what is left out becomes records that
    nothing refers to.
    """
    fdes: list[tuple[int, int, int, int, int]] = []
    offset = section.start
    while offset + 8 <= section.end:
        record = section.record(offset)
        if record is None:
            break
        fde = section.fde_at(offset)
        if fde is not None and fde.start and fde.end > fde.start:
            fdes.append((fde.start, fde.end, offset, record[1], record[2]))
        offset = record[1]
    fdes.sort()
    starts = [fde[0] for fde in fdes]
    places = set()
    for rva in rvas:
        index = bisect_right(starts, rva + image.headers.image_base)
        for each in (index - 1, index):
            if 0 <= each < len(fdes):
                _, _, begin, end, cie = fdes[each]
                places.add((begin, end))
                record = section.record(cie)
                assert record is not None
                places.add((cie, record[1]))
    kept.replace(*chained(section, image, sorted(places)))


def chained(
    section: CfiSection, image: PeImage, places: Iterable[tuple[int, int]]
) -> tuple[int, bytes, int]:
    """The section's address, contents with these records alone, and size."""
    data = bytearray()
    buffer, start = section.buffer, section.start
    for begin, end in [*places, (section.end, section.end)]:
        gap = begin - start - len(data)
        if gap >= 8 + len(FILLER):
            data += (struct.pack("<II", gap - 4, 0) + FILLER).ljust(gap, b"\0")
        else:
            data += bytes(gap)
        data += buffer[begin:end]
    address = section.address + image.base - image.headers.image_base
    return address, bytes(data), section.end - start


def keep_exports(
    kept: Kept, image: PeImage, directory: tuple[int, int], rvas: Iterable[int], names: set[str]
) -> None:
    """Keeps some exports. Ordinals stay the same: the others' addresses are 0, as unused ones'."""
    base, memory, wanted = image.base, kept.memory, set(rvas)
    head = bytearray(memory.read(base + directory[0], 40))
    name, _, count, name_count, functions, name_table, ordinals = struct.unpack_from(
        "<IIIIIII", head, 12
    )
    addresses = struct.unpack(f"<{count}I", memory.read(base + functions, 4 * count))
    named = list(
        zip(
            struct.unpack(f"<{name_count}I", memory.read(base + name_table, 4 * name_count)),
            struct.unpack(f"<{name_count}H", memory.read(base + ordinals, 2 * name_count)),
            strict=True,
        )
    )
    rvas_of_names = sorted(addresses[index] for _, index in named)
    begins = {
        addresses[index]
        for at, index in named
        if addresses[index] in wanted or text(kept, base + at) in names
    }
    # What is exported next ends a function that has no unwind data.
    for rva in list(begins):
        begins.update(rvas_of_names[bisect_right(rvas_of_names, rva) :][:1])
    kept_names = [(at, index) for at, index in named if addresses[index] in begins]
    indexes = {index for _, index in kept_names}
    for at in (name, *(at for at, _ in kept_names)):
        kept.keep(base + at, len(text(kept, base + at)) + 1)
    struct.pack_into("<I", head, 24, len(kept_names))
    kept.replace(base + directory[0], bytes(head), 40)
    left = [rva if index in indexes else 0 for index, rva in enumerate(addresses)]
    kept.replace(base + functions, struct.pack(f"<{count}I", *left), 4 * count)
    rows = struct.pack(f"<{len(kept_names)}I", *(at for at, _ in kept_names))
    kept.replace(base + name_table, rows, 4 * name_count)
    rows = struct.pack(f"<{len(kept_names)}H", *(index for _, index in kept_names))
    kept.replace(base + ordinals, rows, 2 * name_count)


def text(kept: Kept, address: int) -> str:
    """The text at an address up to a NUL."""
    return kept.memory.read_available(address, 256).partition(b"\0")[0].decode("latin-1")
