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
    environment = {**OFFLINE, "UNSPOOL_GDB_LIMIT": str(LIMIT)}
    program = "gdb"
    if core.sysroot:
        program = "gdb-multiarch"
        environment["UNSPOOL_GDB_SYSROOT"] = core.sysroot
    symbols = core.executable.parent / "symbols"
    script = HERE / "gdb_frames.py"
    before = ["-iex", "set debuginfod enabled off"]
    if symbols.is_dir():
        before += ["-iex", f"set debug-file-directory {symbols}:/usr/lib/debug"]
    done = run(
        [tool(program), "-batch", "-nx", *before, "-x", script, core.executable, core.path],
        env=environment,
    )
    answer = done.stdout.partition("FRAMES ")[2].partition("\n")[0]
    if not answer and "Python scripting is not supported" in done.stderr:
        raise Unavailable("this gdb has no Python")
    assert answer, f"gdb gave no answer: {done.stderr[-2000:]}"
    return {
        int(tid): [(pc, real_name(name)) for pc, name in without_end(frames)]
        for tid, frames in json.loads(answer).items()
    }


def without_end(frames: Frames) -> Frames:
    """gdb shows a return address of 0 as one more frame, where we say that the stack ends."""
    return frames[:-1] if len(frames) > 1 and frames[-1][0] == 0 else frames


def real_name(name: str | None) -> str | None:
    """The name, unless gdb made it up: "f@plt" is no symbol of the file."""
    return None if name and name.endswith("@plt") else name


def ask_eu_stack(core: Core) -> Threads:
    """Frames as eu-stack sees them, up to where it stops with an error."""
    command: list[str | Path] = [tool("eu-stack"), f"--core={core.path}", "-e", core.executable]
    symbols = core.executable.parent / "symbols"
    if symbols.is_dir():
        command.append(f"--debuginfo-path={symbols}:/usr/lib/debug")
    done = run([*command, "-a", "-r", "-n", str(LIMIT)], env=OFFLINE)
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
