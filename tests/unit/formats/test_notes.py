"""The notes of cores, from builders with layouts of their own."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.core import AT_ENTRY, AT_PAGESZ, REGISTERS, Core, prstatus
from unspool.arch import by_machine
from unspool.arch.base import Arch
from unspool.formats import notes

MACHINES = {"x86_64": (62, 2), "i386": (3, 1), "aarch64": (183, 2)}
# The builder's names that an unwinder has DWARF numbers for.
SKIPPED = {
    "orig_rax", "orig_eax", "cs", "eflags", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
    "pstate",
}  # fmt: skip


def arch_of(name: str) -> Arch:
    arch = by_machine(*MACHINES[name])
    assert arch is not None
    return arch


def desc(core: Core) -> bytes:
    return core.notes[-1][2]


@pytest.mark.parametrize("name", MACHINES)
def test_prstatus(name: str) -> None:
    arch = arch_of(name)
    values = {register: 0x1000 + i for i, register in enumerate(REGISTERS[name])}
    found = notes.parse_prstatus(arch, prstatus(name, 4711, values, signal=6))
    assert found is not None
    assert (found.tid, found.cursig) == (4711, 6)
    assert found.registers is not None
    for register, value in values.items():
        if register not in SKIPPED:
            assert found.registers[arch.register_names.index(register)] == value


@pytest.mark.parametrize("name", MACHINES)
def test_a_cut_prstatus_keeps_its_id_as_long_as_it_can(name: str) -> None:
    arch = arch_of(name)
    whole = prstatus(name, 77, {}, signal=5)
    end = arch.prstatus.registers_offset + len(REGISTERS[name]) * arch.pointer_size
    for length in range(len(whole) + 1):
        found = notes.parse_prstatus(arch, whole[:length])
        if length < arch.prstatus.tid_offset + 4:
            assert found is None
        else:
            assert found is not None
            assert found.tid == 77
            assert (found.registers is not None) == (length >= end)


@pytest.mark.parametrize("name", MACHINES)
def test_prpsinfo(name: str) -> None:
    core = Core(name)
    core.process(4711, "a-rather-long-name", "prog --flag ")
    assert notes.parse_prpsinfo(arch_of(name), desc(core)) == (
        4711,
        "a-rather-long-na",
        "prog --flag",
    )
    for length in range(len(desc(core))):
        found = notes.parse_prpsinfo(arch_of(name), desc(core)[:length])
        assert found is None or found[0] == 4711


@pytest.mark.parametrize("name", MACHINES)
def test_siginfo(name: str) -> None:
    core = Core(name)
    core.signal_info(11, 1, 0xDEAD_BEE8)
    assert notes.parse_siginfo(arch_of(name), desc(core)) == (11, 1, 0xDEAD_BEE8)
    assert notes.parse_siginfo(arch_of(name), desc(core)[:12]) == (11, 1, None)
    assert notes.parse_siginfo(arch_of(name), desc(core)[:11]) is None
    core.signal_info(6, -6)
    found = notes.parse_siginfo(arch_of(name), desc(core))
    assert found is not None
    assert found[:2] == (6, -6)


@pytest.mark.parametrize("name", MACHINES)
def test_auxv(name: str) -> None:
    core = Core(name)
    core.auxv([(AT_PAGESZ, 4096), (AT_ENTRY, 0x401000), (AT_ENTRY, 5)])
    raw = desc(core)
    arch = arch_of(name)
    assert notes.parse_auxv(arch, raw) == {AT_PAGESZ: 4096, AT_ENTRY: 0x401000}
    assert notes.parse_auxv(arch, raw[:-1]) == {AT_PAGESZ: 4096, AT_ENTRY: 0x401000}
    assert notes.parse_auxv(arch, raw[: 3 * arch.pointer_size]) == {AT_PAGESZ: 4096}
    assert notes.parse_auxv(arch, b"") == {}


@pytest.mark.parametrize("name", MACHINES)
def test_files(name: str) -> None:
    core = Core(name)
    core.files(
        [(0x400000, 0x402000, 0x3000, "/bin/prog"), (0x500000, 0x501000, 0, "/lib/ü \udcff.so")]
    )
    found = notes.parse_file_note(arch_of(name), desc(core))
    assert [(f.start, f.end, f.offset, f.path) for f in found] == [
        (0x400000, 0x402000, 0x3000, "/bin/prog"),
        (0x500000, 0x501000, 0, "/lib/ü \udcff.so"),
    ]


def test_offsets_count_pages_of_the_size_that_the_note_says() -> None:
    core = Core("aarch64")
    core.files([(0x10000, 0x20000, 0x30000, "/bin/prog")], page=0x10000)
    assert notes.parse_file_note(arch_of("aarch64"), desc(core))[0].offset == 0x30000


@pytest.mark.parametrize("count", [0, 1, 3, 1000, (1 << 32) - 1])
@pytest.mark.parametrize("name", MACHINES)
def test_a_lying_count_of_files(name: str, count: int) -> None:
    core = Core(name)
    core.files([(0x1000, 0x2000, 0, "/a"), (0x3000, 0x4000, 0, "/b")], count=count)
    found = notes.parse_file_note(arch_of(name), desc(core))
    assert len(found) <= 4


def test_empty_and_inverted_mappings_are_dropped() -> None:
    core = Core("x86_64")
    core.files([(0x2000, 0x1000, 0, "/a"), (0x3000, 0x3000, 0, "/b"), (0x3000, 0x4000, 0, "/c")])
    assert [f.path for f in notes.parse_file_note(arch_of("x86_64"), desc(core))] == ["/c"]


def test_a_million_claimed_files_in_a_small_note() -> None:
    raw = struct.pack("<QQ", 1 << 62, (1 << 64) - 1) + bytes(24) * 100
    assert notes.parse_file_note(arch_of("x86_64"), raw) == []


@pytest.mark.parametrize("name", MACHINES)
@given(raw=st.binary(max_size=500))
def test_any_bytes_are_parsed_without_an_exception(name: str, raw: bytes) -> None:
    arch = arch_of(name)
    for parse in (notes.parse_prstatus, notes.parse_prpsinfo, notes.parse_siginfo):
        parse(arch, raw)
    assert all(kind >= 0 for kind in notes.parse_auxv(arch, raw))
    for mapping in notes.parse_file_note(arch, raw):
        assert mapping.start < mapping.end


SPECIAL = {
    "x86_64": ("orig_rax", "cs", "eflags", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs"),
    "i386": ("ds", "es", "fs", "gs", "orig_eax", "cs", "eflags", "ss"),
    "aarch64": ("pstate",),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_prstatus_keeps_segments_and_flags(name: str) -> None:
    values = {register: 0x1000 + i for i, register in enumerate(REGISTERS[name])}
    found = notes.parse_prstatus(arch_of(name), prstatus(name, 1, values))
    assert found is not None
    assert found.special == {register: values[register] for register in SPECIAL[name]}


def test_segment_bases_of_i386_threads() -> None:
    """NT_386_TLS: entry number, base, limit, flags; a selector's upper bits are the number."""
    note = struct.pack("<12I", 12, 0xF7D0_0000, 0xFFFFF, 0, 13, 0x3FFE_2000, 0, 0, 14, 0, 0, 0)
    assert notes.parse_386_tls(note, 0x6B) == 0x3FFE_2000
    assert notes.parse_386_tls(note, 0x63) == 0xF7D0_0000
    assert notes.parse_386_tls(note, 0x6F) is None, "of the local descriptor table"
    assert notes.parse_386_tls(note[:30], 0x6B) is None, "cut off"
    assert notes.parse_386_tls(b"", 0x6B) is None
