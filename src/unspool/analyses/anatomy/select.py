"""Parts of an anatomy by name, and what they point to."""

from __future__ import annotations

from unspool.analyses.anatomy.node import GAP, OMITTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.analyses.anatomy.node import Anatomy, Node, StreamEntry

_SINGLE = ("header", "directory")
_UNUSED = (GAP, OMITTED)


def select(anatomy: Anatomy, wanted: str) -> list[Node] | None:
    """The nodes that a word means; None if there is nothing of that name.

    It is a stream's name or how that begins (`ThreadListStream`, `misc`), its type (`3`,
    `0x47670009`), its place in the directory (`#0`), `header`, `directory` or `gaps`. A stream
    that the dump lists and does not hold has no node.
    """
    word = wanted.strip().lower()
    if word in _SINGLE:
        return [node for node in anatomy.nodes if node.name == word]
    if word in ("gap", "gaps"):
        return [node for node in anatomy.nodes if node.type in _UNUSED]
    found = [entry for entry in anatomy.streams if _is_meant(entry, word)] or [
        entry for entry in anatomy.streams if entry.name.lower().startswith(word or "?")
    ]
    if not found:
        return None
    return [entry.node for entry in found if entry.node is not None]


def _is_meant(entry: StreamEntry, word: str) -> bool:
    if word.startswith("#"):
        return word == f"#{entry.index}"
    if word in (str(entry.number), f"0x{entry.number:x}", f"0x{entry.number:08x}"):
        return True
    name = entry.name.lower()
    return word in (name, name.removesuffix("stream"))


def reach(anatomy: Anatomy, nodes: Sequence[Node]) -> list[Node]:
    """These nodes and all that their fields lead to, by offset."""
    found = {id(node): node for node in nodes}
    queue = list(found.values())
    for node in queue:  # which grows
        for field in _fields(node):
            there = anatomy.at(field.target)
            if there is not None and id(there) not in found:
                found[id(there)] = there
                queue.append(there)
    return sorted(queue, key=_offset)


def _fields(node: Node) -> Iterator[Node]:
    for child in node.children:
        if child.has_children:
            yield from _fields(child)
        else:
            yield child


def _offset(node: Node) -> int:
    return node.offset
