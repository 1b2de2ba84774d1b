"""Takes a whole dump apart: header, directory, streams, and all that they lead to."""

from __future__ import annotations

from unspool.analyses.anatomy.bodies import fill
from unspool.analyses.anatomy.fields import structure
from unspool.analyses.anatomy.lists import omitted
from unspool.analyses.anatomy.node import Anatomy, Node, Problem, StreamEntry
from unspool.analyses.anatomy.placement import place
from unspool.analyses.anatomy.ranges import check_ranges
from unspool.analyses.anatomy.survey import Survey
from unspool.analyses.anatomy.values import counted, moment
from unspool.errors import FormatError
from unspool.formats.minidump import names, streams
from unspool.formats.minidump import structures as st
from unspool.formats.minidump.layout import wide_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer

_SWAPPED = int.from_bytes(b"PMDM", "little")
# An honest dump has some twenty.
_MOST_STREAMS = 10_000


def dissect(buffer: Buffer) -> Anatomy:
    """Everything that a minidump's bytes are, and what is wrong with them.

    Takes time and memory in proportion to the file's size, whatever it says of itself; the
    memory that it holds is not copied. Raises `FormatError` if it is no minidump at all.
    """
    survey = Survey(buffer)
    if len(buffer) < st.HEADER.size:
        raise FormatError("header", f"needs {st.HEADER.size} bytes, the file has {len(buffer)}")
    header = st.HEADER.unpack(buffer)
    if header["Signature"] == _SWAPPED:
        raise FormatError("header", "big-endian, which no supported CPU is")
    if header["Signature"] != st.SIGNATURE:
        raise FormatError("header", "does not begin with MDMP")
    survey.add(structure(survey, "header", st.HEADER, 0, st.HEADER.size))
    if header["Version"] & 0xFFFF != st.VERSION:
        what = f"the version is 0x{header['Version'] & 0xFFFF:x}, not 0x{st.VERSION:x}"
        survey.flaw(4, "header", what)
    anatomy = survey.anatomy
    anatomy.time = header["TimeDateStamp"] or None
    _directory(survey, header["StreamDirectoryRva"], header["NumberOfStreams"])
    _prepare(survey)
    seen: set[int] = set()
    for entry in anatomy.streams:
        if entry.number in seen and entry.size:
            what = "is there more than once; readers take the first"
            survey.complain(Problem(entry.name, what))
        _stream(survey, entry)
        if entry.node is not None:
            seen.add(entry.number)
    check_ranges(survey)
    for node in place(survey.nodes, buffer, survey.complain):
        anatomy.add(node)
    survey.finish()
    anatomy.facts = _facts(survey)
    return anatomy


def _directory(survey: Survey, rva: int, count: int) -> None:
    size = st.DIRECTORY.size
    have = survey.available(rva, count * size, "directory", 12) // size if count else 0
    if not have:
        if not count:
            survey.complain(Problem("directory", "there are no streams"))
        return
    node = Node("directory", f"{st.DIRECTORY.name}[{count}]", rva, have * size,
                value=counted(count, "stream"), meaning="which streams there are")  # fmt: skip
    children: list[Node] = []
    for index in range(have):
        at = rva + index * size
        if index >= _MOST_STREAMS or not survey.spend(size):
            children += omitted(survey, have - index, at, size, "Streams")
            break
        number, length, place_of = st.DIRECTORY.struct.unpack_from(survey.buffer, at)
        kind = streams.stream_type(number)
        children.append(structure(survey, f"Streams[{index}]", st.DIRECTORY, at, size,
                                  value=kind.name))  # fmt: skip
        entry = StreamEntry(index, number, kind.name, place_of, length, meaning=kind.meaning)
        entry.field = at + 8
        survey.anatomy.streams.append(entry)
    node.fill(children)
    survey.add(node)
    survey.targets[12] = (rva, node.size)


def _prepare(survey: Survey) -> None:
    """What other streams are to be understood by: the processor and the threads' names."""
    for entry in survey.anatomy.streams:
        end = min(entry.offset + entry.size, survey.size)
        if entry.number == streams.SYSTEM_INFO and survey.architecture is None:
            values = st.SYSTEM_INFO.unpack_known(survey.buffer, entry.offset, end)
            survey.architecture = values.get("ProcessorArchitecture")
            survey.system = names.SYSTEMS.get(values.get("PlatformId", -1))
            survey.cpu = streams.cpu_layout(survey.architecture, values.get("Cpu", b""))
        elif entry.number == streams.THREAD_NAMES and not survey.thread_names:
            _thread_names(survey, entry.offset, end)


def _thread_names(survey: Survey, start: int, end: int) -> None:
    """Names by thread id, for the threads' own nodes; what is wrong is said with the stream."""
    entry = st.THREAD_NAME.size
    for at in range(start + 4, min(end, start + 4 + 100_000 * entry) - entry + 1, entry):
        rva = survey.u64(at + 4)
        if 0 < rva <= survey.size - 4:
            length = min(survey.u32(rva), 256)
            name = wide_text(survey.bytes(rva + 4, length))
            survey.thread_names.setdefault(survey.u32(at), name)


def _stream(survey: Survey, entry: StreamEntry) -> None:
    kind = streams.stream_type(entry.number)
    if entry.number == streams.UNUSED or not entry.size:
        entry.holds = "" if entry.number else "nothing: not used"
        return
    where = f"{kind.name}"
    have = survey.available(entry.offset, entry.size, where, entry.field)
    if not have:
        entry.holds = "lies outside of the file"
        return
    survey.targets[entry.field] = (entry.offset, have)
    known = survey.known(entry.offset, have, f"stream {entry.number}")
    if known is not None:
        entry.node, entry.holds = known, known.value
        return
    node_type = kind.header.name if kind.header is not None else "bytes"
    node = Node(kind.name, f"stream {entry.number}", entry.offset, have, meaning=kind.meaning)
    survey.add(node)
    node.type = node_type
    entry.node = node
    entry.holds = node.value = fill(survey, node, kind, where)


def _facts(survey: Survey) -> list[str]:
    anatomy = survey.anatomy
    facts = [
        entry.holds
        for number in (streams.SYSTEM_INFO, streams.MISC_INFO, streams.THREAD_LIST,
                       streams.MODULE_LIST, streams.EXCEPTION)
        for entry in anatomy.streams
        if entry.number == number and entry.holds and entry.node is not None
    ]  # fmt: skip
    if anatomy.time is not None:
        facts.append(f"written {moment(anatomy.time)}")
    return facts
