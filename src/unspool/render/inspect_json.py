"""What a minidump is made of as JSON: the contract `unspool.inspect/1` (docs/inspect.md)."""

from __future__ import annotations

from unspool.render.json import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from unspool.analyses.anatomy import Anatomy, Node

SCHEMA = "unspool.inspect/1"

# Beyond it, JSON's numbers lose digits in most readers.
_EXACT = 1 << 53


def chunks(anatomy: Anatomy, *, name: str, nodes: Sequence[Node] | None = None) -> Iterator[str]:
    """The document in pieces, one node a line; they end with a line feed.

    `nodes` are those of the anatomy to write, all if None. What a field means is said with the
    first field of its name in its type, as in the text: otherwise it would be a third of all.
    """
    complete = "true" if anatomy.complete else "false"
    yield (
        f'{{"schema":{quote(SCHEMA)},\n"file":{{"name":{quote(name)},"size":{anatomy.size},'
        f'"complete":{complete}}},\n"problems":['
    )
    comma = "\n"
    for problem in anatomy.problems:
        yield f'{comma}{{"where":{quote(problem.where)},"what":{quote(problem.what)}}}'
        comma = ",\n"
    yield '],\n"nodes":['
    yield from _nodes(anatomy.nodes if nodes is None else nodes, "", set())
    yield "]}\n"


def _nodes(nodes: Iterable[Node], parent: str, said: set[tuple[str, str]]) -> Iterator[str]:
    comma = "\n"
    for node in nodes:
        head = _head(node)
        if node.meaning and (not parent or (parent, node.name) not in said):
            head += f',"meaning":{quote(node.meaning)}'
            said.add((parent, node.name))
        if node.has_children:
            yield f'{comma}{head},"children":['
            yield from _nodes(node.children, node.type, said)
            yield "]}"
        else:
            yield f"{comma}{head}}}"
        comma = ",\n"


def _head(node: Node) -> str:
    """A node without its meaning, its children and its closing brace."""
    text = (
        f'{{"name":{quote(node.name)},"type":{quote(node.type)},'
        f'"offset":{node.offset},"size":{node.size}'
    )
    if node.value:
        text += f',"value":{quote(node.value)}'
    if node.raw is not None:
        text += f',"raw":{_number(node.raw)}'
    if node.address is not None:
        text += f',"address":"0x{node.address:x}"'
    if node.target is not None:
        text += f',"target":{{"offset":{node.target[0]},"size":{node.target[1]}}}'
    if node.problem is not None:
        text += f',"problem":{quote(node.problem)}'
    return text


def _number(value: int) -> str:
    return str(value) if -_EXACT <= value <= _EXACT else f'"0x{value:x}"'
