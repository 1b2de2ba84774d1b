"""Start programs/locks.c under Wine, and wait until none of its threads does anything any more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.programs.build import check as check_build
from tests.programs.build import locked, run, tool
from tests.programs.waits import wait_until_calm

from .flavours import Flavour, check
from .prefixes import impatient, new_prefix, processes
from .zoo import SOURCES


def build(flavour: Flavour, root: Path, *, stripped: bool = False) -> Path:
    """The folder with the program and its library, made once a session. Raises Unavailable."""
    folder = root / f"locks-{flavour.machine}{'-stripped' if stripped else ''}"
    with locked(root / f"{folder.name}.lock"):
        if not (folder / "built").exists():
            folder.mkdir(exist_ok=True)
            compiler = tool(f"{flavour.machine}-w64-mingw32-gcc")
            flags = ["-Wall", "-Wextra", "-Werror", "-O1", "-s" if stripped else "-g"]
            flags.append(f"-ffile-prefix-map={SOURCES}=tests/wine/programs")
            library = ["-shared", "-static", SOURCES / "waiter.c", "-o", folder / "waiter.dll"]
            program = ["-static", SOURCES / "locks.c", "-o", folder / "locks.exe", "-ldbghelp"]
            check_build(run([compiler, *flags, *library]))
            check_build(run([compiler, *flags, *program]))
            (folder / "built").touch()
    return folder


@contextlib.contextmanager
def running(flavour: Flavour, mode: str, root: Path, *, stripped: bool = False) -> Iterator[int]:
    """The process id of the program while it runs. Raises Unavailable."""
    with running_all(flavour, mode, root, stripped=stripped) as (pids, _):
        yield pids[0]


@contextlib.contextmanager
def running_all(
    flavour: Flavour, mode: str, root: Path, *, stripped: bool = False
) -> Iterator[tuple[list[int], int]]:
    """The ids of the program's processes while they run, and of their wineserver."""
    check(flavour, root)
    program = build(flavour, root, stripped=stripped) / "locks.exe"
    with new_prefix(flavour, root) as prefix, prefix.start(program, mode) as process:
        with impatient(process):
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "ready", prefix.errors
        pids = [pid for pid in processes(prefix.inside) if runs(pid, program.name)]
        for pid in pids:
            wait_until_calm(pid)
        yield sorted(pids), next(pid for pid in processes(prefix.inside) if is_server(pid))


def is_server(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().startswith("wineserver")


def runs(pid: int, program: str) -> bool:
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return bool(arguments) and any(each.endswith(program.encode()) for each in arguments[:1])
