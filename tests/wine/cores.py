"""Cores of the zoo under Wine, each made once a session.

``kernel``      the kernel writes it: SIGXCPU is one of the few signals with a core that Wine
                leaves alone (SIGQUIT ends a thread, SIGABRT and the rest become exceptions)
``kernel-zst``  the same, compressed with zstd
``gcore``       gdb writes it from outside: also the pages of files, and zeros for all address
                space that Wine has only reserved, gigabytes of it
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from tests.programs.build import check, locked, run, tool
from tests.programs.cores import written_by_gcore, written_by_kernel

from .flavours import Flavour
from .running import Running, Thread, run_zoo
from .zoo import Variant, Zoo, build


@dataclass(frozen=True)
class ZooCore:
    flavour: Flavour
    zoo: Zoo
    kind: str
    path: Path
    threads: tuple[Thread, ...]  # the main thread first

    @property
    def sysroot(self) -> str | None:
        """Where the system's files are that the core names, when they are not where it says.

        The kernel names files as the process knows them; gdb as it sees them from outside.
        """
        inside = self.flavour.sysroot is not None and self.kind != "gcore"
        return str(self.flavour.sysroot) if inside else None


def make_core(
    flavour: Flavour, variant: Variant, scenarios: Sequence[str], kind: str, root: Path
) -> ZooCore:
    """A core with a thread for each scenario, below `root`.

    Raises Unavailable with the reason when this machine cannot make it.
    """
    zoo = build(flavour, variant, root)
    key = sha256(" ".join(scenarios).encode()).hexdigest()[:12]
    folder = root / f"{flavour.name}-{variant.name}-{key}-{kind}"
    path, about = folder / "core", folder / "threads.json"
    with locked(root / f"{folder.name}.lock"):
        if not about.exists():
            folder.mkdir(exist_ok=True)
            with run_zoo(flavour, zoo, scenarios, root) as running:
                MAKERS[kind.partition("-")[0]](running, path)
                threads = [asdict(thread) for thread in running.threads]
            if kind.endswith("-zst"):
                check(run([tool("zstd"), "-q", "-1", "--rm", "-f", path, "-o", f"{path}.zst"]))
            about.write_text(json.dumps(threads))
    if kind.endswith("-zst"):
        path = path.with_suffix(".zst")
    threads = json.loads(about.read_text())
    return ZooCore(flavour, zoo, kind, path, tuple(Thread(**thread) for thread in threads))


def made_by_kernel(running: Running, path: Path) -> None:
    written_by_kernel(running.pid, running.folder).rename(path)


def made_by_gcore(running: Running, path: Path) -> None:
    written_by_gcore(running.pid, path.parent).rename(path)


MAKERS = {"kernel": made_by_kernel, "gcore": made_by_gcore}
