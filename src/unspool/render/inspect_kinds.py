"""Kinds of bytes: what the page of a dump has a colour for, and a line in its legend."""

from __future__ import annotations

from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.analyses.anatomy import Anatomy, Node


class Kind(Record):
    """A kind of bytes. `id` names its colour in `page/inspect.css`."""

    __slots__ = ("id", "meaning", "name")

    def __init__(self, id: str, name: str, meaning: str) -> None:
        self.id = id
        self.name = name
        self.meaning = meaning


# In the order of the legend.
KINDS = (
    Kind("header", "header", "the file's first bytes: what it is, where its directory lies"),
    Kind("directory", "directory", "the list of the streams"),
    Kind("system", "system", "streams on the machine, the process and this dump"),
    Kind("exception", "exception", "the stream that says why the dump was made"),
    Kind("threads", "threads", "streams on threads"),
    Kind("context", "contexts", "registers"),
    Kind("stack", "stacks", "memory: the stacks of threads"),
    Kind("modules", "modules", "streams on programs and libraries"),
    Kind("identity", "debug ids", "what the debug information of a module is found by"),
    Kind("strings", "strings", "names that structures point to"),
    Kind("lists", "memory lists", "streams on memory"),
    Kind("memory", "memory", "memory of the process"),
    Kind("linux", "Linux files", "copies of files of /proc"),
    Kind("crashpad", "annotations", "what Crashpad, Breakpad or the program added"),
    Kind("other", "other", "everything else that something refers to"),
    Kind("gap", "gaps", "bytes that nothing refers to"),
)
INDEX = {kind.id: index for index, kind in enumerate(KINDS)}

# Where there is room for one colour and several kinds want it, the first of these is shown:
# what is small and would not be seen at all.
RANKS = (
    "exception", "header", "directory", "system", "context", "identity", "threads", "modules",
    "crashpad", "strings", "lists", "linux", "other", "stack", "memory", "gap",
)  # fmt: skip

# Streams by their type.
_STREAMS = {
    **dict.fromkeys((3, 8, 17, 24), "threads"),
    **dict.fromkeys((4, 13, 14), "modules"),
    **dict.fromkeys((5, 9, 16, 21), "lists"),
    6: "exception",
    **dict.fromkeys((7, 12, 15, 18, 19, 20, 22, 23), "system"),
    **dict.fromkeys((10, 11), "crashpad"),
    **dict.fromkeys(range(0x47670003, 0x4767000A), "linux"),
    0x4767000A: "modules",
    0x47670001: "system",
    0x47670002: "crashpad",
    0x43500001: "crashpad",
}

# What no stream is made of itself, by the beginning of its type.
_TYPES = {
    "gap": "gap",
    "padding": "gap",
    "MINIDUMP_HEADER": "header",
    "MINIDUMP_DIRECTORY": "directory",
    "MINIDUMP_STRING": "strings",
    "CONTEXT": "context",
    "CV_INFO": "identity",
    "IMAGE_DEBUG": "identity",
    "LINK_MAP": "modules",
    "Minidump": "crashpad",  # as Crashpad writes its names
}


def kinds_of(anatomy: Anatomy) -> list[str]:
    """The kind of each of the anatomy's nodes."""
    streams = {
        id(entry.node): _STREAMS.get(entry.number, "other")
        for entry in anatomy.streams
        if entry.node is not None
    }
    return [streams.get(id(node)) or _kind(node) for node in anatomy.nodes]


def _kind(node: Node) -> str:
    type = node.type
    if type == "memory":
        return "stack" if node.name.startswith("stack of ") else "memory"
    for beginning, kind in _TYPES.items():
        if type.startswith(beginning):
            return kind
    return "other"
