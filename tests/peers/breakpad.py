"""What Breakpad's minidump_dump and minidump_stackwalk say of a minidump."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.programs.build import run

from .install import breakpad

# "2026-11-21 17:46:32: minidump.cc:2556: INFO: text"; what is no INFO is a warning or an error.
LOG = re.compile(r"^[\d-]+ [\d:]+: \S+:\d+: (?!INFO)")
STREAM = re.compile(r"^  stream type 0x([0-9a-f]+) ")
FIELD = re.compile(r"^  (\S+(?: in .+)?) += (.*)$")
THREAD = re.compile(r"^Thread (\d+)")
COUNTER = re.compile(r" (?:rip|eip|pc) = (0x[0-9a-f]+)")
FOUND = "    Found by: "
NUMBER = re.compile(r"0x[0-9a-f]+|\d+")
OFFLINE = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}

Record = dict[str, str]


@dataclass
class Dumped:
    """The structures that minidump_dump prints, field by field, in the file's order."""

    code: int
    complaints: list[str]
    streams: list[int]
    records: list[tuple[str, Record]] = field(default_factory=list)

    def all(self, kind: str) -> list[Record]:
        return [record for name, record in self.records if name == kind]

    @property
    def threads(self) -> list[Record]:
        return self.all("MDRawThread")

    @property
    def modules(self) -> list[Record]:
        return self.all("MDRawModule")

    @property
    def memory(self) -> list[tuple[int, int]]:
        """Start and size of each range of MemoryList."""
        ranges = self.all("MDMemoryDescriptor")
        return [(number(r, "start_of_memory_range"), number(r, "memory.data_size")) for r in ranges]

    def contexts(self, pc: str) -> list[int]:
        """The program counters of all contexts: the threads', then the exception's."""
        return [
            number(record, pc) for name, record in self.records if name.startswith("MDRawContext")
        ]


def number(record: Record, name: str) -> int:
    match = NUMBER.match(record[name])
    assert match, f"{name} = {record[name]}"
    return int(match[0], 0)


def text(record: Record, name: str) -> str:
    """A field in quotes."""
    return record[name].removeprefix('"').removesuffix('"')


def minidump_dump(path: Path) -> Dumped:
    done = run([breakpad("minidump_dump"), path], env=OFFLINE, errors="replace")
    dumped = Dumped(done.returncode, list(complaints(done.stderr)), [])
    record: Record = {}
    for line in done.stdout.splitlines():
        if match := STREAM.match(line):
            dumped.streams.append(int(match[1], 16))
        elif line.startswith(("MDRaw", "MDMemory", "MDException")):
            record = {}
            dumped.records.append((line.strip(), record))
        elif match := FIELD.match(line):
            record.setdefault(match[1], match[2])
        elif not line:
            record = {}
    return dumped


def complaints(errors: str) -> Iterator[str]:
    yield from (line.split(": ", 2)[-1] for line in errors.splitlines() if LOG.match(line))


@dataclass(frozen=True)
class WalkedModule:
    name: str
    version: str
    debug_file: str
    debug_id: str
    start: int
    end: int  # of its last byte


@dataclass(frozen=True)
class WalkedFrame:
    pc: int | None  # None in a frame of an inlined call, which has no registers
    trust: str  # as minidump_stackwalk words it: "call frame info", "stack scanning", …


@dataclass
class Walked:
    """What minidump_stackwalk makes of a minidump; `stacks` are by index of the thread."""

    code: int
    complaints: list[str]
    system: list[str] = field(default_factory=list)
    crash: list[str] = field(default_factory=list)
    modules: list[WalkedModule] = field(default_factory=list)
    stacks: dict[int, list[WalkedFrame]] = field(default_factory=dict)


def minidump_stackwalk(path: Path, symbols: Path | None = None) -> Walked:
    """Walked with the symbol files below the folder `symbols`, or without any."""
    folders = [] if symbols is None else [symbols]
    program = breakpad("minidump_stackwalk")
    # In the form for programs: modules with ids. In that for people: each frame's registers.
    done = run([program, "-m", path, *folders], env=OFFLINE, errors="replace")
    plain = run([program, path, *folders], env=OFFLINE, errors="replace")
    walked = Walked(done.returncode, list(complaints(done.stderr)))
    for line in done.stdout.partition("\n\n")[0].splitlines():
        kind, *fields = line.split("|")
        if kind == "OS":
            walked.system = fields
        elif kind == "Crash":
            walked.crash = fields
        elif kind == "Module":
            name, version, debug_file, debug_id, start, end, _main = fields
            module = WalkedModule(name, version, debug_file, debug_id, int(start, 16), int(end, 16))
            walked.modules.append(module)
    stack: list[WalkedFrame] = []
    pc: int | None = None
    for line in plain.stdout.splitlines():
        if match := THREAD.match(line):
            stack = walked.stacks.setdefault(int(match[1]), [])
        elif match := COUNTER.search(line):
            pc = int(match[1], 16)
        elif line.startswith(FOUND):
            stack.append(WalkedFrame(pc, line.removeprefix(FOUND)))
            pc = None
    return walked


def write_symbols(module: Path, folder: Path) -> str:
    """Makes a symbol file of `module` where minidump_stackwalk looks for it below `folder`.

    Gives the debug id under which it is kept.
    """
    done = run([breakpad("dump_syms"), module], env=OFFLINE, errors="replace")
    assert done.stdout.startswith("MODULE "), done.stderr[-300:]
    _, _, _, debug_id, name = done.stdout.partition("\n")[0].split(" ", 4)
    place = folder / name / debug_id
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.sym").write_text(done.stdout)
    return debug_id
