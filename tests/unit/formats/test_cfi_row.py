"""Running FDEs: each instruction, random programs against a model, readelf and pyelftools."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build import cfi as b
from tests.build import expression as e
from tests.build.cfi import FrameSection
from tests.build.elf import EM_X86_64, Elf
from tests.conftest import Tool
from tests.unit.formats import oracles
from unspool.errors import FormatError
from unspool.formats.cfi import CfiSection
from unspool.formats.cfi_row import (
    EXPRESSION,
    OFFSET,
    REGISTER,
    SAME_VALUE,
    UNDEFINED,
    VAL_EXPRESSION,
    VAL_OFFSET,
    CfiRow,
    row_at,
)

START, SIZE = 0x40_1000, 1 << 20
INITIAL = b.def_cfa(7, 8) + b.offset(16, 1)


def row(
    instructions: bytes,
    at: int = 0,
    *,
    initial: bytes = INITIAL,
    code_align: int = 1,
    data_align: int = -8,
    encoding: int = b.PCREL | b.SDATA4,
    size: int = 8,
) -> CfiRow:
    """The row at START + `at` of an FDE with these instructions."""
    frames = FrameSection(address=0x50_0000, address_size=size)
    cie = frames.cie(
        code_align=code_align, data_align=data_align, initial=initial, fde_encoding=encoding
    )
    offset = frames.fde(cie, START, SIZE, instructions)
    data = frames.build()
    section = CfiSection(data, 0, len(data), 0x50_0000, is_eh=True, address_size=size)
    fde = section.fde_at(offset)
    assert fde is not None
    return row_at(section, fde, START + at)


PROGRAM = e.assemble(e.breg(6, 16), e.op("deref"))

RULES: list[tuple[bytes, int, tuple[int, int | bytes]]] = [
    (b.offset(3, 2), 3, (OFFSET, -16)),
    (b.offset(63, 2), 63, (OFFSET, -16)),
    (b.offset_extended(3, 300), 3, (OFFSET, -2400)),
    (b.offset_extended(70, 1), 70, (OFFSET, -8)),
    (b.offset_extended_sf(3, -2), 3, (OFFSET, 16)),
    (b.gnu_negative_offset_extended(3, 2), 3, (OFFSET, 16)),
    (b.val_offset(7, 2), 7, (VAL_OFFSET, -16)),
    (b.val_offset_sf(7, -2), 7, (VAL_OFFSET, 16)),
    (b.register(3, 12), 3, (REGISTER, 12)),
    (b.undefined(3), 3, (UNDEFINED, 0)),
    (b.same_value(3), 3, (SAME_VALUE, 0)),
    (b.expression(3, PROGRAM), 3, (EXPRESSION, PROGRAM)),
    (b.val_expression(3, PROGRAM), 3, (VAL_EXPRESSION, PROGRAM)),
    (b.val_expression(3, b""), 3, (VAL_EXPRESSION, b"")),
]


@pytest.mark.parametrize(("instruction", "register", "rule"), RULES)
def test_register_rules(instruction: bytes, register: int, rule: tuple[int, int | bytes]) -> None:
    found = row(instruction)
    assert found.rules == {16: (OFFSET, -8), register: rule}
    assert (found.cfa_register, found.cfa_offset, found.cfa_expression) == (7, 8, None)
    # In the CIE they mean the same.
    assert row(b"", initial=INITIAL + instruction).rules == found.rules


CFAS = [
    (b.def_cfa(6, 300), (6, 300, None)),
    (b.def_cfa_sf(6, -2), (6, 16, None)),
    (b.def_cfa_register(6), (6, 8, None)),
    (b.def_cfa_offset(24), (7, 24, None)),
    (b.def_cfa_offset_sf(-3), (7, 24, None)),
    (b.def_cfa_expression(PROGRAM) + b.def_cfa(6, 16), (6, 16, None)),
    (b.def_cfa_expression(PROGRAM) + b.def_cfa_sf(6, -2), (6, 16, None)),
]


@pytest.mark.parametrize(("instructions", "cfa"), CFAS)
def test_cfa_rules(instructions: bytes, cfa: tuple[int, int, bytes | None]) -> None:
    found = row(instructions)
    assert (found.cfa_register, found.cfa_offset, found.cfa_expression) == cfa


def test_a_cfa_expression() -> None:
    assert row(b.def_cfa_expression(PROGRAM)).cfa_expression == PROGRAM


ADVANCES = [
    (b.advance_loc(5), 5), (b.advance_loc1(200), 200), (b.advance_loc2(0x1234), 0x1234),
    (b.advance_loc4(0x12345), 0x12345), (b.advance_loc(0), 0), (b.advance_loc4(0), 0),
    (b.mips_advance_loc8(0x1234), 0x1234),
]  # fmt: skip


@pytest.mark.parametrize(("advance", "delta"), ADVANCES)
@pytest.mark.parametrize("code_align", [1, 4])
def test_advances(advance: bytes, delta: int, code_align: int) -> None:
    border = delta * code_align
    code = advance + b.def_cfa_offset(16)
    assert row(code, border, code_align=code_align).cfa_offset == 16
    if border:
        assert row(code, border - 1, code_align=code_align).cfa_offset == 8
        assert row(code, 0, code_align=code_align).cfa_offset == 8


@pytest.mark.parametrize(
    ("encoding", "size"), [(b.ABSPTR, 8), (b.ABSPTR, 4), (b.UDATA4, 8), (b.SDATA8, 8)]
)
def test_set_loc(encoding: int, size: int) -> None:
    target = b.set_loc(b.pointer(START + 0x40, encoding, 0, size))
    code = target + b.def_cfa_offset(16)
    for at, expected in ((0, 8), (0x3F, 8), (0x40, 16), (0x100, 16)):
        assert row(code, at, encoding=encoding, size=size).cfa_offset == expected


def test_restore_takes_the_rule_of_the_cie() -> None:
    for restore in (b.restore(16), b.restore_extended(16)):
        assert row(b.undefined(16) + restore).rules == {16: (OFFSET, -8)}
    # A register that the CIE says nothing of is unspecified again.
    for restore in (b.restore(3), b.restore_extended(3)):
        assert row(b.offset(3, 2) + restore).rules == {16: (OFFSET, -8)}


def test_remembered_states_are_a_stack_and_hold_the_cfa() -> None:
    code = (
        b.offset(3, 2) + b.def_cfa_offset(16) + b.advance_loc(1)
        + b.remember_state() + b.offset(6, 3) + b.def_cfa(6, 24) + b.advance_loc(1)
        + b.remember_state() + b.def_cfa_expression(PROGRAM) + b.restore(3) + b.advance_loc(1)
        + b.restore_state() + b.advance_loc(1)
        + b.restore_state() + b.advance_loc(1)
    )  # fmt: skip
    cfas = []
    for at in range(5):
        found = row(code, at)
        cfas.append(
            (found.cfa_register, found.cfa_offset, found.cfa_expression, sorted(found.rules))
        )
    assert cfas == [
        (7, 16, None, [3, 16]),
        (6, 24, None, [3, 6, 16]),
        (6, 24, PROGRAM, [6, 16]),
        (6, 24, None, [3, 6, 16]),
        (7, 16, None, [3, 16]),
    ]


def test_a_remembered_state_is_a_copy() -> None:
    code = b.remember_state() + b.offset(3, 9) + b.restore_state() + b.remember_state()
    assert row(code + b.offset(6, 1) + b.restore_state()).rules == {16: (OFFSET, -8)}


def test_instructions_without_an_effect_on_rules() -> None:
    code = b.nop() + b.gnu_args_size(300) + b.negate_ra_state() + b.negate_ra_state_with_pc()
    assert row(code + b.def_cfa_offset(16)).cfa_offset == 16


def test_padded_operands() -> None:
    # GNU as pads advances that it relaxes: ULEB128 with more bytes than needed.
    assert row(b"\x0e" + b.uleb(16, 5)).cfa_offset == 16


BROKEN = [
    b.restore_state(),
    b.remember_state() + b.restore_state() * 2,
    b"\x0e", b"\x0e\x80", b"\x02", b"\x03\x01", b"\x04\x01\x02", b"\x0c\x07", b"\x83",
    b"\x01\x00", b"\x0f\x7f", b"\x10\x03\x7f", b"\x16\x03\xff\xff\xff\xff\x0f",
    b"\x0e" + b"\x80" * 30,
    b"\x17", b"\x1c", b"\x20", b"\x30", b"\x3f",
]  # fmt: skip


@pytest.mark.parametrize("instructions", BROKEN, ids=bytes.hex)
def test_broken_instructions(instructions: bytes) -> None:
    frames = FrameSection(address_size=1)  # no padding behind the instructions
    frames.address_size = 8
    cie = frames.cie(initial=INITIAL)
    frames.address_size = 1
    cie.address_size = 8
    offset = frames.fde(cie, START, SIZE, instructions)
    data = frames.build(terminator=False)
    section = CfiSection(data, 0, len(data), 0, is_eh=True, address_size=8)
    fde = section.fde_at(offset)
    assert fde is not None
    with pytest.raises(FormatError):
        row_at(section, fde, START)


def test_what_lies_behind_the_address_is_not_run() -> None:
    assert row(b.def_cfa_offset(16) + b.advance_loc(9) + b"\x3f\xff", 8).cfa_offset == 16


# --- hostile ones ---------------------------------------------------------------------

MANY = 400_000
HOSTILE = {
    "nops": b.nop() * 8_000_000,
    "advances by nothing": b.advance_loc(0) * 8_000_000,
    "defined again and again": b.def_cfa_offset(16) * 4_000_000,
    "remembered without end": b.remember_state() * MANY,
    # Once 88 s: every copy of a state copied 40,000 rules.
    "remembered and restored": b"".join(b.offset_extended(n, 1) for n in range(40_000))
    + (b.remember_state() + b.restore_state()) * MANY,
    "remembered with 200 rules": b"".join(b.offset_extended(n, 1) for n in range(200))
    + (b.remember_state() + b.restore_state()) * MANY,
    # Once 10 s and gigabytes.
    "many remembered states of many rules": b"".join(b.offset_extended(n, 1) for n in range(60_000))
    + b.remember_state() * 900,
    "a rule for each of a million registers": b"".join(
        b.offset_extended(n * 1000, 1) for n in range(1_000_000)
    ),
    "set_loc in a circle": b.set_loc(b.pointer(START, b.ABSPTR, 0)) * MANY,
    "large expressions": b.def_cfa_expression(bytes(4000)) * 2000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_programs_end_soon(name: str) -> None:
    began = time.process_time()
    try:
        row(HOSTILE[name], 5, encoding=b.ABSPTR)
    except FormatError as error:
        assert "CFI" in str(error)
    assert time.process_time() - began < 3


# --- random programs against a model --------------------------------------------------

# The model's state: (cfa, rules); a cfa is (register, offset) or an expression.
State = tuple[object, dict[int, tuple[int, int | bytes]]]
Case = tuple[int, int, bytes, bytes, list[tuple[int, State]]]


@st.composite
def programs(draw: st.DrawFn) -> Case:
    """code_align, data_align, CIE and FDE instructions, and the rows: (offset, state)."""
    code_align = draw(st.sampled_from([1, 2, 4]))
    data_align = draw(st.sampled_from([-8, -4, 8, 1]))
    registers = st.integers(0, 20)
    small = st.integers(0, 200)
    either = st.integers(-200, 200)
    blocks = st.binary(max_size=6)
    state: State = ((7, 8), {})
    initial = b.def_cfa(7, 8)

    def instruction(initial_rules: dict[int, tuple[int, int | bytes]] | None) -> bytes:
        nonlocal state
        cfa, rules = state
        number, n, s = draw(registers), draw(small), draw(either)
        kind = draw(st.integers(0, 17 if initial_rules is not None else 13))
        rules = dict(rules)
        code = b.nop()
        if kind == 0:
            code, rules[number] = b.offset(number, n), (OFFSET, n * data_align)
        elif kind == 1:
            code, rules[number] = b.offset_extended(number, n), (OFFSET, n * data_align)
        elif kind == 2:
            code, rules[number] = b.offset_extended_sf(number, s), (OFFSET, s * data_align)
        elif kind == 3:
            code, rules[number] = b.val_offset(number, n), (VAL_OFFSET, n * data_align)
        elif kind == 4:
            code, rules[number] = b.val_offset_sf(number, s), (VAL_OFFSET, s * data_align)
        elif kind == 5:
            code, rules[number] = b.register(number, n), (REGISTER, n)
        elif kind == 6:
            code, rules[number] = b.undefined(number), (UNDEFINED, 0)
        elif kind == 7:
            code, rules[number] = b.same_value(number), (SAME_VALUE, 0)
        elif kind == 8:
            program = draw(blocks)
            code, rules[number] = b.expression(number, program), (EXPRESSION, program)
        elif kind == 9:
            program = draw(blocks)
            code, rules[number] = b.val_expression(number, program), (VAL_EXPRESSION, program)
        elif kind == 10:
            code, cfa = b.def_cfa(number, n), (number, n)
        elif kind == 11:
            code, cfa = b.def_cfa_sf(number, s), (number, s * data_align)
        elif kind == 12:
            if isinstance(cfa, tuple):
                code, cfa = b.def_cfa_register(number), (number, cfa[1])
        elif kind == 13:
            if isinstance(cfa, tuple):
                code, cfa = b.def_cfa_offset(n), (cfa[0], n)
        elif initial_rules is not None and kind == 14:
            cfa = draw(blocks)
            code = b.def_cfa_expression(cfa)
        elif initial_rules is not None and kind == 15:
            code = draw(st.sampled_from([b.restore, b.restore_extended]))(number)
            rules.pop(number, None)
            if number in initial_rules:
                rules[number] = initial_rules[number]
        elif kind == 16:
            code = b.remember_state()
            remembered.append((cfa, dict(rules)))
        elif kind == 17 and remembered:
            code = b.restore_state()
            cfa, rules = remembered.pop()
        state = cfa, rules
        return code

    remembered: list[State] = []
    for _ in range(draw(st.integers(0, 4))):
        initial += instruction(None)
    first = dict(state[1])
    code = b""
    rows: list[tuple[int, State]] = []
    at = 0
    for _ in range(draw(st.integers(0, 6))):
        for _ in range(draw(st.integers(0, 4))):
            code += instruction(first)
        rows.append((at, state))
        delta = draw(st.integers(1, 400))
        code += b.advance(delta)
        at += delta * code_align
    rows.append((at, state))
    return code_align, data_align, initial, code, rows


@given(programs())
def test_random_programs_give_the_rows_of_the_model(
    case: Case,
) -> None:
    code_align, data_align, initial, code, rows = case
    for index, (at, (cfa, rules)) in enumerate(rows):
        last = rows[index + 1][0] - 1 if index + 1 < len(rows) else at + 50
        for probe in {at, last}:
            found = row(code, probe, initial=initial, code_align=code_align, data_align=data_align)
            got = found.cfa_expression
            assert (got if got is not None else (found.cfa_register, found.cfa_offset)) == cfa
            assert found.rules == rules


def library(section: FrameSection, path: Path, name: str) -> None:
    image = Elf(64, EM_X86_64)
    text = image.section(".text", data=bytes(64), address=START, flags="ax")
    image.load([text], flags="rx")
    image.section(name, data=section.build(), address=section.address, flags="a")
    path.write_bytes(image.build())


@pytest.mark.parametrize("name", [".eh_frame", ".debug_frame"])
@settings(max_examples=8)
@given(cases=st.lists(programs(), min_size=10, max_size=10))
def test_random_programs_have_the_rows_of_readelf_and_pyelftools(
    tool: Tool, tmp_path_factory: pytest.TempPathFactory, name: str, cases: list[Case]
) -> None:
    pytest.importorskip("elftools")
    frames = FrameSection(name[1:], 0x50_0000 if name == ".eh_frame" else 0)
    augmentation = "zR" if name == ".eh_frame" else ""
    for i, (code_align, data_align, initial, code, rows) in enumerate(cases):
        cie = frames.cie(
            version=3, augmentation=augmentation, code_align=code_align, data_align=data_align,
            initial=initial,
        )  # fmt: skip
        frames.fde(cie, START + i * 0x10000, rows[-1][0] + 50, code)
    path = tmp_path_factory.getbasetemp() / f"random{name}"
    library(frames, path, name)
    section = oracles.open_section(path.read_bytes(), name)
    assert section is not None
    text = tool("readelf", "-W", "-wNF", path)
    assert "arning" not in text
    oracle = oracles.from_readelf(text, name, EM_X86_64)
    assert len(oracle) == len(cases)
    assert oracles.differences(section, oracle, whole=False) == []
