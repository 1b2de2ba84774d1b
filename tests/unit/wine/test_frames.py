"""System call frames: which chains are believed, and what any memory makes of them."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.wine import WineProcess
from tests.build.wine_eras import ERAS, WITH_CALLBACKS, Era
from tests.build.wine_thread import WineThread as Made
from tests.fuzz.harness import within
from unspool.arch.x86 import X86
from unspool.arch.x86_64 import X86_64
from unspool.memory import Memory, Region
from unspool.model import Module
from unspool.space import AddressSpace
from unspool.wine.frames import Chains, SyscallFrame, objection
from unspool.wine.layouts import FRAME_I386, FRAME_X86_64, TEB32, TEB64
from unspool.wine.teb import Teb, read_teb
from unspool.wine.thread import WineThread

every = pytest.mark.parametrize(("version", "bits"), ERAS)
with_callbacks = pytest.mark.parametrize(("version", "bits"), WITH_CALLBACKS)


def space_of(process: WineProcess) -> AddressSpace:
    regions = []
    for block in process.blocks:
        data = bytes(block.data)
        regions.append(
            Region(
                block.address,
                block.end,
                lambda data=data: (data, 0, len(data)),  # type: ignore[misc]
                writable="w" in block.flags,
                executable="x" in block.flags,
            )
        )
    modules = [
        Module(0, each.name, each.base, each.base + each.size,
               kind="elf" if each.name.endswith(".so") else "pe")
        for each in process.modules
    ]  # fmt: skip
    arch = X86_64 if process.era.bits == 64 else X86
    return AddressSpace(arch, Memory(regions), modules, lambda _: None)


def chains_of(space: AddressSpace) -> Chains:
    return Chains(space, FRAME_X86_64 if space.arch is X86_64 else FRAME_I386)


def teb_of(space: AddressSpace, thread: Made) -> Teb:
    layout = TEB64 if space.arch is X86_64 else TEB32
    found = read_teb(space.memory, thread.teb, layout)
    assert found is not None
    return found


def addresses(process: WineProcess, thread: Made) -> list[int]:
    space = space_of(process)
    return [each.address for each in chains_of(space).of(teb_of(space, thread))]


@every
def test_a_single_frame(version: str, bits: int) -> None:
    process = WineProcess(Era(version, bits))
    thread = process.thread().call("main").syscall()
    assert addresses(process, thread) == [thread.frame]


@with_callbacks
def test_frames_of_callbacks(version: str, bits: int) -> None:
    process = WineProcess(Era(version, bits))
    thread = process.thread()
    for _ in range(5):
        thread.call("main").syscall("NtCreateWindow").callback("work")
    assert addresses(process, thread) == [thread.frame, *reversed(thread.outer)]


@every
def test_whatever_lies_where_6_11_has_no_pointer(version: str, bits: int) -> None:
    """And what is broken in newer ones: the newest frame is right all the same."""
    process = WineProcess(Era(version, bits))
    thread = process.thread().call("main").syscall()
    for value in (1, 0x77, thread.frame, thread.frame - 64, thread.teb, (1 << bits) - 1):
        process.store(thread.frame + (0xA0 if bits == 64 else 0x3C), value)
        assert addresses(process, thread) == [thread.frame]


@every
def test_frames_that_are_none(version: str, bits: int) -> None:
    """Not aligned, elsewhere than in memory that is written, of code that is not Windows'."""
    process = WineProcess(Era(version, bits))
    thread = process.thread().call("main").syscall()
    slot, frame = thread.teb + process.era.slot, thread.frame
    for value in (0, 8, frame + 8, process.ntdll.base, process.ntdll_so.base, 0x1234_5678_0000):
        process.store(slot, value)
        assert addresses(process, thread) == []
    process.store(slot, frame)
    pc, sp = (process.era.frame[name] for name in (thread.pc_name, thread.sp_name))
    for field, value in (
        (pc, 0), (pc, thread.teb), (pc, process.ntdll_so["read"].address),
        (sp, 0), (sp, process.ntdll.base), (sp, frame + 8),
    ):  # fmt: skip
        right = process.load(frame + field)
        process.store(frame + field, value)
        assert addresses(process, thread) == [], hex(field)
        process.store(frame + field, right)


@every
def test_frames_on_the_windows_stack(version: str, bits: int) -> None:
    """As Wine had them before 6.11: then there is no switch."""
    process = WineProcess(Era(version, bits))
    thread = process.thread().call("main").syscall()
    low = (thread.stacks.windows[0] + 0x4000) & -64
    process.write(low, process.read(thread.frame, 0x300))
    process.store(thread.teb + process.era.slot, low)
    assert addresses(process, thread) == []


@with_callbacks
def test_words_at_random(version: str, bits: int) -> None:
    """What is found is a chain upwards in one stack, whose oldest frame fits."""
    process = WineProcess(Era(version, bits))
    thread = process.thread().call("main")
    for _ in range(3):
        thread.syscall("NtCreateWindow").callback("work")
    noise = random.Random(version)
    block = process.block_at(thread.frame)
    kept = bytes(block.data)
    values = [0, 1, thread.teb, *thread.stacks.windows, *thread.stacks.unix, process.ntdll.base]
    values += [thread.frame, *thread.outer]
    for _ in range(300):
        for _ in range(noise.choice([1, 3, 10])):
            at = noise.choice([thread.frame, *thread.outer]) + noise.randrange(0, 0xC0, bits // 8)
            process.store(at, noise.choice([noise.choice(values), noise.getrandbits(bits)]))
        space = space_of(process)
        found = chains_of(space).of(teb_of(space, thread))
        for newer, older in pairwise(found):
            assert newer.address + newer.layout.size <= older.address
        for each in found:
            assert each.address % each.layout.alignment == 0
            assert block.address <= each.address < block.end
        if found:
            assert objection(space, found[-1]) is None
        block.data[:] = kept


@settings(max_examples=50)
@given(data=st.binary(min_size=0x400, max_size=0x800), bits=st.sampled_from([32, 64]))
def test_any_bytes_as_a_frame(data: bytes, bits: int) -> None:
    arch, layout = (X86_64, FRAME_X86_64) if bits == 64 else (X86, FRAME_I386)
    memory = Memory([Region(0x10000, 0x10000 + len(data), lambda: (data, 0, len(data)),
                            writable=True, executable=True)])  # fmt: skip
    space = AddressSpace(arch, memory, [], lambda _: None)
    for at in range(0x10000, 0x10000 + len(data) + 0x100, 64):
        frame = SyscallFrame(at, layout)
        why = objection(space, frame)
        assert why is None or "\n" not in why
        found, _ = Chains(space, layout).follow(at)
        assert all(each.address >= at for each in found)


def test_long_chains_of_many_tebs() -> None:
    """Thousands of TEBs lead into one chain, by every slot: it is not followed for ever."""
    process = WineProcess(Era("8.0", 64))
    thread = process.thread()
    count, base = 20_000, 0x2000_0000
    process.block(base, bytes(0x400 * (count + 1)))
    for index in range(count):
        process.store(base + 0x400 * index + 0xA0, base + 0x400 * (index + 1))
    for slot in range(0x2F0, 0x470, 8):
        process.store(thread.teb + slot, base)
    space = space_of(process)
    chains, teb = chains_of(space), teb_of(space, thread)
    with within(5):
        for _ in range(500):
            chains._known.clear()
            chains.of(teb)


# --- looking frames up ----------------------------------------------------------------


@with_callbacks
def test_the_frame_above_an_address(version: str, bits: int) -> None:
    process = WineProcess(Era(version, bits))
    thread = process.thread()
    for _ in range(3):
        thread.call("main").syscall("NtCreateWindow").callback("work")
    space = space_of(process)
    known = WineThread(0, teb_of(space, thread), None, chains_of(space).of(teb_of(space, thread)))
    for frame in known.frames:
        assert known.frame_above(frame.address) is frame
        assert known.frame_above(frame.address - 1) is frame
        assert known.frame_at(frame.address) is frame
        assert known.frame_at(frame.address + 0x70) is frame
        above = known.frame_above(frame.address + 1)
        assert above is None or above.address > frame.address
    assert known.frame_above(known.frames[-1].address + 1) is None
    assert known.frame_at(known.frames[-1].address + 0x10000) is None
    low = thread.stacks.windows[0]
    for level, frame in enumerate(known.frames[1:], 1):
        outer = frame.word(space, frame.layout.sp)
        assert known.level_above(space, outer - 1) == (level, outer)
        assert known.level_above(space, outer) != (level, outer)
    nearest = known.frames[1]
    assert known.level_above(space, low) == (1, nearest.word(space, nearest.layout.sp))
    # Another stack is none of theirs.
    assert known.level_above(space, process.peb) is None
