"""Functions of made-up x64 Windows code: machine code, unwind data, and what executing it does.

    function = random_function(Random(1))
    image = lay_out([function])
    for at, machine in image.run(0):    # before each instruction: its RVA, and the registers
        ...

Instructions carry their own effect, so that nobody has to decode them. Registers have PE's
numbers. What must come out at every instruction is what was in the registers at the start.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.build import unwind_info as uw
from tests.build.unwind_info import R8, R12, R15, RBP, RBX, RCX, RDI, RSI, RSP

CODE, STACK, RETURN_ADDRESS = 0x1000, 0x7000_0000, 0x7FF6_1234_5678
NONVOLATILE = (RBX, RBP, RSI, RDI, *range(R12, R15 + 1))
# The largest allocation is some memory more than what `alloc` has a 16-bit form for.
_SIZES = (8, 16, 40, 120, 128, 136, 4096, 0x7FFF8, 0x80000, 0x123450)


class Machine:
    """Registers, and memory by words."""

    def __init__(self) -> None:
        self.registers = [0xAAAA_0000_0000_0000 + number for number in range(16)]
        self.registers[RSP] = STACK
        self.memory = {STACK: RETURN_ADDRESS}

    def push(self, value: int) -> None:
        self.registers[RSP] -= 8
        self.memory[self.registers[RSP]] = value

    def pop(self, register: int) -> None:
        value = self.memory[self.registers[RSP]]
        self.registers[RSP] += 8
        self.registers[register] = value


Effect = Callable[[Machine], None]


@dataclass(frozen=True)
class Instruction:
    """`unwind` makes the unwind code of an instruction that ends at an offset. `late` ones
    are noted at the prologue's end: compilers do that where the register is not changed before.
    """

    code: bytes
    effect: Effect
    unwind: Callable[[int], bytes] | None = None
    late: bool = False


def _set(register: int, value: Callable[[list[int]], int]) -> Effect:
    def effect(machine: Machine) -> None:
        machine.registers[register] = value(machine.registers)

    return effect


def _memory_operand(operation: int, register: int, base: int, offset: int) -> bytes:
    """An instruction with a register and a memory operand, with the shortest displacement."""
    rex = 0x48 | (register >= R8) << 2 | (base >= R8)
    short = -128 <= offset < 128
    modrm = (1 if short else 2) << 6 | (register & 7) << 3 | base & 7
    sib = b"\x24" if base & 7 == RSP else b""
    return bytes((rex, operation, modrm)) + sib + struct.pack("<b" if short else "<i", offset)


def _immediate(short: bytes, long: bytes, value: int) -> bytes:
    if value < 128:
        return short + struct.pack("<b", value)
    return long + struct.pack("<i", value)


def push(register: int) -> Instruction:
    prefix = b"\x41" if register >= R8 else b""
    return Instruction(
        prefix + bytes([0x50 + register % 8]),
        lambda machine: machine.push(machine.registers[register]),
        lambda end: uw.push(end, register),
    )


def pop(register: int) -> Instruction:
    prefix = b"\x41" if register >= R8 else b""
    return Instruction(prefix + bytes([0x58 + register % 8]), lambda machine: machine.pop(register))


def allocate(size: int, *, unwind: bool = True) -> Instruction:
    return Instruction(
        _immediate(b"\x48\x83\xec", b"\x48\x81\xec", size),
        _set(RSP, lambda registers: registers[RSP] - size),
        (lambda end: uw.alloc(end, size)) if unwind else None,
    )


def release(size: int) -> Instruction:
    return Instruction(
        _immediate(b"\x48\x83\xc4", b"\x48\x81\xc4", size),
        _set(RSP, lambda registers: registers[RSP] + size),
    )


def lea(register: int, base: int, offset: int, *, unwind: bool = False) -> Instruction:
    return Instruction(
        _memory_operand(0x8D, register, base, offset),
        _set(register, lambda registers: registers[base] + offset),
        uw.set_frame if unwind else None,
    )


def store(register: int, base: int, offset: int, where: int, late: bool = False) -> Instruction:
    """Saves a register at `base` + `offset`, which is `where` from the frame's base."""

    def effect(machine: Machine) -> None:
        machine.memory[machine.registers[base] + offset] = machine.registers[register]

    code = _memory_operand(0x89, register, base, offset)
    return Instruction(code, effect, lambda end: uw.save(end, register, where), late)


def load(register: int, base: int, offset: int) -> Instruction:
    def effect(machine: Machine) -> None:
        machine.registers[register] = machine.memory[machine.registers[base] + offset]

    return Instruction(_memory_operand(0x8B, register, base, offset), effect)


def clobber(register: int, value: int) -> Instruction:
    code = bytes((0x48 | (register >= R8), 0xB8 + register % 8)) + struct.pack("<Q", value)
    return Instruction(code, _set(register, lambda _: value))


def plain(code: bytes) -> Instruction:
    return Instruction(code, lambda machine: None)


# How functions end, and how many bytes they take off the stack besides. The jump through a
# displacement of 0 leads to whatever follows the function, see `lay_out`.
JUMP_32, JUMP_8 = b"\xe9\0\0\0\0", b"\xeb\0"
ENDS = {
    b"\xc3": 0, b"\xf3\xc3": 0, b"\xf2\xc3": 0, b"\xc2\x18\0": 24, JUMP_32: 0, JUMP_8: 0,
    b"\xff\x25\x78\x56\x34\x12": 0, b"\x48\xff\xe0": 0, b"\x49\xff\x23": 0,
    b"\x48\xff\x25\x78\x56\x34\x12": 0,
}  # fmt: skip


@dataclass
class Part:
    """Code with a RUNTIME_FUNCTION of its own; the first `prologue` instructions have codes."""

    instructions: list[Instruction] = field(default_factory=list)
    prologue: int = 0

    @property
    def code(self) -> bytes:
        return b"".join(each.code for each in self.instructions)

    def codes(self) -> list[bytes]:
        """The unwind codes, the last first."""
        first = self.instructions[: self.prologue]
        whole = sum(len(each.code) for each in first)
        made, at = [], 0
        for each in first:
            at += len(each.code)
            if each.unwind is not None:
                made.append((whole if each.late else at, each))
        made.sort(key=lambda code: code[0])
        return [each.unwind(end) for end, each in reversed(made) if each.unwind]


@dataclass
class Function:
    """Parts, each of which builds on the one before; (frame register, offset); the version.

    `epilogue` is how long the epilogue is, from its first pop on, without its last instruction.
    """

    parts: list[Part]
    frame: tuple[int, int] = (0, 0)
    version: int = 1
    epilogue: int = 0

    @property
    def end(self) -> bytes:
        return self.parts[-1].instructions[-1].code

    @property
    def released(self) -> int:
        return ENDS[self.end]


class Image:
    """Functions with their tables; an RVA is an offset into `data`."""

    def __init__(self, functions: Sequence[Function]) -> None:
        self.functions = functions
        self.begins: list[list[int]] = []
        self.table: list[tuple[int, int, int]] = []
        self.data = b""
        self.table_at = 0

    def read(self, rva: int, size: int) -> bytes:
        return self.data[rva : rva + size]

    def run(self, index: int) -> Iterator[tuple[int, Machine]]:
        """Executes a function: the RVA and the machine before each instruction."""
        machine = Machine()
        for part, at in zip(self.functions[index].parts, self.begins[index], strict=True):
            for each in part.instructions:
                yield at, copy.deepcopy(machine)
                each.effect(machine)
                at += len(each.code)


def lay_out(functions: Sequence[Function]) -> Image:
    """An image of functions, each followed by one that jumps may lead to."""
    image = Image(functions)
    code = bytearray()
    for function in functions:
        begins = []
        for part in function.parts:
            begins.append(CODE + len(code))
            code += part.code
        image.begins.append(begins)
        code += b"\x53\x5b\xc3" + b"\xcc" * 13  # push %rbx; pop %rbx; ret
    xdata = uw.Xdata(CODE + len(code) + -len(code) % 16)
    target = xdata.add(uw.unwind_info([uw.push(1, RBX)], prologue=1))
    for function, begins in zip(functions, image.begins, strict=True):
        _describe(image, function, begins, xdata)
        end = image.table[-1][1]
        image.table.append((end, end + 3, target))
    image.table_at = xdata.rva + len(xdata.data) + -len(xdata.data) % 4
    image.data = bytes(CODE) + bytes(code)
    image.data = image.data.ljust(xdata.rva, b"\0") + bytes(xdata.data)
    image.data = image.data.ljust(image.table_at, b"\0") + uw.runtime_functions(image.table)
    return image


def _describe(image: Image, function: Function, begins: list[int], xdata: uw.Xdata) -> None:
    chained = None
    for part, begin in zip(function.parts, begins, strict=True):
        codes = part.codes()
        if function.version == 2 and part is function.parts[-1]:
            size = function.epilogue + 1
            before_end = function.epilogue + len(function.end)
            at_end = before_end == size
            codes.insert(0, uw.epilogues(size, [0 if at_end else before_end], at_end=at_end))
        raw = uw.unwind_info(
            codes, prologue=sum(len(each.code) for each in part.instructions[: part.prologue]),
            version=function.version, frame=function.frame, chained=chained,
        )  # fmt: skip
        chained = begin, begin + len(part.code), xdata.add(raw)
        image.table.append(chained)


def random_function(random: Random, frame_registers: Sequence[int] = NONVOLATILE) -> Function:
    """Any function that the ABI allows: "x64 prolog and epilog", and what MSVC makes of it."""
    return _Author(random, frame_registers).write()


class _Author:
    """Writes a function, and keeps in mind what it did."""

    def __init__(self, random: Random, frame_registers: Sequence[int]) -> None:
        self.random = random
        order = random.sample(NONVOLATILE, len(NONVOLATILE))
        self.pushed = order[: random.randrange(5)]
        self.saved = order[5 : 5 + random.randrange(3)]
        self.frame: tuple[int, int] | None = None
        usable = [register for register in self.pushed if register in frame_registers]
        if usable and random.random() < 0.5:
            self.frame = random.choice(usable), 16 * random.randrange(16)
        self.early = self.frame is not None and random.random() < 0.3
        self.size = random.choice((0, *_SIZES))
        self.homed: list[int] = []
        self.places: list[tuple[int, int, int]] = []

    def write(self) -> Function:
        random = self.random
        first = Part(self.prologue())
        first.prologue = len(first.instructions)
        parts = [first]
        if random.random() < 0.4:
            # What only a part of the function changes, only that part saves.
            first.instructions.append(plain(b"\x90"))
            second = Part(self.stores(self.saved))
            second.prologue = len(second.instructions)
            parts.append(second)
        else:
            first.instructions += self.stores(self.saved)
            first.prologue = len(first.instructions)
        parts[-1].instructions += self.body()
        epilogue = self.epilogue()
        parts[-1].instructions += epilogue
        if random.random() < 0.2:
            # MSVC: the last instruction has an entry of its own.
            last = parts[-1].instructions.pop()
            if parts[-1].prologue < len(parts[-1].instructions):
                parts.append(Part([last]))
            else:
                parts[-1].instructions.append(last)
        pops = sum(len(each.code) for each in epilogue[:-1] if each.unwind is None) - self.freed
        whole = len(parts[-1].instructions) > len(epilogue)
        version = 2 if whole and random.random() < 0.3 else 1
        return Function(parts, self.frame or (0, 0), version, pops)

    def prologue(self) -> list[Instruction]:
        """Pushes, an allocation, and the frame register before, between or after them."""
        made = []
        entry = 0
        if self.random.random() < 0.3 and self.saved and not self.early:
            # In the space that the caller leaves for arguments in registers.
            self.homed = [self.saved.pop()]
            total = 8 * len(self.pushed) + self.size
            made.append(store(self.homed[0], RSP, 8, total + 8, late=True))
        order = self.pushed
        if self.early:
            assert self.frame is not None
            self.frame = self.frame[0], 0
            order = [self.frame[0], *(each for each in order if each != self.frame[0])]
        for register in order:
            made.append(push(register))
            entry -= 8
            if self.early and register == order[0]:
                made.append(lea(register, RSP, 0, unwind=True))
        self.pushed = order
        if self.size:
            made.append(allocate(self.size))
        if self.frame and not self.early:
            made.append(lea(self.frame[0], RSP, self.frame[1], unwind=True))
        return made

    def stores(self, registers: Sequence[int]) -> list[Instruction]:
        """Saves registers by mov, where there is room, by rsp or by the frame register."""
        made: list[Instruction] = []
        room = self.size // 8 if not self.early else 0
        for slot in self.random.sample(range(room), min(len(registers), room)):
            register = registers[len(made)]
            base, offset = RSP, 8 * slot
            if self.frame:
                base, offset = self.frame[0], 8 * slot - self.frame[1]
            self.places.append((register, base, offset))
            made.append(store(register, base, offset, 8 * slot))
        return made

    def body(self) -> list[Instruction]:
        """Changes what it may, allocates more if it can, and jumps within the function."""
        random = self.random
        made: list[Instruction] = []
        changed = [each for each in self.pushed if not self.frame or each != self.frame[0]]
        changed += [register for register, _, _ in self.places] + self.homed + [RCX]
        for register in random.sample(changed, random.randint(0, len(changed))):
            made.append(clobber(register, random.getrandbits(64)))
        if self.frame and random.random() < 0.5:
            made.append(allocate(8 * random.randrange(1, 400), unwind=False))
            # What Clang does around calls: not the end of anything, as the jump tells.
            made += [allocate(32, unwind=False), plain(b"\x90"), release(32)]
        if random.random() < 0.5:
            made.append(plain(random.choice((JUMP_8, JUMP_32))))
        made.append(plain(b"\x90"))
        made += [load(*place) for place in self.places]
        made += [load(each, *self.home()) for each in self.homed]
        return made

    def home(self) -> tuple[int, int]:
        total = 8 * len(self.pushed) + self.size + 8
        return (self.frame[0], total - self.frame[1]) if self.frame else (RSP, total)

    def epilogue(self) -> list[Instruction]:
        made = []
        if self.early:
            assert self.frame is not None
            made.append(lea(RSP, self.frame[0], -8 * (len(self.pushed) - 1)))
        elif self.frame:
            made.append(lea(RSP, self.frame[0], self.size - self.frame[1]))
        elif self.size:
            made.append(release(self.size))
        self.freed = sum(len(each.code) for each in made)
        made += [pop(register) for register in reversed(self.pushed)]
        end = self.random.choice(list(ENDS))
        return [*made, plain(end)]
