"""Cores of Wine processes whose TEBs, frames, contexts and pointers lie.

Whatever lies costs at most the rest of the stacks that it belongs to, with a reason; no other
thread's. Nothing takes more than a few seconds, or raises.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator

import pytest

from tests.build.core import NT_PRSTATUS, Core, prstatus
from tests.build.wine import DISPATCHER_POINTER, WineProcess
from tests.build.wine_eras import Era, TebOffsets
from tests.build.wine_thread import Stacks, WineThread
from tests.build.wine_wow64 import CPU_AREA, Wow64Process, Wow64Thread
from tests.fuzz.harness import examine, within
from tests.unit.unwind.wine_walks import frames, words
from unspool.model import Report, Stack, StopReason

VERSIONS = [("7.0", 64), ("8.0", 64), ("10.0", 64), ("11.8", 64), ("8.0", 32), ("10.0", 32)]
every = pytest.mark.parametrize(("version", "bits"), VERSIONS)
SECONDS = 10


def process_of(version: str, bits: int, count: int = 3) -> WineProcess:
    """Threads in a system call within a callback, in Windows code, in a signal handler."""
    process = WineProcess(Era(version, bits))
    for index in range(count):
        thread = process.thread().call("main", "odd").syscall("NtCreateWindow", "send_message")
        thread.callback("window_procedure", "deep")
        if index % 3 == 0:
            thread.syscall("NtUserGetMessage", "read")
        elif index % 3 == 1:
            thread.exception("dispatch_exception", "filter")
        else:
            thread.syscall().signal("wait_suspend")
    return process


def examined(process: WineProcess | Core, seconds: float = SECONDS) -> Report:
    core = process.core() if isinstance(process, WineProcess) else process
    data = core.build()
    with within(seconds):
        report = examine(data)
    assert isinstance(report, Report)
    return report


def is_sure(thread: WineThread, stack: Stack) -> bool:
    """Whether the stack is the thread's, or says what it lacks."""
    if [*map(tuple, frames(stack))] == thread.expected():
        return True
    return bool(stack.gaps) or stack.stop.reason != StopReason.ROOT


def check_others(process: WineProcess, report: Report, harmed: WineThread | None) -> None:
    for thread, stack in zip(process.threads, report.stacks, strict=False):
        if thread is not harmed:
            assert words(thread, frames(stack)) == words(thread, list(thread.expected()))
            assert stack.stop.reason == StopReason.ROOT


# --- pointers to the dispatcher -------------------------------------------------------


def places(process: WineProcess) -> Iterator[int]:
    """Where a pointer can point: nowhere, data, code of all kinds."""
    mask = (1 << process.era.bits) - 1
    yield from (0, 1, mask, mask - 7, 1 << 63 & mask, 0x1234)
    yield process.threads[0].teb
    yield process.threads[0].frame
    for module in process.modules:
        yield module.base
        yield from (each.address for each in module.functions.values())
        yield module.base + module.size - 1
        yield module.base + module.size


@every
def test_pointers_to_the_dispatcher_that_point_anywhere(version: str, bits: int) -> None:
    """The variables of ntdll.dll say the truth: what lies costs nothing at all, unless it makes
    other code of ntdll.so pass for a dispatcher: then frames before that are left out, at most."""
    process = process_of(version, bits)
    data = process.ntdll.base + process.ntdll.variables["__wine_syscall_dispatcher"]
    slots = [data]
    if bits == 64:
        slots.append(DISPATCHER_POINTER)
    else:
        slots += [thread.teb + process.era.teb.dispatcher for thread in process.threads]
    for place in list(places(process)):
        for slot in slots:
            process.store(slot, place)
        report = examined(process)
        in_unix = process.ntdll_so.base <= place < process.ntdll_so.base + process.ntdll_so.size
        if not in_unix:
            check_others(process, report, None)
        for thread, stack in zip(process.threads, report.stacks, strict=True):
            wanted = words(thread, list(thread.expected()))
            found = words(thread, frames(stack))
            left = iter(wanted)
            assert all(each in left for each in found), f"{place:x}: {found} of {wanted}"


# --- frames ---------------------------------------------------------------------------


def previous_frames(thread: WineThread) -> Iterator[int]:
    mask = (1 << thread.era.bits) - 1
    low, high = thread.stacks.unix
    yield from (thread.frame, thread.frame - 0x1000, thread.frame + 64, thread.frame + 1, 1, mask)
    yield from (low, high, high - 64, thread.teb, thread.stacks.windows[0], mask - 63)


@every
def test_previous_frames_that_lead_anywhere(version: str, bits: int) -> None:
    process = process_of(version, bits)
    victim = process.threads[0]
    assert process.era.previous is not None
    for frame in (victim.frame, *victim.outer):
        right = process.load(frame + process.era.previous)
        for place in previous_frames(victim):
            process.store(frame + process.era.previous, place)
            report = examined(process)
            check_others(process, report, victim)
            assert is_sure(victim, report.stacks[0]), hex(place)
        process.store(frame + process.era.previous, right)


@every
def test_registers_of_frames_that_lie(version: str, bits: int) -> None:
    process = process_of(version, bits)
    victim = process.threads[0]
    mask = (1 << bits) - 1
    pc, sp = (process.era.frame[name] for name in (victim.pc_name, victim.sp_name))
    for frame in (victim.frame, *victim.outer):
        for field in (pc, sp):
            right = process.load(frame + field)
            for place in (0, 1, mask, frame, victim.teb, process.ntdll.base, right + 8, right - 8,
                          process.ntdll_so["read"].address, victim.stacks.windows[0]):  # fmt: skip
                process.store(frame + field, place)
                check_others(process, examined(process), victim)
            process.store(frame + field, right)


@every
def test_callbacks_that_go_on_anywhere(version: str, bits: int) -> None:
    """What keeps the Unix side of a callback: fields of frames, and what they point at."""
    process = process_of(version, bits)
    victim, era = process.threads[0], process.era
    mask = (1 << bits) - 1
    slots = [0x400, 0x420, 0x460] if bits == 64 else [0x380, 0x398, 0x39C]
    slots.append(0xA8 if bits == 64 else 0x38)
    for slot in slots:
        right = process.load(victim.frame + slot)
        for place in (0, 8, mask, victim.frame, victim.frame + 8, victim.outer[0], victim.teb,
                      victim.stacks.unix[1] - era.word, victim.stacks.windows[1]):  # fmt: skip
            process.store(victim.frame + slot, place)
            check_others(process, examined(process), victim)
        process.store(victim.frame + slot, right)


# --- TEBs -----------------------------------------------------------------------------


@every
def test_a_teb_that_lies_about_its_stack(version: str, bits: int) -> None:
    """Bounds that take in everything, other threads' stacks above all."""
    process = process_of(version, bits)
    victim, offsets = process.threads[1], process.era.teb
    mask = (1 << bits) - 1
    others = [bound for thread in process.threads for bound in thread.stacks.windows]
    others += [bound for thread in process.threads for bound in thread.stacks.unix]
    fields = (offsets.stack_base, offsets.stack_limit, offsets.allocation)
    right = [process.load(victim.teb + field) for field in fields]
    pairs = [(mask, 0), (mask, 1), (0, mask), (0, 0), (1, 0), (mask, mask - 1)]
    pairs += [(high, low) for high in others for low in others if low < high]
    for high, low in pairs:
        for field, value in zip(fields, (high, low, low), strict=True):
            process.store(victim.teb + field, value)
        check_others(process, examined(process), victim)
    for field, value in zip(fields, right, strict=True):
        process.store(victim.teb + field, value)


@every
def test_a_teb_of_noise(version: str, bits: int) -> None:
    """Only its pointer to itself is right, sometimes its stack and its PEB."""
    process = process_of(version, bits)
    victim, offsets = process.threads[0], process.era.teb
    kept = (offsets.self, offsets.peb, offsets.stack_base, offsets.stack_limit)
    values = [process.load(victim.teb + field) for field in kept]
    noise = random.Random(version)
    for count in (1, 2, 4):
        for _ in range(10):
            process.write(victim.teb, noise.randbytes(0x1838 if bits == 64 else 0x1000))
            for field, value in list(zip(kept, values, strict=True))[:count]:
                process.store(victim.teb + field, value)
            check_others(process, examined(process), victim)


@every
def test_a_peb_of_noise(version: str, bits: int) -> None:
    process = process_of(version, bits)
    noise = random.Random(version)
    for _ in range(10):
        process.write(process.peb, noise.randbytes(0x1000))
        report = examined(process)
        for thread, stack in zip(process.threads, report.stacks, strict=True):
            assert is_sure(thread, stack)


def many(process: WineProcess, count: int, change: Callable[[int], dict[str, int]]) -> Core:
    """The process's core with `count` threads more: copies of the first, changed."""
    core = process.core()
    first = process.threads[0]
    if process.era.bits == 64:
        registers = {**first.registers, "gs_base": first.teb, "cs": 0x33}
    else:
        registers = {**first.registers, "fs": 0x6B, "gs": 0x63, "cs": 0x23}
    for index in range(count):
        changed = {**registers, **change(index)}
        teb = changed.pop("teb", first.teb)
        if process.era.bits == 64:
            changed["gs_base"] = teb
        core.note("CORE", NT_PRSTATUS, prstatus(core.arch, 10_000 + index, changed))
        if process.era.bits == 32:
            core.note("LINUX", 0x200, struct.pack("<4I", 13, teb, 0xFFF, 0x51))
    return core


@pytest.mark.parametrize(("version", "bits"), [("11.8", 64), ("10.0", 32)])
def test_ten_thousand_threads_with_one_teb(version: str, bits: int) -> None:
    process = process_of(version, bits)
    sp = process.threads[0].sp_name
    for elsewhere in (False, True):
        place = process.peb + 0x8000
        core = many(process, 10_000, lambda _: {sp: place} if elsewhere else {})  # noqa: B023
        check_others(process, examined(core), None)


@every
def test_tebs_that_overlap(version: str, bits: int) -> None:
    """Thousands of them, each of which says that all stacks are its own."""
    process = process_of(version, bits)
    offsets, mask = process.era.teb, (1 << bits) - 1
    count = 3000
    block = process.block(0x2000_0000, bytes(0x1000 * (count + 2)))
    for index in range(count):
        teb = block.address + 0x1000 * index
        for field, value in (
            (offsets.self, teb), (offsets.stack_base, mask), (offsets.stack_limit, 1),
            (offsets.peb, process.peb), (process.era.slot, process.threads[0].frame),
        ):  # fmt: skip
            process.store(teb + field, value)
    core = many(process, count, lambda index: {"teb": block.address + 0x1000 * index})
    examined(core, 3 * SECONDS)


def test_tebs_that_overlap_and_threads_without_a_segment() -> None:
    """gcore's cores of i386 processes lack the segment's base: TEBs are looked for."""
    process = process_of("8.0", 32)
    offsets = process.era.teb
    count = 3000
    block = process.block(0x2000_0000, bytes(0x1000 * (count + 2)))
    for index in range(count):
        teb = block.address + 0x1000 * index
        for field, value in (
            (offsets.self, teb), (offsets.stack_base, (1 << 32) - 1), (offsets.stack_limit, 1),
            (offsets.peb, process.peb), (process.era.slot, process.threads[0].frame),
        ):  # fmt: skip
            process.store(teb + field, value)
    core = many(process, count, lambda index: {"esp": 0x5000_0000 + 4 * index})
    core.notes = [note for note in core.notes if note[1] != 0x200]
    examined(core, 3 * SECONDS)


# --- callbacks, exceptions ------------------------------------------------------------


@every
@pytest.mark.parametrize("depth", [100, 1000])
def test_callbacks_within_callbacks(version: str, bits: int, depth: int) -> None:
    """A window procedure that sends messages to itself until its stacks are full."""
    process = WineProcess(Era(version, bits))
    stacks = _large(process)
    thread = process.thread(stacks=stacks)
    for _ in range(depth):
        thread.call("plain").syscall("NtCreateWindow").callback("plain")
    thread.syscall()
    (stack,) = examined(process, 3 * SECONDS).stacks
    assert len(stack.frames) == len(thread.expected())
    assert stack.stop.reason == StopReason.ROOT


def test_more_callbacks_than_a_stack_can_hold() -> None:
    process = WineProcess(Era("8.0", 32))
    thread = process.thread(stacks=_large(process, 0x180_0000))
    for _ in range(10_000):
        thread.call("plain").syscall("NtCreateWindow").callback("plain")
    thread.syscall()
    process.thread().call("main").syscall()
    report = examined(process, 3 * SECONDS)
    check_others(process, report, thread)
    assert report.stacks[0].stop.reason != StopReason.ROOT
    assert len(report.stacks[0].segments) > 9000


def _large(process: WineProcess, size: int = 0x40_0000) -> Stacks:
    base = 0x2000_0000
    process.block(base, bytes(2 * size))
    signal = (process.first_teb + 0x3800, process.first_teb + 0x10000)
    if process.era.placement == "block":
        data = 0x1_0000_0000 if process.era.bits == 64 else 0x5000_0000
        process.block(data, bytes(0x10000))
        signal = (data + 0x860, data + 0x10000)
    return Stacks((base, base + size), (base + size, base + 2 * size), signal)


@every
def test_contexts_that_lead_to_themselves(version: str, bits: int) -> None:
    """Each of two exceptions says that it was raised by the code that handles the other."""
    process = process_of(version, bits, 1)
    thread = process.thread().call("main").exception("dispatch_exception", "odd")
    thread.exception("dispatch_exception", "filter")
    inner = [sp for pc, sp in thread.frames]
    context = process.era.context
    size = 0x4D0 if bits == 64 else 0x2CC
    low, high = thread.stacks.windows
    found = [
        address
        for address in range(low, high - size, 16 if bits == 64 else 4)
        if _is_context(process, address)
    ]
    assert len(found) == 2
    for address, other in zip(found, reversed(found), strict=True):
        for name, value in (
            (thread.sp_name, min(inner)), (thread.sp_name, address), (thread.sp_name, other),
            (thread.sp_name, other - 8), (thread.pc_name, 0), (thread.pc_name, thread.pc),
        ):  # fmt: skip
            right = process.load(address + context[name])
            process.store(address + context[name], value)
            check_others(process, examined(process), thread)
            process.store(address + context[name], right)


def _is_context(process: WineProcess, address: int) -> bool:
    flags = struct.unpack("<I", process.read(address + process.era.context["flags"], 4))[0]
    return bool(flags == (0x10001F if process.era.bits == 64 else 0x1001F))


# --- WoW64 ----------------------------------------------------------------------------


def wow64_process(*, named: bool = True) -> Wow64Process:
    """Threads in a system call, in a callback, in 32-bit code, in a signal handler."""
    process = Wow64Process("10.9", named=named)
    process.thread().call32("main", "odd").syscall32()
    process.thread().call32("main", "odd").syscall32().callback32("deep").syscall32()
    process.thread().call32("main", "recurse", "work")
    process.thread().call32("main").syscall32().callback32("odd").signal()
    return process


def wow64_values(process: Wow64Process, thread: Wow64Thread) -> list[int]:
    mask = (1 << 64) - 1
    values = [0, 1, mask, 0xFFFF_FFFF, thread.teb, thread.teb32, thread.area, thread.frame]
    values += [thread.sp, thread.esp, thread.esp - 4, *thread.stack32, *thread.stacks.windows]
    values += [process.cpu.base, process.cpu.base + 0x2000, process.thunk]
    for module in (process.cpu, process.wow64, process.ntdll32, process.ntdll):
        values += [each.after_call() for each in list(module.functions.values())[:3]]
    return values


@pytest.mark.parametrize("field", ["area", "thunk", "wow", "self", "base", "limit", "r14"])
def test_wow64_fields_that_lead_anywhere(field: str) -> None:
    """The CPU area, the far jump, the distance to the other TEB, the bounds of its stack; and r14,
    which keeps the other stack pointer, in the frame of a system call."""
    process = wow64_process()
    offsets = TebOffsets(4)
    for victim in (process.threads[1], process.threads[2]):
        assert isinstance(victim, Wow64Thread)
        address = {
            "area": victim.teb + CPU_AREA, "thunk": victim.teb32 + offsets.dispatcher,
            "wow": victim.teb + TebOffsets(8).wow, "self": victim.teb32 + offsets.self,
            "base": victim.teb32 + offsets.stack_base, "limit": victim.teb32 + offsets.allocation,
            "r14": victim.frame + 0x60,
        }[field]  # fmt: skip
        size = 8 if field in ("area", "r14") else 4
        right = process.read(address, size)
        for value in wow64_values(process, victim):
            process.write(address, (value & ((1 << 8 * size) - 1)).to_bytes(size, "little"))
            check_others(process, examined(process), victim)
        process.write(address, right)


@pytest.mark.parametrize("named", [False, True])
def test_wow64_stacks_changed_at_random(named: bool) -> None:
    process = wow64_process(named=named)
    noise = random.Random(named)
    blocks = [(block, bytes(block.data)) for block in process.blocks]
    for _ in range(150):
        victim = noise.choice(process.threads)
        assert isinstance(victim, Wow64Thread)
        places = [sp + noise.randrange(0, 0x80, 4) for _, sp in victim.expected()]
        places += [victim.teb32 + noise.randrange(0, 0x1000, 4) for _ in range(4)]
        places += [victim.area + noise.randrange(0, 0x2D0, 4) for _ in range(4)]
        for address in noise.sample(places, noise.choice([1, 3, 10])):
            value = noise.choice(wow64_values(process, victim))
            try:
                process.write(address, (value & 0xFFFF_FFFF).to_bytes(4, "little"))
            except LookupError:
                continue
        check_others(process, examined(process), victim)
        for block, data in blocks:
            block.data[:] = data


def test_stacks_of_both_kinds_that_lead_to_each_other() -> None:
    """Each frame of wow64cpu.dll says that the same 32-bit code has called it."""
    process = wow64_process()
    thread = process.threads[0]
    assert isinstance(thread, Wow64Thread)
    function = process.cpu["syscall_32to64"]
    back = function.address + process.sizes["syscall_32to64"]
    low, high = thread.stacks.windows
    for address in range(thread.sp & -16 if low <= thread.sp < high else high - 0x800, high, 8):
        process.store(address, back)
    check_others(process, examined(process), thread)


# --- at random ------------------------------------------------------------------------


def interesting(process: WineProcess, noise: random.Random) -> int:
    thread = noise.choice(process.threads)
    mask = (1 << process.era.bits) - 1
    values = [
        0, 1, mask, noise.getrandbits(process.era.bits), noise.getrandbits(16), thread.teb,
        thread.frame, *thread.stacks.unix, *thread.stacks.windows, *thread.stacks.signal,
        noise.randrange(*thread.stacks.unix) & -8, noise.randrange(*thread.stacks.windows) & -8,
        noise.choice(list(process.ntdll.functions.values())).address,
        noise.choice(list(process.ntdll_so.functions.values())).after_call(),
        noise.choice(list(process.program.functions.values())).after_call(),
    ]  # fmt: skip
    return noise.choice(values)


def targets(process: WineProcess, thread: WineThread) -> list[int]:
    """Words of a thread that a walk of it reads: of its TEB, its frames, its stacks."""
    word = process.era.word
    teb = process.era.teb
    fields = (teb.self, teb.stack_base, teb.stack_limit, teb.allocation, teb.peb, teb.wow, teb.tid)
    found = [thread.teb + offset for offset in fields]
    found += range(thread.teb + teb.private, thread.teb + teb.private + 0x180, word)
    for frame in (thread.frame, *thread.outer):
        found += range(frame, frame + 0xC0, word)
        found += range(frame + 0x380, frame + 0x470, word)
    for _, sp in thread.expected():
        found += range(sp, sp + 0x100, word)
    return [address for address in found if _writable(process, address)]


def _writable(process: WineProcess, address: int) -> bool:
    try:
        process.load(address & -process.era.word)
    except LookupError:
        return False
    return True


@every
def test_words_changed_at_random(version: str, bits: int) -> None:
    """Whatever a thread's own structures say, the others are not harmed."""
    process = process_of(version, bits, 4)
    noise = random.Random(f"{version}-{bits}")
    blocks = [(block, bytes(block.data)) for block in process.blocks]
    for _ in range(60):
        victim = noise.choice(process.threads)
        for address in noise.sample(targets(process, victim), noise.choice([1, 2, 5, 30])):
            process.store(address & -process.era.word, interesting(process, noise))
        check_others(process, examined(process), victim)
        for block, data in blocks:
            block.data[:] = data
