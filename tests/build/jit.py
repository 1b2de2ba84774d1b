"""Processes with a list of JIT objects, as GDB's JIT interface has it: honest ones and lying ones.

    built = JitObject("x86_64", CODE, [Function("made", 0, 0x40)])
    process = Listed("x86_64", [built.build()])
    process.regions  # (address, bytes, executable)

Objects are relocatable files whose sections have addresses, and nothing is relocated in them but
with `relocated`; the unwind data that a program itself uses are at `frames_address`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tests.build import cfi
from tests.build.elf import (
    ET_REL,
    STB_LOCAL,
    STT_SECTION,
    Elf,
    Symbol,
)

DESCRIPTOR, ENTRIES, OBJECTS = 0x10_0000, 0x20_0000, 0x1000_0000
SHT_REL, SHT_RELA = 9, 4


@dataclass(frozen=True)
class Layout:
    bits: int
    machine: int
    descriptor: str
    entry: str
    pc32: int
    rela: bool
    initial: bytes
    data_align: int
    return_register: int


# The size of an object is a uint64_t; only i386 aligns it to four bytes.
LAYOUTS = {
    "x86_64": Layout(
        64, 62, "<IIQQ", "<QQQQ", 2, True, cfi.def_cfa(7, 8) + cfi.offset(16, 1), -8, 16
    ),
    "i386": Layout(32, 3, "<IIII", "<IIIQ", 2, False, cfi.def_cfa(4, 4) + cfi.offset(8, 1), -4, 8),
    "aarch64": Layout(64, 183, "<IIQQ", "<QQQQ", 261, True, cfi.def_cfa(31, 0), -8, 30),
    "arm": Layout(32, 40, "<IIII", "<IIIIQ", 3, False, cfi.def_cfa(13, 0), -4, 14),
}


@dataclass(frozen=True)
class Function:
    """`frame` is how much of the stack it takes, from its fourth byte on."""

    name: str
    offset: int
    size: int
    frame: int = 48


class JitObject:
    """An object of one section of code at `code`, `size` bytes. `build` gives its bytes."""

    def __init__(
        self,
        arch: str,
        code: int,
        functions: Sequence[Function],
        *,
        size: int = 0x100,
        frames_address: int = 0,
        relocated: bool = False,
        relocation: int | None = None,
        section: str = ".text",
        kind: int = ET_REL,
        **lies: int,
    ) -> None:
        self.layout = LAYOUTS[arch]
        self.code = code
        self.functions = functions
        self.size = size
        self.frames_address = frames_address
        self.relocated = relocated
        self.relocation = self.layout.pc32 if relocation is None else relocation
        self.section = section
        self.kind = kind
        self.lies = lies

    def frames(self) -> tuple[bytes, list[int]]:
        """The unwind data as they are at `frames_address`, and where its FDEs are."""
        layout = self.layout
        made = cfi.FrameSection(address=self.frames_address, address_size=layout.bits // 8)
        cie = made.cie(
            initial=layout.initial, data_align=layout.data_align,
            return_register=layout.return_register,
        )  # fmt: skip
        at = [
            made.fde(
                cie, self.code + each.offset, each.size,
                cfi.advance_loc(4) + cfi.def_cfa_offset(each.frame),
            )
            for each in self.functions
        ]  # fmt: skip
        return made.build(), at

    def build(self) -> bytes:
        layout = self.layout
        elf = Elf(layout.bits, layout.machine, self.kind, **self.lies)
        text = elf.section(self.section, data=bytes(self.size), flags="ax", sh_addr=self.code)
        data, fdes = self.frames()
        symbols = [Symbol("", 0, section=text, bind=STB_LOCAL, kind=STT_SECTION)]
        base = 0 if self.kind == ET_REL else self.code
        symbols += [
            Symbol(each.name, base + each.offset, each.size, section=text)
            for each in self.functions
        ]
        if not self.relocated:
            data = self._unrelocated(data, fdes)
        frames = elf.section(
            ".eh_frame", data=data, flags="a", align=8, sh_addr=self.frames_address
        )
        table = elf.symbols(symbols)
        if not self.relocated:
            elf.section(
                ".rela.eh_frame" if layout.rela else ".rel.eh_frame",
                SHT_RELA if layout.rela else SHT_REL,
                self._relocations(fdes),
                link=table, info=frames.index, align=8,
                entry_size=(24 if layout.bits == 64 else 8),
            )  # fmt: skip
        return elf.build()

    def _unrelocated(self, data: bytes, fdes: Sequence[int]) -> bytes:
        out = bytearray(data)
        for at, function in zip(fdes, self.functions, strict=True):
            addend = 0 if self.layout.rela else function.offset
            out[at + 8 : at + 12] = addend.to_bytes(4, "little")
        return bytes(out)

    def _relocations(self, fdes: Sequence[int]) -> bytes:
        """Symbol 1 is the section's."""
        parts = []
        for at, function in zip(fdes, self.functions, strict=True):
            if self.layout.bits == 64:
                info = 1 << 32 | self.relocation
                parts.append(struct.pack("<QQq", at + 8, info, function.offset))
            else:
                parts.append(struct.pack("<II", at + 8, 1 << 8 | self.relocation))
        return b"".join(parts)


class Listed:
    """A list of objects. `links` are which entry follows each, by index; None is the end."""

    def __init__(
        self,
        arch: str,
        objects: Sequence[bytes],
        *,
        version: int = 1,
        links: Sequence[int | None] | None = None,
        sizes: Sequence[int] | None = None,
        first: int | None = None,
    ) -> None:
        layout = LAYOUTS[arch]
        count = len(objects)
        size = struct.calcsize(layout.entry)
        step = -(-size // 8) * 8
        places = [ENTRIES + index * step for index in range(count)]
        follows = links if links is not None else [*range(1, count), None][:count]
        entries = bytearray(step * count)
        held = bytearray()
        for index, data in enumerate(objects):
            held += bytes(-len(held) % 16)
            link = follows[index]
            fields = [
                0 if link is None else places[link], 0, OBJECTS + len(held),
                len(data) if sizes is None else sizes[index],
            ]  # fmt: skip
            if arch == "arm":
                fields.insert(3, 0xDEAD)  # padding
            struct.pack_into(layout.entry, entries, index * step, *fields)
            held += data
        head = places[0] if places else 0
        descriptor = struct.pack(layout.descriptor, version, 1, 0, head if first is None else first)
        self.regions: list[tuple[int, bytes, bool]] = [
            (DESCRIPTOR, descriptor, False),
            (ENTRIES, bytes(entries), False),
            (OBJECTS, bytes(held), False),
        ]
