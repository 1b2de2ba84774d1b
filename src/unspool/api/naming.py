"""Names a report away from the machine that it was made on."""

from __future__ import annotations

from unspool.targets.base import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from _typeshed import StrPath

    from unspool.model import Report
    from unspool.symbols.missing import MissingFile


def symbolicate(
    report: Report,
    *,
    symbols: StrPath | Sequence[StrPath] = (),
    sysroot: StrPath | None = None,
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
