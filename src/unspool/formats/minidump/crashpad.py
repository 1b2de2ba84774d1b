"""Crashpad's stream: annotations of the process and of its modules."""

from __future__ import annotations

from unspool.formats.minidump import extensions as ext
from unspool.formats.minidump import streams
from unspool.formats.minidump.records import CrashpadInfo, CrashpadModule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from unspool.formats.minidump.dump_bytes import DumpBytes
    from unspool.formats.minidump.layout import Layout
    from unspool.formats.minidump.reader import Minidump

_MAX_VALUE = 1 << 16
_NOWHERE = {"Rva": 0, "DataSize": 0}


def crashpad_info(dump: Minidump) -> CrashpadInfo | None:
    values, file = dump.values(streams.CRASHPAD_INFO), dump.file
    if values is None:
        return None
    if "client_id" not in values:
        file.note("CrashpadInfoStream", "is cut short")
        return None
    links = _items(
        file, values.get("module_list", _NOWHERE), ext.MODULE_CRASHPAD_INFO_LINK, "modules"
    )
    return CrashpadInfo(
        values["report_id"],
        values["client_id"],
        _dictionary(file, values.get("simple_annotations", _NOWHERE)),
        [_module(file, *row) for row in links],
        # Not in dumps of before 2021.
        values.get("address_mask", 0),
    )


def _items(
    file: DumpBytes, place: dict[str, int], layout: Layout, what: str
) -> Iterator[tuple[Any, ...]]:
    """The flat values of the entries of a list: a count and the entries."""
    rva, size = place["Rva"], place["DataSize"]
    if not rva or size < 4:
        return
    end = rva + file.held(rva, size, f"Crashpad's {what}")
    if end < rva + 4:
        return
    claimed = int.from_bytes(file.buffer[rva : rva + 4], "little")
    held = min(claimed, (end - rva - 4) // layout.size)
    # Many lists can lead to the same lists again.
    count = file.afford(held * layout.size) // layout.size
    if count < claimed:
        file.note(f"Crashpad's {what}", f"claim {claimed} entries, hold {count}")
    yield from layout.rows(file.buffer, rva + 4, count, layout.size)


def _dictionary(file: DumpBytes, place: dict[str, int]) -> dict[str, str]:
    found: dict[str, str] = {}
    where = "Crashpad's annotations"
    for key, value in _items(file, place, ext.STRING_DICTIONARY_ENTRY, "annotations"):
        found.setdefault(file.utf8_string(key, where), file.utf8_string(value, where))
    return found


def _module(file: DumpBytes, index: int, size: int, rva: int) -> CrashpadModule:
    where = f"Crashpad's module {index}"
    values = ext.MODULE_CRASHPAD_INFO.unpack_known(
        file.buffer, rva, rva + file.held(rva, size, where)
    )
    lines = _items(file, values.get("list_annotations", _NOWHERE), ext.RVA, "lines")
    objects = _items(file, values.get("annotation_objects", _NOWHERE), ext.ANNOTATION, "objects")
    return CrashpadModule(
        index,
        [file.utf8_string(line, where) for (line,) in lines],
        _dictionary(file, values.get("simple_annotations", _NOWHERE)),
        [
            (file.utf8_string(name, where), type_, _value(file, value, where))
            for name, type_, _reserved, value in objects
        ],
    )


def _value(file: DumpBytes, rva: int, where: str) -> bytes:
    """The MinidumpByteArray at `rva`."""
    if not rva or file.held(rva, 4, where) < 4:
        return b""
    length = int.from_bytes(file.buffer[rva : rva + 4], "little")
    return file.bytes_at(rva + 4, min(length, _MAX_VALUE), where)
