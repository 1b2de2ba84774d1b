"""The notes of an ELF core: threads' registers, mapped files, auxiliary vector, signal.

Layouts are those of the kernel's `fs/binfmt_elf.c` and of gdb's gcore, which follows it.
"""

from __future__ import annotations

from struct import Struct, error

from unspool.errors import FormatError
from unspool.formats.elf import Elf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.arch.base import Arch
    from unspool.cursor import Buffer

NT_PRSTATUS = 1
NT_FPREGSET = 2
NT_PRPSINFO = 3
NT_AUXV = 6
NT_FILE = 0x46494C45
NT_SIGINFO = 0x53494749
NT_386_TLS = 0x200
NT_X86_XSTATE = 0x202
NT_PRXFPREG = 0x46E62B7F
NT_ARM_VFP = 0x400
NT_ARM_PAC_MASK = 0x406

AT_NULL, AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_ENTRY = 0, 3, 4, 5, 6, 7, 9
AT_UID, AT_EUID, AT_PLATFORM, AT_HWCAP = 11, 12, 15, 16
AT_RANDOM, AT_EXECFN, AT_SYSINFO_EHDR = 25, 31, 33

_MAX_FILES = 1_000_000


class PrStatusNote:
    """A thread's id, its signal, its registers by DWARF number, and others by name."""

    __slots__ = ("cursig", "registers", "special", "tid")

    def __init__(
        self,
        tid: int,
        cursig: int,
        registers: list[int | None] | None,
        special: dict[str, int] | None = None,
    ) -> None:
        self.tid = tid
        self.cursig = cursig
        self.registers = registers
        self.special = special or {}


class FileMapping:
    """One line of NT_FILE: `[start, end)` maps `path` from byte `offset` on."""

    __slots__ = ("end", "offset", "path", "start")

    def __init__(self, start: int, end: int, offset: int, path: str) -> None:
        self.start = start
        self.end = end
        self.offset = offset
        self.path = path


def parse_prstatus(arch: Arch, data: bytes) -> PrStatusNote | None:
    """NT_PRSTATUS. A cut note keeps its id and has no registers; None if not even that."""
    layout = arch.prstatus
    word = arch.pointer_size
    if len(data) < layout.tid_offset + 4:
        return None
    tid = int.from_bytes(data[layout.tid_offset : layout.tid_offset + 4], "little")
    cursig = int.from_bytes(data[12:14], "little")
    end = layout.registers_offset + word * len(layout.order)
    if len(data) < end:
        return PrStatusNote(tid, cursig, None)
    order = layout.order
    code = "Q" if word == 8 else "I"
    words = Struct(f"<{len(order)}{code}").unpack(data[layout.registers_offset : end])
    registers: list[int | None] = [None] * len(arch.register_names)
    for number, value in zip(order, words, strict=True):
        if number is not None:
            registers[number] = value
    special = {name: words[index] for index, name in layout.special}
    return PrStatusNote(tid, cursig, registers, special)


def parse_386_tls(data: bytes, selector: int) -> int | None:
    """The base address of a segment from NT_386_TLS, by its selector; None if it is not there.

    The note holds the thread's three entries of the global descriptor table as `struct
    user_desc`: entry number, base, limit, flags (linux/arch/x86/kernel/tls.c). A selector
    with bit 2 set is of the local table, which no note holds.
    """
    if selector & 4:
        return None
    usable = len(data) - len(data) % 16
    for number, base, _, _ in Struct("<4I").iter_unpack(data[:usable]):
        if number == selector >> 3:
            return int(base)
    return None


def parse_prpsinfo(arch: Arch, data: bytes) -> tuple[int, str, str] | None:
    """NT_PRPSINFO as (pid, short name of at most 15 characters, arguments joined by spaces)."""
    layout = arch.prpsinfo
    if len(data) < layout.arguments_offset:
        return None
    pid = int.from_bytes(data[layout.pid_offset : layout.pid_offset + 4], "little")
    name = data[layout.name_offset : layout.name_offset + 16].split(b"\0")[0]
    arguments = data[layout.arguments_offset : layout.arguments_offset + 80].split(b"\0")[0]
    return pid, name.decode("utf-8", "replace"), arguments.decode("utf-8", "replace").strip()


def parse_siginfo(arch: Arch, data: bytes) -> tuple[int, int, int | None] | None:
    """NT_SIGINFO as (signal, code, word at si_addr); the latter is None if cut off.

    `si_addr` means a fault address for some signals and codes only; for others the same
    bytes hold a sender's pid.
    """
    if len(data) < 12:
        return None
    signal = int.from_bytes(data[0:4], "little", signed=True)
    code = int.from_bytes(data[8:12], "little", signed=True)
    at = 16 if arch.pointer_size == 8 else 12
    if len(data) < at + arch.pointer_size:
        return signal, code, None
    return signal, code, int.from_bytes(data[at : at + arch.pointer_size], "little")


def parse_auxv(arch: Arch, data: bytes) -> dict[int, int]:
    """The auxiliary vector as type -> value; the first of each type."""
    pair = Struct("<QQ" if arch.pointer_size == 8 else "<II")
    result: dict[int, int] = {}
    usable = len(data) - len(data) % pair.size
    for kind, value in pair.iter_unpack(data[:usable]):
        if kind == AT_NULL:
            break
        result.setdefault(kind, value)
    return result


def parse_file_note(arch: Arch, data: Buffer) -> list[FileMapping]:
    """NT_FILE: count, page size, then (start, end, offset in pages) and as many paths.

    A count that lies is cut to what the note can hold. Paths may hold any byte but NUL
    and are decoded with surrogates, as `os.fsdecode` does, so that they can be opened.
    """
    word = arch.pointer_size
    code = "Q" if word == 8 else "I"
    data = bytes(data)
    try:
        count, page_size = Struct(f"<2{code}").unpack_from(data)
    except error:
        return []
    row = Struct(f"<3{code}")
    count = min(count, (len(data) - 2 * word) // row.size, _MAX_FILES)
    names_at = 2 * word + count * row.size
    paths = data[names_at:].split(b"\0")
    result = []
    for index in range(min(count, len(paths))):
        start, end, page = row.unpack_from(data, 2 * word + index * row.size)
        if start < end:
            path = paths[index].decode("utf-8", "surrogateescape")
            result.append(FileMapping(start, end, page * page_size, path))
    return result


def vdso_version(vdso: bytes) -> tuple[int, int, int] | None:
    """The kernel's version by a note of its vdso; None if there is none.

    The note is named "Linux", has the type 0, and holds LINUX_VERSION_CODE. Its last part
    stops at 255: 4.14.300 is 4.14.255 there (linux/Makefile).
    """
    try:
        for note in Elf(vdso).notes():
            if note.name == b"Linux" and note.type == 0 and note.size == 4:
                code = int.from_bytes(vdso[note.offset : note.offset + 4], "little")
                return code >> 16, code >> 8 & 0xFF, code & 0xFF
    except FormatError:
        pass
    return None
