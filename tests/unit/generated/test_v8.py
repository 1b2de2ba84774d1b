"""V8's strings, functions and frames in made-up memory, also in memory that lies."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.build.v8 import (
    HEAP,
    LIB,
    MADE,
    STACK,
    STACK_SIZE,
    TRAMPOLINE,
    FakeV8,
    small,
    table,
    unsigned,
)
from unspool.errors import FormatError
from unspool.generated.code import GeneratedCode, Process
from unspool.generated.reader import Reader
from unspool.generated.v8 import find
from unspool.generated.v8.baseline import BYTECODE_SIZES, Baseline
from unspool.generated.v8.heap import Heap
from unspool.generated.v8.metadata import Metadata
from unspool.generated.v8.positions import read_positions
from unspool.generated.v8.runtime import V8
from unspool.generated.v8.scripts import Script, Sources
from unspool.memory import Fault, Memory, Region
from unspool.model import SUBJECT, Location, Module, Stack, TargetInfo, Thread
from unspool.space import AddressSpace
from unspool.unwind.strategies.generated import add_generated
from unspool.unwind.strategies.order import default_stepper
from unspool.unwind.walk import walk

from ..unwind.spaces import ARCHES

ERAS = ("late", "early")


def memory_of(fake: FakeV8) -> Memory:
    return Memory(
        Region(
            base, base + len(area), lambda area=area: (bytes(area), 0, len(area)),
            executable=base in (LIB, MADE), writable=base in (HEAP, STACK),
        )
        for base, area in fake.areas.items()
    )  # fmt: skip


def space_of(fake: FakeV8) -> AddressSpace:
    node = Module(0, "node", LIB, LIB + len(fake.library), path="/usr/bin/node", bias=LIB)
    return AddressSpace(ARCHES["x86_64"], memory_of(fake), [node], lambda _: None, [LIB])


def metadata_of(fake: FakeV8) -> Metadata:
    return Metadata(Reader(memory_of(fake)), fake.symbols)


def v8_of(fake: FakeV8) -> V8:
    space = space_of(fake)
    return V8(metadata_of(fake), space, space.modules[0], lambda name: None, whole=True)


def heap_of(fake: FakeV8) -> Heap:
    return Heap(metadata_of(fake))


def stack_of(fake: FakeV8, sp: int, fp: int, pc: int) -> tuple[Stack, V8]:
    v8 = v8_of(fake)
    stepper = default_stepper(v8.space)
    add_generated(stepper, GeneratedCode([], [], [v8]))
    registers: list[int | None] = [None] * 17
    registers[7], registers[6], registers[16] = sp, fp, pc
    return walk(stepper, Thread(0, 1, registers)), v8


def test_strings_of_all_kinds() -> None:
    fake = FakeV8()
    one, two = fake.string("left"), fake.string("日本")
    joined = fake.cons(one, two, 6)
    deep = fake.cons(fake.cons(joined, joined, 12), fake.sliced(joined, 3, 2), 14)
    strings = {
        one: "left", two: "日本", joined: "left日本", deep: "left日本left日本t日",
        fake.thin(joined, 6): "left日本", fake.external("caf\xe9"): "caf\xe9",
        fake.string("😀"): "😀", fake.sliced(fake.string("😀"), 0, 1): "\ufffd",
        fake.string(""): "",
    }  # fmt: skip
    heap = heap_of(fake)
    for string, text in strings.items():
        assert heap.string(string) == text
        assert heap.string(string, 3) == text[:3] or "😀" in text
    assert not heap.is_string(fake.undefined)
    with pytest.raises(FormatError):
        heap.string(fake.undefined)


def test_strings_that_lie() -> None:
    fake = FakeV8()
    loop = fake.cons(fake.undefined, fake.undefined, 1 << 20)
    at = loop - 1 - HEAP
    struct.pack_into("<2Q", fake.heap, at + 16, loop, loop)
    itself = fake.thin(fake.undefined, 5)
    struct.pack_into("<Q", fake.heap, itself - 1 - HEAP + 16, itself)
    long = fake.string("short")
    struct.pack_into("<I", fake.heap, long - 1 - HEAP + 12, 1 << 28)
    beyond = fake.sliced(fake.string("abc"), 1000, 5)
    heap = heap_of(fake)
    for string in (loop, itself):
        with pytest.raises(FormatError):
            heap.string(string)
    with pytest.raises(FormatError):
        heap.flat(itself)
    with pytest.raises(FormatError):
        heap.characters(heap.flat(loop), 0, 5)
    assert heap.string(long, 5) == "short"
    with pytest.raises(Fault):
        heap.string(long, 1 << 16)
    assert heap.string(beyond) == ""


@given(
    flags=st.booleans(),
    steps=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 1 << 20)), max_size=30),
)
def test_tables_of_positions(flags: bool, steps: list[tuple[int, int]]) -> None:
    entries = [(-1, 5)]
    for step, position in steps:
        entries.append((entries[-1][0] + step, position))
    assert read_positions(table(entries, flags), flags) == entries


@given(data=st.binary(max_size=60), flags=st.booleans())
@example(data=b"\x81" * 60, flags=False)
def test_tables_that_are_none(data: bytes, flags: bool) -> None:
    try:
        found = read_positions(data, flags)
    except FormatError:
        return
    assert not found or found[0][0] == -1


SOURCE = "one\r\ntwo\rthree\n\nfive\u2028six\u2029seven 😀 end"


@pytest.mark.parametrize("text", [SOURCE, SOURCE.encode("ascii", "ignore").decode(), "x", "\n\n"])
def test_lines_and_columns(text: str) -> None:
    fake = FakeV8()
    units = text.encode("utf-16-le")
    split = [chr(unit) for (unit,) in struct.iter_unpack("<H", units)]
    ends = [
        n for n, unit in enumerate(split)
        if unit in "\n\u2028\u2029" or (unit == "\r" and split[n + 1 : n + 2] != ["\n"])
    ]  # fmt: skip
    source = fake.string(text)
    counted = fake.script("a", source)
    listed = fake.script("a", fake.undefined, line_ends=fake.numbers(*ends, len(split)))
    part = fake.script("a", source, lines=10, columns=100)
    heap = heap_of(fake)
    for position in range(len(split)):
        before = [end for end in ends if end < position]
        line, column = 1 + len(before), position - (before[-1] if before else -1)
        for script in (counted, listed):
            assert Script(heap, script, Sources()).place(position) == (line, column), position
        moved = (line + 10, column + 100 if line == 1 else column)
        assert Script(heap, part, Sources()).place(position) == moved
    for script in (counted, listed):
        assert Script(heap, script, Sources()).place(len(split) + 5) is None


def test_a_blanked_source_has_no_lines() -> None:
    fake = FakeV8()
    source = fake.string("x" * 64)
    blanked = struct.pack("<Q", 0x0DEFACED0DEFACED) * 7
    at = source - 1 - HEAP + 16
    fake.heap[at + 4 : at + 4 + len(blanked)] = blanked
    assert Script(heap_of(fake), fake.script("a", source), Sources()).place(60) is None


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("variables", [0, 1, 80])
def test_names_of_functions(era: str, variables: int) -> None:
    fake = FakeV8(era)
    script = fake.script("/srv/a.js", fake.string("first\n  second\nthird"))
    code = fake.bytecodes(16, b"")
    own, inferred = fake.string("own"), fake.string("o.inferred")
    wanted = {
        (own, 0): "own", (own, -1): "own", (own, inferred): "own",
        (0, inferred): "o.inferred", (-1, inferred): "o.inferred",
        (0, 0): "<anonymous>", (-1, -1): "<anonymous>", (fake.string(""), 0): "<anonymous>",
    }  # fmt: skip
    functions = {
        fake.function(fake.scope(*names, 8, 19, variables), script, code): text
        for names, text in wanted.items()
    }
    plain = fake.function(fake.string("plain"), script, code)
    v8 = v8_of(fake)
    for function, text in functions.items():
        found = v8.functions.at(v8.functions.shared_of(function))
        assert found is not None
        # Without a line the name has the beginning.
        assert found.location(None) == Location(None, f"{text} [2:3]", None, "/srv/a.js")
    found = v8.functions.at(v8.functions.shared_of(plain))
    assert found is not None
    assert found.location(3) == Location(None, "plain", None, "/srv/a.js")
    assert v8.functions.shared_of(code) == 0


def chain(fake: FakeV8, address: int = TRAMPOLINE + 5) -> tuple[int, int, int]:
    """Three frames of the interpreter, and one of other code: sp, fp, pc of the innermost.

    `address` is where the second and the third go on.
    """
    source = "line 1\nline 2\nline 3\nline 4\n"
    fps = [STACK + STACK_SIZE - at for at in (0x800, 0x600, 0x400, 0x200)]
    for number, fp in enumerate(fps[:3]):
        positions = [(-1, 0), (4, 7 * number), (20, 7 * number + 8)]
        function, code = fake.simple(f"f{number}", source, positions=positions)
        back = address if number < 2 else TRAMPOLINE + 5
        fake.interpreted(fp, fps[number + 1], back, function, code, 4 if number else 20)
    fake.frame(fps[3], 0, 0)
    # Of the innermost it is a call that the code is at.
    return fps[0] - 0x60, fps[0], TRAMPOLINE + 5


def named(stack: Stack, v8: V8) -> list[tuple[str | None, int | None] | None]:
    places = [v8.locate(stack.subjects.get(n, 0)) for n in range(len(stack.frames))]
    assert places.pop() is None
    return [place and (place.function, place.line) for place in places]


@pytest.mark.parametrize("era", ERAS)
def test_frames_of_the_interpreter(era: str) -> None:
    fake = FakeV8(era)
    stack, v8 = stack_of(fake, *chain(fake))
    # The innermost executes: its place is in a register.
    assert named(stack, v8) == [("f0 [1:1]", None), ("f1", 2), ("f2", 3)]
    assert all(subject >= SUBJECT for subject in stack.subjects.values())
    assert v8.locate(SUBJECT) is None
    assert v8.locate(TRAMPOLINE) is None
    ranges = v8.tables()
    assert any(low <= HEAP + 0x200 < high or low >= HEAP for low, high in ranges)


def test_compiled_code_has_no_line_of_the_interpreter() -> None:
    """What replaced a loop of the interpreter's keeps the place that it had then."""
    fake = FakeV8()
    stack, v8 = stack_of(fake, *chain(fake, MADE + 5))
    assert named(stack, v8)[1:] == [("f1 [1:1]", None), ("f2 [1:1]", None)]


def test_frames_that_go_on_where_nothing_has_called() -> None:
    """Of code that V8 gave up: a return address at the beginning of a builtin."""
    fake = FakeV8()
    fake.library[0x4800:0x4820] = bytes(0x20)
    _, fp, pc = chain(fake, LIB + 0x4810)
    leaf = fp - 0x100
    fake.frame(leaf, fp, pc)
    stack, v8 = stack_of(fake, leaf - 0x10, leaf, pc)
    assert named(stack, v8)[1:] == [("f0", 2), ("f1", 2), ("f2", 3)]
    assert [frame.exact for frame in stack.frames] == [True, False, True, True, False]
    assert stack.stop.reason == "root"


SIZES = [[1] * 5 + [1 + count * width for count in (1, 2, 3, 4, 0, 2)] for width in (1, 2, 4)]


@given(
    pieces=st.lists(
        st.tuples(st.sampled_from((0, 1, 2)), st.integers(5, 10), st.integers(0, 400)), min_size=1
    )
)
def test_baseline_code(pieces: list[tuple[int, int, int]]) -> None:
    """(Width of operands, bytecode, size of its code): return addresses tell which has called."""
    fake = FakeV8()
    at = len(fake.library) - 256
    fake.library[at : at + 33] = b"".join(map(bytes, SIZES))
    data, ends, places = b"", [30], []
    for width, bytecode, size in pieces:
        places.append(len(data))
        data += bytes([width - 1] if width else []) + bytes([bytecode])
        data += bytes(SIZES[width][bytecode] - 1)
        ends.append(ends[-1] + size)
    steps = fake.bytes(b"".join(map(unsigned, (30, *(size for *_, size in pieces)))))
    bytecodes = fake.bytecodes(len(data), b"", data)
    code = fake.code(bytecodes, steps, MADE, ends[-1] + 8)
    made = Baseline(heap_of(fake), {BYTECODE_SIZES: LIB + at}.get)
    for place, start, end in zip(places, ends, ends[1:], strict=False):
        if end > start:
            assert made.offset(code, bytecodes, MADE + end) == place
            assert made.offset(code, bytecodes, MADE + start + 1) == place
    assert made.offset(code, bytecodes, MADE + 5) is None
    assert made.offset(code, bytecodes, MADE + ends[-1] + 100) is None
    with pytest.raises(FormatError):
        Baseline(heap_of(fake), lambda name: None).offset(code, bytecodes, MADE + 5)


def test_a_frame_whose_parts_do_not_belong_together() -> None:
    """An object may have moved since the stack was copied, and another be in its place."""
    fake = FakeV8()
    sp, fp, pc = chain(fake)
    other, _ = fake.simple("other", "text")
    older = struct.unpack_from("<Q", fake.stack, fp - STACK)[0]
    struct.pack_into("<Q", fake.stack, older - 16 - STACK, other)
    struct.pack_into("<Q", fake.stack, older - 8 - STACK, fake.object(999, 0))
    stack, v8 = stack_of(fake, sp, fp, pc)
    assert named(stack, v8) == [("f0 [1:1]", None), None, ("f2", 3)]


def test_a_closure_that_moved_is_known_by_its_feedback() -> None:
    fake = FakeV8()
    sp, fp, pc = chain(fake)
    [older] = struct.unpack_from("<Q", fake.stack, fp - STACK)
    [function] = struct.unpack_from("<Q", fake.stack, older - 16 - STACK)
    other, _ = fake.simple("other", "text")
    struct.pack_into("<Q", fake.stack, older - 16 - STACK, other)
    struct.pack_into("<Q", fake.stack, older - 48 - STACK, fake.vector(function))
    stack, v8 = stack_of(fake, sp, fp, pc)
    assert named(stack, v8) == [("f0 [1:1]", None), ("f1", 2), ("f2", 3)]


@pytest.mark.parametrize("moved", [False, True])
def test_optimised_frames_of_a_running_process(moved: bool) -> None:
    """They hold no bytecode, and count while the process still has them."""
    fake = FakeV8()
    _, fp, _ = chain(fake, MADE + 5)
    [older] = struct.unpack_from("<Q", fake.stack, fp - STACK)
    struct.pack_into("<Q", fake.stack, older - 32 - STACK, fake.undefined)
    whole = v8_of(fake)
    assert whole.subject(older, fp + 16, MADE + 5, True) is not None
    metadata, space = metadata_of(fake), space_of(fake)
    space.memory.read(STACK, 8)  # is read once
    if moved:
        struct.pack_into("<Q", fake.stack, older - 16 - STACK, fake.simple("other", "text")[0])
    now = memory_of(fake)
    node = space.modules[0]
    running = V8(metadata, space, node, lambda name: None, now=now)
    dumped = V8(metadata, space, node, lambda name: None)
    assert (running.subject(older, fp + 16, MADE + 5, True) is None) is moved
    assert running.subject(older, fp + 16, MADE + 10, True) is None
    assert dumped.subject(older, fp + 16, MADE + 5, True) is None


def test_frames_of_other_kinds_are_left_alone() -> None:
    fake = FakeV8()
    sp, fp, pc = chain(fake)
    struct.pack_into("<Q", fake.stack, fp - 8 - STACK, small(3))
    stack, v8 = stack_of(fake, sp, fp, pc)
    assert named(stack, v8)[0] is None
    assert len(stack.frames) == 4


def test_builtins_have_no_name_here() -> None:
    """Their functions have a number for bytecode, and their code is named by symbols."""
    fake = FakeV8()
    sp, fp, pc = chain(fake)
    builtin = fake.function(fake.string("map"), fake.undefined, small(400))
    struct.pack_into("<Q", fake.stack, fp - 16 - STACK, builtin)
    stack, v8 = stack_of(fake, sp, fp, pc)
    assert named(stack, v8)[0] is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"TaggedSize": 4}, "compressed"),
        ({"HeapObjectTag": 3}, "HeapObjectTag"),
        ({"off_fp_function": 1 << 20}, "off_fp_function"),
    ],
)
def test_heaps_that_are_not_known(changes: dict[str, int], said: str) -> None:
    fake = FakeV8(**changes)
    with pytest.raises(FormatError, match=said):
        metadata_of(fake)
    del fake.symbols["v8dbg_off_fp_function"]
    with pytest.raises(FormatError):
        metadata_of(fake)


def test_a_process_without_v8() -> None:
    fake = FakeV8()
    space = space_of(fake)
    process = Process(space, space.memory, lambda *_: None, info=TargetInfo("core", "x86_64"))
    assert find(process) == []
    assert not process.namers
    assert not process.findings


@settings(max_examples=60)
@given(seed=st.integers(0, 1 << 32), era=st.sampled_from(ERAS))
def test_memory_that_lies(seed: int, era: str) -> None:
    """Costs names, and nothing else."""
    fake = FakeV8(era)
    place = chain(fake)
    draw = random.Random(seed)
    for area in (fake.heap, fake.stack):
        for _ in range(draw.randrange(1, 40)):
            at = draw.randrange(0, len(area) - 8) & ~7
            word = draw.choice(
                (0, 1, small(-1), small(1 << 20), HEAP + at + 1, draw.getrandbits(64))
            )
            struct.pack_into("<Q", area, at, word)
    stack, v8 = stack_of(fake, *place)
    assert len(stack.frames) <= 8
    for subject in stack.subjects.values():
        v8.locate(subject)
    v8.tables()


def test_reading_beyond_memory() -> None:
    fake = FakeV8()
    heap = heap_of(fake)
    with pytest.raises(Fault):
        heap.type(0x1234_5678_9001)
