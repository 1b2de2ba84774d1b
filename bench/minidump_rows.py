"""Rows of the table for `unspool dump`, beside Breakpad's core2md where that is at hand.

No registry of packages has core2md built: it is taken from PATH, or from UNSPOOL_CORE2MD.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.cores import Core
from bench.measure import Command
from bench.rows import DEPTH, THREADS, Bench, Result, Row, peak
from bench.wine import I386, X86_64
from bench.wine_rows import FEW, workshop

MORE_TIME, MOST_MEMORY = 60, 60  # milliseconds beyond the interpreter's start; megabytes


def big_core(bench: Bench) -> Row:
    core = bench.workshop.core(THREADS, DEPTH, 2048)
    return dump(bench, core, f"a minidump of {THREADS} threads, of a 2 GB core")


def wine_core(bench: Bench) -> Row:
    core = workshop(bench).core(X86_64, "gcore", FEW)
    return dump(
        bench, core, f"a minidump of {core.threads} threads in Wine, of a {size(core)} core"
    )


def wine_32_bit(bench: Bench) -> Row:
    core = workshop(bench).core(I386, "gcore", FEW)
    title = f"a minidump of {core.threads} threads in 32-bit Wine, of a {size(core)} core"
    return dump(bench, core, title)


def size(core: Core) -> str:
    return f"{core.path.stat().st_size / 1e9:.1f} GB"


def dump(bench: Bench, core: Core, title: str) -> Row:
    row = Row(title[0].upper() + title[1:])
    ours, theirs = bench.folder / "unspool.dmp", bench.folder / "core2md.dmp"
    command = Command(
        "unspool dump",
        [str(bench.base.unspool), "dump", "--quiet", "-o", str(ours), str(core.path)],
        bench.base.environment,
        good=(0, 1),
        prepare=partial(ours.unlink, missing_ok=True),
    )
    start = bench.start()
    peer, reason = core2md(bench, core, theirs)
    row.commands = [command, start, *([peer] if peer else [])]
    bench.runner.alternate(*row.commands)
    row.beyond(f"{title}: beyond the interpreter's own start", command, start, MORE_TIME)
    row.results.append(peak(f"peak memory of {title}", command, MOST_MEMORY))
    if peer:
        row.ratio("the same, beside core2md", command, peer, None)
    beside = f"core2md's {kilobytes(theirs)}" if peer else f"core2md: {reason}"
    row.results.append(Result(f"size of {title}", kilobytes(ours), beside))
    row.notes.append(f"the core has {stacks(bench, core.path)}")
    row.notes.append(f"unspool's minidump has {stacks(bench, ours)}")
    if peer:
        row.notes.append(f"core2md's, walked by unspool, has {stacks(bench, theirs)}")
    return row


def core2md(bench: Bench, core: Core, path: Path) -> tuple[Command | None, str]:
    """The command, or why there is none."""
    program = os.environ.get("UNSPOOL_CORE2MD") or shutil.which("core2md")
    if program is None:
        return None, "not available"
    folder = bench.folder / "procfs"
    script = Path(__file__).with_name("procfs.py")
    subprocess.run(
        [str(bench.base.python), str(script), str(core.path), str(folder)],
        env=bench.base.environment, check=True,
    )  # fmt: skip
    arguments = [program, str(core.path), str(folder), str(path)]
    path.unlink(missing_ok=True)
    done = subprocess.run(arguments, env=bench.plain, capture_output=True, check=False)
    if done.returncode:
        return None, "refuses this core"  # whose class is not its own
    return Command("core2md", arguments, bench.plain, prepare=partial(path.unlink, True)), ""


def kilobytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e3:,.0f} kB"


def stacks(bench: Bench, path: Path) -> str:
    """What unspool finds in a core or a minidump."""
    threads = bench.base.threads(path)
    frames = sum(len(thread["frames"]) for thread in threads)
    guessed = sum(f["trust"] == "scan" for thread in threads for f in thread["frames"])
    whole = sum(thread["stop"]["reason"] == "root" for thread in threads)
    return (
        f"{frames:,} frames, {guessed:,} of them guessed, "
        f"and {whole} of {len(threads)} stacks to their root"
    )


ROWS: dict[str, Callable[[Bench], Row]] = {
    "dump": big_core,
    "dump-wine": wine_core,
    "dump-wine-32": wine_32_bit,
}
