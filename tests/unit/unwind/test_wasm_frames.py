"""The walk of one activation's frames by their frame pointers, as a library.

Stacks are made by a small model of what compiled code does to them, for each CPU's way to link
frames; what the runtime would only assert is a reason to stop.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.memory import Fault
from unspool.unwind.wasm_frames import (
    AARCH64,
    RISCV64,
    S390X,
    TRAITS,
    X86_64,
    End,
    Traits,
    WasmFrame,
    frames,
    visit,
)

LOW = 0x7F00_0000_0000
CODE = 0x40_0000


class Stack:
    """Bytes at `LOW`, which are all memory there is. `reads` counts what was asked for."""

    def __init__(self, size: int, byteorder: str = "little") -> None:
        self.data = bytearray(size)
        self.byteorder = byteorder
        self.reads = 0

    @property
    def bounds(self) -> tuple[int, int]:
        return LOW, LOW + len(self.data)

    def put(self, address: int, value: int) -> None:
        order = "little" if self.byteorder == "little" else "big"
        self.data[address - LOW : address - LOW + 8] = value.to_bytes(8, order)  # type: ignore[arg-type]

    def read(self, address: int, size: int) -> bytes:
        self.reads += 1
        if not LOW <= address <= LOW + len(self.data) - size:
            raise Fault(address, size)
        return bytes(self.data[address - LOW : address - LOW + size])


def activation(traits: Traits, sizes: list[int]) -> tuple[Stack, list[WasmFrame], int]:
    """A stack with frames of these sizes (multiples of 16), newest first, below a trampoline's."""
    stack = Stack(sum(sizes) + 512, traits.byteorder)
    fps, at = [], LOW + 64
    for size in [*sizes, 0]:
        fps.append(at)
        at += size
    pcs = [CODE + 16 * index + 5 for index in range(len(sizes))]
    for index, fp in enumerate(fps[:-1]):
        stack.put(fp + traits.older_fp, fps[index + 1])
        stack.put(fp + traits.return_address, ([*pcs[1:], CODE + 0xFFFF])[index])
    return stack, [WasmFrame(pc, fp) for pc, fp in zip(pcs, fps[:-1], strict=True)], fps[-1]


@pytest.mark.parametrize("traits", TRAITS.values(), ids=list(TRAITS))
@given(sizes=st.lists(st.integers(8, 40).map(lambda each: each * 16), max_size=30))
def test_all_frames_between_the_trampolines(traits: Traits, sizes: list[int]) -> None:
    stack, made, trampoline = activation(traits, sizes)
    pc, fp = (made[0].pc, made[0].fp) if made else (CODE + 1, trampoline)
    walk = frames(traits, stack.read, pc, fp, trampoline, stack=stack.bounds)
    assert list(walk) == made
    assert walk.end is not None
    assert walk.end.complete
    assert (walk.end.reason, walk.end.fp) == (End.ENTRY, trampoline)
    assert walk.end.pc == (CODE + 0xFFFF if made else pc)
    # The same by the visitor, and a second time by the same iterator.
    seen: list[WasmFrame] = []
    answer, end = visit(
        traits, stack.read, pc, fp, trampoline, lambda *each: seen.append(WasmFrame(*each))
    )
    assert (seen, answer) == (made, None)
    assert end is not None
    assert end.reason == End.ENTRY
    assert list(walk) == made


def test_the_numbers_of_each_cpu() -> None:
    """Those of Wasmtime's crates/unwinder/src/arch, said again."""
    assert [(each.older_fp, each.older_sp, each.return_address, each.alignment) for each in (
        X86_64, AARCH64, RISCV64, S390X,
    )] == [(0, 16, 8, 16), (0, 16, 8, 16), (0, 16, 8, 16), (0, 0, 112, 8)]  # fmt: skip
    assert S390X.byteorder == "big"


def test_signed_return_addresses_lose_their_signature() -> None:
    stack, made, trampoline = activation(AARCH64, [64, 64])
    stack.put(made[0].fp + 8, made[1].pc | 0x2A << 56)
    walk = frames(AARCH64, stack.read, made[0].pc, made[0].fp, trampoline)
    assert [each.pc for each in walk] == [each.pc for each in made]
    narrow = AARCH64.with_code_mask((1 << 20) - 1)
    stack.put(made[0].fp + 8, made[1].pc % (1 << 20) | 0xABC << 20)
    walk = frames(narrow, stack.read, made[0].pc, made[0].fp, trampoline)
    assert [each.pc for each in walk] == [made[0].pc, made[1].pc % (1 << 20)]


def test_an_empty_activation_is_legal() -> None:
    stack = Stack(64)
    walk = frames(X86_64, stack.read, CODE, LOW + 16, LOW + 16)
    assert list(walk) == []
    assert walk.end is not None
    assert walk.end.complete
    assert stack.reads == 0


@pytest.mark.parametrize(
    ("pc", "fp", "trampoline"), [(0, LOW, LOW + 64), (CODE, 0, LOW + 64), (CODE, LOW, 0)]
)
def test_null_is_no_place_to_start_from(pc: int, fp: int, trampoline: int) -> None:
    walk = frames(X86_64, Stack(256).read, pc, fp, trampoline)
    assert list(walk) == []
    assert walk.end is not None
    assert (walk.end.reason, walk.end.complete) == (End.NULL, False)


Damage = Callable[[Stack, list[WasmFrame], int], None]
DAMAGES: dict[str, tuple[Damage, str, int]] = {
    "loops to itself": (lambda s, f, t: s.put(f[1].fp, f[1].fp), End.NOT_OLDER, 2),
    "loops to a newer frame": (lambda s, f, t: s.put(f[2].fp, f[0].fp), End.NOT_OLDER, 3),
    "goes down": (lambda s, f, t: s.put(f[0].fp, f[0].fp - 32), End.NOT_OLDER, 1),
    "passes the trampoline": (lambda s, f, t: s.put(f[3].fp, t + 16), End.PASSED, 4),
    "is not aligned": (lambda s, f, t: s.put(f[0].fp, f[1].fp + 8), End.UNALIGNED, 1),
    "leaves the stack": (lambda s, f, t: s.put(f[0].fp, 0x10 + (1 << 62)), End.PASSED, 1),
    "is null": (lambda s, f, t: s.put(f[2].fp, 0), End.NOT_OLDER, 3),
    "returns into data": (lambda s, f, t: s.put(f[1].fp + 8, LOW + 5), End.NOT_CODE, 2),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_the_runtime_asserts_is_a_reason_to_stop(name: str) -> None:
    damage, reason, count = DAMAGES[name]
    stack, made, trampoline = activation(X86_64, [64, 128, 64, 64])
    damage(stack, made, trampoline)
    walk = frames(
        X86_64, stack.read, made[0].pc, made[0].fp, trampoline,
        stack=stack.bounds, is_code=lambda pc: CODE <= pc < CODE + 0x1000,
    )  # fmt: skip
    assert list(walk) == made[:count]
    assert walk.end is not None
    assert (walk.end.reason, walk.end.complete) == (reason, False)
    assert walk.end.detail


@pytest.mark.parametrize("error", [Fault(1, 8), OSError(5), ValueError("no"), None])
def test_memory_that_cannot_be_read(error: Exception | None) -> None:
    stack, made, trampoline = activation(X86_64, [64, 64])

    def read(address: int, size: int) -> bytes:
        if address < made[1].fp:
            return stack.read(address, size)
        if error is None:
            return b"short"
        raise error

    walk = frames(X86_64, read, made[0].pc, made[0].fp, trampoline)
    assert list(walk) == made[:1]
    assert walk.end is not None
    assert (walk.end.reason, walk.end.fp) == (End.UNREADABLE, made[1].fp)


def test_a_bug_of_the_reader_is_not_hidden() -> None:
    def read(address: int, size: int) -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(frames(X86_64, read, CODE, LOW, LOW + 64))


def test_a_frame_at_the_very_end_of_the_stack_has_no_room_for_its_words() -> None:
    stack = Stack(64)
    for fp, reason in ((LOW + 48, End.NOT_OLDER), (LOW + 64, End.OUTSIDE)):
        walk = frames(X86_64, stack.read, CODE, fp, LOW + 4096, stack=stack.bounds)
        list(walk)
        assert walk.end is not None
        assert walk.end.reason == reason


def test_without_a_trampoline_the_walk_ends_where_wasm_code_does() -> None:
    stack, made, trampoline = activation(X86_64, [64, 64, 64])
    asked: list[int] = []

    def is_code(pc: int) -> bool:
        asked.append(pc)
        return pc < CODE + 0x1000

    walk = frames(X86_64, stack.read, made[0].pc, made[0].fp, None, is_code=is_code)
    assert list(walk) == made
    assert walk.end is not None
    assert (walk.end.reason, walk.end.pc, walk.end.fp) == (End.LEFT, CODE + 0xFFFF, trampoline)
    assert asked == [*(each.pc for each in made), CODE + 0xFFFF]


def test_what_calls_wasm_code_need_not_have_a_frame_pointer() -> None:
    stack, made, _ = activation(X86_64, [64, 64])
    for value in (0, 7, LOW, (1 << 64) - 1):
        stack.put(made[1].fp, value)
        walk = frames(
            X86_64, stack.read, made[0].pc, made[0].fp, None, is_code=lambda pc: pc < CODE + 0x1000
        )
        assert list(walk) == made
        assert walk.end is not None
        assert (walk.end.reason, walk.end.pc, walk.end.fp) == (End.LEFT, CODE + 0xFFFF, value)


def test_a_pc_is_asked_about_once() -> None:
    stack, made, trampoline = activation(X86_64, [64] * 50)
    for each in made:
        stack.put(each.fp + 8, made[0].pc)
    asked: list[int] = []

    def is_code(pc: int) -> bool:
        asked.append(pc)
        return True

    assert len(list(frames(
        X86_64, stack.read, made[0].pc, made[0].fp, trampoline, is_code=is_code
    ))) == 50  # fmt: skip
    assert asked == [made[0].pc]
    assert stack.reads == 50


def test_the_limit() -> None:
    stack, made, trampoline = activation(X86_64, [64] * 9)
    walk = frames(X86_64, stack.read, made[0].pc, made[0].fp, trampoline, limit=4)
    assert list(walk) == made[:4]
    assert walk.end is not None
    assert walk.end.reason == End.LIMIT


def test_a_visitor_can_stop() -> None:
    stack, made, trampoline = activation(X86_64, [64] * 5)
    seen: list[int] = []

    def visitor(pc: int, fp: int) -> str | None:
        seen.append(pc)
        return "enough" if len(seen) == 2 else None

    answer = visit(X86_64, stack.read, made[0].pc, made[0].fp, trampoline, visitor)
    assert answer == ("enough", None)
    assert seen == [each.pc for each in made[:2]]


@given(
    words=st.lists(
        st.one_of(st.integers(0, 40).map(lambda at: LOW + 8 * at), st.integers(0, (1 << 64) - 1)),
        min_size=2, max_size=40,
    ),
    start=st.integers(0, 40),
    trampoline=st.one_of(st.none(), st.integers(0, 48)),
)  # fmt: skip
def test_whatever_the_stack_holds_the_walk_ends(
    words: list[int], start: int, trampoline: int | None
) -> None:
    stack = Stack(8 * len(words))
    for index, word in enumerate(words):
        stack.put(LOW + 8 * index, word)
    goal = None if trampoline is None else LOW + 8 * trampoline
    walk = frames(
        X86_64, stack.read, CODE, LOW + 8 * start, goal,
        stack=stack.bounds, is_code=lambda pc: pc % 3 != 0,
    )  # fmt: skip
    found = list(walk)
    assert walk.end is not None
    assert len(found) <= len(words) // 2
    fps = [each.fp for each in found]
    assert fps == sorted(set(fps))
    assert all(fp % 16 == 0 for fp in fps)
    assert goal not in fps
