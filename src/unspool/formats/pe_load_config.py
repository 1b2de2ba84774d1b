"""What a 32-bit image says of its exception handlers: the load configuration directory, SafeSEH.

IMAGE_LOAD_CONFIG_DIRECTORY32 of Microsoft's "PE Format": SEHandlerTable is the address of
SEHandlerCount sorted RVAs, and no other function of the image is called as a handler.
"""

from __future__ import annotations

from struct import Struct

from unspool.errors import FormatError
from unspool.formats.pe import COM_DESCRIPTOR, LOAD_CONFIG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from unspool.formats.pe import Pe

    Reader = Callable[[int, int], bytes]

# mshtml.dll, as large as they come, has some 10,000 handlers.
MAX_HANDLERS = 1 << 17
_SIZE, _TABLE = Struct("<I"), Struct("<II")
_TABLE_OFFSET = 0x40
_COR20_FLAGS, _IL_ONLY = 16, 1


class HandlerTable:
    """SEHandlerTable: `address` as the directory has it, by the image's base, and `count`."""

    __slots__ = ("address", "count")

    def __init__(self, address: int, count: int) -> None:
        self.address = address
        self.count = count


def handler_table(pe: Pe, read: Reader) -> HandlerTable | None:
    """Where the table of handlers is, or None if the image has none: then all are allowed.

    `read` gives bytes at an RVA, and what it raises is let through. Raises `FormatError` if
    there are more handlers than any image has.
    """
    directory = pe.directory(LOAD_CONFIG)
    if directory is None or pe.is_64:
        return None
    # The directory entry's size is no size: Windows XP wants 64 there, whatever the structure
    # has (PE Format, "Load Configuration Structure"). The structure's own first field is.
    size = _SIZE.unpack(read(directory[0], _SIZE.size))[0]
    if size < _TABLE_OFFSET + _TABLE.size:
        return None
    address, count = _TABLE.unpack(read(directory[0] + _TABLE_OFFSET, _TABLE.size))
    if count > MAX_HANDLERS:
        raise FormatError("load configuration", f"{count:,} exception handlers are too many")
    return HandlerTable(address, count) if address and count else None


def is_il_only(pe: Pe, read: Reader) -> bool:
    """Whether an image has managed code alone (COMIMAGE_FLAGS_ILONLY): none of it is a handler."""
    directory = pe.directory(COM_DESCRIPTOR)
    if directory is None:
        return False
    flags: int = _SIZE.unpack(read(directory[0] + _COR20_FLAGS, _SIZE.size))[0]
    return flags & _IL_ONLY != 0
