"""Names a report on a machine that has never seen its process, in as many rounds as it takes.

Files are found first; what is missing may be downloaded into the places where files are found,
and then all of it is done again: what a downloaded DLL says its PDB file is called is only known
then.
"""

from __future__ import annotations

from unspool.model import Finding, Module, Report
from unspool.symbols.missing import missing_finding
from unspool.symbols.own_files import OwnFiles
from unspool.symbols.symbolicate import symbolicate
from unspool.symbols.wasm.names import WasmElsewhere

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from unspool.symbols.finders import SearchOptions
    from unspool.symbols.missing import MissingFile

    class Fetch(Protocol):
        """What downloads files."""

        @property
        def findings(self) -> list[Finding]:
            """What a person should know of it."""
            ...

        def fetch(self, missing: Sequence[MissingFile]) -> bool:
            """Downloads what it can, and says whether there is anything new."""
            ...


_MAX_ROUNDS = 4
# What naming said the last time is not true of this time.
_STALE = ("missing_files", "download", "no_lines", "mangled", "debug_file_refused",
          "wasm_file_refused")  # fmt: skip


def name_elsewhere(
    report: Report,
    new_options: Callable[[], SearchOptions],
    *,
    lines: bool = True,
    fetch: Fetch | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Report, list[MissingFile]]:
    """The report with names, and the files that it lacks. See `api.symbolicate`.

    `new_options` gives where to look, afresh for each round: what was found is remembered there.
    """
    findings = [each for each in report.findings if each.kind not in _STALE]
    for _ in range(_MAX_ROUNDS):
        missing: list[MissingFile] = []
        options = new_options()
        fresh = Report(
            report.target, [_copy(module) for module in report.modules], report.stacks,
            crash=report.crash, locations=report.locations, findings=list(findings),
        )  # fmt: skip
        wasm = WasmElsewhere(fresh, options.symbols)
        named = symbolicate(
            fresh, OwnFiles(options).find, options, code_names=wasm.names,
            lines=lines, progress=progress, missing=missing,
        )  # fmt: skip
        if fetch is None or not missing or not fetch.fetch(missing):
            break
    missing.sort(key=lambda each: (-each.addresses, each.module))
    named.findings += _store_problems(options) + wasm.findings
    if fetch is not None:
        named.findings += fetch.findings
    if missing:
        named.findings.append(_missing_finding(missing))
    return named, missing


def _missing_finding(missing: Sequence[MissingFile]) -> Finding:
    modules = {each.module: each.name for each in missing}
    detail = "unspool symbolicate --missing lists them, with their ids"
    return missing_finding(list(modules.values()), detail, incomplete=True)


def _store_problems(options: SearchOptions) -> list[Finding]:
    from unspool.symbols.files import SymbolPaths

    symbols = options.symbols
    problems = symbols.problems() if isinstance(symbols, SymbolPaths) else []
    return [Finding("debug_file_refused", f"{path}: {why}") for path, why in problems]


def _copy(module: Module) -> Module:
    """`module.file` is about to be found, and must not be what it was on another machine."""
    copy = module.copy()
    copy.file = None
    return copy
