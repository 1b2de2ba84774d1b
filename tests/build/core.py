"""Builds ELF cores of x86_64, i386, aarch64 and arm processes, as the kernel or gcore writes them.

    stack = Stack(0x7FFD_0000_0000)
    stack.label("sp").push("outer").label("outer").push(0, 0)
    core = Core("x86_64")
    core.thread(100, {"rip": 0x401000, "rsp": stack["sp"]}, signal=11)
    core.load(stack.base, stack.build(), flags="rw")
    data = core.build()

Layouts are those of the kernel's `struct elf_prstatus` and `elf_prpsinfo`
(include/linux/elfcore.h, include/linux/elfcore-compat.h, fs/binfmt_elf.c).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from tests.build.elf import (
    EM_386,
    EM_AARCH64,
    EM_ARM,
    EM_X86_64,
    ET_CORE,
    PAGE,
    PT_LOAD,
    PT_NOTE,
    Elf,
    Segment,
)
from tests.build.notes import note

NT_PRSTATUS, NT_FPREGSET, NT_PRPSINFO, NT_AUXV = 1, 2, 3, 6
NT_SIGINFO, NT_FILE, NT_X86_XSTATE = 0x53494749, 0x46494C45, 0x202
NT_ARM_PAC_MASK = 0x406
AT_NULL, AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE = 0, 3, 4, 5, 6, 7
AT_ENTRY, AT_EXECFN, AT_SYSINFO_EHDR = 9, 31, 33

REGISTERS: dict[str, tuple[str, ...]] = {
    "x86_64": (
        "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx",
        "rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds",
        "es", "fs", "gs",
    ),
    "i386": (
        "ebx", "ecx", "edx", "esi", "edi", "ebp", "eax", "ds", "es", "fs", "gs", "orig_eax",
        "eip", "cs", "eflags", "esp", "ss",
    ),
    "aarch64": (*(f"x{number}" for number in range(31)), "sp", "pc", "pstate"),
    "arm": (*(f"r{number}" for number in range(13)), "sp", "lr", "pc", "cpsr", "orig_r0"),
}  # fmt: skip
_MACHINES = {"x86_64": EM_X86_64, "i386": EM_386, "aarch64": EM_AARCH64, "arm": EM_ARM}
_NARROW = ("i386", "arm")

Note = tuple[str, int, bytes]


class Core:
    """A core in the making. `lies` overrides fields of the ELF header.

    `notes` is "first" (the kernel: PT_NOTE and its bytes before all memory) or "last" (gcore).
    """

    def __init__(self, arch: str = "x86_64", *, notes: str = "first", **lies: int) -> None:
        self.arch = arch
        self.bits = 32 if arch in _NARROW else 64
        self.notes_place = notes
        self.lies = lies
        self.notes: list[Note] = []
        self.raw_notes: bytes | None = None
        self.note_lies: dict[str, int] = {}
        self._loads: list[tuple[int, bytes, dict[str, object]]] = []
        self.image: Elf | None = None

    # --- notes ------------------------------------------------------------------------

    def note(self, name: str, kind: int, desc: bytes) -> None:
        self.notes.append((name, kind, desc))

    def thread(
        self,
        tid: int,
        registers: Mapping[str, int],
        *,
        signal: int = 0,
        truncate: int | None = None,
    ) -> None:
        """An NT_PRSTATUS: a new thread. Registers that are not given are 0."""
        self.note("CORE", NT_PRSTATUS, prstatus(self.arch, tid, registers, signal)[:truncate])

    def process(
        self, pid: int, name: str = "prog", arguments: str = "", *, state: int = 0, uid: int = 1000
    ) -> None:
        """An NT_PRPSINFO."""
        text = struct.pack("<16s80s", name.encode()[:16], arguments.encode()[:80])
        if self.bits == 64:
            head = struct.pack("<4B4xQIIiiii", state, 82, 0, 0, 0, uid, uid, pid, 1, pid, pid)
        else:
            head = struct.pack("<4BIHHiiii", state, 82, 0, 0, 0, uid, uid, pid, 1, pid, pid)
        self.note("CORE", NT_PRPSINFO, head + text)

    def signal_info(self, number: int, code: int = 0, address: int = 0, errno: int = 0) -> None:
        """An NT_SIGINFO: a 128-byte siginfo_t whose union starts with the fault address."""
        head = struct.pack("<iii", number, errno, code)
        head += struct.pack("<4xQ" if self.bits == 64 else "<I", address)
        self.note("CORE", NT_SIGINFO, head.ljust(128, b"\0"))

    def auxv(self, entries: Mapping[int, int] | Sequence[tuple[int, int]]) -> None:
        """An NT_AUXV; AT_NULL is added."""
        pairs = list(entries.items()) if isinstance(entries, Mapping) else list(entries)
        code = "<QQ" if self.bits == 64 else "<II"
        raw = b"".join(struct.pack(code, *pair) for pair in [*pairs, (AT_NULL, 0)])
        self.note("CORE", NT_AUXV, raw)

    def files(
        self, mappings: Iterable[tuple[int, int, int, str]], *, page: int = PAGE, **lies: int
    ) -> None:
        """An NT_FILE of (start, end, offset in bytes, path). `count` and `page` can lie."""
        mappings = list(mappings)
        word = "<Q" if self.bits == 64 else "<I"
        numbers = [lies.get("count", len(mappings)), lies.get("page_size", page)]
        for start, end, offset, _ in mappings:
            numbers += [start, end, offset // page]
        raw = b"".join(struct.pack(word, number) for number in numbers)
        names = b"".join(path.encode("utf-8", "surrogateescape") + b"\0" for *_, path in mappings)
        self.note("CORE", NT_FILE, raw + names)

    def pac_mask(self, data: int, instruction: int) -> None:
        self.note("LINUX", NT_ARM_PAC_MASK, struct.pack("<QQ", data, instruction))

    # --- memory -----------------------------------------------------------------------

    def load(
        self,
        address: int,
        data: bytes = b"",
        *,
        memsz: int | None = None,
        filesz: int | None = None,
        flags: str = "rw",
        offset: int | None = None,
        **lies: int,
    ) -> None:
        """A PT_LOAD; `memsz` larger than the data: the core filter left the rest out."""
        fields: dict[str, object] = {
            "memsz": memsz,
            "filesz": filesz,
            "flags": flags,
            "offset": offset,
            **lies,
        }
        self._loads.append((address, data, fields))

    # --- the file ---------------------------------------------------------------------

    def note_bytes(self) -> bytes:
        if self.raw_notes is not None:
            return self.raw_notes
        return b"".join(note(name, kind, desc) for name, kind, desc in self.notes)

    def build(self, length: int | None = None) -> bytes:
        """The core, cut to `length` bytes."""
        image = Elf(self.bits, _MACHINES[self.arch], ET_CORE, **self.lies)
        self.image = image
        if self.notes_place == "first":
            self._add_notes(image)
        for address, data, fields in self._loads:
            image.segment(PT_LOAD, data, address=address, **fields)  # type: ignore[arg-type]
        if self.notes_place == "last":
            self._add_notes(image)
        return image.build()[:length]

    def _add_notes(self, image: Elf) -> Segment:
        # The kernel writes p_memsz 0 for notes, gcore writes it alike.
        return image.segment(
            PT_NOTE, self.note_bytes(), flags="", memsz=0, align=4, **self.note_lies
        )


class Stack:
    """Words from `base` upward, with labels.

    A value is an integer, or a label's name with an optional "+n" or "-n" for its address.
    """

    def __init__(self, base: int, word: int = 8) -> None:
        self.base = base
        self.word = word
        self._items: list[bytes | int | str] = []
        self._labels: dict[str, int] = {}
        self._size = 0

    @property
    def here(self) -> int:
        """The address of the next word."""
        return self.base + self._size

    def label(self, name: str) -> Stack:
        if name in self._labels:
            raise ValueError(f"label {name} twice")
        self._labels[name] = self.here
        return self

    def push(self, *values: int | str) -> Stack:
        """Adds words at growing addresses (not the machine's push, which goes down)."""
        self._items += values
        self._size += self.word * len(values)
        return self

    def raw(self, data: bytes) -> Stack:
        self._items.append(data)
        self._size += len(data)
        return self

    def space(self, words: int, value: int = 0) -> Stack:
        return self.push(*[value] * words)

    def __getitem__(self, name: str) -> int:
        return self._labels[name]

    def build(self) -> bytes:
        return b"".join(map(self._bytes, self._items))

    def _bytes(self, item: bytes | int | str) -> bytes:
        if isinstance(item, bytes):
            return item
        value = item if isinstance(item, int) else self._resolve(item)
        return (value & ((1 << 8 * self.word) - 1)).to_bytes(self.word, "little")

    def _resolve(self, text: str) -> int:
        for sign, factor in (("+", 1), ("-", -1)):
            name, found, delta = text.partition(sign)
            if found and name in self._labels:
                return self._labels[name] + factor * int(delta, 0)
        return self._labels[text]


def prstatus(arch: str, tid: int, registers: Mapping[str, int], signal: int = 0) -> bytes:
    """`struct elf_prstatus` of 336 (x86_64), 144 (i386), 392 (aarch64) or 148 (arm) bytes."""
    names = REGISTERS[arch]
    unknown = set(registers) - set(names)
    if unknown:
        raise KeyError(f"no such register: {unknown}")
    wide = arch not in _NARROW
    head = struct.pack("<iiihH", signal, 0, 0, signal, 0)
    head += struct.pack("<QQ" if wide else "<II", 0, 0)  # pending and held signals
    head += struct.pack("<4i", tid, 1, tid, tid)  # pid, ppid, pgrp, sid
    head += bytes(4 * (16 if wide else 8))  # user, system and children's times
    mask = (1 << 64) - 1 if wide else (1 << 32) - 1
    values = [registers.get(name, 0) & mask for name in names]
    body = struct.pack(f"<{len(names)}{'Q' if wide else 'I'}", *values)
    return head + body + bytes(8 if wide else 4)  # fpvalid and padding
