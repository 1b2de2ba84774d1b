"""Streams that are lists: threads, modules, memory ranges, handles and the like."""

from __future__ import annotations

from unspool.analyses.anatomy.fields import fields, shown, structure
from unspool.analyses.anatomy.leaves import Link, address_range, memory_at
from unspool.analyses.anatomy.node import BYTES, OMITTED, PADDING, Node, Problem
from unspool.analyses.anatomy.things import follow
from unspool.analyses.anatomy.values import counted
from unspool.formats.minidump import names
from unspool.formats.minidump import process_structures as ps
from unspool.formats.minidump import structures as st

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unspool.analyses.anatomy.survey import Survey
    from unspool.formats.minidump.layout import Layout
    from unspool.formats.minidump.streams import StreamType

# So much of a name is said with each entry that leads to it.
_LABEL = 256
# By the entry's layout: what the array is called, and one of it for people.
_NAMES = {
    st.THREAD.name: ("Threads", "thread"),
    st.THREAD_EX.name: ("Threads", "thread"),
    st.MODULE.name: ("Modules", "module"),
    st.UNLOADED_MODULE.name: ("UnloadedModules", "unloaded module"),
    st.MEMORY_DESCRIPTOR.name: ("MemoryRanges", "memory range"),
    st.MEMORY_DESCRIPTOR64.name: ("MemoryRanges", "memory range"),
    st.MEMORY_INFO.name: ("Regions", "region"),
    st.THREAD_INFO.name: ("ThreadInfos", "thread"),
    st.THREAD_NAME.name: ("ThreadNames", "thread name"),
    ps.HANDLE.name: ("Handles", "handle"),
    ps.HANDLE_OPERATION.name: ("Operations", "operation"),
}


class Head:
    """Where a list's entries are: `count` of `stride` bytes from `at`; `end` is the body's."""

    __slots__ = ("at", "count", "end", "stride")

    def __init__(self, at: int, count: int, stride: int, end: int) -> None:
        self.at = at
        self.count = count
        self.stride = stride
        self.end = end


def list_body(survey: Survey, node: Node, kind: StreamType, where: str) -> str:
    """Fills the node of a list and says what it holds. `where` is the stream, for people."""
    header, entry = kind.header, kind.entry
    assert header is not None
    assert entry is not None
    array, noun = _NAMES.get(entry.name, ("Entries", "record"))
    if node.size < header.size:
        survey.complain(Problem(where, f"{node.size} bytes are less than its header has"))
        node.fill(list(fields(survey, header, node.offset, node.end)))
        return ""
    sized = kind.shape == "sized list"
    head = (_sized_head if sized else _head)(survey, node, kind, where)
    children = list(fields(survey, header, node.offset, min(head.at, node.offset + header.size)))
    if head.at > node.offset + header.size:
        start = node.offset + header.size
        children.append(Node("padding", PADDING, start, head.at - start))
    children += _entries(survey, entry, head, array, noun)
    node.fill(children)
    words = counted(head.count, noun)
    if entry is st.MEMORY_DESCRIPTOR:
        starts = range(head.at, head.at + head.count * head.stride, head.stride)
        words += f", {counted(sum(survey.u32(at + 8) for at in starts), 'byte')}"
    return words


def _head(survey: Survey, node: Node, kind: StreamType, where: str) -> Head:
    header, entry = kind.header, kind.entry
    assert header is not None
    assert entry is not None
    count = _count(survey, node, kind)
    at = node.offset + header.size
    # Breakpad aligns 64-bit fields of the entries by 4 bytes behind the count; readers tell it
    # by the stream's size (minidump.cc: "4 bytes of padding").
    if node.size - header.size - count * entry.size == 4:
        at += 4
    return _checked(survey, node, kind, where, Head(at, count, entry.size, node.end))


def _sized_head(survey: Survey, node: Node, kind: StreamType, where: str) -> Head:
    """The newer lists say how large their header and entries are, so that both can grow."""
    header, entry = kind.header, kind.entry
    assert header is not None
    assert entry is not None
    count = _count(survey, node, kind)
    size, stride = survey.u32(node.offset), survey.u32(node.offset + 4)
    if not header.size <= size <= node.size:
        survey.flaw(node.offset, where, f"a header of {size:,} bytes, not {header.size}")
        size = header.size
    # Handles had 32 bytes before Windows 8.1 wrote 40.
    if not min(entry.size, 8) <= stride <= 1 << 16:
        survey.flaw(node.offset + 4, where, f"entries of {stride:,} bytes, not {entry.size}")
        stride = entry.size
    return _checked(survey, node, kind, where, Head(node.offset + size, count, stride, node.end))


def _count(survey: Survey, node: Node, kind: StreamType) -> int:
    assert kind.header is not None
    field = kind.header.field(kind.count)
    read = survey.u64 if field.size == 8 else survey.u32
    return read(node.offset + field.offset)


def _checked(survey: Survey, node: Node, kind: StreamType, where: str, head: Head) -> Head:
    """The head with no more entries than there is room for."""
    fitting = max(head.end - head.at, 0) // head.stride
    if head.count > fitting:
        assert kind.header is not None
        field = node.offset + kind.header.field(kind.count).offset
        survey.flaw(field, where, f"says {head.count:,} entries, has room for {fitting:,}")
        head.count = fitting
    return head


def _entries(survey: Survey, entry: Layout, head: Head, array: str, noun: str) -> Iterator[Node]:
    label = _LABELS.get(entry.name)
    at = head.at
    for index in range(head.count):
        if not survey.spend(head.stride):
            yield from omitted(survey, head.count - index, at, head.stride, array)
            at += (head.count - index) * head.stride
            break
        end = at + head.stride
        follow(survey, entry, at, end, f"{noun} {index}")
        node = structure(survey, f"{array}[{index}]", entry, at, head.stride)
        node.value = label(survey, at, end) if label is not None else ""
        yield node
        at = end
    if at < head.end:
        yield rest(survey, at, head.end)


def omitted(survey: Survey, count: int, at: int, stride: int, array: str) -> Iterator[Node]:
    """In place of entries that are too many."""
    survey.left_out += count
    yield Node("omitted", OMITTED, at, count * stride, value=f"{count:,} more of {array}")


def rest(survey: Survey, start: int, end: int) -> Node:
    """Bytes of a stream behind all that it says it has."""
    if end - start < 16 and not any(survey.bytes(start, end - start)):
        return Node("padding", PADDING, start, end - start)
    return Node("rest", BYTES, start, end - start, value=shown(survey, start, end),
                meaning="not counted by the stream")  # fmt: skip


# --- memory of full dumps -----------------------------------------------------------------


def memory64_body(survey: Survey, node: Node, kind: StreamType, where: str) -> str:
    """MINIDUMP_MEMORY64_LIST: the bytes of the ranges lie behind each other from BaseRva on."""
    header, entry = kind.header, kind.entry
    assert header is not None
    assert entry is not None
    if node.size < header.size:
        survey.complain(Problem(where, f"{node.size} bytes are less than its header has"))
        return ""
    head = _head(survey, node, kind, where)
    children = list(fields(survey, header, node.offset, node.offset + header.size))
    rva = base = survey.u64(node.offset + 8)
    lost = total = 0
    for index in range(head.count):
        at = head.at + index * head.stride
        if not survey.spend(head.stride):
            children += omitted(survey, head.count - index, at, head.stride, "MemoryRanges")
            break
        address, size = survey.u64(at), survey.u64(at + 8)
        total += size
        if rva >= survey.size and size:
            lost += 1
            survey.flaws[at + 8] = "beyond the file's end"
        elif size:
            link = Link(f"memory range {index}", at + 8, rva, size, address)
            there = memory_at(survey, link, size)
            if there is not None:
                survey.targets[at + 8] = (there.offset, there.size)
        rva += size
        each = structure(survey, f"MemoryRanges[{index}]", entry, at, head.stride)
        each.value = address_range(address, size)
        children.append(each)
    if lost:
        survey.complain(Problem(where, f"{counted(lost, 'range')} beyond the file's end"))
    if children[-1].end < node.end:
        children.append(rest(survey, children[-1].end, node.end))
    if base < survey.size:
        survey.targets[node.offset + 8] = (base, 0)
    node.fill(children)
    return f"{counted(head.count, 'memory range')}, {counted(total, 'byte')}"


# --- entries in a few words ---------------------------------------------------------------


def _text_of(survey: Survey, field: int) -> str:
    """The string that the field at an offset leads to."""
    offset, size = survey.targets.get(field, (0, 0))
    for name in ("MINIDUMP_STRING", "MinidumpUTF8String"):
        node = survey.known(offset, -1, name) if size else None
        if node is not None:
            return node.value[:_LABEL] + ("…" if len(node.value) > _LABEL else "")
    return ""


def _thread(survey: Survey, at: int, end: int) -> str:
    tid = survey.u32(at)
    name = survey.thread_names.get(tid)
    return f"tid {tid}" + (f" “{name}”" if name else "")


def _module(survey: Survey, at: int, end: int) -> str:
    return _text_of(survey, at + st.MODULE.field("ModuleNameRva").offset)


def _unloaded(survey: Survey, at: int, end: int) -> str:
    return _text_of(survey, at + st.UNLOADED_MODULE.field("ModuleNameRva").offset)


def _range(survey: Survey, at: int, end: int) -> str:
    return address_range(survey.u64(at), survey.u32(at + 8))


def _thread_name(survey: Survey, at: int, end: int) -> str:
    return f"tid {survey.u32(at)} “{_text_of(survey, at + 4)}”"


def _region(survey: Survey, at: int, end: int) -> str:
    if end - at < st.MEMORY_INFO.size:
        return ""
    values = st.MEMORY_INFO.unpack(survey.buffer, at, end)
    words = [address_range(values["BaseAddress"], values["RegionSize"])]
    for table, field in (("MEM_STATE", "State"), ("PAGE", "Protect"), ("MEM_TYPE", "Type")):
        words += names.flag_names(table, values[field]) if values[field] else []
    return " ".join(words)


def _handle(survey: Survey, at: int, end: int) -> str:
    kind, name = _text_of(survey, at + 8), _text_of(survey, at + 12)
    return f"0x{survey.u64(at):x} {kind} {name}".rstrip() if end - at >= 32 else ""


_LABELS: dict[str, Callable[[Survey, int, int], str]] = {
    st.THREAD.name: _thread,
    st.THREAD_EX.name: _thread,
    st.THREAD_INFO.name: _thread,
    st.THREAD_NAME.name: _thread_name,
    st.MODULE.name: _module,
    st.UNLOADED_MODULE.name: _unloaded,
    st.MEMORY_DESCRIPTOR.name: _range,
    st.MEMORY_INFO.name: _region,
    ps.HANDLE.name: _handle,
}
