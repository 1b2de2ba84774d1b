"""Frames by STACK WIN records, on stacks made by something that knows nothing of records."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import pe
from tests.build.stack_win import Calls, Function, records
from tests.unit.unwind.spaces import ARCHES, region
from unspool.arch.x86 import EBP, EBX, EDI, EIP, ESI, ESP
from unspool.formats.pe import Pe
from unspool.formats.stack_win import StackWin
from unspool.memory import Memory
from unspool.model import Module, StopReason, Thread, Trust
from unspool.pe_image import PeImage
from unspool.space import AddressSpace
from unspool.unwind.step import Found, Missed, Query, Stepper
from unspool.unwind.strategies.fpo import Fpo
from unspool.unwind.walk import walk

X86 = ARCHES["i386"]
BASE = 0x1000_0000
NUMBERS = {"ebx": EBX, "esi": ESI, "edi": EDI, "ebp": EBP}
SLOT = 8  # a call and room between it and the next one


class Game:
    """A module of functions, and the calls that they make of each other."""

    def __init__(self, *functions: Function, text: bytes | None = None) -> None:
        self.functions = functions
        self.code = bytearray(b"\xcc" * 0x2000)
        self.text = records(functions) if text is None else text
        self.sites: dict[int, int] = {}

    def site(self, caller: Function, callee: Function | None, *, direct: bool = True) -> int:
        """The return address of a new call of `callee` in the body of `caller`."""
        count = self.sites[caller.start] = self.sites.get(caller.start, 0) + 1
        back = caller.body + count * SLOT
        assert back <= caller.start + caller.size
        call = b"\xff\xd0"  # call *%eax
        if direct:
            call = b"\xe8" + ((callee.start if callee else 0) - back).to_bytes(
                4, "little", signed=True
            )
        self.code[back - len(call) : back] = call
        return BASE + back

    def space(self, stack: Calls) -> AddressSpace:
        image = pe.image(pe.I386, [pe.Section(".text", bytes(self.code[0x1000:]), "rx")])
        headers = Pe(image.file())
        raw = stack.bytes()
        memory = Memory(
            [
                region(BASE, bytes(self.code), executable=True),
                region(stack.sp, raw + bytes(64), writable=True),
            ]
        )
        module = Module(0, "game.exe", BASE, BASE + 0x2000, kind="pe")
        found = PeImage(memory, BASE, headers, find_stack_win=lambda: StackWin(self.text))
        return AddressSpace(X86, memory, [module], lambda _: found)


def registers(stack: Calls, pc: int) -> list[int | None]:
    values: list[int | None] = [None] * len(X86.register_names)
    values[EIP], values[ESP] = pc, stack.sp
    for name, value in stack.registers.items():
        values[NUMBERS[name]] = value
    return values


def ask(
    game: Game, stack: Calls, pc: int, *, exact: bool = True, fpo: Fpo | None = None
) -> Found | Missed:
    query = Query(pc, exact, registers(stack, pc), None, above=stack.sp)
    answer = (fpo or Fpo(game.space(stack))).answer(query)
    assert isinstance(answer, Found | Missed)
    return answer


def check(answer: Found | Missed, frame: tuple[int, int, dict[str, int]]) -> None:
    assert isinstance(answer, Found)
    back, sp, values = frame
    assert (answer.registers[EIP], answer.registers[ESP]) == (back, sp)
    for name, value in values.items():
        assert answer.registers[NUMBERS[name]] == value, name


KINDS = [
    {},
    {"locals": 0x20},
    {"saved": ("ebx", "esi", "edi"), "locals": 0x44},
    {"saved": ("ebx", "ebp"), "locals": 8},
    {"frame": True},
    {"frame": True, "saved": ("esi",), "locals": 0x100},
    {"fpo": True, "locals": 0x10},
    {"fpo": True, "saved": ("ebx", "ebp", "esi"), "locals": 0x10},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arguments", [0, 3])
def test_one_frame(kind: dict[str, object], arguments: int) -> None:
    outer = Function(0x1000)
    inner = Function(0x1100, parameters=4 * arguments, **kind)  # type: ignore[arg-type]
    game, stack = Game(outer, inner), Calls(BASE)
    stack.call(outer, 0)
    stack.call(inner, game.site(outer, inner), range(arguments), ebx=1, esi=2, edi=3, ebp=4)
    answer = ask(game, stack, BASE + inner.body + 1)
    back, sp, values = stack.frames[-1]
    # FPO_DATA says where ebp is, of the saved registers.
    known = {name: value for name, value in values.items() if not inner.fpo or name == "ebp"}
    check(answer, (back, sp, known))
    assert isinstance(answer, Found)
    assert answer.trust == Trust.UNWIND_INFO
    if inner.fpo and inner.saved:
        assert answer.registers[EBX] is None


@pytest.mark.parametrize("kind", [*KINDS[:4], KINDS[6]])
def test_in_the_middle_of_a_prologue(kind: dict[str, object]) -> None:
    outer, inner = Function(0x1000), Function(0x1100, **kind)  # type: ignore[arg-type]
    pushes = {"ebx": 0x53, "ebp": 0x55, "esi": 0x56, "edi": 0x57}
    game = Game(outer, inner)
    code = bytes(pushes[name] for name in inner.saved) + b"\x83\xec" + bytes([inner.locals])
    game.code[inner.start : inner.start + len(code)] = code
    back = game.site(outer, inner)
    for done in range(len(inner.saved) + 1):
        part = Function(0x1100, saved=inner.saved[:done])
        stack = Calls(BASE)
        stack.call(outer, 0)
        stack.call(part, back, ebx=1, esi=2, edi=3, ebp=4)
        back, sp, _ = stack.frames[-1]
        check(ask(game, stack, BASE + inner.start + done), (back, sp, {}))


def test_the_arguments_of_a_callee_with_a_record_are_known() -> None:
    # They are no reason to search: the second argument is a return address as good as any.
    outer, middle = Function(0x1000), Function(0x1100, locals=8, parameters=4)
    inner = Function(0x1200, parameters=12)
    game, stack = Game(outer, middle, inner), Calls(BASE)
    stack.call(outer, 0)
    stack.call(middle, game.site(outer, middle), [5])
    decoy = game.site(outer, middle)
    stack.call(inner, game.site(middle, inner), [1, decoy, 3])
    space = game.space(stack)
    fpo = Fpo(space)
    first = ask(game, stack, BASE + inner.body, fpo=fpo)
    check(first, stack.frames[-1])
    assert isinstance(first, Found)
    pc, sp = first.registers[EIP], first.registers[ESP]
    assert pc is not None
    second = fpo.answer(Query(pc, False, first.registers, None, above=sp))
    check(second, stack.frames[-2])


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("arguments", [(), (1,), (1, 2, 3), tuple(range(12))])
def test_those_of_a_callee_without_a_record_are_searched_through(
    arguments: Sequence[int], direct: bool
) -> None:
    outer = Function(0x1000)
    middle = Function(0x1100, saved=("ebx",), locals=12)
    game, stack = Game(outer, middle), Calls(BASE)
    stack.call(outer, 0)
    stack.call(middle, game.site(outer, middle, direct=direct), [5], ebx=9)
    for value in reversed(arguments):
        stack.push(value)
    answer = ask(game, stack, game.site(middle, None), exact=False)
    check(answer, stack.frames[-1])
    assert isinstance(answer, Found)
    sure = direct or not arguments
    assert answer.trust == (Trust.UNWIND_INFO if sure else Trust.SCAN)


@pytest.mark.parametrize("code", ["83c408", "81c408000000", "5959"])
@pytest.mark.parametrize("with_record", [True, False])
def test_a_caller_that_takes_the_arguments_off_says_how_many(code: str, with_record: bool) -> None:
    outer, middle = Function(0x1000), Function(0x1100, saved=("esi",), locals=4)
    printf = Function(0x1200, parameters=4)
    game, stack = Game(outer, middle, printf), Calls(BASE)
    stack.call(outer, 0)
    decoy = game.site(outer, middle)
    stack.call(middle, game.site(outer, middle), esi=decoy)
    # What is in the frame looks as if the function had been called from there.
    stack.words[stack.sp] = decoy
    back = game.site(middle, printf)
    raw = bytes.fromhex(code)
    game.code[back - BASE : back - BASE + len(raw)] = raw
    if with_record:
        stack.call(printf, back, [1, decoy])
        fpo = Fpo(game.space(stack))
        first = ask(game, stack, BASE + printf.body, fpo=fpo)
        assert isinstance(first, Found)
        pc, sp = first.registers[EIP], first.registers[ESP]
        assert pc is not None
        answer = fpo.answer(Query(pc, False, first.registers, None, above=sp))
    else:
        for value in (decoy, 1):
            stack.push(value)
        answer = ask(game, stack, back, exact=False)
    check(answer, stack.frames[1])
    assert isinstance(answer, Found)
    assert answer.trust == Trust.UNWIND_INFO


def test_the_end_of_a_function_does_not_say_how_many_arguments_there_were() -> None:
    # add $12,%esp; pop %esi; ret: the function's own frame.
    outer, middle = Function(0x1000), Function(0x1100, saved=("esi",), locals=12)
    game, stack = Game(outer, middle), Calls(BASE)
    stack.call(outer, 0)
    stack.call(middle, game.site(outer, middle))
    stack.push(1)
    back = game.site(middle, None)
    game.code[back - BASE : back - BASE + 5] = bytes.fromhex("83c40c5ec3")
    check(ask(game, stack, back, exact=False), stack.frames[-1])


@pytest.mark.parametrize("kind", [{"frame": True}, {"frame": True, "saved": ("esi",), "locals": 8}])
def test_a_frame_pointer_needs_no_arguments(kind: dict[str, object]) -> None:
    outer, middle = Function(0x1000), Function(0x1100, **kind)  # type: ignore[arg-type]
    game, stack = Game(outer, middle), Calls(BASE)
    stack.call(outer, 0)
    stack.call(middle, game.site(outer, middle, direct=False), esi=3)
    for value in (1, 2, 3):
        stack.push(value)
    answer = ask(game, stack, game.site(middle, None), exact=False)
    check(answer, stack.frames[-1])
    assert isinstance(answer, Found)
    assert answer.trust == Trust.UNWIND_INFO


def test_a_search_prefers_a_call_of_this_very_function() -> None:
    outer, middle, other = Function(0x1000), Function(0x1100), Function(0x1200)
    game, stack = Game(outer, middle, other), Calls(BASE)
    stack.call(outer, 0)
    stack.call(middle, game.site(outer, middle), [5])
    stale = game.site(outer, other)
    stack.push(stale)
    stack.push(1)
    check(ask(game, stack, game.site(middle, None), exact=False), stack.frames[-1])
    # Without one, the call may have led here by a jump.
    stack = Calls(BASE)
    stack.push(stale)
    stack.push(1)
    answer = ask(game, stack, game.site(middle, None), exact=False)
    assert isinstance(answer, Found)
    assert answer.registers[EIP] == stale
    assert answer.trust == Trust.SCAN


@pytest.mark.parametrize("above", [True, False])
def test_a_zero_where_the_return_address_should_be(above: bool) -> None:
    # The callee's record says fewer arguments than it got, as of `int printf(char *, ...)`.
    outer, middle = Function(0x1000), Function(0x1100, saved=("esi", "edi"))
    printf = Function(0x1200, parameters=4)
    game, stack = Game(outer, middle, printf), Calls(BASE, esi=0)
    stack.call(outer, 0)
    back = game.site(outer, middle)
    stack.call(middle, back if above else 0)
    stack.call(printf, game.site(middle, printf), [1, 2])
    fpo = Fpo(game.space(stack))
    first = ask(game, stack, BASE + printf.body, fpo=fpo)
    assert isinstance(first, Found)
    pc, sp = first.registers[EIP], first.registers[ESP]
    assert pc is not None
    second = fpo.answer(Query(pc, False, first.registers, None, above=sp))
    assert isinstance(second, Found)
    assert second.registers[EIP] == (back if above else 0)


def test_nothing_is_searched_for_where_the_frame_pointer_says_it() -> None:
    outer, inner = Function(0x1000), Function(0x1100, frame=True)
    game, stack = Game(outer, inner), Calls(BASE)
    stack.call(outer, 7)
    stack.call(inner, game.site(outer, inner))
    stack.registers["ebp"] += 4
    answer = ask(game, stack, BASE + inner.body)
    assert isinstance(answer, Missed)
    assert "no call before" in answer.why


def test_a_function_about_to_return_is_left_to_others() -> None:
    outer, inner = Function(0x1000), Function(0x1100, locals=0x20)
    game, stack = Game(outer, inner), Calls(BASE)
    stack.call(outer, game.site(outer, outer))
    stack.call(inner, game.site(outer, inner))
    stack.sp += 0x20
    game.code[0x1140:0x1141] = b"\xc3"
    answer = ask(game, stack, BASE + 0x1140)
    assert isinstance(answer, Missed)
    assert "about to return" in answer.why


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "has no record"),
        (b"STACK WIN 4 1000 100 0 0 0 0 0 0 1 $eip 1 0 / =\n", "no call before"),
        (b"STACK WIN 4 1000 100 0 0 0 0 0 0 1 $eip $T5 =\n", "no call before"),
        (b"STACK WIN 4 1000 100 0 0 0 0 0 0 1 $esp 4 =\n", "no call before"),
        (b"STACK WIN 4 1000 100 0 0 0 0 0 0 1 $eip 4096 = $esp 4 =\n", "no call before"),
    ],
)
def test_broken_records(text: bytes, why: str) -> None:
    game, stack = Game(text=text), Calls(BASE)
    stack.push(1)
    answer = ask(game, stack, BASE + 0x1010)
    assert isinstance(answer, Missed)
    assert why in answer.why


def test_no_pdb_file() -> None:
    game, stack = Game(), Calls(BASE)
    space = game.space(stack)
    image = space.image(space.modules[0])
    assert isinstance(image, PeImage)
    image._find_stack_win = None
    missed = Fpo(space).answer(Query(BASE, True, registers(stack, BASE), None))
    assert isinstance(missed, Missed)
    assert "no PDB file for game.exe" in missed.why


# --- whole walks -----------------------------------------------------------------------

FUNCTIONS = st.builds(
    lambda saved, locals_, parameters, frame: Function(
        0, 0x100, saved=[r for r in saved if not (frame and r == "ebp")], locals=4 * locals_,
        parameters=4 * parameters, frame=frame,
    ),
    st.lists(st.sampled_from(["ebx", "esi", "edi", "ebp"]), unique=True),
    st.integers(0, 20), st.integers(0, 5), st.booleans(),
)  # fmt: skip


@given(
    st.lists(FUNCTIONS, min_size=2, max_size=8),
    st.lists(st.tuples(st.integers(0, 7), st.booleans()), min_size=1, max_size=12),
    st.lists(st.integers(0, 0xFFFF_FFFF), min_size=12, max_size=12),
)
def test_random_chains_of_calls(
    functions: list[Function], calls: list[tuple[int, bool]], values: list[int]
) -> None:
    for index, function in enumerate(functions):
        function.start = 0x1000 + 0x100 * index
    game, stack = Game(*functions), Calls(BASE, ebp=0)
    current = functions[0]
    stack.call(current, 0, values[: current.parameters // 4])
    for (number, direct), value in zip(calls, values, strict=False):
        callee = functions[number % len(functions)]
        back = game.site(current, callee, direct=direct)
        arguments = values[: callee.parameters // 4]
        stack.call(callee, back, arguments, ebx=value, esi=value ^ 1, edi=value ^ 2, ebp=value ^ 3)
        current = callee
    pc = BASE + current.body
    first = Thread(0, 1, registers(stack, pc))
    space = game.space(stack)
    found = walk(Stepper(space, [], [Fpo(space)]), first)
    expected = [(pc, stack.sp)] + [(back, sp) for back, sp, _ in reversed(stack.frames[1:])]
    assert [(frame.pc, frame.sp) for frame in found.frames] == expected
    assert all(frame.trust == Trust.UNWIND_INFO for frame in found.frames[1:])
    assert found.stop.reason == StopReason.ROOT
    assert not found.gaps
