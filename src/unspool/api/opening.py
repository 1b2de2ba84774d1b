"""Opens what there is: a core, a minidump, a report, a running process, the kernel's stream.

What a source is, is told by its content; only the code for its kind is loaded.
"""

from __future__ import annotations

import os

from unspool.errors import InputError
from unspool.model import Finding
from unspool.targets.base import Options, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from _typeshed import StrPath

    from unspool.targets.input.source import Source

# A report of that many frames takes as much.
MAX_REPORT = 1 << 30

_TRY = "give an ELF core or a minidump, plain or compressed, a report, or the id of a process"
_KINDS = {"text": "a text file, not a core"}


def open(
    source: StrPath | int,
    *,
    executable: StrPath | None = None,
    symbols: StrPath | Sequence[StrPath] = (),
    sysroot: StrPath | None = None,
    procfs: StrPath | None = None,
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
        from unspool.targets.live.target import open_live

        return open_live(source, options)
    from unspool.targets.input.source import open_source

    opened = open_source(os.fspath(source), progress)
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
    descriptor: int,
    pid: int,
    *,
    floating_point: bool = False,
    release: bool = False,
    system: bool = True,
) -> Target:
    """Opens a process that crashed, in the kernel's core handler.

    `descriptor` is where the kernel writes the core to, of which the notes alone are read; keep it
    open, since everything else is read from /proc as long as the kernel waits. `pid` is what
    core_pattern's %P says. `floating_point` keeps vector registers, for `dump`. `release` closes
    the descriptor after the notes, if another process holds the pipe meanwhile. Without `system`
    no facts of the machine are looked up (`TargetInfo.system`), which takes milliseconds.

    Raises `InputError` if no core comes there, or if there is no such process.
    """
    from unspool.targets.stream.target import open_stream

    options = Options(floating_point=floating_point)
    return open_stream(descriptor, pid, options, release=release, system=system)


def _open_dump(source: Source, kind: str, options: Options) -> Target:
    if kind == "minidump":
        from unspool.targets.minidump.target import MinidumpTarget

        return MinidumpTarget(source, options)
    from unspool.targets.core.target import CoreTarget

    return CoreTarget(source, options)


def _open_report(source: Source) -> Target:
    """A report that was made before: `unspool stack --format json`, here or elsewhere."""
    from unspool.render.json_reader import loads
    from unspool.targets.report import ReportTarget

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
