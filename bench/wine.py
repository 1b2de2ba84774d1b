"""Windows programs under Wine: cores of the tests' zoo, and a process that notes when it stops."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from tests.programs.build import Unavailable as NotHere
from tests.wine.cores import make_core
from tests.wine.flavours import FLAVOURS, Flavour
from tests.wine.prefixes import new_prefix
from tests.wine.zoo import SOURCES, VARIANTS

from bench.cores import PROGRAMS, Core, Unavailable
from bench.stopped import Spinner

VARIANT = VARIANTS["O2"]
X86_64, I386 = "8.0-x86_64", "8.0-i386"
# What the threads of a program may be at: waits of several kinds, callbacks, faults, signals.
SCENARIOS = (
    *("wait_event:{}", "sleep:{}", "message_loop:{}", "thread_pool:{}", "qsort:{}", "timer:{}"),
    *("apc:{}", "null_deref:{}", "seh:{}", "suspended_wait:{}", "unix_call:{}", "wndproc:{}:2"),
)


@dataclass(frozen=True)
class WineCore(Core):
    """A core, the Wine loader as its program, and what the zoo says of its threads."""

    threads: int
    maker: str  # gcore, or the kernel


class WineWorkshop:
    """Makes cores of processes in Wine, each once."""

    def __init__(self, folder: Path) -> None:
        # A kept core is of no use to a program that was built anew from other sources.
        sources = b"".join(path.read_bytes() for path in sorted(SOURCES.iterdir()))
        self.root = folder / f"wine-{crc32(sources):08x}"
        self.root.mkdir(exist_ok=True)

    def core(self, flavour: str, kind: str, depths: Sequence[int]) -> WineCore:
        """A core with a thread for each scenario and depth, and two more."""
        return self._core(flavour, kind, [s.format(d) for d in depths for s in SCENARIOS])

    def deep_core(self, threads: int, depth: int) -> WineCore:
        """A core of threads that wait in Windows code, so many calls deep."""
        return self._core(X86_64, "kernel", [f"wait_event:{depth}"] * threads)

    def _core(self, name: str, kind: str, arguments: Sequence[str]) -> WineCore:
        flavour = FLAVOURS[name]
        try:
            core = make_core(flavour, VARIANT, arguments, kind, self.root)
        except NotHere as reason:
            raise Unavailable(str(reason)) from None
        maker = "gcore" if kind == "gcore" else f"the {kind}"
        return WineCore(core.path, loader(flavour), len(core.threads), maker)

    @contextmanager
    def spinning(self, threads: int, depth: int) -> Iterator[Spinner]:
        """A process that knows how long it was stopped, in Wine; see stopped.py."""
        flavour = FLAVOURS[X86_64]
        program = compile_windows_program("spin_gap_wine", self.root)
        words = str(threads), str(depth)
        with ExitStack() as stack:
            try:
                prefix = stack.enter_context(new_prefix(flavour, self.root))
            except NotHere as reason:
                raise Unavailable(str(reason)) from None
            start = prefix.start(program, *words, stdin=subprocess.PIPE)
            yield Spinner(stack.enter_context(start))


def compile_windows_program(name: str, folder: Path) -> Path:
    compiler = shutil.which("x86_64-w64-mingw32-gcc")
    if compiler is None:
        raise Unavailable("no x86_64-w64-mingw32-gcc")
    target = folder / f"{name}.exe"
    flags = ["-O2", "-g", "-fno-optimize-sibling-calls", "-static"]
    command = [compiler, *flags, "-o", str(target), str(PROGRAMS / f"{name}.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{name} does not compile: {done.stderr.strip()[-400:]}")
    return target


def loader(flavour: Flavour) -> Path:
    """The program that the kernel runs, as it is seen from outside."""
    return flavour.release.root / "usr/lib/wine" / flavour.loader


def version() -> str:
    """What Wine calls itself."""
    program = loader(FLAVOURS[X86_64])
    if not program.exists():
        return "Wine: not installed"
    command = [str(program), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip().replace("wine-", "Wine ", 1) or "Wine: unknown"
