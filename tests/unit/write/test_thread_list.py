"""Threads in a minidump: their records and the registers, field by field."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.build.core import NT_FPREGSET, REGISTERS, Core
from tests.build.wine import WineProcess
from tests.build.wine_eras import Era
from unspool.formats.minidump.contexts import parse_context
from unspool.targets.minidump.facts import floating_state
from unspool.write.context import fsave
from unspool.write.draft import Block

from .written import Written, draft_of, open_core

NT_PRXFPREG, NT_ARM_VFP = 0x46E62B7F, 0x400

# Where winnt.h's CONTEXT has the registers, and of what size they are.
AMD64 = {
    "cs": (0x38, 2), "ds": (0x3A, 2), "es": (0x3C, 2), "fs": (0x3E, 2), "gs": (0x40, 2),
    "ss": (0x42, 2), "eflags": (0x44, 4),
    "rax": (0x78, 8), "rcx": (0x80, 8), "rdx": (0x88, 8), "rbx": (0x90, 8), "rsp": (0x98, 8),
    "rbp": (0xA0, 8), "rsi": (0xA8, 8), "rdi": (0xB0, 8), "r8": (0xB8, 8), "r9": (0xC0, 8),
    "r10": (0xC8, 8), "r11": (0xD0, 8), "r12": (0xD8, 8), "r13": (0xE0, 8), "r14": (0xE8, 8),
    "r15": (0xF0, 8), "rip": (0xF8, 8),
}  # fmt: skip
X86 = {
    "gs": (0x8C, 2), "fs": (0x90, 2), "es": (0x94, 2), "ds": (0x98, 2), "edi": (0x9C, 4),
    "esi": (0xA0, 4), "ebx": (0xA4, 4), "edx": (0xA8, 4), "ecx": (0xAC, 4), "eax": (0xB0, 4),
    "ebp": (0xB4, 4), "eip": (0xB8, 4), "cs": (0xBC, 2), "eflags": (0xC0, 4), "esp": (0xC4, 4),
    "ss": (0xC8, 2),
}  # fmt: skip
# MDRawContextARM64_Old.
ARM64 = {
    **{f"x{n}": (8 + 8 * n, 8) for n in range(31)}, "sp": (256, 8), "pc": (264, 8),
    "pstate": (272, 4),
}  # fmt: skip
# MDRawContextARM.
ARM = {
    **{f"r{n}": (4 + 4 * n, 4) for n in range(13)}, "sp": (56, 4), "lr": (60, 4), "pc": (64, 4),
    "cpsr": (68, 4),
}  # fmt: skip
# Registers, size of the structure, place of the flags; flags without and with floating point.
CONTEXTS = {
    "x86_64": (AMD64, 1232, 0x30, 0x100007, 0x10000F),
    "i386": (X86, 716, 0, 0x10007, 0x1002F),
    "aarch64": (ARM64, 796, 0, 0x80000002, 0x80000006),
    "arm": (ARM, 368, 0, 0x40000002, 0x40000006),
}


def values_of(arch: str) -> dict[str, int]:
    values = {name: 0x0101_0101_0101 * (i + 1) for i, name in enumerate(REGISTERS[arch])}
    for name in values:
        if name in ("cs", "ds", "es", "fs", "gs", "ss"):
            values[name] &= 0xFFFF
        elif arch in ("i386", "arm") or name in ("eflags", "pstate"):
            values[name] &= 0xFFFFFFFF
    return values


def records(written: Written) -> list[tuple[int, ...]]:
    """Id, suspend count, class, priority, TEB, stack's start, size, RVA, context's size, RVA."""
    return [struct.unpack("<4I2Q4I", entry) for entry in written.entries("thread_list", 48)]


def context_of(written: Written, index: int = 0) -> bytes:
    return written.located(struct.pack("<II", *records(written)[index][8:]))


def registers_in(context: bytes, arch: str) -> dict[str, int]:
    return {
        name: int.from_bytes(context[at : at + size], "little")
        for name, (at, size) in CONTEXTS[arch][0].items()
    }


@pytest.mark.parametrize("arch", CONTEXTS)
def test_registers_are_where_readers_look(arch: str, tmp_path: Path) -> None:
    places, size, flags_at, flags, _ = CONTEXTS[arch]
    values = values_of(arch)
    core = Core(arch)
    core.thread(77, values)
    with open_core(core, tmp_path) as target:
        context = context_of(Written(draft_of(target), "thread_list"))
    assert len(context) == size
    assert registers_in(context, arch) == {name: values[name] for name in places}
    assert struct.unpack_from("<I", context, flags_at) == (flags,)
    # Nothing but these.
    rest = bytearray(context)
    for at, width in [*places.values(), (flags_at, 4)]:
        rest[at : at + width] = bytes(width)
    assert not any(rest)


FXSAVE = (
    struct.pack("<HHBxHQQ", 0x37F, 0x3800, 0x81, 0x7AB, 0x1_0000_1111, 0x2_0000_2222)
    + struct.pack("<II", 0x1F80, 0xFFFF)
    + b"".join(bytes([0x80 + n] * 10) + bytes(6) for n in range(8))
    + b"".join(bytes([0x10 + n] * 16) for n in range(16))
    + bytes(96)
)


def test_vectors_of_x86_64(tmp_path: Path) -> None:
    core = Core("x86_64")
    core.thread(77, {})
    core.note("CORE", NT_FPREGSET, FXSAVE)
    with open_core(core, tmp_path) as target:
        context = context_of(Written(draft_of(target), "thread_list"))
    assert context[0x100:0x300] == FXSAVE
    assert struct.unpack_from("<I", context, 0x34) == (0x1F80,)
    assert struct.unpack_from("<I", context, 0x30) == (0x10000F,)


def test_vectors_of_arm(tmp_path: Path) -> None:
    """`user_vfp` has the status last; there it is first, in eight bytes."""
    vfp = bytes(range(256)) + b"FPSC"
    core = Core("arm")
    core.thread(77, {})
    core.note("LINUX", NT_ARM_VFP, vfp)
    with open_core(core, tmp_path) as target:
        written = Written(draft_of(target), "thread_list")
        context = context_of(written)
        assert target.floating_point(target.threads[0]) == vfp
    assert context[72:80] == b"FPSC" + bytes(4)
    assert context[80:336] == bytes(range(256))
    assert struct.unpack_from("<I", context) == (0x40000006,)
    parsed = parse_context(context, 5)
    assert floating_state(parsed, context) == vfp


def test_vectors_of_i386(tmp_path: Path) -> None:
    core = Core("i386")
    core.thread(77, {})
    core.note("LINUX", NT_PRXFPREG, FXSAVE)
    with open_core(core, tmp_path) as target:
        context = context_of(Written(draft_of(target), "thread_list"))
    assert context[204:] == FXSAVE
    assert struct.unpack_from("<I", context) == (0x1002F,)
    control, status, tags, ip, cs, dp, ds = struct.unpack_from("<7I", context, 28)
    assert (control, status) == (0xFFFF037F, 0xFFFF3800)
    assert (ip, cs, dp, ds) == (0x1111, 0x07AB0001, 0x2222, 0xFFFF0002)
    # The registers 0 and 7 are in use; of a stack whose top is 7 these are st1 and st0.
    assert tags == 0xFFFF3FFC
    assert context[56:136] == b"".join(bytes([0x80 + n] * 10) for n in range(8))


@pytest.mark.parametrize(
    ("register", "tag"),
    [
        (bytes(10), 1),
        (b"\1" + bytes(9), 2),  # denormal
        (bytes(7) + b"\x80\xff\x3f", 0),  # 1.0
        (bytes(7) + b"\x80\xff\xbf", 0),
        (bytes(7) + b"\x40\xff\x3f", 2),  # no integer bit
        (bytes(7) + b"\x80\xff\x7f", 2),  # infinite
        (bytes(10)[:9] + b"\x80", 1),  # -0.0
    ],
)
def test_what_fsave_says_of_a_register(register: bytes, tag: int) -> None:
    image = bytearray(512)
    image[4] = 1  # register 0 is in use; the top is 0
    image[32:42] = register
    assert struct.unpack_from("<I", fsave(bytes(image)), 8) == (0xFFFFFFFC | tag,)


def test_vectors_of_aarch64(tmp_path: Path) -> None:
    vectors = b"".join(bytes([n] * 16) for n in range(32))
    core = Core("aarch64")
    core.thread(77, {})
    core.note("CORE", NT_FPREGSET, vectors + struct.pack("<II8x", 0x11, 0x22))
    with open_core(core, tmp_path) as target:
        context = context_of(Written(draft_of(target), "thread_list"))
    assert struct.unpack_from("<II", context, 276) == (0x11, 0x22)
    assert context[284:] == vectors
    assert struct.unpack_from("<Q", context) == (0x80000006,)


def test_threads_without_registers_or_a_saved_stack(tmp_path: Path) -> None:
    core = Core("x86_64")
    core.thread(77, {"rsp": 0x7000})
    core.thread(78, {}, truncate=40)
    core.thread(77, {"rsp": 0x9000})
    with open_core(core, tmp_path) as target:
        draft = draft_of(target, stack_blocks={2: Block(0x8FF0, 0x20, 0x500)})
        written = Written(draft, "thread_list")
    first, second, third = records(written)
    assert first[:8] == (77, 0, 0, 0, 0, 0x7000, 0, 0)
    assert second == (78, *[0] * 9)
    assert third[:8] == (77, 0, 0, 0, 0, 0x8FF0, 0x20, 0x500)
    assert first[8:] != third[8:]
    assert {index: len(written.located(each)) for index, each in draft.contexts.items()} == {
        0: 1232, 1: 0, 2: 1232,
    }  # fmt: skip


@pytest.mark.parametrize("arch", CONTEXTS)
def test_sanitized_registers(arch: str, tmp_path: Path) -> None:
    values = values_of(arch)
    core = Core(arch)
    core.thread(77, values)
    kind = {"i386": NT_PRXFPREG, "arm": NT_ARM_VFP}.get(arch, NT_FPREGSET)
    core.note("CORE" if kind == NT_FPREGSET else "LINUX", kind, b"\1" * 528)
    kept = {"x86_64": "r8", "i386": "esi", "aarch64": "x5", "arm": "r5"}[arch]
    with open_core(core, tmp_path) as target:
        draft = draft_of(target, keep_word=lambda value: value == values[kept])
        context = context_of(Written(draft, "thread_list"))
    assert struct.unpack_from("<I", context, CONTEXTS[arch][2]) == (CONTEXTS[arch][3],)
    found = registers_in(context, arch)
    pointers = ("rip", "eip", "pc", "rsp", "esp", "sp", kept)
    facts = ("cs", "ds", "es", "fs", "gs", "ss", "eflags", "pstate", "cpsr")
    stay = {name for name in found if name in pointers or name in facts}
    assert {name: found[name] for name in stay} == {name: values[name] for name in stay}
    assert not any(found[name] for name in found if name not in stay)
    assert b"\1\1\1\1\1\1\1\1" not in context


@pytest.mark.parametrize("bits", [64, 32])
def test_threads_of_wine_have_a_teb(bits: int, tmp_path: Path) -> None:
    process = WineProcess(Era("8.0", bits))
    threads = [process.thread(), process.thread()]
    process.native({}, tid=77)
    with open_core(process.core(), tmp_path) as target:
        written = Written(draft_of(target), "thread_list")
    tebs = {record[0]: record[4] for record in records(written)}
    assert tebs == {**{thread.tid: thread.teb for thread in threads}, 77: 0}
