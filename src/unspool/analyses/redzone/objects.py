"""What relocatable objects say of their code: unwind data, files and lines.

Theirs count from the beginning of each section; `formats.elf_object` puts sections at addresses
of their own. Kernel modules keep debug information in a file of its own (Debian's -dbg packages),
which is relocatable as well.
"""

from __future__ import annotations

from unspool.analyses.redzone.units import cfa_finder
from unspool.errors import FormatError
from unspool.formats.elf_object import linked
from unspool.image import Image
from unspool.memory import Memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from unspool.arch.base import Arch
    from unspool.formats.elf import Elf
    from unspool.symbols.finders import DebugFile
    from unspool.symbols.native import NativeLines


class ObjectFile:
    """A relocatable object, linked for its own sake. `problems` say what cannot be read of it."""

    def __init__(self, elf: Elf, arch: Arch) -> None:
        self.elf = elf
        self.arch = arch
        self.problems: list[str] = []
        self._placed: tuple[Elf, list[int]] | None = None
        try:
            self._placed = linked(elf)
        except FormatError as error:
            self.problems.append(f"neither unwind data nor lines: {error}")

    def cfa_at(self, section: int) -> Callable[[int], tuple[str, int] | None] | None:
        """What call frame information says of code of a section."""
        if self._placed is None:
            return None
        placed, addresses = self._placed
        base = addresses[section]
        find = cfa_finder(Image(Memory(), 0, file=placed), self.arch)
        return lambda address: find(address + base)

    def lines(self, debug: DebugFile | None) -> tuple[NativeLines, dict[int, int]] | None:
        """Look-ups, and the address of each section there by its index here.

        Of the object itself, or of its debug file; None if neither has debug information.
        """
        from unspool.symbols import native
        from unspool.symbols.finders import has_dwarf

        placed = self._placed
        if not has_dwarf(self.elf):
            if debug is None or not has_dwarf(debug.elf):
                return None
            try:
                placed = linked(debug.elf)
            except FormatError as error:
                self.problems.append(f"{debug.path}: {error}")
                return None
        if placed is None:
            return None
        found = native.open_object(placed[0], self.problems)
        return (found, _same_sections(self.elf, *placed)) if found is not None else None


def has_split_dwarf(elf: Elf) -> bool:
    """Whether its debug information is in .dwo files or a .dwp, by its first unit.

    DWARF 5 has a skeleton of a unit then (DW_UT_skeleton, 4). Before, .debug_addr was GNU's
    extension for that alone.
    """
    info = elf.section(".debug_info")
    if info is None:
        return False
    try:
        buffer, start, _ = elf.section_data(info)
        head = bytes(buffer[start : start + 15])
    except FormatError:
        return False
    wide = 8 if head[:4] == b"\xff" * 4 else 0
    version = int.from_bytes(head[4 + wide : 6 + wide], "little")
    if version < 5:
        return elf.section(".debug_addr") is not None
    return head[6 + wide : 7 + wide] == b"\x04"


def _same_sections(elf: Elf, other: Elf, addresses: list[int]) -> dict[int, int]:
    """Sections of one name and size; of several, those in the same place among them."""
    places: dict[tuple[str, int], list[int]] = {}
    for section, address in zip(other.sections(), addresses, strict=True):
        if address:
            places.setdefault((section.name, section.size), []).append(address)
    found = {}
    for index, section in enumerate(elf.sections()):
        candidates = places.get((section.name, section.size))
        if candidates:
            found[index] = candidates.pop(0)
    return found
