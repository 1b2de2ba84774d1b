"""Every stopping rule, segments, limits; and that all walks end and make progress."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.unwind.spaces import (
    ARCHES,
    CODE,
    NAMES,
    STACK,
    Table,
    call_at,
    region,
    row,
    space,
    thread,
    walk_table,
    words,
)
from unspool.model import Frame, Stack, StopReason, Thread, Trust
from unspool.unwind.rows import IN_REGISTER, Row
from unspool.unwind.step import EarlyStrategy, Ended, Found, Missed, Query, Stepper, Switch
from unspool.unwind.strategies.order import default_stepper
from unspool.unwind.walk import walk

X86 = ARCHES["x86_64"]


def pcs(stack: Stack) -> list[int]:
    return [frame.pc for frame in stack.frames]


def chain(name: str, depth: int) -> tuple[bytes, dict[int, Row], list[int]]:
    """A stack of `depth` two-word frames, their rows, and the pcs that a walk finds."""
    arch = ARCHES[name]
    size = arch.pointer_size
    calls = [call_at(name, 3 * i + 2) for i in range(depth)]
    data = b"".join(words(arch, i, call) for i, call in enumerate(calls[1:]))
    saved = [(arch.ra_column, -size)]
    rows = {pc - 1: row(arch, 2 * size, saved) for pc in calls}
    rows[calls[0]] = rows.pop(calls[0] - 1)  # the first frame's pc is exact
    rows[calls[-1] - 1] = row(arch, 0, [], root=True)
    return data + words(arch, 0, 0), rows, calls


@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_chain_to_its_root(name: str, explain: bool) -> None:
    data, rows, calls = chain(name, 6)
    stack = walk_table(
        space(name, data), rows, thread(ARCHES[name], pc=calls[0], sp=STACK), explain=explain
    )
    assert pcs(stack) == calls
    assert stack.stop.reason == StopReason.ROOT
    assert [frame.trust for frame in stack.frames] == [Trust.CONTEXT] + [Trust.CFI] * 5
    assert [frame.exact for frame in stack.frames] == [True] + [False] * 5
    size = ARCHES[name].pointer_size
    assert [frame.sp for frame in stack.frames] == [STACK + 2 * size * i for i in range(6)]
    assert [(s.kind, s.low, s.high) for s in stack.segments] == [("unix", STACK, STACK + len(data))]
    assert all((frame.trail is not None) == explain for frame in stack.frames)


def test_a_second_walk_with_cached_rows_finds_the_same() -> None:
    data, rows, calls = chain("x86_64", 20)
    made = space("x86_64", data)
    table = Table(rows)
    stepper = Stepper(made, [table], [])
    first = walk(stepper, thread(X86, pc=calls[0], sp=STACK))
    asked = len(table.asked)
    second = walk(stepper, thread(X86, pc=calls[0], sp=STACK))
    assert first == second
    assert len(first.frames) == 20
    assert len(table.asked) == asked


def test_a_machine_frame_gives_an_exact_pc_and_a_stack_pointer() -> None:
    """A frame with the interrupted pc and stack pointer, as PE code describes: rip, cs, flags,
    rsp, ss. The interrupted pc has no call before it that belongs to it.
    """
    interrupted, back = call_at("x86_64", 7), call_at("x86_64", 9)
    data = words(X86, interrupted, 0x33, 0x202, STACK + 48, 0x2B, 0, back, 0, 0)
    rows = {
        CODE: row(X86, 40, [(16, -40), (7, -16)], interrupted=True),
        interrupted: row(X86, 8),
        back - 1: row(X86, 8, root=True),
    }
    stepper = Stepper(space("x86_64", data), [Table(rows)], [])
    for _ in range(2):  # the second walk finds the rows cached
        stack = walk(stepper, thread(X86, pc=CODE, sp=STACK, fp=1))
        assert pcs(stack) == [CODE, interrupted, back]
        assert [frame.sp for frame in stack.frames] == [STACK, STACK + 48, STACK + 56]
        assert [frame.exact for frame in stack.frames] == [True, True, False]
        assert stack.stop.reason == StopReason.ROOT


@pytest.mark.parametrize("limit", [1, 2, 5, 6, 7])
@pytest.mark.parametrize("warm", [False, True])
def test_the_limit_on_frames(limit: int, warm: bool) -> None:
    data, rows, calls = chain("x86_64", 6)
    stepper = Stepper(space("x86_64", data), [Table(rows)], [])
    if warm:
        walk(stepper, thread(X86, pc=calls[0], sp=STACK))
    stack = walk(stepper, thread(X86, pc=calls[0], sp=STACK), limit)
    assert pcs(stack) == calls[:limit]
    assert stack.stop.reason == (StopReason.DEPTH if limit <= 6 else StopReason.ROOT)


class Activation(EarlyStrategy):
    """Walks four frames by itself, and says where a fifth is."""

    def claims(self, query: Query) -> bool:
        return query.pc == CODE

    def answer(self, query: Query) -> Found | Missed | Ended:
        registers: list[int | None] = [None] * len(query.registers)
        registers[16], registers[7] = call_at("x86_64", 9), STACK + 40
        run = [(call_at("x86_64", at), STACK + 8 * at) for at in range(1, 5)]
        switch = Switch("wasm", "an activation", bounds=(STACK, STACK + 40))
        return Found(registers, Trust.WASM, run=run, switch=switch)


@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.parametrize("limit", [0, 1, 2, 4, 5, 6, 7])
def test_frames_that_a_strategy_has_walked_by_itself(limit: int, explain: bool) -> None:
    rows = {call_at("x86_64", 9) - 1: row(X86, 8, root=True)}
    stepper = Stepper(space("x86_64", bytes(64)), [Table(rows)], [])
    stepper.early.append(Activation())
    stack = walk(stepper, thread(X86, pc=CODE, sp=STACK), limit, explain)
    whole = [CODE, *(call_at("x86_64", at) for at in (1, 2, 3, 4, 9))]
    assert pcs(stack) == (whole[:limit] if limit else whole)
    assert [frame.segment for frame in stack.frames] == [0, 1, 1, 1, 1, 1][: len(stack.frames)]
    assert stack.stop.reason == (StopReason.DEPTH if 0 < limit <= 6 else StopReason.ROOT)
    assert all((frame.trail is not None) == explain for frame in stack.frames[:-1])
    if len(stack.segments) > 1:
        segment = stack.segments[1]
        assert (segment.kind, segment.low, segment.high) == ("wasm", STACK, STACK + 40)
        assert segment.switch == "an activation"


def test_new_code_is_looked_at_until_it_has_a_row() -> None:
    data, rows, calls = chain("x86_64", 6)
    seen: list[int] = []
    stepper = Stepper(space("x86_64", data), [Table(rows)], [])
    stepper.look_at_new_code = seen.append
    for _ in range(2):
        assert pcs(walk(stepper, thread(X86, pc=calls[0], sp=STACK))) == calls
    assert seen == [calls[0], *(pc - 1 for pc in calls[1:])]


def test_no_registers() -> None:
    for registers in (None, [None] * 17):
        stack = walk(Stepper(space("x86_64", b""), [], []), Thread(3, 4, registers))  # type: ignore[arg-type]
        assert (stack.index, stack.tid, stack.frames) == (3, 4, [])
        assert stack.stop.reason == StopReason.MISSING_CONTEXT


def test_nobody_knows() -> None:
    stack = walk_table(space("x86_64", bytes(64)), {}, thread(X86, pc=CODE, sp=STACK))
    assert stack.stop.reason == StopReason.NO_STRATEGY
    assert stack.stop.detail == "not in the table"


def test_a_return_address_that_cannot_be_read() -> None:
    stack = walk_table(
        space("x86_64", bytes(64)), {CODE: row(X86, 4096)}, thread(X86, pc=CODE, sp=STACK)
    )
    assert stack.stop.reason == StopReason.FAULT
    assert f"0x{STACK + 4088:x}" in stack.stop.detail


def test_a_return_address_that_is_no_code() -> None:
    data = words(X86, 0x1234, 0)
    stack = walk_table(space("x86_64", data), {CODE: row(X86, 8)}, thread(X86, pc=CODE, sp=STACK))
    assert stack.stop.reason == StopReason.NO_STRATEGY
    assert "0x1234 is not in executable memory" in stack.stop.detail


@pytest.mark.parametrize(("fp", "reason"), [(0, StopReason.ROOT), (5, StopReason.NO_STRATEGY)])
def test_a_null_return_address_is_a_root_where_the_frame_pointer_is_null_too(
    fp: int, reason: str
) -> None:
    stack = walk_table(
        space("x86_64", words(X86, 0, 0)),
        {CODE: row(X86, 8)},
        thread(X86, pc=CODE, sp=STACK, fp=fp),
    )
    assert stack.stop.reason == reason


@pytest.mark.parametrize("offset", [0, -8, -1000])
def test_a_stack_pointer_that_does_not_move_up(offset: int) -> None:
    data = words(X86, *[call_at("x86_64", 2)] * 300)
    sp = STACK + 1200
    rows = {CODE: row(X86, offset, [(16, 8)])}
    stack = walk_table(space("x86_64", data), rows, thread(X86, pc=CODE, sp=sp))
    assert stack.stop.reason == StopReason.NO_PROGRESS
    assert f"0x{sp:x}" in stack.stop.detail
    assert len(stack.frames) == 1


def test_a_function_that_calls_itself_for_ever_ends_at_the_end_of_the_stack() -> None:
    pc = call_at("x86_64", 2)
    data = words(X86, *[pc] * 1000)
    rows = {pc: row(X86, 8), pc - 1: row(X86, 8)}
    stack = walk_table(space("x86_64", data), rows, thread(X86, pc=pc, sp=STACK))
    assert len(stack.frames) == 1001
    assert stack.stop.reason == StopReason.FAULT


def test_a_leaf_of_a_cpu_with_a_link_register_leaves_the_stack_as_it_was() -> None:
    arm = ARCHES["aarch64"]
    first, second = call_at("aarch64", 5), call_at("aarch64", 9)
    rows = {first: row(arm, 0, []), second - 1: row(arm, 16, [(30, -8)], root=True)}
    made = space("aarch64", words(arm, 0, 0))
    stack = walk_table(made, rows, thread(arm, pc=first, sp=STACK, x30=second))
    assert pcs(stack) == [first, second]
    assert stack.stop.reason == StopReason.ROOT
    # But only the first frame can be one: the next would be its own caller.
    rows[second - 1] = row(arm, 0, [])
    stack = walk_table(made, rows, thread(arm, pc=first, sp=STACK, x30=second))
    assert stack.stop.reason == StopReason.NO_STRATEGY
    assert "does not say where the return address is" in stack.stop.detail
    assert pcs(stack) == [first, second]


def test_a_leaf_that_returns_to_itself() -> None:
    arm = ARCHES["aarch64"]
    pc = call_at("aarch64", 5)
    rows = {pc: row(arm, 0, []), pc - 1: row(arm, 0, [])}
    stack = walk_table(space("aarch64", words(arm, 0)), rows, thread(arm, pc=pc, sp=STACK, x30=pc))
    assert stack.stop.reason == StopReason.NO_STRATEGY
    assert len(stack.frames) == 1


@pytest.mark.parametrize("inside", [True, False])
def test_return_addresses_in_registers_lead_no_further_than_the_stack(inside: bool) -> None:
    # Found by fuzzing: 2 million frames without reading a byte of memory.
    pc = call_at("x86_64", 2)
    rule = row(X86, 16, [], other=[(16, IN_REGISTER, 3)])
    sp = STACK if inside else 0x1000_0000
    first = thread(X86, pc=pc, sp=sp, rbx=pc)
    stack = walk_table(space("x86_64", bytes(160)), {pc: rule, pc - 1: rule}, first)
    assert stack.stop.reason == StopReason.FAULT
    assert len(stack.frames) == (11 if inside else 1)


def test_unwind_data_may_lead_to_another_stack() -> None:
    other = 0x5000_0000
    first, second = call_at("x86_64", 2), call_at("x86_64", 8)
    elsewhere = region(other, words(X86, second, 0, 0, 0), writable=True)
    made = space("x86_64", words(X86, other), elsewhere)
    rows = {
        first: row(X86, 0, [(16, 0)], cfa_expression=b"\x77\x00\x06"),  # CFA: what rsp points at
        second - 1: row(X86, 8, [], root=True),
    }
    stack = walk_table(made, rows, thread(X86, pc=first, sp=STACK))
    assert pcs(stack) == [first, second]
    assert [(s.kind, s.low) for s in stack.segments] == [("unix", STACK), ("other", other)]
    assert [frame.segment for frame in stack.frames] == [0, 1]
    assert stack.segments[1].switch


@pytest.mark.parametrize("apart", [True, False])
def test_unwind_data_may_lead_to_a_stack_that_lies_higher(apart: bool) -> None:
    # Fibers of Wasmtime: it depends on the system which of their stacks is the higher one. But a
    # stack may be several mappings, one above the other.
    other = STACK + (0x3000 if apart else 0x1000)
    first, second = call_at("x86_64", 2), call_at("x86_64", 8)
    elsewhere = region(other, words(X86, second, 0, 0, 0), writable=True)
    made = space("x86_64", words(X86, other).ljust(0x1000, b"\0"), elsewhere)
    rows = {
        first: row(X86, 0, [(16, 0)], cfa_expression=b"\x77\x00\x06"),
        second - 1: row(X86, 8, [], root=True),
    }
    stack = walk_table(made, rows, thread(X86, pc=first, sp=STACK))
    assert pcs(stack) == [first, second]
    assert [s.kind for s in stack.segments] == (["unix", "other"] if apart else ["unix"])


def test_stacks_that_lead_to_each_other_are_a_cycle() -> None:
    other = 0x5000_0000
    pc = call_at("x86_64", 2)
    there = region(other, words(X86, STACK, pc), writable=True)
    made = space("x86_64", words(X86, other, pc), there)
    jump = row(X86, 0, [(16, 8)], cfa_expression=b"\x77\x00\x06")
    stack = walk_table(made, {pc: jump, pc - 1: jump}, thread(X86, pc=pc, sp=STACK))
    assert stack.stop.reason in (StopReason.CYCLE, StopReason.NO_PROGRESS)
    assert len(stack.frames) < 10


# --- signals --------------------------------------------------------------------------

TRAMPOLINE = 0x41_0000


def signal_frame(arch_name: str, alt: tuple[int, int], **saved: int) -> bytes:
    """A signal frame as the stack pointer at the trampoline sees it."""
    arch = ARCHES[arch_name]
    frame = arch.signal_frames[0]
    out = bytearray(1024)
    size = arch.pointer_size
    for number, offset in frame.saved:
        value = saved.get(arch.register_names[number], 0x1000 + number)
        out[offset : offset + size] = value.to_bytes(size, "little")
    assert frame.alt_stack is not None
    low, length = alt
    out[frame.alt_stack : frame.alt_stack + 3 * size] = words(arch, low, 0, length)
    return bytes(out)


ROLES = {
    "x86_64": ("rip", "rsp"), "i386": ("eip", "esp"), "aarch64": ("pc", "sp"), "arm": ("pc", "sp"),
}  # fmt: skip


@pytest.mark.parametrize("alternate", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_handler_and_what_it_interrupted(name: str, alternate: bool) -> None:
    arch = ARCHES[name]
    size = arch.pointer_size
    pc_name, sp_name = ROLES[name]
    handler, interrupted = call_at(name, 4), CODE + 0x123 * 4
    code = region(TRAMPOLINE, arch.signal_frames[0].code.ljust(64, b"\x90"), executable=True)
    main_sp = STACK + 0x800
    alt = 0x6000_0000
    where = alt if alternate else STACK
    context = signal_frame(
        name,
        (alt, 0x1000) if alternate else (0, 0),
        **{pc_name: interrupted, sp_name: main_sp},
    )
    # The handler's frame, then what its return leads to: the trampoline.
    frames = words(arch, 7, TRAMPOLINE) + context
    stack_bytes = bytes(0x1000) if alternate else frames.ljust(0x1000, b"\0")
    others = [code]
    if alternate:
        others.append(region(alt, frames.ljust(0x1000, b"\0"), writable=True))
    made = space(name, stack_bytes, *others)
    stepper = default_stepper(made)
    rows = {
        handler: row(arch, 2 * size, [(arch.ra_column, -size)]),
        interrupted: row(arch, 0, [], root=True),
    }
    stepper.tables = [*stepper.tables[:1], Table(rows)]
    stack = walk(stepper, thread(arch, pc=handler, sp=where))
    assert pcs(stack) == [handler, TRAMPOLINE, interrupted]
    assert [frame.exact for frame in stack.frames] == [True, True, True]
    assert stack.frames[2].trust == Trust.SIGNAL
    assert stack.frames[2].sp == main_sp
    assert stack.stop.reason == StopReason.ROOT
    kinds = [(s.kind, s.low) for s in stack.segments]
    assert kinds == ([("signal", alt), ("unix", STACK)] if alternate else [("unix", STACK)])
    assert [f.segment for f in stack.frames] == ([0, 0, 1] if alternate else [0, 0, 0])


def test_an_interrupted_stack_pointer_below_the_handler_is_no_progress() -> None:
    code = region(TRAMPOLINE, X86.signal_frames[0].code, executable=True)
    data = bytes(256) + signal_frame("x86_64", (0, 0), rip=CODE, rsp=STACK)
    made = space("x86_64", data, code)
    stack = walk(default_stepper(made), thread(X86, pc=TRAMPOLINE, sp=STACK + 256))
    assert stack.stop.reason == StopReason.NO_PROGRESS
    assert len(stack.frames) == 1


# --- everything at random -------------------------------------------------------------


@st.composite
def random_walks(draw: st.DrawFn) -> tuple[str, bytes, dict[int, Row], Thread]:
    name = draw(st.sampled_from(NAMES))
    arch = ARCHES[name]
    calls = [call_at(name, n) for n in range(1, 8)]
    interesting = st.sampled_from([*calls, STACK, STACK + 64, STACK + 800, 0, 0x6000_0000, 1])
    values = draw(st.lists(interesting, min_size=20, max_size=200))
    rows = {}
    for pc in calls:
        for lookup in (pc, pc - 1):
            offset = draw(st.integers(-3, 12)) * arch.pointer_size
            saved = {arch.ra_column: draw(st.integers(-6, 6)) * arch.pointer_size}
            for register in draw(st.lists(st.integers(0, 8), max_size=3)):
                saved[register] = draw(st.integers(-6, 6)) * arch.pointer_size
            program = draw(st.sampled_from([None, None, None, b"\x77\x00\x06", b"\x70\x08"]))
            rows[lookup] = row(arch, offset, list(saved.items()), cfa_expression=program)
    first = thread(
        arch, pc=draw(interesting), sp=STACK + draw(st.integers(0, 60)) * arch.pointer_size,
        fp=draw(interesting),
    )  # fmt: skip
    return name, words(arch, *values), rows, first


@given(random_walks(), st.booleans())
def test_every_walk_ends_and_moves_up_within_each_segment(
    case: tuple[str, bytes, dict[int, Row], Thread], guesses: bool
) -> None:
    name, data, rows, first = case
    arch = ARCHES[name]
    other = region(0x6000_0000, data, writable=True)
    made = space(name, data, other)
    stepper = default_stepper(made)
    stepper.tables = [Table(rows)]
    if not guesses:
        stepper.dynamic = []
    plain = walk(stepper, first)
    explained = walk(stepper, first, explain=True)
    assert pcs(plain) == pcs(explained)
    assert plain.stop == explained.stop
    assert plain.segments == explained.segments
    previous: Frame | None = None
    for frame in plain.frames:
        if previous is not None and frame.segment == previous.segment:
            old, new = previous.sp or 0, frame.sp or 0
            leaf = arch.link is not None and previous.exact
            assert new > old or (leaf and new == old)
        previous = frame
    assert len({frame.segment for frame in plain.frames}) == len(plain.segments)
