"""The bodies of streams that are no lists: single structures, text, what Linux dumps add."""

from __future__ import annotations

from unspool.analyses.anatomy.fields import fields, shown, structure
from unspool.analyses.anatomy.lists import list_body, memory64_body, omitted, rest
from unspool.analyses.anatomy.node import BYTES, PADDING, TEXT, Node, Problem
from unspool.analyses.anatomy.things import follow
from unspool.analyses.anatomy.values import characters, counted, number
from unspool.formats.minidump import extensions as ext
from unspool.formats.minidump import names
from unspool.formats.minidump import process_structures as ps
from unspool.formats.minidump import structures as st
from unspool.formats.minidump.layout import wide_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from unspool.analyses.anatomy.survey import Survey
    from unspool.formats.minidump.layout import Layout
    from unspool.formats.minidump.streams import StreamType

    Body = Callable[[Survey, Node, StreamType, str], str]

# No line of text that people read is longer.
_LONGEST = 4096
# STATUS_ACCESS_VIOLATION and STATUS_IN_PAGE_ERROR.
_ACCESS_CODES = (0xC0000005, 0xC0000006)
_ACCESSES = {0: "read of", 1: "write to", 8: "execution of"}
# They never had less; others grew from version to version.
_FIXED = (st.EXCEPTION_STREAM, st.SYSTEM_INFO)


def fill(survey: Survey, node: Node, kind: StreamType, where: str) -> str:
    """Gives a stream's node its children, and says in a few words what it holds."""
    return _BODIES.get(kind.shape, _bytes)(survey, node, kind, where)


def _bytes(survey: Survey, node: Node, kind: StreamType, where: str) -> str:
    return shown(survey, node.offset, node.end)


# --- structures ---------------------------------------------------------------------------


def _struct(survey: Survey, node: Node, kind: StreamType, where: str) -> str:
    layout = kind.header
    assert layout is not None
    if node.size < layout.size and layout in _FIXED:
        what = f"{node.size} bytes are less than {layout.name} has ({layout.size})"
        survey.complain(Problem(where, what))
    follow(survey, layout, node.offset, node.end, where)
    made = structure(survey, node.name, layout, node.offset, node.size)
    node.become(made)
    words = _WORDS.get(layout.name)
    return words(survey, node, layout) if words is not None else ""


def _exception(survey: Survey, node: Node, layout: Layout) -> str:
    if node.size < layout.size:
        return ""
    values = layout.unpack(survey.buffer, node.offset, node.end)
    record = values["ExceptionRecord"]
    if record["NumberParameters"] > len(record["ExceptionInformation"]):
        field = node.offset + layout.field("ExceptionRecord").offset
        field += st.EXCEPTION.field("NumberParameters").offset
        what = f"says {record['NumberParameters']:,} parameters, has room for 15"
        survey.flaw(field, node.name, what)
    code = record["ExceptionCode"]
    words = names.exception_name(code, survey.system) or f"0x{code:x}"
    if survey.system in ("linux", "android"):
        detail = names.signal_code_name(code, record["ExceptionFlags"])
    else:
        detail = _access(code, record)
    words += f" ({detail})" if detail else ""
    return f"{words} at 0x{record['ExceptionAddress']:x} in thread {values['ThreadId']}"


def _access(code: int, record: dict[str, Any]) -> str | None:
    """What an access violation of Windows was: its first two parameters say it."""
    if code not in _ACCESS_CODES or record["NumberParameters"] < 2:
        return None
    kind, address = record["ExceptionInformation"][:2]
    return f"{_ACCESSES.get(kind, 'access to')} 0x{address:x}"


def _system(survey: Survey, node: Node, layout: Layout) -> str:
    values = layout.unpack_known(survey.buffer, node.offset, node.end)
    if "PlatformId" not in values:
        return ""
    processor = values["ProcessorArchitecture"]
    version = ".".join(str(values[f"{part}Version"]) for part in ("Major", "Minor"))
    parts = [
        names.SYSTEMS.get(values["PlatformId"], f"platform 0x{values['PlatformId']:x}"),
        f"{version}.{values['BuildNumber']}" if values["MajorVersion"] else "",
        _processor(processor),
    ]
    return ", ".join(filter(None, (" ".join(filter(None, parts[:2])), parts[2])))


def _processor(number: int) -> str:
    known = names.ARCHITECTURES.get(number) or names.ENUMS["PROCESSOR_ARCHITECTURE"].get(number)
    return known or f"processor 0x{number:x}"


def _misc(survey: Survey, node: Node, layout: Layout) -> str:
    values = layout.unpack_known(survey.buffer, node.offset, node.end)
    has_pid = values.get("Flags1", 0) & 1 and "ProcessId" in values
    return f"process {values['ProcessId']}" if has_pid else ""


_WORDS: dict[str, Callable[[Survey, Node, Layout], str]] = {
    st.EXCEPTION_STREAM.name: _exception,
    st.SYSTEM_INFO.name: _system,
    ps.MISC_INFO.name: _misc,
}


# --- text ---------------------------------------------------------------------------------


class Lines:
    """Makes the nodes of the lines of a text, or of the strings between NULs."""

    __slots__ = ("separator", "survey", "word")

    def __init__(self, survey: Survey, separator: bytes, word: str) -> None:
        self.survey = survey
        self.separator = separator
        self.word = word

    def __call__(self, node: Node) -> list[Node]:
        data = self.survey.bytes(node.offset, node.size)
        lines: list[Node] = []
        start = 0
        while start < len(data):
            found = data.find(self.separator, start)
            end = found + 1 if found >= 0 else len(data)
            text = data[start : min(end if found < 0 else found, start + _LONGEST)]
            name = f"{self.word} {len(lines)}"
            value = characters(text) + ("…" if end - start > _LONGEST + 1 else "")
            lines.append(Node(name, TEXT, node.offset + start, end - start, value=value))
            start = end
        return lines


def _text(survey: Survey, node: Node, kind: StreamType, where: str) -> str:
    return _lines(survey, node, b"\n", "line")


def _strings(survey: Survey, node: Node, kind: StreamType, where: str) -> str:
    return _lines(survey, node, b"\0", "string")


def _lines(survey: Survey, node: Node, separator: bytes, word: str) -> str:
    if not survey.spend(node.size):
        survey.left_out += 1
        return ""
    node.type = TEXT
    data = survey.bytes(node.offset, node.size)
    node.become(Node("", TEXT, node.offset, node.size, make=Lines(survey, separator, word)))
    many = data.count(separator) + (not data.endswith(separator))
    if many == 1 and len(data) < 60:
        return characters(data.strip(separator))
    return counted(many, word)


def _wide(survey: Survey, node: Node, kind: StreamType, where: str) -> str:
    text = wide_text(survey.bytes(node.offset, min(node.size, 2 * _LONGEST)))
    kind_name = f"wide[{node.size // 2}]"
    node.fill([Node("Buffer", kind_name, node.offset, node.size, value=f"“{text}”")])
    return text[:60]


# --- Linux --------------------------------------------------------------------------------


def _is_narrow(survey: Survey) -> bool:
    return survey.architecture in (names.X86, names.X86_ON_WIN64, names.ARM)


def _auxv(survey: Survey, node: Node, kind: StreamType, where: str) -> str:
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


def _dso_debug(survey: Survey, node: Node, kind: StreamType, where: str) -> str:
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


# --- Windows's rarer streams --------------------------------------------------------------


def _function_table(survey: Survey, node: Node, kind: StreamType, where: str) -> str:
    """Descriptors, each with the system's own behind it, and the functions behind that."""
    header, entry = ps.FUNCTION_TABLE_STREAM, ps.FUNCTION_TABLE
    if node.size < header.size:
        return _bytes(survey, node, kind, where)
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


def _tokens(survey: Survey, node: Node, kind: StreamType, where: str) -> str:
    header, entry = ps.TOKEN_LIST, ps.TOKEN
    if node.size < header.size:
        return _bytes(survey, node, kind, where)
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


_BODIES: dict[str, Body] = {
    "struct": _struct,
    "crashpad": _struct,
    "mac crash info": _struct,
    "list": list_body,
    "sized list": list_body,
    "memory64": memory64_body,
    "text": _text,
    "json": _text,
    "strings": _strings,
    "wide": _wide,
    "auxv": _auxv,
    "dso debug": _dso_debug,
    "function table": _function_table,
    "tokens": _tokens,
}
