"""Runs hosts of WebAssembly and looks at them from outside."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unspool import api
from unspool.model import Report, Stack

from .install import NEWEST, folder

HOST = Path(__file__).with_name("host.py")
# The newest versions record 20 frames of a backtrace, one of which is that of `trap`.
RECORDED = {NEWEST: 19}
Frames = list[tuple[str | None, int | None]]
_READ = {"x86_64": "0", "aarch64": "63"}
_PATIENCE = 60


class Host:
    """A running host. What it says of itself is that of the moment when it waits."""

    def __init__(self, process: subprocess.Popen[str], version: str) -> None:
        self.process = process
        self.version = version
        self.pid = process.pid
        self.said: dict[str, Any] = {}
        self._heard = b""

    def listen(self, patience: float = _PATIENCE) -> dict[str, Any]:
        assert self.process.stdout is not None
        output = self.process.stdout.fileno()
        # Not by lines: what the stream has read ahead, `select` does not know of.
        while b"\n" not in self._heard:
            ready, _, _ = select.select([output], [], [], patience)
            more = os.read(output, 1 << 16) if ready else b""
            assert more, "the host says nothing"
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        self.said = json.loads(line)
        return self.said

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def ask(self, command: str) -> dict[str, Any]:
        """Has the host do something; it waits there until `go_on`."""
        self.tell(command)
        said = self.listen()
        self.settle()
        return said

    def settle(self) -> None:
        """Waits until the main thread is in the system call that reads its input."""
        number = _READ[os.uname().machine]
        until = time.monotonic() + _PATIENCE
        place = Path(f"/proc/{self.pid}/syscall")
        while place.read_text().split()[:2] != [number, "0x0"]:
            assert time.monotonic() < until, "the host does not come to wait"
            time.sleep(0.002)

    def go_on(self) -> None:
        self.tell("")

    def expected(self) -> Frames:
        """The runtime's own backtrace."""
        return frames_of(self.said["frames"])


def frames_of(said: list[list[Any]]) -> Frames:
    return [(name, position) for name, position in said]


@contextlib.contextmanager
def host(
    version: str = NEWEST, *config: str, cwd: Path | None = None, program: Path = HOST
) -> Iterator[Host]:
    """A host with that version of the runtime, configured with these names set to true."""
    path = folder(version)
    environment = {**os.environ, "PYTHONPATH": str(path) if path else ""}
    if "details" in config:
        environment["WASMTIME_BACKTRACE_DETAILS"] = "1"
    command = [sys.executable, str(program), *(each for each in config if each != "details")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=cwd
    ) as process:
        made = Host(process, version)
        try:
            made.listen()
            yield made
        finally:
            process.kill()
            with contextlib.suppress(BrokenPipeError):
                process.communicate()


def look(target: int | str | Path, tid: int, **options: Any) -> tuple[Report, Stack]:
    """The report of a process or a core, and the stack of one thread."""
    with api.open(target if isinstance(target, int) else str(target)) as opened:
        report = api.unwind(opened, **options)
    return report, next(stack for stack in report.stacks if stack.tid == tid)


def make_dump(pid: int, folder: Path, *, sanitize: bool = False) -> Path:
    path = folder / "process.dmp"
    with api.open(pid) as target:
        api.dump(target, str(path), sanitize=sanitize)
    return path


def wasm_frames(report: Report, stack: Stack) -> Frames:
    """Function and position of each frame in the stack's Wasm segments."""
    found: Frames = []
    for index, frame in enumerate(stack.frames):
        if stack.segments[frame.segment].kind == "wasm":
            location = report.location(stack, index)
            assert location is not None, hex(frame.pc)
            name = location.function
            unnamed = name is not None and name.startswith("<wasm function ")
            found.append((None if unnamed else name, location.wasm_offset))
    return found


def activations(stack: Stack) -> list[int]:
    """How many frames each Wasm segment has, the newest first."""
    counts: dict[int, int] = {}
    for frame in stack.frames:
        if stack.segments[frame.segment].kind == "wasm":
            counts[frame.segment] = counts.get(frame.segment, 0) + 1
    return list(counts.values())


def assert_same(found: Frames, expected: Frames, version: str) -> None:
    """All frames of the runtime's own backtrace, as many as it has recorded."""
    recorded = RECORDED.get(version)
    if recorded is None or len(expected) < recorded:
        assert found == expected
    else:
        assert found[:recorded] == expected
