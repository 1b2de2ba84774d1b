"""Callers of 32-bit Arm code, at every instruction, by tables, by the code, by frame pointers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import exidx
from tests.unit.unwind.arm_programs import (
    BIAS,
    CALLEE,
    EXTRA,
    FUNCTIONS,
    INDEX,
    LR,
    PC,
    SP,
    STACK,
    TEXT,
    State,
    program,
    space_of,
    t32_bl,
)
from unspool.model import Stack, StopReason, Thread, Trust
from unspool.space import AddressSpace
from unspool.unwind.arm_prologue import called_function
from unspool.unwind.step import Ended, Found, Missed, Query
from unspool.unwind.strategies.arm_guesses import ArmFramePointer
from unspool.unwind.strategies.order import default_stepper
from unspool.unwind.walk import walk

CALL_OF = {"t32": 3, "a32": 3, "t32-frame": 4, "t32-arguments": 4, "t32-one": 2}
EVERY_STEP = [
    (name, step) for name, function in FUNCTIONS.items() for step in range(len(function.codes))
]


def tables(*entries: tuple[int, bytes | None]) -> exidx.Tables:
    """An index of (offset in the text, instructions); None stands for what cannot be unwound."""
    made = exidx.Tables(INDEX, EXTRA)
    for offset, code in entries:
        if code is None:
            made.cantunwind(TEXT + offset)
        elif len(code) <= 3:
            made.inline(TEXT + offset, code)
        else:
            made.compact(TEXT + offset, code)
    return made


def step(
    space: AddressSpace, registers: list[int], *, exact: bool = True
) -> Found | Missed | Ended:
    pc = registers[PC]
    known: list[int | None] = list(registers)
    query = Query(pc, exact, known, space.memory.window(registers[SP]), False, registers[SP])
    return default_stepper(space).step(query, [])


def check(found: Found | Missed | Ended, back: int) -> Found:
    """The caller is as it was when it called: its stack, and all registers that calls keep."""
    assert isinstance(found, Found), found.why
    fresh = State()
    assert found.registers[PC] == back & ~1
    assert found.registers[SP] == fresh.r[SP]
    assert [found.registers[n] for n in range(4, 12)] == fresh.r[4:12]
    return found


@pytest.mark.parametrize("has_index", [False, True])
@pytest.mark.parametrize(("name", "number"), EVERY_STEP)
def test_every_instruction_of_a_function(name: str, number: int, has_index: bool) -> None:
    """A thread can be stopped anywhere: before the prologue is through, in the epilogue."""
    function = FUNCTIONS[name]
    code, address, back = program(function)
    pc, state = function.states(address, back)[number]
    index = tables((0, None), (CALLEE, function.unwind), (CALLEE + 0x40, None))
    found = step(space_of(code, state.stack(), index if has_index else None), state.r)
    check(found, back)
    assert pc == state.r[PC]


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("name", CALL_OF)
def test_the_index_at_a_call(name: str, in_file: bool) -> None:
    function = FUNCTIONS[name]
    code, address, back = program(function)
    at, state = function.states(address, back)[CALL_OF[name]]
    state.r[PC] = at + 4
    index = tables((0, None), (CALLEE, function.unwind), (CALLEE + 0x40, None))
    space = space_of(code, state.stack(), index, in_file=in_file)
    found = check(step(space, state.r, exact=False), back)
    assert found.trust == Trust.UNWIND_INFO


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("cantunwind", [True, False])
@pytest.mark.parametrize("name", CALL_OF)
def test_a_prologue_and_a_call_prove_each_other(
    name: str, cantunwind: bool, direct: bool
) -> None:
    """Of functions without unwind data, called directly and through pointers."""
    function = FUNCTIONS[name]
    code, address, back = program(function, direct=direct)
    at, state = function.states(address, back)[CALL_OF[name]]
    state.r[PC] = at + 4
    index = tables((0, None)) if cantunwind else None
    found = check(step(space_of(code, state.stack(), index), state.r, exact=False), back)
    assert found.trust == Trust.SCAN


def test_a_stale_return_address_below_is_no_caller() -> None:
    """The word nearest to the stack pointer has a call before it, of this very function."""
    function = FUNCTIONS["t32"]
    code, address, back = program(function)
    at, state = function.states(address, back)[CALL_OF["t32"]]
    state.r[PC] = at + 4
    state.words[state.r[SP]] = back
    check(step(space_of(code, state.stack()), state.r, exact=False), back)


def test_a_call_through_a_null_pointer() -> None:
    code, _, back = program(FUNCTIONS["t32"], direct=False)
    state = State()
    state.r[PC], state.r[LR] = 0, back
    found = check(step(space_of(code, state.stack()), state.r), back)
    assert found.trust == Trust.LEAF
    state.r[LR] = back & ~1  # T32 code does not return there as A32 code
    assert not isinstance(step(space_of(code, state.stack()), state.r), Found)


def test_instructions_that_refuse() -> None:
    function = FUNCTIONS["t32"]
    code, address, back = program(function)
    at, state = function.states(address, back)[CALL_OF["t32"]]
    state.r[PC] = at + 4
    space = space_of(code, state.stack(), tables((CALLEE, b"\x80\x00")))
    trail = []
    sp = state.r[SP]
    query = Query(at + 4, False, list(state.r), space.memory.window(sp), False, sp)
    default_stepper(space).step(query, trail)
    (answer,) = (attempt.answer for attempt in trail if attempt.strategy == "arm_exidx")
    assert answer == "broken unwind data in prog: EHABI: the function refuses to be unwound"


def stub(kind: str, at: int, target: int) -> bytes:
    """Code at an address that does nothing but jump to a T32 function, as linkers make it."""
    goal = (target | 1).to_bytes(4, "little")
    t32 = bytes.fromhex("7847c046")  # bx pc; nop
    match kind:
        case "b.w":
            jump = bytearray(t32_bl(target - at - 4))
            jump[3] &= 0xBF
            return bytes(jump)
        case "bx-pc-ldr":
            return t32 + bytes.fromhex("04f01fe5") + goal
        case "bx-pc-b-ldr":
            return t32 + bytes.fromhex("000000ea") + bytes(4) + bytes.fromhex("04f01fe5") + goal
        case "plt":
            # add ip, pc, #0; add ip, ip, #0; ldr pc, [ip, #16]!
            code = bytes.fromhex("00c68fe2" "00ca8ce2" "10f0bce5")
            return t32 + code + bytes(12) + goal
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["b.w", "bx-pc-ldr", "bx-pc-b-ldr", "plt"])
def test_calls_through_stubs(kind: str) -> None:
    """The call goes to a stub; the function that it stands for is the one that is meant."""
    function = FUNCTIONS["t32"]
    code, address, back = program(function)
    place = BIAS + TEXT + 0x600
    whole = bytearray(code)
    whole[0x400:0x404] = t32_bl(place - (back & ~1))
    data = stub(kind, place, address)
    whole[0x600 : 0x600 + len(data)] = data
    at, state = function.states(address, back)[CALL_OF["t32"]]
    state.r[PC] = at + 4
    space = space_of(bytes(whole), state.stack())
    assert called_function(space, back) == address | 1
    check(step(space, state.r, exact=False), back)


# --- frame pointers -------------------------------------------------------------------------


def frame_pointer(
    space: AddressSpace, registers: dict[int, int]
) -> Found | Ended | Missed:
    known: list[int | None] = [None] * 16
    for number, value in registers.items():
        known[number] = value
    pc = known[PC] or 0
    return ArmFramePointer(space).answer(Query(pc, False, known, None, False, known[SP]))


@pytest.mark.parametrize(
    ("register", "at", "words", "older", "sp"),
    [
        # push {fp, lr}; add fp, sp, #4
        (11, 0x44, {0x40: STACK + 0x100, 0x44: "back"}, STACK + 0x100, STACK + 0x48),
        # push {fp, ip, lr, pc}; sub fp, ip, #4
        (
            11, 0x4C,
            {0x40: STACK + 0x100, 0x44: STACK + 0x50, 0x48: "back", 0x4C: BIAS + TEXT + 12},
            STACK + 0x100, STACK + 0x50,
        ),
        # Clang's, in A32 and T32 code
        (11, 0x40, {0x40: STACK + 0x100, 0x44: "back"}, STACK + 0x100, STACK + 0x48),
        (7, 0x40, {0x40: STACK + 0x100, 0x44: "back"}, STACK + 0x100, STACK + 0x48),
    ],
)  # fmt: skip
def test_frame_records(
    register: int, at: int, words: dict[int, int | str], older: int, sp: int
) -> None:
    code, _, back = program(FUNCTIONS["t32"])
    state = State()
    for offset, value in words.items():
        state.words[STACK + offset] = back if isinstance(value, str) else value
    space = space_of(code, state.stack())
    registers = {SP: STACK + 0x20, register: STACK + at, PC: BIAS + TEXT + 0x200}
    found = frame_pointer(space, registers)
    assert isinstance(found, Found), found.why
    assert found.trust == Trust.FRAME_POINTER
    assert found.registers[PC] == back & ~1
    assert found.registers[register] == older
    assert found.registers[SP] == sp
    # Neither a return address that no call precedes, nor one of the other instruction set.
    for wrong in (back + 4, back & ~1):
        for offset, value in words.items():
            if isinstance(value, str):
                state.words[STACK + offset] = wrong
        assert isinstance(frame_pointer(space_of(code, state.stack()), registers), Missed)


@pytest.mark.parametrize(
    "registers",
    [
        {SP: STACK + 0x20, 11: STACK + 0x10},  # below the stack pointer
        {SP: STACK + 0x20, 11: STACK + 0x21},  # not a word's
        {SP: STACK + 0x20, 11: BIAS},  # somewhere else
        {SP: STACK + 0x20},
        {11: STACK + 0x20},
    ],
)
def test_what_is_no_frame_pointer(registers: dict[int, int]) -> None:
    code, _, _ = program(FUNCTIONS["t32"])
    space = space_of(code, State().stack())
    assert isinstance(frame_pointer(space, registers), Missed)


# --- whole stacks ---------------------------------------------------------------------------


def walked(space: AddressSpace, state: State) -> Stack:
    return walk(default_stepper(space), Thread(0, 1, list(state.r)))


def test_a_planted_function_that_cannot_be_unwound_is_a_root() -> None:
    """makecontext() leaves the address of code that no call leads to."""
    function = FUNCTIONS["t32"]
    code, address, _ = program(function)
    planted = BIAS + TEXT + 0x800
    at, state = function.states(address, planted | 1)[CALL_OF["t32"]]
    state.r[PC] = at
    index = tables((0, None), (CALLEE, function.unwind), (CALLEE + 0x40, None))
    stack = walked(space_of(code, state.stack(), index), state)
    assert [frame.pc for frame in stack.frames] == [at, planted]
    assert stack.stop.reason == StopReason.ROOT


def test_a_function_that_finds_itself_as_its_caller_is_no_endless_stack() -> None:
    function = FUNCTIONS["t32-leaf"]
    code, address, back = program(function)
    _, state = function.states(address, back)[0]
    state.r[PC] = back & ~1
    index = tables((0, b"\xb0"))
    stack = walked(space_of(code, state.stack(), index), state)
    assert len(stack.frames) < 5


@given(
    code=st.binary(min_size=8, max_size=400),
    stack=st.binary(min_size=64, max_size=400),
    index=st.lists(
        st.tuples(st.integers(0, 1 << 32), st.binary(max_size=12)), min_size=1, max_size=8
    ),
    seed=st.integers(0, 1 << 32),
)
def test_anything_can_be_walked(
    code: bytes, stack: bytes, index: list[tuple[int, bytes]], seed: int
) -> None:
    made = exidx.Tables(INDEX, EXTRA)
    for function, data in index:
        if len(data) == 4:
            made.raw(function, int.from_bytes(data, "little"))
        else:
            made.table(function, data)
    state = State()
    state.r = [(seed * (n + 1) * 2654435761) & 0xFFFFFFFF for n in range(16)]
    state.r[SP] = STACK + seed % 64
    state.r[PC] = BIAS + TEXT + (seed >> 8) % len(code) & ~1
    state.r[LR] = BIAS + TEXT + (seed >> 16) % len(code)
    state.r[7 if seed & 1 else 11] = STACK + (seed >> 3) % 256
    # Words that lead into the code.
    words = bytearray(stack)
    for at in range(0, len(words) - 4, 12):
        words[at : at + 4] = (BIAS + TEXT + words[at] % len(code)).to_bytes(4, "little")
    found = walked(space_of(code, bytes(words), made), state)
    assert 1 <= len(found.frames) < 1000
