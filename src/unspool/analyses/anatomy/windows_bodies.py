"""Function tables and tokens, which some dumps of Windows have."""

from __future__ import annotations

from unspool.analyses.anatomy.fields import fields, shown, structure
from unspool.analyses.anatomy.lists import rest
from unspool.analyses.anatomy.node import BYTES, PADDING, Node
from unspool.analyses.anatomy.values import counted
from unspool.formats.minidump import process_structures as ps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.analyses.anatomy.survey import Survey
    from unspool.formats.minidump.streams import StreamType


def function_table(survey: Survey, node: Node, kind: StreamType, where: str) -> str:
    """Descriptors, each with the system's own behind it, and the functions behind that."""
    header, entry = ps.FUNCTION_TABLE_STREAM, ps.FUNCTION_TABLE
    if node.size < header.size:
        return shown(survey, node.offset, node.end)
    values = header.unpack(survey.buffer, node.offset, node.end)
    children = list(fields(survey, header, node.offset, node.offset + header.size))
    node.fill(children)
    at = node.offset + header.size
    at = _run(survey, children, "alignment", at, values["SizeOfAlignPad"], node.end)
    native, function = values["SizeOfNativeDescriptor"], values["SizeOfFunctionEntry"]
    for index in range(values["NumberOfDescriptors"]):
        if node.end - at < entry.size:
            what = f"says {values['NumberOfDescriptors']:,} tables, has room for {index:,}"
            survey.flaw(node.offset + header.field(kind.count).offset, where, what)
            break
        if not survey.spend(entry.size):
            survey.left_out += values["NumberOfDescriptors"] - index
            break
        table = entry.unpack(survey.buffer, at, node.end)
        each = structure(survey, f"Tables[{index}]", entry, at, entry.size)
        each.value = counted(table["EntryCount"], "function")
        children.append(each)
        at = _run(survey, children, "native descriptor", at + entry.size, native, node.end)
        size = table["EntryCount"] * function
        at = _functions(survey, children, at, size, function, node.end)
        at = _run(survey, children, "alignment", at, table["SizeOfAlignPad"], node.end)
    if at < node.end:
        children.append(rest(survey, at, node.end))
    node.fill(children)
    return counted(values["NumberOfDescriptors"], "table")


def _run(survey: Survey, children: list[Node], name: str, at: int, size: int, end: int) -> int:
    """Adds bytes to the children; gives the offset behind them."""
    size = min(size, end - at)
    if size > 0:
        kind = PADDING if name == "alignment" else BYTES
        children.append(Node(name, kind, at, size, value=shown(survey, at, at + size)))
    return at + max(size, 0)


class _Functions:
    """Makes the nodes of RUNTIME_FUNCTIONs."""

    __slots__ = ("survey",)

    def __init__(self, survey: Survey) -> None:
        self.survey = survey

    def __call__(self, node: Node) -> list[Node]:
        layout = ps.RUNTIME_FUNCTION
        return [
            structure(self.survey, f"Functions[{index}]", layout, at, layout.size)
            for index, at in enumerate(range(node.offset, node.end, layout.size))
        ]


def _functions(
    survey: Survey, children: list[Node], at: int, size: int, stride: int, end: int
) -> int:
    layout = ps.RUNTIME_FUNCTION
    if stride != layout.size or size > end - at or not survey.spend(size):
        return _run(survey, children, "functions", at, size, end)
    if size:
        kind = f"{layout.name}[{size // stride}]"
        children.append(Node("Functions", kind, at, size, make=_Functions(survey)))
    return at + size


def tokens(survey: Survey, node: Node, kind: StreamType, where: str) -> str:
    header, entry = ps.TOKEN_LIST, ps.TOKEN
    if node.size < header.size:
        return shown(survey, node.offset, node.end)
    values = header.unpack(survey.buffer, node.offset, node.end)
    children = list(fields(survey, header, node.offset, node.offset + header.size))
    at = node.offset + max(values["ListHeaderSize"], header.size)
    for index in range(values["TokenListEntries"]):
        if not survey.spend(entry.size):
            survey.left_out += values["TokenListEntries"] - index
            break
        if node.end - at < entry.size:
            what = f"says {values['TokenListEntries']:,} tokens, has room for {index:,}"
            survey.flaw(node.offset + header.field(kind.count).offset, where, what)
            break
        token = entry.unpack(survey.buffer, at, node.end)
        size = min(max(token["TokenSize"], entry.size), node.end - at)
        each = structure(survey, f"Tokens[{index}]", entry, at, size)
        each.value = f"of {token['TokenId']}"
        children.append(each)
        at += size
    if at < node.end:
        children.append(rest(survey, at, node.end))
    node.fill(children)
    return counted(values["TokenListEntries"], "token")
