"""Our core handler as the kernel's, and a copy of what the kernel gives it.

A test's own little program is what the kernel runs. It gives the stream to our handler and
writes it to a file, from which `unspool stack` has its answer: of the very same crash. The rest
of the stream is read once our handler has ended, so that the process is there as long.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tests.programs.build import Unavailable, locked
from tests.programs.cores import (
    CORE_PATTERN,
    CORE_PATTERN_LOCK,
    FILTERS,
    PATIENCE,
    STACK,
    allow_cores,
)
from tests.programs.running import eventually

SOURCE = Path(__file__).parents[2] / "src"
SCHEMA = SOURCE / "unspool/render/report-1.schema.json"
CORE_PIPE_LIMIT = CORE_PATTERN.with_name("core_pipe_limit")
# The tests' own, and that of the benchmark.
LOCKS = (CORE_PATTERN_LOCK, Path("/tmp/unspool-core-pattern.lock"))
# What a frame has if it is named.
NAMES = {"function", "function_offset", "file", "line", "subject", "inlines"}

SCRIPT = """#!{python} -I
import os, sys
sys.path.insert(0, {source!r})
sys.argv[1:1] = ["capture", "handle", *{options!r}]
from unspool.cli import run
run()
"""

TEE = """#!{python} -I
import os, sys
readable, writable = os.pipe()
child = os.fork()
if not child:
    os.dup2(readable, 0)
    os.close(readable)
    os.close(writable)
    os.execv({script!r}, [{script!r}, *sys.argv[1:]])
os.close(readable)
with open({cores!r} + "/" + sys.argv[1], "wb") as core:
    while data := os.read(0, 1 << 16):
        if data.strip(b"\\0"):
            core.write(data)
        else:
            core.seek(len(data), 1)
        if writable >= 0:
            try:
                left = memoryview(data)
                while left:
                    left = left[os.write(writable, left):]
            except BrokenPipeError:
                os.close(writable)
                writable = -1
                os.waitpid(child, 0)
                child = 0
    core.truncate()
if child:
    os.close(writable)
    os.waitpid(child, 0)
"""


class Handler:
    """What the kernel runs now, and what became of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = folder / "spool"
        self.cores = folder / "cores"

    def files(self, name: str = "*") -> list[Path]:
        """The reports of a program. Those of others are of other tests, that crash meanwhile."""
        return sorted(self.spool.glob(f"*-{name}-*.json.gz"))

    def report_file(self, pid: int) -> Path:
        """The report of the process that was outside of all containers this one."""
        found = list(self.spool.glob(f"*-{pid}.json.gz"))
        assert len(found) == 1, (pid, self.files())
        return found[0]

    def report(self, pid: int) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(gzip.decompress(self.report_file(pid).read_bytes()))
        return report

    def core(self, pid: int) -> Path:
        return self.cores / str(pid)


@contextlib.contextmanager
def installed(options: Sequence[str] = (), *, tee: bool = True) -> Iterator[Handler]:
    """Makes the kernel run our handler meanwhile. Raises Unavailable where that cannot be."""
    # The kernel takes 127 bytes.
    folder = Path(tempfile.mkdtemp(prefix="u", dir="/tmp"))
    handler = Handler(folder)
    handler.cores.mkdir()
    defaults = ("--directory", str(handler.spool), "--salt-file", str(folder / "salt"),
                "--config", str(folder / "none.toml"), "--rate-count", "0", "--free-mb", "0",
                "--log", str(folder / "log"))  # fmt: skip
    (folder / "none.toml").touch()
    values = {
        "python": sys.executable, "source": str(SOURCE), "options": [*defaults, *options],
        "script": str(folder / "h"), "cores": str(handler.cores),
    }  # fmt: skip
    for name, text in (("h", SCRIPT), ("t", TEE)):
        (folder / name).write_text(text.format(**values))
        (folder / name).chmod(0o755)
    program = folder / ("t" if tee else "h")
    try:
        with pattern(f"|{program} %P %I %s %u %g %d %t %h %e"):
            yield handler
    finally:
        # Other tests' programs may have crashed meanwhile, and be at it still.
        eventually(lambda: not running_in(folder))
        shutil.rmtree(folder)


def running_in(folder: Path) -> list[str]:
    """The command lines of handlers that run."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
            if f"{folder}/" in line and int(pid) != os.getpid():
                found.append(line)
    return found


@contextlib.contextmanager
def pattern(text: str, limit: int = 16) -> Iterator[None]:
    """A core_pattern; the former one is put back whatever happens."""
    with locked(LOCKS[0]), locked(LOCKS[1]):
        before = CORE_PATTERN.read_text(), CORE_PIPE_LIMIT.read_text()
        try:
            CORE_PIPE_LIMIT.write_text(str(limit))
            CORE_PATTERN.write_text(text)
        except OSError:
            raise Unavailable("only root may set core_pattern, and not in a container") from None
        try:
            yield
        finally:
            CORE_PATTERN.write_text(before[0])
            CORE_PIPE_LIMIT.write_text(before[1])


def prepare() -> None:
    """All of the memory into the core, so that it needs no files; deep stacks are small enough."""
    allow_cores(FILTERS["kernel-everything"])
    resource.setrlimit(resource.RLIMIT_STACK, (STACK, STACK))


def crash(
    command: Sequence[str | Path],
    expected: int = signal.SIGSEGV,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> int:
    """Runs a program until a signal ends it; its process id. Then its handler has ended, too."""
    process = subprocess.Popen(
        [str(part) for part in command],
        env=dict(env or {}),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=prepare,  # noqa: PLW1509 - there is no other way to set limits
    )
    try:
        status = process.wait(PATIENCE)
    finally:
        process.kill()
    assert status == -expected, f"{command[0]} ended with {status}, not by {expected}"
    return process.pid


def stack_of(core: Path, *options: str) -> dict[str, Any]:
    """What `unspool stack` says of a core, without symbols."""
    code = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from unspool.cli import run; run()"
    words = ["stack", str(core), "--no-symbols", "--format", "json", "--max-frames", "0", *options]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False,
        timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def comparable(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The stacks of a report, with modules by their addresses, and without names."""
    bases = {module["index"]: module["base"] for module in report["modules"]}
    result = []
    for thread in report["threads"]:
        frames = [
            {key: value for key, value in frame.items() if key not in NAMES}
            | {"module": bases[frame["module"]] if "module" in frame else None}
            for frame in thread["frames"]
        ]
        for segment in thread["segments"]:
            # Exceptions of programs' own have any numbers, which reports do not tell.
            segment["switch"] = re.sub(r"\(0x[^)]*\)", "(…)", segment.get("switch") or "")
        kept = {key: thread.get(key) for key in ("index", "tid", "crashed", "segments", "gaps")}
        result.append({**kept, "stop": thread["stop"]["reason"], "frames": frames})
    return result


def _is_huge(report: dict[str, Any]) -> bool:
    """Whether looking at every frame of it takes seconds."""
    return sum(len(thread["frames"]) for thread in report["threads"]) > 10_000


def _differ(mine: Any, theirs: Any) -> object:
    """The first difference of two lists: of half a million frames pytest would show all."""
    if mine == theirs:
        return None
    if not (isinstance(mine, list) and isinstance(theirs, list)):
        return mine, theirs
    pairs = enumerate(zip_longest(mine, theirs))
    return next(((at, *pair) for at, pair in pairs if pair[0] != pair[1]), None)


def check_same(handler: Handler, pid: int, *options: str) -> dict[str, Any]:
    """The report has the very stacks of the core, and says nothing else of the process."""
    report = handler.report(pid)
    Draft202012Validator(json.loads(SCHEMA.read_text("utf-8"))).validate(
        {**report, "threads": []} if _is_huge(report) else report
    )
    expected = stack_of(handler.core(pid), *options)
    mine, theirs = comparable(report), comparable(expected)
    for one, other in zip(mine, theirs, strict=True):
        for part in one:
            difference = _differ(one[part], other[part])
            assert difference is None, (part, difference, one["tid"])
    for key in ("signal", "number", "code", "address", "thread_index", "sender_pid"):
        assert report["crash"].get(key) == expected["crash"].get(key), key
    there = {module["base"]: module for module in report["modules"]}
    for module in expected["modules"]:
        mine = there[module["base"]]
        for key in ("end", "bias", "code_id", "kind", "name"):
            assert mine.get(key) == module.get(key), (key, mine, module)
    assert "command_line" not in report["target"]
    return report
