"""A made-up module of 32-bit Arm code, with an exception index, and a machine that runs it.

The code is a list of instructions, each with what it does in Python: nothing of the package is
asked what an instruction means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.build import exidx
from tests.build.elf import EM_ARM, PAGE, Elf
from unspool.arch.arm import ARM
from unspool.formats.elf import Elf as ReadElf
from unspool.image import Image
from unspool.memory import Memory, Region
from unspool.model import Module
from unspool.space import AddressSpace

PT_ARM_EXIDX = 0x70000001
TEXT, INDEX, EXTRA, SIZE = 0x1000, 0x2000, 0x3000, 0x4000
BIAS = 0x40_0000
STACK, STACK_SIZE = 0x7000_0000, 0x2000
SP, LR, PC = 13, 14, 15


def build_image(code: bytes, tables: exidx.Tables | None) -> bytes:
    """The module's file; offsets are addresses."""
    image = Elf(32, EM_ARM, e_entry=0)
    text = image.section(".text", data=code, address=TEXT, flags="ax")
    placed = [text]
    if tables is not None:
        index, extra = tables.build()
        header = image.section(".ARM.exidx", data=index, address=INDEX, flags="a")
        image.segment(PT_ARM_EXIDX, [header], align=4)
        placed += [header, image.section(".ARM.extab", data=extra or b"\0", address=EXTRA)]
    image.load(b"", address=0, offset=0, filesz=SIZE, flags="rx")
    data = image.build()
    assert all(section.offset == section.address for section in placed)
    return data.ljust(SIZE, b"\0")


def space_of(
    code: bytes,
    stack: bytes,
    tables: exidx.Tables | None = None,
    *,
    in_file: bool = True,
    more: Sequence[Region] = (),
) -> AddressSpace:
    """The module at `BIAS`, known by its file or by its memory alone, and a stack."""
    data = build_image(code, tables)
    memory = Memory(
        [
            Region(BIAS, BIAS + SIZE, lambda: (data, 0, SIZE), executable=True),
            Region(STACK, STACK + len(stack), lambda: (stack, 0, len(stack)), writable=True),
            *more,
        ]
    )
    elf = ReadElf(data)
    file, mapped = (elf, None) if in_file else (None, elf)
    image = Image(memory, BIAS, file=file, mapped=mapped)
    module = Module(0, "prog", BIAS, BIAS + SIZE, bias=BIAS)
    return AddressSpace(ARM, memory, [module], lambda _: image)


class State:
    """Registers, and the stack's words by address."""

    def __init__(self) -> None:
        self.r = [0x1000 + n for n in range(16)]
        self.r[SP] = STACK + 0x1800
        self.words = {STACK + at: 0 for at in range(0, STACK_SIZE, 4)}

    def stack(self) -> bytes:
        return b"".join(word.to_bytes(4, "little") for word in self.words.values())


Action = Callable[[State], None]


def push(*numbers: int) -> Action:
    def act(state: State) -> None:
        state.r[SP] -= 4 * len(numbers)
        for index, number in enumerate(sorted(numbers)):
            state.words[state.r[SP] + 4 * index] = state.r[number]

    return act


def pop(*numbers: int) -> Action:
    def act(state: State) -> None:
        for number in sorted(numbers):
            state.r[number] = state.words[state.r[SP]]
            state.r[SP] += 4

    return act


def add(goal: int, source: int, size: int) -> Action:
    def act(state: State) -> None:
        state.r[goal] = state.r[source] + size

    return act


def clobber(*numbers: int) -> Action:
    def act(state: State) -> None:
        for number in numbers:
            state.r[number] = 0xDEAD_0000 + number

    return act


class Function:
    """Instructions as (bytes in hex, action); `is_thumb` of all of them.

    `body` are the numbers of the first instruction behind the prologue and of the last before
    the epilogue.
    """

    def __init__(
        self, instructions: Sequence[tuple[str, Action]], unwind: bytes, *, is_thumb: bool
    ) -> None:
        self.codes = [bytes.fromhex(code) for code, _ in instructions]
        self.actions = [action for _, action in instructions]
        self.unwind = unwind
        self.is_thumb = is_thumb

    def states(self, address: int, link: int) -> list[tuple[int, State]]:
        """Where the machine is, and how, before each instruction when it is called."""
        result = []
        at = address
        for count in range(len(self.codes)):
            state = State()
            state.r[LR] = link
            for action in self.actions[:count]:
                action(state)
            state.r[PC] = at
            result.append((at, state))
            at += len(self.codes[count])
        return result


NOTHING: Action = clobber()
CALL: Action = clobber(0, 1, 2, 3, 12, 14)

# int f(int) with a call in it: plain; with a frame pointer and an array of unknown size; with
# arguments on the stack and vector registers.
FUNCTIONS = {
    "t32": Function(
        [
            ("10b5", push(4, LR)),
            ("82b0", add(SP, SP, -8)),
            ("0446", add(4, 0, 0)),
            ("fff7feff", CALL),
            ("0120", NOTHING),
            ("02b0", add(SP, SP, 8)),
            ("10bd", pop(4, PC)),
        ],
        exidx.vsp(8) + exidx.pop(4, 14),
        is_thumb=True,
    ),
    "a32": Function(
        [
            ("10402de9", push(4, LR)),
            ("08d04de2", add(SP, SP, -8)),
            ("0040a0e1", add(4, 0, 0)),
            ("feffffeb", CALL),
            ("0100a0e3", NOTHING),
            ("08d08de2", add(SP, SP, 8)),
            ("1080bde8", pop(4, PC)),
        ],
        exidx.vsp(8) + exidx.pop(4, 14),
        is_thumb=False,
    ),
    "t32-frame": Function(
        [
            ("2de98048", push(7, 11, LR)),
            ("84b0", add(SP, SP, -16)),
            ("02af", add(7, SP, 8)),
            ("adeb000d", add(SP, SP, -64)),
            ("fff7feff", CALL),
        ],
        exidx.from_register(7) + exidx.vsp(8) + exidx.pop(7, 11, 14),
        is_thumb=True,
    ),
    "t32-arguments": Function(
        [
            ("0fb4", push(0, 1, 2, 3)),
            ("2de9f041", push(4, 5, 6, 7, 8, LR)),
            ("2ded028b", add(SP, SP, -8)),
            ("adf5805d", add(SP, SP, -4096)),
            ("fff7feff", CALL),
            ("0df5805d", add(SP, SP, 4096)),
            ("bdec028b", add(SP, SP, 8)),
            ("bde8f041", pop(4, 5, 6, 7, 8, LR)),
            ("04b0", add(SP, SP, 16)),
            ("7047", NOTHING),
        ],
        exidx.vsp(0x1000) + b"\xd0" + exidx.pop(4, 5, 6, 7, 8, 14) + exidx.vsp(16),
        is_thumb=True,
    ),
    "a32-leaf": Function(
        [("0100a0e3", NOTHING), ("0200a0e3", NOTHING), ("1eff2fe1", NOTHING)],
        b"",
        is_thumb=False,
    ),
    "t32-leaf": Function(
        [("0120", NOTHING), ("0230", NOTHING), ("7047", NOTHING)], b"", is_thumb=True
    ),
    "t32-one": Function(
        [
            ("4df804ed", push(LR)),
            ("83b0", add(SP, SP, -12)),
            ("fff7feff", CALL),
            ("03b0", add(SP, SP, 12)),
            ("5df804fb", pop(PC)),
        ],
        exidx.vsp(12) + exidx.pop(14),
        is_thumb=True,
    ),
}

# Where the callee lies in the module, and the caller: `bl`, or `blx r3`, then filler.
CALLEE, CALLER = 0x40, 0x400


def program(function: Function, *, direct: bool = True) -> tuple[bytes, int, int]:
    """Code of a function and of its caller; the function's address and the return address."""
    address = BIAS + TEXT + CALLEE
    call_at = BIAS + TEXT + CALLER
    if function.is_thumb:
        call = t32_bl(address - call_at - 4) if direct else bytes.fromhex("9847")
    else:
        call = a32_bl(address - call_at - 8) if direct else bytes.fromhex("33ff2fe1")
    filler = bytes.fromhex("00bf" * 2 if function.is_thumb else "00f020e3")
    code = bytearray(filler * (PAGE // len(filler)))
    body = b"".join(function.codes)
    code[CALLEE : CALLEE + len(body)] = body
    code[CALLER : CALLER + len(call)] = call
    return bytes(code), address, call_at + len(call) | function.is_thumb


def t32_bl(distance: int) -> bytes:
    value = distance >> 1 & 0xFF_FFFF
    sign, i1, i2 = value >> 23, value >> 22 & 1, value >> 21 & 1
    first = 0xF000 | sign << 10 | value >> 11 & 0x3FF
    second = 0xD000 | (1 ^ sign ^ i1) << 13 | (1 ^ sign ^ i2) << 11 | value & 0x7FF
    return first.to_bytes(2, "little") + second.to_bytes(2, "little")


def a32_bl(distance: int) -> bytes:
    return (0xEB000000 | distance >> 2 & 0xFFFFFF).to_bytes(4, "little")
