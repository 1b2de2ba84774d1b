"""GDB's JIT interface: lists, objects, their unwind data, as programs keep them and as they lie."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.elf import ET_DYN
from tests.build.jit import DESCRIPTOR, ENTRIES, LAYOUTS, OBJECTS, Function, JitObject, Listed
from tests.unit.generated.surroundings import surroundings
from unspool.formats.elf_placed import Header
from unspool.generated import gdb_jit
from unspool.generated.code import GeneratedModule, Process
from unspool.generated.find import find_generated
from unspool.memory import Memory
from unspool.model import Module
from unspool.symbols.elf.object_names import ObjectNames
from unspool.unwind.step import Missed
from unspool.unwind.strategies.dwarf_cfi import DwarfCfi

CODE, FRAMES = 0x4000_0000, 0x4001_0000
EVERY_ARCH = pytest.mark.parametrize("arch", list(LAYOUTS))
HOST = Module(0, "host", 0x1000, 0x2000)
INNER, OUTER = Function("inner", 0, 0x20, 48), Function("outer", 0x20, 0x30, 64)


def listed(
    arch: str,
    objects: Sequence[bytes],
    *,
    code: int = 0x1000,
    frames: bytes = b"",
    **keywords: object,
) -> Process:
    made = Listed(arch, objects, **keywords)  # type: ignore[arg-type]
    regions = [*made.regions, (CODE, bytes(code), True), (FRAMES, frames, False)]
    return surroundings(
        arch, regions, symbol=("__jit_debug_descriptor", DESCRIPTOR),
        modules=[Module(0, "host", 0x1000, 0x2000)],
    )  # fmt: skip


def built(arch: str, code: int = CODE, **keywords: object) -> JitObject:
    functions = [INNER, OUTER]
    return JitObject(arch, code, functions, frames_address=FRAMES, **keywords)  # type: ignore[arg-type]


def bounds(found: Sequence[GeneratedModule]) -> list[tuple[int, int]]:
    return [(each.module.base, each.module.end) for each in found]


def name(module: GeneratedModule, pc: int) -> tuple[str | None, int | None] | None:
    assert module.elf is not None
    location = ObjectNames(module.elf, lines=False).locate(pc)
    return (location.function, location.function_offset) if location else None


def cfa(process: Process, pc: int) -> int | str:
    """The CFA's distance from the stack pointer by the tables, or why there is none."""
    find_generated(process, ["gdb_jit"])
    row = DwarfCfi(process.space).row(pc, pc)
    return row.why if isinstance(row, Missed) else row.cfa_offset


class Counting(Memory):
    """Memory without windows, as a running process's, that knows how many bytes were read."""

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self.memory = memory
        self.count = 0
        self.headers = 0

    def read(self, address: int, size: int) -> bytes:
        self.count += size
        return self.memory.read(address, size)

    def read_available(self, address: int, size: int) -> bytes:
        self.count += size
        return self.memory.read_available(address, size)

    def peek(self, address: int, size: int) -> bytes:
        self.headers += size == Header.SIZE
        return self.read_available(address, size)


# --- honest ones -------------------------------------------------------------------------


@EVERY_ARCH
def test_objects_of_a_list(arch: str) -> None:
    other = JitObject(arch, CODE + 0x800, [Function("other", 0x10, 8)], size=0x20)
    process = listed(arch, [built(arch).build(), other.build()])
    first, second = gdb_jit.find(process)
    assert bounds([first, second]) == [(CODE, CODE + 0x100), (CODE + 0x800, CODE + 0x820)]
    assert {first.module.kind, second.module.kind} == {"jit"}
    assert name(first, CODE + 0x1F) == ("inner", 0x1F)
    assert name(first, CODE + 0x20) == ("outer", 0)
    assert name(first, CODE + 0x50) is None
    assert name(second, CODE + 0x817) == ("other", 7)


@EVERY_ARCH
@pytest.mark.parametrize("relocated", [True, False])
def test_unwind_data_are_relocated_where_they_are_not(arch: str, relocated: bool) -> None:
    process = listed(arch, [built(arch, relocated=relocated).build()])
    assert cfa(process, CODE + 4) == 48
    assert cfa(process, CODE + 0x24) == 64
    assert "none for this address" in str(cfa(process, CODE + 0x60))


@EVERY_ARCH
def test_what_cannot_be_relocated_is_taken_from_memory(arch: str) -> None:
    """A relocation that nobody knows; the program has done it, as it had to."""
    made = built(arch, relocation=99)
    assert cfa(listed(arch, [made.build()], frames=made.frames()[0]), CODE + 0x24) == 64
    assert "no unwind data" in str(cfa(listed(arch, [made.build()]), CODE + 0x24))


def test_relocations_that_were_done_already_are_not_done_twice() -> None:
    """Of i386's, which have their addends in place."""
    made = built("i386")
    data = bytearray(made.build())
    unrelocated, fdes = made._unrelocated(*made.frames()), made.frames()[1]
    at = data.find(unrelocated)
    data[at : at + len(unrelocated)] = made.frames()[0]
    assert fdes
    assert cfa(listed("i386", [bytes(data)]), CODE + 0x24) == 64


def test_unwind_data_for_other_code_are_not_believed() -> None:
    made = built("x86_64", relocated=True)
    lying = JitObject("x86_64", CODE + 0x800, [INNER], frames_address=FRAMES, relocated=True)
    data = lying.build().replace(lying.frames()[0], made.frames()[0][: len(lying.frames()[0])])
    assert len(data) == len(lying.build())
    assert "no unwind data" in str(cfa(listed("x86_64", [data]), CODE + 0x804))


@EVERY_ARCH
def test_a_linked_object(arch: str) -> None:
    """Symbols have addresses, and the object has no segments."""
    process = listed(arch, [built(arch, kind=ET_DYN, relocated=True).build()])
    [module] = gdb_jit.find(process)
    assert name(module, CODE + 0x21) == ("outer", 1)


def test_code_in_another_section_than_text() -> None:
    process = listed("x86_64", [built("x86_64", section=".ltext").build()])
    assert bounds(gdb_jit.find(process)) == [(CODE, CODE + 0x100)]


def test_lists_of_several_modules() -> None:
    process = listed("x86_64", [built("x86_64").build()])
    process.space.add_modules([Module(0, "llvm", 0x3000, 0x4000)], {})
    asked = []

    def symbol(module: Module, name: str) -> int:
        asked.append(module.name)
        return DESCRIPTOR if module.name == "llvm" else 0x6000

    process.symbol = symbol
    assert bounds(gdb_jit.find(process)) == [(CODE, CODE + 0x100)]
    assert asked == ["host", "llvm"]


def test_code_that_another_finder_knows_is_completed() -> None:
    process = listed("x86_64", [built("x86_64").build()])
    known = GeneratedModule(Module(0, "a.wasm", CODE - 0x100, CODE + 0x800, kind="wasm"))
    process.space.add_modules([known.module], {})
    process.known = [known]
    assert gdb_jit.find(process) == []
    assert name(known, CODE + 0x21) == ("outer", 1)


# --- lists that lie ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("links", "count"),
    [([0, 1, 2], 1), ([1, 2, 0], 3), ([1, 1, None], 2), ([2, 0, 1], 3)],
    ids=["self", "circle", "knot", "other way round"],
)
def test_a_list_that_goes_in_circles(links: list[int | None], count: int) -> None:
    objects = [JitObject("x86_64", CODE + 0x100 * index, [INNER]).build() for index in range(3)]
    process = listed("x86_64", objects, links=links)
    found = gdb_jit.find(process)
    assert [each.kind for each in process.findings] == ["generated_code"]
    assert "twice" in process.findings[0].title
    assert len(found) == count


def test_a_list_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gdb_jit, "_MAX_OBJECTS", 10)
    objects = [JitObject("x86_64", CODE + 0x40 * n, [], size=0x40).build() for n in range(20)]
    process = listed("x86_64", objects)
    assert len(gdb_jit.find(process)) == 10
    assert "more than 10" in process.findings[0].title


def test_an_entry_that_leads_nowhere_costs_those_after_it() -> None:
    made = Listed("x86_64", [built("x86_64").build()] * 2)
    entries = bytearray(made.regions[1][1])
    entries[32:40] = bytes(8)
    entries[0:8] = (0xDEAD_0000).to_bytes(8, "little")
    process = listed("x86_64", [built("x86_64").build()] * 2)
    made.regions[1] = (ENTRIES, bytes(entries), False)
    process = surroundings(
        "x86_64", [*made.regions, (CODE, bytes(0x1000), True)], modules=[HOST],
        symbol=("__jit_debug_descriptor", DESCRIPTOR),
    )  # fmt: skip
    assert bounds(gdb_jit.find(process)) == [(CODE, CODE + 0x100)]
    [finding] = process.findings
    assert finding.title == "the list of host's JIT objects breaks off after 2: 0xdead0000"


@pytest.mark.parametrize(
    "keywords",
    [{"version": 2}, {"version": 0}, {"first": 0}, {"first": 3}, {"first": (1 << 64) - 8}],
    ids=str,
)
def test_no_list(keywords: dict[str, int]) -> None:
    assert gdb_jit.find(listed("x86_64", [built("x86_64").build()], **keywords)) == []


@pytest.mark.parametrize("size", [0, 63, 1 << 40, (1 << 64) - 1])
def test_a_size_that_no_object_has(size: int) -> None:
    process = listed("x86_64", [built("x86_64").build()] * 2, sizes=[size, 0x2000])
    assert bounds(gdb_jit.find(process)) == [(CODE, CODE + 0x100)]


def test_an_object_larger_than_its_memory_has_no_names() -> None:
    [module] = gdb_jit.find(listed("x86_64", [built("x86_64").build()], sizes=[1 << 20]))
    assert name(module, CODE) is None


def test_sections_of_all_objects_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = [JitObject("x86_64", CODE + 0x100 * n, [INNER]).build() for n in range(4)]
    count = int.from_bytes(objects[0][60:62], "little")  # e_shnum
    monkeypatch.setattr(gdb_jit, "_MAX_SECTIONS", 2 * count)
    process = listed("x86_64", objects)
    assert len(gdb_jit.find(process)) == 2
    [finding] = process.findings
    assert "absurdly many sections" in finding.title


def test_an_object_that_is_listed_twice_is_one() -> None:
    made = Listed("x86_64", [built("x86_64").build()] * 2)
    entries = bytearray(made.regions[1][1])
    entries[32 + 16 : 32 + 24] = entries[16:24]
    made.regions[1] = (ENTRIES, bytes(entries), False)
    code = (CODE, bytes(0x1000), True)
    process = surroundings(
        "x86_64", [*made.regions, code], modules=[HOST],
        symbol=("__jit_debug_descriptor", DESCRIPTOR),
    )  # fmt: skip
    process.now = memory = Counting(process.now)
    assert len(gdb_jit.find(process)) == 1
    assert memory.headers == 1


# --- objects that lie --------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [bytes(0x1000), b"\x7fELF" + bytes(0x1000), built("i386").build(), built("arm").build()],
    ids=["freed", "overwritten", "i386", "arm"],
)
def test_what_is_no_object_of_this_cpu_costs_itself(data: bytes) -> None:
    other = JitObject("x86_64", CODE + 0x800, [INNER])
    found = gdb_jit.find(listed("x86_64", [data, other.build()]))
    assert bounds(found) == [(CODE + 0x800, CODE + 0x900)]


@pytest.mark.parametrize("lies", [{"e_shnum": 0xFFFF}, {"e_shoff": 1 << 60}, {"e_shentsize": 1}])
def test_a_section_table_that_lies(lies: dict[str, int]) -> None:
    assert gdb_jit.find(listed("x86_64", [built("x86_64", **lies).build()])) == []


@pytest.mark.parametrize("code", [0x1000, 0x1FF0, 0x9000_0000, DESCRIPTOR, OBJECTS])
def test_code_of_others_or_of_nobody_is_not_claimed(code: int) -> None:
    process = listed("x86_64", [built("x86_64", code=code).build()])
    found = find_generated(process, ["gdb_jit"])
    assert found.modules == []
    host = process.space.module_at(0x1800)
    assert host is not None and host.name == "host"


def test_a_section_ends_with_its_mapping() -> None:
    """It reaches over whatever follows: other code, for which it has no right to speak."""
    made = built("x86_64", size=0x2000)
    assert bounds(gdb_jit.find(listed("x86_64", [made.build()]))) == [(CODE, CODE + 0x1000)]


def test_of_objects_that_overlap_the_newest_is_believed() -> None:
    objects = [JitObject("x86_64", CODE + at, [INNER]).build() for at in (0x80, 0, 0x180, 0x100)]
    found = gdb_jit.find(listed("x86_64", objects))
    assert bounds(found) == [(CODE + 0x80, CODE + 0x180), (CODE + 0x180, CODE + 0x280)]


def test_of_thousands_of_objects_only_those_asked_for_are_read_whole() -> None:
    count, size = 2_000, 0x1000
    objects = [
        JitObject("x86_64", CODE + size * n, [Function("made", 0, 0x10)], size=size).build()
        for n in range(count)
    ]
    process = listed("x86_64", objects, code=size * count)
    process.now = memory = Counting(process.now)
    found = gdb_jit.find(process)
    assert len(found) == count
    assert memory.count < sum(len(each) for each in objects) / 4
    before = memory.count
    assert name(found[1_000], found[1_000].module.base) == ("made", 0)
    assert len(objects[0]) <= memory.count - before < 2 * len(objects[0])


SEEDS = [
    built(arch, relocated=relocated).build() for arch in LAYOUTS for relocated in (True, False)
]


@given(st.data())
def test_broken_objects_break_nothing(data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(SEEDS) - 1))
    arch = list(LAYOUTS)[index // 2]
    mutant = bytearray(SEEDS[index])
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(0, len(mutant) - 1))
        mutant[at] = data.draw(st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    process = listed(arch, [bytes(mutant)])
    code = find_generated(process, ["gdb_jit"])
    for module in code.modules:
        assert CODE <= module.module.base < module.module.end <= CODE + 0x1000
        for pc in (CODE, CODE + 0x24, module.module.end - 1):
            DwarfCfi(process.space).row(pc, pc)
            name(module, pc)
