"""Cores of the zoo hold what the zoo says, and take no more room than needed."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

import pytest

from .conftest import CoreMaker
from .cores import ZooCore
from .flavours import FLAVOURS

pytestmark = pytest.mark.oracle

SCENARIOS = ["@sleep:2", "qsort:3", "suspended_wait:1"]
NT_PRSTATUS = 1
# Class of the ELF file: where e_phoff is, a program header's size and fields, pr_pid's offset.
LAYOUTS = {
    1: ("<28x I 10x HH", "<I I I I I 12x", 24),
    2: ("<32x Q 14x HH", "<I 4x Q Q Q Q 16x", 32),
}


def thread_ids(core: bytes | mmap) -> Iterator[int]:
    """The threads that a core has registers of."""
    header, program, pid_offset = LAYOUTS[core[4]]
    offset, size, count = struct.unpack_from(header, core)
    for index in range(count):
        kind, start, _, _, length = struct.unpack_from(program, core, offset + index * size)
        if kind != 4:
            continue
        end = start + length
        while start < end:
            name, data, note = struct.unpack_from("<III", core, start)
            start += 12 + (name + 3 & ~3)
            if note == NT_PRSTATUS:
                yield struct.unpack_from("<I", core, start + pid_offset)[0]
            start += data + 3 & ~3


def check(core: ZooCore, data: bytes | mmap) -> None:
    found = list(thread_ids(data))
    assert {thread.tid for thread in core.threads} <= set(found)
    assert found[0] == core.threads[0].tid or core.kind == "gcore"


def contents(path: Path) -> mmap:
    with path.open("rb") as stream:
        return mmap(stream.fileno(), 0, access=ACCESS_READ)


@pytest.mark.parametrize("name", FLAVOURS)
def test_a_kernel_core_has_all_threads(name: str, zoo_core: CoreMaker) -> None:
    core = zoo_core(name, "O0", SCENARIOS, "kernel")
    check(core, contents(core.path))
    assert core.path.stat().st_blocks * 512 < 100 << 20


def test_a_core_is_made_once(zoo_core: CoreMaker) -> None:
    first = zoo_core("8.0-x86_64", "O0", SCENARIOS, "kernel")
    inode = first.path.stat().st_ino
    second = zoo_core("8.0-x86_64", "O0", SCENARIOS, "kernel")
    assert (second, second.path.stat().st_ino) == (first, inode)


def test_a_compressed_core(zoo_core: CoreMaker) -> None:
    core = zoo_core("8.0-x86_64", "O0", SCENARIOS, "kernel-zst")
    command = ["zstd", "-dc", str(core.path)]
    done = subprocess.run(command, capture_output=True, check=True)
    check(core, done.stdout)


def test_gcore_reaches_into_a_root_directory(zoo_core: CoreMaker) -> None:
    core = zoo_core("10.0-x86_64", "O0", SCENARIOS, "gcore")
    check(core, contents(core.path))
    status = core.path.stat()
    assert status.st_blocks * 512 < status.st_size
