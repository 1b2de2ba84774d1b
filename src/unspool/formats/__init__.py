"""Bytes to records: ELF, notes, CFI, PE, minidumps and others, each format by itself.

No files, no addresses resolved. Broken input raises `FormatError`, and nothing else.
"""

from __future__ import annotations
