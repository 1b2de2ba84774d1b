"""Strategies that are asked before the tables, and parts of a stack of another architecture."""

from __future__ import annotations

import pytest

from tests.unit.unwind.spaces import (
    ARCHES,
    STACK,
    Table,
    call_at,
    region,
    row,
    space,
    thread,
    words,
)
from unspool.model import Gap, StopReason, Trust
from unspool.space import AddressSpace, KnownStack
from unspool.unwind.rows import Row
from unspool.unwind.step import EarlyStrategy, Ended, Found, Missed, Query, Stepper, Switch
from unspool.unwind.walk import walk

X86 = ARCHES["x86_64"]
I386 = ARCHES["i386"]
OTHER = 0x5000_0000


class Claim(EarlyStrategy):
    """Claims one look-up pc and gives a prepared answer."""

    name = "claim"

    def __init__(self, pc: int, answer: Found | Missed | Ended) -> None:
        self.pc = pc
        self.prepared = answer
        self.asked = 0

    def claims(self, query: Query) -> bool:
        return query.lookup_pc == self.pc

    def answer(self, query: Query) -> Found | Missed | Ended:
        self.asked += 1
        return self.prepared


def found(arch_name: str, pc: int, sp: int, **keywords: object) -> Found:
    arch = ARCHES[arch_name]
    registers: list[int | None] = [0] * len(arch.register_names)
    registers[arch.pc], registers[arch.sp] = pc, sp
    return Found(registers, Trust.SEGMENT_SWITCH, **keywords)  # type: ignore[arg-type]


@pytest.fixture
def made() -> AddressSpace:
    """Two stacks of two-word frames."""
    data = words(X86, 1, call_at("x86_64", 6), 2, 0)
    return space("x86_64", data, region(OTHER, words(X86, 3, 0), writable=True))


def rows(*pcs: int) -> dict[int, Row]:
    return {pc: row(X86, 16, [(X86.ra_column, -8)]) for pc in pcs}


def stepper(made: AddressSpace, claim: Claim, table: Table) -> Stepper:
    result = Stepper(made, [table], [])
    result.early.append(claim)
    return result


def test_what_is_claimed_is_not_asked_of_the_tables(made: AddressSpace) -> None:
    goal = found("x86_64", call_at("x86_64", 9), OTHER, switch=Switch("windows", "a switch"))
    start = call_at("x86_64", 3)
    table = Table({**rows(start), call_at("x86_64", 9) - 1: row(X86, 16, [], root=True)})
    stack = walk(stepper(made, Claim(start, goal), table), thread(X86, pc=start, sp=STACK))
    assert [frame.pc for frame in stack.frames] == [start, call_at("x86_64", 9)]
    assert start not in table.asked
    assert [(each.kind, each.switch) for each in stack.segments] == [
        ("unix", None), ("windows", "a switch"),
    ]  # fmt: skip
    assert stack.stop.reason == StopReason.ROOT


def test_a_switch_may_lead_anywhere_but_not_in_a_circle(made: AddressSpace) -> None:
    start = call_at("x86_64", 3) - 1
    back = found("x86_64", start + 1, STACK, switch=Switch("other", "back"))
    claim = Claim(start, back)
    stack = walk(stepper(made, claim, Table({})), thread(X86, pc=start, sp=STACK))
    # The caller's address is looked up one lower: at the claimed pc again.
    assert stack.stop.reason == StopReason.CYCLE
    assert claim.asked == 2


def test_rows_of_claimed_code_are_not_remembered(made: AddressSpace) -> None:
    """A claim that has no answer for one thread has one for the next, at the same pc."""
    start = call_at("x86_64", 3)
    claim = Claim(start, Missed("not for this thread"))
    table = Table(rows(start))
    whole = stepper(made, claim, table)
    for _ in range(2):
        stack = walk(whole, thread(X86, pc=start, sp=STACK))
        assert [frame.pc for frame in stack.frames] == [start, call_at("x86_64", 6)]
    assert claim.asked == 2
    assert start not in whole.rows


def test_a_final_miss_ends_the_stack(made: AddressSpace) -> None:
    start = call_at("x86_64", 3)
    claim = Claim(start, Missed("its unwind data is known to be wrong", final=True))
    stack = walk(stepper(made, claim, Table(rows(start))), thread(X86, pc=start, sp=STACK))
    assert len(stack.frames) == 1
    assert stack.stop.detail == "its unwind data is known to be wrong"
    assert stack.stop.reason == StopReason.NO_STRATEGY


def test_the_trail_names_the_switch_and_its_evidence(made: AddressSpace) -> None:
    start = call_at("x86_64", 3)
    switch = Switch("windows", "a switch", found_by="two ways")
    goal = found("x86_64", call_at("x86_64", 9), OTHER, switch=switch)
    stack = walk(
        stepper(made, Claim(start, goal), Table({})),
        thread(X86, pc=start, sp=STACK),
        explain=True,
    )
    trail = stack.frames[0].trail
    assert trail is not None
    assert "a switch, found by two ways; caller at" in trail[-1].answer


def mixed(made: AddressSpace, inner: Found | Missed | Ended) -> tuple[Stepper, int]:
    """64-bit code that runs 32-bit code, whose only frame answers `inner`, and goes on itself."""
    start = call_at("x86_64", 3)
    compat_table = Table({})
    compat = Stepper(made.in_mode(I386), [compat_table], [])
    compat.early.append(Claim(call_at("x86_64", 12), inner))
    native_table = Table({call_at("x86_64", 6) - 1: row(X86, 16, [], root=True)})
    native = Stepper(made, [native_table], [])
    after = found(
        "x86_64", call_at("x86_64", 6), STACK + 16, stepper=native,
        switch=Switch("windows", "back to 64-bit"),
    )  # fmt: skip
    into = found(
        "i386", call_at("x86_64", 12), OTHER, exact=True, stepper=compat, resume=after,
        switch=Switch("windows", "into 32-bit"),
    )  # fmt: skip
    native.early.append(Claim(start, into))
    return native, start


def test_a_part_of_another_architecture_ends_where_it_was_started(made: AddressSpace) -> None:
    native, start = mixed(made, Ended("the root of the 32-bit part", of_a_part=True))
    stack = walk(native, thread(X86, pc=start, sp=STACK))
    assert [frame.pc for frame in stack.frames] == [
        start, call_at("x86_64", 12), call_at("x86_64", 6),
    ]  # fmt: skip
    assert [each.switch for each in stack.segments] == [None, "into 32-bit", "back to 64-bit"]
    assert stack.stop.reason == StopReason.ROOT
    assert not stack.gaps


def test_a_part_that_cannot_be_finished_leaves_a_gap(made: AddressSpace) -> None:
    native, start = mixed(made, Missed("nobody knows", final=True))
    stack = walk(native, thread(X86, pc=start, sp=STACK))
    assert [frame.pc for frame in stack.frames][-1] == call_at("x86_64", 6)
    assert list(stack.gaps) == [Gap(2, "nobody knows")]
    assert stack.stop.reason == StopReason.ROOT


def test_the_root_of_a_part_alone_is_no_root(made: AddressSpace) -> None:
    start = call_at("x86_64", 3)
    claim = Claim(start, Ended("started by others", of_a_part=True))
    stack = walk(stepper(made, claim, Table({})), thread(X86, pc=start, sp=STACK))
    assert (stack.stop.reason, stack.stop.detail) == (StopReason.NO_STRATEGY, "started by others")


def test_bounds_of_a_known_stack_are_its_own_not_the_mapping_s(made: AddressSpace) -> None:
    made.know_stacks([KnownStack("windows", STACK - 64, STACK + 24, 0)])
    start = call_at("x86_64", 3)
    table = Table({**rows(start), call_at("x86_64", 6) - 1: row(X86, 16, [], root=True)})
    stack = walk(Stepper(made, [table], []), thread(X86, pc=start, sp=STACK))
    (segment,) = stack.segments
    assert (segment.kind, segment.low, segment.high) == ("windows", STACK - 64, STACK + 24)


def test_known_stacks_never_overlap(made: AddressSpace) -> None:
    stacks = [KnownStack("windows", 0x1000, 0x9000, 0), KnownStack("unix", 0x4000, 0x6000, 1)]
    made.know_stacks([*stacks, KnownStack("signal", 0x7000, 0x7000, 2)])
    kinds = [made.stack_at(address) for address in (0xFFF, 0x3FFF, 0x4000, 0x5FFF, 0x6000)]
    assert [each and each.kind for each in kinds] == [None, "windows", "unix", "unix", None]
