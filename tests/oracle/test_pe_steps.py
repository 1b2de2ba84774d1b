"""Windows code under Wine, executed step by step: at every instruction our row finds the caller.

The processor says what the caller's registers are, so this also decides where Windows' and
Wine's own unwinders are wrong (see test_pe_virtual_unwind.py).
"""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.oracle.pe_programs import build, started
from tests.oracle.stepping import RIP, LiveMemory, Thread, follow
from unspool.arch.x86_64 import X86_64
from unspool.formats.pe import Pe
from unspool.memory import Fault
from unspool.model import Module
from unspool.pe_image import PeImage
from unspool.space import AddressSpace
from unspool.unwind.rows import Row, Unusable, apply
from unspool.unwind.step import Missed
from unspool.unwind.strategies.pe_x64 import PeX64

pytestmark = pytest.mark.oracle

# More than any of the programs takes.
MOST = 400_000
LIBRARIES = {"ntdll.dll", "kernelbase.dll", "msvcrt.dll"}


class Followed:
    """A program that waits for its go, and its modules as an address space."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        _, go, _, done = process.stdout.readline().split()
        self.go, self.done = int(go, 16), int(done, 16)
        self.files = {path: base for base, path in reversed(list(mapped(process.pid)))}
        pes = {path: Pe(path.read_bytes()) for path in self.files}
        self.memory = LiveMemory(process.pid, self.is_windows)
        images = [
            PeImage(self.memory, base, pes[path], pes[path]) for path, base in self.files.items()
        ]
        modules = [
            Module(0, path.name, base, base + pes[path].size_of_image, kind="pe")
            for path, base in self.files.items()
        ]
        by_base = {image.base: image for image in images}
        self.space = AddressSpace(X86_64, self.memory, modules, lambda module: by_base[module.base])

    def is_windows(self, address: int) -> bool:
        return self.space.module_at(address) is not None

    def where(self, pc: int) -> str:
        module = self.space.module_at(pc)
        return f"{module.name}+0x{pc - module.base:x}" if module else hex(pc)


def mapped(pid: int) -> list[tuple[int, Path]]:
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        path = Path(line.split(maxsplit=5)[-1])
        if path.suffix.lower() in (".dll", ".exe"):
            found.append((int(line.partition("-")[0], 16), path))
    return found


def wrong(
    row: Row | Missed, registers: list[int | None], want: dict[int, int], memory: LiveMemory
) -> str:
    """What a row finds wrong; empty if it finds what it should."""
    if isinstance(row, Missed):
        return row.why
    try:
        caller = apply(row, registers, None, memory, X86_64)
    except (Fault, Unusable) as reason:
        return repr(reason)
    names = X86_64.register_names
    return ", ".join(names[each] for each, value in want.items() if caller[each] != value)


class Result:
    """How many instructions of which module were executed, at how many places, and what
    was wrong at which of them."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.rows: dict[int, Row | Missed] = {}
        self.problems: dict[str, str] = {}


def compare(followed: Followed, process: subprocess.Popen[str]) -> Result:
    """Lets the program run to its end, instruction by instruction."""
    result, memory, table = Result(), followed.memory, PeX64(followed.space)
    with Thread(process.pid) as thread:
        memory.write_word(followed.go, 1)
        for registers, call in follow(thread, memory, followed.is_windows, MOST):
            pc = registers[RIP]
            assert pc is not None
            if pc not in result.rows:
                result.rows[pc] = table.row(pc, pc)
            problem = wrong(result.rows[pc], registers, call.expected, memory)
            if problem:
                result.problems[followed.where(pc)] = problem
            result.seen[followed.where(pc).partition("+")[0]] += 1
            if result.seen.total() % 64 == 0 and memory.word(followed.done):
                return result
    raise AssertionError("the program takes too long")


@pytest.mark.parametrize("flags", ["-O0", "-O2", "-Os -fno-omit-frame-pointer"])
def test_every_instruction_of_a_program_and_of_the_libraries(
    flags: str, programs_root: Path
) -> None:
    program = build("pe_steps", flags, programs_root)
    with started(program) as process:
        followed = Followed(process)
        try:
            result = compare(followed, process)
        except PermissionError as reason:
            pytest.skip(f"no process can be traced here: {reason}")
        finally:
            followed.memory.close()
    assert result.problems == {}
    assert result.seen.total() > 10_000
    assert len(result.rows) > 3_000
    assert set(result.seen) >= {program.name, *LIBRARIES}
