"""A person with the page of `unspool inspect DUMP --format html`: looks, points, clicks, types."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from unspool.analyses.anatomy import dissect
from unspool.render import inspect_html

from . import dumps
from .driver import Browser

pytestmark = pytest.mark.oracle

# Chromium keeps this many elements in the page, whatever the dump.
MOST_ELEMENTS = 3000


class Page:
    """What of the page can be seen."""

    def __init__(self, browser: Browser, data: bytes, address: str) -> None:
        self.browser = browser
        self.data = data
        self.address = address

    def open(self, place: str = "") -> None:
        self.browser.open("about:blank")
        self.browser.open(self.address + place)
        self.browser.frame()

    def one(self, selector: str) -> Any:
        return self.browser.run("return document.querySelector(arguments[0])", selector)

    def text(self, selector: str) -> str:
        found: str = self.browser.run(
            "return document.querySelector(arguments[0]).textContent", selector
        )
        return found

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.browser.run(
            "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)",
            selector,
        )
        return found

    def line(self, name: str) -> Any:
        """The tree's line of that name, of those in sight."""
        found = self.browser.run(
            "return [...document.querySelectorAll('#tree .row:not([hidden])')].find("
            "(row) => row.querySelector('.name').textContent === arguments[0])",
            name,
        )
        assert found is not None, f"{name} is not in sight"
        return found

    def part(self, name: str, part: str) -> Any:
        return self.browser.run(
            "return arguments[0].querySelector(arguments[1])", self.line(name), part
        )

    def unfold(self, name: str) -> None:
        self.browser.click(self.part(name, ".twist"))

    def click(self, name: str) -> None:
        self.browser.click(self.part(name, ".name"), x=20)

    @property
    def selected(self) -> str:
        """The names above and of the selected line."""
        names = self.texts("#tree .row.selected .name")
        assert len(names) == 1, names
        path = self.texts("#path .step")
        assert not path or path[-1] == names[0]
        return " / ".join(path) or names[0]

    def offsets(self, mark: str) -> list[int]:
        """The offsets of bytes in sight that have a mark: selected, hot, cursor."""
        found: list[int] = self.browser.run(
            """
            const found = [];
            for (const row of document.querySelectorAll("#hex .row:not([hidden])")) {
              const base = parseInt(row.querySelector(".offset").textContent, 16);
              [...row.querySelectorAll(".digits i")].forEach((cell, column) => {
                if (cell.classList.contains(arguments[0])) found.push(base + column);
              });
            }
            return found;
            """,
            mark,
        )
        return found

    def byte(self, offset: int) -> Any:
        """The element of a byte in sight."""
        found = self.browser.run(
            """
            for (const row of document.querySelectorAll("#hex .row:not([hidden])")) {
              const base = parseInt(row.querySelector(".offset").textContent, 16);
              const cell = row.querySelectorAll(".digits i")[arguments[0] - base];
              if (cell !== undefined) return cell;
            }
            """,
            offset,
        )
        assert found is not None, f"0x{offset:x} is not in sight"
        return found

    @property
    def cursor(self) -> int:
        (offset,) = self.offsets("cursor")
        return offset

    @property
    def first_offset(self) -> int:
        return int(self.text("#hex .row:not([hidden]) .offset"), 16)

    @property
    def elements(self) -> int:
        count: int = self.browser.run("return document.querySelectorAll('*').length")
        return count

    def search(self, query: str) -> list[str]:
        """What a query finds: the results' labels, with that which stands beside them."""
        self.browser.run("document.activeElement.blur(); document.getElementById('query').value=''")
        self.browser.keys("/", *query, "Down", "Up")
        return self.texts("#results .result")


Open = Callable[[bytes], Page]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens the page of a dump. Afterwards the browser must have had nothing to complain of."""

    def open_page(data: bytes) -> Page:
        path = tmp_path / "dump.html"
        with path.open("w", encoding="ascii") as file:
            file.writelines(inspect_html.chunks(dissect(data), data, name="victim.dmp"))
        page = Page(browser, data, path.as_uri())
        page.open()
        return page

    browser.look(1440, 900)
    browser.complaints()
    yield open_page
    assert browser.complaints() == []


@pytest.fixture
def page(opened: Open) -> Page:
    return opened(dumps.small())


def test_it_opens_with_the_whole_dump(page: Page) -> None:
    assert page.browser.run("return document.title").startswith("victim.dmp")
    assert page.text("#name") == "victim.dmp"
    assert f"{len(page.data):,} bytes" in page.text("#facts")
    assert "3 threads" in page.text("#facts")
    assert page.selected == "header"
    digits = "".join(page.texts("#hex .row:not([hidden]) .digits i"))
    assert digits.startswith(page.data[:256].hex())
    assert page.text("#hex .row .characters").startswith("MDMP")
    kinds = [re.sub(r"[\d,.]+ k?B$", "", each) for each in page.texts("#legend button")]
    assert {"header", "directory", "threads", "contexts", "stacks", "modules"} <= set(kinds)
    assert not page.browser.run("return document.getElementById('problems').checkVisibility()")


def test_pointing_at_a_field_lights_its_bytes(page: Page) -> None:
    page.unfold("header")
    page.browser.hover(page.line("NumberOfStreams"))
    assert page.offsets("hot") == [8, 9, 10, 11]
    page.browser.hover(page.line("directory"))
    assert page.offsets("hot")[0] == 32
    page.browser.hover(page.one("#name"))
    assert page.offsets("hot") == []


def test_clicking_a_field_goes_to_its_bytes(page: Page) -> None:
    offset = page.data.index("/usr/bin/victim".encode("utf-16-le")) - 4
    page.click("name of module 0")
    assert page.cursor == offset
    assert page.offsets("within")[:2] == [offset, offset + 1]
    assert hex(offset) in page.text("#details")
    page.unfold("name of module 0")
    page.click("Length")
    assert page.offsets("selected") == list(range(offset, offset + 4))


def test_clicking_a_byte_selects_its_field(page: Page) -> None:
    page.browser.click(page.byte(13))
    assert page.selected == "header / StreamDirectoryRva"
    assert page.offsets("selected") == [12, 13, 14, 15]
    assert page.cursor == 13
    page.browser.click(page.byte(32 + 12 + 8))
    assert page.selected == "directory / Streams[1] / Location.Rva"


def test_pointing_at_a_byte_names_its_field(page: Page) -> None:
    page.browser.hover(page.byte(5))
    assert page.texts("#path .step") == ["header", "Version"]
    assert page.offsets("hot") == [4, 5, 6, 7]


def test_an_rva_is_a_link_and_there_is_a_way_back(page: Page) -> None:
    page.unfold("header")
    page.browser.click(page.byte(12))
    page.browser.click(page.part("StreamDirectoryRva", "a"))
    assert page.selected == "directory"
    assert page.cursor == 32
    page.browser.back()
    assert page.selected == "header / StreamDirectoryRva"


def test_the_details_lead_where_a_word_points_to(page: Page) -> None:
    page.search(hex(dumps.STACK))
    page.browser.keys("Enter")
    start = page.cursor
    assert page.selected == "stack of thread 0"
    page.browser.click(page.byte(start + 3))
    assert f"{start + 3:#x} = {dumps.STACK + 3:#x}" in page.text("#details")
    page.browser.click(page.one("#details a"))
    assert page.data[page.cursor :].startswith(bytes(4))
    assert page.data[page.cursor - 0x18 :].startswith(b"a needle")


def test_search_for_names_and_values(page: Page) -> None:
    assert "header › NumberOfStreams" in page.search("numberofstr")[0]
    page.browser.keys("Enter")
    assert page.selected == "header / NumberOfStreams"
    assert any("ThreadId" in each for each in page.search("4002"))
    assert page.search("no such thing") == []
    assert "Nothing" in page.text("#results")


@pytest.mark.parametrize(
    "query", ["6e 65 65 64 6c 65", "6e6565646c65", '"needle"', "a needle in"]
)
def test_search_for_bytes(page: Page, query: str) -> None:
    offset = page.data.index(b"a needle" if query.startswith("a") else b"needle")
    assert page.search(query)[0].startswith(hex(offset))
    page.browser.keys("Enter")
    assert page.cursor == offset


def test_search_for_text_as_utf_16(page: Page) -> None:
    offset = page.data.index("victim".encode("utf-16-le"))
    assert any(each.startswith(hex(offset)) for each in page.search('"victim"'))


def test_go_to_an_offset_and_to_an_address(page: Page) -> None:
    assert page.search("0x20")[0].startswith("0x20directory")
    page.browser.keys("Enter")
    assert (page.cursor, page.selected) == (32, "directory / Streams[0] / StreamType")
    found = page.search(f"{dumps.HEAP + 2:x}")
    assert "Go to process address" in page.text("#results")
    assert found[0].startswith(hex(dumps.HEAP + 2))
    page.browser.keys("Enter")
    assert page.data[page.cursor :].startswith(b"needle")


def test_an_address_in_memory_around_a_stack(page: Page) -> None:
    for place, name in ((4, "memory range"), (16, "stack"), (31, "stack"), (64, "memory range")):
        assert name in page.search(hex(dumps.OUTER + place))[0]
        page.browser.keys("Enter")
        assert page.data[page.cursor] == place
        assert page.selected.startswith(name)


def test_the_next_and_the_previous_result(page: Page) -> None:
    page.search("ThreadId")
    page.browser.keys("Enter")
    first = page.cursor
    page.browser.keys("n")
    assert page.cursor == first + 48
    page.browser.keys("N")
    assert page.cursor == first


def test_the_keyboard_in_the_tree(page: Page) -> None:
    page.click("header")
    page.browser.run("document.getElementById('tree').focus()")
    page.browser.keys("Right", "Right")
    assert page.selected == "header / Signature"
    page.browser.keys("Down", "Down", "Down", "Enter")
    assert page.selected == "directory"
    page.browser.keys("Up", "Left", "Left")
    assert page.selected == "header"
    page.browser.keys("End")
    names = page.texts("#tree .row:not([hidden]) .name")
    assert page.texts("#tree .row.selected .name") == names[-1:]
    page.browser.keys("Home")
    assert page.selected == "Streams"


def test_the_keyboard_in_the_bytes(page: Page) -> None:
    page.browser.click(page.byte(0))
    page.browser.run("document.getElementById('hex').focus()")
    page.browser.keys("Right", "Right", "Right", "Right")
    assert page.selected == "header / Version"
    page.browser.keys("Down", "Down", "End")
    assert page.cursor == 47
    page.browser.keys("Left", "Up", "Home")
    assert page.cursor == 16
    page.browser.keys("Up", "Right", "Up")
    assert page.cursor == 0


def test_a_pointer_is_followed_from_the_bytes(page: Page) -> None:
    page.browser.click(page.byte(12))
    page.browser.run("document.getElementById('hex').focus()")
    page.browser.keys("Enter")
    assert page.selected == "directory"


def test_deep_links(page: Page) -> None:
    page.open("#0x8")
    assert page.selected == "header / NumberOfStreams"
    page.open("#12")
    assert page.selected == "header / StreamDirectoryRva"
    page.open(f"#@{dumps.HEAP + 2:#x}")
    assert page.data[page.cursor :].startswith(b"needle")
    for nonsense in ("#0xffffffff", "#@0x1", "#x"):
        page.open(nonsense)
        assert page.selected == "header"
    page.click("directory")
    page.browser.run(
        "return new Promise((done) => { const look = () => location.hash === '#0x20'"
        " ? done() : requestAnimationFrame(look); look(); })"
    )


def test_the_map_and_the_legend_lead_to_bytes(page: Page) -> None:
    button = page.browser.run(
        "return [...document.querySelectorAll('#legend button')].find("
        "(each) => each.textContent.startsWith('contexts'))"
    )
    page.browser.click(button)
    assert page.selected.startswith("context of thread 0")
    page.browser.click(page.one("#map"), y=-4)
    size = page.browser.run("return document.getElementById('map').offsetHeight")
    assert size > 0
    assert 0 < page.cursor < len(page.data)
    page.browser.hover(page.one("#map"), y=-4)
    assert " bytes at 0x" in page.text("#tip")


def test_a_hostile_name_does_nothing(page: Page) -> None:
    assert page.browser.run("return document.title").startswith("victim.dmp")
    assert page.browser.run("return document.images.length") == 0
    page.search("taken")
    assert any(dumps.NAME in each for each in page.texts("#results .result"))
    page.browser.keys("Enter")
    page.click("LinuxCmdLine")
    assert dumps.NAME in page.text("#details") + page.text("#tree")
    page.browser.run("dispatchEvent(new Event('beforeprint'))")
    assert page.browser.run("return document.images.length") == 0
    assert page.browser.run("return document.title").startswith("victim.dmp")


def test_no_other_script_runs(page: Page) -> None:
    page.browser.run(
        """
        const script = document.createElement("script");
        script.textContent = "document.title = 'taken'";
        const picture = document.createElement("div");
        picture.innerHTML = "<img src=x onerror=\\"document.title = 'taken'\\">";
        document.body.append(script, picture);
        """
    )
    page.browser.frame()
    assert page.browser.run("return document.title").startswith("victim.dmp")
    refused = page.browser.complaints()
    assert len(refused) >= 2
    assert all("Content Security Policy" in each for each in refused)


def test_problems_come_first_and_lead_to_their_places(opened: Open) -> None:
    page = opened(dumps.lying())
    assert "problems" in page.text("#problem-count")
    wheres = page.texts("#problem-list .where")
    whats = page.texts("#problem-list .what")
    assert any("1,000" in what for what in whats)
    assert page.browser.run(
        "return problems.getBoundingClientRect().top < map.getBoundingClientRect().top"
    )
    index = next(index for index, what in enumerate(whats) if "1,000" in what)
    buttons = page.browser.run("return [...document.querySelectorAll('#problem-list .where')]")
    page.browser.click(buttons[index])
    assert page.selected == "ThreadListStream / NumberOfThreads"
    assert whats[index] in page.text("#details")
    assert len(page.offsets("bad")) >= 4
    assert wheres[index] == "ThreadListStream"


def test_ten_megabytes(opened: Open) -> None:
    page = opened(dumps.large())
    assert len(page.data) > 10_000_000
    assert page.elements < MOST_ELEMENTS
    page.browser.run("document.getElementById('hex').focus()")
    page.browser.run("document.getElementById('hex').scrollTop = 1e9")
    page.browser.frame()
    last = page.texts("#hex .row:not([hidden]) .digits")[-1]
    assert last == page.data[-16:].hex()
    page.browser.wheel(page.one("#hex"), -2000)
    assert page.first_offset == page.browser.run(
        "const rows = Math.ceil(arguments[0] / 16) - document.getElementById('hex').clientHeight"
        " / 20 - 100; return Math.floor(rows) * 16",
        len(page.data),
    )
    page.click("Memory")
    page.search(hex(dumps.HEAP + 1999 * 0x1_0000 + 5))
    page.browser.keys("Enter")
    assert page.data[page.cursor] == 1999 & 0xFF
    assert page.selected == "memory range 2199"
    assert page.search("library-299")[0].startswith("ModuleListStream › Modules[299]")
    page.browser.keys("Enter")
    page.browser.keys("n")
    assert page.selected.startswith("name of module 299")
    page.search("01 00 00 00 fd 7f")
    page.browser.keys("Enter")
    assert page.elements < MOST_ELEMENTS
    page.open(f"#{len(page.data) - 1}")
    assert page.cursor == len(page.data) - 1


def test_bytes_that_the_page_has_no_room_for(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_html, "_PIECE", 192)
    monkeypatch.setattr(inspect_html, "_MOST_BYTES", 1920)
    page = opened(dumps.small())
    assert page.search(hex(dumps.STACK + 0x10_0000))[0].endswith("stack of thread 1")
    page.browser.keys("Enter")
    shown = page.text("#hex .row:not([hidden]) .digits")
    assert "\N{MIDDLE DOT}" * 2 in shown
    assert "not in this page" in page.text("#details")
    page.search(hex(page.data.index(b"a needle")))
    page.browser.keys("Enter")


def test_light_dark_and_narrow(page: Page) -> None:
    style = "return getComputedStyle(document.body).backgroundColor"
    light = page.browser.run(style)
    page.browser.look(1440, 900, "dark")
    assert page.browser.run(style) != light
    page.browser.look(480, 900)
    page.open("#0x10")
    assert page.browser.run("return document.documentElement.scrollWidth") <= 480
    first = page.text("#hex .row:not([hidden]) .digits")
    assert first == page.data[:8].hex()
    assert page.cursor % 8 == 0


def test_paper_has_what_is_opened(page: Page) -> None:
    page.unfold("header")
    page.click("Signature")
    page.browser.run("dispatchEvent(new Event('beforeprint'))")
    names = page.texts("#paper td:nth-child(2)")
    assert {"header", "Signature", "directory"} <= set(names)
    assert "Streams[0]" not in names
    assert "4d 44 4d 50" in page.text("#paper pre")
    page.browser.run("dispatchEvent(new Event('afterprint'))")
    assert page.text("#paper") == ""
    assert page.browser.pdf().startswith(b"%PDF")
