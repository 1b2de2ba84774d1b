"""Rows of the table for Windows programs under Wine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial

from bench.measure import Command
from bench.rows import (
    DEPTH,
    THREADS,
    Bench,
    Row,
    lines_of_frames,
    microseconds,
    peak,
    stops,
)
from bench.wine import I386, X86_64, WineCore, WineWorkshop

# Frames of `recurse`; each depth is that of a dozen threads.
FEW, MANY = (5, 20), range(1, 21, 2)
MOST_MEMORY = 60


def wine_core(bench: Bench) -> Row:
    """A process of two dozen threads, with two kinds of core."""
    core = workshop(bench).core(X86_64, "gcore", FEW)
    kernel = workshop(bench).core(X86_64, "kernel", FEW)
    row = Row(f"{core.threads} threads in Wine, lines and inlined calls, warm cache")
    ours, plain = unspool(bench, core), unspool(bench, core, "--no-lines")
    ours_kernel, cold = unspool(bench, kernel), cold_cache(bench, core)
    peer, peer_kernel = gdb(bench, core), gdb(bench, kernel)
    ours.label += ", core by gcore"
    plain.label += " --no-lines, core by gcore"
    cold.label += ", core by gcore, cold cache"
    for command in (ours_kernel, peer_kernel):
        command.label += ", core by the kernel"
    bench.runner.alternate(ours, peer, ours_kernel, peer_kernel, plain, cold)
    row.commands = [ours, peer, ours_kernel, peer_kernel, plain, cold]
    gigabytes = core.path.stat().st_size / 1e9
    title = f"{core.threads} threads in Wine, a core of {gigabytes:.1f} GB, lines, warm cache"
    row.ratio(title, ours, peer, 0.5)
    row.ratio("the same, a core by the kernel", ours_kernel, peer_kernel, 0.5)
    row.results += [peak(f"peak memory of {each.label}", each, MOST_MEMORY)
                    for each in (ours, ours_kernel)]  # fmt: skip
    row.notes += [*answers(bench, core, peer), size(core), size(kernel)]
    return row


def many_threads(bench: Bench) -> Row:
    core = workshop(bench).core(X86_64, "gcore", MANY)
    row = Row(f"{core.threads} threads in Wine, lines and inlined calls, warm cache")
    ours, peer = unspool(bench, core), gdb(bench, core)
    bench.runner.alternate(ours, peer)
    row.commands = [ours, peer]
    row.ratio(f"{core.threads} threads in Wine, lines, warm cache", ours, peer, 0.5)
    row.results.append(peak(f"peak memory, {core.threads} threads in Wine", ours, MOST_MEMORY))
    row.notes += [*answers(bench, core, peer), size(core)]
    return row


def wine_32_bit(bench: Bench) -> Row:
    """gcore leaves out the base of fs there: TEBs have to be searched for."""
    core = workshop(bench).core(I386, "gcore", FEW)
    row = Row(f"{core.threads} threads in 32-bit Wine, a core by gcore, warm cache")
    ours, plain, peer = unspool(bench, core), unspool(bench, core, "--no-lines"), gdb(bench, core)
    plain.label += " --no-lines"
    bench.runner.alternate(ours, peer, plain)
    row.commands = [ours, peer, plain]
    row.ratio("the same in 32-bit Wine", ours, peer, None)
    row.results.append(peak("peak memory, 32-bit Wine", ours, MOST_MEMORY))
    row.notes += [*answers(bench, core, peer), size(core)]
    return row


def frames_of_pcs(bench: Bench) -> Row:
    row = Row("A frame of a known pc in Windows code, and of a new one")
    microseconds(bench, row, workshop(bench).deep_core(threads=4, depth=500), new=60)
    return row


def stop_of_a_live_process(bench: Bench) -> Row:
    row = Row(f"A live process of {THREADS} threads in Wine")
    with workshop(bench).spinning(THREADS, DEPTH) as spinner:
        # Not beside eu-stack, which lets each thread go as soon as it has lost its way.
        stops(bench, row, spinner, ("gdb",), " in Wine")
    return row


def workshop(bench: Bench) -> WineWorkshop:
    return WineWorkshop(bench.folder)


def unspool(bench: Bench, core: WineCore, *options: str) -> Command:
    return bench.unspool("unspool[all]", core, *options, extras=True)


def gdb(bench: Bench, core: WineCore) -> Command:
    return bench.gdb(core)


def cold_cache(bench: Bench, core: WineCore) -> Command:
    """unspool whose symcaches have to be made first, in every run."""
    command = unspool(bench, core)
    cache = bench.folder / "cold"
    command.environment = {**command.environment, "XDG_CACHE_HOME": str(cache)}
    command.prepare = partial(shutil.rmtree, cache, ignore_errors=True)
    return command


def answers(bench: Bench, core: WineCore, peer: Command) -> list[str]:
    """What both have found of the stacks."""
    threads = bench.full.threads(core.path)
    frames = sum(len(thread["frames"]) for thread in threads)
    whole = sum(thread["stop"]["reason"] == "root" for thread in threads)
    broken = peer.output.count("Backtrace stopped")
    return [
        f"unspool shows {frames:,} frames, {whole} of {len(threads)} stacks to their root",
        f"gdb shows {lines_of_frames(peer):,}, and says of {broken} stacks that they are broken",
    ]


def size(core: WineCore) -> str:
    status = core.path.stat()
    return (
        f"the core by {core.maker}: {status.st_size / 1e6:,.0f} MB, "
        f"of which {status.st_blocks * 512 / 1e6:,.0f} MB are not holes"
    )


ROWS: dict[str, Callable[[Bench], Row]] = {
    "wine": wine_core,
    "wine-many": many_threads,
    "wine-32": wine_32_bit,
    "wine-frames": frames_of_pcs,
    "wine-live": stop_of_a_live_process,
}
