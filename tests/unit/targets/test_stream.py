"""A crashed process without a kernel's handler: a recorded stream, and a process that is stopped.

Where core_pattern cannot be set this is what shows that the handler works.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import unspool
from tests.build.core import REGISTERS, Core
from tests.programs.running import (
    LIVE,
    LIVE_32,
    eventually,
    running_program,
    states,
)
from tests.programs.table import Program
from unspool import api
from unspool.errors import InputError
from unspool.model import Report, Stack
from unspool.targets.live.target import LiveTarget
from unspool.targets.stream.target import StreamTarget

NAMES = {"x86-64": "x86_64", "i386": "i386"}


class Stopped:
    """A process that does not run, what its stacks are, and a core of it without memory."""

    def __init__(self, pid: int, report: Report, target: LiveTarget) -> None:
        self.pid = pid
        self.report = report
        core = Core(NAMES[target.arch.name])
        names = target.arch.register_names
        for thread in target.threads:
            values = dict(zip(names, thread.registers or (), strict=True))
            values |= thread.special
            known = {
                name: value
                for name, value in values.items()
                if value is not None and name in REGISTERS[core.arch]
            }
            core.thread(thread.tid, known, signal=11 if not thread.index else 0)
            if not thread.index:
                core.process(pid, "live")
        core.load(0x1000, bytes(1 << 20))
        self.core = core.build()


MODES = [("park",), ("alt", "heap"), ("jit",), ("deep", "300000"), ("leader",)]


@pytest.fixture(
    params=[(LIVE, *mode) for mode in MODES] + [(LIVE_32, "park")],
    ids=lambda words: "-".join([words[0].name, *words[1:]]),
)
def stopped(request: pytest.FixtureRequest, programs_root: Path) -> Iterator[Stopped]:
    program: Program = request.param[0]
    with running_program(program, programs_root, *request.param[1:]) as process:
        os.kill(process.pid, signal.SIGSTOP)
        assert eventually(lambda: set(states(process.pid).values()) <= {"T", "Z"})
        try:
            target = api.open(process.pid)
        except InputError as error:
            pytest.skip(str(error))
        assert isinstance(target, LiveTarget)
        with target:
            report = api.unwind(target, symbols=False)
            yield Stopped(process.pid, report, target)


def frames(stack: Stack) -> list[tuple[int, int | None, str]]:
    return [(frame.pc, frame.sp, frame.trust) for frame in stack.frames]


@contextlib.contextmanager
def piped(data: bytes) -> Iterator[int]:
    """A pipe with the core in it, of which nobody reads all."""
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        process.stdin.write(data)
        process.stdin.close()
        yield process.stdout.fileno()
        process.kill()


def test_the_stacks_are_those_of_the_process(stopped: Stopped) -> None:
    with (
        piped(stopped.core) as descriptor,
        api.open_stream(descriptor, stopped.pid) as target,
    ):
        assert isinstance(target, StreamTarget)
        report = api.unwind(target, symbols=False)
        assert target.info.pid == stopped.pid
        assert [thread.name for thread in target.threads] == [
            stack.name for stack in stopped.report.stacks
        ]
    assert [stack.tid for stack in report.stacks] == [stack.tid for stack in stopped.report.stacks]
    for mine, theirs in zip(report.stacks, stopped.report.stacks, strict=True):
        assert frames(mine) == frames(theirs)
        assert mine.stop.reason == theirs.stop.reason
    assert target.info.system == stopped.report.target.system
    assert [(each.base, each.code_id) for each in report.modules] == [
        (each.base, each.code_id) for each in stopped.report.modules
    ]


def test_the_machine_is_looked_at_only_where_that_is_wanted(stopped: Stopped) -> None:
    with (
        piped(stopped.core) as descriptor,
        api.open_stream(descriptor, stopped.pid, system=False) as target,
    ):
        assert target.info.system is None
        assert len(target.threads) == len(stopped.report.stacks)


def test_memory_is_read_in_pieces_and_forgotten(
    stopped: Stopped, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unspool.targets.live import regions as process_regions

    monkeypatch.setattr(process_regions, "_MOST_KEPT", 3 << process_regions._PIECE_BITS)
    with (
        piped(stopped.core) as descriptor,
        api.open_stream(descriptor, stopped.pid) as target,
    ):
        report = api.unwind(target, symbols=False)
        for mine, theirs in zip(report.stacks, stopped.report.stacks, strict=True):
            assert frames(mine) == frames(theirs)
        memory = target.space.memory
        sp = report.stacks[0].frames[0].sp
        assert sp is not None
        region = memory.region(sp)
        assert region is not None
        window = memory.window(sp)
        assert window is not None
        assert window.high - window.low <= 1 << process_regions._PIECE_BITS
        # Across pieces, and to the end of the mapping.
        size = min(region.end - sp, 100_000)
        assert len(memory.read(sp, size)) == size
        pieces = list(memory.pieces(sp, region.end))
        assert b"".join(bytes(data) for _, _, data in pieces)[:size] == memory.read(sp, size)
        whole = region.window()
        assert whole is not None
        assert (whole.low, whole.high) == (region.start, region.end)


def test_a_process_that_is_gone() -> None:
    with piped(Core().build()) as descriptor, pytest.raises(InputError, match="no process"):
        api.open_stream(descriptor, (1 << 22) - 1)


def test_released_is_the_descriptor_and_not_the_process(stopped: Stopped) -> None:
    with piped(stopped.core) as descriptor:
        own = os.dup(descriptor)
        pipe = os.fstat(descriptor).st_ino
        with api.open_stream(own, stopped.pid, release=True) as target:
            # Its number may be another file's by now.
            with contextlib.suppress(OSError):
                assert os.fstat(own).st_ino != pipe
            assert api.unwind(target, symbols=False).stacks[0].frames


def test_the_handler_itself(stopped: Stopped, tmp_path: Path) -> None:
    """As the kernel runs it, but for the kernel."""
    spool = tmp_path / "spool"
    words = [
        "capture", "handle", f"--directory={spool}", "--free-mb=0", f"--log={tmp_path}/log",
        str(stopped.pid), str(stopped.pid), "11", "0", "0", "1", "1700000000", "host", "-x y",
    ]  # fmt: skip
    with piped(stopped.core) as descriptor:
        done = subprocess.run(
            [sys.executable, "-m", "unspool", *words],
            stdin=descriptor, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert (done.stdout, done.stderr) == ("", "")
    (path,) = spool.glob("*.json.gz")
    assert path.name == f"1700000000--x-y-{stopped.pid}.json.gz"
    report: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    pcs = [[int(frame["pc"], 16) for frame in each["frames"]] for each in report["threads"]]
    assert pcs == [[frame.pc for frame in each.frames] for each in stopped.report.stacks]
    assert report["capture"]["crashed_at"] == "2023-11-14T22:13:20Z"
    assert done.returncode == (0 if stopped.report.complete else 1)


NETWORK = {"urllib", "urllib3", "ssl", "http", "requests", "asyncio", "subprocess"}
SYMBOLS = {"symbolic", "pydemumble", "unspool.symbols.native", "unspool.symbols.online",
           "unspool.symbols.demangle", "unspool.symbols.elf.table"}  # fmt: skip
SLOW = {"dataclasses", "typing", "pathlib", "argparse", "inspect"}


def test_the_handler_loads_no_network_and_no_symbols(stopped: Stopped, tmp_path: Path) -> None:
    words = [
        "capture", "handle", f"--directory={tmp_path}/spool", "--free-mb=0",
        f"--log={tmp_path}/log", *[str(stopped.pid)] * 2, "11", "0", "0", "1", "1", "h", "n",
    ]  # fmt: skip
    with piped(stopped.core) as descriptor:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-X", "importtime", "-c", RUN, *words],
            stdin=descriptor, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "unspool.unwind.walk" in loaded, done.stderr[-300:]
    families = loaded | {name.partition(".")[0] for name in loaded}
    assert sorted((NETWORK | SYMBOLS | SLOW) & families) == []


RUN = f"""
import sys
sys.path.insert(0, {str(Path(unspool.__file__).parents[1])!r})
from unspool.cli import run
run()
"""
