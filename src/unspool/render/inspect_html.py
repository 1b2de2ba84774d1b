"""What a minidump is made of as one page: its map, its structures and its bytes.

The page needs nothing but itself: style and script are in `page/`, the dump is data in it.
Text of the dump is JSON without a character that HTML gives a meaning to; the page's policy
lets run nothing but our own script, told by its hash (docs/decisions/0015).
"""

from __future__ import annotations

from unspool.render.escape import printable
from unspool.render.inspect_kinds import INDEX, KINDS, RANKS, kinds_of
from unspool.render.json import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.analyses.anatomy import Anatomy, Node, Problem
    from unspool.cursor import Buffer

_SCRIPTS = (
    "bytes.js", "nodes.js", "list.js", "hex.js", "tree.js", "map.js", "details.js", "search.js",
    "print.js", "page.js",
)  # fmt: skip

# A multiple of 3, so that a piece of base64 ends with its bytes.
_PIECE = 3 << 16
# A browser opens a page of that many bytes in seconds. Of a larger dump structures come first,
# then memory in the order of the file.
_MOST_BYTES = 96 << 20
# Fields take the room: of a dump with more nodes than these, further structures have none.
_MOST_NODES = 400_000


def chunks(anatomy: Anatomy, buffer: Buffer, *, name: str) -> Iterator[str]:
    """The page in pieces of ASCII text. `buffer` is the dump, `name` what to call it."""
    before, after = _frame()
    yield before
    yield '<script type="application/json" id="dump">'
    yield from _document(anatomy, name)
    yield "</script>\n"
    yield from _bytes(anatomy, buffer)
    yield after


def _frame() -> tuple[str, str]:
    """The page before and after the data."""
    from base64 import b64encode
    from hashlib import sha256
    from importlib.resources import files

    folder = files("unspool.render").joinpath("page")

    def read(name: str) -> str:
        return folder.joinpath(name).read_text("ascii")

    # In a block, so that nothing of the script can be reached by a name.
    script = '"use strict";\n{\n' + "\n".join(map(read, _SCRIPTS)) + "}\n"
    page = read("inspect.html")
    for key, text in (("style", read("inspect.css")), ("script", script)):
        digest = b64encode(sha256(text.encode()).digest()).decode()
        page = page.replace(f"{{{{{key} hash}}}}", digest).replace(f"{{{{{key}}}}}", text)
    before, _, after = page.partition("{{data}}")
    return before, after


def _document(anatomy: Anatomy, name: str) -> Iterator[str]:
    """What the script reads: the dump's facts, its problems, the rows of its nodes."""
    yield f'{{"name":{_text(name)},"size":{anatomy.size},"piece":{_PIECE},"facts":['
    yield ",".join(map(_text, anatomy.facts))
    yield '],\n"kinds":['
    yield ",".join(
        f'{{"id":{_text(kind.id)},"name":{_text(kind.name)},"meaning":{_text(kind.meaning)},'
        f'"rank":{RANKS.index(kind.id)}}}'
        for kind in KINDS
    )
    yield '],\n"problems":['
    yield ",\n".join(_problem(problem) for problem in anatomy.problems)
    yield '],\n"nodes":[\n'
    yield from _Rows().of(anatomy)
    yield "]}\n"


def _problem(problem: Problem) -> str:
    return f"[{_text(problem.where)},{_text(problem.what)}]"


_STREAMS, _OTHERS, _PADDING = "Streams", "Other structures", "Padding"
# What streams lead to, by its kind.
_GROUPS = {
    "header": _STREAMS,
    "directory": _STREAMS,
    "context": "Contexts",
    "stack": "Stacks",
    "memory": "Memory",
    "strings": "Strings",
    "identity": "Debug ids",
    "crashpad": "Annotations",
    "gap": "Gaps",
}
_ORDER = tuple(dict.fromkeys((*_GROUPS.values(), _OTHERS, _PADDING)))


class _Rows:
    """The tree as the rows that `page/nodes.js` describes. Each string is written once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {"": 0}
        self._count = 0

    def of(self, anatomy: Anatomy) -> Iterator[str]:
        groups: dict[str, list[tuple[Node, int]]] = {}
        streams = {id(entry.node) for entry in anatomy.streams}
        for node, name in zip(anatomy.nodes, kinds_of(anatomy), strict=True):
            title = _STREAMS if id(node) in streams else _GROUPS.get(name, _OTHERS)
            title = _PADDING if node.type == "padding" else title
            groups.setdefault(title, []).append((node, INDEX[name]))
        comma = ""
        for title in filter(groups.__contains__, _ORDER):
            size = f"{len(groups[title]):,}"
            yield f"{comma}[0,0,{self._string(title)},0,-1,0,{self._string(size)}]"
            comma = ",\n"
            for node, kind in groups[title]:
                yield comma + ",\n".join(self._subtree(node, kind, 1))

    def _subtree(self, node: Node, kind: int, depth: int) -> Iterator[str]:
        self._count += 1
        yield self._row(node, kind, depth)
        if node.has_children and self._count < _MOST_NODES and depth < 250:
            for child in node.children:
                yield from self._subtree(child, kind, depth + 1)

    def _row(self, node: Node, kind: int, depth: int) -> str:
        offset, size = node.target or (-1, 0)
        strings = [self._string(text) for text in (node.name, node.type, node.value, node.meaning)]
        problem = self._string(node.problem or "")
        row = [
            depth, kind, strings[0], strings[1], node.offset, node.size, strings[2], strings[3],
            offset, size, problem,
        ]  # fmt: skip
        if node.address is not None:
            row.append(f'"{node.address:#x}"')
        else:
            while row[-1] in (0, -1):
                row.pop()
        return f"[{','.join(map(str, row))}]"

    def _string(self, text: str) -> int | str:
        number = self._numbers.get(text)
        if number is None:
            self._numbers[text] = len(self._numbers)
            return _text(text)
        return number


def _bytes(anatomy: Anatomy, buffer: Buffer) -> Iterator[str]:
    """The dump's bytes, a piece an element. Zeros are an empty one; what is too much has none."""
    from binascii import b2a_base64

    for number in _pieces(anatomy, len(buffer)):
        data = bytes(buffer[number * _PIECE : (number + 1) * _PIECE])
        text = b2a_base64(data, newline=False).decode() if any(data) else ""
        yield f'<script type="text/plain" data-piece="{number}">{text}</script>\n'


def _pieces(anatomy: Anatomy, size: int) -> list[int]:
    """The numbers of the pieces that the page has room for."""
    count = -(-size // _PIECE)
    most = _MOST_BYTES // _PIECE
    if count <= most:
        return list(range(count))
    wanted: dict[int, None] = {}
    for node in anatomy.nodes:
        if node.type not in ("memory", "gap") and node.size > 0:
            wanted.update(dict.fromkeys(range(node.offset // _PIECE, -(-node.end // _PIECE))))
    wanted.update(dict.fromkeys(range(most)))
    return sorted(list(wanted)[:most])


# As escapes of JSON these have no meaning to HTML.
_MARKUP = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def _text(text: str) -> str:
    """A JSON string in ASCII that can end no element: no `<`, `>`, `&`.

    Marks that reverse the direction of writing could make a name read as another one: these,
    and all that cannot be seen, are escapes for people, as on a terminal.
    """
    return quote(printable(text)).translate(_MARKUP)
