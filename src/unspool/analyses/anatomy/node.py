"""The parts that an anatomy is made of: nodes of a tree over a dump's bytes, and its problems."""

from __future__ import annotations

from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# What nodes of bytes without fields are called in `type`.
MEMORY, BYTES, TEXT, GAP, PADDING, OMITTED = "memory", "bytes", "text", "gap", "padding", "omitted"


class Problem(Record):
    """Something that is cut, lies or overlaps: where, for people, and what."""

    __slots__ = ("what", "where")

    def __init__(self, where: str, what: str) -> None:
        self.where = where
        self.what = what


class Node(Record):
    """A part of the file: `size` bytes from `offset`, and what they are.

    `type` is the structure's name ("MINIDUMP_THREAD"), a field's ("u32", "char[4]"), or one of
    "memory", "bytes", "text" (lines or strings that a stream is made of), "gap" (nothing refers
    to it), "padding" (zeros up to the next multiple of 16) and "omitted" (what a bound left
    out). `value` is for people, `raw` the number behind it; `meaning` says what that is for.
    `target` is the (offset, size) of what a field points to; the size is 0 if only the place is
    known. `problem` says what is wrong with it. `address` is that of a memory's first byte.

    `children` lie in the node in the order of their offsets, all of them, but for those whose
    `problem` says otherwise. The fields of structures are made anew whenever they are asked
    for: a dump of ten thousand threads has a million of them.
    """

    __slots__ = (
        "_children", "_make", "address", "meaning", "name", "offset", "problem", "raw", "size",
        "target", "type", "value",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        type: str,
        offset: int,
        size: int,
        *,
        value: str = "",
        raw: int | None = None,
        meaning: str = "",
        target: tuple[int, int] | None = None,
        problem: str | None = None,
        address: int | None = None,
        children: Sequence[Node] = (),
        make: Callable[[Node], list[Node]] | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.offset = offset
        self.size = size
        self.value = value
        self.raw = raw
        self.meaning = meaning
        self.target = target
        self.problem = problem
        self.address = address
        self._children = children
        self._make = make

    @property
    def end(self) -> int:
        return self.offset + self.size

    @property
    def children(self) -> list[Node]:
        return self._make(self) if self._make is not None else list(self._children)

    @property
    def has_children(self) -> bool:
        return self._make is not None or bool(self._children)

    def fill(self, children: Sequence[Node]) -> None:
        """Gives the node its children, for one that has to be known before they are."""
        self._children = children

    def become(self, other: Node) -> None:
        """Takes the type and the children of another node of the same bytes."""
        self.type, self._children, self._make = other.type, other._children, other._make

    def __repr__(self) -> str:
        place = f"0x{self.offset:x}+0x{self.size:x}"
        return f"Node({self.name!r}, {self.type!r}, {place}, {self.value!r})"


class StreamEntry(Record):
    """A line of the dump's table of contents: an entry of its directory.

    `name` is the stream type's, `number` the type, `meaning` what such a stream is for; `holds`
    is a short account of what this one holds. `node` is the node of its body; None if the entry
    is unused, or if the body lies outside of the file. `field` is where the entry has the RVA.
    """

    __slots__ = ("field", "holds", "index", "meaning", "name", "node", "number", "offset", "size")

    def __init__(
        self, index: int, number: int, name: str, offset: int, size: int, *, meaning: str = ""
    ) -> None:
        self.index = index
        self.number = number
        self.name = name
        self.offset = offset
        self.size = size
        self.meaning = meaning
        self.field = 0
        self.holds = ""
        self.node: Node | None = None


class Anatomy:
    """A whole dump, taken apart.

    `nodes` are by offset: the header, the directory, the streams' bodies, everything they point
    to, and the gaps between; together they cover the file. Where two of them share bytes, the
    later one's `meaning` or `problem` names the other. `facts` are a few words on the dump.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.nodes: list[Node] = []
        self.streams: list[StreamEntry] = []
        self.problems: list[Problem] = []
        self.facts: list[str] = []
        self.time: int | None = None
        self._by_place: dict[tuple[int, int], Node] = {}

    @property
    def complete(self) -> bool:
        """Whether nothing of the dump is missing or lying."""
        return not self.problems

    def add(self, node: Node) -> None:
        self._by_place.setdefault((node.offset, node.size), node)
        self._by_place.setdefault((node.offset, 0), node)
        self.nodes.append(node)

    def at(self, target: tuple[int, int] | None) -> Node | None:
        """The node of `nodes` that a field's `target` is."""
        return self._by_place.get(target) if target is not None else None
