"""Minidumps: each structure and stream, whole and broken."""
