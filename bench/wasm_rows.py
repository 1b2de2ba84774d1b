"""A row of the table for WebAssembly: a thread with 10,000 frames of it, in a host in Python."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.programs.build import Unavailable as Absent
from tests.wasm.hosts import host

from bench.cores import Unavailable
from bench.measure import Failed
from bench.rows import Bench, Result, Row, needed

DEPTH, AIM = 10_000, 3


def frames_of_wasm(bench: Bench) -> Row:
    gcore = needed("gcore")
    try:
        with host() as running:
            running.ask(f"deep 1 {DEPTH - 1}")
            path = bench.folder / f"wasm.{running.pid}"
            command = [gcore, "-o", str(bench.folder / "wasm"), str(running.pid)]
            subprocess.run(command, capture_output=True, check=False)
    except Absent as reason:
        raise Unavailable(str(reason)) from None
    if not path.exists():
        raise Failed("gcore wrote no core")
    done = subprocess.run(
        [str(bench.base.python), str(Path(__file__).with_name("wasm_micro.py")), str(path)],
        env=bench.base.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    path.unlink()
    if done.returncode:
        raise Failed(done.stderr.strip()[-500:])
    measured = json.loads(done.stdout)
    if measured["wasm"] != DEPTH:
        raise Failed(f"{measured['wasm']:,} frames of WebAssembly instead of {DEPTH:,}")
    row = Row(f"{DEPTH:,} Wasm frames, warm")
    for title, key in (("a whole walk", "walk"), ("the library's walk alone", "library")):
        values = measured[key]
        words = f"{values['median']:.1f} µs (fastest of {values['runs']}: {values['best']:.1f})"
        fast = values["median"] <= AIM
        row.results.append(Result(f"a Wasm frame, {title}", words, f"≤ {AIM} µs", fast))
    row.notes.append("in one process, CPU time; the image, its tables and names have been read")
    return row


ROWS: dict[str, Callable[[Bench], Row]] = {"wasm": frames_of_wasm}
