"""Makes the bundled cores of Wine processes anew, with the Wines that tests use.

    python -m tests.wine.install        # as root, once
    python -m tests.corpus.make_wine
    python -m tests.corpus.make_wine stacks   # only what is recorded of their stacks; no Wine

Each is a core of the zoo (tests/wine/zoo.py) by the kernel, every stack of which is as the
source says, reduced to what a walk of it reads (tests/corpus/reduce). `make_wine_demo` makes
one more, of a program in demo/. To write down the stacks of the cores as they are is for changes
of words: `git diff` says what else has changed.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import unspool
from tests.programs.build import run
from tests.wine.cores import ZooCore, make_core
from tests.wine.expected import expected, mismatch, scenarios
from tests.wine.flavours import FLAVOURS, Flavour
from tests.wine.running import Thread
from tests.wine.zoo import VARIANTS
from unspool.model import Report

from .reduce.golden import summary_of, windows_functions
from .reduce.names import unpack
from .reduce.reduction import Reduced, reduce

HERE = Path(__file__).parent / "wine"
ROOT = Path("/tmp/unspool-corpus")  # its name is in the cores
DEPTH = 3
# Besides every scenario once: callbacks in callbacks, and stacks as short as can be.
MORE = ("wndproc:2:3", "wait_event:1", "qsort:17")


def main() -> None:
    shutil.rmtree(ROOT, ignore_errors=True)
    ROOT.mkdir()
    HERE.mkdir(exist_ok=True)
    text = [HEADER]
    for name, flavour in FLAVOURS.items():
        wanted = [*scenarios(flavour, VARIANTS["O2"], [DEPTH]), *MORE]
        core = make_core(flavour, VARIANTS["O2"], wanted, "kernel", ROOT)
        made = reduce(core.path, [str(core.zoo.folder)], core.sysroot)
        assert_as_the_source_says(core, made.report)
        put(f"wine-{name}", made, core.threads)
        text.append(describe(name, flavour, wanted, made))
    (HERE / "PROVENANCE.toml").write_text("\n".join(text))
    shutil.rmtree(ROOT)


def assert_as_the_source_says(core: ZooCore, report: Report) -> None:
    stacks = {stack.tid: stack for stack in report.stacks}
    for thread in core.threads:
        stack = stacks[thread.tid]
        found = windows_functions(report, stack, core.flavour.wow64)
        problem = mismatch(expected(core.flavour, thread), found)
        assert problem is None, (thread, problem)
        assert stack.stop.reason == "root", thread


def put(name: str, made: Reduced, threads: tuple[Thread, ...]) -> None:
    """Writes the core, names of its functions, and its stacks."""
    (HERE / f"{name}.core.xz").write_bytes(made.core)
    (HERE / f"{name}.names.tar.xz").write_bytes(made.names)
    write_stacks(name, [asdict(thread) for thread in threads], made.report)


def renew_stacks() -> None:
    for core in sorted(HERE.glob("*.core.xz")):
        name = core.name.removesuffix(".core.xz")
        threads = json.loads((HERE / f"{name}.json").read_text())["threads"]
        with tempfile.TemporaryDirectory() as names:
            unpack(HERE / f"{name}.names.tar.xz", Path(names))
            with unspool.open(str(core), symbols=[names]) as target:
                write_stacks(name, threads, unspool.unwind(target))


def write_stacks(name: str, threads: list[object], report: Report) -> None:
    stacks = {"threads": threads, **summary_of(report)}
    (HERE / f"{name}.json").write_text(written(stacks))


def written(stacks: dict[str, object]) -> str:
    """JSON with one line for each place and each stack."""
    parts = []
    for key, value in stacks.items():
        assert isinstance(value, list)
        lines = ",\n  ".join(json.dumps(each, separators=(",", ":")) for each in value)
        parts.append(f'"{key}": [\n  {lines}\n]')
    return "{" + ",\n".join(parts) + "}\n"


def describe(name: str, flavour: Flavour, wanted: list[str], made: Reduced) -> str:
    compiler = run([f"{flavour.machine}-w64-mingw32-gcc", "--version"]).stdout.splitlines()[0]
    return made.entry(
        f'name = "wine-{name}"',
        f'flavour = "{name}"',
        f"scenarios = {json.dumps(wanted)}",
        f'wine = "{(made.report.target.wine or {})["build"]}"',
        f'glibc = "{glibc(flavour)}"',
        f'compiler = "{compiler}"',
        f'flags = "{" ".join(VARIANTS["O2"].flags)}"',
        f'machine = "Linux {platform.release()}"',
    )


def glibc(flavour: Flavour) -> str:
    """Debian's version of the C library that Wine runs on."""
    path = (flavour.sysroot or Path("/")) / "usr/lib/x86_64-linux-gnu/libc.so.6"
    found = re.search(rb"Debian GLIBC ([^)]+)\)", path.read_bytes())
    assert found, path
    return found[1].decode()


HEADER = """\
# Cores of Wine processes, reduced to what a walk reads, with the names of their functions.
# Made by `python -m tests.corpus.make_wine`; their stacks are in the .json files.
#
# size      bytes of the core, unpacked
# excerpts  how many bytes of each module's code, headers and tables it holds
#
# wine      Debian's version; glibc  likewise
#
# The modules are Debian's, of the source packages wine and glibc in these versions (bookworm's
# and trixie's), both LGPL-2.1-or-later; their sources are on https://snapshot.debian.org/. What
# is here of them are headers, some instructions around return addresses, rows of unwind tables
# and a few exports; of further libraries headers alone. zoo.exe is tests/wine/programs, linked
# with mingw-w64 10.0.0 (ZPL-2.1, public domain), and with libgcc and libstdc++ 12 (GPL-3 with
# the GCC runtime library exception). The files of names hold no code.
"""

if __name__ == "__main__":
    if sys.argv[1:] == ["stacks"]:
        renew_stacks()
    else:
        main()
