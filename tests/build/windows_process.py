"""A made-up Wine process: TEB, PEB, the loader's list, and PE images in some of their ways.

    process = WindowsProcess(8)
    process.add(made, 0x1_8000_0000, "/opt/a.dll")           # mapped from the file, not held
    process.add(made, 0x1_4000_0000, "/opt/a.exe", copied=True)  # all but the header is copied
    data = process.core().build()

Structures are those of Wine's include/winternl.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from tests.build.core import Core
from tests.build.pe import Image

PAGE = 0x1000
NT_386_TLS = 0x200
TEB, PEB, LDR = 0x7FFD_0000, 0x7FFE_0000, 0x34_0000
PEB32, LDR32 = 0x7FFE_1000, 0x38_0000
STACK = 0x12_0000, 0x32_0000  # limit and base


@dataclass
class Entry:
    """An LDR_DATA_TABLE_ENTRY. `next` overrides its link."""

    base: int
    size: int
    full_name: str = ""
    base_name: str = ""
    entry_point: int = 0
    timestamp: int = 0
    next: int | None = None
    names_at: int | None = None
    name_size: int | None = None


def loader_list(entries: list[Entry], word: int, at: int, **lies: int) -> bytes:
    """A PEB_LDR_DATA at `at`, with its entries and their names behind it.

    `lies`: `head`, the first link; `last`, the link of the last entry.
    """
    pointer = "Q" if word == 8 else "I"
    head = at + (0x10 if word == 8 else 0xC)
    size = 0x130 if word == 8 else 0xB0
    places = [at + 0x60 + index * size for index in range(len(entries))]
    text = at + 0x60 + len(entries) * size
    names, table = bytearray(), bytearray()
    for index, entry in enumerate(entries):
        following = places[index + 1] if index + 1 < len(places) else lies.get("last", head)
        link = following if entry.next is None else entry.next
        row = bytearray(size)
        base_at = 0x30 if word == 8 else 0x18
        struct.pack_into(f"<{pointer}", row, 0, link)
        struct.pack_into(
            f"<{pointer}{pointer}I", row, base_at, entry.base, entry.entry_point, entry.size
        )
        for offset, name in ((0x48, entry.full_name), (0x58, entry.base_name)):
            raw = name.encode("utf-16-le")
            place = text + len(names) if entry.names_at is None else entry.names_at
            count = len(raw) if entry.name_size is None else entry.name_size
            where = offset if word == 8 else 0x24 + (offset - 0x48) // 2
            padding = "4x" if word == 8 else ""
            struct.pack_into(f"<HH{padding}{pointer}", row, where, count, count, place)
            names += raw + b"\0\0"
        struct.pack_into("<I", row, 0x80 if word == 8 else 0x44, entry.timestamp)
        table += row
    start = bytearray(0x60)
    first = lies.get("head", places[0] if places else head)
    struct.pack_into(f"<{pointer}", start, head - at, first)
    return bytes(start + table + names)


def peb(word: int, ldr: int, image_base: int) -> bytes:
    """A PEB of one page."""
    data = bytearray(PAGE)
    pointer = "<Q" if word == 8 else "<I"
    struct.pack_into(pointer, data, 2 * word, image_base)
    struct.pack_into(pointer, data, 3 * word, ldr)
    return bytes(data)


def teb(word: int, address: int, peb_at: int, wow_offset: int = 0) -> bytes:
    """A TEB of two pages."""
    data = bytearray(2 * PAGE)
    pointer = "<Q" if word == 8 else "<I"
    struct.pack_into(pointer, data, word, STACK[1])
    struct.pack_into(pointer, data, 2 * word, STACK[0])
    struct.pack_into(pointer, data, 0x30 if word == 8 else 0x18, address)
    struct.pack_into(pointer, data, 0x60 if word == 8 else 0x30, peb_at)
    struct.pack_into("<i", data, 0x180C if word == 8 else 0xFDC, wow_offset)
    return bytes(data)


@dataclass
class WindowsProcess:
    """A process in the making. `word` is the size of its pointers.

    `entries` are its loader's, `entries32` those of the other one in a WoW64 process. Without
    `registers` no thread leads to its TEB, without `lists` it has neither TEB nor PEB.
    """

    word: int = 8
    registers: bool = True
    lists: bool = True
    entries: list[Entry] = field(default_factory=list)
    entries32: list[Entry] = field(default_factory=list)
    files: list[tuple[int, int, int, str]] = field(default_factory=list)
    loads: list[tuple[int, bytes, int, str]] = field(default_factory=list)
    unlisted: bool = False  # gcore: what is not dumped has no segment
    lies: dict[str, int] = field(default_factory=dict)

    def add(
        self,
        image: Image,
        base: int,
        path: str = "",
        *,
        copied: bool = False,
        hold_header: bool = False,
        hold: bytes | None = None,
        listed: bool = True,
        windows_path: str = "",
        wow64: bool = False,
        timestamp: int = 0x5F5E100F,
        entry_point: int = 0,
    ) -> None:
        """Maps an image. `hold` is its memory, if the sections are to be in the core.

        If `copied`, sections are in anonymous memory, and in the core; else they are mapped
        from `path`. Without a path even the header is anonymous.
        """
        memory = image.memory(base) if hold is None else hold
        held = hold_header or not path
        self._map(base, memory[:PAGE] if held else b"", PAGE, "r", 0 if path else None, path)
        for section in image.sections:
            size = section.size + -section.size % PAGE
            flags = "r" + "w" * bool(section.characteristics & 0x80000000)
            flags += "x" * bool(section.characteristics & 0x20000000)
            keep = copied or hold is not None or not path
            data = memory[section.rva : section.rva + size] if keep else b""
            offset = None if copied or not path else section.offset
            self._map(base + section.rva, data, size, flags, offset, path)
        if listed:
            full = windows_path or f"Z:{path}".replace("/", "\\")
            entry = Entry(
                base, image.size_of_image, full, full.rpartition("\\")[2], timestamp=timestamp,
                entry_point=entry_point,
            )  # fmt: skip
            (self.entries32 if wow64 else self.entries).append(entry)

    def _map(
        self, start: int, data: bytes, size: int, flags: str, offset: int | None, path: str
    ) -> None:
        if offset is not None:
            self.files.append((start, start + size, offset, path))
        if data or not self.unlisted:
            self.loads.append((start, data, size, flags))

    def map_data(self, data: bytes, start: int, path: str, flags: str = "r", *, hold: bool) -> None:
        """Maps a whole file as it is."""
        size = len(data) + -len(data) % PAGE
        self._map(start, data if hold else b"", size, flags, 0, path)

    def core(self) -> Core:
        """The core's builder."""
        core = Core("x86_64" if self.word == 8 else "i386")
        if self.word == 8:
            core.thread(100, {"gs_base": TEB} if self.registers else {})
        else:
            core.thread(100, {"fs": 0x6B})
            if self.registers:
                core.note("LINUX", NT_386_TLS, struct.pack("<4I", 13, TEB, 0xFFF, 0x51))
        core.process(100, "a.exe", "a.exe")
        core.files(self.files)
        for start, data, size, flags in sorted(self.loads):
            core.load(start, data, memsz=size, flags=flags)
        if self.lists:
            self._environment(core)
        return core

    def _environment(self, core: Core) -> None:
        first = self.entries[0].base if self.entries else 0
        wow64 = 0x2000 if self.entries32 else 0
        memory = {
            TEB: teb(self.word, TEB, PEB, wow64),
            PEB: peb(self.word, LDR, first),
            LDR: loader_list(self.entries, self.word, LDR, **self.lies),
        }
        if wow64:
            memory[TEB + wow64] = teb(4, TEB + wow64, PEB32)
            memory[PEB32] = peb(4, LDR32, first)
            memory[LDR32] = loader_list(self.entries32, 4, LDR32)
        for address, data in sorted(memory.items()):
            core.load(address, data, flags="rw")
