"""PE files of a running process: the mapped file itself, else one that agrees with it."""

from __future__ import annotations

from unspool.symbols.pe.files import open_pe
from unspool.targets.pe.files import PeFiles, WantedPe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.formats.pe import Pe
    from unspool.memory import Memory
    from unspool.targets.base import Options
    from unspool.targets.live.modules import MappedPaths
    from unspool.targets.module_files import Refusal


class LivePeFiles(PeFiles):
    """Finds the file of a mapping by its inode first."""

    def __init__(
        self, options: Options, now: Memory, prefix: str | None, paths: MappedPaths
    ) -> None:
        super().__init__(options, now, prefix)
        self.paths = paths

    def find(self, wanted: WantedPe) -> tuple[str, Pe] | list[Refusal]:
        for path in self._same(wanted):
            pe = open_pe(path)
            if pe is not None and self.objection(wanted, pe) is None:
                return path, pe
        return super().find(wanted)

    def _same(self, wanted: WantedPe) -> Iterator[str]:
        if wanted.mappings:
            yield from self.paths.same(wanted.path, wanted.mappings[0], is_program=False)

    def candidates(self, wanted: WantedPe) -> Iterator[str]:
        if wanted.mappings:
            yield from self.paths.candidates(wanted.path, wanted.mappings[0], is_program=False)
        yield from super().candidates(wanted)
