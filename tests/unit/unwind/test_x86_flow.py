"""Functions gone through from their start: what the stack is like at an address."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.programs.build import tool
from tests.unit.unwind.x86_functions import BASE, DATA, X86, Code
from unspool.arch.x86_length import instruction_length
from unspool.arch.x86_stack import ALIGNED, ENTRY, StackState
from unspool.formats.cfi_row import CfiRow, row_at
from unspool.formats.pe import Pe
from unspool.memory import Memory, Region
from unspool.model import Module
from unspool.pe_eh_frame import find_eh_frame
from unspool.space import AddressSpace
from unspool.unwind.call_targets import CallTargets
from unspool.unwind.x86_flow import X86Flow

START = BASE + 0x100
CALL = "e800000000"


def flow_of(space: AddressSpace) -> X86Flow:
    return X86Flow(space, CallTargets(space))


def state_at(code: Code, offset: int, *, exact: bool = True, **data: int) -> StackState | None:
    words = {DATA + int(name[1:]): value for name, value in data.items()}
    return flow_of(code.space(data=words)).to(START, BASE + offset, exact).state


def depth_at(code: Code, offset: int, **data: int) -> int:
    state = state_at(code, offset, **data)
    assert state is not None
    assert state.esp[0] == ENTRY
    return -state.esp[1]


def test_branches_are_followed() -> None:
    code = Code()
    code.put(0x100, "53 7503 50 eb01 50 90")
    assert [depth_at(code, offset) for offset in (0x100, 0x103, 0x106, 0x107)] == [0, 4, 4, 8]
    assert state_at(code, 0x105) is None
    assert state_at(code, 0x141) is None


def test_a_switch() -> None:
    code = Code()
    code.put(0x100, b"\x53\xff\x24\x85" + DATA.to_bytes(4, "little"))
    code.put(0x120, "5690")
    code.put(0x140, "90")
    assert depth_at(code, 0x121, w0=BASE + 0x140, w4=BASE + 0x120, w8=0) == 8
    assert depth_at(code, 0x140, w0=BASE + 0x140, w4=BASE + 0x120) == 4
    assert state_at(code, 0x121, w0=BASE + 0x140, w4=5, w8=BASE + 0x120) is None


def test_the_arguments_are_still_on_the_stack_at_a_call() -> None:
    code = Code()
    end = code.put(0x100, "83ec08 6a01 53") + 5
    code.call(end - 5, 0x200)
    state = state_at(code, end, exact=False)
    assert state is not None
    assert state.esp == (ENTRY, -16)


@pytest.mark.parametrize(
    ("callee", "popped"),
    [("c20800", 8), ("c3", 0), ("eb01 cc c20c00", 12), ("7401 c3 c3", 0)],
)
def test_callees_that_take_their_arguments_off(callee: str, popped: int) -> None:
    code = Code()
    code.put(0x100, "53 6a01 6a02 6a03")
    code.call(0x107, 0x200)
    code.put(0x10C, "90 90")
    code.put(0x200, callee)
    assert depth_at(code, 0x10D) == 16 - popped
    assert flow_of(code.space()).popped_by(BASE + 0x200) == popped


def test_a_callee_that_is_another_ones_jump() -> None:
    code = Code()
    code.jump(0x200, 0x300)
    code.put(0x300, "c20400")
    code.put(0x400, "b801000000 83ec04 83c404")
    code.jump(0x40B, 0x300)
    flow = flow_of(code.space())
    assert flow.popped_by(BASE + 0x400) == 4
    assert flow.whole(BASE + 0x400).exits == {BASE + 0x300}


@pytest.mark.parametrize(
    ("behind", "depth", "exact"),
    [
        ("90", 4, False),  # two arguments were pushed, and nothing says who takes them off
        ("83c408", 4, True),  # add $8,%esp
        ("5959", 4, True),  # pop %ecx; pop %ecx
    ],
)
def test_callees_that_are_not_known(behind: str, depth: int, exact: bool) -> None:
    code = Code()
    end = code.put(0x100, "53 6a01 6a02 ffd0" + behind)
    code.put(end, "90")
    state = state_at(code, end)
    assert state is not None
    assert (-state.esp[1], state.exact) == (depth, exact)


def test_room_for_arguments_that_is_restored_later() -> None:
    code = Code()
    end = code.put(0x100, "83ec1c ffd0 8b03 01c6 83ec08")
    state = state_at(code, end)
    assert state is not None
    assert (state.esp, state.exact) == ((ENTRY, -0x1C), True)


@pytest.mark.parametrize(
    ("helper", "behind", "depth"),
    [
        ("51 8d4c2408 29c1", "", 0x2004),  # MSVC's and clang's __chkstk
        ("51 50 3d00100000 8d4c240c", "29c4", 0x2004),  # GCC's leaves that to its caller
        ("53 c3", "", 4),
    ],
)
def test_helpers_that_make_room(helper: str, behind: str, depth: int) -> None:
    code = Code()
    code.put(0x100, "53 b800200000")
    code.call(0x106, 0x200)
    end = code.put(0x10B, behind)
    code.put(end, "90")
    code.put(0x200, helper + "90" * 8 + "c3")
    assert depth_at(code, end) == depth


def test_a_helper_that_makes_a_frame() -> None:
    # MSVC: push $12; push $table; call __SEH_prolog4
    code = Code()
    code.put(0x100, "6a0c 6800200010")
    code.call(0x107, 0x200)
    code.put(0x10C, "90")
    code.put(0x200, "6800300010 64ff3500000000 8b442410 896c2410 8d6c2410 2be0 535657 c3")
    state = state_at(code, 0x10C)
    assert state is not None
    assert state.ebp == (ENTRY, -4)


def test_nothing_is_behind_a_call_that_does_not_return() -> None:
    code = Code()
    code.put(0x100, "83ec1c")
    code.call(0x103, 0x200)
    code.put(0x108, "8d742600 8d742600")
    code.put(0x110, "53 90")  # the next function
    assert state_at(code, 0x111) is None
    # But a loop may begin there.
    code.put(0x110, "8b03 90")
    assert depth_at(code, 0x112) == 0x1C
    code.put(0x108, "cc")
    assert state_at(code, 0x112) is None


@pytest.mark.parametrize(
    ("whole", "broken"),
    [
        ("53 5b c3", False),
        ("53 c3", True),  # leaves something on the stack
        ("5b c3", True),  # or takes too much
        ("c9 c3", True),
        ("55 89e5 c9 c20400", False),
        ("85c0 74f0 c3", True),  # jumps back to before its start
        ("ffd0 5b c3", False),  # nobody knows what the callee left
        ("53 ffd0 5b c3", False),
    ],
)
def test_what_cannot_be_a_function(whole: str, broken: bool) -> None:
    code = Code()
    code.put(0x0F0, "40" * 16)
    code.put(0x100, whole)
    assert flow_of(code.space()).whole(START).broken == broken


def test_all_that_is_done_for_one_target_is_bounded() -> None:
    code = Code()
    code.put(0x100, "40" * 0x800)
    flow = flow_of(code.space())
    flow.room = 100
    assert flow.to(START, BASE + 0x180, True).state is None
    assert flow.room == 0
    assert flow.to(START, BASE + 0x110, True).state is None


def test_code_in_circles() -> None:
    code = Code()
    code.put(0x100, "ebfe")
    code.call(0x200, 0x200)
    flow = flow_of(code.space())
    assert flow.to(START, BASE, True).state is None
    assert flow.popped_by(BASE + 0x200) is None


# --- compilers' code, against their unwind data -------------------------------------------

SOURCE = """
#include <windows.h>
#include <stdlib.h>
volatile int sink;
int __stdcall callee(int a, int b, int c) { return a * b + c + sink; }
int __fastcall fast(int a, int b, int c) { volatile int x[40]; x[a & 7] = c; return x[b & 7]; }
__attribute__((noinline)) int plain(int a, int b) {
    int sum = 0;
    for (int i = 0; i < a; i++) { sum += callee(i, b, sum); if (sum > 9) sum -= fast(i, a, b); }
    return sum;
}
__attribute__((noinline)) int choose(int n, int (*f)(int, int), int (__stdcall *g)(int)) {
    switch (n) {
    case 0: return f(n, 3) + callee(1, 2, 3);
    case 1: return g(n) + f(n, 1);
    case 2: sink = g(5); return plain(n, 2) * 3;
    case 3: return f(g(n), 2);
    case 4: sink += 4; return fast(1, 2, 3);
    case 5: Sleep(1); return sink;
    }
    return -1;
}
__attribute__((noinline)) int dynamic(int n) {
    char *room = __builtin_alloca(n); room[n - 1] = 1;
    __attribute__((aligned(32))) volatile char aligned[64]; aligned[n & 31] = 2;
    return plain(room[n - 1], aligned[n & 31]);
}
__attribute__((noinline)) int large(int n) {
    volatile char big[9000]; big[n] = 1;
    return plain(n, 3);
}
static int compare(const void *a, const void *b) { return *(int *)a - *(int *)b; }
int main(int count, char **arguments) {
    int numbers[3] = {3, 1, count};
    qsort(numbers, 3, sizeof *numbers, compare);
    return choose(count, plain, (int (__stdcall *)(int))arguments) + dynamic(count) + large(count);
}
"""
OPTIONS = ["-O2", "-O2 -fomit-frame-pointer", "-Os", "-O1 -mno-accumulate-outgoing-args", "-O0",
           "-O2 -march=i586"]  # fmt: skip


@pytest.fixture(scope="module", params=OPTIONS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = tool("i686-w64-mingw32-gcc")
    folder = tmp_path_factory.mktemp("flow")
    source, made = folder / "prog.c", folder / "prog.exe"
    source.write_text(SOURCE)
    subprocess.run([compiler, *request.param.split(), "-w", source, "-o", made], check=True)
    return made


def open_program(path: Path) -> tuple[AddressSpace, Pe]:
    data = path.read_bytes()
    pe = Pe(data)
    base = pe.image_base
    memory = Memory(
        Region(
            base + each.rva,
            base + each.rva + each.virtual_size,
            lambda each=each: (data, each.raw_offset, min(each.raw_size, each.virtual_size)),  # type: ignore[misc]
            executable=each.executable,
        )
        for each in pe.sections
        if each.raw_offset and each.virtual_size
    )
    module = Module(0, path.name, base, base + pe.size_of_image, kind="pe")
    return AddressSpace(X86, memory, [module], lambda _: None), pe


def same(state: StackState, row: CfiRow) -> bool | None:
    """Whether both say that the caller's frame is in one place; None if that is not comparable."""
    if row.cfa_expression is not None or row.cfa_register not in (4, 5):
        return None if state.esp[0] == ENTRY else state.esp[0] == ALIGNED or bool(state.anchors)
    place = state.esp if row.cfa_register == 4 else state.ebp
    if place is None or place[0] != ENTRY:
        return None
    return 4 - place[1] == row.cfa_offset


def test_every_instruction_of_compiled_functions(program: Path) -> None:
    space, pe = open_program(program)
    frames = find_eh_frame(space.memory, pe.image_base, pe, pe)
    assert frames is not None
    frames.find(0)
    flow = flow_of(space)
    right = missed = 0
    wrong = []
    for offset in frames._fdes:
        fde = frames.fde_at(offset)
        assert fde is not None
        first = row_at(frames, fde, fde.start)
        if (first.cfa_register, first.cfa_offset) != (4, 4):
            continue  # a part of a function that lies elsewhere
        code = space.memory.read_available(fde.start, fde.end - fde.start)
        at = 0
        while at < len(code):
            length = instruction_length(code, at)
            assert length
            pc = fde.start + at
            state = flow.to(fde.start, pc, True).state
            agrees = same(state, row_at(frames, fde, pc)) if state is not None else None
            if agrees is False and state is not None and state.exact:
                wrong.append(f"0x{pc:x}: {state.esp}")
            right, missed = right + (agrees is True), missed + (agrees is None)
            at += length
    assert wrong == []
    # Padding is part of functions, and never reached; so is what follows exit().
    assert right > 400
    assert missed < right / 8
