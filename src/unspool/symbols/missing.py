"""What a report needs to be named and this machine does not have."""

from __future__ import annotations

from unspool.model import Finding, StopReason
from unspool.record import Record
from unspool.symbols.finders import checked_build_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.model import Location, Module, Report

# What a file of each kind is.
KINDS = {
    "debuginfo": "debug file",
    "executable": "program or library",
    "image": "program or DLL",
    "pdb": "PDB file",
    "wasm": "WebAssembly file",
}
_MOST_NAMES = 5


class MissingFile(Record):
    """A file that would say more of the code of a module.

    `kind` is one of `KINDS`; `name` the file's, `id` its build id, or the GUID and age, or time
    stamp and size as symbol stores write them; None if nothing identifies it. `purpose` is
    what it is needed for; `addresses` is how many different ones of the report are in it.
    `places` are paths below a directory given with --symbols where it would be found.
    """

    __slots__ = ("addresses", "id", "kind", "module", "name", "places", "purpose")

    def __init__(
        self, module: int, kind: str, name: str, id: str | None, *, purpose: str, addresses: int
    ) -> None:
        self.module = module
        self.kind = kind
        self.name = name
        self.id = id
        self.purpose = purpose
        self.addresses = addresses
        self.places = tuple(_places(kind, name, id))


def lacking_files(
    module: Module,
    lacking: Sequence[tuple[str, str, str | None]],
    found: Sequence[Location],
    lines: bool,
) -> list[MissingFile]:
    """The files, as (kind, name, id), that a module lacks; none if they say no more of these."""
    named = all(each.function is not None for each in found)
    if named and not lines:
        return []
    return [
        MissingFile(
            module.index, kind, name, identity,
            purpose=purpose(named, lines), addresses=len(found),
        )
        for kind, name, identity in lacking
    ]  # fmt: skip


def missing_finding(names: Sequence[str], detail: str, *, incomplete: bool) -> Finding:
    """Says that files of these modules are missing; the first few of them by name."""
    more = len(names) - _MOST_NAMES
    listed = ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
    title = f"not all is named: files are missing for {listed}"
    return Finding("missing_files", title, detail=detail, incomplete=incomplete)


def nameless(report: Report) -> list[Finding]:
    """Says for which modules' code there is no name because their files were not found.

    A stack that ends for the same reason says it by itself.
    """
    indices = {
        place.module
        for place in report.locations.values()
        if place.function is None and place.module is not None
    }
    stops = [each.stop for each in report.stacks]
    ends = [stop.detail for stop in stops if stop.reason == StopReason.NO_STRATEGY]
    names = [
        module.name
        for module in report.modules
        if module.index in indices
        and module.kind in ("elf", "pe")
        and module.file is None
        and module.debug_file is None
        and not any(module.name in detail for detail in ends)
    ]
    if not names:
        return []
    detail = "give them with --symbols or --sysroot"
    return [missing_finding(names, detail, incomplete=False)]


def unfit(report: Report, paths: Sequence[str]) -> list[Finding]:
    """Says which ELF files that the user named, each by itself, belong to no module.

    A debug file of another build would leave code without names in silence. Folders are
    looked through for what fits, and may hold anything.
    """
    from unspool.symbols.files import open_elf

    ids = {module.code_id for module in report.modules if module.kind == "elf"}
    if None in ids:
        return []  # it may be that one's
    findings = []
    told = [finding.title for finding in report.findings]
    for path in paths:
        if any(title.startswith(f"{path} is not ") for title in told):
            continue
        elf = open_elf(path)
        build_id = elf.build_id() if elf is not None else None
        if build_id is not None and build_id not in ids:
            title = f"{path} belongs to no module here: its build id is {build_id}"
            findings.append(Finding("debug_file_refused", title))
    return findings


def lacking_wasm(module: Module, found: Sequence[Location], lines: bool) -> list[MissingFile]:
    """The binary that a module was compiled from, if it could name something."""
    count = sum(each.function is None and each.wasm_function is not None for each in found)
    if not count:
        return []
    use = purpose(False, lines)
    return [MissingFile(module.index, "wasm", module.name, None, purpose=use, addresses=count)]


def _places(kind: str, name: str, id: str | None) -> list[str]:
    if not id or kind not in KINDS:
        return [name]
    if kind in ("pdb", "image"):
        return [f"{name}/{id}/{name}"]
    build_id = checked_build_id(id)
    if build_id is None or len(build_id) < 3:
        return [name]
    suffix = ".debug" if kind == "debuginfo" else ""
    return [
        f".build-id/{build_id[:2]}/{build_id[2:]}{suffix}",
        f"{build_id[:2]}/{build_id[2:]}/{kind}",
    ]


def purpose(named: bool, lines: bool) -> str:
    """What a file is needed for, where functions have names already or have none."""
    if not lines:
        return "functions"
    return "files and lines" if named else "functions, files and lines"
