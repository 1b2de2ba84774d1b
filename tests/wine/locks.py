"""Start programs/locks.c under Wine, and wait until none of its threads does anything any more."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.programs.build import check as check_build
from tests.programs.build import locked, run, tool
from tests.programs.waits import wait_until_calm

from .flavours import Flavour, check, make_prefix
from .running import PATIENCE, end_all, prepare, processes, remove_server_folder
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
    built = build(flavour, root, stripped=stripped)
    folder = Path(tempfile.mkdtemp(prefix="locks-", dir=root))
    prefix = folder / "prefix"
    inside = str(flavour.inside(prefix, root))
    try:
        make_prefix(flavour, prefix)
        with started(flavour, built, mode, folder, root):
            pids = [pid for pid in processes(inside) if runs(pid, "locks.exe")]
            for pid in pids:
                wait_until_calm(pid)
            yield sorted(pids), next(pid for pid in processes(inside) if is_server(pid))
    finally:
        end_all(inside)
        remove_server_folder(prefix)
        shutil.rmtree(folder)


@contextlib.contextmanager
def started(
    flavour: Flavour, built: Path, mode: str, folder: Path, root: Path
) -> Iterator[None]:
    """The program from when it has said that it is ready."""
    command = [str(flavour.inside(built / "locks.exe", root)), mode]
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            flavour.command(folder, root, command), cwd=folder,
            env=flavour.environment(folder / "prefix", root), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509 - limits can be set in no other way
        )  # fmt: skip
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.strip() == "ready", (folder / "errors").read_text()[-1000:]
        yield
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()  # another process of the program may have it, too


def is_server(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().startswith("wineserver")


def runs(pid: int, program: str) -> bool:
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return bool(arguments) and any(each.endswith(program.encode()) for each in arguments[:1])
