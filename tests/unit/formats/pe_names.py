"""All names of a symbol table at once."""

from __future__ import annotations

from unspool.formats.pe import Pe
from unspool.formats.pe_symbols import FunctionSymbols


def functions(pe: Pe) -> list[tuple[int, str]]:
    """(RVA, name) of the functions of a PE file that have a name."""
    found = FunctionSymbols(pe)
    return [(start, name) for start in found.starts if (name := found.name(start))]
