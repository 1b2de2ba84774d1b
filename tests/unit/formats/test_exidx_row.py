"""Unwinding instructions of 32-bit Arm, against a machine that runs them on real words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import exidx as build
from unspool.arch.arm import ARM
from unspool.errors import FormatError
from unspool.formats.exidx_row import run
from unspool.memory import Fault, Memory, Region
from unspool.unwind.rows import Unusable, apply
from unspool.unwind.strategies.arm_exidx import to_row

STACK, SIZE = 0x7000_0000, 0x10000


class Refused(Exception):
    """An instruction that the ABI keeps for later, or "refuse to unwind"."""


class Machine:
    """The ABI's table 4, taken word for word: registers, memory, and a virtual stack pointer."""

    def __init__(self, registers: list[int], words: dict[int, int]) -> None:
        self.r = list(registers)
        self.words = words
        self.vsp = self.r[13]
        self.popped_pc = False

    def load(self) -> int:
        value = self.words.get(self.vsp)
        if value is None:
            raise Fault(self.vsp, 4)
        self.vsp += 4
        return value

    def pop(self, numbers: list[int]) -> None:
        loaded = {number: self.load() for number in numbers}
        for number, value in loaded.items():
            self.r[number] = value
        if 13 in loaded:
            self.vsp = loaded[13]
        self.popped_pc |= 15 in loaded

    def run(self, code: bytes) -> None:
        stream = iter(code)
        for op in stream:
            if op == 0xB0:
                break
            self.step(op, stream)
        self.r[13] = self.vsp
        if not self.popped_pc:
            self.r[15] = self.r[14]

    def step(self, op: int, stream: object) -> None:
        def following() -> int:
            value = next(stream, None)  # type: ignore[call-overload]
            if value is None:
                raise Refused
            return int(value)

        bits = f"{op:08b}"
        if re.match("00......", bits):
            self.vsp += ((op & 63) << 2) + 4
        elif re.match("01......", bits):
            self.vsp -= ((op & 63) << 2) + 4
        elif re.match("1000....", bits):
            mask = (op & 15) << 8 | following()
            if not mask:
                raise Refused
            self.pop([4 + n for n in range(12) if mask >> n & 1])
        elif re.match("1001....", bits):
            if op & 15 in (13, 15):
                raise Refused
            self.vsp = self.r[op & 15]
        elif re.match("10100...", bits):
            self.pop(list(range(4, 5 + (op & 7))))
        elif re.match("10101...", bits):
            self.pop([*range(4, 5 + (op & 7)), 14])
        elif op == 0xB1:
            mask = following()
            if not 0 < mask < 16:
                raise Refused
            self.pop([n for n in range(4) if mask >> n & 1])
        elif op == 0xB2:
            value = shift = 0
            while True:
                byte = following()
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            self.vsp += 0x204 + (value << 2)
        elif op == 0xB3:
            self.vsp += 8 * ((following() & 15) + 1) + 4
        elif op == 0xB4:
            self.load()
        elif op == 0xB5:
            pass
        elif re.match("10111...", bits):
            self.vsp += 8 * ((op & 7) + 1) + 4
        elif re.match("11000...", bits) and op & 7 < 6:
            self.vsp += 8 * ((op & 7) + 1)
        elif op in (0xC6, 0xC8, 0xC9):
            self.vsp += 8 * ((following() & 15) + 1)
        elif op == 0xC7:
            mask = following()
            if not 0 < mask < 16:
                raise Refused
            self.vsp += 4 * bin(mask).count("1")
        elif re.match("11010...", bits):
            self.vsp += 8 * ((op & 7) + 1)
        else:
            raise Refused


WORDS = {STACK + at: 0x7000_0000 | at * 2654435761 % SIZE & ~3 for at in range(0, SIZE, 4)}
MEMORY = Memory(
    [
        Region(
            STACK,
            STACK + SIZE,
            lambda: (b"".join(word.to_bytes(4, "little") for word in WORDS.values()), 0, SIZE),
            writable=True,
        )
    ]
)
REGISTERS = [0x100 + n for n in range(4)] + [STACK + 0x4000 + 0x40 * n for n in range(4, 16)]


def ours(code: bytes) -> list[int | None]:
    row = to_row(ARM, run(code))
    return apply(row, list(REGISTERS), MEMORY.window(STACK), MEMORY, ARM)


def compare(code: bytes) -> None:
    """The machine's registers and ours are the same, or neither of us has any."""
    machine = Machine(REGISTERS, WORDS)
    try:
        machine.run(code)
    except Refused:
        with pytest.raises(FormatError):
            run(code)
        return
    except Fault:
        return
    try:
        found = ours(code)
    except Fault:
        return  # of what our row reads first: the order is its own
    except Unusable as reason:
        assert "return address" in str(reason)
        return
    except FormatError as error:
        assert "further than memory" in str(error)
        return
    assert found[13] == machine.r[13] & 0xFFFFFFFF
    assert found[15] == machine.r[15] & 0xFFFFFFFE
    for number in range(13):
        assert found[number] == machine.r[number], f"r{number}"


@pytest.mark.parametrize("op", range(256))
def test_every_instruction(op: int) -> None:
    for operand in (0x00, 0x01, 0x05, 0x0F, 0x10, 0x7F, 0x42, 0xFF):
        compare(bytes([op, operand, 0xB0]))
        compare(build.pop(14) + bytes([op, operand, 0xB0]))
        compare(bytes([op, operand]) + build.pop(4, 14) + build.vsp(8))


@given(st.binary(max_size=12))
def test_any_instructions(code: bytes) -> None:
    compare(code)


@given(
    st.lists(
        st.one_of(
            st.integers(1, 200).map(lambda n: build.vsp(4 * n)),
            st.integers(1, 30).map(lambda n: build.vsp(-4 * n)),
            st.sets(st.integers(4, 15), min_size=1).map(lambda each: build.pop(*each)),
            st.sampled_from([4, 7, 11, 12]).map(build.from_register),
            st.integers(4, 11).map(lambda last: build.pop_range(last, link=True)),
            st.sets(st.integers(0, 3), min_size=1).map(lambda each: build.pop_arguments(*each)),
        ),
        max_size=6,
    )
)
def test_likely_instructions(parts: list[bytes]) -> None:
    compare(b"".join(parts))


def test_a_row_of_the_common_kind_is_quick() -> None:
    row = to_row(ARM, run(build.vsp(16) + build.pop(4, 5, 14)))
    assert row.quick is not None
    assert (row.cfa_register, row.cfa_offset) == (13, 28)
    assert sorted(row.saved) == [(4, -12), (5, -8), (14, -4)]


def test_a_frame_pointer_is_the_base() -> None:
    row = to_row(ARM, run(build.from_register(7) + build.vsp(8) + build.pop(7, 14)))
    assert row.quick is not None
    assert (row.cfa_register, row.cfa_offset) == (7, 16)


def test_a_stack_pointer_that_was_saved_is_the_new_one() -> None:
    """As the old procedure call standard has it: r11, r13, r14 are popped at once."""
    code = build.from_register(11) + build.vsp(-12) + build.pop(11, 13, 14)
    found = ours(code)
    base = REGISTERS[11] - 12
    assert (found[11], found[13]) == (WORDS[base], WORDS[base + 4])
    assert found[15] == WORDS[base + 8] & ~1


@pytest.mark.parametrize(
    "code", [b"\xb2" + b"\xff" * 20, b"\xb2" + b"\xff" * 8 + b"\x7f", b"\x80", b"\xb1", b"\xb3"]
)
def test_instructions_that_end_early_or_go_too_far(code: bytes) -> None:
    with pytest.raises(FormatError):
        run(code)


def test_many_instructions_are_bounded() -> None:
    chain = build.pop(13, 14) * 500
    row = to_row(ARM, run(chain))
    assert row.cfa_expression is not None
    assert len(row.cfa_expression) < 8 * 510
    run(b"\x00" * 100_000)
