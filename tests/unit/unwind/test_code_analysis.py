"""Frames of 32-bit Windows code without unwind data."""

from __future__ import annotations

import pytest

from tests.unit.unwind.x86_functions import BASE, STACK, X86, Code
from unspool.arch.x86 import EBP, EBX, EDI, EIP, ESI, ESP
from unspool.model import StopReason, Thread, Trust
from unspool.space import AddressSpace
from unspool.unwind.step import Found, Missed, Query, Stepper
from unspool.unwind.strategies import code_analysis
from unspool.unwind.strategies.code_analysis import CodeAnalysis
from unspool.unwind.strategies.frame_pointer import FramePointer
from unspool.unwind.strategies.order import default_stepper
from unspool.unwind.strategies.scan import Scan
from unspool.unwind.walk import walk

OUTER, INNER, OTHER = 0x100, 0x200, 0x400
# sub $12,%esp and push %ebx, with a call of something behind.
BODY = "53 83ec0c"


def query(pc: int, sp: int = STACK, *, exact: bool = False, **registers: int) -> Query:
    values: list[int | None] = [None] * 9
    values[EIP], values[ESP] = pc, sp
    values[EBX], values[ESI], values[EDI] = 0x10, 0x20, 0x30
    for name, value in registers.items():
        values[X86.register_names.index(name)] = value
    return Query(pc, exact, values, None, above=sp)


def ask(space: AddressSpace, asked: Query) -> Found | Missed:
    return CodeAnalysis(space).answer(asked)


def prepared(body: str = BODY, at: int = INNER) -> tuple[Code, int]:
    """Code with an inner function at `at` that calls something, and where it then is."""
    code = Code()
    end = code.put(at, body)
    back = code.call(end, OTHER)
    code.put(back - BASE, "90 83c40c 5b c3")
    code.put(OTHER, "c3")
    return code, back


def test_a_call_on_the_stack_names_the_function() -> None:
    code, pc = prepared()
    back = code.call(OUTER + 0x20, INNER)
    found = ask(code.space(1, 2, 3, 0x77, back), query(pc))
    assert isinstance(found, Found)
    assert (found.registers[EIP], found.registers[ESP]) == (back, STACK + 20)
    assert found.registers[EBX] == 0x77
    assert (found.registers[ESI], found.registers[EDI]) == (0x20, 0x30)
    assert found.trust == Trust.SCAN
    assert found.gap is None


def test_stale_return_addresses_are_passed_over() -> None:
    # Those of the function's own calls, of calls of others, and of older calls of itself.
    code, pc = prepared()
    back = code.call(OUTER + 0x20, INNER)
    others = code.call(OUTER + 0x40, OTHER)
    found = ask(code.space(pc, back, others, 0x77, back), query(pc))
    assert isinstance(found, Found)
    assert found.registers[ESP] == STACK + 20


def test_a_frame_pointer_of_the_functions_own() -> None:
    # push %ebp; mov %esp,%ebp; sub %eax,%esp: nobody knows how much.
    code, pc = prepared("55 8bec 2be0 56")
    back = code.call(OUTER + 0x20, INNER)
    stack = [back] * 6 + [0x99, back]
    found = ask(code.space(*stack), query(pc, ebp=STACK + 24))
    assert isinstance(found, Found)
    assert (found.registers[EBP], found.registers[ESP]) == (0x99, STACK + 32)
    assert found.registers[ESI] is None  # saved where nobody knows


def test_a_frame_pointer_that_the_function_leaves_alone() -> None:
    code, pc = prepared()
    back = code.call(OUTER + 0x20, INNER)
    far = code.call(OUTER + 0x40, OTHER)
    found = ask(
        code.space(0, 0, 0, 0x77, back, 0, 0, 0, far), query(pc, ebp=STACK + 28)
    )  # fmt: skip
    assert isinstance(found, Found)
    assert found.registers[EIP] == back
    assert found.registers[EBP] == STACK + 28


def test_a_realigned_stack() -> None:
    # lea 4(%esp),%ecx; and $-16,%esp; push -4(%ecx); push %ebp; mov %esp,%ebp; push %edi;
    # push %ecx; sub $4,%esp
    code, pc = prepared("8d4c2404 83e4f0 ff71fc 55 89e5 57 51 83ec04")
    back = code.call(OUTER + 0x20, INNER)
    # sp: room, ecx, edi, ebp, a copy of the return address, a gap, the return address
    stack = [0, STACK + 28, 0x44, 0x55, back, 0, back]
    found = ask(code.space(*stack), query(pc, ebp=STACK + 12))
    assert isinstance(found, Found)
    assert found.registers[ESP] == STACK + 28
    assert (found.registers[EBP], found.registers[EDI]) == (0x55, 0x44)


@pytest.mark.parametrize("start", [0x200, 0x2A0])
def test_a_function_that_is_only_called_by_pointer(start: int) -> None:
    code, pc = prepared(at=start)
    code.put(start - 0x20, "40" * 0x1C + "c3")
    end = code.put(OUTER, "ffd0")
    found = ask(code.space(1, 2, 3, 0x77, BASE + end), query(pc))
    assert isinstance(found, Found)
    assert found.registers[ESP] == STACK + 20


def test_a_function_behind_a_return_without_a_gap() -> None:
    code, pc = prepared(at=0x2A5)
    code.put(0x2A0, "40404040c3")
    end = code.put(OUTER, "ffd0")
    found = ask(code.space(1, 2, 3, 0x77, BASE + end), query(pc))
    assert isinstance(found, Found)


def test_a_function_that_code_around_calls() -> None:
    code, pc = prepared(at=0x2A3)
    code.put(0x290, "40" * 0x13)  # which no boundary shows
    code.call(0x800, 0x2A3)
    end = code.put(OUTER, "ffd0")
    found = ask(code.space(1, 2, 3, 0x77, BASE + end), query(pc))
    assert isinstance(found, Found)


def test_a_jump_to_the_function() -> None:
    code, pc = prepared()
    back = code.call(OUTER + 0x20, 0x300)
    code.jump(code.put(0x300, "83ec04 83c404"), INNER)
    found = ask(code.space(1, 2, 3, 0x77, back), query(pc))
    assert isinstance(found, Found)


def test_an_interrupted_prologue() -> None:
    code, _ = prepared()
    back = code.call(OUTER + 0x20, INNER)
    for pc, stack in ((INNER, [back]), (INNER + 1, [0x77, back])):
        found = ask(code.space(*stack), query(BASE + pc, exact=True))
        assert isinstance(found, Found)
        assert found.registers[ESP] == STACK + 4 * len(stack)
    assert found.registers[EBX] == 0x77


def test_arguments_of_an_unknown_callee_are_a_guess_that_a_call_corrects() -> None:
    # push $1; call *%eax: takes nothing off, though everything looks as if it did.
    code = Code()
    end = code.put(INNER, BODY + "6a01 ffd0 90")
    pc = code.call(end, OTHER)
    code.put(OTHER, "c3")
    back = code.call(OUTER + 0x20, INNER)
    found = ask(code.space(1, 1, 2, 3, 0x77, back), query(pc))
    assert isinstance(found, Found)
    assert found.registers[ESP] == STACK + 24
    # Without a call of this very function a guess is not enough.
    end = code.put(OUTER, "ffd0")
    assert isinstance(ask(code.space(1, 2, 3, 0x77, BASE + end), query(pc)), Missed)


@pytest.mark.parametrize(
    ("stack", "why"), [([1, 2, 3, 0x77, 5], "no call of the function"), ([], "no call of")]
)
def test_nothing_is_guessed(stack: list[int], why: str) -> None:
    code, pc = prepared()
    missed = ask(code.space(*stack), query(pc))
    assert isinstance(missed, Missed)
    assert why in missed.why


def test_code_whose_start_nothing_tells() -> None:
    code = Code()
    code.put(0, "40" * 0x800)
    missed = ask(code.space(1), query(BASE + 0x700))
    assert isinstance(missed, Missed)
    code.put(0, "c3")
    missed = ask(code.space(1), query(BASE + 0x700))
    assert isinstance(missed, Missed)
    assert "where the function starts" in missed.why


def test_what_is_done_for_one_target_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_analysis, "_MAX_SEARCHES", 3)
    monkeypatch.setattr(code_analysis, "_MAX_ANALYSED", 3)
    code, pc = prepared()
    back = code.call(OUTER + 0x20, INNER)
    analysis = CodeAnalysis(code.space(1, 2, 3, 0x77, back))
    for number in range(5):
        assert isinstance(analysis.answer(query(BASE + 0x800 + number)), Missed)
    assert isinstance(analysis.answer(query(pc)), Missed)


def test_only_windows_code_is_analysed() -> None:
    code, pc = prepared()
    back = code.call(OUTER + 0x20, INNER)
    missed = ask(code.space(1, 2, 3, 0x77, back, kind="elf"), query(pc))
    assert isinstance(missed, Missed)
    for kind, there in (("elf", False), ("pe", True)):
        names = [each.name for each in default_stepper(code.space(kind=kind)).dynamic]
        assert ("code_analysis" in names) == there


def test_a_walk_through_frames_that_keep_ebp_and_others() -> None:
    code = Code()
    # A function with a frame pointer calls one without, which calls one with.
    first = code.put(0x100, "55 8bec 56")
    second = code.put(0x200, "57 53 83ec08")
    third = code.put(0x300, "55 8bec 53 51")
    backs = [code.call(first, 0x200), code.call(second, 0x300), code.call(third, OTHER)]
    code.put(backs[2] - BASE, "90")
    code.put(OTHER, "c3")
    end = code.put(0x80, "ffd0 90")
    root = BASE + end - 1
    stack = [
        0, 0x51, STACK + 36, backs[1],  # third: ecx, ebx, ebp
        0, 0, 0x52, 0x53, backs[0],  # second: room, ebx, edi
        0x54, 0, root, 0, 0,  # first: esi, ebp
    ]  # fmt: skip
    stack[2] = STACK + 40
    space = code.space(*stack)
    values: list[int | None] = [None] * 9
    values[EIP], values[ESP], values[EBP] = backs[2], STACK, STACK + 8
    stepper = Stepper(space, [], [CodeAnalysis(space)])
    found = walk(stepper, Thread(0, 1, values))
    assert [frame.pc for frame in found.frames] == [backs[2], backs[1], backs[0], root]
    assert found.stop.reason == StopReason.NO_STRATEGY


# --- what is said when it does not work --------------------------------------------------


@pytest.mark.parametrize("kind", ["pe", "elf"])
@pytest.mark.parametrize("between", [True, False])
def test_the_frame_pointer_says_that_frames_may_be_missing(kind: str, between: bool) -> None:
    code, pc = prepared()
    back = code.call(OUTER + 0x20, OTHER)
    space = code.space(0, back if between else 1, 0, 0, back, kind=kind)
    found = FramePointer(space).answer(query(pc, ebp=STACK + 12))
    assert isinstance(found, Found)
    assert bool(found.gap) == (kind == "pe" and between)
    assert not found.gap or "game.exe" in found.gap


@pytest.mark.parametrize("kind", ["pe", "elf"])
def test_a_search_takes_no_call_that_cannot_have_led_here(kind: str) -> None:
    code, pc = prepared()
    stale = code.call(OUTER + 0x20, OTHER)
    back = BASE + code.put(OUTER, "ffd0")
    space = code.space(0, stale, 0, back, kind=kind)
    found = Scan(space, []).answer(query(pc))
    assert isinstance(found, Found)
    if kind == "pe":
        assert found.registers[EIP] == back
        assert found.gap
        assert "game.exe" in found.gap
    else:
        assert found.registers[EIP] == stale
        assert found.gap is None


def test_a_search_takes_calls_of_the_function_and_jumps_to_it() -> None:
    code, pc = prepared()
    calls = [code.call(OUTER + 0x20, INNER), code.call(OUTER + 0x40, 0x300)]
    code.jump(code.put(0x300, "83ec04 83c404"), INNER)
    for back in calls:
        found = Scan(code.space(0, back), []).answer(query(pc))
        assert isinstance(found, Found)
        assert found.registers[EIP] == back
