"""DWARF expressions: each operation, a second evaluator for random programs, hostile ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import expression as e
from unspool.errors import FormatError
from unspool.formats.dwarf_expr import evaluate
from unspool.memory import Fault

REGISTERS = [0x1000 + 16 * n for n in range(33)]
M64 = (1 << 64) - 1


def read(address: int, size: int) -> int:
    """Memory whose byte at `a` is `a & 255`, below 0x10000; above, a fault."""
    if address + size > 0x10000:
        raise Fault(address, size)
    return int.from_bytes(bytes((address + i) & 255 for i in range(size)), "little")


def run(*pieces: bytes | tuple[str, str], initial: int | None = None, size: int = 8) -> int:
    return evaluate(e.assemble(*pieces), REGISTERS, read, size, initial)


CASES: list[tuple[int, tuple[bytes, ...]]] = [
    (7, (e.lit(7),)),
    (31, (e.lit(31),)),
    (0xFE, (e.const("1u", 0xFE),)),
    (-2 & M64, (e.const("1s", -2),)),
    (0xFFFE, (e.const("2u", 0xFFFE),)),
    (-300 & M64, (e.const("2s", -300),)),
    (0xFFFFFFFE, (e.const("4u", 0xFFFFFFFE),)),
    (-70000 & M64, (e.const("4s", -70000),)),
    (M64 - 1, (e.const("8u", M64 - 1),)),
    (-5 & M64, (e.const("8s", -5),)),
    (300, (e.constu(300),)),
    (-300 & M64, (e.consts(-300),)),
    (0x1122334455667788, (e.addr(0x1122334455667788),)),
    (REGISTERS[3] - 8, (e.breg(3, -8),)),
    (REGISTERS[32] + 8, (e.bregx(32, 8),)),
    (REGISTERS[5], (e.reg(5),)),
    (REGISTERS[32], (e.reg(32),)),
    (0x0706050403020100, (e.lit(0), e.op("deref"))),
    (0x04, (e.lit(4), e.deref_size(1))),
    (0x0504, (e.lit(4), e.deref_size(2))),
    (0x07060504, (e.lit(4), e.deref_size(4))),
    (0x0B0A090807060504, (e.lit(4), e.deref_size(8))),
    (10, (e.lit(5), e.op("dup"), e.op("plus"))),
    (1, (e.lit(1), e.lit(2), e.op("drop"))),
    (2, (e.lit(2), e.lit(9), e.op("over"))),
    (3, (e.lit(3), e.lit(2), e.lit(1), e.pick(2))),
    (1, (e.lit(3), e.lit(2), e.lit(1), e.pick(0))),
    (5, (e.lit(3), e.lit(8), e.op("swap"), e.op("minus"))),
    # rot: the top goes third, the other two move up: 1 2 3 -> 3 1 2.
    (2, (e.lit(1), e.lit(2), e.lit(3), e.op("rot"))),
    (1, (e.lit(1), e.lit(2), e.lit(3), e.op("rot"), e.op("drop"))),
    (3, (e.lit(1), e.lit(2), e.lit(3), e.op("rot"), e.op("drop"), e.op("drop"))),
    (5, (e.consts(-5), e.op("abs"))),
    (-5 & M64, (e.lit(5), e.op("neg"))),
    (M64, (e.lit(0), e.op("not"))),
    (8, (e.lit(12), e.lit(10), e.op("and"))),
    (14, (e.lit(12), e.lit(10), e.op("or"))),
    (6, (e.lit(12), e.lit(10), e.op("xor"))),
    (22, (e.lit(12), e.lit(10), e.op("plus"))),
    (2, (e.lit(12), e.lit(10), e.op("minus"))),
    (-2 & M64, (e.lit(10), e.lit(12), e.op("minus"))),
    (120, (e.lit(12), e.lit(10), e.op("mul"))),
    (3, (e.lit(13), e.lit(4), e.op("div"))),
    (-3 & M64, (e.consts(-13), e.lit(4), e.op("div"))),
    (-3 & M64, (e.lit(13), e.consts(-4), e.op("div"))),
    (3, (e.consts(-13), e.consts(-4), e.op("div"))),
    (1, (e.lit(13), e.lit(4), e.op("mod"))),
    (13 + 300, (e.lit(13), e.plus_uconst(300))),
    (40, (e.lit(5), e.lit(3), e.op("shl"))),
    (0, (e.lit(5), e.constu(64), e.op("shl"))),
    (0, (e.lit(5), e.constu(1 << 60), e.op("shl"))),
    ((-16 & M64) >> 2, (e.consts(-16), e.lit(2), e.op("shr"))),
    (0, (e.consts(-16), e.constu(64), e.op("shr"))),
    (-4 & M64, (e.consts(-16), e.lit(2), e.op("shra"))),
    (M64, (e.consts(-16), e.constu(1 << 60), e.op("shra"))),
    (1, (e.lit(3), e.lit(3), e.op("eq"))),
    (1, (e.lit(3), e.lit(4), e.op("ne"))),
    (1, (e.consts(-1), e.lit(0), e.op("lt"))),
    (0, (e.consts(-1), e.lit(0), e.op("gt"))),
    (1, (e.consts(-1), e.lit(0), e.op("le"))),
    (1, (e.lit(0), e.consts(-1), e.op("ge"))),
    (4, (e.lit(4), e.op("nop"))),
]


@pytest.mark.parametrize(("value", "pieces"), CASES)
def test_each_operation(value: int, pieces: tuple[bytes, ...]) -> None:
    assert run(*pieces) == value


def test_the_initial_value_is_at_the_bottom() -> None:
    assert run(e.plus_uconst(8), initial=0x7FF0) == 0x7FF8
    assert run(initial=0x7FF0) == 0x7FF0
    assert run(e.lit(1), initial=0x7FF0) == 1


def test_branches() -> None:
    abs_of = (e.op("dup"), e.lit(0), e.op("ge"), ("bra", "done"), e.op("neg"), ("label", "done"))
    assert run(e.consts(-9), *abs_of) == 9
    assert run(e.lit(9), *abs_of) == 9
    skipped = (e.lit(1), ("skip", "end"), e.lit(2), ("label", "end"))
    assert run(*skipped) == 1
    # A loop that counts down from 5 and adds up: 5+4+3+2+1.
    loop = (
        e.lit(0), e.lit(5), ("label", "again"), e.op("swap"), e.op("over"), e.op("plus"),
        e.op("swap"), e.lit(1), e.op("minus"), e.op("dup"), ("bra", "again"), e.op("drop"),
    )  # fmt: skip
    assert run(*loop) == 15


def test_plt_of_x86_64() -> None:
    # The CFA of .plt as ld writes it: rsp + 8, and 8 more past the push.
    plt = (
        e.breg(7, 8), e.breg(16, 0), e.lit(15), e.op("and"), e.lit(11), e.op("ge"), e.lit(3),
        e.op("shl"), e.op("plus"),
    )  # fmt: skip
    for low, more in ((0, 0), (10, 0), (11, 8), (15, 8)):
        registers = [0] * 17
        registers[7], registers[16] = 0x8000, 0x401020 + low
        assert evaluate(e.assemble(*plt), registers, read, 8) == 0x8008 + more


def test_values_are_of_address_size() -> None:
    assert run(e.lit(1), e.op("neg"), size=4) == 0xFFFFFFFF
    assert run(e.constu(1 << 31), e.constu(1 << 31), e.op("plus"), size=4) == 0
    assert run(e.addr(0x11223344, 4), size=4) == 0x11223344
    assert run(e.const("4u", 0xFFFFFFFF), e.lit(0), e.op("lt"), size=4) == 1
    assert run(e.lit(0), e.op("deref"), size=4) == 0x03020100
    with pytest.raises(FormatError):
        run(e.lit(0), e.deref_size(8), size=4)


@pytest.mark.parametrize(
    "program",
    [
        b"",
        e.op("drop"),
        e.lit(1) + e.op("plus"),
        e.lit(1) + e.pick(1),
        e.lit(1) + e.op("swap"),
        e.lit(1) + e.lit(1) + e.op("rot"),
        e.lit(1) + e.lit(0) + e.op("div"),
        e.lit(1) + e.lit(0) + e.op("mod"),
        e.lit(1) + e.deref_size(3),
        e.lit(1) + e.deref_size(0),
        e.lit(1) + e.skip(1),
        e.lit(1) + e.skip(-100),
        e.lit(1) + e.bra(32767),
        e.bregx(33, 0),
        e.bregx(1 << 60, 0),
        e.reg(1 << 40),
        b"\x70",
        b"\x10\x80",
        b"\x03\x01\x02",
        e.lit(1) + b"\x28\x01",
        e.fbreg(0),
        e.op("call_frame_cfa"),
        e.op("push_object_address"),
        e.op("form_tls_address"),
        b"\xe0",
        b"\xff",
        b"\x9e\x05",
    ],
    ids=bytes.hex,
)
def test_programs_that_make_no_sense(program: bytes) -> None:
    with pytest.raises(FormatError):
        evaluate(program, REGISTERS, read, 8)


def test_an_unknown_register_is_an_error_and_not_zero() -> None:
    with pytest.raises(FormatError, match="register 3"):
        evaluate(e.breg(3), [0, 0, 0, None], read, 8)


def test_unreadable_memory_passes_through() -> None:
    with pytest.raises(Fault):
        run(e.constu(0x20000), e.op("deref"))


@pytest.mark.parametrize(
    "program",
    [
        e.skip(-3),
        e.lit(1) + e.skip(-3),
        e.assemble(("label", "x"), e.lit(1), ("skip", "x")),
        e.assemble(("label", "x"), e.lit(1), ("bra", "x")),
        e.assemble(e.lit(1), ("label", "x"), e.op("dup"), ("bra", "x")),
        e.assemble(("label", "x"), e.lit(0), e.op("drop"), ("skip", "x")),
        e.assemble(e.lit(3), ("label", "x"), e.op("dup"), e.op("mul"), ("skip", "x")),
        e.op("nop") * 2_000_000,
    ],
    ids=["skip", "lit-skip", "grow", "bra", "dup", "steady", "square", "long"],
)
def test_programs_that_do_not_end_are_stopped(program: bytes) -> None:
    with pytest.raises(FormatError):
        evaluate(program, REGISTERS, read, 8)


# --- a second evaluator ---------------------------------------------------------------

Number = tuple[list[bytes], Callable[[], int]]


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


UNARY: dict[str, Callable[[int], int]] = {
    "abs": lambda a: abs(signed(a)), "neg": lambda a: -a, "not": lambda a: ~a,
}  # fmt: skip
BINARY: dict[str, Callable[[int, int], int]] = {
    "and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b,
    "plus": lambda a, b: a + b, "minus": lambda a, b: a - b, "mul": lambda a, b: a * b,
    "shl": lambda a, b: a << b if b < 64 else 0, "shr": lambda a, b: a >> b if b < 64 else 0,
    "shra": lambda a, b: signed(a) >> min(b, 63),
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b,
    "lt": lambda a, b: signed(a) < signed(b), "le": lambda a, b: signed(a) <= signed(b),
    "gt": lambda a, b: signed(a) > signed(b), "ge": lambda a, b: signed(a) >= signed(b),
}  # fmt: skip


@st.composite
def terms(draw: st.DrawFn, depth: int = 4) -> tuple[bytes, int]:
    """A random program that leaves one value more than it found, and that value."""
    kind = draw(st.sampled_from(["number", "register", "unary", "binary", "dup", "choice"]))
    if depth == 0 or kind == "number":
        value = draw(st.one_of(st.integers(0, 100), st.integers(-(1 << 63), M64)))
        return e.number(value), value & M64
    if kind == "register":
        number, offset = draw(st.integers(0, 32)), draw(st.integers(-1000, 1000))
        return e.breg(number, offset), (REGISTERS[number] + offset) & M64
    first, a = draw(terms(depth=depth - 1))
    if kind == "unary":
        name = draw(st.sampled_from(sorted(UNARY)))
        return first + e.op(name), UNARY[name](a) & M64
    if kind == "dup":
        name = draw(st.sampled_from(["plus", "xor", "minus"]))
        return first + e.op("dup") + e.op(name), BINARY[name](a, a) & M64
    second, b = draw(terms(depth=depth - 1))
    if kind == "choice":
        # a ? lit1 : second
        whole = e.assemble(
            first, ("bra", "yes"), second, ("skip", "end"), ("label", "yes"), e.lit(1),
            ("label", "end"),
        )  # fmt: skip
        return whole, 1 if a else b
    name = draw(st.sampled_from(sorted(BINARY)))
    return first + second + e.op(name), int(BINARY[name](a, b)) & M64


@given(terms())
def test_random_programs_have_the_value_of_the_second_evaluator(term: tuple[bytes, int]) -> None:
    program, value = term
    assert evaluate(program, REGISTERS, read, 8) == value


@given(st.binary(max_size=60), st.sampled_from([4, 8]), st.none() | st.integers(0, M64))
def test_random_bytes_end_in_a_value_or_a_format_error(
    program: bytes, size: int, initial: int | None
) -> None:
    if initial is not None:
        initial &= (1 << 8 * size) - 1
    try:
        value = evaluate(program, REGISTERS, read, size, initial)
    except (FormatError, Fault):
        return
    assert 0 <= value < 1 << 8 * size
