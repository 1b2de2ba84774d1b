"""Addresses to names: symbol tables, DWARF, PDB files, and where the files that have them are.

It needs modules and their files, never the process. `symbolicate` is where to start.
"""

from __future__ import annotations
