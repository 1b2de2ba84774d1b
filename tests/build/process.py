"""A small made-up process: one program with unwind data, and threads inside its functions.

    process = Process("x86_64")
    process.thread(4711, ["inner", "middle", "main", "_start"])
    data = process.core().build()

Each function's code is nothing but call instructions, so that every address that is a
multiple of `step` into it can be a return address. Each frame is two words: a saved
register and the return address. `_start` is marked as outermost by its CFI.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.build import cfi
from tests.build.core import AT_ENTRY, AT_PAGESZ, AT_PHDR, AT_PHENT, AT_PHNUM, Core, Stack
from tests.build.elf import (
    EM_386,
    EM_AARCH64,
    EM_ARM,
    EM_X86_64,
    PT_GNU_EH_FRAME,
    PT_NOTE,
    Elf,
    Symbol,
)

# Offsets in the file are addresses. The build id lies in the first page, as linkers put it;
# the others have a page each.
NOTES, TEXT, HEADER, FRAMES = 0x800, 0x1000, 0x2000, 0x3000
IMAGE_SIZE = 0x4000


class Machine:
    """What the made-up code looks like on one CPU."""

    def __init__(
        self, bits: int, number: int, call: bytes, registers: tuple[str, str, str],
        columns: tuple[int, int, int],
    ) -> None:  # fmt: skip
        self.bits = bits
        self.word = bits // 8
        self.number = number
        self.call = call
        self.pc, self.sp, self.saved = registers
        # DWARF numbers of the stack pointer, the return address and the saved register.
        self.sp_column, self.ra_column, self.saved_column = columns


MACHINES = {
    "x86_64": Machine(64, EM_X86_64, b"\xe8\0\0\0\0", ("rip", "rsp", "rbx"), (7, 16, 3)),
    "i386": Machine(32, EM_386, b"\xe8\0\0\0\0", ("eip", "esp", "ebx"), (4, 8, 3)),
    "aarch64": Machine(64, EM_AARCH64, b"\0\0\0\x94", ("pc", "sp", "x19"), (31, 30, 19)),
    "arm": Machine(32, EM_ARM, b"\0\0\0\xeb", ("pc", "sp", "r4"), (13, 14, 4)),
}


class Program:
    """The program's file. `functions` become symbols of `size` bytes each, in order."""

    def __init__(
        self,
        machine: Machine,
        functions: Sequence[str] = ("inner", "middle", "main", "_start"),
        *,
        size: int = 0x100,
        instructions: dict[str, bytes] | None = None,
        table: bool = True,
        build_id: bytes = bytes(range(20)),
    ) -> None:
        self.machine = machine
        self.size = size
        self.functions = list(functions)
        self.instructions = instructions or {}
        self.table = table
        self.build_id = build_id
        self.extra: Callable[[Elf], None] | None = None  # adds sections behind the image

    def address(self, name: str) -> int:
        """A function's address in the file."""
        return TEXT + self.functions.index(name) * self.size

    def frame_rules(self) -> bytes:
        """The CFI of a function that has pushed one register."""
        machine = self.machine
        return (
            cfi.def_cfa(machine.sp_column, 2 * machine.word)
            + cfi.offset(machine.ra_column, 1)
            + cfi.offset(machine.saved_column, 2)
        )

    def frames(self) -> cfi.FrameSection:
        machine = self.machine
        frames = cfi.FrameSection(address=FRAMES, address_size=machine.word)
        cie = frames.cie(
            data_align=-machine.word, return_register=machine.ra_column, initial=self.frame_rules()
        )
        for name in self.functions:
            root = cfi.undefined(machine.ra_column) if name == "_start" else b""
            frames.fde(cie, self.address(name), self.size, self.instructions.get(name, root))
        return frames

    def debug_frames(self) -> bytes:
        """The same unwind data as a .debug_frame."""
        machine = self.machine
        frames = cfi.FrameSection("debug_frame", address_size=machine.word)
        cie = frames.cie(
            version=4, augmentation="", data_align=-machine.word,
            return_register=machine.ra_column, initial=self.frame_rules(),
        )  # fmt: skip
        for name in self.functions:
            frames.fde(cie, self.address(name), self.size)
        return frames.build()

    def build(self) -> bytes:
        machine = self.machine
        image = Elf(machine.bits, machine.number, e_entry=self.address("_start"))
        identity = image.build_id(self.build_id, address=NOTES, segment=False)
        image.segment(PT_NOTE, [identity], align=4)
        code = machine.call * (self.size // len(machine.call) + 1)
        text = image.section(
            ".text", data=code[: self.size] * len(self.functions), address=TEXT, flags="ax"
        )
        frames = self.frames()
        raw = cfi.eh_frame_header(frames, HEADER) if self.table else bytes(16)
        name = ".eh_frame_hdr" if self.table else ".rodata"
        header = image.section(name, data=raw, address=HEADER, flags="a")
        if self.table:
            image.segment(PT_GNU_EH_FRAME, [header], align=4)
        unwind = image.section(".eh_frame", data=frames.build(), address=FRAMES, flags="a")
        image.load(b"", address=0, offset=0, filesz=IMAGE_SIZE, flags="rx")
        if self.extra:
            self.extra(image)
        image.symbols([Symbol(n, self.address(n), self.size, section=text) for n in self.functions])
        data = image.build()
        if any(part.offset != part.address for part in (text, header, unwind, identity)):
            raise ValueError("a section is larger than its page")
        return data.ljust(IMAGE_SIZE, b"\0")


class Process:
    """A process of one program. Threads are added, then the core is built."""

    def __init__(
        self,
        arch: str = "x86_64",
        *,
        base: int | None = None,
        path: str = "/nonexistent/prog",
        program: Program | None = None,
        notes: str = "first",
    ) -> None:
        self.arch = arch
        self.machine = MACHINES[arch]
        narrow = self.machine.bits == 32
        self.base = (
            base if base is not None else (0x5660_0000 if narrow else 0x5555_5555_4000)
        )
        self.path = path
        self.program = program or Program(self.machine)
        self.notes = notes
        self.threads: list[tuple[int, dict[str, int], int]] = []
        self.stacks: list[Stack] = []
        self.pcs: list[list[int]] = []

    def at(self, name: str, call: int = 3) -> int:
        """The return address of a function's `call`-th call."""
        step = len(self.machine.call)
        return self.base + self.program.address(name) + call * step

    def thread(self, tid: int, functions: Sequence[str], *, signal: int = 0) -> Stack:
        """A thread stopped in the first of `functions`, called by the second, and so on."""
        top = 0xFFF0_0000 if self.machine.bits == 32 else 0x7FFD_0000_0000
        stack = Stack(top - 0x10_0000 * len(self.stacks), self.machine.word)
        stack.label("sp")
        pcs = [self.at(functions[0], 2)]
        for index, name in enumerate(functions[1:]):
            stack.push(0x1000 + index)
            pcs.append(self.at(name))
            stack.push(pcs[-1])
        stack.space(8)
        self.stacks.append(stack)
        self.pcs.append(pcs)
        registers = {self.machine.pc: pcs[0], self.machine.sp: stack["sp"]}
        self.threads.append((tid, registers, signal))
        return stack

    def core(self, *, hold_image: bool = True) -> Core:
        """The core's builder: notes and memory as the kernel would order them.

        Without `hold_image` the file's bytes are left out, as the default core filter does
        with pages that nobody wrote to.
        """
        core = Core(self.arch, notes=self.notes)
        tid, registers, signal = self.threads[0] if self.threads else (0, {}, 0)
        if self.threads:
            core.thread(tid, registers, signal=signal)
        core.process(tid, "prog", "prog --flag")
        core.signal_info(signal, 1 if signal else 0, 8)
        image = self.program.build()
        count = int.from_bytes(image[44:46] if self.machine.bits == 32 else image[56:58], "little")
        core.auxv(
            {
                AT_PAGESZ: 4096,
                AT_PHDR: self.base + (52 if self.machine.bits == 32 else 64),
                AT_PHENT: 32 if self.machine.bits == 32 else 56,
                AT_PHNUM: count,
                AT_ENTRY: self.base + self.program.address("_start"),
            }
        )
        core.files([(self.base, self.base + IMAGE_SIZE, 0, self.path)])
        if self.arch == "aarch64":
            mask = 0x7F_0000_0000_0000
            core.pac_mask(mask, mask)
        for tid, registers, signal in self.threads[1:]:
            core.thread(tid, registers, signal=signal)
        held = image[:IMAGE_SIZE] if hold_image else b""
        core.load(self.base, held, memsz=IMAGE_SIZE, flags="rx")
        for stack in reversed(self.stacks):
            core.load(stack.base, stack.build(), flags="rw")
        return core
