"""What the code around a thread's pc is good for, where there is nothing else: minidumps."""

from __future__ import annotations

import pytest

from tests.unit.unwind.spaces import ARCHES, STACK, region, words
from unspool.memory import Memory, Region
from unspool.model import Module, Trust
from unspool.space import AddressSpace
from unspool.unwind.step import Ended, Found, Missed, Query
from unspool.unwind.strategies.code_ahead import Ahead
from unspool.unwind.strategies.frame_pointer import FramePointer
from unspool.unwind.strategies.leaf import Leaf
from unspool.unwind.strategies.order import default_stepper
from unspool.unwind.strategies.scan import Scan

MODULE, PC = 0x40_0000, 0x40_0200
ELSEWHERE = 0x50_1234  # code that is not at hand
X64, X86 = ARCHES["x86_64"], ARCHES["i386"]


def space(
    code: str, *stack: int, name: str = "x86_64", kind: str = "elf", before: str = ""
) -> AddressSpace:
    """Code at PC; all else of the module, and another one at 0x50_0000, is not at hand."""
    arch = ARCHES[name]
    ahead = bytes.fromhex(before.replace(" ", ""))
    held = ahead + bytes.fromhex(code.replace(" ", ""))
    start = PC - len(ahead)
    memory = Memory(
        [
            Region(MODULE, start, None, executable=True),
            region(start, held, executable=True),
            Region(start + len(held), MODULE + 0x1000, None, executable=True),
            Region(0x50_0000, 0x50_2000, None, executable=True),
            region(STACK, words(arch, *stack), writable=True),
        ]
    )
    modules = [
        Module(0, "prog", MODULE, MODULE + 0x1000, kind=kind),
        Module(1, "other", 0x50_0000, 0x50_2000, kind=kind),
    ]
    return AddressSpace(arch, memory, modules, lambda _: None)


def query(made: AddressSpace, *, exact: bool = True, fp: int = 0, pc: int = PC) -> Query:
    values: list[int | None] = [0x100 + number for number in range(len(made.arch.register_names))]
    values[made.arch.pc], values[made.arch.sp], values[made.arch.fp] = pc, STACK, fp
    return Query(pc, exact, values, made.memory.window(STACK), above=STACK)


@pytest.mark.parametrize(("calls", "trust"), [("", Trust.LEAF), ("e800000000", Trust.SCAN)])
def test_the_rest_of_the_function(calls: str, trust: str) -> None:
    made = space(f"{calls} 4883c408 5b 5d c3", 1, 2, 3, ELSEWHERE, 5)
    found = Ahead(made).answer(query(made))
    assert isinstance(found, Found)
    assert (found.trust, found.registers[X64.pc]) == (trust, ELSEWHERE)
    assert found.registers[X64.sp] == STACK + 32
    assert (found.registers[3], found.registers[X64.fp]) == (2, 3)
    assert found.registers[0] is None  # rax
    assert found.registers[12] == 0x10C  # r12: nobody has touched it


@pytest.mark.parametrize(("kind", "rsi"), [("elf", None), ("pe", 0x104)])
def test_what_windows_functions_restore(kind: str, rsi: int | None) -> None:
    made = space("c3", ELSEWHERE, kind=kind)
    found = Ahead(made).answer(query(made))
    assert isinstance(found, Found)
    assert found.registers[4] == rsi


@pytest.mark.parametrize(
    ("code", "stack"),
    [
        ("c3", (0x10,)),  # no code
        ("c3", (PC + 1,)),  # no call before it
        ("4883c408 c3", (ELSEWHERE,)),  # beyond the stack
        ("4883ec08 c3", (ELSEWHERE,)),  # below it
        ("0f0b", (ELSEWHERE,)),
    ],
)
def test_what_is_not_believed(code: str, stack: tuple[int, ...]) -> None:
    made = space(code, *stack, before="90" * 16)
    assert isinstance(Ahead(made).answer(query(made)), Missed)


def test_frames_that_have_called_are_left_alone() -> None:
    made = space("c3", ELSEWHERE)
    [strategy] = [each for each in default_stepper(made).dynamic if each.name == Ahead.name]
    assert isinstance(strategy.answer(query(made)), Found)
    assert isinstance(strategy.answer(query(made, exact=False)), Missed)
    assert isinstance(strategy.answer(query(made, pc=0x60_0000)), Missed)


# --- code that was made, and has no unwind data because of that ------------------------------

JIT = 0x60_0000
CALLED = "e800000000"  # what precedes a return address
FRAMELESS = "4883c410 c3"  # add $16,%rsp; ret
PUSHED = "55 4889e5 4883ec20 c9 c3"  # push %rbp; mov %rsp,%rbp; sub $32,%rsp; leave; ret


def jit(code: str, *stack: int) -> AddressSpace:
    """Code at JIT + 0x100, and from JIT on calls in plenty."""
    arch = X64
    held = bytes.fromhex(CALLED * 20 + "cc" * 156 + code.replace(" ", "")).ljust(0x200, b"\xcc")
    memory = Memory(
        [region(JIT, held, executable=True), region(STACK, words(arch, *stack), writable=True)]
    )
    return AddressSpace(arch, memory, [], lambda _: None)


def answer(made: AddressSpace, *, exact: bool = True, fp: int = STACK + 24) -> Found:
    """What the first of all strategies that knows says: by default of a frame record at word 3."""
    found = default_stepper(made).step(query(made, exact=exact, fp=fp, pc=JIT + 0x100), [])
    assert isinstance(found, Found)
    return found


CALLER, OLDER = JIT + 10, JIT + 15
RECORD = (1, 2, CALLER, STACK + 48, OLDER, 6)


def test_a_function_without_a_frame_has_its_callers_frame_pointer() -> None:
    found = answer(jit(FRAMELESS, *RECORD))
    assert (found.registers[X64.pc], found.trust, found.gap) == (CALLER, Trust.LEAF, None)
    assert (found.registers[X64.sp], found.registers[X64.fp]) == (STACK + 24, STACK + 24)


@pytest.mark.parametrize("tail", ["ffe1", "41ffa5a0310000", "e900000001"])
def test_a_function_that_another_one_returns_for(tail: str) -> None:
    found = answer(jit(f"4883c410 {tail}", *RECORD))
    assert (found.registers[X64.pc], found.trust) == (CALLER, Trust.LEAF)


def test_a_function_that_has_not_pushed_yet() -> None:
    found = answer(jit(PUSHED, CALLER, *RECORD))
    assert (found.registers[X64.pc], found.trust) == (CALLER, Trust.LEAF)
    assert found.registers[X64.sp] == STACK + 8


def test_a_function_with_a_frame() -> None:
    found = answer(jit("4831c0 c9 c3", *RECORD))
    assert (found.registers[X64.pc], found.trust) == (OLDER, Trust.FRAME_POINTER)
    assert (found.registers[X64.sp], found.registers[X64.fp]) == (STACK + 40, STACK + 48)
    assert found.gap is None


@pytest.mark.parametrize(("between", "gap"), [(CALLER, True), (CALLER + 1, False), (7, False)])
def test_where_the_code_does_not_tell_a_frame_pointer_may_skip_callers(
    between: int, gap: bool
) -> None:
    found = answer(jit("ff24c500000000", 1, 2, between, STACK + 48, OLDER, 6))
    assert (found.registers[X64.pc], found.trust) == (OLDER, Trust.FRAME_POINTER)
    assert (found.gap is not None) is gap


def test_a_trampoline_that_has_called() -> None:
    """CPython's: its caller keeps no frame pointer either."""
    found = answer(jit("4883c408 c3", 1, CALLER, 3, STACK + 48, OLDER), exact=False)
    assert (found.registers[X64.pc], found.trust) == (CALLER, Trust.LEAF)
    assert found.registers[X64.sp] == STACK + 16


def test_what_is_left_of_other_functions_is_too_much() -> None:
    found = answer(jit("7402 90 90 4883c408 c3", *RECORD), exact=False)
    assert (found.registers[X64.pc], found.trust) == (OLDER, Trust.FRAME_POINTER)


def test_what_the_code_leads_to_must_be_a_return_address() -> None:
    found = answer(jit("c3", CALLER + 1, 2, 3, STACK + 48, OLDER))
    assert (found.registers[X64.pc], found.trust) == (OLDER, Trust.FRAME_POINTER)


def test_compiled_code_keeps_to_other_rules() -> None:
    made = space("c3", ELSEWHERE)
    [strategy] = [each for each in default_stepper(made).dynamic if each.name == "made_code"]
    assert isinstance(strategy.answer(query(made)), Missed)


# --- the same on aarch64, where the return address is in a register at last -----------------

A64 = ARCHES["aarch64"]
BL = 0x94000000
RET, RETAA, BR_X17, BR_X3 = 0xD65F03C0, 0xD65F0BFF, 0xD61F0220, 0xD61F0060
POP, PUSH = 0xA8C17BFD, 0xA9BF7BFD  # ldp x29, x30, [sp], #16; stp x29, x30, [sp, #-16]!
ADD_16 = 0x910043FF  # add sp, sp, #16
MADE_CALLER, MADE_OLDER = JIT + 8, JIT + 12
LEFT = JIT + 0x2000  # whence the code was called, too far from it to be a call of its own


def made_arm(*code: int, stack: tuple[int, ...] = (), before: int = 0x100) -> AddressSpace:
    """Code at JIT + 0x100, calls around it in plenty."""
    count = 0x1000
    held = [BL] * count
    held[before // 4 : before // 4 + len(code)] = code
    memory = Memory(
        [
            region(JIT, b"".join(each.to_bytes(4, "little") for each in held), executable=True),
            region(STACK, words(A64, *stack), writable=True),
        ]
    )
    return AddressSpace(A64, memory, [], lambda _: None)


def arm_query(made: AddressSpace, *, link: int, fp: int, exact: bool = True) -> Query:
    values: list[int | None] = [0x100 + number for number in range(len(A64.register_names))]
    values[A64.pc], values[A64.sp], values[A64.fp] = JIT + 0x100, STACK, fp
    values[30] = link
    return Query(JIT + 0x100, exact, values, made.memory.window(STACK), above=STACK)


def arm_answer(made: AddressSpace, *, link: int = LEFT, exact: bool = True) -> Found:
    """What the first of all strategies that knows says: of a frame record at word 4."""
    asked = arm_query(made, link=link, fp=STACK + 32, exact=exact)
    found = default_stepper(made).step(asked, [])
    assert isinstance(found, Found)
    return found


ARM_RECORD = (1, 2, 3, 4, STACK + 64, MADE_OLDER, 7, 8, 0, 0)


@pytest.mark.parametrize("link", [LEFT, LEFT | 0x5A << 48])
@pytest.mark.parametrize("code", [(RET,), (0xD503201F, RETAA), (PUSH, POP, RET), (BR_X17,)])
def test_the_link_register_of_a_function_without_a_frame(code: tuple[int, ...], link: int) -> None:
    found = arm_answer(made_arm(*code, stack=ARM_RECORD), link=link)
    assert (found.registers[A64.pc], found.trust, found.gap) == (LEFT, Trust.LEAF, None)
    assert (found.registers[A64.sp], found.registers[A64.fp]) == (STACK, STACK + 32)


def test_an_arm_function_that_has_its_frame() -> None:
    mov_sp_fp = 0x910003BF
    found = arm_answer(made_arm(mov_sp_fp, POP, RET, stack=ARM_RECORD))
    assert (found.registers[A64.pc], found.trust) == (MADE_OLDER, Trust.FRAME_POINTER)
    assert (found.registers[A64.sp], found.registers[A64.fp]) == (STACK + 48, STACK + 64)


def test_a_record_that_is_not_the_frame_pointers() -> None:
    found = arm_answer(made_arm(ADD_16, POP, RET, stack=(1, 2, 3, MADE_CALLER, *ARM_RECORD[4:])))
    assert (found.registers[A64.pc], found.trust) == (MADE_CALLER, Trust.LEAF)
    assert (found.registers[A64.sp], found.registers[A64.fp]) == (STACK + 32, 3)


def test_a_jump_behind_a_call_tells_nothing() -> None:
    """The link register is still that of the call, which is near: no caller's."""
    found = arm_answer(made_arm(BR_X17, stack=ARM_RECORD), link=JIT + 0x104)
    assert (found.registers[A64.pc], found.trust) == (MADE_OLDER, Trust.FRAME_POINTER)


@pytest.mark.parametrize(("link", "gap"), [(LEFT, True), (MADE_OLDER, False), (7, False)])
def test_where_arm_code_does_not_tell_a_frame_pointer_may_skip_its_caller(
    link: int, gap: bool
) -> None:
    found = arm_answer(made_arm(BR_X3, stack=ARM_RECORD), link=link)
    assert (found.registers[A64.pc], found.trust) == (MADE_OLDER, Trust.FRAME_POINTER)
    assert (found.gap is not None) is gap


def test_arm_code_that_has_called_and_returns_at_once() -> None:
    found = arm_answer(made_arm(POP, RET, stack=(3, MADE_CALLER, *ARM_RECORD[2:])), exact=False)
    assert (found.registers[A64.pc], found.trust) == (MADE_CALLER, Trust.LEAF)
    assert found.registers[A64.sp] == STACK + 16


def test_arguments_that_are_popped_by_their_number() -> None:
    add_sp_w9 = 0x8B294FFF  # add sp, sp, w9, uxtw #3
    found = arm_answer(made_arm(POP, add_sp_w9, RET, stack=(3, MADE_CALLER, *ARM_RECORD[2:])))
    assert found.registers[A64.pc] == MADE_CALLER
    assert (found.registers[A64.sp], found.above) == (None, STACK + 16)


# --- a leaf that is about to return --------------------------------------------------------


@pytest.mark.parametrize("code", ["c3", "cc c3", "c20800"])
def test_a_ret_proves_its_return_address(code: str) -> None:
    """Of threads in system calls a minidump of 64-bit Windows has no more."""
    made = space(code, ELSEWHERE)
    found = Leaf(made).answer(query(made))
    assert isinstance(found, Found)
    assert found.registers[X64.pc] == ELSEWHERE


def test_an_address_that_is_no_code_is_not_returned_to() -> None:
    made = space("c3", 0x1234)
    assert isinstance(Leaf(made).answer(query(made)), Missed)
    made = space("90", ELSEWHERE)
    assert isinstance(Leaf(made).answer(query(made)), Missed)


# --- frame pointers of Windows code --------------------------------------------------------


def test_rbp_of_windows_code_is_no_frame_pointer_without_proof() -> None:
    chain = (STACK + 16, ELSEWHERE, 0, 0)
    made = space("90", *chain)
    assert isinstance(FramePointer(made).answer(query(made, fp=STACK)), Found)
    assert isinstance(FramePointer(made).answer(query(made, fp=STACK + 16)), Ended)
    made = space("90", *chain, kind="pe")
    assert isinstance(FramePointer(made).answer(query(made, fp=STACK)), Missed)
    assert isinstance(FramePointer(made).answer(query(made, fp=STACK + 16)), Missed)
    called = (STACK + 16, PC + 5, 0, 0)
    made = space("e800000000 90", *called, kind="pe", before="90" * 16)
    assert isinstance(FramePointer(made).answer(query(made, fp=STACK)), Found)


def test_the_last_record_of_a_windows_stack_has_no_return_address() -> None:
    made = space("90", 0, ELSEWHERE, 0, name="i386", kind="pe")
    assert isinstance(FramePointer(made).answer(query(made, fp=STACK)), Missed)
    made = space("90", 0, ELSEWHERE, 0, name="i386")
    assert isinstance(FramePointer(made).answer(query(made, fp=STACK)), Found)


# --- scans ---------------------------------------------------------------------------------


def test_glimpses_of_windows_code_prove_no_return_address() -> None:
    """A minidump has code where threads are, and stacks are full of older calls from there."""
    for kind, expected in (("elf", Found), ("pe", Missed)):
        made = space("e800000000 90", 1, PC + 5, 3, kind=kind, before="90" * 16)
        assert isinstance(Scan(made, []).answer(query(made)), expected)
