"""Writes a target as a minidump: `minidump` lays it out, `selection` chooses the memory."""

from __future__ import annotations
