"""The version resource of a PE image, as far as its fixed part goes: VS_FIXEDFILEINFO.

Resources are a tree of directories: by type, by name, by language (PE/COFF specification, "The
.rsrc Section"; winver.h).
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_DIRECTORY = Struct("<12xHH")
_ENTRY = Struct("<II")
_DATA = Struct("<II8x")
_RT_VERSION = 16
_SUBDIRECTORY = 1 << 31
_MAX_ENTRIES = 4096

# VS_VERSIONINFO: three numbers of two bytes and a name, then the fixed part.
_NAME = "VS_VERSION_INFO\0".encode("utf-16-le")
_NAME_AT, _FIXED_AT, _FIXED_SIZE = 6, 40, 52
_SIGNATURE = b"\xbd\x04\xef\xfe"


def fixed_file_info(
    read: Callable[[int, int], bytes], directory: tuple[int, int]
) -> bytes | None:
    """The 52 bytes of VS_FIXEDFILEINFO; None if the image has no version, or it cannot be read.

    `read` gives as many of a number of bytes at an RVA as there are, `directory` is the RVA and
    size of the resources.
    """
    base = directory[0]
    offset = _child(read, base, 0, _RT_VERSION)
    for _ in range(2):  # the first name, the first language
        if offset is None or not offset & _SUBDIRECTORY:
            return None
        offset = _child(read, base, offset & ~_SUBDIRECTORY, None)
    if offset is None or offset & _SUBDIRECTORY:
        return None
    data = read(base + offset, _DATA.size)
    if len(data) < _DATA.size:
        return None
    rva, size = _DATA.unpack(data)
    block = read(rva, min(size, _FIXED_AT + _FIXED_SIZE))
    fixed = block[_FIXED_AT:]
    named = block[_NAME_AT : _NAME_AT + len(_NAME)] == _NAME
    return fixed if named and len(fixed) == _FIXED_SIZE and fixed[:4] == _SIGNATURE else None


def _child(
    read: Callable[[int, int], bytes], base: int, offset: int, number: int | None
) -> int | None:
    """What an entry of a directory leads to: that of a number, else the first."""
    head = read(base + offset, _DIRECTORY.size)
    if len(head) < _DIRECTORY.size:
        return None
    count = min(sum(_DIRECTORY.unpack(head)), _MAX_ENTRIES)
    data = read(base + offset + _DIRECTORY.size, count * _ENTRY.size)
    for key, target in _ENTRY.iter_unpack(data[: len(data) // _ENTRY.size * _ENTRY.size]):
        if number is None or key == number:
            return int(target)
    return None
