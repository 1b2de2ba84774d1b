"""Where functions of a PE module lie that Wine's kernel side starts by their names."""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.image import Image
from unspool.unwind.strategies.dwarf_cfi import find_fde

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.model import Module
    from unspool.pe_image import PeImage
    from unspool.space import AddressSpace

# All that Wine's Unix side starts on a Windows stack, by their exported names.
STARTED = ("KiUserCallbackDispatcher", "KiUserExceptionDispatcher", "KiUserApcDispatcher")
# Of a function that neither unwind data nor the next export ends.
_LONGEST = 0x400


class Functions:
    """Some exported functions of a module, found when the first address is asked for."""

    def __init__(self, space: AddressSpace, module: Module | None, names: Sequence[str]) -> None:
        self.space = space
        self.module = module
        self.names = names
        self._ranges: list[tuple[int, int, str]] | None = None

    def at(self, address: int) -> str | None:
        """The name of the function that an address is in; None if it is none of them."""
        module = self.module
        if module is None or not module.base <= address < module.end:
            return None
        if self._ranges is None:
            self._ranges = self._find(module)
        for start, end, name in self._ranges:
            if start <= address < end:
                return name
        return None

    def _find(self, module: Module) -> list[tuple[int, int, str]]:
        image = self.space.image(module)
        if image is None or isinstance(image, Image):
            return []
        found = []
        for name in self.names:
            rva = image.export(name)
            if rva is not None:
                found.append((module.base + rva, module.base + _end(image, rva), name))
        return found


def _end(image: PeImage, rva: int) -> int:
    """The RVA behind a function: by its unwind data, else where the next export is."""
    table = image.function_table()
    covering = table.find(rva) if table is not None else None
    if covering is not None:
        return covering.end
    preferred = image.headers.image_base
    try:
        found = find_fde(image, rva + preferred)
    except FormatError:
        found = None
    if found is not None:
        return found[1].end - preferred
    later = [each.rva for each in image.exports() if each.rva > rva]
    return min([rva + _LONGEST, *later])
