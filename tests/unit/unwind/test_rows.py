"""Applying rows: the one-call reader and the careful one agree, with each other and a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import expression as e
from tests.unit.unwind.spaces import ARCHES, NAMES, STACK, region, row, words
from unspool.arch.base import Arch
from unspool.memory import Fault, Memory
from unspool.model import Trust
from unspool.unwind.rows import (
    AT_EXPRESSION,
    IN_REGISTER,
    UNDEFINED,
    VALUE_EXPRESSION,
    VALUE_OFFSET,
    Row,
    Unusable,
    apply,
)

X86 = ARCHES["x86_64"]
RAX, RDX, RCX, RBX, RSI, RDI, RBP, RSP = range(8)
RIP = 16


def registers(arch: Arch = X86, sp: int = STACK) -> list[int | None]:
    values: list[int | None] = [0x100 + n for n in range(len(arch.register_names))]
    values[arch.sp] = sp
    return values


def memory(data: bytes) -> Memory:
    return Memory([region(STACK, data, writable=True)])


def test_a_plain_frame() -> None:
    held = memory(words(X86, 1, 2, 3, 0x40_1234, 5))
    made = row(X86, 32, [(RIP, -8), (RBX, -24), (RBP, -32)])
    for stack in (held.window(STACK), None):
        found = apply(made, registers(), stack, held, X86)
        assert (found[RIP], found[RSP], found[RBX], found[RBP]) == (0x40_1234, STACK + 32, 2, 1)
        assert found[RAX] == 0x100
        assert found is not registers


def test_the_given_registers_are_left_alone() -> None:
    held = memory(words(X86, 1, 2))
    before = registers()
    apply(row(X86, 16), before, held.window(STACK), held, X86)
    assert before == registers()


RULES = [
    ((RBX, UNDEFINED, 0), None),
    ((RBX, VALUE_OFFSET, -16), STACK),
    ((RBX, IN_REGISTER, RSI), 0x100 + RSI),
    ((RBX, AT_EXPRESSION, e.consts(-16) + e.op("plus")), 7),
    ((RBX, VALUE_EXPRESSION, e.consts(-16) + e.op("plus")), STACK),
    ((RBX, VALUE_EXPRESSION, e.breg(RSI, 1)), 0x100 + RSI + 1),
    ((RSP, VALUE_OFFSET, 64), STACK + 16 + 64),
]


@pytest.mark.parametrize(("rule", "value"), RULES)
def test_the_rarer_rules(rule: tuple[int, int, int | bytes], value: int | None) -> None:
    held = memory(words(X86, 7, 0x40_1234))
    made = row(X86, 16, other=[rule])
    found = apply(made, registers(), held.window(STACK), held, X86)
    assert found[rule[0]] == value
    assert found[RIP] == 0x40_1234


def test_all_rules_read_the_callees_registers() -> None:
    held = memory(words(X86, 7, 0x40_1234))
    swap = [(RBX, IN_REGISTER, RSI), (RSI, IN_REGISTER, RBX)]
    found = apply(row(X86, 16, other=swap), registers(), None, held, X86)
    assert (found[RBX], found[RSI]) == (0x100 + RSI, 0x100 + RBX)


def test_a_cfa_expression() -> None:
    held = memory(words(X86, STACK + 24, 0x40_1234, 9))
    made = row(X86, 0, [(RIP, -16), (RBX, -8)], cfa_expression=e.breg(RSP) + e.op("deref"))
    found = apply(made, registers(), held.window(STACK), held, X86)
    assert (found[RSP], found[RIP], found[RBX]) == (STACK + 24, 0x40_1234, 9)


def test_the_return_address_can_be_in_a_register() -> None:
    arm = ARCHES["aarch64"]
    found = apply(row(arm, 0, []), registers(arm), None, memory(b""), arm)
    assert found[arm.pc] == 0x100 + 30
    other = Row("x", Trust.CFI, X86, RSP, 8, [], ra_column=RDX)
    assert apply(other, registers(), None, memory(b""), X86)[RIP] == 0x100 + RDX


def test_authentication_codes_are_taken_off_the_pc_alone() -> None:
    arm = ARCHES["aarch64"]
    signed = 0x2A_0000_0040_1234 | 0x55 << 56
    held = memory(words(arm, signed, signed))
    found = apply(row(arm, 16, [(30, 0 - 16), (19, -8)]), registers(arm), None, held, arm)
    assert found[arm.pc] == 0x40_1234 | (signed & arm.code_address_mask & ~0xFFFF_FFFF)
    assert found[19] == signed


@pytest.mark.parametrize("fast", [True, False])
def test_what_cannot_be_read_is_unknown_but_for_the_return_address(fast: bool) -> None:
    held = memory(words(X86, 1, 0x40_1234))
    stack = held.window(STACK) if fast else None
    found = apply(row(X86, 16, [(RIP, -8), (RBX, 64)]), registers(), stack, held, X86)
    assert (found[RIP], found[RBX]) == (0x40_1234, None)
    with pytest.raises(Fault) as caught:
        apply(row(X86, 16, [(RIP, 64), (RBX, -8)]), registers(), stack, held, X86)
    assert caught.value.address == STACK + 16 + 64


def test_a_register_saved_where_an_expression_cannot_read_is_unknown() -> None:
    held = memory(words(X86, 1, 0x40_1234))
    for program in (e.constu(1 << 40), e.constu(1 << 40) + e.op("deref"), e.breg(RCX)):
        before = registers()
        before[RCX] = None
        made = row(X86, 16, other=[(RBX, AT_EXPRESSION, program)])
        found = apply(made, before, None, held, X86)
        assert (found[RIP], found[RBX]) == (0x40_1234, None)


def test_a_return_address_by_an_expression_that_cannot_read_is_a_fault() -> None:
    made = row(X86, 16, [], other=[(RIP, AT_EXPRESSION, e.constu(1 << 40))])
    with pytest.raises(Fault):
        apply(made, registers(), None, memory(bytes(64)), X86)


@pytest.mark.parametrize(
    "made",
    [
        row(X86, 16, cfa_register=RBX),
        row(X86, 16, [], other=[(RIP, UNDEFINED, 0)]),
        row(X86, 16, [], other=[(RIP, IN_REGISTER, RBX)]),
        row(X86, 16, cfa_expression=e.breg(RBX)),
        row(X86, 16, cfa_expression=b"\xff"),
        row(X86, 16, cfa_expression=b""),
        row(X86, 16, [], other=[(RIP, VALUE_EXPRESSION, e.breg(RBX))]),
        row(X86, 16, [], ra_column=RBX),
    ],
)
def test_rows_that_need_what_is_not_known(made: Row) -> None:
    before = registers()
    before[RBX] = None
    with pytest.raises(Unusable) as caught:
        apply(made, before, None, memory(bytes(64)), X86)
    assert str(caught.value)


def test_a_row_without_a_rule_for_the_return_address() -> None:
    # Found by fuzzing: the function was its own caller, 2 million times.
    with pytest.raises(Unusable, match="does not say"):
        apply(row(X86, 16, [(RBX, -16)]), registers(), None, memory(bytes(64)), X86)
    arm = ARCHES["aarch64"]
    leaf = registers(arm)
    assert apply(row(arm, 16, []), leaf, None, memory(b""), arm)[arm.pc] == leaf[30]
    leaf[arm.pc] = leaf[30]
    with pytest.raises(Unusable, match="does not say"):
        apply(row(arm, 16, []), leaf, None, memory(b""), arm)


def test_addresses_wrap_around() -> None:
    i386 = ARCHES["i386"]
    held = Memory([region(0xFFFF_FFF0, words(i386, 1, 2, 3, 0x40_1234), writable=True)])
    made = row(i386, 0x20, [(8, -0x14)])
    found = apply(made, registers(i386, 0xFFFF_FFF0), None, held, i386)
    assert found[i386.sp] == 0x10
    assert found[i386.pc] == 0x40_1234


def test_a_row_in_words() -> None:
    text = row(X86, 16, [(RIP, -8), (RBX, -16)]).describe(X86)
    assert "rsp+16" in text
    assert "rip at CFA-8" in text
    assert "no caller" in row(X86, 8, root=True).describe(X86)
    assert "expression" in row(X86, 8, cfa_expression=b"\x30").describe(X86)
    assert "1 further" in row(X86, 8, other=[(RBX, UNDEFINED, 0)]).describe(X86)


@pytest.mark.parametrize("fast", [True, False])
def test_a_stack_pointer_saved_in_memory_is_not_the_cfa(fast: bool) -> None:
    held = memory(words(X86, 0x40_1234, 0x33, 0x202, STACK + 24, 0x2B))
    made = row(X86, 40, [(RIP, -40), (RSP, -16)])
    found = apply(made, registers(), held.window(STACK) if fast else None, held, X86)
    assert (found[RIP], found[RSP]) == (0x40_1234, STACK + 24)
    # The hot loop of a walk takes the CFA for the stack pointer.
    assert made.quick is None
    assert row(X86, 40, [(RIP, -40)]).quick is not None


def test_an_interrupted_caller_is_not_for_the_hot_loop() -> None:
    # Its pc is exact, and the hot loop looks callers up by what lies before their pc.
    assert row(X86, 40, [(RIP, -40)], interrupted=True).quick is None


OFFSETS = st.one_of(st.integers(-200, 200), st.sampled_from([-70_000, 70_000, 1 << 40]))


@pytest.mark.parametrize("name", NAMES)
@given(
    data=st.binary(min_size=400, max_size=400),
    sp=st.integers(0, 400),
    cfa=st.integers(-100, 300),
    saved=st.dictionaries(st.integers(0, 8), OFFSETS, max_size=9),
)
def test_rows_agree_with_the_definition(
    name: str, data: bytes, sp: int, cfa: int, saved: dict[int, int]
) -> None:
    """Each saved register is the word at CFA + n; both readers say so, or fail alike."""
    arch = ARCHES[name]
    size = arch.pointer_size
    held = memory(data)
    before = registers(arch, STACK + sp)
    made = row(arch, cfa, list(saved.items()))

    def word(address: int) -> int | None:
        at = address - STACK
        return int.from_bytes(data[at : at + size], "little") if 0 <= at <= 400 - size else None

    top = (STACK + sp + cfa) & arch.mask
    expected = list(before)
    expected[arch.sp] = top
    for register, offset in saved.items():
        expected[register] = word((top + offset) & arch.mask)
    outcomes = []
    for stack in (held.window(STACK), None):
        try:
            outcomes.append(apply(made, before, stack, held, arch))
        except (Fault, Unusable):
            outcomes.append(None)  # type: ignore[arg-type]
    assert outcomes[0] == outcomes[1]
    ra = expected[arch.ra_column]
    if ra is None or (arch.ra_column == arch.pc and arch.ra_column not in saved):
        assert outcomes[0] is None
        return
    expected[arch.pc] = ra & arch.code_address_mask
    assert outcomes[0] == expected
