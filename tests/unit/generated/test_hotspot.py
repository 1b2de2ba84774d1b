"""HotSpot's code, methods and frames in made-up memory, also in memory that lies."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.hotspot import CACHE, CODE, HEAP, LIB, STACK, STACK_SIZE, FakeJvm, packed
from unspool.errors import FormatError
from unspool.generated.code import GeneratedCode, Process
from unspool.generated.hotspot import find
from unspool.generated.hotspot.jvm import Jvm
from unspool.generated.hotspot.packed import Packed
from unspool.generated.hotspot.tables import VmTables
from unspool.generated.reader import Reader
from unspool.memory import Fault, Memory, Region
from unspool.model import (
    SUBJECT,
    Inline,
    Location,
    Module,
    Report,
    Stack,
    StopReason,
    TargetInfo,
    Thread,
    Trust,
)
from unspool.space import AddressSpace
from unspool.symbols.symbolicate import symbolicate
from unspool.targets.base import Options
from unspool.unwind.step import Stepper
from unspool.unwind.strategies.generated import add_generated
from unspool.unwind.strategies.order import default_stepper
from unspool.unwind.walk import walk

from ..unwind.spaces import ARCHES

ERAS = (("pointers", 17), ("offsets", 25))
# fp, from which the slots count; the places of the bytecode pointer, the wrapper, the thread.
_SLOTS = {"x86_64": (-8, -6, 3), "aarch64": (-9, -8, -1)}


def memory_of(jvm: FakeJvm) -> Memory:
    return Memory(
        Region(
            base, base + len(area), lambda area=area: (bytes(area), 0, len(area)),
            executable=base in (CACHE, CODE), writable=base == STACK,
        )
        for base, area in jvm.areas.items()
    )  # fmt: skip


def space_of(jvm: FakeJvm, memory: Memory) -> AddressSpace:
    library = Module(0, "libjvm.so", LIB, LIB + 0x8000, bias=LIB)
    return AddressSpace(ARCHES[jvm.machine], memory, [library], lambda _: None, [CODE])


def found(jvm: FakeJvm) -> tuple[AddressSpace, GeneratedCode]:
    memory = memory_of(jvm)
    space = space_of(jvm, memory)
    process = Process(
        space, memory, lambda module, name: jvm.symbols.get(name),
        info=TargetInfo("core", jvm.machine),
    )  # fmt: skip
    modules = find(process)
    space.add_modules([each.module for each in modules], {})
    return space, GeneratedCode(modules, [])


def runtime(jvm: FakeJvm) -> Jvm:
    _, code = found(jvm)
    made = code.modules[0].runtime
    assert isinstance(made, Jvm)
    return made


def steps(*entries: tuple[int, int], excluded: int = 0) -> bytes:
    """A line table: (bytes of code, lines) from one entry to the next."""
    data = b""
    for code, line in entries:
        if 0 <= code < 32 and 0 <= line < 8 and code << 3 | line not in (0, 0xFF):
            data += bytes((code << 3 | line,))
        else:
            data += b"\xff" + signed(code, excluded) + signed(line, excluded)
    return data + b"\0"


def signed(value: int, excluded: int) -> bytes:
    return packed(value << 1 if value >= 0 else (-value << 1) - 1, excluded)


@pytest.mark.parametrize("excluded", [0, 1])
@given(values=st.lists(st.integers(0, (1 << 32) - 1), max_size=20))
def test_packed_numbers(excluded: int, values: list[int]) -> None:
    reader = Packed(b"".join(packed(value, excluded) for value in values), excluded)
    assert [reader.unsigned() for _ in values] == values
    with pytest.raises(FormatError):
        reader.unsigned()


@pytest.mark.parametrize(("era", "version"), ERAS)
def test_methods_have_names_files_and_lines(era: str, version: int) -> None:
    jvm = FakeJvm(era=era, version=version)
    lines = steps((0, 0x50), (3, 1), (200, -3), (4, 7), excluded=jvm.excluded)
    dig = jvm.method("game/Hole$Inner", "dig", file="Hole.java", code=300, lines=lines)
    hidden = jvm.method("game/Hole$$Lambda+0x00007f0c01000a00", "run", code=0)
    methods = runtime(jvm).methods
    method = methods.at(dig)
    assert method is not None
    assert (method.name, method.file) == ("game.Hole$Inner.dig", "Hole.java")
    places = [method.line(bci) for bci in (0, 2, 3, 202, 203, 206, 207, 299)]
    assert places == [0x50, 0x50, 0x51, 0x51, 0x4E, 0x4E, 0x55, 0x55]
    other = methods.at(hidden)
    assert other is not None
    assert (other.name, other.file) == ("game.Hole$$Lambda/0x00007f0c01000a00.run", None)
    assert other.line(0) is None
    assert methods.at(dig + 4) is None
    assert methods.at(0) is None


@pytest.mark.parametrize(("era", "version"), ERAS)
def test_compiled_code_has_the_calls_that_were_put_in_place(era: str, version: int) -> None:
    jvm = FakeJvm(era=era, version=version)
    table = steps((0, 10), (10, 1), (10, 1), excluded=jvm.excluded)
    outer = jvm.method("A", "outer", file="A.java", lines=table)
    inner = jvm.method("B", "inner", file="B.java", lines=table)
    scopes = [(100, [(outer, 0)]), (1000, [(inner, 10), (inner, 0), (outer, 20)])]
    # Large enough for hops in the map of segments.
    jvm.blob("StubRoutines (1)", 400)
    code = jvm.blob("nmethod", 0x4800, frame=6, complete=8, method=outer, scopes=scopes)
    last = jvm.blob("a stub", 64)
    made = runtime(jvm)
    assert made.locate(code + 99) == Location(None, "A.outer", None, "A.java", 10)
    inlined = (Inline("B.inner", "B.java", 11), Inline("B.inner", "B.java", 10))
    assert made.locate(code + 999) == Location(None, "A.outer", None, "A.java", 12, inlined)
    # Between two described places: what both are in, at the line of the next one.
    assert made.locate(code + 101) == Location(None, "A.outer", None, "A.java", 12)
    assert made.locate(code + 0x47FF) == Location(None, "A.outer", None, "A.java", 10)
    assert made.locate(last + 5) == Location(None, "a stub", 5)
    assert made.locate(code - 1) is None
    blob = made.blob(code + 0x4000)
    assert blob is not None
    assert (blob.begin, blob.frame, blob.complete) == (code, 48, code + 8)


class Frames:
    """The stack of a thread: native code, interpreted, compiled, interpreted, called from C++."""

    def __init__(self, machine: str, era: str, version: int) -> None:
        jvm = self.jvm = FakeJvm(machine, era, version)
        lines = steps((0, 20), (4, 2), excluded=jvm.excluded)
        self.first = jvm.method("Main", "first", file="Main.java", lines=lines)
        self.last = jvm.method("Main", "last", file="Main.java", lines=lines)
        self.middle = jvm.method("Main", "middle", file="Main.java", lines=lines)
        self.interpreter = jvm.blob("Interpreter", 0x200) + 0x40
        self.stub = jvm.blob("StubRoutines (1)", 0x100) + 0x50
        scopes = [(0x50, [(self.middle, 4)])]
        self.code = jvm.blob(
            "nmethod", 0x100, frame=6, complete=8, method=self.middle, scopes=scopes
        )
        self.compiled = self.code + 0x50
        jvm.static("StubRoutines._call_stub_return_address", self.stub)
        self.words: dict[int, int] = {}
        fps = self.fps = [STACK + 0x200, STACK + 0x400, STACK + 0x600]
        self.interpreted(fps[0], self.last, 4, self.compiled, 0x1234_5678, sender=STACK + 0x300)
        # The compiled frame: 48 bytes from the sender's stack pointer.
        self.put(STACK + 0x300 + 40, self.interpreter)
        self.put(STACK + 0x300 + 32, fps[1])
        self.interpreted(fps[1], self.first, 0, self.stub, fps[2], sender=STACK + 0x500)
        _, wrapper, thread = _SLOTS[machine]
        self.put(fps[2] + 8 * wrapper, STACK + 0x700)
        self.put(fps[2] + 8 * thread, HEAP + 0x10)
        self.put(STACK + 0x700, HEAP + 0x10)
        self.put(fps[2], 0)
        self.put(fps[2] + 8, CODE + 0x100 if machine == "aarch64" else CODE + 5 * 40)

    def put(self, address: int, value: int) -> None:
        self.jvm.word(address, value)

    def interpreted(
        self, fp: int, method: int, bci: int, returns: int, link: int, *, sender: int
    ) -> None:
        slot = _SLOTS[self.jvm.machine][0]
        self.put(fp, link)
        self.put(fp + 8, returns)
        self.put(fp - 8, sender)
        self.put(fp - 24, method)
        self.put(fp + 8 * slot, self.jvm.bytecodes(method) + bci)

    def walk(
        self, most: int = 0, changed: dict[int, int] | None = None
    ) -> tuple[Stack, list[str]]:
        """The stack, and the names of its frames; `changed` are registers by DWARF numbers."""
        space, code = found(self.jvm)
        stepper: Stepper = default_stepper(space, None, lambda: code)
        arch = space.arch
        registers: list[int | None] = [0] * len(arch.register_names)
        registers[arch.pc] = self.interpreter
        registers[arch.sp] = STACK + 0x100
        registers[arch.fp] = self.fps[0]
        for number, value in (changed or {}).items():
            registers[number] = value
        stepper.look_at_new_code = None
        add_generated(stepper, code)
        stack = walk(stepper, Thread(0, 1, registers), most)
        report = symbolicate(
            Report(TargetInfo("core", self.jvm.machine), space.modules, [stack]),
            lambda module: None, Options(), code_names=lambda module, lines: code.names(module),
        )  # fmt: skip
        places = [report.location(stack, index) for index in range(len(stack.frames))]
        shown = [f"{place.function}:{place.line}" if place else "" for place in places]
        return stack, shown


@pytest.mark.parametrize(("era", "version"), ERAS)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_stack_through_all_kinds_of_frames(machine: str, era: str, version: int) -> None:
    made = Frames(machine, era, version)
    stack, names = made.walk()
    assert names[:4] == ["Main.last:22", "Main.middle:22", "Main.first:20", "call_stub:None"]
    trusts = [frame.trust for frame in stack.frames[:5]]
    assert trusts == [Trust.CONTEXT, *[Trust.UNWIND_INFO] * 4]
    assert stack.frames[1].sp == STACK + 0x300, "what the callee's frame says, not its end"
    assert stack.frames[4].pc in (CODE + 0x100, CODE + 200)
    assert set(stack.subjects) == {0, 2}
    assert stack.subjects[2] == SUBJECT | made.first


@pytest.mark.parametrize("most", [1, 3])
def test_the_last_frame_of_a_limited_stack_has_its_name(most: int) -> None:
    stack, names = Frames("x86_64", "offsets", 25).walk(most)
    assert stack.stop.reason == StopReason.DEPTH
    assert names == ["Main.last:22", "Main.middle:22", "Main.first:20"][:most]


def test_given_up_code_goes_on_where_it_would_have() -> None:
    made = Frames("x86_64", "pointers", 17)
    made.put(made.fps[0] + 8, made.code + 0x100 - 8)
    made.put(STACK + 0x300 + 8, made.compiled)
    _, names = made.walk()
    assert names[:3] == ["Main.last:22", "Main.middle:22", "Main.first:20"]
    made.put(STACK + 0x300 + 8, made.compiled + 1)  # no call ends there
    stack, _ = made.walk()
    assert made.compiled + 1 not in [frame.pc for frame in stack.frames]


@pytest.mark.parametrize(
    "where", ["method", "bytecode", "return address", "sender", "stub's caller"]
)
def test_a_wrong_frame_is_no_frame(where: str) -> None:
    made = Frames("x86_64", "pointers", 17)
    fp = made.fps[0]
    if where == "method":
        made.put(fp - 24, HEAP + 0x20)
    elif where == "bytecode":
        made.put(fp - 64, made.jvm.bytecodes(made.last) + 41)
    elif where == "return address":
        made.put(fp + 8, CODE + 5 * 20)
    elif where == "sender":
        made.put(fp - 8, fp - 16)
    else:
        made.put(made.fps[2] + 8, CODE + 5 * 40 + 2)
    stack, names = made.walk()
    good = ["Main.last:22", "Main.middle:22", "Main.first:20", "call_stub:None"]
    kept = 4 if where == "stub's caller" else 0
    assert names[:kept] == good[:kept]
    assert names[0] == "Interpreter:None" or kept
    believed = [frame for frame in stack.frames[max(kept, 1) :] if frame.trust == "unwind_info"]
    assert not believed


# push rbx; push rbp; mov rbp, rsp; three more pushes; mov rbx, [r15 + 0x28]; mov [rbp + 8], rbx
HANDLER = bytes.fromhex("53 55 488bec 505150 498b9f28000000 48895d08")


@pytest.mark.parametrize("at", [0, 1, 2, 5, 8, 15])
def test_code_that_was_stopped_for_a_safepoint_and_has_no_return_address_yet(at: int) -> None:
    """What is in its place is a return address that looks right, of a call that has ended."""
    made = Frames("x86_64", "pointers", 17)
    handler = made.jvm.blob("SafepointBlob", 0x100, frame=20)
    made.jvm.put(handler, HANDLER)
    poll, thread, sp = made.code + 0x33, HEAP + 0x800, STACK + 0x300
    made.put(thread + 0x28, poll)
    made.put(sp - 8, made.compiled)
    made.put(sp - 16, made.fps[1])
    pushed = (0, 1, 2, 2, 2, 2, 3, 4, 5)[min(at, 8)]
    link = made.fps[1] if at < 5 else sp - 16
    changed = {16: handler + at, 7: sp - 8 * pushed, 6: link, 15: thread}
    stack, names = made.walk(changed=changed)
    assert [frame.pc for frame in stack.frames[:3]] == [handler + at, poll, made.interpreter]
    assert stack.frames[1].sp == sp
    assert names[1].startswith("Main.middle:")


def test_a_frame_that_leads_to_itself_ends_the_walk() -> None:
    made = Frames("x86_64", "pointers", 17)
    for fp in made.fps[:2]:
        made.put(fp, made.fps[0])
        made.put(fp + 8, made.interpreter)
    stack, _ = made.walk()
    assert len(stack.frames) < 10


def test_without_the_tables_there_is_no_jvm() -> None:
    jvm = FakeJvm()
    del jvm.symbols["gHotSpotVMStructs"]
    with pytest.raises(FormatError, match="gHotSpotVMStructs"):
        found(jvm)
    jvm = FakeJvm()
    jvm.word(jvm.symbols["gHotSpotVMTypeEntryArrayStride"], 0)
    with pytest.raises(FormatError, match="entries"):
        found(jvm)
    reader = Reader(memory_of(FakeJvm()))
    with pytest.raises(FormatError):
        VmTables(reader, lambda name: 16)


def test_descriptions_in_a_circle_and_endless_maps_end() -> None:
    jvm = FakeJvm()
    method = jvm.method("A", "a")
    code = jvm.blob("nmethod", 64, frame=2, complete=0, method=method, scopes=[(8, [(method, 0)])])
    made = runtime(jvm)
    blob = made.blob(code)
    assert blob is not None
    assert blob.compiled is not None
    jvm.put(blob.compiled.scopes + 1, packed(1, 0))  # its sender is itself
    made = runtime(jvm)
    assert made.locate(code + 4) == Location(None, "A.a")
    with pytest.raises(FormatError, match="circle"):
        made.scopes.at(blob, code + 4)
    jvm.put(jvm.map_at, b"\1" * 256)
    assert runtime(jvm).blob(CACHE + 0x7000) is None or jvm


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 32), area=st.sampled_from([LIB, HEAP, CACHE, STACK]))
def test_memory_that_lies_costs_frames_and_names_alone(seed: int, area: int) -> None:
    made = Frames("x86_64", *random.Random(seed).choice(ERAS))
    chosen = random.Random(seed)
    data = made.jvm.areas[area]
    used = [at for at in range(0, len(data), 8) if any(data[at : at + 8])]
    for _ in range(chosen.randrange(1, 30)):
        at = chosen.choice(used)
        value = chosen.choice((
            0, 1, (1 << 64) - 1, 1 << 63, chosen.getrandbits(64), LIB + chosen.randrange(0x8000),
            HEAP + chosen.randrange(0x8000), CACHE + chosen.randrange(0x8000),
            STACK + chosen.randrange(STACK_SIZE), chosen.getrandbits(16),
        ))  # fmt: skip
        struct.pack_into("<Q", data, at, value)
    try:
        stack, _ = made.walk()
    except (FormatError, Fault):
        return  # of the finder: the infrastructure reports it
    assert len(stack.frames) < 2000
    assert (stack.frames[0].sp or 0) >= STACK
