"""The CodeView record of an image: which PDB file belongs to it, and the ids made of that.

LLVM's "PDB File Format" describes the GUID and the age; PE files and minidumps hold the record.
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_RSDS = Struct("<4s16sI")
_GUID = Struct("<IHH")
# IMAGE_DEBUG_DIRECTORY: type, size and RVA of the data.
_DEBUG_ENTRY = Struct("<12xIII4x")
_TYPE_CODEVIEW = 2
_MAX_ENTRIES = 64
_MAX_RECORD = 4096


class CodeView:
    """The PDB file that a linker wrote with the image: an RSDS record of the debug directory.

    `path` is the file's name as written, empty where the linker only left an id (GNU ld's
    `--build-id`); `guid` its 16 bytes.
    """

    __slots__ = ("age", "guid", "path")

    def __init__(self, path: str, guid: bytes, age: int) -> None:
        self.path = path
        self.guid = guid
        self.age = age

    @property
    def name(self) -> str:
        """The last part of `path`."""
        return self.path.replace("\\", "/").rpartition("/")[2]

    @property
    def debug_id(self) -> str:
        """`3249d99d-0c40-4931-8610-f4e4fb0b6936-1`; the age is left out if it is 0."""
        digits = _guid_digits(self.guid)
        parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
        return "-".join(parts) + (f"-{self.age:x}" if self.age else "")

    @property
    def store_id(self) -> str:
        """The folder of the PDB in a symbol store: `3249D99D0C4049318610F4E4FB0B69361`."""
        return f"{_guid_digits(self.guid).upper()}{self.age:x}"


def parse_codeview(record: bytes) -> CodeView | None:
    """The record if it is of the form RSDS; None for NB10 (of the last century), and if cut."""
    if len(record) <= _RSDS.size or record[:4] != b"RSDS":
        return None
    _, guid, age = _RSDS.unpack_from(record)
    path = record[_RSDS.size :].partition(b"\0")[0].decode("utf-8", "replace")
    return CodeView(path, guid, age)


def find_codeview(
    read: Callable[[int, int], bytes], directory: tuple[int, int]
) -> CodeView | None:
    """The first record of the form RSDS in an image in memory, by its debug directory.

    `read` gives as many of a number of bytes at an RVA as there are.
    """
    rva, size = directory
    data = read(rva, min(size, _MAX_ENTRIES * _DEBUG_ENTRY.size))
    whole = len(data) - len(data) % _DEBUG_ENTRY.size
    for kind, size, rva in _DEBUG_ENTRY.iter_unpack(data[:whole]):
        if kind == _TYPE_CODEVIEW and rva:
            found = parse_codeview(read(rva, min(size, _MAX_RECORD)))
            if found is not None:
                return found
    return None


def _guid_digits(guid: bytes) -> str:
    """A GUID's hex digits: its first three fields are integers, the rest are bytes."""
    first, second, third = _GUID.unpack_from(guid)
    return f"{first:08x}{second:04x}{third:04x}{guid[8:16].hex()}"
