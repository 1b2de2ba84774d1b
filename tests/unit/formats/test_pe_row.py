"""Rows from unwind codes and epilogues: made-up functions are executed, and at every
instruction the row must give back what was in the registers before.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build import pe_unwind as code
from tests.build import unwind_info as b
from tests.build.pe_unwind import (
    NONVOLATILE,
    RETURN_ADDRESS,
    STACK,
    Function,
    Image,
    Machine,
    Part,
    lay_out,
    random_function,
)
from tests.build.unwind_info import R12, R13, R14, RAX, RBP, RBX, RCX, RDI, RSI, RSP
from tests.conftest import examples
from unspool.errors import FormatError
from unspool.formats.pe_epilogue import MAX_SIZE
from unspool.formats.pe_row import PeRow, leaf_row, row_at
from unspool.formats.pe_unwind import RIP, FunctionTable

RETURN = code.plain(b"\xc3")
NOP = code.plain(b"\x90")


def row(image: Image, rva: int, bytes_at_hand: bytes | None = None) -> PeRow:
    table = FunctionTable(image.data, image.table_at, len(image.data))
    function = table.find(rva)
    assert function is not None
    return row_at(table, image.read, function, rva, bytes_at_hand)


def unwound(made: PeRow, machine: Machine) -> dict[int, int | None]:
    """The caller's registers, as the row says."""
    top = machine.registers[made.register] + made.offset
    found: dict[int, int | None] = {each: machine.registers[each] for each in NONVOLATILE}
    found[RSP] = top
    for register, offset in made.saved.items():
        found[register] = machine.memory.get(top + offset)
    return found


def expected(released: int = 0) -> dict[int, int]:
    start = Machine().registers
    return {each: start[each] for each in NONVOLATILE} | {
        RSP: STACK + 8 + released,
        RIP: RETURN_ADDRESS,
    }


def check(function: Function) -> None:
    """Every instruction, as one that is executing and, before the epilogue, as a call."""
    image = lay_out([function])
    begin = image.begins[0][0]
    released = 0
    for rva, machine in image.run(0):
        at_hand = image.read(rva, MAX_SIZE)
        made = row(image, rva, at_hand)
        assert made.begin == begin
        answer = unwound(made, machine)
        # That `ret n` is about to come is seen in the epilogue alone, and then to its end.
        if answer[RSP] != STACK + 8 + released:
            released = function.released
        assert {each: answer[each] for each in expected()} == expected(released)
        if function.version == 2:
            without = unwound(row(image, rva, b""), machine)
            assert {each: without[each] for each in expected()} == expected()


@settings(max_examples=examples(300))
@given(st.randoms(use_true_random=False))
def test_any_function_at_any_instruction(random: Random) -> None:
    check(random_function(random))


@pytest.mark.parametrize("seed", range(200))
def test_some_functions_at_any_instruction(seed: int) -> None:
    """The same; hypothesis's choices are small ones."""
    check(random_function(Random(seed)))


def test_a_return_address_is_in_no_epilogue() -> None:
    """A call of a function that does not return may be followed by anything."""
    function = Function([Part([code.push(RBX), code.allocate(32), NOP], 2)])
    function.parts[0].instructions += [code.release(32), code.pop(RBX), RETURN]
    image = lay_out([function])
    *_, (rva, _) = (step for step in image.run(0) if image.read(step[0], 1) == b"\x48")
    assert row(image, rva, image.read(rva, MAX_SIZE)).saved == {RBX: -16, RIP: -8}
    for into in range(6):
        made = row(image, rva + into)
        assert (made.register, made.offset, made.saved) == (RSP, 48, {RBX: -16, RIP: -8})


# --- jumps ----------------------------------------------------------------------------


def jumping(target: int, here: int = 0x1000) -> bytes:
    return b"\xe9" + (target - here - 5).to_bytes(4, "little", signed=True)


def jump_row(target: int, *functions: tuple[int, int, bytes]) -> PeRow:
    """The row at a jump to `target` from 0x1010, where rbx is pushed, among other functions."""
    own = b.unwind_info([b.push(1, RBX)], prologue=1)
    xdata = b.Xdata(0x4000)
    entries = [
        (begin, end, xdata.add(raw)) for begin, end, raw in ((0x1000, 0x1020, own), *functions)
    ]
    raw_table = b.runtime_functions(entries)
    made = FunctionTable(raw_table, 0, len(raw_table))

    def read(rva: int, size: int) -> bytes:
        return bytes(xdata.data[rva - 0x4000 : rva - 0x4000 + size])

    function = made.find(0x1010)
    assert function is not None
    return row_at(made, read, function, 0x1010, jumping(target, 0x1010))


GONE, THERE = {RIP: -8}, {RBX: -16, RIP: -8}
PUSHES = b.unwind_info([b.push(1, RBX)], prologue=1)
COLD = b.unwind_info([b.push(0, RBX)], prologue=0)  # GCC's function.cold
PART = b.unwind_info(chained=(0x1000, 0x1020, 0x4000))


@pytest.mark.parametrize(
    ("target", "functions", "saved"),
    [
        (0x5000, [], GONE),  # a leaf function
        (-0x9000, [], GONE),  # another module
        (0x2000, [(0x2000, 0x2010, PUSHES)], GONE),
        (0x2000, [(0x2000, 0x2010, b.unwind_info())], GONE),  # an entry without codes
        (0x1000, [], GONE),  # itself
        (0x1001, [], THERE),
        (0x1015, [], THERE),
        (0x2000, [(0x2000, 0x2010, COLD)], THERE),
        (0x2008, [(0x2000, 0x2010, COLD)], THERE),
        (0x2001, [(0x2000, 0x2010, PUSHES)], THERE),  # from a cold part back
        (0x2000, [(0x2000, 0x2010, PART)], THERE),
        (0x2008, [(0x2000, 0x2010, PART)], THERE),
        (0x2000, [(0x2000, 0x2010, b"\xff" * 8)], GONE),  # nobody knows
    ],
)
def test_where_a_jump_leads_tells_whether_the_frame_is_gone(
    target: int, functions: list[tuple[int, int, bytes]], saved: dict[int, int]
) -> None:
    assert jump_row(target, *functions).saved == saved


# --- parts ----------------------------------------------------------------------------

# Two parts of a function: what the first one's prologue does, and what the second adds.
FIRST = b.unwind_info([b.alloc(6, 32), b.push(2, RSI), b.push(1, RBX)], prologue=6)


def parted(*raw: bytes, begins: tuple[int, ...] = (0x1000, 0x1100, 0x1200)) -> Image:
    """Unwind infos of functions; each is chained to the one before if its flags say so."""
    image = Image([])
    xdata = b.Xdata(0x4000)
    for begin, each in zip(begins, raw, strict=False):
        image.table.append((begin, begin + 0x80, xdata.add(each)))
    image.table.sort()
    image.data = bytes(0x4000) + bytes(xdata.data)
    image.table_at = len(image.data)
    image.data += b.runtime_functions(image.table)
    return image


def test_all_of_a_parents_codes_apply_to_a_part_before_it_too() -> None:
    chained = (0x1000, 0x1080, 0x4000)
    part = b.unwind_info([b.save(9, RDI, 40)], prologue=9, chained=chained)
    for begins in ((0x1000, 0x1100), (0x1100, 0x1000)):
        image = parted(FIRST, part, begins=begins)
        for into, saved in ((0, {}), (8, {}), (9, {RDI: -16}), (0x7F, {RDI: -16})):
            made = row(image, begins[1] + into)
            assert (made.register, made.offset) == (RSP, 56)
            assert made.saved == {RIP: -8, RBX: -16, RSI: -24} | saved
            assert made.begin == 0x1000


@pytest.mark.parametrize("begin", [0xF00, 0x1100])
def test_an_entry_that_leads_to_another_one(begin: int) -> None:
    image = parted(FIRST)
    entry = begin, begin + 0x80, image.table_at + (12 if begin < 0x1000 else 0) + 1
    image.table = sorted([*image.table, entry])
    image.data = image.data[: image.table_at] + b.runtime_functions(image.table)
    made = row(image, begin)
    assert (made.offset, made.saved) == (56, {RIP: -8, RBX: -16, RSI: -24})
    assert made.begin == 0x1000


def test_a_jump_to_an_entry_that_leads_to_another_one() -> None:
    image = parted(FIRST)
    image.table.append((0x1100, 0x1180, image.table_at + 1))
    image.data = image.data[: image.table_at] + b.runtime_functions(image.table)
    assert row(image, 0x1010, jumping(0x1100, 0x1010)).offset == 56


@pytest.mark.parametrize("flags", ["chained", "indirect"])
def test_a_chain_without_end(flags: str) -> None:
    if flags == "chained":
        image = parted(b.unwind_info([b.push(1, RBX)], chained=(0x1000, 0x1080, 0x4000)))
    else:
        image = parted(FIRST)
        image.table = [(0x1000, 0x1080, image.table_at + 1)]
        image.data = image.data[: image.table_at] + b.runtime_functions(image.table)
    with pytest.raises(FormatError, match="too long a chain"):
        row(image, 0x1010)


def chain_of(length: int) -> Image:
    raw = [FIRST]
    at = 0x4000
    for _ in range(length - 1):
        raw.append(b.unwind_info([b.alloc(0, 8)], chained=(0x1000, 0x1080, at)))
        at += len(raw[-2])
    return parted(*raw, begins=tuple(range(0x1000, 0x1000 + 0x100 * length, 0x100)))


def test_chains_are_followed_as_far_as_windows_does() -> None:
    made = row(chain_of(32), 0x1000 + 31 * 0x100)
    assert (made.offset, made.saved) == (56 + 31 * 8, {RIP: -8, RBX: -16, RSI: -24})
    with pytest.raises(FormatError, match="too long a chain"):
        row(chain_of(33), 0x1000 + 32 * 0x100)


# --- frame registers ------------------------------------------------------------------


def body_row(codes: list[bytes], prologue: int = 20, into: int = 0x40, **more: object) -> PeRow:
    return row(parted(b.unwind_info(codes, prologue=prologue, **more)), 0x1000 + into)  # type: ignore[arg-type]


def test_the_frame_register_counts_once_it_is_set() -> None:
    codes = [b.save(16, RDI, 0x28), b.set_frame(12), b.alloc(5, 64), b.push(1, RBP)]
    for into, register, offset in (
        (0, RSP, 8), (1, RSP, 16), (5, RSP, 80), (11, RSP, 80), (12, RBP, 32), (16, RBP, 32)
    ):  # fmt: skip
        made = body_row(codes, into=into, frame=(RBP, 48))
        assert (made.register, made.offset) == (register, offset)
    assert body_row(codes, frame=(RBP, 48)).saved == {RDI: 0x28 - 80, RBP: -16, RIP: -8}


def test_registers_pushed_after_the_frame_register_was_set() -> None:
    """MinGW, -O0. Memory that was allocated since moves rsp, and nothing else."""
    codes = [b.alloc(20, 40), b.push(6, RBX), b.push(5, RSI), b.set_frame(4), b.push(1, RBP)]
    made = body_row(codes, frame=(RBP, 0))
    assert (made.register, made.offset) == (RBP, 16)
    assert made.saved == {RIP: -8, RBP: -16, RSI: -24, RBX: -32}


def test_a_frame_register_above_registers_that_are_pushed_later() -> None:
    codes = [b.push(9, RBX), b.set_frame(8), b.alloc(5, 48), b.push(1, RBP)]
    made = body_row(codes, frame=(RBP, 32))
    assert (made.register, made.offset) == (RBP, 32)
    assert made.saved == {RIP: -8, RBP: -16, RBX: -72}


def test_what_moves_are_relative_to_within_a_prologue() -> None:
    """The frame register, once it is set: the stack pointer has moved on."""
    codes = [b.save(16, RDI, 8), b.alloc(12, 32), b.set_frame(8), b.alloc(5, 64), b.push(1, RBP)]
    for into in (16, 20, 30):
        made = body_row(codes, prologue=30, into=into, frame=(RBP, 16))
        assert (made.register, made.offset) == (RBP, 64)
        assert made.saved == {RIP: -8, RBP: -16, RDI: 8 - 80}


def test_what_moves_are_relative_to_where_memory_is_set_free() -> None:
    """No frame register yet when it executes, so the stack pointer it is."""
    codes = [b.set_frame(12), b.save(9, RDI, 8), b.alloc(5, 64), b.push(1, RBP)]
    made = body_row(codes, prologue=30, into=9, frame=(RBP, 16))
    assert (made.register, made.offset, made.saved[RDI]) == (RSP, 80, 8 - 80)
    made = body_row(codes, prologue=30, into=12, frame=(RBP, 16))
    assert (made.register, made.offset, made.saved[RDI]) == (RBP, 64, 8 - 80)


def test_what_moves_in_a_part_are_relative_to() -> None:
    """The frame register: the parent has set it, whatever the part does before."""
    codes = [b.alloc(12, 32), b.set_frame(8), b.alloc(5, 64), b.push(1, RBP)]
    parent = b.unwind_info(codes, prologue=12, frame=(RBP, 16))
    part = b.unwind_info(
        [b.save(9, RDI, 8)], prologue=20, frame=(RBP, 16), chained=(0x1000, 0x1080, 0x4000)
    )
    made = row(parted(parent, part), 0x1100 + 10)
    assert (made.register, made.offset, made.saved[RDI]) == (RBP, 64, 8 - 80)


def test_a_prologue_that_is_longer_than_it_says() -> None:
    """Wine's call_consolidate_callback. Each code's own offset says when it was executed."""
    codes = [b.alloc(40, 8), b.alloc(30, 16), b.push(1, RBX)]
    assert [body_row(codes, 10, into).offset for into in (0, 20, 30, 39, 40)] == [8, 16, 32, 32, 40]


@pytest.mark.parametrize(
    ("codes", "frame", "why"),
    [
        ([b.set_frame(1)], (0, 0), "sets no frame register"),
        ([b.set_frame(1)], (RSP, 16), "sets no frame register"),
        ([b.save(9, RBX, 8)], (RBP, 0), "a frame register that it does not set"),
        ([b.push(1, RSP)], (0, 0), "pushes rsp"),
        ([b.save(1, RSP, 8)], (0, 0), "saves rsp"),
        ([b.machine_frame(1), b.push(1, RBX)], (0, 0), "before a machine frame"),
        ([b.machine_frame(1), b.machine_frame(1)], (0, 0), "before a machine frame"),
    ],
)
def test_codes_that_make_no_sense(codes: list[bytes], frame: tuple[int, int], why: str) -> None:
    with pytest.raises(FormatError, match=why):
        body_row(codes, frame=frame)


def test_two_frame_registers() -> None:
    parent = b.unwind_info([b.set_frame(1)], frame=(RBP, 0))
    part = b.unwind_info([b.set_frame(1)], frame=(RBX, 0), chained=(0x1000, 0x1080, 0x4000))
    with pytest.raises(FormatError, match="two frame registers"):
        row(parted(parent, part), 0x1110)


def test_vector_registers_are_passed_over() -> None:
    codes = [b.save_xmm(9, 6, 32), b.save_xmm(9, 7, 1 << 20), b.alloc(4, 64)]
    assert body_row(codes).saved == {RIP: -8}


def test_what_has_not_been_executed_is_not_looked_at() -> None:
    assert body_row([b.push(9, RSP), b.set_frame(5), b.push(1, RBX)], into=2).offset == 16


def test_volatile_registers_can_be_saved_too() -> None:
    assert body_row([b.push(2, RCX), b.push(1, RAX)]).saved == {RIP: -8, RAX: -16, RCX: -24}


# --- machine frames -------------------------------------------------------------------


@pytest.mark.parametrize("error_code", [False, True])
def test_a_machine_frame(error_code: bool) -> None:
    """KiUserExceptionDispatcher: rip, cs, flags, rsp and ss lie above what it allocates."""
    codes = [b.save(4, RBX, 0x18), b.alloc(4, 0x40), b.machine_frame(0, error_code=error_code)]
    made = body_row(codes)
    assert made.interrupted
    top = 0x40 + 40 + (8 if error_code else 0)
    assert (made.register, made.offset) == (RSP, top)
    assert made.saved == {RIP: -40, RSP: -16, RBX: 0x18 - top}


def test_a_machine_frame_above_a_frame_register() -> None:
    codes = [b.set_frame(9), b.alloc(5, 0x40), b.push(1, RBP), b.machine_frame(0)]
    made = body_row(codes, frame=(RBP, 0x20))
    assert (made.register, made.offset, made.interrupted) == (RBP, 0x20 + 8 + 40, True)
    assert made.saved == {RIP: -40, RSP: -16, RBP: -48}


def test_other_functions_are_not_interrupted() -> None:
    assert not body_row([b.push(1, RBX)]).interrupted


# --- recorded epilogues ---------------------------------------------------------------

# An epilogue of `pop %r12; pop %rbx; ret` ends the function at 0x1080.
RECORDED = [b.epilogues(4, [0x20]), b.alloc(7, 40), b.push(3, R12), b.push(1, RBX)]


@pytest.mark.parametrize(
    ("rva", "offset", "saved"),
    [
        (0x1040, 64, {RIP: -8, RBX: -16, R12: -24}),
        (0x105F, 64, {RIP: -8, RBX: -16, R12: -24}),
        (0x1060, 24, {RIP: -8, RBX: -16, R12: -24}),
        (0x1062, 16, {RIP: -8, RBX: -16}),
        (0x1063, 8, {RIP: -8}),
        (0x1064, 64, {RIP: -8, RBX: -16, R12: -24}),
        (0x107B, 64, {RIP: -8, RBX: -16, R12: -24}),
        (0x107C, 24, {RIP: -8, RBX: -16, R12: -24}),
        (0x107E, 16, {RIP: -8, RBX: -16}),
        (0x107F, 8, {RIP: -8}),
    ],
)
def test_a_recorded_epilogue_whose_code_is_not_at_hand(
    rva: int, offset: int, saved: dict[int, int]
) -> None:
    image = parted(b.unwind_info(RECORDED, prologue=7, version=2))
    made = row(image, rva, b"")
    assert (made.register, made.offset, made.saved) == (RSP, offset, saved)
    # Without any code nothing is known to be executing there.
    assert row(image, rva).offset == 64


@pytest.mark.parametrize(("rva", "saved"), [(0x1063, {RIP: -8}), (0x1040, {RBX: -16})])
def test_jumps_end_epilogues_where_these_are_recorded(rva: int, saved: dict[int, int]) -> None:
    image = parted(b.unwind_info(RECORDED, prologue=7, version=2))
    made = row(image, rva, jumping(0x9000, rva))
    assert made.saved.items() >= saved.items()


def test_flags_and_machine_frames_in_recorded_epilogues() -> None:
    codes = [b.epilogues(3, [0]), b.push(2, RBX), b.alloc(1, 8), b.machine_frame(0)]
    image = parted(b.unwind_info(codes, prologue=7, version=2))
    for rva, pushed in ((0x107D, 16), (0x107E, 8), (0x107F, 0)):
        made = row(image, rva, b"")
        assert (made.offset, made.interrupted) == (pushed + 40, True)


def test_pushes_are_looked_for_in_the_parents() -> None:
    part = b.unwind_info([b.epilogues(3, [0])], version=2, chained=(0x1000, 0x1080, 0x4000))
    image = parted(FIRST, part)
    offsets = [row(image, rva, b"").offset for rva in (0x117C, 0x117D, 0x117E, 0x117F)]
    assert offsets == [56, 24, 16, 8]


# --- leaf functions -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at_hand", "offset", "saved"),
    [
        ("", 8, {RIP: -8}),
        ("4883c428c3", 0x30, {RIP: -8}),
        ("5bc3", 16, {RBX: -16, RIP: -8}),
        ("c21000", 24, {RIP: -24}),
        ("5beb10", 8, {RIP: -8}),  # not certain
        ("ff2500000000", 8, {RIP: -8}),  # a stub for an import
        ("909090", 8, {RIP: -8}),
    ],
)
def test_leaf_functions(at_hand: str, offset: int, saved: dict[int, int]) -> None:
    made = leaf_row(b"", bytes.fromhex(at_hand), 0x1000)
    assert (made.register, made.offset, made.saved, made.begin) == (RSP, offset, saved, None)


# ___chkstk_ms of GCC 12, as objdump prints it.
PROBE = bytes.fromhex(
    "51 50 483d00100000 488d4c2418 7219 4881e900100000 48830900 482d00100000 483d00100000 77e7"
    "4829c1 48830900 58 59 c3"
)


@pytest.mark.parametrize("lead", [0, 5, 100])
def test_the_probe_of_a_large_frame(lead: int) -> None:
    """Where a program stops whose stack overflows."""
    text = b"\xcc" * lead + PROBE + b"\xcc" * 100
    for at, offset in [(0, 8), (1, 16), (2, 24), (8, 24), (15, 24), (22, 24), (43, 24),
                       (47, 24), (48, 16), (49, 8), (50, 8), (60, 8)]:  # fmt: skip
        made = leaf_row(text[max(lead + at - 48, 0) : lead + at], text[lead + at :][:45], 0)
        assert made.offset == offset, at
        assert made.saved.get(RCX) == (-16 if offset >= 16 else None)
        assert made.saved.get(RAX) == (-24 if offset == 24 else None)


def test_a_frame_register_that_instructions_cannot_do_without_more_bytes() -> None:
    """r12 as a base needs a byte that unwinders do not expect: the codes serve as well."""
    prologue = [code.push(R12), code.allocate(64), code.lea(R12, RSP, 32, unwind=True)]
    rest = [NOP, code.lea(RSP, R12, 32), code.pop(R12), RETURN]
    check(Function([Part(prologue + rest, 3)], (R12, 32)))


def test_the_frame_register_of_a_part_is_set_by_its_parent() -> None:
    prologue = [code.push(R13), code.allocate(128), code.lea(R13, RSP, 16, unwind=True), NOP]
    second = [code.store(R14, R13, 48, 64), code.clobber(R14, 1), NOP]
    second += [code.load(R14, R13, 48), code.lea(RSP, R13, 112), code.pop(R13), RETURN]
    check(Function([Part(prologue, 3), Part(second, 1)], (R13, 16)))
