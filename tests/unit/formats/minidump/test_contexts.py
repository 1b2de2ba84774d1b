"""Registers of threads: where they are, whose they are, and which of them count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import minidump_records as r
from unspool.arch.aarch64 import AARCH64
from unspool.arch.base import Arch
from unspool.arch.x86 import X86
from unspool.arch.x86_64 import X86_64
from unspool.errors import FormatError
from unspool.formats.minidump import contexts, names
from unspool.formats.minidump.contexts import ContextTable, parse_context

# The builder's name of a CPU, ours, and the table that its contexts have.
CPUS = [
    ("x86", X86, contexts.X86_TABLE),
    ("amd64", X86_64, contexts.AMD64_TABLE),
    ("arm64", AARCH64, contexts.ARM64_TABLE),
    ("arm64_old", AARCH64, contexts.ARM64_OLD_TABLE),
]
TABLES = [table for _, _, table in CPUS] + [contexts.ARM_TABLE]


def number(cpu: str) -> int:
    return r.ARCHITECTURES[cpu]


@pytest.mark.parametrize(("cpu", "arch", "table"), CPUS, ids=[cpu for cpu, _, _ in CPUS])
def test_registers_have_the_numbers_of_the_architecture(
    cpu: str, arch: Arch, table: ContextTable
) -> None:
    """The builder writes registers by their names, `arch` says which number a name has."""
    wanted = arch.register_names[: table.register_count]
    values = {name: 0x1000 + i for i, name in enumerate(wanted)}
    context = parse_context(r.context(cpu, values), number(cpu))
    assert context.table is table
    assert context.registers == [0x1000 + i for i in range(table.register_count)]
    assert context.registers[arch.pc] == values[wanted[arch.pc]]


def test_registers_of_32_bit_arm() -> None:
    wanted = [*(f"r{n}" for n in range(13)), "sp", "lr", "pc"]
    values = {name: 0x1000 + i for i, name in enumerate(wanted)}
    for cpu in ("arm", "arm_windows"):
        context = parse_context(r.context(cpu, values), names.ARM)
        assert context.registers == [0x1000 + i for i in range(16)]


@pytest.mark.parametrize("cpu", ["x86", "amd64"])
def test_selectors_and_flags(cpu: str) -> None:
    data = r.context(cpu, {"cs": 0x33, "fs": 0x63, "gs": 0x6B, "eflags": 0x10246})
    special = parse_context(data, number(cpu)).special
    assert special["cs"] == 0x33
    assert special["fs"] == 0x63
    assert special["gs"] == 0x6B
    assert special["eflags"] == 0x10246


@pytest.mark.parametrize("cpu", ["arm64", "arm64_old"])
def test_flags_of_arm(cpu: str) -> None:
    assert parse_context(r.context(cpu, {"cpsr": 1 << 30}), 12).special == {"pstate": 1 << 30}


@pytest.mark.parametrize(
    ("cpu", "flags", "known"),
    [
        ("x86", 0x10001, {4, 5, 8}),
        ("x86", 0x10002, {0, 1, 2, 3, 6, 7}),
        ("x86", 0x10000, set()),
        ("amd64", 0x100001, {7, 16}),
        ("amd64", 0x100002, set(range(16)) - {7}),
        ("arm64", 0x400001, {29, 30, 31, 32}),
        ("arm64_old", 0x80000002, set(range(33))),
        ("arm64_old", 0x80000004, set()),
    ],
)
def test_only_what_the_flags_vouch_for(cpu: str, flags: int, known: set[int]) -> None:
    context = parse_context(r.context(cpu, {"flags": flags}), number(cpu))
    assert {i for i, value in enumerate(context.registers) if value is not None} == known


def test_floating_point_state() -> None:
    state = bytes(i & 0xFF for i in range(512))
    data = bytearray(r.context("amd64", {}))
    data[256:768] = state
    assert parse_context(data, names.AMD64).floating == state
    data[0x30:0x34] = (0x100003).to_bytes(4, "little")
    assert parse_context(data, names.AMD64).floating is None
    data = bytearray(r.context("x86", {"extended": state}))
    assert parse_context(data, names.X86).floating == state
    # Writers of old left the extended registers out.
    short = parse_context(data[:204], names.X86)
    assert short.floating is None
    assert None not in short.registers


def test_what_follows_a_context_does_not_matter() -> None:
    """With XSTATE, CONTEXT_EX and the extended state lie behind it."""
    data = r.context("amd64", {"rip": 5, "flags": 0x10005F})
    assert parse_context(data + bytes(431), names.AMD64).registers[16] == 5


@pytest.mark.parametrize(("cpu", "arch", "table"), CPUS, ids=[cpu for cpu, _, _ in CPUS])
def test_a_dump_without_system_info(cpu: str, arch: Arch, table: ContextTable) -> None:
    data = r.context(cpu, {arch.register_names[arch.pc]: 0x401000})
    context = parse_context(data, None)
    assert context.table is table
    assert context.registers[arch.pc] == 0x401000


@pytest.mark.parametrize(
    ("data", "processor", "what"),
    [
        (b"", names.AMD64, "cut short: 0 bytes"),
        (bytes(71), None, "cut short: 71 bytes"),
        (bytes(255), names.AMD64, "cut short"),
        (bytes(1232), names.AMD64, "flags 0x0 are not of this processor"),
        (r.context("x86", {}), names.AMD64, "not of this processor"),
        (r.context("amd64", {}), names.X86, "not of this processor"),
        (bytes(1232), 6, "processor architecture 6"),
        (bytes(1232), None, "not of this processor"),
    ],
    ids=lambda value: str(len(value)) if isinstance(value, bytes) else None,
)
def test_contexts_that_are_none(data: bytes, processor: int | None, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        parse_context(data, processor)


@given(st.binary(max_size=1400), st.sampled_from([None, *r.ARCHITECTURES.values(), 10, 77]))
def test_any_bytes(data: bytes, processor: int | None) -> None:
    try:
        context = parse_context(data, processor)
    except FormatError:
        return
    assert len(context.registers) == context.table.register_count


@given(st.sampled_from(list(r.CONTEXTS)), st.integers(0, 1300), st.binary(max_size=8))
def test_contexts_that_are_cut_and_overwritten(cpu: str, size: int, change: bytes) -> None:
    whole = r.context(cpu, {})
    data = (whole[: size // 2] + change + whole[size // 2 :])[:size]
    try:
        context = parse_context(data, number(cpu))
    except FormatError:
        return
    assert context.table in TABLES
