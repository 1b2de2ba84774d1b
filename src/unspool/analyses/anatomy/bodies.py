"""The bodies of streams that are no lists: single structures, text, what Linux dumps add."""

from __future__ import annotations

from unspool.analyses.anatomy.fields import shown, structure
from unspool.analyses.anatomy.linux_bodies import auxv, dso_debug
from unspool.analyses.anatomy.lists import list_body, memory64_body
from unspool.analyses.anatomy.node import TEXT, Node, Problem
from unspool.analyses.anatomy.things import follow
from unspool.analyses.anatomy.values import characters, counted
from unspool.analyses.anatomy.windows_bodies import function_table, tokens
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
    # Only signals of the CPU's have an address: the others' is 0, which would mislead.
    address = record["ExceptionAddress"]
    where = f" at 0x{address:x}" if address or names.has_address(code, survey.system) else ""
    return f"{words}{where} in thread {values['ThreadId']}"


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


def _breakpad(survey: Survey, node: Node, layout: Layout) -> str:
    values = layout.unpack_known(survey.buffer, node.offset, node.end)
    thread = values.get("requesting_thread_id")
    return f"asked for by thread {thread}" if thread and values["validity"] & 2 else ""


def _crashpad(survey: Survey, node: Node, layout: Layout) -> str:
    words = []
    for name, noun in (("simple_annotations", "annotation"), ("module_list", "module")):
        target = survey.targets.get(node.offset + layout.field(name).offset + 4)
        if target is not None:
            words.append(counted(survey.u32(target[0]), noun))
    return ", ".join(words)


_WORDS: dict[str, Callable[[Survey, Node, Layout], str]] = {
    st.EXCEPTION_STREAM.name: _exception,
    st.SYSTEM_INFO.name: _system,
    ps.MISC_INFO.name: _misc,
    ext.BREAKPAD_INFO.name: _breakpad,
    ext.CRASHPAD_INFO.name: _crashpad,
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
            value = characters(text.rstrip(b"\0")) + ("…" if end - start > _LONGEST + 1 else "")
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
        return characters(data.strip(b"\n\0"))
    return counted(many, word)


def _wide(survey: Survey, node: Node, kind: StreamType, where: str) -> str:
    text = wide_text(survey.bytes(node.offset, min(node.size, 2 * _LONGEST)))
    kind_name = f"wide[{node.size // 2}]"
    node.fill([Node("Buffer", kind_name, node.offset, node.size, value=f"“{text}”")])
    return text[:60]


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
    "auxv": auxv,
    "dso debug": dso_debug,
    "function table": function_table,
    "tokens": tokens,
}
