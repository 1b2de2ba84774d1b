"""Fibers of Wasmtime that wait: calls that go on later, on stacks that no thread is on.

An asynchronous call of Wasm code has a stack of its own, and leaves it where it waits. A program
that hangs in such a call hangs on none of its threads.
"""

from __future__ import annotations
