"""Layouts of hand-made cores, honest ones and others; and what malloc's shape is found by."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import unspool
from tests import dumps
from tests.build.core import Core
from unspool.analyses.layout import Layout, malloc
from unspool.analyses.layout.records import Kind
from unspool.cli import main
from unspool.errors import InputError
from unspool.memory import Memory, Region
from unspool.render import json
from unspool.render.layout_text import lines
from unspool.render.style import Style

from .made_up import mapping

PAGE = 0x1000
TOP = (1 << 64) - 1


def laid_out(core: Core, folder: Path) -> Layout:
    path = folder / "core"
    path.write_bytes(core.build())
    with unspool.open(str(path)) as target:
        return unspool.api.layout(target)


def simple() -> Core:
    core = Core("x86_64")
    core.thread(100, {"rip": 0x401000, "rsp": 0x7FFD00000800}, signal=11)
    core.load(0x401000, bytes(PAGE), flags="rx")
    core.load(0x7FFCFFFFF000, b"", flags="", memsz=PAGE)
    core.load(0x7FFD00000000, bytes(PAGE), flags="rw")
    return core


def test_a_stack_with_its_guard(tmp_path: Path) -> None:
    found = laid_out(simple(), tmp_path)
    kinds = {area.start: (area.kind, area.name) for area in found.areas}
    assert kinds == {
        0x401000: (Kind.CODE, "code: made at run time, or of a file that the core does not name"),
        0x7FFCFFFFF000: (Kind.GUARD, "guard of the stack of thread 100"),
        0x7FFD00000000: (Kind.STACK, "stack of thread 100"),
    }
    unknown = {rule.id for rule in found.rules if rule.verdict == "unknown"}
    assert {"randomisation", "overcommit", "map-count", "stack-rlimit"} <= unknown


def test_what_is_anonymous_is_known_where_files_are_named(tmp_path: Path) -> None:
    """Cores of qemu-user have no note of mapped files: then even the program has no name."""
    core = simple()
    core.load(0x500000, bytes(PAGE), flags="rw")
    found = laid_out(core, tmp_path)
    assert found.areas[1].name == "memory: anonymous, or of a file that the core does not name"
    assert found.source == "the core's segments; it has no note of mapped files"
    core.files([(0x401000, 0x402000, 0, "/bin/program")])
    found = laid_out(core, tmp_path)
    assert found.areas[1].name == "anonymous memory"
    assert found.source == "the core's segments and its note of mapped files"


def test_a_core_that_lost_its_notes_does_not_list_all_mappings(tmp_path: Path) -> None:
    """gcore writes its notes last, and files that are as on disk nowhere else."""
    core = Core("x86_64", notes="last")
    core.load(0x401000, bytes(PAGE), flags="rx")
    found = laid_out(core, tmp_path)
    assert (found.holes, found.complete) == ([], False)


def test_gdb_calls_everything_readable(tmp_path: Path) -> None:
    core = Core("x86_64", notes="last")
    core.thread(100, {"rip": 0x401000, "rsp": 0x7FFD00000800}, signal=11)
    core.load(0x401000, bytes(PAGE), flags="rx")
    core.load(0x7FFCFFFFF000, bytes(PAGE), flags="r")
    core.load(0x7FFD00000000, bytes(PAGE), flags="rw")
    found = laid_out(core, tmp_path)
    assert [area.kind for area in found.areas] == [Kind.CODE, Kind.GUARD, Kind.STACK]
    assert found.areas[1].permissions == "?--?"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, TOP), st.integers(0, TOP), st.sampled_from(["", "rw"])),
        max_size=12,
    )
)
def test_hostile_segments(
    tmp_path_factory: pytest.TempPathFactory, segments: list[tuple[int, int, str]]
) -> None:
    core = simple()
    for start, size, flags in segments:
        core.load(start, b"", flags=flags, memsz=size)
    found = laid_out(core, tmp_path_factory.mktemp("hostile"))
    ends = [0]
    for area in found.areas:
        assert ends[-1] <= area.start < area.end <= 1 << 64
        ends.append(area.end)


def test_a_report_has_no_layout(tmp_path: Path) -> None:
    path, report = tmp_path / "core", tmp_path / "report.json"
    path.write_bytes(simple().build())
    with unspool.open(str(path)) as target:
        report.write_text(json.dumps(unspool.unwind(target)))
    with unspool.open(str(report)) as target, pytest.raises(InputError, match="no memory"):
        unspool.api.layout(target)


@pytest.mark.parametrize("form", ["text", "json", "svg"])
def test_the_command(tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "core"
    path.write_bytes(simple().build())
    assert main(["layout", str(path), "--format", form, "--reserve-plan", "-q"]) == 0
    said = capsys.readouterr().out
    assert "stack of thread 100" in said
    begins = {"text": "a process (core, x86_64)", "json": '{"schema":"unspool.layout/1"'}
    assert said.startswith(begins.get(form, "<svg"))
    assert main(["layout", str(tmp_path / "none")]) == 2
    assert main(["layout"]) == 64
    assert main(["layout", "--help"]) == 0


@pytest.mark.parametrize(("name", "whole"), [("crash", False), ("windows", True), ("lying", False)])
def test_minidumps(name: str, whole: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.dmp"
    path.write_bytes(dumps.ALL[name]())
    with unspool.open(str(path)) as target:
        found = unspool.api.layout(target)
    verdicts = {rule.id: rule.verdict for rule in found.rules}
    assert bool(found.holes) == bool(found.blocks) == (found.plan is not None) == whole
    assert ("mappings_missing" in {each.kind for each in found.findings}) != whole
    # Windows has no limit of the first stack, no prelink and no vm.max_map_count.
    of_linux = {"mmap-direction", "stack-rlimit", "randomisation", "prelink", "overcommit"}
    assert of_linux & set(verdicts) == (set() if name == "windows" else of_linux)
    # What is not listed may be mapped all the same.
    assert verdicts["null-page"] == ("ok" if whole else "unknown")
    assert verdicts["largest-free-block"] == ("ok" if whole else "unknown")
    text = "\n".join(lines(found, list(target.modules), style=Style(), plan=True))
    assert ("hole" in text) == whole


# --- malloc ------------------------------------------------------------------------------------


def memory(*pieces: tuple[int, bytes]) -> Memory:
    return Memory(
        Region(start, start + len(data), lambda data=data: (data, 0, len(data)), writable=True)
        for start, data in pieces
    )


def arena(address: int, top: int, following: int, system: int) -> bytes:
    """`struct malloc_state` of a 64-bit process, all of its bins empty."""
    bins = b"".join(struct.pack("<QQ", *[address + 0x60 + 16 * at] * 2) for at in range(127))
    tail = struct.pack("<QQQQQ", following, 0, 1, system, system)
    return bytes(0x60) + struct.pack("<QQ", top, 0) + bins + bytes(16) + tail


def test_arenas_are_found_by_their_shape() -> None:
    start, heap, other = 0x7F0000000000, 0x555500000000, 0x7F4000000000
    main_arena = start + 0x123 * 16
    one = arena(main_arena, heap + 0x20000, other + 0x30, 0x21000)
    two = arena(other + 0x30, other + 0x20000, main_arena, 0x21000)
    data = bytes(main_arena - start) + one + bytes(64)
    process = memory(
        (start, data),
        (heap, bytes(0x20008) + struct.pack("<Q", 0x1001) + bytes(0xFF0)),
        (other, bytes(0x30) + two + bytes(0x20008 - 0x30 - len(two)) + struct.pack("<Q", 0x1001)),
    )
    shape = malloc._Shape(8)
    found = list(malloc._candidates(data, start, shape))
    assert main_arena in found
    rings = [ring for each in found if (ring := malloc._ring(each, process, shape))]
    assert [[each.address for each in ring] for ring in rings] == [[main_arena, other + 0x30]]
    assert rings[0][0].top == heap + 0x21000
    assert not malloc._ring(main_arena, memory((start, data)), shape)


@given(st.binary(max_size=6000), st.sampled_from([4, 8]))
def test_no_data_is_too_strange_for_malloc(data: bytes, word: int) -> None:
    shape = malloc._Shape(word)
    process = memory((0x1000, data)) if data else Memory()
    for address in malloc._candidates(data, 0x1000, shape):
        malloc._ring(address, process, shape)
    assert all(
        label.end <= 0x3000
        for label in malloc.large_blocks(process, mapping(0x1000, 0x3000), word)
    )


def test_large_blocks_one_after_the_other() -> None:
    chunk = struct.pack("<QQ", 0, 0x2002) + bytes(0x1FF0)
    process = memory((0x10000, chunk + chunk + bytes(0x1000)))
    found = list(malloc.large_blocks(process, mapping(0x10000, 0x15000), 8))
    assert [(label.start, label.end) for label in found] == [(0x10000, 0x12000), (0x12000, 0x14000)]
    # glibc on i386 leaves out 8 bytes before the chunk.
    process = memory((0x10000, bytes(8) + struct.pack("<II", 8, 0x1FFA) + bytes(0x1FF0)))
    [label] = malloc.large_blocks(process, mapping(0x10000, 0x12000), 4)
    assert (label.start, label.end) == (0x10000, 0x12000)
    assert not list(malloc.large_blocks(process, mapping(0x10000, 0x11000), 4))
