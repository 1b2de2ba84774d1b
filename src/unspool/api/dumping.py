"""Keeps a target as a minidump that can be walked later, and elsewhere."""

from __future__ import annotations

import os

from unspool.api.walking import unwind
from unspool.errors import InputError
from unspool.targets.report import need_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _typeshed import StrPath

    from unspool.model import Report
    from unspool.targets.base import Target
    from unspool.write.minidump import Written


def dump(
    target: Target,
    path: StrPath,
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
    from unspool.analyses.fibers.keep import keep_fibers
    from unspool.analyses.locks.keep import lock_words
    from unspool.write.minidump import write_minidump

    reads = target.record_reads()
    report = unwind(target, symbols=False)
    fibers = keep_fibers(target)
    kept, more = target.kept_reads(), lock_words(target, report, reads)
    more.pieces += kept + fibers.pieces
    more.stacks += fibers.stacks
    written = write_minidump(
        target, report.stacks, reads, os.fspath(path),
        stack_bytes=stack_bytes, sanitize=sanitize, environ=environ, tables=tables, more=more,
    )  # fmt: skip
    return report, written
