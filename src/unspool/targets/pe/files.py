"""Finds a PE module's own file on this machine, wherever the names that it has may lead.

A module has a Linux path where its file is mapped, and a Windows path in the loader's list.
"""

from __future__ import annotations

import os

from unspool.symbols.files import under_sysroot
from unspool.symbols.pe.files import open_pe
from unspool.targets.module_files import Refusal
from unspool.targets.pe.compare import objection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from unspool.formats.notes import FileMapping
    from unspool.formats.pe import Pe
    from unspool.memory import Memory
    from unspool.targets.base import Options

_DELETED = " (deleted)"
_DRIVE_C = "/drive_c/"


class WantedPe:
    """What is known of a PE module before its file is found.

    `path` is the mapped file's, empty if none is mapped; `windows_path`, `size`, `entry` (an
    RVA) and `timestamp` are what the loader says, if it says anything. `headers` are those in
    memory.
    """

    __slots__ = (
        "base", "entry", "headers", "is_program", "mappings", "name", "path", "size", "timestamp",
        "windows_path",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        path: str,
        windows_path: str,
        *,
        base: int,
        headers: Pe | None,
        mappings: Sequence[FileMapping],
        is_program: bool,
        size: int | None,
        entry: int | None,
        timestamp: int = 0,
    ) -> None:
        self.name = name
        self.path = path
        self.windows_path = windows_path
        self.base = base
        self.headers = headers
        self.mappings = mappings
        self.is_program = is_program
        self.size = size
        self.entry = entry
        self.timestamp = timestamp

    @property
    def code_id(self) -> str | None:
        """`Pe.code_id`, by what is known."""
        if self.headers is not None:
            return self.headers.code_id
        if self.timestamp and self.size:
            return f"{self.timestamp:08X}{self.size:x}"
        return None


class PeFiles:
    """Finds files by path and name; `held` is the memory that the dump itself holds.

    `prefix` is the directory of the Wine prefix, if one is known.
    """

    def __init__(self, options: Options, held: Memory, prefix: str | None) -> None:
        self.options = options
        self.held = held
        self.prefix = prefix

    def find(self, wanted: WantedPe) -> tuple[str, Pe] | list[Refusal]:
        """The path and PE of the module's file, or why every candidate was refused."""
        refusals = []
        seen = set()
        for path in self.candidates(wanted):
            if path in seen:
                continue
            seen.add(path)
            pe = open_pe(path)
            if pe is None:
                continue
            why = self.objection(wanted, pe)
            if why is None:
                return path, pe
            refusals.append(Refusal(path, why))
        return refusals

    def candidates(self, wanted: WantedPe) -> Iterator[str]:
        """Paths that may lead to the module's file, the likeliest first."""
        options = self.options
        if wanted.is_program and options.executable:
            yield options.executable
        path = wanted.path.removesuffix(_DELETED)
        if path:
            yield from self._here(path)
        if options.symbols.paths:
            yield from options.symbols.pe_candidates(wanted.name, wanted.code_id)
        if not path and wanted.windows_path:
            yield from self._by_windows_path(wanted.windows_path)

    def _here(self, path: str) -> Iterator[str]:
        """A path of the target on this machine."""
        if self.options.sysroot:
            inside = under_sysroot(self.options.sysroot, path)
            if inside:
                yield inside
        elif path.startswith("/"):
            yield path

    def _by_windows_path(self, windows_path: str) -> Iterator[str]:
        """Files that a Windows path may lead to, whatever the case of its letters."""
        path = linux_path(windows_path, self.prefix)
        for each in self._here(path) if path else ():
            found = any_case(each)
            sysroot = self.options.sysroot
            if found and sysroot:
                # A link in another case of letters could lead out of it.
                root = os.path.realpath(sysroot).rstrip("/")
                if not os.path.realpath(found).startswith(root + "/"):
                    continue
            if found:
                yield found

    def objection(self, wanted: WantedPe, pe: Pe) -> str | None:
        """Why `pe` cannot be the module's file, in words; None if nothing speaks against it."""
        return objection(wanted, pe, self.held)


def prefix_of(paths: Iterable[str]) -> str | None:
    """The Wine prefix that files are mapped from: what its drive C lies in."""
    for path in paths:
        root, found, _ = path.partition(_DRIVE_C)
        if found:
            return root
    return None


def linux_path(windows_path: str, prefix: str | None) -> str | None:
    r"""Where Wine looks for a file: `/opt/a.dll` for `Z:\opt\a.dll`; None if nothing tells.

    Drive Z is the root unless somebody has changed it; C and others are what the links in the
    prefix's `dosdevices` say.
    """
    path = windows_path.replace("\\", "/")
    for start in ("//?/unix/", "/??/unix/"):
        if path.startswith(start):
            return "/" + path[len(start) :]
    path = path.removeprefix("/??/").removeprefix("//?/")
    drive, rest = path[:2].lower(), path[2:]
    if "\0" in path or not rest.startswith("/") or not ("a:" <= drive <= "z:"):
        return None
    if prefix is None:
        return rest if drive == "z:" else None
    if drive == "c:":
        return f"{prefix}/drive_c{rest}"
    try:
        root = os.readlink(f"{prefix}/dosdevices/{drive}")
    except (OSError, ValueError):
        return rest if drive == "z:" else None
    return os.path.join(prefix, "dosdevices", root) + rest


def any_case(path: str) -> str | None:
    """The file at `path`, or at one that differs from it in the case of letters alone."""
    if os.path.isfile(path):
        return path
    found = "/"
    for part in path.split("/"):
        if part in ("", "."):
            continue
        step = os.path.join(found, part)
        if not os.path.lexists(step):
            try:
                names = os.listdir(found)
            except OSError:
                return None
            same = [name for name in names if name.lower() == part.lower()]
            if not same:
                return None
            step = os.path.join(found, min(same))
        found = step
    return found if os.path.isfile(found) else None
