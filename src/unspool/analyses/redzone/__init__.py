"""What reads and writes memory beyond the stack pointer: in files, and in threads of a target."""

from __future__ import annotations

from unspool.analyses.redzone.files import file_uses
from unspool.analyses.redzone.records import FileUses, FunctionUses, ThreadZone, Zone
from unspool.analyses.redzone.threads import findings, thread_zones

__all__ = [
    "FileUses", "FunctionUses", "ThreadZone", "Zone", "file_uses", "findings", "thread_zones",
]  # fmt: skip
