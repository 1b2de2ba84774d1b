"""The dynamic linker's own list of what it loaded: `r_debug` and its `link_map` chain.

For cores without NT_FILE (Linux before 3.7, qemu-user, some tools): it names libraries
and gives their biases. (System V ABI, chapter 5; <link.h>.)
"""

from __future__ import annotations

from struct import Struct, error

from unspool.formats.elf import PT_DYNAMIC, PT_PHDR, Elf
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.memory import Memory

DT_NULL, DT_DEBUG = 0, 21
_MAX_HEADERS = 1000
_MAX_DYNAMIC = 4096
_MAX_LIBRARIES = 10_000
_MAX_PATH = 4096


class LinkMapEntry:
    """One loaded object: its bias, its name ("" for the program), its dynamic section."""

    __slots__ = ("bias", "dynamic", "name")

    def __init__(self, bias: int, name: str, dynamic: int) -> None:
        self.bias = bias
        self.name = name
        self.dynamic = dynamic


class Linker:
    """`r_debug`: its version, the function that the linker calls after a change, its base.

    `dynamic` is the address of the program's dynamic section and `section` its bytes.
    """

    __slots__ = ("base", "breakpoint", "dynamic", "entries", "section", "version")

    def __init__(
        self,
        version: int,
        breakpoint: int,
        base: int,
        dynamic: int,
        section: bytes,
        entries: Sequence[LinkMapEntry],
    ) -> None:
        self.version = version
        self.breakpoint = breakpoint
        self.base = base
        self.dynamic = dynamic
        self.section = section
        self.entries = entries


def program_bias(memory: Memory, phdr: int, count: int, executable: Elf | None) -> int | None:
    """The program's bias from AT_PHDR: where its program headers are against where they say."""
    for header in _headers_in_memory(memory, phdr, count, executable):
        if header[0] == PT_PHDR:
            return phdr - header[1]
    if executable is not None:
        # Static programs have no PT_PHDR: the table's file offset leads through a segment.
        for program_header in executable.program_headers():
            delta = executable.phoff - program_header.offset
            if program_header.type == 1 and 0 <= delta < program_header.filesz:
                return phdr - (program_header.vaddr + delta)
    return None


def read_link_map(
    memory: Memory, phdr: int, count: int, word: int, executable: Elf | None
) -> list[LinkMapEntry]:
    """The chain as far as it can be read; empty for static programs and broken cores."""
    address = r_debug_address(memory, phdr, count, word, executable)
    try:
        return _chain(memory, address, word)
    except (Fault, error):
        return []


def r_debug_address(
    memory: Memory, phdr: int, count: int, word: int, executable: Elf | None
) -> int:
    """Where `r_debug` is, as DT_DEBUG of the program says; 0 if it does not."""
    bias = program_bias(memory, phdr, count, executable)
    if bias is None:
        return 0
    for kind, vaddr in _headers_in_memory(memory, phdr, count, executable):
        if kind == PT_DYNAMIC:
            return _r_debug(memory, bias + vaddr, word)
    return 0


def read_linker(memory: Memory, address: int, word: int) -> Linker | None:
    """The structure at an address, and the chain that it heads; None if it cannot be read."""
    layout = Struct("<i4xQQi4xQ" if word == 8 else "<iIIiI")
    try:
        version, _, breakpoint, _, base = layout.unpack(memory.read(address, layout.size))
        entries = _chain(memory, address, word)
    except Fault:
        return None
    # It is zero until the linker has started, and 1 or (glibc since 2.35, dlmopen) 2.
    if not entries or not 0 < version < 100:
        return None
    dynamic = entries[0].dynamic
    return Linker(
        version, breakpoint, base, dynamic, _dynamic_section(memory, dynamic, word), entries
    )


def _headers_in_memory(
    memory: Memory, phdr: int, count: int, executable: Elf | None
) -> list[tuple[int, int]]:
    """(type, vaddr) of the program's headers, from its memory or else its file."""
    if executable is not None:
        return [(header.type, header.vaddr) for header in executable.program_headers()]
    count = min(count, _MAX_HEADERS)  # AT_PHNUM can claim anything
    return _parse_headers(memory.read_available(phdr, count * 56), count)


def _parse_headers(data: bytes, count: int) -> list[tuple[int, int]]:
    """64-bit headers have p_flags second, so p_type and p_vaddr tell the classes apart."""
    wide = Struct("<IIQQ")
    narrow = Struct("<IIII")
    result = []
    for index in range(count):
        if (index + 1) * 56 <= len(data):
            kind, flags, _offset, vaddr = wide.unpack_from(data, index * 56)
            if index == 0 and flags > 7:
                break
            result.append((kind, vaddr))
    if result or len(data) < 32:
        return result
    for index in range(min(count, len(data) // 32)):
        kind, _offset, vaddr, _ = narrow.unpack_from(data, index * 32)
        result.append((kind, vaddr))
    return result


def _r_debug(memory: Memory, dynamic: int, word: int) -> int:
    data = _dynamic_section(memory, dynamic, word)
    pair = Struct("<QQ" if word == 8 else "<II")
    for tag, value in pair.iter_unpack(data):
        if tag == DT_DEBUG:
            return int(value)
    return 0


def _dynamic_section(memory: Memory, address: int, word: int) -> bytes:
    """The entries up to the one that says that it is the last, with it."""
    data = memory.read_available(address, _MAX_DYNAMIC * word)
    pair = Struct("<QQ" if word == 8 else "<II")
    data = data[: len(data) - len(data) % pair.size]
    for index, (tag, _) in enumerate(pair.iter_unpack(data)):
        if tag == DT_NULL:
            return data[: (index + 1) * pair.size]
    return data


def _chain(memory: Memory, r_debug: int, word: int) -> list[LinkMapEntry]:
    entries: list[LinkMapEntry] = []
    if not r_debug:
        return entries
    address = memory.read_uint(r_debug + word, word)  # r_version and padding come first
    seen = set()
    while address and address not in seen and len(entries) < _MAX_LIBRARIES:
        seen.add(address)
        try:
            data = memory.read(address, 4 * word)
        except Fault:
            break
        bias, name, dynamic, following = Struct("<4Q" if word == 8 else "<4I").unpack(data)
        raw = memory.read_available(name, _MAX_PATH).split(b"\0")[0] if name else b""
        entries.append(LinkMapEntry(bias, raw.decode("utf-8", "surrogateescape"), dynamic))
        address = following
    return entries
