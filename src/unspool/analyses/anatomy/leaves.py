"""What fields lead to that leads no further: strings, memory, debug records, registers."""

from __future__ import annotations

from unspool.analyses.anatomy.fields import shown, structure
from unspool.analyses.anatomy.node import BYTES, MEMORY, Node
from unspool.analyses.anatomy.values import characters, guid
from unspool.errors import FormatError
from unspool.formats.minidump import extensions as ext
from unspool.formats.minidump import process_structures as ps
from unspool.formats.minidump import structures as st
from unspool.formats.minidump.contexts import find_table
from unspool.formats.minidump.layout import wide_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.analyses.anatomy.survey import Survey
    from unspool.formats.minidump.layout import Layout

# A string of Windows has no more bytes (UNICODE_STRING).
_MOST = 0xFFFF
# No path and no name is longer; what is, is shown cut.
_LONGEST = 4096
# Registers that a context is known by.
_POSITIONS = ("Rip", "Eip", "Pc", "Rsp", "Esp", "Sp")
_CODEVIEW = {st.CV_RSDS: st.CV_PDB70, st.CV_NB10: st.CV_PDB20, st.CV_ELF: st.CV_INFO_ELF}


class Link:
    """A field that leads somewhere: `size` bytes at `offset`, the size None if it is not told.

    `where` is what lies there, for people ("stack of thread 3"), `field` the offset of the field
    that says so, `address` that of memory in the process.
    """

    __slots__ = ("address", "field", "offset", "size", "where")

    def __init__(
        self, where: str, field: int, offset: int, size: int | None, address: int | None = None
    ) -> None:
        self.where = where
        self.field = field
        self.offset = offset
        self.size = size
        self.address = address


def has_room(survey: Survey, link: Link, size: int) -> bool:
    """Whether a structure of that size may be looked at; it lies in the file."""
    if survey.spend(size):
        return True
    survey.left_out += 1
    return False


# --- strings ------------------------------------------------------------------------------


def string(survey: Survey, link: Link) -> Node | None:
    """MINIDUMP_STRING: a length in bytes, UTF-16, and a NUL that is not counted."""
    return _string(survey, link, st.STRING, 2)


def utf8(survey: Survey, link: Link) -> Node | None:
    return _string(survey, link, ext.UTF8_STRING, 1)


def byte_array(survey: Survey, link: Link) -> Node | None:
    return _string(survey, link, ext.BYTE_ARRAY, 0)


def _string(survey: Survey, link: Link, layout: Layout, nul: int) -> Node | None:
    start = link.offset
    known = survey.known(start, -1, layout.name)
    if known is not None:
        return known
    if survey.available(start, 4, link.where, link.field) < 4:
        return None
    length = survey.u32(start)
    if nul == 2 and length % 2:
        survey.flaw(link.field, link.where, f"{length:,} bytes are no UTF-16")
    if length > _MOST and start + 4 + length > survey.size:
        # Not a long string that is cut, but no string: it shall not claim others' bytes.
        survey.flaw(link.field, link.where, f"a string of {length:,} bytes at 0x{start:x}")
        return None
    have = survey.available(start + 4, length, link.where, link.field)
    end = start + 4 + have
    if nul and have == length and not any(survey.bytes(end, nul)):
        end = min(end + nul, survey.size)
    if not has_room(survey, link, 4 + min(have, _LONGEST)):
        return None
    data = survey.bytes(start + 4, min(have, _LONGEST))
    value = wide_text(data) if nul == 2 else characters(data.partition(b"\0")[0] if nul else data)
    if have > _LONGEST:
        value += "…"
    code = {2: "wide", 1: "utf8", 0: "bytes"}[nul]
    size = end - start - 4
    rest = [Node("Buffer", f"{code}[{size // (nul or 1)}]", start + 4, size, value=f"“{value}”")]
    node = structure(survey, link.where, layout, start, 4 + size, value=value,
                     rest=rest if size else ())  # fmt: skip
    return survey.add(node, sized=False)


# --- bytes --------------------------------------------------------------------------------


def memory(survey: Survey, link: Link) -> Node | None:
    """Bytes of the process. The same range is often listed twice: as a stack, and as memory."""
    size = link.size or 0
    if link.offset == 0 and link.address is not None:
        # Breakpad's stacks that could not be read, and writers that list the bytes elsewhere.
        survey.homeless.append(link)
        return None
    return memory_at(survey, link, size)


def memory_at(survey: Survey, link: Link, size: int) -> Node | None:
    have = survey.available(link.offset, size, link.where, link.field)
    if not have:
        return None
    node = survey.known(link.offset, have, MEMORY)
    if node is not None and node.address == link.address:
        node.meaning = f"also {link.where}"
        return node
    if not has_room(survey, link, 0):
        return None
    value = address_range(link.address, size)
    made = Node(link.where, MEMORY, link.offset, have, value=value, address=link.address)
    return survey.add(made)


def address_range(start: int | None, size: int) -> str:
    return "" if start is None else f"0x{start:x}–0x{start + size:x}"


def plain(survey: Survey, link: Link) -> Node | None:
    """Bytes of which no more is known."""
    have = survey.available(link.offset, link.size or 0, link.where, link.field)
    if not have:
        return None
    value = shown(survey, link.offset, link.offset + have)
    made = Node(link.where, BYTES, link.offset, have, value=value)
    return survey.known(link.offset, have, BYTES) or survey.add(made)


# --- structures ---------------------------------------------------------------------------


def codeview(survey: Survey, link: Link) -> Node | None:
    """Which debug file belongs to a module: told by the first four bytes."""
    size = link.size or 0
    have = survey.available(link.offset, size, link.where, link.field)
    layout = _CODEVIEW.get(survey.u32(link.offset)) if have >= 4 else None
    if layout is None or have < layout.size:
        return plain(survey, link)
    known = survey.known(link.offset, have, layout.name)
    if known is not None or not has_room(survey, link, have):
        return known
    at = link.offset + layout.size
    size = have - layout.size
    rest = survey.bytes(at, min(size, _LONGEST))
    name = characters(rest.partition(b"\0")[0])
    if layout is st.CV_INFO_ELF:
        value, tail = rest.hex(), Node("BuildId", f"bytes[{size}]", at, size, value=rest.hex())
        tail.meaning = "NT_GNU_BUILD_ID of the file"
    else:
        value, tail = name, Node("PdbFileName", f"utf8[{size}]", at, size, value=f"“{name}”")
        tail.meaning = "path of the PDB file, when it was made"
        if layout is st.CV_PDB70:
            value += f" {guid(survey.bytes(link.offset + 4, 16))}"
    tails = [tail] if size else []
    made = structure(survey, link.where, layout, link.offset, have, value=value, rest=tails)
    return survey.add(made)


def context(survey: Survey, link: Link) -> Node | None:
    """A thread's registers, as the processor's table says."""
    size = link.size or 0
    have = survey.available(link.offset, size, link.where, link.field)
    if not have:
        return None
    try:
        table = find_table(survey.bytes(link.offset, min(have, 2048)), survey.architecture)
    except FormatError as error:
        survey.flaw(link.field, link.where, error.what)
        return plain(survey, link)
    layout = table.layout
    known = survey.known(link.offset, have, layout.name)
    if known is not None or not has_room(survey, link, have):
        return known
    fields = {field.name: field for field in layout.fields if field.name in _POSITIONS}
    words = []
    for name in filter(fields.__contains__, _POSITIONS):
        field = fields[name]
        at = link.offset + field.offset
        number = int.from_bytes(survey.bytes(at, field.size), "little")
        words.append(f"{name.lower()} 0x{number:x}")
    value = ", ".join(words)
    return survey.add(structure(survey, link.where, layout, link.offset, have, value=value))


def handle_object(survey: Survey, link: Link) -> Node | None:
    """MINIDUMP_HANDLE_OBJECT_INFORMATION, each of which may lead to the next."""
    layout = ps.HANDLE_OBJECT_INFO
    first = None
    while link.offset:
        known = survey.known(link.offset, -1, layout.name)
        have = survey.available(link.offset, layout.size, link.where, link.field)
        if known is not None or have < layout.size or not has_room(survey, link, layout.size):
            return first or known
        size = max(survey.u32(link.offset + 8), layout.size)
        have = survey.available(link.offset, size, link.where, link.field)
        node = structure(survey, link.where, layout, link.offset, have)
        survey.add(node, sized=False)
        if first is None:
            first = node
        else:
            survey.targets[link.field] = (node.offset, node.size)
        link = Link(link.where, link.offset, survey.u32(link.offset), None)
    return first
