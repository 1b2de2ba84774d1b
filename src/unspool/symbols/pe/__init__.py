"""Names of PE modules: DWARF, PDB, COFF symbols, exports, and the files that have them."""

from __future__ import annotations
