"""What fields lead to: which field to what, and structures that lead further."""

from __future__ import annotations

from unspool.analyses.anatomy import leaves
from unspool.analyses.anatomy.fields import fields, references, shown, structure
from unspool.analyses.anatomy.leaves import Link, has_room
from unspool.analyses.anatomy.node import BYTES, Node
from unspool.formats.minidump import extensions as ext
from unspool.formats.minidump import structures as st

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from unspool.analyses.anatomy.fields import Reference
    from unspool.analyses.anatomy.survey import Survey
    from unspool.formats.minidump.layout import Layout

    Handler = Callable[[Survey, Link], Node | None]

# What a field leads to, in words, where its name does not say it well.
_ROLES = {
    "Stack": "stack",
    "BackingStore": "backing store",
    "ThreadContext": "context",
    "ModuleNameRva": "name",
    "RvaOfThreadName": "name",
    "name": "name",
    "CvRecord": "CodeView record",
    "MiscRecord": "debug record",
    "CSDVersionRva": "version",
    "TypeNameRva": "type's name",
    "ObjectNameRva": "name",
    "ObjectInfoRva": "object",
    "NextInfoRva": "next object",
    "Memory": "memory",
    "Rva": "line",
    "location": "Crashpad info",
}


def follow(survey: Survey, layout: Layout, offset: int, end: int, of: str) -> None:
    """Takes apart what the fields of a structure lead to. `of` is whose it is, for people."""
    if layout is st.MEMORY_DESCRIPTOR:
        # It is the list's entry itself, and its address belongs to the bytes.
        size, rva = survey.u32(offset + 8), survey.u32(offset + 12)
        link = Link(of, offset + 12, rva, size, survey.u64(offset))
        _lead(survey, link, leaves.memory)
        return
    for reference in references(layout):
        start = offset + reference.offset
        handler = _HANDLERS.get(reference.to)
        if handler is None or start + reference.size > end:
            continue
        _lead(survey, _link(survey, reference, start, f"{_role(reference)} of {of}"), handler)


def _lead(survey: Survey, link: Link, handler: Handler) -> None:
    if link.size == 0 or (link.size is None and link.offset == 0):
        return
    node = handler(survey, link)
    if node is not None:
        survey.targets[link.field] = (node.offset, node.size)


def _role(reference: Reference) -> str:
    name = reference.field.name
    return _ROLES.get(name, name.replace("_", " "))


def _link(survey: Survey, reference: Reference, start: int, where: str) -> Link:
    layout = reference.layout
    if layout is None:
        read = survey.u64 if reference.size == 8 else survey.u32
        return Link(where, start, read(start), None)
    address = None
    if layout is st.MEMORY_DESCRIPTOR:
        address = survey.u64(start)
        start += 8
    if layout is st.LOCATION64:
        return Link(where, start + 8, survey.u64(start + 8), survey.u64(start))
    return Link(where, start + 4, survey.u32(start + 4), survey.u32(start), address)


def record(survey: Survey, link: Link, layout: Layout) -> Node | None:
    """One structure, and what it leads to. Its size is the link's, or else the layout's."""
    size = link.size if link.size is not None else layout.size
    known = survey.known(link.offset, size, layout.name)
    if known is not None:
        return known
    have = survey.available(link.offset, size, link.where, link.field)
    if not have or not has_room(survey, link, min(have, layout.size)):
        return None
    if size < layout.size and have == size:
        survey.flaw(link.field, link.where, f"{layout.name} has {layout.size} bytes, not {size}")
    node = survey.add(structure(survey, link.where, layout, link.offset, have))
    follow(survey, layout, link.offset, link.offset + have, link.where)
    return node


def counted(survey: Survey, link: Link, header: Layout, entry: Layout) -> Node | None:
    """A number and so many entries, as Crashpad's lists are."""
    known = survey.known(link.offset, -1, header.name)
    if known is not None:
        return known
    size = link.size or 0
    have = survey.available(link.offset, size, link.where, link.field)
    if have < header.size:
        return leaves.plain(survey, link)
    if not has_room(survey, link, header.size):
        return None
    node = Node(link.where, header.name, link.offset, have, meaning=header.meaning)
    survey.add(node, sized=False)
    node.fill(entries(survey, node, header, entry, survey.u32(link.offset), link))
    return node


def entries(
    survey: Survey, node: Node, header: Layout, entry: Layout, count: int, link: Link
) -> list[Node]:
    """The children of a list of Crashpad's: its header's fields and its entries."""
    at = node.offset + header.size
    children = list(fields(survey, header, node.offset, at))
    fitting = (node.end - at) // entry.size
    if count > fitting:
        survey.flaw(link.field, link.where, f"says {count:,} entries, has room for {fitting:,}")
    for index in range(min(count, fitting)):
        if not survey.spend(entry.size):
            survey.left_out += min(count, fitting) - index
            break
        of = f"entry {index} of {node.name}"
        if entry is ext.MODULE_CRASHPAD_INFO_LINK:
            of = f"module {survey.u32(at)}"
        follow(survey, entry, at, at + entry.size, of)
        children.append(structure(survey, f"[{index}]", entry, at, entry.size))
        at += entry.size
    if at < node.end:
        children.append(Node("rest", BYTES, at, node.end - at, value=shown(survey, at, node.end)))
    return children


def _counted(header: Layout, entry: Layout) -> Handler:
    return lambda survey, link: counted(survey, link, header, entry)


def _record(layout: Layout) -> Handler:
    return lambda survey, link: record(survey, link, layout)


_HANDLERS: dict[str, Handler] = {
    "MINIDUMP_STRING": leaves.string,
    "MinidumpUTF8String": leaves.utf8,
    "MinidumpByteArray": leaves.byte_array,
    "memory": leaves.memory,
    "CONTEXT": leaves.context,
    "CodeView": leaves.codeview,
    "IMAGE_DEBUG_MISC": _record(st.IMAGE_DEBUG_MISC),
    "MINIDUMP_HANDLE_OBJECT_INFORMATION": leaves.handle_object,
    "MINIDUMP_MAC_CRASH_INFO_RECORD": _record(ext.MAC_CRASH_INFO_RECORD),
    "MinidumpRVAList": _counted(ext.RVA_LIST, ext.RVA),
    "MinidumpSimpleStringDictionary": _counted(ext.STRING_DICTIONARY, ext.STRING_DICTIONARY_ENTRY),
    "MinidumpAnnotationList": _counted(ext.ANNOTATION_LIST, ext.ANNOTATION),
    "MinidumpModuleCrashpadInfoList": _counted(
        ext.MODULE_CRASHPAD_INFO_LIST, ext.MODULE_CRASHPAD_INFO_LINK
    ),
    "MinidumpModuleCrashpadInfo": _record(ext.MODULE_CRASHPAD_INFO),
}
