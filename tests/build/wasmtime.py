"""Builds code images as Wasmtime has them: a relocatable ELF file whose sections lie at their
offsets, with its symbols, its map of addresses and the names of its functions.

    image = Image([Function("wasm[0]::function[1]::inner", 0, 49)], code=bytes(0x100))
    image.address_map = flat_map([(0, None), (16, 65)])
    data = image.build()
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tests.build.encoding import sleb, uleb

PAGE = 0x1000
NOWHERE = 0xFFFF_FFFF
Positions = Sequence[tuple[int, int | None]]


class Function:
    """A symbol: `start` and `size` in the text."""

    def __init__(self, symbol: str, start: int, size: int, kind: int = 2) -> None:
        self.symbol = symbol
        self.start = start
        self.size = size
        self.kind = kind


class Image:
    """`name`, `names` go into .wasmtime.info as `info` encodes them."""

    def __init__(
        self,
        functions: Sequence[Function] = (),
        code: bytes = bytes(64),
        *,
        machine: int = 62,
        address_map: bytes = b"",
        info: bytes = b"",
        names: bytes = b"",
        eh_frame: bytes = b"",
        version: str = "50",
        extra: Sequence[tuple[str, bytes]] = (),
        **lies: int,
    ) -> None:
        self.functions = functions
        self.code = code
        self.machine = machine
        self.address_map = address_map
        self.info = info
        self.names = names
        self.eh_frame = eh_frame
        self.version = version
        self.extra = extra
        self.lies = lies

    def build(self) -> bytes:
        strings, symbols = bytearray(b"\0"), bytearray(24)
        for each in self.functions:
            symbols += struct.pack("<IBBHQQ", len(strings), each.kind, 0, 3, each.start, each.size)
            strings += each.symbol.encode() + b"\0"
        engine = b"\0" + bytes([len(self.version)]) + self.version.encode() + bytes(900)
        sections = [
            (".wasmtime.engine", engine, 1), (".wasmtime.bti", b"\0", 1),
            (".text", self.code, PAGE), (".eh_frame", self.eh_frame, PAGE),
            (".wasmtime.addrmap", self.address_map, 1), (".name.wasm", self.names, PAGE),
            (".wasmtime.info", self.info, 1), *((*each, 8) for each in self.extra),
            (".symtab", bytes(symbols), 8), (".strtab", bytes(strings), 1),
        ]  # fmt: skip
        return self._lay_out(sections)

    def _lay_out(self, sections: Sequence[tuple[str, bytes, int]]) -> bytes:
        out = bytearray(64)
        names, rows = bytearray(b"\0"), [bytes(64)]
        for name, data, align in (*sections, (".shstrtab", b"", 1)):
            out += bytes(-len(out) % align)
            row = struct.pack("<II", len(names), 1)
            names += name.encode() + b"\0"
            if name == ".shstrtab":
                data = bytes(names)
            rows.append(row + struct.pack("<QQQQIIQQ", 0, 0, len(out), len(data), 0, 0, align, 0))
            out += data
        out += bytes(-len(out) % 8)
        fields = {
            "e_type": 1, "e_machine": self.machine, "e_version": 1, "e_entry": 0, "e_phoff": 0,
            "e_shoff": len(out), "e_flags": 1, "e_ehsize": 64, "e_phentsize": 0, "e_phnum": 0,
            "e_shentsize": 64, "e_shnum": len(rows), "e_shstrndx": len(rows) - 1,
        } | self.lies  # fmt: skip
        out[:16] = b"\x7fELF\x02\x01\x01\xc8" + bytes(8)
        out[16:64] = struct.pack("<HHIQQQIHHHHHH", *fields.values())
        return bytes(out) + b"".join(rows)


def flat_map(positions: Positions) -> bytes:
    """The address map of versions up to 48."""
    offsets = [offset for offset, _ in positions]
    places = [NOWHERE if place is None else place for _, place in positions]
    count = len(positions)
    return struct.pack(f"<I{count}I{count}I", count, *offsets, *places)


def block_map(positions: Positions, size: int = 128) -> bytes:
    """The address map since: blocks of 128 in LEB128."""
    index, bodies = b"", bytearray()
    for start in range(0, len(positions), size):
        block = positions[start : start + size]
        index += struct.pack("<II", block[0][0], len(bodies))
        at, before = block[0][0], None
        for offset, place in block:
            bodies += uleb((offset - at) << 1 | (place is None))
            at = offset
            if place is not None:
                bodies += uleb(place) if before is None else sleb(place - before)
                before = place
    return struct.pack("<II", len(positions), len(index) // 8) + index + bytes(bodies)


def bincode_info(name: str | None, tables: Sequence[Sequence[tuple[int, int, int]]] = ()) -> bytes:
    """As versions up to 20 write it; of all the structure what is read, and noise between."""
    out = b"\0" if name is None else b"\1" + _sized(name, 8)
    out += bytes(40) + b"\3\0\0\0\1\0\0\0"
    for table in tables:
        out += struct.pack("<Q", len(table))
        out += b"".join(struct.pack("<III", *each) for each in table)
        out += b"\0\1"
    return out


def postcard_info(
    name: str | None,
    tables: Sequence[Sequence[tuple[int, int, int]]] = (),
    *,
    ahead: bytes = b"",
    dwarf: tuple[int, Sequence[tuple[int, int, int]]] | None = None,
) -> bytes:
    """As versions from 21 write it. `ahead` is what is before the name: b"\\0" since 38."""
    out = ahead + (b"\0" if name is None else b"\1" + _sized(name))
    out += b"\1\1h\4back\0\0\2\2go\0\2\x00\x05\x00\x02"
    for table in tables:
        out += uleb(len(table)) + b"".join(uleb(word) for each in table for word in each)
        if dwarf is not None:
            position, sections = dwarf
            out += b"\0" + uleb(position) + b"\1" + uleb(len(sections))
            for number, start, end in sections:
                out += bytes([number]) + uleb(start) + uleb(end)
        out += b"\0\x3c\0\0"
    return out


def pool_info(strings: Sequence[str], name: int | None, *, rest: bytes = b"") -> bytes:
    """As versions from 43 write it: a pool of strings, in which `name` is counted from 1."""
    out = b"\0" + uleb(len(strings)) + b"".join(_sized(each) for each in strings)
    return out + (b"\0" if name is None else b"\1" + uleb(name)) + rest


def part_info(
    number: int,
    name: str | None,
    imports: Sequence[tuple[str, str, int, int]] = (),
    exports: Sequence[tuple[str, int, int]] = (),
    *,
    pooled: bool = True,
) -> bytes:
    """The beginning of a component's module: as since 43, or from 38 on. Imports and exports have
    a kind (0 a function, 2 a memory) and a number among these."""
    named = [] if name is None else [name]
    strings = [*(each for two in imports for each in two[:2]), *(each[0] for each in exports)]
    pool = list(dict.fromkeys([*strings, *named]))

    def text(word: str) -> bytes:
        return uleb(pool.index(word) + 1) if pooled else _sized(word)

    out = uleb(number)
    if pooled:
        out += uleb(len(pool)) + b"".join(_sized(each) for each in pool)
    out += b"\0" if name is None else b"\1" + text(name)
    out += uleb(len(imports))
    for module, field, kind, index in imports:
        out += b"\0" + text(module) + text(field) + uleb(kind) + uleb(index)
    out += uleb(len(exports))
    for export, kind, index in exports:
        out += text(export) + uleb(kind) + uleb(index)
    return out


def _sized(text: str, width: int = 0) -> bytes:
    data = text.encode()
    return (len(data).to_bytes(width, "little") if width else uleb(len(data))) + data
