"""Every mapping of real processes is named, and is what the process says that it is.

What mappings there are is read from /proc/PID/maps: of the running process, of its cores before
it ends.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

import unspool
from tests.programs.build import Unavailable
from tests.programs.cores import written_by_gcore, written_by_kernel
from tests.programs.running import build, eventually, is_parked, running
from tests.programs.table import Program
from unspool.analyses.layout import Area, Layout
from unspool.analyses.layout.records import Kind
from unspool.render import layout_rows

pytestmark = pytest.mark.oracle

LAYOUT = Program(name="layout", source="layout.c", flags=("-O1", "-g", "-pthread"))
LAYOUT_32 = LAYOUT.variant("layout-m32", compiler="gcc-m32")

EXPECTED = {
    "file": Kind.FILE, "code": Kind.CODE, "shared": Kind.SHARED, "memfd": Kind.SHARED,
    "held": Kind.RESERVED, "plain": Kind.ANONYMOUS, "large": Kind.HEAP, "heap": Kind.HEAP,
    "bss": Kind.EXECUTABLE, "data": Kind.EXECUTABLE, "text": Kind.EXECUTABLE, "main": Kind.STACK,
    "arena0": Kind.HEAP, "arena1": Kind.HEAP, "stack0": Kind.STACK, "stack1": Kind.STACK,
}  # fmt: skip


@dataclass
class Told:
    """What a process said of itself, its mappings, and where its cores are."""

    pid: int
    places: dict[str, int]
    maps: list[tuple[int, int, str, str]]
    folder: Path


def mappings(pid: int) -> list[tuple[int, int, str, str]]:
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split(None, 5)
        start, end = (int(each, 16) for each in fields[0].split("-"))
        found.append((start, end, fields[1], fields[5] if len(fields) > 5 else ""))
    return found


@pytest.fixture(scope="module", params=[LAYOUT, LAYOUT_32], ids=["64", "32"])
def told(
    request: pytest.FixtureRequest, programs_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Told, Layout]]:
    """A process with its live layout; afterwards there are cores of it, if they can be made."""
    folder = tmp_path_factory.mktemp("layout")
    note = folder / "note.txt"
    note.write_text("something to map\n")
    program = build(request.param, programs_root)
    errors = folder / "said"
    command = ["sh", "-c", f"exec {program} {note} 2>&1 | tee {errors}"]
    with running(command, cwd=folder) as shell:
        assert eventually(lambda: errors.exists() and errors.read_text().endswith("\n"))
        pid = child_of(shell.pid, program.name)
        assert eventually(lambda: is_parked(pid))
        words = errors.read_text().split()[1:]
        places = {name: int(value, 16) for name, value in (word.split("=") for word in words)}
        with unspool.open(pid) as target:
            found = unspool.api.layout(target)
        facts = Told(pid, places, mappings(pid), folder)
        make_cores(facts)
        yield facts, found


def child_of(parent: int, name: str) -> int:
    """The program among a shell's children."""
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            try:
                text = (each / "stat").read_text()
            except OSError:
                continue
            fields = text.rpartition(")")[2].split()
            if fields[1] == str(parent) and text.split("(", 1)[1].startswith(name[:15]):
                return int(each.name)
    pytest.fail(f"no process {name}")


def make_cores(facts: Told) -> None:
    with contextlib.suppress(Unavailable):
        written_by_gcore(facts.pid, facts.folder).rename(facts.folder / "gcore")
    with contextlib.suppress(Unavailable):
        written_by_kernel(facts.pid, facts.folder)


def core(facts: Told, kind: str) -> Path:
    pattern = "gcore" if kind == "gcore" else "core*"
    found = [path for path in facts.folder.glob(pattern) if path.stat().st_size]
    if not found:
        pytest.skip(f"no {kind} core could be made")
    return found[0]


def area_at(found: Layout, address: int) -> Area:
    return next(area for area in found.areas if area.start <= address < area.end)


def test_all_mappings_of_a_running_process_are_named(told: tuple[Told, Layout]) -> None:
    facts, found = told
    # An area may join neighbours that say the same; nothing is left out or counted twice.
    assert sum(area.size for area in found.areas) == sum(e - s for s, e, _, _ in facts.maps)
    assert all(one.end <= two.start for one, two in pairwise(found.areas))
    for area in found.areas:
        assert area.name
        mapping = next(each for each in facts.maps if each[0] <= area.start < each[1])
        assert area.path == mapping[3]
        assert area.permissions == mapping[2]
        if area.kind in (Kind.ANONYMOUS, Kind.CODE, Kind.RESERVED):
            assert not mapping[3]
    assert found.complete


def test_each_place_is_what_the_process_says(told: tuple[Told, Layout]) -> None:
    facts, found = told
    assert {name: area_at(found, facts.places[name]).kind for name in EXPECTED} == EXPECTED
    for index in range(2):
        stack = area_at(found, facts.places[f"stack{index}"])
        assert f"thread {facts.places[f'tid{index}']} " in stack.name
        assert "arena 0x" in area_at(found, facts.places[f"arena{index}"]).name
        guard = area_at(found, stack.start - 1)
        assert (guard.kind, guard.threads) == (Kind.GUARD, stack.threads)
    assert area_at(found, facts.places["bss"]).name.endswith(" bss")
    assert area_at(found, facts.places["file"]).name == "file note.txt"
    kinds = {area.kind for area in found.areas}
    assert {Kind.LIBRARY, Kind.KERNEL, Kind.TLS} <= kinds


@pytest.mark.parametrize("kind", ["gcore", "kernel"])
def test_cores_say_the_same(told: tuple[Told, Layout], kind: str) -> None:
    facts, _ = told
    with unspool.open(str(core(facts, kind))) as target:
        found = unspool.api.layout(target)
    # gdb leaves shared memory out that has a file.
    missing = {"shared", "memfd"} if kind == "gcore" else set()
    for name, wanted in EXPECTED.items():
        if name in missing:
            continue
        area = area_at(found, facts.places[name])
        # Segments do not tell that memory is shared; that it has no file, or is one, they do.
        others = {Kind.SHARED: {Kind.SHARED, Kind.FILE, Kind.ANONYMOUS}}.get(wanted, {wanted})
        assert area.kind in others, f"{name}: {area}"
    if kind == "kernel":
        size = sum(end - start for start, end, _, _ in facts.maps)
        assert sum(area.size for area in found.areas) == size
    # gcore does not say what an i386 thread's gs is: its control block is found by its shape.
    assert Kind.TLS in {area.kind for area in found.areas}
    for index in range(2):
        stack = area_at(found, facts.places[f"stack{index}"])
        assert f"thread {facts.places[f'tid{index}']}" in stack.name
        assert area_at(found, stack.start - 1).kind == Kind.GUARD


HEAP = Program(name="heap", source="heap.c", flags=("-O1", "-Wno-unused-result"))


@pytest.mark.parametrize("compiler", ["musl-gcc", "musl-gcc -static", "gcc"])
def test_blocks_of_malloc_are_in_heaps(
    compiler: str, programs_root: Path, tmp_path: Path
) -> None:
    """Of glibc and of musl, live and in a core; musl's in a static program too."""
    name, *flags = compiler.split()
    variant = "heap-" + compiler.replace(" ", "")
    made = HEAP.variant(variant, compiler=name, flags=(*HEAP.flags, *flags))
    program = build(made, programs_root)
    said: list[str] = []
    with running([program], said=said, cwd=tmp_path) as process:
        places = dict(word.split("=") for word in said[0].split()[1:])
        layouts = []
        with unspool.open(process.pid) as target:
            layouts.append(unspool.api.layout(target))
        with contextlib.suppress(Unavailable):
            core = written_by_gcore(process.pid, tmp_path)
            with unspool.open(str(core)) as target:
                layouts.append(unspool.api.layout(target))
    for found in layouts:
        for name, place in places.items():
            area = area_at(found, int(place, 16))
            # musl gives what its libraries leave of their last page to malloc, as its first blocks.
            small = name in ("small", "last") and area.name.endswith((" bss", " data"))
            donated = "musl" in compiler and small
            assert area.kind == Kind.HEAP or donated, f"{name}: {area}"
        if "musl" in compiler:
            assert "malloc's own records (musl)" in {area.name for area in found.areas}


def test_terabytes_of_address_sanitizer_have_names(programs_root: Path, tmp_path: Path) -> None:
    made = Program(name="shadow", source="shadow.c", flags=("-g", "-fsanitize=address"))
    program = build(made, programs_root)
    said: list[str] = []
    with running([program], said=said, cwd=tmp_path) as process:
        places = dict(word.split("=") for word in said[0].split()[1:])
        with unspool.open(process.pid) as target:
            found = unspool.api.layout(target)
    names = {name: area_at(found, int(place, 16)).name for name, place in places.items()}
    wanted = {"heap": "AddressSanitizer's heap", "shadow": "AddressSanitizer's shadow"}
    assert names == wanted
    large = [area for area in found.areas if area.size > 1 << 32]
    assert all("AddressSanitizer's" in area.name for area in large), large
    rows = [row.name for row in layout_rows.rows(found, {})]
    assert len([name for name in rows if name.startswith("AddressSanitizer's heap")]) == 1


@pytest.mark.parametrize("how", ["", "setarch -L", "prlimit --stack=unlimited"])
@pytest.mark.parametrize("word", ["gcc", "gcc-m32"])
def test_the_direction_of_mappings_is_the_kernels(
    how: str, word: str, programs_root: Path, tmp_path: Path
) -> None:
    """What was asked for is one thing, what the kernel makes of it another."""
    prefix = how.split()
    if prefix and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip(f"{how} is not possible here")
    program = build(HEAP.variant(f"heap-{word}", compiler=word), programs_root)
    with running([*prefix, program], cwd=tmp_path) as process:
        maps = mappings(process.pid)
        bases = {Path(path).name[:2]: start for start, _, _, path in reversed(maps)}
        with unspool.open(process.pid) as target:
            rules = {rule.id: rule for rule in unspool.api.layout(target).rules}
    found = rules["mmap-direction"]
    upwards = bases["li"] > bases["ld"]
    assert ("low addresses up" in found.says) == upwards, found
    assert ("high addresses down" in found.says) == (not upwards and bases["ld"] >= 1 << 31), found
    if how == "setarch -L":
        assert upwards
        assert any("ADDR_COMPAT_LAYOUT" in line for line in found.evidence)
    if how.startswith("prlimit"):
        assert "no limit" in rules["stack-rlimit"].says
