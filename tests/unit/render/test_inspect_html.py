from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from unspool.analyses.anatomy import Anatomy, Node, Problem, StreamEntry
from unspool.render import inspect_html
from unspool.render.inspect_kinds import INDEX, KINDS, RANKS, kinds_of

PAGE = Path(inspect_html.__file__).parent / "page"
SIZE = 64
HOSTILE = "</script><img src=x onerror=alert(1)>&amp;<!--\u2028\u2029\u202e\ud800é"


def anatomy() -> Anatomy:
    made = Anatomy(SIZE)
    made.facts = ["Linux, x86_64"]
    made.problems = [Problem("ThreadListStream", "is cut")]
    field = Node("Signature", "char[4]", 0, 4, value='"MDMP"', meaning="what this is")
    made.add(Node("header", "MINIDUMP_HEADER", 0, 32, children=[field]))
    stream = Node("ThreadListStream", "MINIDUMP_THREAD_LIST", 32, 16, problem="is cut", children=[
        Node("Rva", "u32", 32, 4, raw=48, value="0x30", target=(48, 16)),
    ])  # fmt: skip
    made.add(stream)
    made.add(Node("stack of thread 1", "memory", 48, 16, address=0xFFFF_8000_0000_0000))
    entry = StreamEntry(0, 3, "ThreadListStream", 32, 16)
    entry.node = stream
    made.streams = [entry]
    return made


class Reader(HTMLParser):
    """The page's elements, and the text of its scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[dict[str, str | None], str]] = []
        self._raw: dict[str, str | None] | None = None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self._raw = {"tag": tag, **dict(attributes)} if tag in ("script", "style") else None

    def handle_endtag(self, tag: str) -> None:
        self._raw = None

    def handle_data(self, data: str) -> None:
        if self._raw is not None:
            self.texts.append((self._raw, data))

    def text(self, **wanted: str) -> str:
        (found,) = [text for keys, text in self.texts if wanted.items() <= keys.items()]
        return found


def page_of(made: Anatomy, data: bytes = bytes(SIZE), name: str = "core.dmp") -> Reader:
    page = "".join(inspect_html.chunks(made, data, name=name))
    assert page.isascii()
    return Reader(page)


def document(made: Anatomy, name: str = "core.dmp") -> dict[str, object]:
    found = json.loads(page_of(made, name=name).text(id="dump"))
    assert isinstance(found, dict)
    return found


def test_the_facts_of_the_file() -> None:
    found = document(anatomy())
    assert (found["name"], found["size"], found["facts"]) == ("core.dmp", SIZE, ["Linux, x86_64"])
    assert found["problems"] == [["ThreadListStream", "is cut"]]


def test_a_row_for_each_node_and_each_string_once() -> None:
    header, threads, stack = (INDEX[kind] for kind in ("header", "threads", "stack"))
    assert document(anatomy())["nodes"] == [
        [0, 0, "Streams", 0, -1, 0, "2"],
        [1, header, "header", "MINIDUMP_HEADER", 0, 32],
        [2, header, "Signature", "char[4]", 0, 4, '"MDMP"', "what this is"],
        [1, threads, "ThreadListStream", "MINIDUMP_THREAD_LIST", 32, 16, 0, 0, -1, 0, "is cut"],
        [2, threads, "Rva", "u32", 32, 4, "0x30", 0, 48, 16],
        [0, 0, "Stacks", 0, -1, 0, "1"],
        [1, stack, "stack of thread 1", "memory", 48, 16, 0, 0, -1, 0, 0, "0xffff800000000000"],
    ]


def test_a_string_that_came_before_is_its_number() -> None:
    made = Anatomy(SIZE)
    for offset in (0, 4):
        made.add(Node("gap", "gap", offset, 4, meaning="nothing"))
    rows = document(made)["nodes"]
    assert isinstance(rows, list)
    # The empty string is 0, "Gaps" 1, "2" 2.
    assert rows[1:] == [
        [1, INDEX["gap"], "gap", 4, 0, 4, 0, "nothing"],
        [1, INDEX["gap"], 3, 4, 4, 4, 0, 5],
    ] or rows[1:] == [
        [1, INDEX["gap"], "gap", 3, 0, 4, 0, "nothing"],
        [1, INDEX["gap"], 3, 3, 4, 4, 0, 4],
    ]


@pytest.mark.parametrize("field", ["name", "value", "meaning", "problem"])
def test_text_of_the_dump_is_data_whatever_it_is(field: str) -> None:
    harmless = [tag for tag, _ in page_of(anatomy()).tags]
    made = anatomy()
    setattr(made.nodes[0], field, HOSTILE)
    made.facts.append(HOSTILE)
    made.problems.append(Problem(HOSTILE, HOSTILE))
    page = page_of(made, name=HOSTILE)
    assert [tag for tag, _ in page.tags] == harmless
    text = page.text(id="dump")
    assert not set("<>&") & set(text)
    escaped = HOSTILE.encode("ascii", "backslashreplace").decode().replace("\\xe9", "é")
    assert json.loads(text)["name"] == escaped


def test_nothing_runs_but_our_script() -> None:
    page = page_of(anatomy())
    (policy,) = [
        attributes["content"]
        for tag, attributes in page.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in (policy or "").split(";"))
    assert rules.pop("default-src") == "'none'"
    executed = [(keys, text) for keys, text in page.texts if "type" not in keys]
    assert [keys["tag"] for keys, _ in executed] == ["style", "script"]
    for keys, text in executed:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules.pop(f"{keys['tag']}-src") == f"'sha256-{digest}'"
    assert set(rules.values()) == {"'none'"}
    # Neither the policy nor a reader offline leaves room for them.
    for _, attributes in page.tags:
        assert not {"src", "style", "onclick", "onload"} & set(attributes)


def test_the_script_makes_no_markup_of_text() -> None:
    for path in PAGE.glob("*.js"):
        text = path.read_text("ascii")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text)
        assert not re.search(r"</script|<!--", text, re.IGNORECASE)
        assert not re.search(r"https?:|fetch\(|XMLHttpRequest|import\(", text)


def test_every_script_is_on_the_page() -> None:
    assert {path.name for path in PAGE.glob("*.js")} == set(inspect_html._SCRIPTS)


def test_every_kind_has_a_colour_and_a_rank() -> None:
    style = (PAGE / "inspect.css").read_text("ascii")
    assert sorted(RANKS) == sorted(INDEX)
    for kind in KINDS:
        assert f".k-{kind.id} {{ --c: var(--{kind.id}) }}" in style
        assert len(re.findall(rf"--{kind.id}: #", style)) == 2, "light and dark"


def test_kinds() -> None:
    assert kinds_of(anatomy()) == ["header", "threads", "stack"]


def pieces(page: Reader) -> dict[int, bytes]:
    return {
        int(attributes["data-piece"] or ""): b""
        for tag, attributes in page.tags
        if tag == "script" and "data-piece" in attributes
    } | {
        int(keys["data-piece"] or ""): base64.b64decode(text, validate=True)
        for keys, text in page.texts
        if "data-piece" in keys
    }


def test_the_bytes_in_pieces_and_zeros_for_nothing() -> None:
    size = inspect_html._PIECE
    data = bytes(range(256)) * (size // 256) + bytes(size) + b"end"
    found = pieces(page_of(Anatomy(len(data)), data))
    assert found == {0: data[:size], 1: b"", 2: b"end"}


def test_an_empty_file() -> None:
    page = page_of(Anatomy(0), b"")
    assert pieces(page) == {}
    assert json.loads(page.text(id="dump"))["nodes"] == []


def test_of_a_huge_dump_structures_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    size = inspect_html._PIECE
    monkeypatch.setattr(inspect_html, "_MOST_BYTES", 3 * size)
    made = Anatomy(10 * size)
    made.add(Node("memory", "memory", 0, 9 * size, address=0x1000))
    made.add(Node("ModuleListStream", "MINIDUMP_MODULE_LIST", 9 * size, size))
    found = pieces(page_of(made, bytes([1]) * (10 * size)))
    assert list(found) == [0, 1, 9]


def test_fields_are_left_out_of_what_has_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect_html, "_MOST_NODES", 3)
    rows = document(anatomy())["nodes"]
    assert isinstance(rows, list)
    assert [row[0] for row in rows] == [0, 1, 2, 1, 0, 1]
