"""Naming a report: which addresses, whose names, what is said of what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.elf import Elf as Builder
from tests.build.elf import Symbol as Entry
from tests.conftest import Tool
from tests.unit.symbols.conftest import Run, module_of
from unspool.formats.elf import Elf
from unspool.model import (
    Finding,
    Frame,
    Location,
    Module,
    Report,
    Segment,
    Stack,
    Stop,
    StopReason,
    TargetInfo,
    Trust,
)
from unspool.symbols import native
from unspool.symbols.files import open_elf
from unspool.symbols.symbolicate import locate, lookup_pcs, symbolicate

BASE = 0x5000_0000


class Options:
    def __init__(self, symbols: Sequence[str | Path] = (), sysroot: str | None = None) -> None:
        self.symbols = [str(path) for path in symbols]
        self.sysroot = sysroot


def report_of(
    modules: list[Module],
    pcs: Sequence[int],
    exact: bool = True,
    locations: dict[int, Location] | None = None,
) -> Report:
    frames = [Frame(pc, None, Trust.CFI, exact) for pc in pcs]
    stack = Stack(0, 1, frames, [Segment("unix")], Stop(StopReason.ROOT))
    return Report(TargetInfo("core", "x86_64"), modules, [stack], locations=locations)


def small(name: str = "function", build_id: bytes | None = None) -> Elf:
    """A library with one function at 0x1000-0x10ff."""
    builder = Builder()
    text = builder.section(".text", data=bytes(0x1000), address=0x1000, flags="ax", align=16)
    builder.load([text], flags="rx")
    if build_id:
        builder.build_id(build_id)
    builder.symbols([Entry(name, 0x1000, 0x100, section=text)])
    return Elf(builder.build())


def module(index: int, base: int, end: int, **keywords: object) -> Module:
    return Module(index, f"lib{index}.so", base, end, bias=base, **keywords)  # type: ignore[arg-type]


def nothing(_: Module) -> Elf | None:
    return None


# --- which addresses ----------------------------------------------------------------------


def test_return_addresses_are_looked_up_one_byte_before() -> None:
    """The call is the last instruction of the function: what follows is another one."""
    place = module(0, BASE, BASE + 0x2000)
    named = symbolicate(
        report_of([place], [BASE + 0x1100], exact=False), lambda _: small(), Options()
    )
    [(pc, location)] = named.locations.items()
    assert pc == BASE + 0x10FF
    assert location == Location(0, "function", 0xFF)
    exact = symbolicate(report_of([place], [BASE + 0x1100]), lambda _: small(), Options())
    assert exact.locations == {BASE + 0x1100: Location(0)}


def test_only_modules_with_frames_are_asked_for() -> None:
    modules = [module(index, BASE * index, BASE * index + 0x2000) for index in (1, 2, 3)]
    asked: list[int] = []

    def elf_of(which: Module) -> Elf | None:
        asked.append(which.index)
        return small(f"f{which.index}")

    report = report_of(modules, [BASE * 2 + 0x1001, BASE * 2 + 0x1002, 7, BASE * 2 + 0x1001])
    named = symbolicate(report, elf_of, Options())
    assert asked == [2]
    assert {pc: place.function for pc, place in named.locations.items()} == {
        BASE * 2 + 0x1001: "f2", BASE * 2 + 0x1002: "f2",
    }  # fmt: skip
    assert named.modules[0] is modules[0]
    assert named.modules[2] is modules[2]


def test_the_given_report_stays_as_it_is() -> None:
    place = module(0, BASE, BASE + 0x2000, code_id="a0" * 20)
    report = report_of([place], [BASE + 0x1001])
    report.findings.append(Finding("truncated", "the core is cut"))
    named = symbolicate(report, lambda _: small(), Options())
    assert report.locations == {}
    assert place.debug_id is None
    assert named.stacks is report.stacks
    assert named.modules[0].debug_id == "a0a0a0a0-a0a0-a0a0-a0a0-a0a0a0a0a0a0"
    assert named.modules[0].base == BASE
    assert named.findings == report.findings
    assert named.target is report.target
    assert named.crash is report.crash


def test_names_that_are_there_already_stay() -> None:
    known = {
        BASE + 0x1001: Location(0, "from elsewhere", 1, "a.c", 2),
        BASE + 0x1002: Location(0),
        0x42: Location(None, "not in any frame"),
    }
    report = report_of(
        [module(0, BASE, BASE + 0x2000)], [BASE + 0x1001, BASE + 0x1002], locations=known
    )
    named = symbolicate(report, lambda _: small(), Options())
    assert named.locations[BASE + 0x1001] is known[BASE + 0x1001]
    assert named.locations[BASE + 0x1002].function == "function"
    assert named.locations[0x42] is known[0x42]
    assert report.locations[BASE + 0x1002].function is None


def test_modules_without_a_file_have_addresses_alone() -> None:
    report = report_of([module(0, BASE, BASE + 0x2000)], [BASE + 0x1001])
    assert symbolicate(report, nothing, Options()).locations == {BASE + 0x1001: Location(0)}
    no_bias = Module(0, "x", BASE, BASE + 0x2000)
    report = report_of([no_bias], [BASE + 0x1001])
    assert symbolicate(report, nothing, Options()).locations == {BASE + 0x1001: Location(0)}


def test_kinds_that_are_not_ours_are_left_to_others() -> None:
    report = report_of([module(0, BASE, BASE + 0x2000, kind="pe")], [BASE + 0x1001])
    named = symbolicate(report, lambda _: small(), Options())
    assert named.locations == {BASE + 0x1001: Location(0)}


def test_locate_says_the_module_alone() -> None:
    known = {BASE + 0x1002: Location(0, "kept")}
    report = report_of(
        [module(4, BASE, BASE + 0x2000)], [BASE + 0x1001, BASE + 0x1002, 5], locations=known
    )
    assert locate(report).locations == {BASE + 0x1001: Location(4), **known}
    assert report.locations == known


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.booleans()), max_size=20))
def test_every_look_up_pc_once(frames: list[tuple[int, bool]]) -> None:
    report = report_of([], [])
    report.stacks[0].frames.extend(Frame(pc, None, Trust.CFI, exact) for pc, exact in frames)
    assert lookup_pcs(report) == {frame.lookup_pc for frame in report.stacks[0].frames}


def test_half_a_million_frames_of_a_hundred_addresses() -> None:
    pcs = [BASE + 0x1000 + number % 100 for number in range(500_000)]
    named = symbolicate(
        report_of([module(0, BASE, BASE + 0x2000)], pcs), lambda _: small(), Options()
    )
    assert len(named.locations) == 100
    assert all(place.function == "function" for place in named.locations.values())


# --- real programs ------------------------------------------------------------------------


def starts_of(path: Path, tool: Tool) -> dict[str, int]:
    rows = (line.split() for line in tool("nm", "--defined-only", path).splitlines())
    return {row[-1]: int(row[0], 16) for row in rows}


def name_everything(
    path: Path, tool: Tool, options: Options | None = None, *, lines: bool = True, elf: bool = True
) -> tuple[Report, dict[int, Location]]:
    """The program loaded at BASE, with a frame at each of its calls; locations by file address."""
    own = open_elf(str(path))
    assert own is not None
    where = module_of(own, path, BASE)
    if not elf:
        where.file = None
    rows = (row.split() for row in tool("objdump", "-d", "--no-show-raw-insn", path).splitlines())
    calls = [int(row[0][:-1], 16) for row in rows if len(row) > 2 and row[1] in ("call", "bl")]
    report = report_of([where], [where.bias + at for at in calls])  # type: ignore[operator]
    named = symbolicate(report, lambda _: own if elf else None, options or Options(), lines=lines)
    return named, {pc - where.bias: place for pc, place in named.locations.items()}  # type: ignore[operator]


@pytest.mark.oracle
def test_names_are_the_same_with_and_without_dwarf(classes: Path, tool: Tool) -> None:
    pytest.importorskip("symbolic")
    _, with_lines = name_everything(classes, tool)
    _, without = name_everything(classes, tool, lines=False)
    assert len(with_lines) > 40
    for address, place in with_lines.items():
        other = without[address]
        assert (place.function, place.function_offset) == (other.function, other.function_offset)
        assert (other.file, other.line, other.inlines) == (None, None, ())
    assert sum(place.line is not None for place in with_lines.values()) > 40
    assert any(len(place.inlines) > 1 for place in with_lines.values())


@pytest.mark.oracle
def test_a_frame_is_in_the_real_function_with_the_inlined_calls_in_it(
    inlined: Path, tool: Tool
) -> None:
    """gdb agrees on the function and line of the frame and of every call expanded in it."""
    pytest.importorskip("symbolic")
    _, places = name_everything(inlined, tool)
    chains = 0
    for address, place in places.items():
        if place.line is None:
            continue
        output = tool("addr2line", "-f", "-i", "-e", inlined, hex(address)).splitlines()
        theirs = [
            (name, int(where.split(" ")[0].rpartition(":")[2]))
            for name, where in zip(output[::2], output[1::2], strict=True)
        ]
        ours: list[tuple[str | None, int | None]] = [(c.function, c.line) for c in place.inlines]
        # addr2line says "split" of the part that is "split.cold" to the linker.
        ours.append(((place.function or "").removesuffix(".cold"), place.line))
        assert ours == theirs
        assert place.file is not None
        assert place.file.endswith("inlined.c")
        chains += bool(place.inlines)
    assert chains


@pytest.mark.oracle
def test_offsets_count_from_the_start_of_the_named_part(inlined: Path, tool: Tool) -> None:
    starts = starts_of(inlined, tool)
    _, places = name_everything(inlined, tool)
    checked = 0
    for address, place in places.items():
        if place.function is not None:
            assert place.function_offset == address - starts[place.function]
            checked += 1
    assert checked >= 4


@pytest.mark.oracle
def test_stripped_programs_are_named_from_their_debug_file(
    inlined: Path, tool: Tool, tmp_path: Path, run: Run
) -> None:
    pytest.importorskip("symbolic")
    program, debug = tmp_path / "prog", tmp_path / "symbols" / "x.debug"
    debug.parent.mkdir()
    run("objcopy", "--only-keep-debug", inlined, debug)
    run("strip", inlined, "-o", program)
    _, expected = name_everything(inlined, tool)
    named, places = name_everything(program, tool, Options([debug.parent]))
    assert {a: p for a, p in places.items() if p.function} == {
        address: expected[address] for address in places if expected[address].function
    }
    assert named.modules[0].debug_file == str(debug)
    assert named.findings == []
    # A report that came from elsewhere: the program is not here, its debug file is.
    _, places = name_everything(program, tool, Options([debug.parent]), elf=False)
    assert places == {address: expected[address] for address in places}
    # Nothing given: nothing known, but no error.
    named, places = name_everything(program, tool)
    assert all(place.line is None for place in places.values())
    assert named.modules[0].debug_file is None


def test_a_wrong_debug_file_is_a_finding(
    inlined: Path, classes: Path, tool: Tool, tmp_path: Path, run: Run
) -> None:
    program = tmp_path / "prog"
    run("strip", inlined, "-o", program)
    wrong = tmp_path / "symbols" / "prog.debug"
    wrong.parent.mkdir()
    wrong.write_bytes(classes.read_bytes())
    named, _ = name_everything(program, tool, Options([wrong.parent]))
    [finding] = named.findings
    assert finding.kind == "debug_file_refused"
    assert finding.title.startswith(f"{wrong} is not the debug file of prog: its build id is ")
    assert not finding.incomplete


def test_broken_dwarf_is_a_finding_and_names_remain(
    inlined: Path, tool: Tool, tmp_path: Path
) -> None:
    pytest.importorskip("symbolic")
    elf = open_elf(str(inlined))
    assert elf is not None
    section = elf.section(".debug_abbrev")
    assert section is not None
    data = bytearray(inlined.read_bytes())
    data[section.offset : section.offset + section.size] = b"\xff" * section.size
    broken = tmp_path / "broken"
    broken.write_bytes(data)
    named, places = name_everything(broken, tool)
    _, whole = name_everything(inlined, tool, lines=False)
    assert places == whole
    [finding] = named.findings
    assert finding.kind == "debug_info"
    assert finding.title.startswith("broken: ")


@pytest.mark.oracle
def test_parts_that_dwz_moved_are_missing_and_said_so(
    classes: Path, inlined: Path, tool: Tool, tmp_path: Path, run: Run
) -> None:
    pytest.importorskip("symbolic")
    one, two = tmp_path / "one", tmp_path / "two"
    for copy in (one, two):
        copy.write_bytes(classes.read_bytes())
        copy.chmod(0o755)
    shared = tmp_path / "shared.debug"
    run("dwz", "-m", shared, "-M", shared, one, two)
    named, places = name_everything(one, tool)
    [finding] = named.findings
    assert finding.title == (
        f"one: parts of its debug information are in {shared} (dwz), which is not read"
    )
    names = {call.function for place in places.values() for call in place.inlines}
    assert "" not in names
    assert any(place.line for place in places.values())


def test_without_the_libraries_one_finding_each(
    classes: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unspool.symbols import demangle

    monkeypatch.setattr(native, "available", lambda: False)
    monkeypatch.setattr(demangle, "_demangler", demangle._nothing)
    monkeypatch.setattr(demangle, "_cache", {})
    monkeypatch.setattr(demangle, "_functions", {})
    named, places = name_everything(classes, tool)
    assert [finding.kind for finding in named.findings] == ["no_lines", "mangled"]
    assert {finding.detail for finding in named.findings} == {"pip install 'unspool[symbols]'"}
    assert any((place.function or "").startswith("_ZN2ns5Class") for place in places.values())


def test_names_alone_import_nothing_heavy(inlined: Path) -> None:
    """Symbol tables of a C program: no symbolic, no demangler, no re, no typing."""
    code = (
        "import sys\n"
        "from unspool.model import *\n"
        "from unspool.symbols.files import open_elf\n"
        "from unspool.symbols.symbolicate import symbolicate\n"
        "class Options: symbols = (); sysroot = None\n"
        f"elf = open_elf({str(inlined)!r})\n"
        "place = Module(0, 'x', 0, 1 << 40, bias=0)\n"
        "stack = Stack(0, 1, [Frame(elf.entry, None, 'context', True)], [], Stop('root'))\n"
        "report = Report(TargetInfo('core', 'x86_64'), [place], [stack])\n"
        "named = symbolicate(report, lambda _: elf, Options, lines=False)\n"
        "assert named.locations[elf.entry].function == '_start'\n"
        "heavy = {'symbolic', 'pydemumble', 're', 'typing', 'dataclasses', 'lzma', 'pathlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-S", "-c", code], check=True, env=with_sources())


def with_sources() -> dict[str, str]:
    """The environment with this package's folder, for an interpreter without site-packages."""
    import unspool

    return {**os.environ, "PYTHONPATH": str(Path(unspool.__file__).parents[1])}


def test_an_image_in_memory_is_named_by_its_dynamic_symbols() -> None:
    from tests.unit.symbols.test_elf_symbols import relocated

    bias = 0x7F00_1234_0000
    image = Elf(relocated(64, bias))
    where = Module(0, "deleted", bias, bias + 0x10000, bias=bias, kind="elf")
    named = symbolicate(report_of([where], [bias + 0x5104]), lambda _: image, Options())
    assert named.locations == {bias + 0x5104: Location(0, "second", 4)}
