"""The façade: open a target, unwind it. Read this first.

import unspool
with unspool.open("core.1234") as target:
    report = unspool.unwind(target)
"""

from __future__ import annotations

from unspool.errors import InputError, UsageError
from unspool.model import Finding, Report, Stack
from unspool.targets.base import Options, Target
from unspool.targets.report import ReportTarget, need_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from unspool.analyses.layout import Layout
    from unspool.analyses.locks.records import LockReport
    from unspool.analyses.patch import PatchCheck
    from unspool.analyses.redzone import ThreadZone
    from unspool.analyses.seh.records import Seh
    from unspool.model import Thread
    from unspool.symbols.missing import MissingFile
    from unspool.targets.source import Source
    from unspool.unwind.step import Stepper
    from unspool.write.minidump import Written

# A report of that many frames takes as much.
MAX_REPORT = 1 << 30

# All threads' frames together: some 500 MB of memory, and six full 8 MB stacks of the
# smallest frames there are.
MAX_TOTAL_FRAMES = 3_000_000


def open(
    source: str | int,
    *,
    executable: str | None = None,
    symbols: Sequence[str] = (),
    sysroot: str | None = None,
    procfs: str | None = None,
    floating_point: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Target:
    """Opens a core, a minidump or a report (a path, "-" is standard input), or a process (its id).

    What the source is, is told by its content. `executable` is the crashed program where it
    is not where the core says; `symbols` are directories or files with programs, libraries
    and debug files; `sysroot` is a copy of the target's file system. `procfs` is a directory
    with files of /proc/PID that were kept of a core's process, and `floating_point` has a running
    process's vector registers kept as well: both are for `dump`. `progress` is called with a
    number of bytes from time to time while a compressed core is read.

    Raises `InputError` if the source cannot be read, with a hint what to try.
    """
    options = Options(
        executable=executable, symbols=symbols, sysroot=sysroot, procfs=procfs,
        floating_point=floating_point, progress=progress,
    )  # fmt: skip
    if isinstance(source, int):
        from unspool.targets.live import open_live

        return open_live(source, options)
    from unspool.targets.source import open_source

    opened = open_source(source, progress)
    kind = opened.kind
    if kind in ("elf", "minidump"):
        try:
            return _open_dump(opened, kind, options)
        except BaseException:
            opened.close()
            raise
    if kind == "json":
        with opened:
            return _open_report(opened)
    opened.close()
    what = _KINDS.get(kind, "neither a core nor anything else known")
    raise InputError(f"{opened.name}: {what}", _TRY)


def open_stream(
    descriptor: int, pid: int, *, floating_point: bool = False, release: bool = False
) -> Target:
    """Opens a process that crashed, in the kernel's core handler.

    `descriptor` is where the kernel writes the core to, of which the notes alone are read; keep it
    open, since everything else is read from /proc as long as the kernel waits. `pid` is what
    core_pattern's %P says. `floating_point` keeps vector registers, for `dump`. `release` closes
    the descriptor after the notes, if another process holds the pipe meanwhile.

    Raises `InputError` if no core comes there, or if there is no such process.
    """
    from unspool.targets.stream import open_stream

    options = Options(floating_point=floating_point)
    return open_stream(descriptor, pid, options, release=release)


def _open_dump(source: Source, kind: str, options: Options) -> Target:
    if kind == "minidump":
        from unspool.targets.minidump import MinidumpTarget

        return MinidumpTarget(source, options)
    from unspool.targets.core import CoreTarget

    return CoreTarget(source, options)


def _open_report(source: Source) -> Target:
    """A report that was made before: `unspool stack --format json`, here or elsewhere."""
    from unspool.render.json_reader import loads

    if source.size > MAX_REPORT:
        raise InputError(f"{source.name}: a report of {source.size:,} bytes is too large")
    try:
        report = loads(source.buffer[:])
    except InputError as error:
        # Whatever is wrong with the JSON, it ends where the compressed data do.
        what = source.truncated or error.message
        raise InputError(f"{source.name}: {what}", error.hint) from None
    if source.truncated:
        report.findings.append(Finding("truncated", source.truncated, incomplete=True))
    return ReportTarget(report)


_TRY = "give an ELF core or a minidump, plain or compressed, a report, or the id of a process"
_KINDS = {"text": "a text file, not a core"}


def unwind(
    target: Target,
    *,
    threads: str | int = "all",
    max_frames: int = 0,
    explain: bool = False,
    symbols: bool = True,
    lines: bool = True,
) -> Report:
    """Walks the target's threads and names their frames.

    `threads` is "all", "crashed", a thread id, or an index as "#3". `max_frames` of 0 is all
    frames. `explain` keeps for every frame what was tried to find its caller. Without
    `symbols` frames have addresses and modules alone; without `lines` they have the names
    of symbol tables, but no files, lines and inlined calls.

    Raises `UsageError` if there is no such thread; never for what the target holds.
    """
    if isinstance(target, ReportTarget):
        wanted = {thread.index for thread in select_threads(target, threads)}
        return target.report.with_stacks(wanted)
    from unspool.unwind.strategies.order import default_stepper

    stepper = default_stepper(target.space, target.wine, lambda: target.generated)
    stacks = list(_walks(stepper, select_threads(target, threads), max_frames, explain))
    report = Report(
        target.info, target.modules, stacks, crash=target.crash, findings=list(target.findings)
    )
    from unspool.symbols.symbolicate import locate, symbolicate

    if not symbols:
        return locate(report)
    if target.wine is not None:
        from unspool.analyses.windows_exceptions import windows_exceptions
        from unspool.symbols.symbolicate import name_ranges

        known = [each for strategy in stepper.early for each in strategy.named_code()]
        report.locations.update(name_ranges(report, known))
        report.findings += windows_exceptions(report)
    if lines and target.crash is not None and target.crash.access is None:
        from unspool.targets.fault import access_of

        # Decoding one instruction costs the import of a decoder: it goes with the lines.
        target.crash.access = access_of(target.crash, target.threads, target.space)
    return symbolicate(
        report, target.elf, target.options,
        pe_of=target.pe, code_names=target.code_names, lines=lines,
    )  # fmt: skip


def stacks(
    target: Target, threads: Sequence[Thread] | None = None, *, max_frames: int = 0
) -> Iterator[Stack]:
    """Walks threads one by one, the crashed one first, for who may have to stop in between.

    Without `threads` all of the target's; `max_frames` counts for all of them together.
    """
    from unspool.unwind.strategies.order import default_stepper

    wanted = target.threads if threads is None else threads
    wanted = sorted(wanted, key=lambda thread: not thread.crashed)
    stepper = default_stepper(target.space, target.wine, lambda: target.generated)
    yield from _walks(stepper, wanted, max_frames, False)


def _walks(
    stepper: Stepper, threads: Iterable[Thread], max_frames: int, explain: bool
) -> Iterator[Stack]:
    from unspool.unwind.walk import walk

    room = MAX_TOTAL_FRAMES
    for thread in threads:
        limit = min(max_frames or room, room)
        stack = walk(stepper, thread, max(limit, 1), explain)
        room -= len(stack.frames)
        yield stack


def locks(targets: Sequence[tuple[Target, Report]]) -> LockReport:
    """Who waits for whom in these processes together: locks, holders, and cycles of waits.

    Each target comes with what `unwind` made of all its threads. Running processes should be
    opened one right after the other; a wait whose thread has gone on since is left out.

    Raises `InputError` if a target is a report, which holds no memory.
    """
    from unspool.analyses.locks.survey import survey

    for target, _ in targets:
        need_memory(target)
    return survey(targets)


def layout(target: Target) -> Layout:
    """What is where in the target's address space, and what its rules say of it.

    Raises `InputError` if the target is a report, which holds no memory.
    """
    from unspool.analyses.layout import layout as lay_out

    need_memory(target)
    return lay_out(target, stacks(target))


def seh(target: Target, *, threads: str | int = "all") -> Seh:
    """The i386 exception chains of threads, chosen as in `unwind`, with every system's verdict.

    Raises `InputError` if the target is a report, which holds no memory.
    """
    from unspool.analyses.seh import seh as read_chains

    need_memory(target)
    wanted = select_threads(target, threads)
    return read_chains(target, unwind(target, threads=threads), threads=wanted)


def redzone(target: Target) -> list[ThreadZone]:
    """What lies below each thread's stack pointer. Of files: `analyses.redzone.file_uses`.

    Raises `InputError` if the target is a report.
    """
    from unspool.analyses.redzone import thread_zones

    need_memory(target)
    return list(thread_zones(target))


def patch_check(
    target: Target,
    functions: Sequence[str] = (),
    *,
    old: str | None = None,
    new: str | None = None,
    inlined: bool = True,
) -> PatchCheck:
    """Whether functions can be replaced now: names, MODULE!NAME or 0x1000-0x1040.

    `old` and `new` are files of two builds, whose functions that differ are checked as well.
    Without `inlined` no copies of functions are looked for.

    Raises `InputError` if the target is a report, or runs no such build; `UsageError` for what is
    neither a name nor a range.
    """
    from unspool.analyses.patch.between import check_functions

    need_memory(target)
    report = unwind(target, symbols=False)
    return check_functions(target, report, functions, old=old, new=new, inlined=inlined)


def analyse(target: Target, report: Report, names: Sequence[str]) -> list[Finding]:
    """Adds what analyses find to the findings of what `unwind` made, and gives what was added.

    `names` are those of `unspool.analyses.registry`: "locks", "seh", "layout", "redzone",
    "patch-check=FUNCTION", or "all" that need no function and concern such a target. Threads,
    frames and names that the report lacks are found again.

    Raises `InputError` if the target is a report, `UsageError` if there is no such analysis.
    """
    from unspool.analyses import registry

    registry.chosen(names)
    need_memory(target)
    whole = report if registry.is_whole(target, report) else unwind(target)
    found = registry.analyse(target, whole, names)
    report.findings += found
    return found


def symbolicate(
    report: Report,
    *,
    symbols: Sequence[str] = (),
    sysroot: str | None = None,
    lines: bool = True,
    online: bool = False,
    progress: Callable[[str], None] | None = None,
    log: Callable[[str], None] | None = None,
) -> tuple[Report, list[MissingFile]]:
    """Names a report that was made elsewhere, and says which files it lacks for that.

    Nothing is needed of the process: files are found by build id, by GUID and age, by time
    stamp and size. What the report says already is kept where nothing better is found.
    `symbols`, `sysroot` and `lines` are as in `open` and `unwind`. With `online` what is missing
    is downloaded from the servers that the environment names, see docs/symbolicate.md.
    `progress` is called with a sentence while something takes long, `log` with lines that
    DEBUGINFOD_PROGRESS and DEBUGINFOD_VERBOSE ask for, from other threads too.

    Raises `MissingDependency` if `online` is asked for and its library is not installed; never
    for what the report or a file holds, or a server does.
    """
    from unspool.symbols.elsewhere import name_elsewhere

    fetcher = None
    if online:
        from unspool.symbols.online.fetch import Fetcher

        fetcher = Fetcher(progress=progress, log=log)
    named, missing = name_elsewhere(
        report, lambda: Options(symbols=symbols, sysroot=sysroot), lines=lines,
        fetch=fetcher, progress=progress,
    )  # fmt: skip
    if not any(each.kind == "windows_exception" for each in named.findings):
        from unspool.analyses.windows_exceptions import windows_exceptions

        named.findings += windows_exceptions(named)
    return named, missing


def dump(
    target: Target,
    path: str,
    *,
    stack_bytes: int = 0,
    sanitize: bool = False,
    environ: bool = False,
    tables: str = "missing",
) -> tuple[Report, Written]:
    """Writes a minidump with every stack of every thread; gives the walked stacks and its facts.

    The file appears whole or not at all. `stack_bytes` bounds what is saved of each stack, 0 does
    not. `sanitize` blanks all data but pointers into modules and stacks and the words of locks, and
    leaves out vector registers, arguments and environment; `environ` keeps the latter two.
    `tables`: unwind tables of modules in the stacks whose files are "missing" here, "all", "none".

    Raises `InputError` if the file cannot be written, or if the target is a report, which holds
    no memory.
    """
    need_memory(target)
    if target.info.os != "linux":
        raise InputError(
            f"{target.info.path or 'the target'}: a minidump of {target.info.os}",
            "what is written here is of Linux; unspool stack and unspool inspect read this one",
        )
    from unspool.analyses.locks.keep import lock_words
    from unspool.write.minidump import write_minidump

    reads = target.record_reads()
    report = unwind(target, symbols=False)
    kept, more = target.kept_reads(), lock_words(target, report, reads)
    more.pieces += kept
    written = write_minidump(
        target, report.stacks, reads, path,
        stack_bytes=stack_bytes, sanitize=sanitize, environ=environ, tables=tables, more=more,
    )  # fmt: skip
    return report, written


def select_threads(target: Target, wanted: str | int) -> list[Thread]:
    """The threads that `--thread` means; a number is a thread id if there is one, else an index."""
    text = str(wanted)
    if text == "all":
        return target.threads
    if text == "crashed":
        found = [thread for thread in target.threads if thread.crashed]
        if not found:
            raise UsageError("no thread of this target crashed", "try --thread all")
        return found
    number = text.removeprefix("#")
    if not number.isdecimal():
        raise UsageError(f"--thread {text}: no thread", "give a thread id, #INDEX, crashed or all")
    value = int(number)
    by_tid = [thread for thread in target.threads if thread.tid == value and text == number]
    found = by_tid or [thread for thread in target.threads if thread.index == value]
    if not found:
        raise UsageError(f"no thread {text} in this target", "unspool lists all without --thread")
    return found
