"""Builds the programs and lets them crash: real cores, written by the kernel."""

from __future__ import annotations

import contextlib
import fcntl
import resource
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from bench.install import ROOT

PROGRAMS = Path(__file__).parent / "programs"
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
PATIENCE = 300  # seconds until a core of 2 GB counts as never coming
STACK = 256 << 20  # room for 500,000 frames


class Unavailable(Exception):
    """Something that this machine cannot do, and why."""


def compile_program(name: str, folder: Path, *sources: Path) -> Path:
    """Makes the program `name`, as a distribution would: optimised, with debug information."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise Unavailable("no C compiler")
    target = folder / name
    command = [compiler, "-O2", "-g", "-pthread", "-o", str(target), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{name} does not compile: {done.stderr.strip()[-400:]}")
    return target


@dataclass(frozen=True)
class Core:
    """A core and the program that it is of."""

    path: Path
    program: Path


class Workshop:
    """Makes programs and cores in one folder, each once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        parked, filler = PROGRAMS / "parked.c", PROGRAMS / "filler.c"
        self.parked = compile_program("parked", folder, parked, filler)
        self.parked_few = compile_program("parked-few", folder, parked)
        self.measure = compile_program("measure", folder, PROGRAMS / "measure.c")

    def spinner(self) -> Path:
        """The program of the tests that knows how long it was stopped."""
        source = ROOT / "tests" / "programs" / "spin_gap.c"
        return compile_program("spin_gap", self.folder, source)

    def core(
        self, threads: int, depth: int, megabytes: int = 0, *, zero: bool = False, few: bool = False
    ) -> Core:
        """A core of `parked` with so many threads, each so many calls deep.

        `few` takes the program without the 2,048 functions that nobody calls.
        """
        program = self.parked_few if few else self.parked
        name = f"core-{threads}-{depth}-{megabytes}{'-zero' if zero else ''}"
        # A kept core is of no use to a program that was built anew from other sources.
        path = self.folder / f"{name}-{crc32(program.read_bytes()):08x}"
        if not path.exists():
            if shutil.disk_usage(self.folder).free < (megabytes + 2000) << 20:
                raise Unavailable(f"not enough room in {self.folder}")
            numbers = (threads, depth, megabytes, int(zero))
            self._crash([str(program), *map(str, numbers)], path)
        return Core(path, program)

    def compressed(self, core: Core) -> Core:
        path = core.path.with_name(core.path.name + ".zst")
        if not path.exists():
            zstd = shutil.which("zstd")
            if zstd is None:
                raise Unavailable("zstd is not installed")
            subprocess.run([zstd, "-q", "-f", "-o", str(path), str(core.path)], check=True)
        return Core(path, core.program)

    def _crash(self, command: list[str], path: Path) -> None:
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        if hard != resource.RLIM_INFINITY:
            raise Unavailable("big cores are forbidden here (hard RLIMIT_CORE)")
        if resource.getrlimit(resource.RLIMIT_STACK)[1] != resource.RLIM_INFINITY:
            raise Unavailable("deep stacks are forbidden here (hard RLIMIT_STACK)")

        def prepare() -> None:
            resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
            resource.setrlimit(resource.RLIMIT_STACK, (STACK, resource.RLIM_INFINITY))

        nest = self.folder / "nest"
        nest.mkdir(exist_ok=True)
        with usable_core_pattern():
            done = subprocess.run(
                command, cwd=nest, preexec_fn=prepare, timeout=PATIENCE, capture_output=True,
                text=True, check=False,
            )  # fmt: skip
        found = [core for core in nest.glob("core*") if core.stat().st_size]
        if not found:
            what = done.stderr.strip() or f"it ended with {done.returncode}"
            raise Unavailable(f"no core of {' '.join(command)}: {what}")
        found[0].rename(path)


@contextlib.contextmanager
def usable_core_pattern() -> Iterator[None]:
    """Lets cores go to the working directory; puts the pattern back if it had to change it.

    The tests take the same lock.
    """
    with open("/tmp/unspool-core-pattern.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = CORE_PATTERN.read_text()
        if before.startswith("core") and "/" not in before:
            yield
            return
        try:
            CORE_PATTERN.write_text("core")
        except OSError:
            raise Unavailable(f"core_pattern is {before.strip()!r}, root may change it") from None
        try:
            yield
        finally:
            CORE_PATTERN.write_text(before)
