"""Every entry of the exception index of real libraries: we and readelf agree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.programs.build import build
from tests.programs.table import BY_NAME
from unspool.formats.elf import PT_ARM_EXIDX, Elf
from unspool.formats.exidx import Entry, ExidxTable, table_instructions
from unspool.formats.exidx_row import Place, run

LIBRARIES = {
    "/usr/arm-linux-gnueabihf/lib/libc.so.6": 700,
    "/usr/arm-linux-gnueabihf/lib/libstdc++.so.6": 2500,
    "/usr/arm-linux-gnueabihf/lib/libgcc_s.so.1": 25,
    "/usr/arm-linux-gnueabihf/lib/ld-linux-armhf.so.3": 20,
}
HEAD = re.compile(r"^0x([0-9a-f]+)(?: <.*>)?: (@?)0x([0-9a-f]+)( \[cantunwind\])?$")
STEP = re.compile(r"^  ((?:0x[0-9a-f]{2} ?)+) *(.*)$")
NUMBERS = {f"r{n}": n for n in range(16)} | {"sl": 10, "fp": 11, "ip": 12, "sp": 13, "lr": 14}


class Described:
    """What readelf says of one entry."""

    def __init__(self, start: int, *, cantunwind: bool) -> None:
        self.start = start
        self.cantunwind = cantunwind
        self.code = b""
        self.base, self.offset = 13, 0
        self.saved: dict[int, tuple[int, int]] = {}

    def step(self, code: bytes, text: str) -> None:
        self.code += code
        if text == "finish":
            return
        if match := re.match(r"vsp = vsp ([+-]) (\d+)$", text):
            self.offset += int(match[1] + match[2])
        elif match := re.match(r"vsp = r(\d+)$", text):
            assert int(match[1]) not in self.saved
            self.base, self.offset = int(match[1]), 0
        elif match := re.match(r"pop \{(.*)\}$", text):
            registers = [part.strip() for part in match[1].split(",")]
            self.pop(registers, is_fstmx=code[0] & 0xF0 == 0xB0)
        else:
            raise AssertionError(text)

    def pop(self, registers: list[str], *, is_fstmx: bool) -> None:
        for register in registers:
            if register[0] == "D":
                first, _, last = register.partition("-")
                self.offset += 8 * (int((last or first)[1:]) - int(first[1:]) + 1)
            else:
                self.saved[NUMBERS[register]] = (self.base, self.offset)
                self.offset += 4
        if registers[0][0] == "D" and is_fstmx:
            self.offset += 4


def described(text: str) -> Iterator[Described]:
    current = None
    for line in text.splitlines():
        if match := HEAD.match(line):
            if current is not None:
                yield current
            current = Described(int(match[1], 16), cantunwind=bool(match[4]))
        elif current is not None and (match := STEP.match(line)):
            current.step(bytes(int(part, 16) for part in match[1].split()), match[2])
    assert current is not None
    yield current


def opened(path: Path) -> tuple[Elf, ExidxTable]:
    elf = Elf(path.read_bytes())
    (header,) = (each for each in elf.program_headers() if each.type == PT_ARM_EXIDX)
    end = header.offset + header.filesz
    return elf, ExidxTable(elf.buffer, header.offset, end, header.vaddr)


def instructions(elf: Elf, entry: Entry) -> bytes:
    if entry.instructions is not None:
        return entry.instructions
    assert entry.table is not None
    for header in elf.program_headers():
        delta = entry.table - header.vaddr
        if header.type == 1 and 0 <= delta < header.filesz:
            return table_instructions(
                elf.buffer, header.offset + delta, header.offset + header.filesz
            )
    raise AssertionError(hex(entry.table))


def flat(place: Place) -> tuple[int, int]:
    assert isinstance(place.origin, int)
    return place.origin, place.offset


@pytest.mark.parametrize("path", LIBRARIES)
def test_every_entry_is_that_of_readelf(tool: Tool, path: str) -> None:
    if not Path(path).is_file():
        pytest.skip(f"{path} is not on this machine")
    count, _ = compare(tool, Path(path))
    assert count > LIBRARIES[path]


def test_every_entry_of_a_static_program(tool: Tool, programs_root: Path) -> None:
    """With symbols readelf knows which personality routines have GNU's form of data."""
    program = build(BY_NAME["chain-arm-static"], programs_root)
    count, nameless = compare(tool, program)
    assert count > 150
    assert nameless == 0


def compare(tool: Tool, path: Path) -> tuple[int, int]:
    """How many entries there are, and of how many readelf does not show the instructions."""
    elf, table = opened(path)
    theirs = list(described(tool("readelf", "-u", "-W", path)))
    assert len(theirs) == len(table)
    nameless = 0
    for index, wanted in enumerate(theirs):
        entry = table.entry(index)
        assert (entry.start, entry.cantunwind) == (wanted.start, wanted.cantunwind)
        found = table.find(wanted.start)
        assert found is not None
        assert found.start == wanted.start
        if entry.cantunwind:
            continue
        code = instructions(elf, entry)
        if not wanted.code:
            # Of a personality routine whose name it does not know readelf shows no more.
            nameless += 1
            run(code)
            continue
        assert code.startswith(wanted.code)
        assert not code[len(wanted.code) :].strip(b"\xb0")
        row = run(code)
        saved = {number: flat(place) for number, place in row.saved.items()}
        # A popped stack pointer is not among what is saved: glibc's signal trampolines.
        if 13 not in wanted.saved:
            assert flat(row.cfa) == (wanted.base, wanted.offset), hex(wanted.start)
            assert saved == wanted.saved
    return len(table), nameless


@pytest.mark.parametrize("path", list(LIBRARIES)[:2])
def test_every_entry_is_that_of_llvm(tool: Tool, path: str) -> None:
    """llvm-readelf prints each instruction's bytes as comments; these are what is compared."""
    if not Path(path).is_file():
        pytest.skip(f"{path} is not on this machine")
    elf, table = opened(Path(path))
    text = tool("llvm-readelf", "--unwind", path)
    entries = text.partition("Entries [")[2].split("    Entry {")[1:]
    assert len(entries) == len(table)
    for index, part in enumerate(entries):
        entry = table.entry(index)
        address = re.search(r"FunctionAddress: 0x([0-9A-F]+)", part)
        assert address is not None
        assert entry.start == int(address[1], 16)
        assert entry.cantunwind == ("Model: CantUnwind" in part)
        opcodes = re.findall(r"^ +((?:0x[0-9A-F]{2} )+) *; ", part, re.MULTILINE)
        if not entry.cantunwind and opcodes:
            code = bytes(int(byte, 16) for each in opcodes for byte in each.split())
            assert instructions(elf, entry).startswith(code.rstrip(b"\xb0"))
