"""Minidumps: Microsoft's format (minidumpapiset.h) with Breakpad's and Crashpad's streams.

`layout` says how a structure is written down, `structures`, `contexts` and their neighbours are
the tables, `streams` says what each stream is made of, `reader` reads a whole dump.
"""

from __future__ import annotations
