"""Activations of WebAssembly in made-up processes: what a good stack gives, and what a broken one
costs. An image is in memory, a stack's words are put together by hand."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from tests.build.wasmtime import Function, Image, flat_map
from tests.unit.unwind.spaces import ARCHES, CODE, CODE_SIZE, STACK, Table, region, row, thread
from unspool.generated.code import GeneratedCode, Process
from unspool.generated.find import find_generated
from unspool.generated.wasmtime import WasmCode
from unspool.memory import Memory
from unspool.model import Stack, StopReason, TargetInfo, Trust
from unspool.space import AddressSpace
from unspool.unwind.step import Stepper
from unspool.unwind.strategies.wasm import add_wasm
from unspool.unwind.walk import walk

ARCH = ARCHES["x86_64"]
IMAGE, PAGE, HEAP = 0x5000_0000, 0x1000, 0x6000_0000
TEXT = IMAGE + PAGE
WASM, ENTRY, EXIT = TEXT, TEXT + 0x400, TEXT + 0x480
FUNCTIONS = [
    Function("wasm[0]::function[1]::inner", 0, 0x200),
    Function("wasm[0]::function[2]::go", 0x200, 0x200),
    Function("wasm[0]::array_to_wasm_trampoline[2]", 0x400, 0x80),
    Function("signatures[0]::wasm_to_array_trampoline", 0x480, 0x80),
]
CALLS = (b"\xe8\0\0\0\0" * 0x300)[:0x600]  # a call ends at every multiple of five
NATIVE, HOST = CODE + 5, CODE + 50
EXIT_PC, ENTRY_PC = EXIT + (-(EXIT - TEXT) % 5) + 10, ENTRY + (-(ENTRY - TEXT) % 5) + 10
EXIT_FP = STACK + 0x40


class Made:
    """A process whose thread is in native code that Wasm code has called.

    `fps` are the frame pointers of its Wasm frames, the last one the entry trampoline's.
    """

    def __init__(self, depth: int, version: str = "50") -> None:
        self.words: dict[int, int] = {}
        self.version = version
        self.fps = [EXIT_FP + 0x40 * (index + 1) for index in range(depth + 1)]
        self.pcs = [WASM + 5 * (index % 60 + 1) for index in range(depth)]
        chain = [EXIT_FP, *self.fps]
        returns = [*self.pcs, ENTRY_PC, HOST]
        for index, fp in enumerate(chain):
            self.put(fp, chain[index + 1] if index + 1 < len(chain) else 0)
            self.put(fp + 8, returns[index])
        # The native function's frame has 32 bytes and saves the frame pointer.
        self.put(STACK + 16, EXIT_FP)
        self.put(STACK + 24, EXIT_PC)
        self.heap = bytearray(0x200)
        self.image = Image(
            FUNCTIONS, CALLS, address_map=flat_map([(0, 1000), (0x200, 2000)]), version=version
        )

    def put(self, address: int, value: int) -> None:
        self.words[address] = value

    def know_entry(self, entry_fp: int | None = None) -> None:
        """Has the runtime store where the Wasm code was left and entered: an instance's
        VMContext at HEAP, to which a word in the exit trampoline's frame points."""
        self.put(EXIT_FP - 8, HEAP)
        struct.pack_into("<4sIQ", self.heap, 0, b"core", 0, HEAP + 0x80)
        entry = self.fps[-1] if entry_fp is None else entry_fp
        words = (EXIT_FP, self.pcs[0] if self.pcs else ENTRY_PC, self.fps[-1] - 0x40, entry)
        struct.pack_into("<QQQQ", self.heap, 0x80 + 48, *words)

    def space(self) -> tuple[AddressSpace, GeneratedCode]:
        size = max(self.words) - STACK + 0x40
        stack = bytearray(size)
        for at, value in self.words.items():
            stack[at - STACK : at - STACK + 8] = (value & ARCH.mask).to_bytes(8, "little")
        data = self.image.build()
        memory = Memory([
            region(CODE, (b"\xe8\0\0\0\0" * CODE_SIZE)[:CODE_SIZE], executable=True),
            region(STACK, bytes(stack), writable=True),
            region(HEAP, bytes(self.heap), writable=True),
            region(IMAGE, data[:PAGE]), region(TEXT, data[PAGE : 2 * PAGE], executable=True),
            region(IMAGE + 2 * PAGE, data[2 * PAGE :]),
        ])  # fmt: skip
        space = AddressSpace(ARCH, memory, [], lambda _: None)
        process = Process(space, memory, lambda *_: None, info=TargetInfo("core", "x86_64"))
        return space, find_generated(process, ["wasmtime"])

    def walk(self, pc: int = NATIVE, explain: bool = False, **registers: int) -> Stack:
        space, code = self.space()
        saved = [(ARCH.ra_column, -8), (ARCH.fp, -16)]
        rows = {NATIVE: row(ARCH, 32, saved), HOST - 1: row(ARCH, 0, [], root=True)}
        stepper = Stepper(space, [Table(rows)], [])
        add_wasm(stepper, code)
        values = {"rip": pc, "rsp": STACK, **registers}
        return walk(stepper, thread(ARCH, **values), explain=explain)


def kinds(stack: Stack) -> list[str]:
    return [stack.segments[frame.segment].kind for frame in stack.frames]


def test_an_image_is_found_by_its_header() -> None:
    space, code = Made(2).space()
    [module] = code.modules
    assert (module.module.kind, module.module.base) == ("wasm", IMAGE)
    assert module.module.name.startswith("module-")
    assert isinstance(module.runtime, WasmCode)
    assert module.runtime.version == (50,)
    assert space.module_at(WASM) is module.module
    assert module.names is not None
    location = module.names.locate(WASM + 0x210)
    assert location is not None
    assert (location.function, location.function_offset, location.wasm_offset) == ("go", 16, 2000)


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 50])
def test_an_activation_is_walked_whole(depth: int) -> None:
    made = Made(depth)
    stack = made.walk()
    pcs = [NATIVE, EXIT_PC, *made.pcs, ENTRY_PC, HOST]
    assert [frame.pc for frame in stack.frames] == pcs
    assert kinds(stack) == ["unix", "unix", *["wasm"] * depth, "unix", "unix"]
    sps = [frame.sp for frame in stack.frames]
    assert sps == [STACK, STACK + 32, EXIT_FP + 16, *(fp + 16 for fp in made.fps)]
    assert stack.stop.reason == StopReason.ROOT
    assert not stack.gaps
    [*_, last] = stack.segments
    assert ("no frames" in (last.switch or "")) == (depth == 0)
    for frame in stack.frames[2:-1]:
        assert (frame.trust, frame.exact) == (Trust.WASM, False)
    if depth:
        segment = stack.segments[1]
        assert (segment.low, segment.high) == (EXIT_FP + 16, made.fps[depth - 1] + 16)


Damage = Callable[[Made], None]
DAMAGES: dict[str, tuple[Damage, int, str]] = {
    "loops": (lambda m: m.put(m.fps[2], m.fps[1]), 3, "not above"),
    "goes down": (lambda m: m.put(m.fps[2], STACK), 3, "not above"),
    "unaligned": (lambda m: m.put(m.fps[1], m.fps[2] + 8), 2, "multiple of 16"),
    "leaves the stack": (lambda m: m.put(m.fps[1], 0x9999_0000), 2, "not in the stack"),
    "null": (lambda m: m.put(m.fps[1], 0), 2, "not above"),
    "data as code": (lambda m: m.put(m.fps[1] + 8, STACK), 2, "executable"),
    "no call before": (lambda m: m.put(m.fps[1] + 8, m.pcs[2] + 1), 2, "no call"),
    "back into the exit": (lambda m: m.put(m.fps[1] + 8, EXIT_PC), 2, "wasm_to_array"),
    "entry below": (lambda m: m.put(m.fps[4], m.fps[3]), 5, "not above in the"),
    "entry unaligned": (lambda m: m.put(m.fps[4], m.fps[5] + 8), 5, "not above in the"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_broken_chain_costs_what_comes_after_it(name: str) -> None:
    damage, good, why = DAMAGES[name]
    made = Made(5)
    damage(made)
    stack = made.walk()
    assert [frame.pc for frame in stack.frames] == [NATIVE, EXIT_PC, *made.pcs[:good]]
    assert stack.stop.reason == StopReason.NO_STRATEGY
    assert why in stack.stop.detail


@pytest.mark.parametrize("name", DAMAGES)
def test_the_stored_state_leads_past_it(name: str) -> None:
    damage, good, why = DAMAGES[name]
    made = Made(5)
    made.know_entry()
    damage(made)
    stack = made.walk()
    assert [frame.pc for frame in stack.frames] == [NATIVE, EXIT_PC, *made.pcs[:good], HOST]
    assert stack.stop.reason == StopReason.ROOT
    [gap] = stack.gaps
    assert why in gap.detail
    assert gap.before == 2 + good
    assert "stored" in (stack.segments[-1].switch or "")


def test_three_witnesses_agree_or_their_disagreement_is_said() -> None:
    made = Made(3)
    made.know_entry()
    stack = made.walk(explain=True)
    said = [each.answer for frame in stack.frames for each in frame.trail or []]
    assert any("and the runtime's state at 0x60000080" in each for each in said)
    assert "stored" not in (stack.segments[-1].switch or "")
    made.know_entry(entry_fp=made.fps[-1] + 0x10)
    stack = made.walk()
    assert "the runtime has stored its entry as" in (stack.segments[-1].switch or "")
    assert len(stack.frames) == 7
    # What a state says that is of another activation proves nothing.
    struct.pack_into("<Q", made.heap, 0x80 + 56, made.pcs[1])
    assert "stored" not in (made.walk().segments[-1].switch or "")


def test_a_state_of_another_version_is_not_read() -> None:
    made = Made(5, version="24.0.0")
    made.know_entry()
    made.put(made.fps[1], 0)
    assert made.walk().stop.reason == StopReason.NO_STRATEGY


@pytest.mark.parametrize(("code", "offset", "below"), [
    (b"\x55\x48\x89\xe5", 0, 0), (b"\x55\x48\x89\xe5", 1, 8), (b"\x90\xc3", 1, 0),
])  # fmt: skip
def test_wasm_code_that_was_stopped_without_a_frame_of_its_own(
    code: bytes, offset: int, below: int
) -> None:
    made = Made(3)
    text = bytearray(CALLS)
    text[0x200 : 0x200 + len(code)] = code
    made.image.code = bytes(text)
    sp = made.fps[0] - 0x30
    made.put(sp + below, made.pcs[1])
    stack = made.walk(TEXT + 0x200 + offset, rsp=sp, rbp=made.fps[1])
    assert [frame.pc for frame in stack.frames] == [
        TEXT + 0x200 + offset, *made.pcs[1:], ENTRY_PC, HOST,
    ]  # fmt: skip
    assert stack.frames[1].sp == sp + below + 8
    assert [each.kind for each in stack.segments] == ["wasm", "unix"]
    assert stack.segments[0].switch is None


def test_a_thread_in_wasm_code_with_its_frame() -> None:
    made = Made(3)
    stack = made.walk(TEXT + 0x233, rsp=made.fps[0] - 16, rbp=made.fps[0])
    pcs = [TEXT + 0x233, *made.pcs[1:], ENTRY_PC, HOST]
    assert [frame.pc for frame in stack.frames] == pcs
    assert kinds(stack) == ["wasm", "wasm", "wasm", "unix", "unix"]
    assert stack.frames[0].exact


def test_wasm_code_under_native_code_without_a_trampoline() -> None:
    """Up to version 8 host functions were called by Wasm code itself."""
    made = Made(3)
    made.put(STACK + 16, made.fps[0])
    made.put(STACK + 24, made.pcs[0])
    stack = made.walk()
    assert [frame.pc for frame in stack.frames] == [NATIVE, *made.pcs, ENTRY_PC, HOST]
    assert kinds(stack) == ["unix", "wasm", "wasm", "wasm", "unix", "unix"]
    assert [each.kind for each in stack.segments] == ["unix", "wasm", "unix"]
    assert "native → Wasm" in (stack.segments[1].switch or "")


def test_an_image_without_symbols_is_all_wasm_code() -> None:
    made = Made(3)
    made.image.functions = []
    stack = made.walk()
    pcs = [NATIVE, EXIT_PC, *made.pcs, ENTRY_PC, HOST]
    assert [frame.pc for frame in stack.frames] == pcs
    assert stack.stop.reason == StopReason.ROOT


@pytest.mark.parametrize("lies", [
    {"e_shoff": 1 << 60}, {"e_shnum": 9999}, {"e_flags": 8}, {"e_shoff": 0}, {"e_shstrndx": 3},
])  # fmt: skip
def test_a_lying_image_costs_itself(lies: dict[str, int]) -> None:
    made = Made(3)
    made.image.lies = lies
    _, code = made.space()
    for each in code.modules:
        assert each.names is not None
        each.names.locate(WASM + 5)
    stack = made.walk()
    assert len(stack.frames) >= 2


def test_deep_recursion_is_walked_and_bounded() -> None:
    made = Made(20_000)
    stack = made.walk()
    assert len(stack.frames) == 20_004
    assert stack.stop.reason == StopReason.ROOT
    space, code = made.space()
    stepper = Stepper(space, [Table({NATIVE: row(ARCH, 32, [(16, -8), (6, -16)])})], [])
    add_wasm(stepper, code)
    limited = walk(stepper, thread(ARCH, rip=NATIVE, rsp=STACK), max_frames=100)
    assert len(limited.frames) == 100
    assert limited.stop.reason == StopReason.DEPTH
