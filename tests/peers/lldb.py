"""What LLDB says of a minidump: threads, frames, modules, memory."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.programs.build import tool

FRAME = "F ${frame.index} ${frame.pc} ${frame.sp} {${module.file.basename}}|{${function.name}}\\n"
FRAME_LINE = re.compile(r"^[ *]+F \d+ (0x\w+) (0x\w+) (.*?)\|(.*)$")
IMAGE = re.compile(r"^\[ *\d+\] (\S*) +0x([0-9a-f]+) (.*?) *$")
THREAD = re.compile(r"^\*? +thread #\d+: tid = (\w+)")
BACKTRACE = re.compile(r"^\*? +thread #\d+")
# Without its Python, as Debian's package alone is, LLDB laments that at every command.
NOISE = re.compile(r"^(Traceback|  File|ModuleNotFoundError|NameError)")


@dataclass(frozen=True)
class Frame:
    pc: int
    sp: int
    module: str
    function: str


@dataclass(frozen=True)
class Image:
    uuid: str  # lower-case hexadecimal digits
    base: int
    path: str


@dataclass
class Seen:
    loaded: bool
    # By thread id, in the order of the dump.
    stacks: dict[int, list[Frame]] = field(default_factory=dict)
    images: list[Image] = field(default_factory=list)
    text: str = ""


SCRIPT = Path(__file__).parents[2] / "tools" / "lldb_windows.py"


def lldb(path: Path, folders: Sequence[Path] = (), pe: Sequence[Path] | None = None) -> Seen:
    """Opens `path`; modules whose files are not where they were are taken from `folders`.

    With `pe` our script has it take Windows' files from there.
    """
    commands = [
        "settings set symbols.enable-external-lookup false",
        f'settings set frame-format "{FRAME}"',
        *(f"settings append target.exec-search-paths {folder}" for folder in folders),
        f"target create --core {path}",
        *([] if pe is None else [f"command script import {SCRIPT}"]),
        "thread list",
        "thread backtrace all",
        "image list",
    ]
    text = ask(commands, {"UNSPOOL_PE": ":".join(map(str, pe or ()))})
    seen = Seen("was loaded." in text, text=text)
    stacks: list[list[Frame]] = []
    for line in text.splitlines():
        if match := THREAD.match(line):
            seen.stacks[int(match[1], 0)] = []
        elif BACKTRACE.match(line):
            stacks.append([])
        elif match := FRAME_LINE.match(line):
            stacks[-1].append(Frame(int(match[1], 16), int(match[2], 16), match[3], match[4]))
        elif match := IMAGE.match(line):
            uuid = match[1].replace("-", "").lower()
            seen.images.append(Image(uuid, int(match[2], 16), match[3]))
    assert len(stacks) == len(seen.stacks), text
    seen.stacks = dict(zip(seen.stacks, stacks, strict=True))
    return seen


def program() -> str:
    """The newest LLDB that is installed: Debian's are called lldb-14, lldb-16 beside `lldb`."""
    found = {
        int(path.name.removeprefix("lldb-")): path.name
        for folder in os.environ.get("PATH", "").split(os.pathsep)
        for path in Path(folder or ".").glob("lldb-[0-9]*")
        if path.name.removeprefix("lldb-").isdecimal()
    }
    return tool(found[max(found)] if found else "lldb")


def has_python() -> bool:
    return "\n42" in ask(["script print(6 * 7)"])


def ask(commands: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """What LLDB prints at `commands`. Its output is read to the end: LLDB 14 spins without end
    when it is closed on it."""
    words = [part for command in commands for part in ("-o", command)]
    done = subprocess.run(
        [program(), "--no-lldbinit", "--no-use-colors", "--batch", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={
            **os.environ, "LC_ALL": "C", "DEBUGINFOD_URLS": "", "TERM": "dumb",
            **(environment or {}),
        },
        timeout=120,
        check=False,
    )
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return "\n".join(line for line in lines if not NOISE.match(line))


def region(path: Path, addresses: Sequence[int]) -> dict[int, str]:
    """What LLDB knows of the memory at `addresses`: "[start-end) rwx name"."""
    text = ask([f"target create --core {path}", *(f"memory region {a:#x}" for a in addresses)])
    found = [line for line in text.splitlines() if line.startswith("[0x")]
    assert len(found) == len(addresses), text
    return dict(zip(addresses, found, strict=True))
