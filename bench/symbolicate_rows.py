"""Rows of the table for `unspool symbolicate`: a report that is named elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from bench.measure import Command
from bench.rows import DEPTH, THREADS, Bench, Result, Row, peak

LIMIT, MOST_MEMORY = 0.25, 60  # of gdb's time; megabytes


def many_threads(bench: Bench) -> Row:
    """A report without names, made of a core whose program is then found by its build id."""
    core = bench.workshop.core(THREADS, DEPTH)
    where = bench.full
    report = bench.folder / "report.json"
    report.write_bytes(where.report(core.path, "--no-symbols"))
    name = [str(where.unspool), "symbolicate", str(report)]
    text = Command("unspool symbolicate", name, where.environment, good=(0, 1))
    document = Command("JSON", [*name, "--format=json"], where.environment, good=(0, 1))
    lacking = Command("--missing", [*name, "--missing"], where.environment, good=(0, 1))
    start, peer = bench.start(extras=True), bench.gdb(core)
    bench.runner.alternate(text, document, lacking, start, peer)
    title = f"naming a report of {THREADS} threads, warm cache"
    row = Row(title[0].upper() + title[1:], commands=[text, document, lacking, start, peer])
    row.ratio(f"{title}, beside gdb on the core", text, peer, LIMIT)
    more = 1000 * (text.wall - start.wall)
    row.results.append(
        Result(f"{title}: beyond the interpreter's own start", f"{more:.0f} ms", "for information")
    )
    row.results.append(peak(f"peak memory of {title}", text, MOST_MEMORY))
    row.notes.append(f"the report has {report.stat().st_size / 1e3:,.0f} kB")
    return row


ROWS: dict[str, Callable[[Bench], Row]] = {"symbolicate": many_threads}
