"""`python -m bench`: measures, prints the table, writes it into README.md."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import table
from bench.capture_rows import ROWS as CRASHES
from bench.cores import Unavailable
from bench.install import ROOT, NotInstalled
from bench.lock_rows import ROWS as LOCKS
from bench.measure import RUNS, Failed
from bench.minidump_rows import ROWS as MINIDUMPS
from bench.rows import ROWS as NATIVE
from bench.rows import Bench, Row
from bench.symbolicate_rows import ROWS as NAMES
from bench.wasm_rows import ROWS as WASM
from bench.wine_rows import ROWS as WINE

ROWS = {**NATIVE, **WINE, **MINIDUMPS, **NAMES, **CRASHES, **LOCKS, **WASM}


def main() -> int:
    options = arguments()
    load = os.getloadavg()[0]
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    try:
        with working_folder(options.folder) as folder:
            bench = Bench(folder, options.runs)
            for name in options.rows or ROWS:
                progress(f"{name} …")
                try:
                    rows.append(ROWS[name](bench))
                except (Unavailable, Failed) as reason:
                    skipped[name] = str(reason)
    except (Unavailable, NotInstalled) as reason:
        progress(f"nothing can be measured here: {reason}")
        return 1
    text = "\n".join(table.lines(rows, skipped, load))
    print(text)
    if not options.rows and not skipped:
        table.write(text)
        # The README at the top quotes the table.
        subprocess.run([sys.executable, str(ROOT / "tools" / "docs.py")], check=True)
    else:
        progress("README.md is left as it is: not every row was measured")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], help="the rows to measure (all)")
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each command (%(default)s)")
    parser.add_argument("--folder", type=Path, help="keep programs, cores and installations here")
    return parser.parse_args()


@contextmanager
def working_folder(kept: Path | None) -> Iterator[Path]:
    """A folder for 5 GB of cores, which goes away unless the user named it."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="unspool-bench-") as folder:
        yield Path(folder)


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
