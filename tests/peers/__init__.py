"""Other readers of minidumps: Breakpad's programs, LLDB, PyPI's `minidump`."""
