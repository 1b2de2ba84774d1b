"""Executable memory in the holes of libraries that are aligned to more than a page."""

from __future__ import annotations

from tests.build.elf import EM_X86_64, Elf
from tests.unit.unwind.spaces import region
from unspool.formats.notes import FileMapping
from unspool.memory import Memory, Region
from unspool.targets.base import Options
from unspool.targets.mapped_modules import MappedModules
from unspool.targets.module_files import ModuleFiles
from unspool.targets.modules import modules_from_mappings

BASE, PATH = 0x7F00_0000_0000, "/usr/lib/libaligned.so"
CODE, DATA = BASE + 0x1_0000, BASE + 0x4_0000
# The data have memory of their own behind the file's.
MORE = 0x3000


def image() -> bytes:
    elf = Elf(64, machine=EM_X86_64)
    elf.load([elf.section(".rodata", data=bytes(0x1000), address=0x1000, flags="a")], flags="r")
    elf.load([elf.section(".text", data=bytes(0x3000), address=0x1_1000, flags="ax")], flags="rx")
    data = elf.section(".data", data=bytes(0x1000), address=0x4_1000, flags="aw")
    elf.load([data], flags="rw", memsz=0x1000 + MORE)
    return elf.build()


HEAD = FileMapping(BASE, BASE + 0x2000, 0, PATH)
MAPPINGS = [
    HEAD,
    FileMapping(CODE, CODE + 0x3000, 0x3000, PATH),
    FileMapping(DATA, DATA + 0x1000, 0x6000, PATH),
]
OWN = [Region(CODE, CODE + 0x3000, None, executable=True), Region(DATA, DATA + 0x1000, None)]


def holes(*more: Region, held: bool = True) -> list[tuple[int, int]]:
    first = region(BASE, image()[:0x1000]) if held else Region(BASE, BASE + 0x1000, None)
    memory = Memory(sorted([first, *OWN, *more], key=lambda each: each.start))
    found, _ = modules_from_mappings(MAPPINGS, memory, EM_X86_64, None, lambda _: True)
    [entry] = found
    assert (entry.module.base, entry.headers is not None) == (BASE, held)
    if held:
        assert entry.module.end == DATA + 0x1000 + MORE
    modules = MappedModules(ModuleFiles(Options(), memory), memory, {}, [])
    modules.mapped = found
    modules.index(())
    return modules.holes()


def executable(start: int, size: int) -> Region:
    return Region(start, start + size, None, executable=True)


def test_a_hole_that_other_code_fills_is_not_the_librarys() -> None:
    made, again = executable(CODE + 0x4000, 0x1000), executable(CODE + 0x8000, 0x2000)
    assert holes(made, again) == [(made.start, made.end), (again.start, again.end)]
    before = executable(BASE + 0x8000, 0x1000)
    assert holes(before) == [(before.start, before.end)]


def test_what_is_no_code_stays_the_librarys() -> None:
    """A hole that nothing fills, or that the dynamic linker has made inaccessible."""
    assert holes() == []
    assert holes(Region(CODE + 0x4000, CODE + 0x5000, None, writable=True)) == []
    assert holes(Region(CODE + 0x4000, CODE + 0x5000, None)) == []


def test_what_a_segment_has_is_the_librarys() -> None:
    """Its own memory behind the file's is executable where all stacks are; a program that moves
    its code to large pages has it in memory of no file."""
    assert holes(executable(DATA + 0x1000, MORE)) == []
    assert holes(executable(DATA + 0x2000, 0x1000)) == []
    assert holes(executable(CODE + 0x2000, 0x4000)) == []


def test_what_reaches_out_of_the_library_or_cannot_be_judged_is_left_alone() -> None:
    assert holes(executable(DATA + 0x3000, 0x1_0000)) == []
    assert holes(executable(CODE + 0x4000, 0x1000), held=False) == []
