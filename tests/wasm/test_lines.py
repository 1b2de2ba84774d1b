"""Files and lines of Wasm code, as the runtime itself says them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.programs.build import build_wasm
from unspool.model import Report, Stack
from unspool.render.text import lines

from .hosts import host, look, make_dump
from .install import NEWEST, VERSIONS, folder

LINES = Path(__file__).with_name("lines.c")
COMPONENT = Path(__file__).with_name("component.c")
LINK = ("-Wl,--export=go", "-Wl,--allow-undefined")
COMPONENT_HOST = Path(__file__).with_name("component_host.py")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("config", [("details",), ("debug_info",)], ids=["wasm", "native"])
def test_files_and_lines_are_the_runtimes_own(
    version: str, config: tuple[str, ...], tmp_path: Path
) -> None:
    """By the DWARF of the binary that the runtime keeps, or by that which it makes for gdb."""
    pytest.importorskip("symbolic")
    folder(version)
    binary = build_wasm(LINES, tmp_path / "lines.wasm", *LINK)
    if config == ("debug_info",) and version not in (NEWEST, "36.0.0"):
        pytest.skip("not every line is in the DWARF that it makes")
    with host(version, *config) as running:
        said = running.ask(f"load {binary}")
        report, stack = look(running.pid, said["tid"])
    places = places_of(report, stack)
    assert places == [("lines.c", 6), ("lines.c", 13), ("lines.c", 18)]
    if config == ("details",):
        assert own_places(said["text"], LINES) == places


def test_files_and_lines_of_a_component(tmp_path: Path) -> None:
    """Each of its modules has DWARF of its own, or none. The runtime says them after a trap,
    which is a line below the call."""
    pytest.importorskip("symbolic")
    folder(NEWEST)
    binaries = [
        str(build_wasm(COMPONENT, tmp_path / f"{name}.wasm", f"-D{name}", *LINK))
        for name in ("FIRST", "LAST")
    ]
    with host(NEWEST, *binaries, "details", program=COMPONENT_HOST) as running:
        tid = running.said["tid"]
        dump = make_dump(running.pid, tmp_path, sanitize=True)
        reports = [look(source, tid) for source in (running.pid, dump)]
        running.go_on()
        own = own_places(running.listen()["text"], COMPONENT)
    for report, stack in reports:
        places = places_of(report, stack)
        assert places == [("component.c", line) for line in (7, 13)] + [
            ("", None), ("component.c", 21), ("component.c", 27),
        ]  # fmt: skip
        assert own == [("component.c", 8), *(place for place in places[1:] if place[1])]
        assert names_of(report, stack) == [
            ("", "go"), ("none", "<wasm function 1>"), ("", "between"), ("", "go"),
        ]  # fmt: skip


def test_names_of_a_component(tmp_path: Path) -> None:
    """Of its three modules the one in the middle has no names of functions; the last one's has a
    long one, which symbols have cut."""
    folder(NEWEST)
    with host(NEWEST, program=COMPONENT_HOST) as running:
        tid = running.said["tid"]
        dump = make_dump(running.pid, tmp_path, sanitize=True)
        reports = [look(source, tid) for source in (running.pid, dump)]
        running.go_on()
        own = re.findall(r"- (.*)!(.*)", running.listen()["text"])
    assert own == [("first", "call"), ("none", "<wasm function 1>"), ("last", 12 * "long_name_")]
    for report, stack in reports:
        assert names_of(report, stack) == own
        text = "\n".join(lines(report))
        assert re.findall(r"\.wasm\[(.*)\]\+0x", text) == [module for module, _ in own]


def places_of(report: Report, stack: Stack) -> list[tuple[str, int | None]]:
    """File and line of each Wasm frame, and of the calls that were expanded in it."""
    places: list[tuple[str, int | None]] = []
    for index, frame in enumerate(stack.frames):
        if stack.segments[frame.segment].kind == "wasm":
            location = report.location(stack, index)
            assert location is not None
            places += [(os.path.basename(each.file or ""), each.line) for each in location.inlines]
            places.append((os.path.basename(location.file or ""), location.line))
    return places


def names_of(report: Report, stack: Stack) -> list[tuple[str, str | None]]:
    """What the module and the function of each Wasm frame are called."""
    names = []
    for index, frame in enumerate(stack.frames):
        if stack.segments[frame.segment].kind == "wasm":
            location = report.location(stack, index)
            assert location is not None
            assert location.module is not None
            known = report.modules[location.module].wasm
            assert known is not None
            module = known.modules.get(location.wasm_module, "")
            names.append((module, location.function))
    return names


def own_places(text: str, source: Path) -> list[tuple[str, int | None]]:
    """The same in the runtime's own words, which may have native frames as well."""
    lines = re.findall(rf"{re.escape(source.name)}:(\d+)", text)
    return [(source.name, int(line)) for line in lines]
