"""The rows of the table: what is run against what, and the goal."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bench.cores import Core, Unavailable, Workshop
from bench.install import Installation, NotInstalled
from bench.measure import Command, Runner, plain_environment
from bench.stopped import Spinner, measure_stops, spinning

THREADS, DEPTH = 129, 21  # 25 to 26 frames a thread, the C library's included


@dataclass
class Result:
    """A line of the table of goals. `ok` is None where there is no goal, or nothing to judge."""

    title: str
    measured: str
    goal: str = ""
    ok: bool | None = None


@dataclass
class Row:
    """One comparison: its results, and the runs they come from."""

    title: str
    results: list[Result] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def ratio(self, title: str, ours: Command, peer: Command, limit: float | None) -> None:
        ratio = ours.wall / peer.wall
        measured = f"{'< ' if peer.cut_off else ''}{ratio:.2f} × {peer.label}"
        if limit is None:
            self.results.append(Result(title, measured, "for information"))
        else:
            self.results.append(Result(title, measured, f"≤ {limit} ×", ratio <= limit))

    def beyond(self, title: str, ours: Command, start: Command, limit: int) -> None:
        """How many milliseconds more something takes than a start of the interpreter."""
        more, least, cpu = (
            1000 * (mine - other)
            for mine, other in (
                (ours.wall, start.wall), (ours.best, start.best), (ours.cpu, start.cpu)
            )
        )  # fmt: skip
        words = f"{more:.0f} ms (of the fastest runs {least:.0f} ms, of CPU time {cpu:.0f} ms)"
        self.results.append(Result(title, words, f"≤ {limit} ms", more <= limit))


class Bench:
    """What the rows share: installations, cores, the peers' command lines."""

    def __init__(self, folder: Path, runs: int) -> None:
        self.folder = folder
        self.workshop = Workshop(folder)
        self.runner = Runner(self.workshop.measure, folder, runs)
        self.plain = plain_environment()

    @cached_property
    def base(self) -> Installation:
        """The package alone: names of functions come from the symbol tables."""
        return Installation(self.folder / "base", "")

    @cached_property
    def full(self) -> Installation:
        """With all extras: lines and inlined calls, compressed cores."""
        try:
            return Installation(self.folder / "full", "all")
        except NotInstalled as error:
            raise Unavailable(f"the extras cannot be installed: {error}") from None

    def unspool(self, label: str, core: Core, *options: str, extras: bool = False) -> Command:
        where = self.full if extras else self.base
        arguments = [str(where.unspool), "stack", *options, str(core.path)]
        return Command(label, arguments, where.environment, good=(0, 1))

    def start(self, *, extras: bool = False) -> Command:
        where = self.full if extras else self.base
        return Command("python -c pass", [str(where.python), "-c", "pass"], where.environment)

    def eu_stack(self, core: Core) -> Command:
        tool = needed("eu-stack")
        arguments = [tool, "-n", "0", "-e", str(core.program), "--core", str(core.path)]
        return Command("eu-stack", arguments, self.plain)

    def gdb(self, core: Core) -> Command:
        options = ["-batch", "-nx", "-ex", "thread apply all bt"]
        arguments = [needed("gdb"), *options, str(core.program), str(core.path)]
        return Command("gdb", arguments, self.plain)


def needed(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        raise Unavailable(f"{tool} is not installed")
    return path


def lines_of_frames(command: Command) -> int:
    """How many frames a peer has printed."""
    return sum(line.startswith("#") for line in command.output.splitlines())


def frames(bench: Bench, core: Core) -> int:
    """How many frames unspool finds."""
    return sum(len(thread["frames"]) for thread in bench.base.threads(core.path))


def names_of_many_threads(bench: Bench) -> Row:
    core = bench.workshop.core(THREADS, DEPTH)
    few = bench.workshop.core(THREADS, DEPTH, few=True)
    text, document = bench.unspool("unspool", core), bench.unspool("JSON", core, "--format=json")
    small = bench.unspool("unspool, few functions", few)
    peer, small_peer = bench.eu_stack(core), bench.eu_stack(few)
    small_peer.label = "eu-stack, few functions"
    bench.runner.alternate(text, peer, document, small, small_peer)
    row = Row(f"{THREADS} threads, names of functions")
    row.commands = [text, document, peer, small, small_peer]
    row.ratio("129 threads, function names", text, peer, 0.25)
    row.ratio("the same of a program with few functions", small, small_peer, 0.25)
    row.notes.append(
        f"{frames(bench, core):,} frames found by unspool, {lines_of_frames(peer):,} by eu-stack"
    )
    return row


def lines_of_many_threads(bench: Bench) -> Row:
    core = bench.workshop.core(THREADS, DEPTH)
    text, peer = bench.unspool("unspool[all]", core, extras=True), bench.gdb(core)
    bench.runner.alternate(text, peer)
    row = Row(f"{THREADS} threads, lines and inlined calls, warm cache", commands=[text, peer])
    row.ratio("129 threads, file, line, inlined calls, warm cache", text, peer, 0.25)
    inlined = peer.output.count(" in descend ") + peer.output.count("  descend (")
    row.notes.append(f"gdb prints {lines_of_frames(peer):,} frames, {inlined:,} of them inlined")
    ours = text.output.count(" descend ")
    row.notes.append(f"unspool prints {ours:,} inlined calls of descend()")
    return row


def one_thread(bench: Bench) -> Row:
    core = bench.workshop.core(1, 10)
    text, start = bench.unspool("unspool", core), bench.start()
    gdb, eu_stack = bench.gdb(core), bench.eu_stack(core)
    bench.runner.alternate(text, start, gdb, eu_stack)
    row = Row("One thread, small core, names of functions", commands=[text, start, gdb, eu_stack])
    row.ratio("one thread, small core", text, gdb, 0.3)
    row.beyond("the same, beyond the interpreter's own start", text, start, 30)
    return row


def many_threads(bench: Bench) -> Row:
    row = Row("Very many threads")
    less, more = bench.workshop.core(1_000, 5), bench.workshop.core(10_000, 5)
    fewer = bench.unspool("unspool, 1,000 threads", less)
    text = bench.unspool("unspool, 10,000 threads", more)
    document = bench.unspool("JSON, 10,000 threads", more, "--format=json")
    small, peer = bench.eu_stack(less), bench.eu_stack(more)
    small.label, peer.label = "eu-stack, 1,000 threads", "eu-stack, 10,000 threads"
    start = bench.start()
    bench.runner.alternate(text, fewer, start, small, document, peer)
    row.commands = [fewer, text, document, start, small, peer]
    row.ratio("10,000 threads", text, peer, 0.25)
    row.ratio("1,000 threads", fewer, small, 0.25)
    linear(row, "1,000 to 10,000 threads", fewer, text, start, 10)
    return row


def deep_stacks(bench: Bench) -> Row:
    row = Row("Very deep stacks")
    depths = {depth: bench.workshop.core(1, depth) for depth in (10_000, 100_000, 500_000)}
    ours = {
        depth: bench.unspool(f"unspool, {depth:,} frames", core) for depth, core in depths.items()
    }
    document = bench.unspool("JSON, 500,000 frames", depths[500_000], "--format=json")
    small, deep = bench.eu_stack(depths[10_000]), bench.eu_stack(depths[500_000])
    small.label, deep.label = "eu-stack, 10,000 frames", "eu-stack, 500,000 frames"
    start = bench.start()
    bench.runner.alternate(*ours.values(), start, small, deep, document)
    row.commands = [*ours.values(), document, start, small, deep]
    row.ratio("500,000 frames in one stack", ours[500_000], deep, 0.25)
    row.ratio("10,000 frames in one stack", ours[10_000], small, 0.25)
    linear(row, "100,000 to 500,000 frames", ours[100_000], ours[500_000], start, 5)
    if deep.cut_off:
        row.notes.append(
            f"eu-stack was ended after {deep.wall:.0f} s: its time grows with the square of depth"
        )
    return row


def linear(row: Row, title: str, less: Command, more: Command, start: Command, factor: int) -> None:
    """Whether `factor` times the work takes about as many times as long."""
    growth = (more.wall - start.wall) / (less.wall - start.wall)
    goal = f"≤ {1.25 * factor:g} × (linear: {factor} ×)"
    row.results.append(Result(title, f"{growth:.1f} × as long", goal, growth <= 1.25 * factor))


def big_cores(bench: Bench) -> Row:
    row = Row("2 GB of memory beside 2 MB, the same threads")
    big = bench.unspool("unspool, 2 GB", bench.workshop.core(THREADS, DEPTH, 2048))
    small = bench.unspool("unspool, 2 MB", bench.workshop.core(THREADS, DEPTH, 2))
    bench.runner.alternate(big, small)
    row.commands = [big, small]
    row.ratio("a 2 GB core", big, small, 1.1)
    for command in (big, small):
        row.results.append(peak(f"peak memory of {command.label}", command))
    return row


def compressed_cores(bench: Bench) -> Row:
    row = Row("2 GB of memory, most of it zero, compressed")
    core = bench.workshop.core(THREADS, DEPTH, 2048, zero=True)
    packed = bench.workshop.compressed(core)
    command = bench.unspool("unspool[all], 2 GB .zst", packed, extras=True)
    test = [needed("zstd"), "-q", "-t", str(packed.path)]
    zstd = Command("zstd -t (unpacks, writes nothing)", test, bench.plain)
    bench.runner.alternate(command, zstd)
    row.commands = [command, zstd]
    row.results.append(peak("peak memory of a 2 GB .zst core", command))
    sizes = [path.stat().st_size / 2**20 for path in (packed.path, core.path)]
    row.notes.append(
        f"{sizes[0]:.1f} MB compressed, {sizes[1]:,.0f} MB unpacked, 255 of 256 pages are zero"
    )
    return row


def peak(title: str, command: Command, limit: int = 45) -> Result:
    return Result(title, f"{command.peak:.0f} MB", f"≤ {limit} MB", command.peak <= limit)


def frames_of_pcs(bench: Bench) -> Row:
    row = Row("A frame of a known pc, and of a new one")
    microseconds(bench, row, bench.workshop.core(THREADS, DEPTH), new=40)
    return row


def microseconds(bench: Bench, row: Row, core: Core, *, new: int) -> None:
    """Inside one process of the installed package (micro.py). `new` is the aim for a new pc."""
    script = Path(__file__).with_name("micro.py")
    done = subprocess.run(
        [str(bench.base.python), str(script), str(core.path)],
        env=bench.base.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Unavailable(done.stderr.strip()[-500:])
    for title, aim, key in (
        ("a frame of a known pc", 2, "known"),
        ("a frame of a new pc (its row is looked up)", new, "new"),
    ):
        measured = json.loads(done.stdout)[key]
        for what, values in measured.items():
            words = f"{values['median']:.1f} µs (fastest of {values['runs']}: {values['best']:.1f})"
            ok = values["median"] <= aim
            row.results.append(Result(f"{title}: {what}", words, f"aim: {aim} µs", ok))
    row.notes.append("in one process, CPU time; not the time of whole commands")


def stop_of_a_live_process(bench: Bench) -> Row:
    row = Row(f"A live process of {THREADS} threads")
    with spinning(bench.workshop.spinner(), THREADS, DEPTH) as spinner:
        stops(bench, row, spinner, ("eu-stack", "gdb"))
    return row


def stops(bench: Bench, row: Row, spinner: Spinner, peers: Sequence[str], where: str = "") -> None:
    """How long unspool holds a process, beside how long the peers do."""
    commands = {
        "unspool": [str(bench.base.unspool), "stack", "{pid}"],
        "eu-stack": [needed("eu-stack"), "-n", "0", "-p", "{pid}"],
        "gdb": [needed("gdb"), "-batch", "-nx", "-ex", "thread apply all bt", "-p", "{pid}"],
    }
    tools = {name: commands[name] for name in ("unspool", *peers)}
    measured = measure_stops(spinner, tools, bench.base.environment, bench.runner.runs)
    ours = measured["unspool"]
    title = f"time a live process{where} is stopped"
    for name in peers:
        ratio = ours.whole / measured[name].whole
        row.results.append(Result(title, f"{ratio:.3f} × {name}", "≤ 0.1 ×", ratio <= 0.1))
    row.notes += [f"{name}: {stop.words()}" for name, stop in measured.items()]


ROWS: dict[str, Callable[[Bench], Row]] = {
    "names": names_of_many_threads,
    "lines": lines_of_many_threads,
    "small": one_thread,
    "threads": many_threads,
    "deep": deep_stacks,
    "big": big_cores,
    "compressed": compressed_cores,
    "frames": frames_of_pcs,
    "live": stop_of_a_live_process,
}
