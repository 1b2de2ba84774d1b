"""Finds a PE module's own file on this machine and makes sure that it is the mapped one.

PE files carry no build id that all linkers write. The header's link time, size, checksum,
entry point and section table together are as good as one; a core of the kernel lacks even
those where a file is mapped as it is, and then all that remains is compared: what the
loader says, where sections are mapped from, and code bytes that the dump holds.
"""

from __future__ import annotations

from unspool.symbols.files import under_sysroot
from unspool.symbols.pe_files import open_pe
from unspool.targets.module_files import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.formats.notes import FileMapping
    from unspool.formats.pe import Pe
    from unspool.memory import Memory
    from unspool.targets.base import Options

_DELETED = " (deleted)"


class WantedPe:
    """What is known of a PE module before its file is found.

    `path` is the mapped file's, empty if none is mapped; `windows_path`, `size` and `entry`
    (an RVA) are what the loader says, if it says anything. `headers` are those in memory.
    """

    __slots__ = (
        "base", "entry", "headers", "is_program", "mappings", "name", "path", "size",
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
            code_id = wanted.headers.code_id if wanted.headers else None
            yield from options.symbols.pe_candidates(wanted.name, code_id)

    def _here(self, path: str) -> Iterator[str]:
        """A path of the target on this machine."""
        if self.options.sysroot:
            inside = under_sysroot(self.options.sysroot, path)
            if inside:
                yield inside
        elif path.startswith("/"):
            yield path

    def objection(self, wanted: WantedPe, pe: Pe) -> str | None:
        """Why `pe` cannot be the module's file, in words; None if nothing speaks against it."""
        return None
