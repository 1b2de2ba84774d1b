"""Every mapping of Wine processes is named, alive and in cores, against /proc/PID/maps."""

from __future__ import annotations

from pathlib import Path

import pytest

import unspool
from tests.oracle.test_layout import area_at, mappings
from unspool.analyses.layout import Layout
from unspool.analyses.layout.records import Kind

from .conftest import Runner
from .cores import made_by_kernel
from .flavours import FLAVOURS

pytestmark = pytest.mark.oracle

SCENARIOS = ["wait_event:2", "wndproc:3:2", "sleep:1"]
KUSER = 0x7FFE0000
# Paths that the kernel gives to what Wine shares, and files of the system.
NAMELESS = (Kind.ANONYMOUS, Kind.RESERVED, Kind.CODE)
_SEEN: dict[str, tuple[Layout, Layout, list[tuple[int, int, str, str]], list[int]]] = {}


@pytest.fixture(params=FLAVOURS)
def seen(
    request: pytest.FixtureRequest, zoo: Runner, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Layout, Layout, list[tuple[int, int, str, str]], list[int]]:
    """A flavour's zoo, alive and as a core, its mappings, and the ids of its threads."""
    name = request.param
    if name not in _SEEN:
        with zoo(name, "O0", SCENARIOS) as running:
            maps = mappings(running.pid)
            tids = [thread.tid for thread in running.threads]
            with unspool.open(running.pid) as target:
                live = unspool.api.layout(target)
            path = tmp_path_factory.mktemp("core") / "core"
            made_by_kernel(running, Path(path))
        root = FLAVOURS[name].sysroot
        with unspool.open(str(path), sysroot=str(root) if root else None) as target:
            _SEEN[name] = live, unspool.api.layout(target), maps, tids
        path.unlink()
    return (name, *_SEEN[name])


Seen = tuple[str, Layout, Layout, list[tuple[int, int, str, str]], list[int]]


def test_all_mappings_are_named(seen: Seen) -> None:
    _, live, core, maps, _ = seen
    size = sum(end - start for start, end, _, _ in maps)
    assert sum(area.size for area in live.areas) == size
    assert sum(area.size for area in core.areas) == size
    for found in (live, core):
        for area in found.areas:
            mapping = next(each for each in maps if each[0] <= area.start < each[1])
            assert area.name
            if area.kind in NAMELESS:
                assert not mapping[3], area
            if found is live:
                assert (area.path, area.permissions) == (mapping[3], mapping[2])


def test_threads_have_their_stacks_and_tebs(seen: Seen) -> None:
    name, live, core, _, tids = seen
    for found in (live, core):
        kinds: dict[str, dict[str, set[int]]] = {}
        for area in found.areas:
            for index in area.threads:
                tid = int(found.labels[index].split(" ")[1])
                kinds.setdefault(area.kind, {}).setdefault(area.name[:12], set()).add(tid)
        wanted = set(tids)
        stacks = set().union(*kinds[Kind.WINDOWS_STACK].values())
        assert wanted <= stacks, f"{name}: {kinds}"
        assert wanted <= set().union(*kinds[Kind.TEB].values())
        assert wanted <= set().union(*kinds[Kind.WINE_STACK].values())
        if name.endswith("wow64"):
            assert {"TEB (64-bit)", "TEB (32-bit)"} <= {each[:12] for each in kinds[Kind.TEB]}


def test_what_windows_expects_is_there(seen: Seen) -> None:
    name, live, core, _, _ = seen
    base = 0x400000 if "x86_64" not in name else 0x140000000
    for found in (live, core):
        assert area_at(found, KUSER).kind == Kind.KUSER
        assert area_at(found, KUSER + 0x1000).kind == Kind.DISPATCHER
        program = area_at(found, base)
        assert (program.kind, program.name) == (Kind.PROGRAM, "zoo.exe headers")
        names = {area.name for area in found.areas if area.kind == Kind.BUILTIN}
        assert {"ntdll.dll .text", "kernel32.dll .text", "kernelbase.dll .data"} <= names
        assert not [area for area in found.areas if area.kind == Kind.NATIVE]
        kinds = {area.kind for area in found.areas}
        assert {Kind.PEB, Kind.WINDOWS_HEAP, Kind.RESERVED, Kind.LIBRARY} <= kinds
        rules = {rule.id: rule for rule in found.rules}
        # A core of a program whose file is not found does not say where that wanted to be.
        assert rules["image-base"].verdict in ("ok", "unknown")
        assert rules["shared-heap"].verdict == "not_applicable"
        assert rules["kuser-shared-data"].verdict == "ok"
    assert live.is_windows
    found = {rule.id: rule for rule in live.rules}
    assert found["image-base"].verdict == "ok"
    assert f"linked for {base:#x}" in found["image-base"].evidence[0]


def test_core_and_process_agree(seen: Seen) -> None:
    _, live, core, _, _ = seen
    there = {(area.start, area.end): area for area in core.areas}
    same = [
        (area, there[area.start, area.end])
        for area in live.areas
        if (area.start, area.end) in there
    ]
    assert len(same) > 0.9 * len(live.areas)
    # A core does not name the kernel's pages, or tell shared memory from files.
    untold = (Kind.SHARED, Kind.FILE, Kind.KERNEL)
    differ = [
        (one.name, other.name)
        for one, other in same
        if one.kind != other.kind and one.kind not in untold
    ]
    assert not differ
