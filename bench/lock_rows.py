"""A row of the table for `unspool locks`: a ring of a thousand threads."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable

from bench.cores import ROOT, compile_program
from bench.measure import Command, Failed
from bench.rows import Bench, Result, Row, needed

RING, MOST_SECONDS = 1000, 2.0


def ring_of_threads(bench: Bench) -> Row:
    folder = bench.folder
    program = compile_program("locks", folder, ROOT / "tests" / "programs" / "locks.c")
    process = subprocess.Popen([str(program), "ring", str(RING)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        live = command(bench, "a running process", str(process.pid))
        bench.runner.alternate(live)
        made = subprocess.run(
            [needed("gcore"), "-o", str(folder / "ring"), str(process.pid)],
            capture_output=True, check=False,
        )  # fmt: skip
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    path = folder / f"ring.{process.pid}"
    if not path.exists():
        raise Failed(f"gcore wrote no core: {made.stderr.decode(errors='replace')[-200:]}")
    core = command(bench, "a core", str(path))
    bench.runner.alternate(core)
    row = Row(f"Who waits for whom, a ring of {RING:,} threads", commands=[live, core])
    for each in (live, core):
        if "1 deadlock" not in each.output:
            raise Failed(f"unspool locks found no deadlock: {each.output[:200]}")
        title = f"deadlock of {RING:,} threads in {each.label}"
        fast = each.wall <= MOST_SECONDS
        row.results.append(Result(title, f"{each.wall:.2f} s", f"≤ {MOST_SECONDS:.0f} s", fast))
    path.unlink()
    return row


def command(bench: Bench, label: str, target: str) -> Command:
    where = bench.base
    return Command(label, [str(where.unspool), "locks", target], where.environment, good=(0, 1))


ROWS: dict[str, Callable[[Bench], Row]] = {"locks": ring_of_threads}
