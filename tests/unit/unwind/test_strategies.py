"""Each strategy by itself: what convinces it, and what must not."""

from __future__ import annotations

import pytest

from tests.build import cfi
from tests.build.process import MACHINES, Process, Program
from tests.unit.unwind.spaces import (
    ARCHES,
    CODE,
    CODE_SIZE,
    NAMES,
    STACK,
    Table,
    call_at,
    region,
    row,
    space,
    words,
)
from unspool.errors import FormatError
from unspool.formats.cfi_row import OFFSET, REGISTER, SAME_VALUE, UNDEFINED, CfiRow
from unspool.memory import Fault, Region
from unspool.model import Trust
from unspool.space import AddressSpace
from unspool.unwind.rows import Row
from unspool.unwind.step import Ended, Found, Missed, Query
from unspool.unwind.strategies.dwarf_cfi import to_row
from unspool.unwind.strategies.frame_pointer import FramePointer
from unspool.unwind.strategies.leaf import Leaf
from unspool.unwind.strategies.root import Root
from unspool.unwind.strategies.scan import Scan
from unspool.unwind.strategies.signal_frame import SignalTrampoline

X86, ARM = ARCHES["x86_64"], ARCHES["aarch64"]


def query(made: AddressSpace, pc: int, exact: bool = True, sp: int = STACK, **named: int) -> Query:
    arch = made.arch
    registers: list[int | None] = [0] * len(arch.register_names)
    registers[arch.pc], registers[arch.sp] = pc, sp
    for name, value in named.items():
        registers[getattr(arch, name)] = value
    return Query(pc, exact, registers, made.memory.window(sp), False, sp)


# --- leaf -----------------------------------------------------------------------------


@pytest.mark.parametrize("target", [0, 0x1234, 0xDEAD_BEEF_0000])
@pytest.mark.parametrize("name", ["x86_64", "i386"])
def test_a_call_through_a_null_or_wild_pointer(name: str, target: int) -> None:
    back = call_at(name, 5)
    made = space(name, words(ARCHES[name], back, 0))
    found = Leaf(made).answer(query(made, target & made.arch.mask))
    assert isinstance(found, Found)
    assert found.trust == Trust.LEAF
    assert found.registers[made.arch.pc] == back
    assert found.registers[made.arch.sp] == STACK + made.arch.pointer_size


def test_a_wild_call_of_a_cpu_with_a_link_register() -> None:
    made = space("aarch64", words(ARM, 0))
    found = Leaf(made).answer(query(made, 0, link=call_at("aarch64", 5)))
    assert isinstance(found, Found)
    assert found.registers[ARM.pc] == call_at("aarch64", 5)
    assert found.registers[ARM.sp] == STACK


@pytest.mark.parametrize("word", [0, 1, STACK, CODE + 3, 0x1234, (1 << 64) - 1])
def test_a_wild_jump_with_no_call_before_the_word_on_the_stack(word: int) -> None:
    made = space("x86_64", words(X86, word))
    assert isinstance(Leaf(made).answer(query(made, 0)), Missed)


def test_a_frame_that_has_called_is_no_leaf() -> None:
    made = space("x86_64", words(X86, call_at("x86_64", 5)))
    assert isinstance(Leaf(made).answer(query(made, CODE, exact=False)), Missed)


@pytest.mark.parametrize("code", [b"\xc3", b"\xc2\x0c\x00"])
def test_before_a_ret_the_arguments_stay_on_the_stack(code: bytes) -> None:
    # Unwind data that count from the stack pointer are the caller's at its call.
    arch = ARCHES["i386"]
    made = space(
        "i386", words(arch, call_at("i386", 5), 1, 2, 3), region(0x50_0000, code, executable=True)
    )
    found = Leaf(made).answer(query(made, 0x50_0000))
    assert isinstance(found, Found)
    assert found.registers[arch.sp] == STACK + 4


def called(body: bytes, at: int) -> Found | Missed:
    """A direct call of `body`, stopped `at` bytes into it."""
    function = CODE + CODE_SIZE
    back = 0x50_0000 + 5
    distance = (function - back).to_bytes(4, "little", signed=True)
    caller = region(0x50_0000, b"\x90" * 8, executable=True)
    made = space(
        "x86_64", words(X86, back), region(function, body.ljust(512, b"\x90"), executable=True),
        region(0x50_0000 - 8, b"\x90" * 8, executable=True),
        region(0x50_0000, b"\xe8" + distance + b"\x90" * 8, executable=True),
    )  # fmt: skip
    assert caller.end > back
    return Leaf(made).answer(query(made, function + at))


@pytest.mark.parametrize(
    ("body", "at", "is_leaf"),
    [
        (b"\x90" * 20, 0, True),
        (b"\x90" * 20, 15, True),
        (b"\xf3\x0f\x1e\xfa" + b"\x90" * 20, 4, True),  # endbr64
        (b"\x55\x48\x89\xe5", 0, True),  # before push %rbp
        (b"\x55\x48\x89\xe5", 1, False),  # behind it
        (b"\x48\x83\xec\x28\x90", 4, False),  # behind sub $40,%rsp
        (b"\x90" * 300, 299, False),  # too far in
    ],
)
def test_a_function_without_unwind_data_that_has_not_touched_the_stack(
    body: bytes, at: int, is_leaf: bool
) -> None:
    assert isinstance(called(body, at), Found if is_leaf else Missed)


# --- frame pointers -------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_record(name: str) -> None:
    arch = ARCHES[name]
    size = arch.pointer_size
    older, back = STACK + 16 * size, call_at(name, 3)
    made = space(name, words(arch, 1, 2, older, back).ljust(256, b"\0"))
    found = FramePointer(made).answer(query(made, CODE, fp=STACK + 2 * size))
    assert isinstance(found, Found)
    assert found.trust == Trust.FRAME_POINTER
    assert found.registers[arch.pc] == back
    assert found.registers[arch.fp] == older
    assert found.above == STACK + 4 * size
    # With a link register, where the record's frame ends is not known.
    assert found.registers[arch.sp] == (None if arch.link else STACK + 4 * size)
    assert found.registers[3 if name != "aarch64" else 19] is None


@pytest.mark.parametrize("name", NAMES)
def test_the_outermost_record_is_zero(name: str) -> None:
    arch = ARCHES[name]
    made = space(name, words(arch, 0, 0, 0, 0))
    answer = FramePointer(made).answer(query(made, CODE, fp=STACK + arch.pointer_size))
    assert isinstance(answer, Ended)


BAD_FP = {
    "null": 0,
    "below the stack pointer": STACK - 16,
    "odd": STACK + 3,
    "in code": CODE + 16,
    "nowhere": 0x1234_0000,
    "on another stack": 0x6000_0000,
    "where no call precedes the address": STACK + 16,
}


@pytest.mark.parametrize("why", BAD_FP)
def test_frame_pointers_that_are_none(why: str) -> None:
    record = words(X86, STACK + 64, call_at("x86_64", 3))
    stack = record + words(X86, STACK + 64, CODE + 0x102).ljust(128, b"\0")
    made = space("x86_64", stack, region(0x6000_0000, record, writable=True))
    answer = FramePointer(made).answer(query(made, CODE, fp=BAD_FP[why]))
    assert isinstance(answer, Missed)
    assert answer.why


def test_a_record_at_the_end_of_the_stack_is_a_fault_or_a_miss() -> None:
    made = space("x86_64", words(X86, 1, 2))
    with pytest.raises(Fault):
        FramePointer(made).answer(query(made, CODE, fp=STACK + 8))


# --- roots ----------------------------------------------------------------------------


def test_the_entry_point_is_a_root() -> None:
    made = space("x86_64", bytes(64), entry_points=[CODE + 0x100])
    root = Root(made)
    assert isinstance(root.answer(query(made, CODE + 0x100)), Ended)
    assert isinstance(root.answer(query(made, CODE + 0x120, exact=False)), Ended)
    for pc, exact in ((CODE + 0xFF, True), (CODE + 0x100, False), (CODE + 0x200, True)):
        assert isinstance(root.answer(query(made, pc, exact)), Missed)


def test_the_end_of_a_thread_behind_the_call_is_a_root() -> None:
    code = b"\xff\xd2\xb8\x3c\0\0\0\x0f\x05".ljust(64, b"\x90")
    made = space("x86_64", bytes(64), region(0x50_0000, code, executable=True))
    assert isinstance(Root(made).answer(query(made, 0x50_0002, exact=False)), Ended)
    assert isinstance(Root(made).answer(query(made, 0x50_0002, exact=True)), Missed)


def test_a_thread_that_go_has_just_made_is_a_root() -> None:
    """Go 1.19's runtime.clone from behind its system call on: the exit is 66 bytes away."""
    code = bytes.fromhex(
        "4883f8007405894424 30c3 4889f4 4983fd007426 4983f9007420 b8ba0000000f05 49894548"
        "4d896930 64 4c890c25f8ffffff 4d89ce e894dfffff 41ffd4 bf6f000000 b83c0000000f05 ebf2"
    )
    made = space("x86_64", b"", region(0x50_0000, code, executable=True))
    assert isinstance(Root(made).answer(query(made, 0x50_0000)), Ended)


def test_a_thread_that_has_just_been_made_is_a_root() -> None:
    # xor %ebp,%ebp; mov %r8,%rdi; call *%rdx; mov %rax,%rdi; mov $60,%eax; syscall
    code = bytes.fromhex("31ed4c89c7ffd24889c7b83c0000000f05").ljust(64, b"\x90")
    made = space("x86_64", bytes(64), region(0x50_0000, code, executable=True))
    assert isinstance(Root(made).answer(query(made, 0x50_0000)), Ended)
    parent = query(made, 0x50_0000)
    parent.registers[0] = 4711
    assert isinstance(Root(made).answer(parent), Missed)
    # An exit without a call before it is no thread's start.
    assert isinstance(Root(made).answer(query(made, 0x50_0007)), Missed)


# --- scanning -------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_first_word_behind_a_call_is_taken(name: str) -> None:
    arch = ARCHES[name]
    size = arch.pointer_size
    # An odd instruction border is not behind a call; nor are data and stack addresses.
    values = [0, 5, STACK, STACK + 8, CODE + 0x102, CODE - 1, 0x1234]
    made = space(name, words(arch, *values, call_at(name, 7), call_at(name, 9)))
    found = Scan(made, []).answer(query(made, CODE))
    assert isinstance(found, Found)
    assert found.trust == Trust.SCAN
    assert found.registers[arch.pc] == call_at(name, 7)
    assert found.above == STACK + 8 * size


def test_a_scan_finds_nothing_in_data() -> None:
    made = space("x86_64", words(X86, *range(100)))
    answer = Scan(made, []).answer(query(made, CODE))
    assert isinstance(answer, Missed)
    assert "100 words" in answer.why


def test_words_that_cannot_be_checked_are_passed_over_and_told() -> None:
    hidden = Region(0x60_0000, 0x60_1000, None, executable=True)
    good = call_at("x86_64", 7)
    made = space("x86_64", words(X86, 0x60_0123, 1, good), hidden)
    found = Scan(made, []).answer(query(made, CODE))
    assert isinstance(found, Found)
    assert found.registers[X86.pc] == good
    assert found.gap == "the code of 0x600123 is not at hand"
    plain = space("x86_64", words(X86, 1, good), hidden)
    found = Scan(plain, []).answer(query(plain, CODE))
    assert isinstance(found, Found)
    assert found.gap is None


def test_a_scan_does_not_look_further_than_a_page_or_two() -> None:
    made = space("x86_64", words(X86, *[0] * 5000, call_at("x86_64", 7)))
    assert isinstance(Scan(made, []).answer(query(made, CODE)), Missed)


def test_a_candidate_whose_own_unwind_data_leads_nowhere_is_passed_over() -> None:
    bad, good = call_at("x86_64", 7), call_at("x86_64", 9)
    rows: dict[int, Row] = {bad - 1: row(X86, 16), good - 1: row(X86, 8)}
    # Behind `bad` its frame would have 16 bytes, ending in a word that is no code.
    made = space("x86_64", words(X86, bad, 1, 2, good, good, 0))
    found = Scan(made, [Table(rows)]).answer(query(made, CODE))
    assert isinstance(found, Found)
    assert found.registers[X86.pc] == good


def test_an_unaligned_stack_pointer_is_rounded_up() -> None:
    made = space("x86_64", words(X86, 0, call_at("x86_64", 7)))
    found = Scan(made, []).answer(query(made, CODE, sp=STACK + 3))
    assert isinstance(found, Found)
    assert found.registers[X86.sp] == STACK + 16


def test_a_frame_pointer_is_kept_if_it_points_above_what_was_found() -> None:
    made = space("x86_64", words(X86, 0, call_at("x86_64", 7)).ljust(256, b"\0"))
    for fp, kept in ((STACK + 64, STACK + 64), (STACK + 8, None), (0, None)):
        found = Scan(made, []).answer(query(made, CODE, fp=fp))
        assert isinstance(found, Found)
        assert found.registers[X86.fp] == kept


# --- signal trampolines ---------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_trampolines_are_known_by_their_code(name: str) -> None:
    arch = ARCHES[name]
    for frame in arch.signal_frames:
        made = space(name, bytes(64), region(0x50_0000, frame.code + bytes(8), executable=True))
        found = SignalTrampoline(made).row(0x50_0000, 0x50_0000)
        assert isinstance(found, Row)
        assert found.signal is frame
        assert isinstance(SignalTrampoline(made).row(0x50_0002, 0x50_0002), Missed)
        cut = space(name, bytes(64), region(0x50_0000, frame.code[:-1], executable=True))
        assert isinstance(SignalTrampoline(cut).row(0x50_0000, 0x50_0000), Missed)


# --- CFI ------------------------------------------------------------------------------


def decoded(**rules: tuple[int, int | bytes]) -> CfiRow:
    made = CfiRow(16, False)
    made.cfa_register, made.cfa_offset = 7, 16
    made.rules = {int(name[1:]): rule for name, rule in rules.items()}
    return made


def test_decoded_rows_become_the_unwinders() -> None:
    made = to_row(X86, decoded(r16=(OFFSET, -8), r3=(OFFSET, -16), r6=(SAME_VALUE, 0)), 0x1234)
    assert made.saved == [(3, -16), (16, -8)]
    assert (made.other, made.root, made.function, made.trust) == ((), False, 0x1234, Trust.CFI)
    assert to_row(X86, decoded(r16=(UNDEFINED, 0))).root


def test_vector_registers_are_dropped() -> None:
    assert to_row(X86, decoded(r17=(OFFSET, -32), r16=(OFFSET, -8))).saved == [(16, -8)]
    assert to_row(ARM, decoded(r72=(OFFSET, -32))).saved == []


@pytest.mark.parametrize("field", ["ra_column", "cfa_register"])
def test_registers_that_the_cpu_lacks(field: str) -> None:
    made = decoded()
    setattr(made, field, 17)
    with pytest.raises(FormatError):
        to_row(X86, made)
    with pytest.raises(FormatError):
        to_row(X86, decoded(r3=(REGISTER, 99)))


@pytest.mark.parametrize("table", [True, False])
def test_an_image_without_a_search_table_needs_its_file(table: bool) -> None:
    program = Program(MACHINES["x86_64"], table=table)
    process = Process(program=program)
    assert (b".eh_frame_hdr" in program.build()) is table
    assert process.at("main") == process.base + program.address("main") + 15
    assert program.frame_rules().startswith(cfi.def_cfa(7, 16))
