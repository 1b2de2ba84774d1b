"""The tables themselves: every field is explained, and what they name is there."""

from __future__ import annotations

import re

import pytest

from tests.build import minidump_records as built
from unspool.formats.minidump import (
    contexts,
    extensions,
    names,
    process_structures,
    streams,
    structures,
)
from unspool.formats.minidump.layout import Layout

MODULES = (structures, process_structures, extensions, contexts)
LAYOUTS = {
    layout.name: layout
    for module in MODULES
    for layout in vars(module).values()
    if isinstance(layout, Layout)
}
# What RVAs and locations lead to that is no structure of a table.
OTHER = {"memory", "stream", "CONTEXT", "CodeView", "CPU_INFORMATION", "IMAGE_DEBUG_MISC"}
PLAIN = {
    "", "dec", "hex", "count", "size", "version", "raw", "chars", "text", "guid", "reserved",
    "address", "rva", "time", "filetime", "ticks", "seconds", "minutes", "mhz",
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_field_is_explained(name: str) -> None:
    layout = LAYOUTS[name]
    assert layout.meaning
    seen = set()
    for field in layout.fields:
        assert field.name not in seen
        seen.add(field.name)
        assert 1 < len(field.meaning) <= 60 or field.meaning.isdigit(), field.name
        kind, _, what = field.show.partition(":")
        if kind in ("enum", "flags"):
            known = {"MINIDUMP_STREAM_TYPE", "EXCEPTION_CODE"} if kind == "enum" else set()
            assert what in known | (names.ENUMS if kind == "enum" else names.FLAGS).keys()
        elif kind == "to" or what:
            assert kind in ("to", "rva")
            assert what in LAYOUTS or what in OTHER
        else:
            assert field.show in PLAIN, field.show
        assert bool(field.show) or field.layout is not None


# From the headers: sizeof of each, packed to 4 bytes.
SIZES = {
    "MINIDUMP_HEADER": 32, "MINIDUMP_DIRECTORY": 12, "MINIDUMP_THREAD": 48,
    "MINIDUMP_THREAD_EX": 64, "MINIDUMP_MODULE": 108, "MINIDUMP_MEMORY_DESCRIPTOR": 16,
    "MINIDUMP_EXCEPTION_STREAM": 168, "MINIDUMP_SYSTEM_INFO": 56, "MINIDUMP_MEMORY_INFO": 48,
    "MINIDUMP_THREAD_INFO": 64, "MINIDUMP_THREAD_NAME": 12, "MINIDUMP_UNLOADED_MODULE": 24,
    "MINIDUMP_MISC_INFO_5": 1364, "MINIDUMP_HANDLE_DESCRIPTOR_2": 40, "VS_FIXEDFILEINFO": 52,
    "MINIDUMP_SYSTEM_MEMORY_INFO_2": 524, "MINIDUMP_PROCESS_VM_COUNTERS_1": 80,
    "MINIDUMP_PROCESS_VM_COUNTERS_2": 152, "AVRF_HANDLE_OPERATION": 288,
    "MINIDUMP_FUNCTION_TABLE_STREAM": 24, "MINIDUMP_FUNCTION_TABLE_DESCRIPTOR": 32,
    "MDRawAssertionInfo": 776, "MinidumpCrashpadInfo": 64, "MDRawDebug64": 40,
    "MDRawLinkMap64": 24, "DSO_DEBUG_64": 36, "LINK_MAP_64": 20, "CONTEXT (x86)": 716,
    "CONTEXT (AMD64)": 1232, "CONTEXT (ARM64)": 912, "MDRawContextARM64_Old": 796,
    "CONTEXT (ARM)": 368, "XMM_SAVE_AREA32": 512,
    "TIME_ZONE_INFORMATION": 172,
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_those_of_the_headers(name: str) -> None:
    layout = LAYOUTS.get(name) or process_structures.MISC_INFO.field("TimeZone").layout
    if layout is None or name == "XMM_SAVE_AREA32":
        layout = contexts.AMD64.field("FltSave").layout
    assert layout is not None
    assert layout.size == SIZES[name]


def test_versions_of_misc_info_end_where_the_next_begins() -> None:
    starts = {"ProcessorMaxMhz": 24, "ProcessIntegrityLevel": 44, "BuildString": 232,
              "XStateData": 832}  # fmt: skip
    for name, offset in starts.items():
        assert process_structures.MISC_INFO.field(name).offset == offset


def test_the_older_memory_info_ends_within_the_newer() -> None:
    field = process_structures.SYSTEM_MEMORY_INFO.field("PerfInfo")
    assert field.layout is not None
    assert field.offset + field.layout.field("MdlPagesAllocated").offset == 492


def flat(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


PAIRS = [
    (built.HEADER, structures.HEADER), (built.DIRECTORY, structures.DIRECTORY),
    (built.SYSTEM, structures.SYSTEM_INFO), (built.THREAD, structures.THREAD),
    (built.THREAD_EX, structures.THREAD_EX), (built.MODULE, structures.MODULE),
    (built.MEMORY_INFO, structures.MEMORY_INFO), (built.THREAD_INFO, structures.THREAD_INFO),
    (built.UNLOADED_MODULE, structures.UNLOADED_MODULE),
    (built.EXCEPTION_STREAM, structures.EXCEPTION_STREAM),
    (built.BREAKPAD, extensions.BREAKPAD_INFO), (built.CRASHPAD, extensions.CRASHPAD_INFO),
    (built.DSO_DEBUG64, extensions.DSO_DEBUG64), (built.DSO_DEBUG32, extensions.DSO_DEBUG32),
    (built.LINK_MAP64, extensions.LINK_MAP64), (built.LINK_MAP32, extensions.LINK_MAP32),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "table"), [(b, t) for b, t in PAIRS], ids=lambda v: "")
def test_structures_are_as_the_builder_knows_them(ours: built.Structure, table: Layout) -> None:
    """Each number of the builder's, whose tables were written apart, is found in its field."""
    assert ours.size == table.size
    for name in ours.names:
        try:
            data = ours.pack(**{name: 0x5A})
        except Exception:
            continue  # bytes
        at = data.index(0x5A)
        (field,) = [f for f in table.fields if f.offset <= at < f.offset + f.size]
        if field.layout is None and field.code != "bytes":
            assert field.offset == at
            assert flat(name) == flat(field.name) or "padding" in name or "align" in name.lower()


def test_streams_have_names_and_structures() -> None:
    assert len({kind.name for kind in streams.STREAMS.values()}) == len(streams.STREAMS)
    for kind in streams.STREAMS.values():
        assert kind.meaning
        if kind.shape in ("list", "sized list", "memory64", "tokens", "function table"):
            assert kind.header is not None
            assert kind.entry is not None
            assert kind.header.field(kind.count).show == "count"
        if kind.shape == "sized list":
            assert kind.header is not None
            assert [field.show for field in kind.header.fields[:2]] == ["size", "size"]
        if kind.shape == "struct":
            assert kind.header is not None
    assert streams.stream_type(streams.THREAD_NAMES).name == "ThreadNamesStream"
    assert streams.stream_type(0x12345).name == "0x12345"
    assert streams.stream_type(0x12345).shape == "bytes"


@pytest.mark.parametrize(
    ("name", "number"),
    [
        (name, number)
        for name, number in vars(built).items()
        if isinstance(number, int) and hasattr(streams, name)
    ],
)
def test_numbers_of_streams_are_the_builders(name: str, number: int) -> None:
    assert getattr(streams, name) == number


def test_structures_that_change_with_their_version() -> None:
    counters = streams.PROCESS_VM_COUNTERS
    one = streams.structure_of(counters, b"??\1\0", 2)
    assert one is process_structures.VM_COUNTERS_1
    assert streams.structure_of(counters, b"\2\0", 0) is process_structures.VM_COUNTERS_2
    assert streams.structure_of(counters, b"", 0) is process_structures.VM_COUNTERS_2
    assert streams.structure_of(streams.LINUX_MAPS, b"", 0) is None


def test_the_form_of_the_processors_features() -> None:
    layout = streams.cpu_layout
    assert layout(names.X86, bytes(24)) is structures.CPU_X86
    assert layout(names.AMD64, bytes(24)) is structures.CPU_OTHER
    assert layout(names.AMD64, b"GenuineIntel" + bytes(12)) is structures.CPU_X86
    assert layout(names.AMD64, bytes(16) + b"\1" + bytes(7)) is structures.CPU_X86
    assert layout(names.AMD64, b"\1" + bytes(23)) is structures.CPU_OTHER
    assert layout(None, bytes(24)) is structures.CPU_OTHER
    assert layout(names.ARM64_OLD, b"GenuineIntel" + bytes(12)) is structures.CPU_ARM
    assert {each.size for each in (structures.CPU_ARM, structures.CPU_OTHER)} == {24}


def test_names_of_bits_and_of_exceptions() -> None:
    assert names.flag_names("PAGE", 0x104) == ["READWRITE", "GUARD"]
    assert names.flag_names("PAGE", 0x80000800) == ["0x80000800"]
    assert names.flag_names("PAGE", 0) == []
    assert names.exception_name(11, "linux") == "SIGSEGV"
    assert names.exception_name(11, "windows") is None
    assert names.exception_name(0xC0000005, "windows") == "STATUS_ACCESS_VIOLATION"
    assert names.exception_name(0xC0000005, None) == "STATUS_ACCESS_VIOLATION"
    assert names.exception_name(1, "macos") is None
    assert names.signal_code_name(11, 1) == "SEGV_MAPERR"
    assert names.signal_code_name(11, 0) is None
    assert names.signal_code_name(2, 1) is None


@pytest.mark.parametrize("table", names.FLAGS)
def test_every_flag_is_one_bit(table: str) -> None:
    for bit in names.FLAGS[table]:
        assert bit.bit_count() == 1
