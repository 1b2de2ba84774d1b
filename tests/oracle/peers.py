"""What gdb and eu-stack say about a core, as {tid: [(pc, function), …]}."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from tests.programs.build import Unavailable, run, tool
from tests.programs.cores import Core

Frames = list[tuple[int, str | None]]
Threads = dict[int, Frames]

LIMIT = 300  # frames a thread asked of a peer: eu-stack needs minutes for 100,000
HERE = Path(__file__).parent
OFFLINE = {**os.environ, "DEBUGINFOD_URLS": "", "LC_ALL": "C"}
# "#5  0x00005626dfd4ca07 - 1 function - module", the function may be absent
EU_FRAME = re.compile(r"#\d+\s+0x([0-9a-f]+)(?: - 1)?[ ]*(.*)$")


def ask_gdb(core: Core) -> Threads:
    """Frames as gdb sees them. Raises Unavailable when there is no gdb, or none for this CPU."""
    settings = {}
    program = "gdb"
    files: list[str | Path] = [core.executable, core.path]
    if core.sysroot:
        program = "gdb-multiarch"
        settings["UNSPOOL_GDB_SYSROOT"] = core.sysroot
        settings["UNSPOOL_GDB_EXECUTABLE"] = str(core.executable)
        # Without symbols: to read them twice, in two places, is more than gdb 13 can do for Arm,
        # and its answers are then others each time.
        files = ["-e", core.executable, "-c", core.path]
    folders = ":".join([*debug_folders(core), "/usr/lib/debug"])
    before = ["-iex", f"set debug-file-directory {folders}"]
    return run_gdb(program, [*before, *files], settings)


def ask_gdb_about(pid: int) -> Threads:
    """Frames of a live process as gdb sees them."""
    return run_gdb("gdb", ["-p", str(pid)], {})


def run_gdb(program: str, target: list[str | Path], settings: dict[str, str]) -> Threads:
    options: list[str | Path] = [
        "-batch",
        "-nx",
        "-iex",
        "set debuginfod enabled off",
        "-x",
        HERE / "gdb_frames.py",
    ]
    environment = {**OFFLINE, "UNSPOOL_GDB_LIMIT": str(LIMIT), **settings}
    done = run([tool(program), *options, *target], env=environment)
    answer = done.stdout.partition("FRAMES ")[2].partition("\n")[0]
    if not answer and "Python scripting is not supported" in done.stderr:
        raise Unavailable("this gdb has no Python")
    assert answer, f"gdb gave no answer: {done.stderr[-2000:]}"
    return {
        int(tid): [(pc, real_name(name)) for pc, name in without_end(frames)]
        for tid, frames in json.loads(answer).items()
    }


def debug_folders(core: Core) -> list[str]:
    """Where the program's separate debug file is, if it has one that nothing leads to."""
    folder = core.executable.parent / "symbols"
    return [str(folder)] if folder.is_dir() else []


def without_end(frames: Frames) -> Frames:
    """gdb shows a return address of 0 as one more frame, where we say that the stack ends."""
    return frames[:-1] if len(frames) > 1 and frames[-1][0] == 0 else frames


def real_name(name: str | None) -> str | None:
    """The name, unless gdb made it up: "f@plt" is no symbol of the file."""
    return None if name and name.endswith("@plt") else name


def ask_eu_stack(core: Core) -> Threads:
    """Frames as eu-stack sees them, up to where it stops with an error."""
    # The first two are where a debug link leads, and would be so by default.
    folders = ":".join(["", ".debug", *debug_folders(core), "/usr/lib/debug"])
    paths = f"--debuginfo-path={folders}"
    return run_eu_stack(f"--core={core.path}", "-e", core.executable, paths)


def ask_eu_stack_about(pid: int) -> Threads:
    """Frames of a live process as eu-stack sees them."""
    return run_eu_stack("-p", str(pid))


def run_eu_stack(*target: str | Path) -> Threads:
    done = run([tool("eu-stack"), *target, "-a", "-r", "-n", str(LIMIT)], env=OFFLINE)
    assert "TID " in done.stdout, f"eu-stack gave no answer: {done.stderr[-2000:]}"
    return parse_eu_stack(done.stdout)


def parse_eu_stack(text: str) -> Threads:
    threads: Threads = {}
    frames: Frames = []
    for line in text.splitlines():
        if line.startswith("TID "):
            frames = threads.setdefault(int(line[4:].rstrip(":")), [])
        elif match := EU_FRAME.match(line):
            frames.append((int(match[1], 16), match[2] or None))
    return threads


PEERS = {"gdb": ask_gdb, "eu-stack": ask_eu_stack}
LIVE_PEERS = {"gdb": ask_gdb_about, "eu-stack": ask_eu_stack_about}
