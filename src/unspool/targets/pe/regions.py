"""Memory of PE modules that a core does not hold: from the module's own file, where it can be.

Wine maps some sections from the file and copies others. A core can lack both: the kernel
leaves out what is mapped and unchanged, gcore does not even list it, a full disk cuts off all.
"""

from __future__ import annotations

from unspool.memory import Region

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from unspool.cursor import Buffer
    from unspool.formats.pe import Pe
    from unspool.memory import Loader
    from unspool.targets.pe.modules import MappedPe

    FindFile = Callable[[MappedPe], Pe | None]

_PAGE = 0x1000
_MOST_COPIED = 64 << 20
# The directory of base relocations; their type for a 32-bit address (PE Format).
_RELOCATIONS, _HIGHLOW = 5, 3


class UnlistedRegion(Region):
    """A mapping of a PE file that the core does not list, with the protection of its section.

    That is in the file's header, and a process has mapped hundreds of files: it is looked up
    when somebody asks whether there is code.
    """

    __slots__ = ("_is_code",)

    def __init__(
        self, start: int, end: int, load: Loader, is_code: Callable[[int], bool]
    ) -> None:
        super().__init__(start, end, load)
        self._is_code: Callable[[int], bool] | bool = is_code

    @property
    def executable(self) -> bool:
        if not isinstance(self._is_code, bool):
            self._is_code = self._is_code(self.start)
        return self._is_code

    @executable.setter
    def executable(self, value: bool) -> None:
        self._is_code = value


def is_code_of(entry: MappedPe, find_file: FindFile) -> Callable[[int], bool]:
    """Whether an address is in a section of code, by the module's headers."""

    def is_code(address: int) -> bool:
        pe = entry.headers or find_file(entry)
        section = pe.section_at(address - entry.module.base) if pe is not None else None
        return section is not None and section.executable

    return is_code


def code_loader(entry: MappedPe, start: int, end: int, find_file: FindFile) -> Loader:
    """A region loader for code that was copied into memory and is not in the core.

    Only code: constants are where the loader writes addresses of imported functions. 32-bit code
    that is not at its preferred address has been relocated, and is so here.
    """

    def load() -> tuple[Buffer, int, int] | None:
        pe = find_file(entry)
        base = entry.module.base
        section = pe.section_at(start - base) if pe is not None else None
        if pe is None or section is None or not section.executable or section.writable:
            return None
        located = pe.located(start - base)
        if located is None:
            return None
        buffer, at, stop = located
        size = min(stop - at, end - start)
        if base != pe.image_base and not pe.is_64:
            return relocated(pe, start - base, buffer[at : at + size], base - pe.image_base)
        return buffer, at, size

    return load


def relocated(pe: Pe, rva: int, code: Buffer, delta: int) -> tuple[Buffer, int, int] | None:
    """The bytes at an RVA as the loader leaves them, `delta` from where they were to be.

    None if there is too much of them, or no list of what to change.
    """
    from unspool.targets.pe.compare import relocations

    if len(code) > _MOST_COPIED or pe.directory(_RELOCATIONS) is None:
        return None
    copy = bytearray(code)
    low, high = rva & -_PAGE, rva + len(copy)
    for place, kind in relocations(pe, lambda page: low <= page < high):
        at = place - rva
        if kind == _HIGHLOW and 0 <= at <= len(copy) - 4:
            value = int.from_bytes(copy[at : at + 4], "little") + delta
            copy[at : at + 4] = (value & 0xFFFFFFFF).to_bytes(4, "little")
    return copy, 0, len(copy)
