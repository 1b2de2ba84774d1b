"""What instructions do to the stack, as far as it is followed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.arch.x86 import EAX, EBP, EBX, ECX, EDI, ESI
from unspool.arch.x86_length import instruction_length
from unspool.arch.x86_stack import ALIGNED, ENTRY, UNKNOWN, StackState

Place = tuple[int, int]


def after(code: str, state: StackState | None = None) -> StackState:
    raw = bytes.fromhex(code.replace(" ", ""))
    state = state or StackState()
    at = 0
    while at < len(raw):
        length = instruction_length(raw, at)
        assert length, raw[at:].hex()
        state.execute(raw, at, length)
        at += length
    return state


def entry(offset: int) -> Place:
    return ENTRY, offset


PROLOGUES = [
    # (code, esp, ebp, saved)
    ("", entry(0), None, {}),
    ("55 89e5 83ec18", entry(-0x1C), entry(-4), {EBP: -4}),
    ("8bff 55 8bec 81ec00010000 53 56 57", entry(-0x110), entry(-4),
     {EBP: -4, EBX: -0x108, ESI: -0x10C, EDI: -0x110}),
    ("57 56 53 83ec20", entry(-44), None, {EDI: -4, ESI: -8, EBX: -12}),
    # MSVC with a handler: push $-1; push $handler; mov %fs:0,%eax; push %eax; sub $n,%esp
    ("55 8bec 6aff 6800104000 64a100000000 50 83ec08 a100304000 33c5 8945f0",
     entry(-24), entry(-4), {EBP: -4}),
    # A security cookie without a frame pointer.
    ("83ec24 a100304000 33c4 89442420 8b442428 56", entry(-0x28), None, {ESI: -0x28}),
    # What is pushed once more is an argument.
    ("53 53", entry(-8), None, {EBX: -4}),
    ("83c480", entry(-128), None, {}),  # add $-128,%esp
    ("8d6c2484 81ec00010000", entry(-0x100), entry(-0x7C), {}),
    ("c8100000", entry(-20), entry(-4), {EBP: -4}),  # enter $16,$0
    ("60 61", entry(0), None, {}),
    ("9c 9d 68 00000000 8f00 ff3400 ff742404 58 58", entry(0), None, {}),
    ("83ec1c 895c2418 8974 2414", entry(-28), None, {EBX: -4, ESI: -8}),  # saved by moves
    ("55 8bec 83ec08 c9", entry(0), None, {}),
    ("55 8bec 53 8b5dfc 5b 5d", entry(0), None, {}),
    ("8bff 55 8bec 5d 53", entry(-4), None, {EBX: -4}),  # a place for a patch
    ("b810000000 29c4 53", entry(-20), None, {EBX: -20}),
    ("2be0", (UNKNOWN, 0), None, {}),  # sub %eax,%esp: alloca
    ("55 89e5 2be0 53", (UNKNOWN, -4), entry(-4), {EBP: -4}),
    ("89c4", (UNKNOWN, 0), None, {}),
    ("94", (UNKNOWN, 0), None, {}),
    ("83cc01", (UNKNOWN, 0), None, {}),  # or $1,%esp
    ("83fc01 85e4 39e5 f7c401000000 b500 8aec 88ec", entry(0), None, {}),
]  # fmt: skip


@pytest.mark.parametrize(("code", "esp", "ebp", "saved"), PROLOGUES)
def test_prologues(code: str, esp: Place, ebp: Place | None, saved: dict[int, int]) -> None:
    state = after(code)
    assert state.esp == esp
    assert state.ebp == ebp
    known = {register: place[1] for register, place in state.saved.items() if place[0] == ENTRY}
    assert known == saved


def test_a_realigned_frame_leads_back_by_a_pointer_that_it_keeps() -> None:
    # lea 4(%esp),%ecx; and $-16,%esp; push -4(%ecx); push %ebp; mov %esp,%ebp; push %edi;
    # push %ecx; sub $20,%esp
    state = after("8d4c2404 83e4f0 ff71fc 55 89e5 57 51 83ec14")
    assert state.esp == (ALIGNED, -36)
    assert state.ebp == (ALIGNED, -8)
    assert state.saved == {EBP: (ALIGNED, -8), EDI: (ALIGNED, -12)}
    assert state.anchors == {(ALIGNED, -16): (ENTRY, 4)}
    # lea -8(%ebp),%esp; pop %ecx; pop %edi; pop %ebp; lea -4(%ecx),%esp
    state = after("8d65f8 59 5f 5d 8d61fc", state)
    assert state.esp == (ENTRY, 0)
    assert not state.broken
    # Or: mov -8(%ebp),%ecx; leave; lea -4(%ecx),%esp
    state = after("8d4c2404 83e4f0 ff71fc 55 89e5 57 51 83ec14 8b4df8 c9 8d61fc")
    assert state.esp == (ENTRY, 0)
    assert not state.broken


def test_a_pointer_is_forgotten_with_its_register() -> None:
    for change in ("b900000000", "31c9", "8b08", "59", "41", "0fb6c8", "0f44c8", "f7d9", "6bc905"):
        state = after("8d4c2404 83e4f0" + change + "51")
        assert not state.anchors, change
    state = after("8d4c2404 83e4f0")
    state.call(0, False)
    assert not state.pointers


@pytest.mark.parametrize("code", ["0f28ec", "0f10e0", "660f6fe8", "0f44c1", "d9e8", "90"])
def test_vector_registers_are_no_others(code: str) -> None:
    state = after("55 89e5" + code)
    assert state.ebp == (ENTRY, -4)
    assert state.esp == (ENTRY, -4)


@pytest.mark.parametrize(
    ("code", "broken"),
    [
        ("c9", True),  # leave, without a frame
        ("8d65f4", True),
        ("89ec", True),
        ("891c24", True),  # mov %ebx,(%esp): the return address
        ("c7042400000000", True),
        ("894c2404", False),  # an argument's place
        ("83ec04 891c24", False),
        ("55 89e5 c9", False),
        ("8b0424", False),
    ],
)
def test_what_no_function_does(code: str, broken: bool) -> None:
    assert after(code).broken == broken


def test_calls() -> None:
    state = after("55 89e5 83ec08 6a01 50")
    assert state.pushed == 8
    assert EAX not in state.saved
    state.call(8, False)
    assert (state.esp, state.pushed, state.exact) == ((ENTRY, -12), 0, True)
    state.call(4, True)
    assert not state.exact
    # MSVC's helpers that make a frame for their caller.
    state = after("6a10 6800104000")
    state.call_making_frame()
    assert state.ebp == (ENTRY, -4)
    assert state.saved == {EBP: (ENTRY, -4)}
    assert state.esp[0] == UNKNOWN


def test_copies_do_not_share() -> None:
    first = after("53")
    second = first.copy()
    after("56 8d4c2404 83e4f0 51", second)
    assert first.saved == {EBX: (ENTRY, -4)}
    assert not first.pointers
    assert not first.anchors
    assert ECX in second.pointers


@given(st.binary(max_size=60))
def test_any_code(raw: bytes) -> None:
    state, at = StackState(), 0
    while at < len(raw):
        length = instruction_length(raw, at)
        if not length:
            break
        state.execute(raw, at, length)
        at += length
    assert state.esp[0] in (ENTRY, ALIGNED, UNKNOWN)
