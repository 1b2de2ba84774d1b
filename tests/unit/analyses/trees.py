"""What holds of every anatomy, whatever the dump."""

from __future__ import annotations

from collections.abc import Iterator

from unspool.analyses.anatomy import Anatomy, Node
from unspool.analyses.anatomy.node import OMITTED


def everything(nodes: list[Node]) -> Iterator[Node]:
    """The nodes and all below them."""
    for node in nodes:
        yield node
        yield from everything(node.children)


def check(anatomy: Anatomy) -> int:
    """Every byte belongs to a node, none to two in silence; the number of nodes."""
    at = 0
    for node in anatomy.nodes:
        assert node.size > 0, node
        assert node.offset <= at, f"a hole before {node}"
        if node.offset < at:
            shared = "part of" in node.meaning or "begins within" in node.meaning
            assert node.problem or shared, f"{node} shares bytes in silence"
        at = max(at, node.end)
    assert at == anatomy.size
    assert anatomy.nodes == sorted(anatomy.nodes, key=lambda node: node.offset)
    return sum(map(_inside, anatomy.nodes)) + _targets(anatomy)


def _inside(node: Node) -> int:
    """The children follow each other from the node's first byte to its last."""
    children = node.children
    assert bool(children) == node.has_children, node
    at = node.offset
    for child in children:
        assert child.offset == at, f"{child} in {node}: expected at 0x{at:x}"
        assert child.size > 0, child
        at = child.end
    assert not children or at == node.end, f"{node} is not whole: 0x{at:x}"
    return 1 + sum(map(_inside, children))


def _targets(anatomy: Anatomy) -> int:
    """What a field leads to is a node; what lies is said by a problem."""
    flawed = any(node.problem or node.type == OMITTED for node in everything(anatomy.nodes))
    assert not flawed or anatomy.problems
    for node in everything(anatomy.nodes):
        if node.target is not None:
            there = anatomy.at(node.target)
            assert there is not None, node
            assert there.offset == node.target[0]
    return 0


def find(anatomy: Anatomy, name: str) -> Node:
    """The only node of `nodes` with that name."""
    (found,) = (node for node in anatomy.nodes if node.name == name)
    return found


def child(node: Node, *path: str) -> Node:
    for name in path:
        (node,) = (each for each in node.children if each.name == name)
    return node
