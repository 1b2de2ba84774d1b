"""Code of a made-up Wine process: ntdll.so, and Windows modules, with unwind data.

All code but that of the dispatchers is calls through a pointer, which can lead anywhere, so that
every address that is a multiple of 5 into a function is a return address. A function has a frame
of fixed size, or a frame register: any callee-saved one, which its unwind data finds the caller
by. A walk that has lost a register on its way does not come through.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.build import cfi
from tests.build import expression as e
from tests.build.elf import EM_386, EM_X86_64, PT_GNU_EH_FRAME, PT_NOTE, Elf
from tests.build.pe import AMD64, I386, Section, image
from tests.build.unwind_info import Xdata, alloc, machine_frame, push, set_frame, unwind_info

DWARF_64 = {
    "rax": 0, "rdx": 1, "rcx": 2, "rbx": 3, "rsi": 4, "rdi": 5, "rbp": 6, "rsp": 7, "rip": 16,
} | {f"r{number}": number for number in range(8, 16)}  # fmt: skip
DWARF_32 = {
    "eax": 0, "ecx": 1, "edx": 2, "ebx": 3, "esp": 4, "ebp": 5, "esi": 6, "edi": 7, "eip": 8,
}  # fmt: skip
PE_64 = {
    "rax": 0, "rcx": 1, "rdx": 2, "rbx": 3, "rsp": 4, "rbp": 5, "rsi": 6, "rdi": 7,
} | {f"r{number}": number for number in range(8, 16)}  # fmt: skip

# xchg %ax,%ax; call *0x10(%rbx)
CALL = b"\x66\x90\xff\x53\x10"
STEP = len(CALL)
TEXT, TEXT_SIZE = 0x1000, 0x3000
# What a function of fixed size takes off the stack.
FIXED = {8: 0x28, 4: 0x1C}
NO_UNWIND_DATA = ("leaf", "bare")


class Function:
    """`size` bytes at `address`, once its module has a base. `kind` says what its frame is.

    Kinds: a register's name, "fixed", "leaf" (no unwind data), "empty" (unwind data that says
    as much), "bare" (as "fixed", without unwind data), "root", "machine" (entered with a machine
    frame 0x30 above the stack pointer), "raw" (unwind data of its own).
    """

    def __init__(self, name: str, offset: int, size: int, kind: str) -> None:
        self.name = name
        self.offset = offset
        self.size = size
        self.kind = kind
        self.base = 0

    @property
    def address(self) -> int:
        return self.base + self.offset

    def after_call(self, number: int = 3) -> int:
        """The return address of its `number`-th call."""
        return self.address + STEP * number


class Module:
    """A module in the making: functions by name, at `base`."""

    def __init__(self, name: str, path: str, base: int, word: int) -> None:
        self.name = name
        self.path = path
        self.base = base
        self.word = word
        self.functions: dict[str, Function] = {}
        self.text = bytearray(CALL * (TEXT_SIZE // STEP + 1))[:TEXT_SIZE]
        self._next = TEXT

    def add(self, name: str, kind: str = "fixed", code: bytes = b"", size: int = 0x100) -> Function:
        made = Function(name, self._next, size, kind)
        made.base = self.base
        self._next += size
        if self._next > TEXT + TEXT_SIZE:
            raise ValueError("too many functions")
        at = made.offset - TEXT
        # Calls are counted from the function's start.
        calls = (CALL * (size // STEP + 1))[len(code) : size]
        self.text[at : at + size] = code + calls
        self.functions[name] = made
        return made

    def __getitem__(self, name: str) -> Function:
        return self.functions[name]

    def parts(self) -> list[tuple[int, bytes, str]]:
        """What is mapped: address, bytes, flags."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        return sum(len(data) for _, data, _ in self.parts())


def dwarf_rules(word: int, kind: str) -> bytes:
    """The call frame instructions of a function of that kind."""
    numbers = DWARF_64 if word == 8 else DWARF_32
    sp, pc = (numbers["rsp"], numbers["rip"]) if word == 8 else (numbers["esp"], numbers["eip"])
    if kind == "root":
        return cfi.undefined(pc)
    if kind == "fixed":
        return cfi.def_cfa(sp, FIXED[word] + word) + cfi.offset(pc, 1)
    number = numbers[kind]
    return cfi.def_cfa(number, 2 * word) + cfi.offset(pc, 1) + cfi.offset(number, 2)


def _frames(word: int, address: int) -> tuple[cfi.FrameSection, cfi.Cie]:
    frames = cfi.FrameSection(address=address, address_size=word)
    sp, pc = (7, 16) if word == 8 else (4, 8)
    cie = frames.cie(
        data_align=-word, return_register=pc, initial=cfi.def_cfa(sp, word) + cfi.offset(pc, 1)
    )
    return frames, cie


class UnixModule(Module):
    """An ELF library. `rules` are functions' call frame instructions where these are their own."""

    def __init__(self, name: str, path: str, base: int, word: int, strings: bytes = b"") -> None:
        super().__init__(name, path, base, word)
        self.rules: dict[str, bytes] = {}
        self.strings = strings

    def parts(self) -> list[tuple[int, bytes, str]]:
        header, frames_at, strings_at, end = 0x4000, 0x5000, 0x7000, 0x8000
        word = self.word
        elf = Elf(word * 8, EM_X86_64 if word == 8 else EM_386)
        identity = elf.build_id(self.name.encode().ljust(20, b"-"), address=0x800, segment=False)
        elf.segment(PT_NOTE, [identity], align=4)
        elf.section(".text", data=bytes(self.text), address=TEXT, flags="ax")
        frames, cie = _frames(word, frames_at)
        for each in self.functions.values():
            if each.kind not in NO_UNWIND_DATA:
                rules = self.rules.get(each.name)
                frames.fde(
                    cie, each.offset, each.size,
                    dwarf_rules(word, each.kind) if rules is None else rules,
                )  # fmt: skip
        table = cfi.eh_frame_header(frames, header)
        found = elf.section(".eh_frame_hdr", data=table, address=header, flags="a")
        elf.segment(PT_GNU_EH_FRAME, [found], align=4)
        elf.section(".eh_frame", data=frames.build(), address=frames_at, flags="a")
        elf.section(".rodata", data=self.strings or b"\0", address=strings_at, flags="a")
        elf.load(b"", address=0, offset=0, filesz=end, flags="rx")
        data = elf.build()
        return [(self.base, data[:end].ljust(end, b"\0"), "rx")]


class WindowsModule(Module):
    """A PE library or program. `variables` are words in .data, by exported name; `hidden` are
    functions that it does not export."""

    def __init__(
        self, name: str, path: str, base: int, word: int, variables: Sequence[str] = ()
    ) -> None:
        super().__init__(name, path, base, word)
        self.hidden: set[str] = set()
        self.has_code_in_data = False
        self.unwind: dict[str, bytes] = {}  # of functions of the kind "raw"
        self.variables = {name: 0x4000 + 16 * at for at, name in enumerate(variables)}

    def parts(self) -> list[tuple[int, bytes, str]]:
        text = Section(".text", bytes(self.text), "rx", rva=TEXT)
        data = Section(".data", bytes(0x1000), "rw", rva=0x4000)
        exports = [
            (each.name, each.offset)
            for each in self.functions.values()
            if each.name not in self.hidden
        ]
        exports += list(self.variables.items())
        sections, functions = [text, data], None
        if self.word == 8:
            xdata = Xdata(0x5000)
            functions = sorted(self._unwind_info(xdata))
            sections.append(xdata.section())
        else:
            sections.append(self._eh_frame())
        made = image(
            AMD64 if self.word == 8 else I386, sections, exports=exports, functions=functions,
            image_base=self.base, dll=not self.name.endswith(".exe"),
        )  # fmt: skip
        memory = made.memory(self.base)
        memory += bytes(-len(memory) % 0x1000)
        return [
            (self.base, memory[:TEXT], "r"),
            (self.base + TEXT, memory[TEXT:0x4000], "rx"),
            (self.base + 0x4000, memory[0x4000:0x5000], "rwx" if self.has_code_in_data else "rw"),
            (self.base + 0x5000, memory[0x5000:], "r"),
        ]

    def _unwind_info(self, xdata: Xdata) -> Iterable[tuple[int, int, int]]:
        for each in self.functions.values():
            if each.kind in NO_UNWIND_DATA:
                continue
            if each.kind in ("fixed", "root"):
                raw = unwind_info([alloc(4, FIXED[8])], prologue=4)
            elif each.kind == "machine":
                raw = unwind_info([alloc(0, 0x30), machine_frame(0)])
            elif each.kind == "empty":
                raw = unwind_info()
            elif each.kind == "raw":
                raw = self.unwind[each.name]
            else:
                number = PE_64[each.kind]
                raw = unwind_info([set_frame(4), push(1, number)], prologue=4, frame=(number, 0))
            yield each.offset, each.offset + each.size, xdata.add(raw)

    def _eh_frame(self) -> Section:
        """MinGW's, under the name that LLD gives it."""
        frames, cie = _frames(4, self.base + 0x5000)
        for each in self.functions.values():
            if each.kind not in NO_UNWIND_DATA:
                kind = "fixed" if each.kind in ("root", "machine") else each.kind
                start = self.base + each.offset
                frames.fde(cie, start, each.size, dwarf_rules(4, kind))
        return Section(".eh_fram", frames.build(), "r", rva=0x5000)


def deref(register: int, offset: int) -> bytes:
    """The word at an offset from a register, as the dispatchers' CFA is written."""
    return e.breg(register, offset) + e.op("deref")
