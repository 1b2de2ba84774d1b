"""Programs under Wine, each start in a new prefix, and nothing of it left behind.

A prefix, and with it a wineserver, of its own takes a tenth of a second.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.programs.cores import FILTERS, allow_cores
from tests.programs.running import eventually

from .flavours import Flavour, check, make_prefix

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1  # linux/prctl.h
PATIENCE = 60  # seconds until a program that is not ready counts as hanging


@dataclass(frozen=True)
class Prefix:
    flavour: Flavour
    root: Path  # the session's folder
    folder: Path  # in it, where programs are started

    @property
    def path(self) -> Path:
        return self.folder / "prefix"

    @property
    def inside(self) -> str:
        """The prefix as its processes know it."""
        return str(self.flavour.inside(self.path, self.root))

    @property
    def errors(self) -> str:
        """The last that was said on standard error."""
        return (self.folder / "errors").read_text(errors="replace").strip()[-1000:]

    @contextlib.contextmanager
    def start(
        self, program: Path, *arguments: str, stdin: int = subprocess.DEVNULL
    ) -> Iterator[subprocess.Popen[str]]:
        """A program, which lies in the session's folder, and what it says."""
        command = [str(self.flavour.inside(program, self.root)), *arguments]
        with (self.folder / "errors").open("w") as errors:
            process = subprocess.Popen(
                self.flavour.command(self.folder, self.root, command), cwd=self.folder,
                env=self.flavour.environment(self.path, self.root),
                stdin=stdin, stdout=subprocess.PIPE, stderr=errors, text=True,
                start_new_session=True,  # an interrupted test ends it in its own way
                preexec_fn=prepare,  # noqa: PLW1509 - limits can be set in no other way
            )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()

    def run(self, program: Path, arguments: Sequence[str], said: Path) -> str:
        """What a program says until it ends. Through a file: other processes keep a pipe open."""
        command = [str(self.flavour.inside(program, self.root)), *arguments]
        with said.open("w+") as output:
            subprocess.run(
                self.flavour.command(self.folder, self.root, command), cwd=self.folder,
                env=self.flavour.environment(self.path, self.root),
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL,
                timeout=PATIENCE, check=False,
            )  # fmt: skip
            output.seek(0)
            return output.read()


@contextlib.contextmanager
def new_prefix(flavour: Flavour, root: Path) -> Iterator[Prefix]:
    """A prefix below the session's folder; whatever runs for it is ended with the body.

    Raises Unavailable with the reason when this machine cannot run that Wine.
    """
    check(flavour, root)
    prefix = Prefix(flavour, root, Path(tempfile.mkdtemp(prefix="run-", dir=root)))
    try:
        make_prefix(flavour, prefix.path)
        yield prefix
    finally:
        end_all(prefix.inside)
        remove_server_folder(prefix.path)
        shutil.rmtree(prefix.folder)


@contextlib.contextmanager
def impatient(process: subprocess.Popen[str]) -> Iterator[None]:
    """Ends a process that takes too long, so that nobody waits for what it says."""
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def prepare() -> None:
    """In the child: allow cores, and do not outlive the tests, however they end."""
    allow_cores(FILTERS["kernel"])
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def processes(prefix: str) -> list[int]:
    """All processes that were started for a prefix: they inherit the variable that names it."""
    variable = f"WINEPREFIX={prefix}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if variable in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def end_all(prefix: str) -> None:
    """Kill what still runs for a prefix: its wineserver, a child of the scenario unix_call."""

    def gone() -> bool:
        left = processes(prefix)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    assert eventually(gone, PATIENCE), f"still running: {processes(prefix)}"


def remove_server_folder(prefix: Path) -> None:
    """What a killed wineserver leaves in /tmp: a folder that is named after the prefix's inode.

    Wine keeps it in .wine-UID, Debian's Wine in a new folder of a random name.
    """
    status = prefix.stat()
    name = f"server-{status.st_dev:x}-{status.st_ino:x}"
    temporary = Path("/tmp")
    for folder in (temporary / f".wine-{os.geteuid()}", *temporary.glob("wine-??????")):
        if (folder / name).exists():
            shutil.rmtree(folder / name, ignore_errors=True)
