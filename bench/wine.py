"""Windows programs under Wine: cores of the tests' zoo, and a process that notes when it stops."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from tests.programs.build import Unavailable as NotHere
from tests.wine.cores import make_core
from tests.wine.flavours import FLAVOURS, Flavour
from tests.wine.zoo import SOURCES, VARIANTS

from bench.cores import Core, Unavailable

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
