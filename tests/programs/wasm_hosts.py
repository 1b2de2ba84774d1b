"""Build wasm_host.c against the library of a `wasmtime` package, and read what it says."""

from __future__ import annotations

import importlib.util
import json
import platform
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .build import HERE, Unavailable, check, locked, run, tool
from .cores import PATIENCE, allow_cores, written_core

LIBRARY = "_libwasmtime.so"
FLAGS = ("-O2", "-g", "-pthread", "-Wall", "-Wextra", f"-ffile-prefix-map={HERE}=tests/programs")
LISTED = 20  # frames that the runtime lists at most


@dataclass(frozen=True)
class Place:
    """A frame of Wasm code as the runtime has it. Offsets are those of the Wasm binary."""

    module: str
    function: str
    index: int
    offset: int
    function_offset: int


@dataclass(frozen=True)
class Told:
    """What the runtime said of a thread's Wasm frames, the innermost first."""

    tid: int
    depth: int
    skip: int
    frames: tuple[Place, ...]


def installed_library() -> Path:
    """The library of the package that is installed. Raises Unavailable."""
    spec = importlib.util.find_spec("wasmtime")
    if spec is None or spec.origin is None:
        raise Unavailable("the package wasmtime is not installed")
    name = f"linux-{platform.machine()}"
    path = Path(spec.origin).parent / name / LIBRARY
    if not path.exists():
        raise Unavailable(f"wasmtime has no {name}/{LIBRARY}")
    return path


def build_host(
    folder: Path, library: Path, compiler: str = "gcc", where: str | None = None
) -> Path:
    """The host in a folder; it looks for the library in `where`, else where the library is."""
    folder.mkdir(parents=True, exist_ok=True)
    host = folder / "wasm_host"
    with locked(folder / "lock"):
        if not host.exists():
            # What older libraries lack, the host calls only if it is asked to.
            options = ["-Wl,--unresolved-symbols=ignore-all", "-Wl,-z,lazy", f"-L{library.parent}"]
            linked = [f"-l:{library.name}", f"-Wl,-rpath,{where or library.parent}"]
            source = HERE / "wasm_host.c"
            check(run([tool(compiler), *FLAGS, source, "-o", host, *options, *linked]))
    return host


def build_steps(folder: Path, compiler: str = "gcc") -> Path:
    """The program that runs a host step by step, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = folder / "wasm_steps"
    with locked(folder / "lock"):
        if not steps.exists():
            check(run([tool(compiler), *FLAGS, HERE / "wasm_steps.c", "-o", steps]))
    return steps


def crash(command: Sequence[str | Path], folder: Path) -> str:
    """What a host said before it crashed, and `core` in the folder. Raises Unavailable.

    To be called where cores go to the working directory, see `cores.usable_core_pattern`.
    """
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE,
        check=False, preexec_fn=allow_cores,
    )  # fmt: skip
    # Who watches a host crash ends as it should.
    assert done.returncode <= 0, (done.returncode, done.stderr)
    written_core(folder).rename(folder / "core")
    return done.stdout


@dataclass(frozen=True)
class Step:
    """A thread in Wasm code: what is where, and the return addresses of its callers.

    `stack` are the bytes from the stack pointer up, as far as the calls go.
    """

    pc: int
    sp: int
    fp: int
    link: int
    callers: tuple[int, ...]
    stack: bytes


def read_steps(data: bytes) -> Iterator[Step]:
    """The steps that wasm_steps.c wrote down."""
    at = 0
    while at < len(data):
        *registers, calls, words = struct.unpack_from("<6Q", data, at)
        at += 48 + 8 * calls
        callers = struct.unpack_from(f"<{calls}Q", data, at - 8 * calls)
        yield Step(*registers, callers, data[at : at + 8 * words])
        at += 8 * words


def told(lines: str) -> dict[int, Told]:
    """What the runtime said, by thread id."""
    found = {}
    for line in lines.splitlines():
        if line.startswith('{"tid"'):
            said = json.loads(line)
            frames = tuple(Place(*frame) for frame in said["frames"])
            found[said["tid"]] = Told(said["tid"], said["depth"], said["skip"], frames)
    return found


def expected(depth: int, skip: int = 0, *, begun: bool = False) -> list[list[str]]:
    """The functions of each activation as the source says them, the innermost first.

    `begun` is for calls in fibers, where the outermost function is one more.
    """
    found = []
    for level in range(depth + 1):
        # The argument of the call is the level; it is `back(level + 1)` that calls or skips.
        if level + 1 == skip:
            found.append([])
        elif level % 2:
            found.append(["", "odd", "mid", "go"])
        else:
            found.append(["relay", "inner", "mid", "go"])
    if begun:
        found[-1] = [*found[-1], "begin"]
    return found
