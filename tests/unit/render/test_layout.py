"""Address spaces as text, JSON and a picture."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator

from tests.unit.analyses.layout.made_up import GIB, area, layout
from tests.unit.render.test_json import closed
from unspool.analyses.layout import Area, Layout, Rule
from unspool.analyses.layout.records import Kind
from unspool.analyses.layout.reserve import plan
from unspool.model import Finding, Module
from unspool.render import layout_json, layout_rows, layout_svg, layout_text
from unspool.render.style import Style

SCHEMA = json.loads(files("unspool.render").joinpath("layout-1.schema.json").read_text())
CLOSED = Draft202012Validator(closed(SCHEMA))
SVG = "{http://www.w3.org/2000/svg}"
MODULES = [Module(0, "game.exe", 0x400000, 0x408000, kind="pe"), Module(1, "ntdll.dll", 0, 0)]


def sample(name: str = "anonymous memory") -> Layout:
    """A small Windows program's, with one of its rules broken."""
    areas = [
        area(0x10000, 0x110000, Kind.DOS, "DOS area, held by Wine", "---p"),
        area(0x400000, 0x401000, Kind.PROGRAM, "game.exe headers", "r--p"),
        area(0x401000, 0x408000, Kind.PROGRAM, "game.exe .text", "r-xp"),
        area(0x500000, 0x502000, Kind.GUARD, "guard of the Windows stack of thread 7", "---p"),
        area(0x502000, 0x600000, Kind.WINDOWS_STACK, "Windows stack of thread 7"),
        area(0x10000000, 0x10001000, name=name),
        area(0x7B000000, 0x7B001000, Kind.BUILTIN, "ntdll.dll .text", "r-xp"),
        area(0xF7000000, 0xF7200000, Kind.LIBRARY, "libc.so.6 code", "r-xp"),
    ]
    areas[1].module = areas[2].module = 0
    areas[3].threads = areas[4].threads = (0,)
    areas[6].module = 1
    made = layout(areas, windows=True)
    made.labels = {0: "thread 7"}
    made.rules = [
        Rule("null-page", "ok", "nothing is mapped at 0", ["unseen"]),
        Rule("preloader", "warning", "no preloader", ["one", "two", "three", "four"]),
        Rule("prelink", "unknown", "no files"),
    ]
    made.findings = [Finding("layout", "preloader: no preloader", detail="one")]
    made.plan = plan(areas, [("low memory area", 0x110000, 0x68000000)])
    return made


def text(made: Layout, **options: Any) -> str:
    return "\n".join(layout_text.lines(made, MODULES, style=Style(), **options))


def document(made: Layout, **options: Any) -> Any:
    written = "".join(layout_json.chunks(made, **options))
    assert written.isascii()
    assert written.endswith("}\n")
    return json.loads(written)


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema"]["const"] == layout_json.SCHEMA


def test_documents_keep_to_the_schema() -> None:
    made = document(sample(), plan=True)
    CLOSED.validate(made)
    assert made["complete"] is True
    assert [each["kind"] for each in made["areas"]][:2] == ["dos_area", "windows_program"]
    assert made["areas"][4]["threads"] == [0]
    assert made["free_blocks"][0]["limit"] == hex(2 * GIB)
    assert made["plan"]["steps"][0]["action"] == "reserve"
    assert "plan" not in document(sample())
    CLOSED.validate(document(sample("\udcff\x1b[2J")))
    empty = document(layout([]))
    CLOSED.validate(empty)
    assert empty["holes"] == [{"start": "0x0", "end": hex(4 * GIB), "size": 4 * GIB}]


def test_what_belongs_together_is_one_row() -> None:
    lines = text(sample()).splitlines()
    shown = [line for line in lines if line.startswith("0x") and "hole" not in line]
    rows = [line.split(None, 5)[5] for line in shown]
    assert rows == [
        "DOS area, held by Wine", "game.exe", "Windows stack of thread 7 with its guard",
        "anonymous memory", "ntdll.dll (builtin)", "libc.so.6 code",
    ]  # fmt: skip
    assert sum(line.startswith("0x") and line.endswith("hole") for line in lines) == 5


def test_free_blocks_in_words() -> None:
    held = area(0x10000, 4 * GIB, Kind.RESERVED, "held", "---p")
    blocks = [line for line in text(layout([held])).splitlines() if line.startswith("  below")]
    assert blocks[0] == "  below  2 GiB    nothing; with what is held: 2.0 GiB at 0x10000"
    used = area(0x10000, 3 * GIB)
    blocks = [line for line in text(layout([used])).splitlines() if line.startswith("  below")]
    assert blocks[0] == "  below  2 GiB    nothing"
    assert blocks[2] == "  below  4 GiB      1 GiB at 0xc0000000"


def test_the_whole_text_has_every_area() -> None:
    whole = text(sample(), whole=True)
    assert "game.exe headers" in whole
    assert "guard of the Windows stack" in whole
    assert "four" in whole
    brief = text(sample())
    assert "four" not in brief
    assert "… and 1 more (--all)" in brief
    assert "unseen" not in brief
    assert "WARNING  preloader" in brief


def test_the_plan_is_shown_when_asked_for() -> None:
    assert "reserve " not in text(sample())
    shown = text(sample(), plan=True)
    assert "low memory area: 0x110000 to 0x68000000" in shown
    assert "reserve   0x110000" in shown


def test_a_missing_part_is_said() -> None:
    made = sample()
    made.findings.append(Finding("mappings_missing", "not all is listed", incomplete=True))
    assert not made.complete
    assert "missing: not all is listed" in text(made)
    assert document(made)["complete"] is False


def test_names_cannot_drive_the_terminal() -> None:
    bad = "\x1b[2J<script>&\udcff"
    assert "\x1b" not in text(sample(bad))
    assert "\x1b" not in text(sample(bad), whole=True)
    picture = "".join(layout_svg.picture(sample(bad), MODULES))
    assert "<script>" not in picture
    ElementTree.fromstring(picture)


def picture_of(made: Layout) -> tuple[int, list[str]]:
    """How high the picture is, and its words."""
    picture = ElementTree.fromstring("".join(layout_svg.picture(made, [])))
    return int(picture.get("height", "")), [
        "".join(each.itertext()) for each in picture.iter(f"{SVG}text")
    ]


@pytest.mark.parametrize("count", [0, 1, 40, 2_000])
@pytest.mark.parametrize("kind", [Kind.STACK, Kind.ANONYMOUS, Kind.EXECUTABLE, Kind.CODE])
def test_the_picture_is_one(count: int, kind: str) -> None:
    areas = [
        area(at << 28, (at << 28) + 0x10000 * (at + 1), kind, f"area {at}")
        for at in range(1, count + 1)
    ]
    height, words = picture_of(layout(areas, word=8, top=1 << 47))
    assert any("Address space of" in each for each in words)
    assert any("nothing mapped" in each for each in words)
    assert height < 8_000
    if count <= 40:
        assert len([each for each in words if each.startswith("area ")]) == count
    else:
        joined = [each for each in words if each.startswith(("2,000 ", "1,", "area "))]
        assert joined, words


def test_the_hole_below_the_kernels_half_says_where_it_ends() -> None:
    call = area(0xFFFFFFFFFF600000, 0xFFFFFFFFFF601000, Kind.KERNEL, "vsyscall")
    made = layout([area(0x7FFC00000000, 0x7FFC00021000), call], word=8, top=1 << 47)
    _, words = picture_of(made)
    assert "nothing mapped: 16.0 GiB, up to 0x800000000000" in words


def heaps(count: int) -> list[Area]:
    found = []
    for at in range(1, count + 1):
        name, start = f"malloc arena 0x{at << 26:x}", at << 26
        found.append(area(start, start + 0x21000, Kind.HEAP, name))
        room = (start + 0x21000, start + (1 << 26), Kind.RESERVED, f"room of {name}", "---p")
        found.append(area(*room))
    return found


def test_a_heap_and_its_room_are_one_row() -> None:
    rows = layout_rows.rows(layout(heaps(2)), {})
    assert [row.name for row in rows] == [
        "malloc arena 0x4000000 (132 KiB, and room)", "malloc arena 0x8000000 (132 KiB, and room)",
    ]  # fmt: skip
    [row] = layout_rows.rows(layout(heaps(5)), {})
    assert (row.name, row.size) == ("5 heaps", 5 << 26)
    parts = [
        area(0x1000, 0x2000, Kind.HEAP, "room of the Java heap", "---p"),
        area(0x2000, 0x3000, Kind.HEAP, "the Java heap"),
    ]
    [row] = layout_rows.rows(layout(parts), {})
    assert row.name == "the Java heap (4 KiB, and room)"


def test_the_text_of_very_many_mappings_is_bounded() -> None:
    many = [area(at << 28, (at << 28) + 0x200000) for at in range(1, 5_000)]
    made = layout(many, word=8, top=1 << 47)
    assert len(text(made).splitlines()) < 1_500
    assert len(text(made, whole=True).splitlines()) > 9_990


def test_the_picture_says_what_is_where() -> None:
    picture = ElementTree.fromstring("".join(layout_svg.picture(sample(), MODULES)))
    words = ["".join(each.itertext()) for each in picture.iter(f"{SVG}text")]
    assert "Windows stack of thread 7 with its guard 1 MiB" in words
    assert "⚠ preloader: no preloader" in words
    assert "0 to 4 GiB" in words
    order = [each for each in words if each.startswith(("libc", "game", "DOS area, held"))]
    assert [each.split(" ")[0] for each in order] == ["libc.so.6", "game.exe", "DOS"]


def test_runs_of_small_things_are_one_row() -> None:
    areas = [
        area(at * 0x200000, at * 0x200000 + 0x1000, Kind.LIBRARY, f"lib{at}.so code", "r-xp")
        for at in range(5)
    ]
    for index, each in enumerate(areas):
        each.module = index
    areas.append(area(5 * 0x200000, 5 * 0x200000 + 0x1000))
    names = {index: f"lib{index}.so" for index in range(5)}
    [row] = layout_rows.rows(layout(areas), names)
    assert row.name == "5 libraries (lib0.so, lib1.so, lib2.so, …), 1 anonymous memory"
    assert (row.start, row.size) == (0, 6 * 0x1000)
