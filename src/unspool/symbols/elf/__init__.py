"""Names out of the symbol tables of ELF files, in files or in memory."""

from __future__ import annotations
