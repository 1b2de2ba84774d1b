"""The auxiliary vector and the dynamic linker's list, which dumps of Linux have."""

from __future__ import annotations

from unspool.analyses.anatomy.fields import fields, shown, structure
from unspool.analyses.anatomy.lists import omitted, rest
from unspool.analyses.anatomy.node import BYTES, Node, Problem
from unspool.analyses.anatomy.things import follow
from unspool.analyses.anatomy.values import counted, number
from unspool.formats.minidump import extensions as ext
from unspool.formats.minidump import names
from unspool.formats.minidump import structures as st

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.analyses.anatomy.survey import Survey
    from unspool.formats.minidump.layout import Layout
    from unspool.formats.minidump.streams import StreamType


def _is_narrow(survey: Survey) -> bool:
    return survey.architecture in (names.X86, names.X86_ON_WIN64, names.ARM)


def auxv(survey: Survey, node: Node, kind: StreamType, where: str) -> str:
    layout = ext.AUXV32 if _is_narrow(survey) else ext.AUXV64
    node.type = f"{layout.name}[{node.size // layout.size}]"
    children: list[Node] = []
    end = node.end - node.size % layout.size
    for at in range(node.offset, end, layout.size):
        if not survey.spend(layout.size):
            children += omitted(survey, (end - at) // layout.size, at, layout.size, "auxv")
            break
        values = layout.unpack(survey.buffer, at, end)
        each = structure(survey, f"auxv[{len(children)}]", layout, at, layout.size)
        each.value = f"{number('enum:AT', values['a_type'], 8)} = 0x{values['a_val']:x}"
        children.append(each)
    if end < node.end:
        children.append(rest(survey, end, node.end))
    node.fill(children)
    return counted(len(children), "value")


def dso_debug(survey: Survey, node: Node, kind: StreamType, where: str) -> str:
    """MDRawDebug: the head of the dynamic linker's list, which lies elsewhere in the file."""
    layout, link = _dso_layouts(survey, node)
    node.type = layout.name
    if node.size < layout.size:
        survey.complain(Problem(where, f"{node.size} bytes are less than {layout.name} has"))
        node.fill(list(fields(survey, layout, node.offset, node.end)))
        return ""
    values = layout.unpack(survey.buffer, node.offset, node.end)
    _link_maps(survey, node, link, values["map"], values["dso_count"], where)
    after = node.offset + layout.size
    size = node.end - after
    tail = [Node("dynamic section", BYTES, after, size, value=shown(survey, after, node.end),
                 meaning="of the executable, as it was in memory")]  # fmt: skip
    made = structure(survey, "", layout, node.offset, node.size, rest=tail if size else ())
    node.become(made)
    return counted(values["dso_count"], "module")


def _dso_layouts(survey: Survey, node: Node) -> tuple[Layout, Layout]:
    if _is_narrow(survey):
        return ext.DSO_DEBUG32, ext.LINK_MAP32
    # Entries of the dynamic section that follow have 16 bytes.
    if (node.size - ext.DSO_DEBUG64_PACKED.size) % 16 == 0:
        return ext.DSO_DEBUG64_PACKED, ext.LINK_MAP64_PACKED
    return ext.DSO_DEBUG64, ext.LINK_MAP64


def _link_maps(
    survey: Survey, node: Node, layout: Layout, rva: int, count: int, where: str
) -> None:
    field = node.offset + 4
    size = count * layout.size
    have = survey.available(rva, size, f"link maps of {where}", field) if size else 0
    array = Node("link maps", f"{layout.name}[{count}]", rva, have, meaning=layout.meaning)
    if not have or survey.known(rva, have, array.type) is not None:
        return
    survey.add(array)
    survey.targets[field] = (rva, have)
    children: list[Node] = []
    for index in range(have // layout.size):
        at = rva + index * layout.size
        if not survey.spend(layout.size):
            children += omitted(survey, have // layout.size - index, at, layout.size, "link maps")
            break
        follow(survey, layout, at, at + layout.size, f"link map {index}")
        each = structure(survey, f"LinkMaps[{index}]", layout, at, layout.size)
        name = survey.known(*_name_target(survey, layout, at))
        each.value = name.value if name is not None else ""
        children.append(each)
    if have % layout.size:
        children.append(rest(survey, rva + have - have % layout.size, rva + have))
    array.fill(children)


def _name_target(survey: Survey, layout: Layout, at: int) -> tuple[int, int, str]:
    rva, _ = survey.targets.get(at + layout.field("name").offset, (0, 0))
    return rva, -1, st.STRING.name
