"""Programs of FrameData: each operator, a second evaluator for random ones, hostile ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.errors import FormatError
from unspool.formats.frame_program import run_program
from unspool.memory import Fault

MASK = 0xFFFF_FFFF
VARIABLES = {"$esp": 0x1000, "$ebp": 0x1040, ".raSearch": 0x1010, ".cbParams": 8}


def read(address: int, size: int) -> int:
    """Memory whose word at `a` is `a + 1`, below 0x10000; above, a fault."""
    if address + size > 0x10000:
        raise Fault(address, size)
    return address + 1


def run(program: str) -> dict[str, int | None]:
    return run_program(program, VARIABLES, read)


@pytest.mark.parametrize(
    ("program", "values"),
    [
        # LLVM's for a function without a frame pointer, and with a realigned frame.
        (
            "$T0 .raSearch = $eip $T0 ^ = $esp $T0 4 + = $ebx $T0 4 - ^ =",
            {"$T0": 0x1010, "$eip": 0x1011, "$esp": 0x1014, "$ebx": 0x100D},
        ),
        (
            "$T1 $ebp 4 + = $T0 $T1 4 - 32 @ = $eip $T1 ^ = $esp $T1 4 + = $ebp $T1 4 - ^ =",
            {"$T1": 0x1044, "$T0": 0x1040, "$eip": 0x1045, "$esp": 0x1048, "$ebp": 0x1041},
        ),
        # MSVC's, with names for locals and parameters.
        (
            "$T0 $ebp = $eip $T0 4 + ^ = $ebp $T0 ^ = $esp $T0 8 + = $P $T0 8 + .cbParams + =",
            {"$T0": 0x1040, "$eip": 0x1045, "$ebp": 0x1041, "$esp": 0x1048, "$P": 0x1050},
        ),
        ("$T0 7 3 - = $T1 3 7 - =", {"$T0": 4, "$T1": MASK - 3}),
        ("$T0 7 3 * = $T1 65536 65536 * =", {"$T0": 21, "$T1": 0}),
        ("$T0 7 3 / = $T1 7 3 % =", {"$T0": 2, "$T1": 1}),
        ("$T0 4660 16 @ =", {"$T0": 0x1230}),
        ("$T0 -4 = $T1 $esp -4 + =", {"$T0": MASK - 3, "$T1": 0xFFC}),
        ("$ebp .undef =", {"$ebp": None}),
        ("$T0 4 = $T0 $T0 1 + = $T0 $T0 1 + =", {"$T0": 6}),
        ("", {}),
    ],
)
def test_programs(program: str, values: dict[str, int | None]) -> None:
    assert run(program) == values


@pytest.mark.parametrize(
    "program",
    [
        "=", "^", "+", "1 +", "$T0 =", "1 2 =", ".undef 1 =", "$T0 1 0 / =", "$T0 1 0 % =",
        "$T0 1 0 @ =", "$T0 $edi =", "$T0 $eax 1 + =", "$T0 .cbLocals =", "$T0 x =", "$T0 1 2 ! =",
        "$T0 0x10 =", "$T0 99999999999999 =", "$T0 - =", "$ebp .undef = $T0 $ebp =",
        "$T0 .undef 1 + =", "$T0 1 = " * 300, "$T0 \u0661 =",
    ],
)  # fmt: skip
def test_what_is_no_program(program: str) -> None:
    with pytest.raises(FormatError):
        run(program)


def test_a_fault_passes_through() -> None:
    with pytest.raises(Fault):
        run("$eip 65536 ^ =")


TREES = st.recursive(
    st.one_of(st.integers(0, MASK), st.sampled_from(sorted(VARIABLES))),
    lambda inner: st.tuples(st.sampled_from("+-*/%@"), inner, inner),
    max_leaves=20,
)


def postfix(tree: object) -> str:
    if isinstance(tree, tuple):
        return f"{postfix(tree[1])} {postfix(tree[2])} {tree[0]}"
    return str(tree)


def value(tree: object) -> int:
    """What a tree is worth. Raises ZeroDivisionError."""
    if not isinstance(tree, tuple):
        return VARIABLES[tree] if isinstance(tree, str) else int(str(tree))
    left, right = value(tree[1]), value(tree[2])
    results = {
        "+": lambda: left + right, "-": lambda: left - right, "*": lambda: left * right,
        "/": lambda: left // right, "%": lambda: left % right, "@": lambda: left // right * right,
    }  # fmt: skip
    return results[tree[0]]() & MASK


@given(TREES)
def test_random_programs_against_another_evaluator(tree: object) -> None:
    program = f"$T0 {postfix(tree)} ="
    try:
        expected = value(tree)
    except ZeroDivisionError:
        with pytest.raises(FormatError):
            run(program)
    else:
        assert run(program) == {"$T0": expected}


TOKENS = [
    "$T0",
    "$esp",
    ".raSearch",
    ".undef",
    "=",
    "^",
    "+",
    "-",
    "*",
    "/",
    "%",
    "@",
    "4",
    "-1",
    "x",
]


@given(st.lists(st.one_of(st.sampled_from(TOKENS), st.text(max_size=5)), max_size=40).map(" ".join))
def test_any_tokens(program: str) -> None:
    try:
        values = run(program)
    except (FormatError, Fault):
        return
    assert all(each is None or 0 <= each <= MASK for each in values.values())
