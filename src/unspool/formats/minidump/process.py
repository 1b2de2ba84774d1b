"""Handles and function tables of Windows's minidumps."""

from __future__ import annotations

from unspool.formats.minidump import streams
from unspool.formats.minidump.process_structures import FUNCTION_TABLE, FUNCTION_TABLE_STREAM
from unspool.formats.minidump.records import FunctionTable, Handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.formats.minidump.reader import Minidump

_MAX_TABLES = 100_000


def handles(dump: Minidump) -> list[Handle]:
    entries, file = dump.entries(streams.HANDLE_DATA), dump.file
    if entries is None:
        return []
    found = []
    for row in entries.rows(file.buffer):
        handle, type_rva, name_rva, attributes, access = row[:5]
        where = f"handle 0x{handle:x}"
        names = file.string(type_rva, where), file.string(name_rva, where)
        found.append(Handle(handle, *names, attributes, access))
    return found


def function_tables(dump: Minidump) -> list[FunctionTable]:
    """Tables of functions that are in the file whole.

    Each descriptor is followed by the system's own, by the functions, and by what fills up.
    """
    stream, file = dump.stream(streams.FUNCTION_TABLE), dump.file
    if stream is None:
        return []
    if stream.size < FUNCTION_TABLE_STREAM.size:
        file.note(stream.name, "is cut short")
        return []
    end = stream.rva + stream.size
    values = FUNCTION_TABLE_STREAM.unpack(file.buffer, stream.rva, end)
    at = stream.rva + max(values["SizeOfHeader"], FUNCTION_TABLE_STREAM.size)
    at += values["SizeOfAlignPad"]
    head = max(values["SizeOfDescriptor"], FUNCTION_TABLE.size) + values["SizeOfNativeDescriptor"]
    entry_size, claimed = values["SizeOfFunctionEntry"], values["NumberOfDescriptors"]
    found: list[FunctionTable] = []
    for _ in range(min(claimed, _MAX_TABLES)):
        if at + head > end:
            break
        start, stop, base, count, pad = FUNCTION_TABLE.struct.unpack_from(file.buffer, at)
        size = count * entry_size
        if at + head + size > end:
            break
        found.append(FunctionTable(start, stop, base, count, entry_size, at + head))
        at += head + size + pad
    if len(found) < claimed:
        file.note(stream.name, f"claims {claimed} tables, holds {len(found)}")
    return found
