"""Cores, minidumps and processes: threads, memory, modules."""
