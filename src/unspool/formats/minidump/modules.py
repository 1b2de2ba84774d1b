"""Module records of minidumps: name, version, and the debug file that belongs to an image."""

from __future__ import annotations

from unspool.formats.minidump.records import CodeViewRecord, ModuleRecord
from unspool.formats.minidump.structures import (
    CV_ELF,
    CV_INFO_ELF,
    CV_NB10,
    CV_PDB20,
    CV_PDB70,
    CV_RSDS,
    FIXED_FILE_INFO_SIGNATURE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from unspool.formats.minidump.dump_bytes import DumpBytes

_MAX_CODEVIEW = 4096
# The longest ids that linkers make are of 32 bytes (SHA-256).
_MAX_BUILD_ID = 64


def module(file: DumpBytes, row: tuple[Any, ...]) -> ModuleRecord:
    """A module of the flat values of MINIDUMP_MODULE."""
    base, size, checksum, timestamp, name_rva, signature, _, high, low = row[:9]
    codeview_size, codeview_rva = row[18:20]
    where = f"module at 0x{base:x}"
    version = None
    if signature == FIXED_FILE_INFO_SIGNATURE:
        version = (high >> 16, high & 0xFFFF, low >> 16, low & 0xFFFF)
    return ModuleRecord(
        base, size, checksum, timestamp, file.string(name_rva, where), version,
        codeview_record(file, codeview_rva, codeview_size, where),
    )  # fmt: skip


def unloaded(file: DumpBytes, row: tuple[Any, ...]) -> ModuleRecord:
    """A module of the flat values of MINIDUMP_UNLOADED_MODULE."""
    base, size, checksum, timestamp, name_rva = row
    name = file.string(name_rva, f"unloaded module at 0x{base:x}")
    return ModuleRecord(base, size, checksum, timestamp, name)


def codeview_record(file: DumpBytes, rva: int, size: int, where: str) -> CodeViewRecord | None:
    """The record at `rva`; None if there is none, or too little of it to tell its kind."""
    if not rva or size < 4:
        return None
    data = file.bytes_at(rva, min(size, _MAX_CODEVIEW), where)
    signature = int.from_bytes(data[:4], "little") if len(data) >= 4 else None
    if signature == CV_ELF:
        return CodeViewRecord("elf", build_id=data[CV_INFO_ELF.size :][:_MAX_BUILD_ID])
    layout = {CV_RSDS: CV_PDB70, CV_NB10: CV_PDB20}.get(signature or 0)
    if layout is None:
        return None if signature is None else CodeViewRecord("unknown")
    if len(data) < layout.size:
        file.note(where, "its CodeView record is cut short")
        return None
    values = layout.unpack(data)
    name = data[layout.size :].partition(b"\0")[0].decode("utf-8", "replace")
    if layout is CV_PDB70:
        return CodeViewRecord("pdb70", guid=values["Signature"], age=values["Age"], name=name)
    return CodeViewRecord("pdb20", timestamp=values["Signature"], age=values["Age"], name=name)
