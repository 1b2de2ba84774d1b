"""The Windows loader's list of modules, which the process environment block (PEB) leads to.

It names modules whose headers no mapping shows, and says how large each is. The structures
are Windows's own (ntdll's LDR_DATA_TABLE_ENTRY), and Wine fills them for its programs' sake.
"""

from __future__ import annotations

from struct import Struct

from unspool.memory import Fault
from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.memory import Memory

# The largest programs load some hundreds.
_MAX_ENTRIES = 10_000
# Of all names together, in bytes: a hostile list gives the same 64 KiB to every entry.
_MAX_NAMES = 8 << 20


class _Layout:
    """Where the fields are, by the size of a pointer (Wine's include/winternl.h)."""

    def __init__(self, word: int) -> None:
        self.word = word
        self.ldr = 3 * word  # PEB.LdrData
        self.image_base = 2 * word  # PEB.ImageBaseAddress
        self.head = 0x10 if word == 8 else 0xC  # PEB_LDR_DATA.InLoadOrderModuleList
        # LDR_DATA_TABLE_ENTRY: the link in this list, two other lists' links; DllBase,
        # EntryPoint, SizeOfImage; FullDllName and BaseDllName as UNICODE_STRING (length,
        # room, buffer); flags, counts, the hash table's links; TimeDateStamp.
        if word == 8:
            self.entry = Struct("<Q40xQQI4x" + "H6xQ" * 2 + "24xI")
        else:
            self.entry = Struct("<I20xIII" + "H2xI" * 2 + "16xI")


_LAYOUTS = {word: _Layout(word) for word in (4, 8)}


class LoaderEntry(Record):
    """A module as the loader knows it: `size` bytes at `base`.

    `entry_point` is an address, 0 if there is none. `full_name` is the Windows path, empty
    if it cannot be read; `base_name` its last part as the loader wrote it. `timestamp` is that
    of the image's header, 0 if the loader did not note it.
    """

    __slots__ = ("base", "base_name", "entry_point", "full_name", "size", "timestamp")

    def __init__(
        self,
        base: int,
        size: int,
        entry_point: int = 0,
        full_name: str = "",
        base_name: str = "",
        timestamp: int = 0,
    ) -> None:
        self.base = base
        self.size = size
        self.entry_point = entry_point
        self.full_name = full_name
        self.base_name = base_name
        self.timestamp = timestamp


def image_base(memory: Memory, peb: int, word: int) -> int | None:
    """The base of the program's module, by the PEB; None if that cannot be read."""
    return memory.maybe_uint(peb + _LAYOUTS[word].image_base, word) or None


def read(memory: Memory, peb: int, word: int) -> tuple[list[LoaderEntry], str | None]:
    """The modules in the order of loading, the program first, and why the list was left.

    `word` is the size of the list's pointers: a WoW64 process has two PEBs, each with its own
    list. The reason is None if the list came back to its head.
    """
    layout = _LAYOUTS[word]
    entries: list[LoaderEntry] = []
    try:
        ldr = memory.read_uint(peb + layout.ldr, word)
        if not ldr:
            return entries, "the loader has not started"
        head = ldr + layout.head
        at = memory.read_uint(head, word)
        names = _Names(memory)
        seen = {head}
        while at not in seen:
            if len(entries) >= _MAX_ENTRIES:
                return entries, f"more than {_MAX_ENTRIES:,} modules"
            seen.add(at)
            fields = layout.entry.unpack(memory.read(at, layout.entry.size))
            at, base, entry_point, size = fields[:4]
            if base and size:
                full_name, base_name = names.read(*fields[4:6]), names.read(*fields[6:8])
                entry = LoaderEntry(base, size, entry_point, full_name, base_name, fields[8])
                entries.append(entry)
    except Fault as fault:
        return entries, f"the list leads to {fault}, which is not in memory"
    return entries, None if at == head else "the list leads back into itself"


class _Names:
    """Reads UNICODE_STRINGs of one list."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.left = _MAX_NAMES

    def read(self, size: int, address: int) -> str:
        """`size` bytes of UTF-16 at `address`, or nothing if they cannot be had."""
        size &= ~1
        if not size or size > self.left:
            return ""
        self.left -= size
        raw = self.memory.read_available(address, size)
        return raw.decode("utf-16-le", "replace").partition("\0")[0] if len(raw) == size else ""
