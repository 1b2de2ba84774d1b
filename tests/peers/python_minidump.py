"""What the Python package `minidump` says of a minidump."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Listed:
    threads: list[int]
    stacks: list[tuple[int, int]]  # start and size of each thread's own
    modules: list[tuple[int, int, str]]
    memory: list[tuple[int, int]]
    file: Any
    path: Path

    def read(self, address: int, size: int) -> bytes:
        """Bytes of memory, read by the package."""
        with quiet():
            data: bytes = self.file.get_reader().read(address, size)
        return data


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """It logs an error when the PEB leads to strings that a dump without them has not."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(previous)


def parse(path: Path) -> Listed:
    """Skips the test where the package is not installed."""
    package = pytest.importorskip("minidump.minidumpfile")
    with quiet():
        file = package.MinidumpFile.parse_bytes(path.read_bytes())  # parse() leaves it open
    segments = file.memory_segments.memory_segments if file.memory_segments else []
    threads = file.threads.threads if file.threads else []
    modules = file.modules.modules if file.modules else []
    return Listed(
        [thread.ThreadId for thread in threads],
        [(t.Stack.StartOfMemoryRange, t.Stack.MemoryLocation.DataSize) for t in threads],
        [(module.baseaddress, module.size, module.name) for module in modules],
        [(segment.start_virtual_address, segment.size) for segment in segments],
        file,
        path,
    )
