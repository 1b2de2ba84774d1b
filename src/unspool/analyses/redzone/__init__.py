"""What reads and writes memory beyond the stack pointer: in files, and in threads of a target."""

from __future__ import annotations

from unspool.analyses.redzone.files import file_uses
from unspool.analyses.redzone.findings import zone_findings
from unspool.analyses.redzone.records import FileUses, FunctionUses, ThreadZone, Zone
from unspool.analyses.redzone.threads import thread_zones

__all__ = [
    "FileUses", "FunctionUses", "ThreadZone", "Zone", "file_uses", "thread_zones", "zone_findings",
]  # fmt: skip
