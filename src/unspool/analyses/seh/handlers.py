"""Is a function allowed as an exception handler? What its image and its page say.

The order of questions is that of ntdll's RtlIsValidHandler since Windows XP SP2 (Sotirov and
Dowd, "Bypassing Browser Memory Protections", 2008, section on SafeSEH): no handlers at all
(IMAGE_DLLCHARACTERISTICS_NO_SEH), the SafeSEH table, managed code; then whether the page is
executable, and whether the handler is in an image.
"""

from __future__ import annotations

from struct import iter_unpack

from unspool.errors import FormatError
from unspool.formats.pe import DLLCHARACTERISTICS_NO_SEH, MACHINE_I386
from unspool.formats.pe_load_config import handler_table, is_il_only
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.formats.pe_load_config import HandlerTable
    from unspool.model import Module
    from unspool.pe_image import PeImage
    from unspool.targets.base import Target


class Table:
    """What an image says of its handlers."""

    LISTED = "listed"
    NOT_LISTED = "not_listed"
    NONE = "no_table"
    NO_SEH = "no_seh"
    IL_ONLY = "il_only"
    NOT_X86 = "not_x86"
    UNKNOWN = "unknown"

    ALLOWED = (LISTED, NONE)


class Handlers:
    """The images of a target and their handlers; each is read once."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._tables: dict[int, str | frozenset[int]] = {}

    def module_of(self, handler: int) -> Module | None:
        """The Windows image that a handler is in."""
        module = self.target.space.module_at(handler)
        return module if module is not None and module.kind == "pe" else None

    def table(self, module: Module, handler: int) -> str:
        """A `Table`: whether the module's image allows the handler."""
        known = self._tables.get(module.index)
        if known is None:
            image = self.target.pe(module)
            known = Table.UNKNOWN if image is None else _rules_of(image)
            self._tables[module.index] = known
        if isinstance(known, str):
            return known
        return Table.LISTED if handler - module.base in known else Table.NOT_LISTED

    def executable(self, module: Module | None, handler: int) -> bool | None:
        """Whether the handler's page is executable, None if that is not known."""
        region = self.target.space.memory.region(handler)
        if self.target.info.kind != "minidump" and region is not None:
            return region.executable
        # A minidump without a list of mappings takes whole modules for code: headers know.
        image = self.target.pe(module) if module is not None else None
        section = image.headers.section_at(handler - image.base) if image is not None else None
        if section is not None:
            return section.executable
        if region is not None:
            return region.executable
        return None


def _rules_of(image: PeImage) -> str | frozenset[int]:
    """The RVAs of the handlers that an image lists, or a `Table` for all of its functions."""
    headers = image.headers
    if headers.machine != MACHINE_I386:
        return Table.NOT_X86
    if headers.dll_characteristics & DLLCHARACTERISTICS_NO_SEH:
        return Table.NO_SEH
    try:
        table = handler_table(headers, image.read)
        if table is not None:
            return _listed(image, table)
        return Table.IL_ONLY if is_il_only(headers, image.read) else Table.NONE
    except (Fault, FormatError):
        return Table.UNKNOWN


def _listed(image: PeImage, table: HandlerTable) -> frozenset[int]:
    """The table's RVAs. Its address is relocated in memory, and in the file it is not."""
    size = image.headers.size_of_image
    preferred = (image.file or image.headers).image_base
    problem: Exception = FormatError("load configuration", "its handlers lie outside of the image")
    for base in dict.fromkeys((image.base, preferred)):
        rva = table.address - base
        if 0 < rva < size:
            try:
                data = image.read(rva, 4 * table.count)
            except Fault as fault:
                problem = fault
                continue
            return frozenset(value for (value,) in iter_unpack("<I", data))
    raise problem
