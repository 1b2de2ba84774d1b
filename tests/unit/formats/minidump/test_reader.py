"""A minidump's streams as records: honest dumps first, then the ways in which writers differ."""

from __future__ import annotations

import struct

import pytest

from tests.build import minidump_records as r
from tests.build.minidump import List, Minidump
from unspool.errors import FormatError
from unspool.formats.minidump import reader, streams
from unspool.formats.minidump.contexts import parse_context
from unspool.formats.minidump.records import (
    CodeViewRecord,
    LinkMap,
    MemoryInfo,
    ModuleRecord,
    Range,
)

STACK = (0x7FFD_0000, b"s" * 64)


def read(dump: Minidump, length: int | None = None) -> reader.Minidump:
    return reader.Minidump(dump.build(length))


def whole(dump: Minidump) -> reader.Minidump:
    """A dump that nothing is wrong with."""
    found = read(dump)
    assert found.read_all() == []
    return found


def told(found: reader.Minidump) -> str:
    return "\n".join(str(each) for each in found.read_all())


def bytes_of(found: reader.Minidump, each: Range) -> bytes:
    return bytes(found.file.buffer[each.rva : each.rva + each.size])


# --- the file -----------------------------------------------------------------------------


def test_header_and_directory() -> None:
    dump = Minidump(Flags=0x40000)
    dump.stream(streams.LINUX_MAPS, b"text")
    found = whole(dump)
    assert found.header["TimeDateStamp"] == 0x6553F100
    assert found.header["Flags"] == 0x40000
    assert [each.name for each in found.streams] == [
        "SystemInfoStream", "LinuxMaps", "MemoryListStream",
    ]  # fmt: skip
    stream = found.stream(streams.LINUX_MAPS)
    assert stream is not None
    assert (stream.index, stream.rva, stream.size) == (1, *dump.places[streams.LINUX_MAPS])
    assert found.text(streams.LINUX_MAPS) == b"text"
    assert found.text(streams.LINUX_AUXV) is None
    assert found.stream(streams.LINUX_AUXV) is None


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "no minidump signature"),
        (b"\x7fELF" + bytes(60), "no minidump signature"),
        (b"MDMP" + bytes(27), "cut short"),
        (b"PMDM" + bytes(60), "big-endian"),
    ],
)
def test_files_that_are_no_minidumps(data: bytes, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        reader.Minidump(data)


def test_only_the_tag_is_looked_at_to_know_one() -> None:
    assert reader.is_minidump(Minidump().build())
    assert not reader.is_minidump(b"MDM")
    assert not reader.is_minidump(b"PMDM")


def test_the_writers_half_of_the_version_does_not_matter() -> None:
    whole(Minidump(Version=0xA0F1A793))
    assert "version 0xa794" in told(read(Minidump(Version=0xA794)))


def test_unused_entries_are_listed_and_not_read() -> None:
    dump = Minidump()
    dump.extra_entries = [(0, 0, 0), (0, 1 << 31, 1 << 31), (0, 0, 0)]
    found = whole(dump)
    assert [each.name for each in found.streams[-3:]] == ["UnusedStream"] * 3


def test_the_first_of_two_streams_counts() -> None:
    dump = Minidump()
    dump.stream(streams.LINUX_MAPS, b"one")
    dump.stream(streams.LINUX_MAPS, b"two")
    found = read(dump)
    assert found.text(streams.LINUX_MAPS) == b"one"
    assert told(found) == "LinuxMaps: is there more than once; the first one is used"


def test_streams_that_share_bytes() -> None:
    dump = Minidump()
    dump.stream(streams.LINUX_MAPS, b"12345678")
    dump.build()
    dump.extra_entries = [(streams.LINUX_AUXV, 4, dump.places[streams.LINUX_MAPS][0] + 12 + 2)]
    assert "LinuxAuxv: shares bytes with LinuxMaps" in told(read(dump))


def test_a_directory_that_claims_too_much() -> None:
    dump = Minidump(NumberOfStreams=0xFFFFFFFF)
    found = read(dump)
    assert found.system() is not None
    assert "directory: claims 4294967295 streams" in told(found)
    assert read(Minidump(StreamDirectoryRva=0xFFFFFFF0)).streams == []


# --- system, exception, misc --------------------------------------------------------------


@pytest.mark.parametrize(
    ("cpu", "arch"),
    [("x86", "x86"), ("amd64", "x86_64"), ("arm64", "aarch64"), ("arm64_old", "aarch64"),
     ("arm", "arm")],
)  # fmt: skip
@pytest.mark.parametrize("system", ["linux", "windows", "macos"])
def test_system(cpu: str, arch: str, system: str) -> None:
    dump = Minidump(cpu, None)
    dump.system(system, "Linux 6.1", Cpu=b"GenuineIntel", ProcessorRevision=7)
    found = whole(dump).system()
    assert found is not None
    assert (found.arch_name, found.os, found.csd) == (arch, system, "Linux 6.1")
    assert (found.cpu_count, found.processor_revision) == (4, 7)
    assert found.cpu.startswith(b"GenuineIntel")
    assert found.version[0] in (6, 10)


def test_systems_that_nobody_knows() -> None:
    dump = Minidump("amd64", None)
    dump.system("linux", ProcessorArchitecture=99, PlatformId=99)
    found = whole(dump).system()
    assert found is not None
    assert (found.arch_name, found.os) == (None, None)
    assert read(Minidump("amd64", None)).system() is None


@pytest.mark.parametrize("size", [1, 23, 24, 55, 56])
def test_a_cut_system_info(size: int) -> None:
    """Processor and platform lie in its first 24 bytes; the features at its end do not matter."""
    dump = Minidump()
    dump.entries[streams.SYSTEM_INFO] = {"DataSize": size}
    found = read(dump)
    system = found.system()
    assert (system is not None) == (size >= 24)
    assert system is None or (system.os, system.arch_name) == ("linux", "x86_64")
    assert told(found) == ("" if size == 56 else "SystemInfoStream: is cut short")


def test_exception() -> None:
    dump = Minidump("amd64", "windows")
    dump.exception(
        77, 0xC0000005, 0x401000, (1, 0x45), registers={"rip": 0x401000}, ExceptionFlags=1,
        ExceptionRecord=0x5000,
    )  # fmt: skip
    found = whole(dump)
    exception = found.exception()
    assert exception is not None
    assert (exception.tid, exception.code, exception.flags) == (77, 0xC0000005, 1)
    assert (exception.address, exception.parameters) == (0x401000, (1, 0x45))
    assert exception.record == 0x5000
    assert exception.context is not None
    rva, size = exception.context
    assert parse_context(found.file.buffer[rva : rva + size], 9).registers[16] == 0x401000
    assert whole(Minidump()).exception() is None


def test_exceptions_that_are_broken() -> None:
    dump = Minidump()
    dump.exception(7, 11, NumberParameters=16, Context_Rva=1 << 31, Context_DataSize=1232)
    found = read(dump)
    exception = found.exception()
    assert exception is not None
    assert len(exception.parameters) == 15
    assert exception.context is None
    assert "claims 16 parameters" in told(found)
    dump.entries[streams.EXCEPTION] = {"DataSize": 159}
    found = read(dump)
    assert found.exception() is None
    assert "ExceptionStream: is cut short" in told(found)
    # All but where the context is.
    dump.entries[streams.EXCEPTION] = {"DataSize": 160}
    exception = read(dump).exception()
    assert exception is not None
    assert exception.context is None


def test_misc_info() -> None:
    dump = Minidump()
    dump.misc(4711, 1_600_000_000, ProcessUserTime=5, ProcessKernelTime=6)
    found = whole(dump).misc()
    assert found is not None
    assert (found.pid, found.create_time, found.user_time, found.kernel_time) == (
        4711, 1_600_000_000, 5, 6,
    )  # fmt: skip
    assert found.build_string is None
    assert "ProcessorMaxMhz" not in found.values
    assert whole(Minidump()).misc() is None


def test_misc_info_with_all_there_is() -> None:
    build = "22621.1.amd64fre".encode("utf-16-le")
    dump = Minidump()
    dump.misc(1, size=1364, more=bytes(232 - 24) + build, Flags1=0x110)
    found = whole(dump).misc()
    assert found is not None
    assert found.pid is None
    assert found.integrity_level == 0
    assert found.build_string == "22621.1.amd64fre"
    assert found.debug_build_string == ""
    assert len(found.values["XStateData"]["Features"]) == 64


def test_misc_info_that_says_another_size() -> None:
    dump = Minidump()
    dump.misc(1, size=44, SizeOfInfo=24)
    assert "ProcessorMaxMhz" not in (whole(dump).misc() or pytest.fail()).values
    dump = Minidump()
    dump.misc(1, size=24, SizeOfInfo=1364)
    found = read(dump)
    assert (found.misc() or pytest.fail()).pid == 1
    assert "MiscInfoStream: claims 1364 bytes" in told(found)


# --- threads ------------------------------------------------------------------------------


@pytest.mark.parametrize("extended", [False, True])
def test_threads(extended: bool) -> None:
    dump = Minidump(thread_ex=extended)
    dump.thread(5, {"rip": 0x401000}, STACK, name="main", Teb=0x7000, SuspendCount=2, Priority=9)
    dump.thread(6)
    found = whole(dump)
    first, second = found.threads()
    assert (first.tid, first.teb, first.suspend_count, first.priority) == (5, 0x7000, 2, 9)
    assert first.priority_class == 32
    assert first.stack is not None
    assert (first.stack.start, bytes_of(found, first.stack)) == STACK
    assert first.context is not None
    rva, size = first.context
    assert parse_context(found.file.buffer[rva : rva + size], 9).registers[16] == 0x401000
    assert (second.tid, second.stack, second.context) == (6, None, None)
    assert found.thread_names() == {5: "main"}


def test_the_first_name_of_a_thread_counts() -> None:
    dump = Minidump()
    dump.thread_name(5, r.string("one"))
    dump.thread_name(5, r.string("two"))
    dump.thread_name(6, r.string(""))
    dump.thread_name(7, b"", RvaOfThreadName=1 << 40)
    found = read(dump)
    assert found.thread_names() == {5: "one"}
    assert "name of thread 7" in told(found)


@pytest.mark.parametrize("memory", ["list", "64"])
def test_a_stack_without_a_place_is_found_in_the_memory(memory: str) -> None:
    """Full dumps of Windows leave the RVA out: all memory is in the other list."""
    dump = Minidump(memory=memory)
    dump.memory(0x1000, bytes(range(100)))
    dump.thread(5, Stack_Start=0x1010, Stack_DataSize=50)
    dump.thread(6, Stack_Start=0x1010, Stack_DataSize=500)
    dump.thread(7, Stack_Start=0x9000, Stack_DataSize=50)
    dump.thread(8, Stack_Start=0x1010)
    found = whole(dump)
    stacks = [each.stack for each in found.threads()]
    assert stacks[0] is not None
    assert bytes_of(found, stacks[0]) == bytes(range(16, 66))
    assert stacks[1] is not None
    assert (stacks[1].start, stacks[1].size) == (0x1010, 84)
    assert stacks[2:] == [None, None]
    assert [each.stack_start for each in found.threads()] == [0x1010, 0x1010, 0x9000, 0x1010]


def test_stacks_and_contexts_beyond_the_end() -> None:
    dump = Minidump()
    dump.thread(5, {}, STACK, Stack_DataSize=1 << 30)
    dump.thread(6, {}, Context_DataSize=1 << 30)
    dump.thread(7, {}, STACK, Stack_Rva=0xFFFFFFF0, Context_Rva=0xFFFFFFF0)
    found = read(dump)
    first, second, third = found.threads()
    size = len(found.file.buffer)
    assert first.stack is not None
    assert first.stack.rva + first.stack.size == size
    assert second.context is not None
    assert sum(second.context) == size
    assert (third.stack, third.context) == (None, None)
    assert {each.where for each in found.problems} == {"thread 5", "thread 6", "thread 7"}


def test_thread_infos() -> None:
    record = r.THREAD_INFO.pack(ThreadId=5, CreateTime=9, StartAddress=0x401000, UserTime=3)
    dump = Minidump()
    dump.stream(streams.THREAD_INFO_LIST, struct.pack("<III", 12, 64, 1) + record)
    (info,) = whole(dump).thread_infos()
    assert (info.tid, info.create_time, info.start_address, info.user_time) == (5, 9, 0x401000, 3)


# --- lists --------------------------------------------------------------------------------

PLAIN = (streams.THREAD_LIST, streams.MODULE_LIST, streams.MEMORY_LIST, streams.THREAD_NAMES)
SIZED = (streams.UNLOADED_MODULE_LIST, streams.MEMORY_INFO_LIST)


def full() -> Minidump:
    dump = Minidump()
    dump.thread(5, {}, STACK, name="main")
    dump.thread(6, {}, name="other")
    dump.module(0x400000, 0x2000, "/bin/prog")
    dump.module(0x500000, 0x2000, "/lib/libc.so.6")
    dump.memory(0x1000, b"memory")
    dump.unloaded_module(0x600000, 0x1000, "gone.dll")
    dump.unloaded_module(0x700000, 0x1000, "gone too.dll")
    dump.region(0x1000, 0x1000)
    dump.region(0x2000, 0x1000)
    return dump


def listed(found: reader.Minidump) -> dict[int, list[object]]:
    return {
        streams.THREAD_LIST: [each.tid for each in found.threads()],
        streams.MODULE_LIST: [each.name for each in found.modules()],
        streams.MEMORY_LIST: [each.start for each in found.listed_memory()],
        streams.THREAD_NAMES: list(found.thread_names().values()),
        streams.UNLOADED_MODULE_LIST: [each.name for each in found.unloaded_modules()],
        streams.MEMORY_INFO_LIST: [each.base for each in found.memory_info()],
    }


HONEST = listed(whole(full()))


def test_every_list_has_two_entries() -> None:
    assert {len(entries) for entries in HONEST.values()} == {2}


@pytest.mark.parametrize("kind", PLAIN)
def test_lists_with_padding_behind_their_count(kind: int) -> None:
    dump = full()
    dump.lists[kind] = List(padding=4)
    assert listed(whole(dump)) == HONEST


@pytest.mark.parametrize("kind", SIZED)
def test_lists_that_say_how_large_their_entries_are(kind: int) -> None:
    dump = full()
    size = {streams.UNLOADED_MODULE_LIST: 12, streams.MEMORY_INFO_LIST: 16}[kind]
    dump.lists[kind] = List(header_size=size + 8, padding=8)
    assert listed(whole(dump)) == HONEST


def test_entries_that_are_larger_or_smaller_than_known() -> None:
    record = r.UNLOADED_MODULE.pack(BaseOfImage=0x1000, SizeOfImage=7, TimeDateStamp=9)
    for size, timestamp in ((24, 9), (40, 9), (16, 0), (20, 9)):
        records = [record.ljust(40, b"?")[:size]] * 3
        dump = Minidump()
        data = struct.pack("<III", 12, size, 3) + b"".join(records)
        dump.stream(streams.UNLOADED_MODULE_LIST, data)
        assert whole(dump).unloaded_modules() == [ModuleRecord(0x1000, 7, 0, timestamp, "")] * 3


@pytest.mark.parametrize("kind", PLAIN + SIZED)
@pytest.mark.parametrize("count", [3, 1 << 31, 0xFFFFFFFF])
def test_counts_that_are_too_large(kind: int, count: int) -> None:
    dump = full()
    dump.lists[kind] = List(count=count)
    found = read(dump)
    assert listed(found) == HONEST
    assert f"{streams.STREAMS[kind].name}: claims {count} entries, holds 2" in told(found)


@pytest.mark.parametrize("kind", SIZED)
@pytest.mark.parametrize(("head", "entry"), [(0, None), (3, None), (None, 0), (None, 3)])
def test_sizes_that_cannot_be(kind: int, head: int | None, entry: int | None) -> None:
    dump = full()
    dump.lists[kind] = List(header_size=head, entry_size=entry)
    found = read(dump)
    assert listed(found) == HONEST
    assert "too small" in told(found)


@pytest.mark.parametrize("kind", PLAIN + SIZED)
def test_streams_that_are_cut(kind: int) -> None:
    dump = full()
    dump.build()
    size = dump.places[kind][1]
    dump.entries[kind] = {"DataSize": size - 1}
    found = read(dump)
    assert listed(found)[kind] == HONEST[kind][:1]
    assert "claims 2 entries, holds 1" in told(found)
    dump.entries[kind] = {"DataSize": 3}
    found = read(dump)
    assert listed(found)[kind] == []
    assert "data ends" in told(found)


def test_lists_of_64_bit_ranges() -> None:
    dump = Minidump(memory="64")
    dump.memory(0x1000, b"one")
    dump.memory(0x5000, b"second")
    found = whole(dump)
    assert [bytes_of(found, each) for each in found.memory()] == [b"one", b"second"]
    for count in (3, 1 << 63):
        dump.lists[streams.MEMORY64_LIST] = List(count=count)
        found = read(dump)
        assert len(found.memory()) == 2
        assert f"claims {count} entries, holds 2" in told(found)
    dump.lists[streams.MEMORY64_LIST] = List(base=1 << 63)
    assert read(dump).memory() == []


# --- modules ------------------------------------------------------------------------------


def test_modules() -> None:
    version = struct.pack("<IIHHHH", 0xFEEF04BD, 0x10000, 2, 1, 4, 3)
    dump = Minidump("amd64", "windows")
    dump.module(0x140000000, 0x2000, "C:\\a b\\ä.exe", version=version, TimeDateStamp=7, CheckSum=8)
    dump.module(1 << 63, 0xFFFFFFFF, "")
    assert whole(dump).modules() == [
        ModuleRecord(0x140000000, 0x2000, 8, 7, "C:\\a b\\ä.exe", (1, 2, 3, 4)),
        ModuleRecord(1 << 63, 0xFFFFFFFF, 0, 0, ""),
    ]


GUID = bytes(range(16))
CODEVIEW = [
    (r.build_id(b"\1" * 20), CodeViewRecord("elf", build_id=b"\1" * 20)),
    (b"LEpB", CodeViewRecord("elf", build_id=b"")),
    (b"LEpB" + b"\2" * 99, CodeViewRecord("elf", build_id=b"\2" * 64)),
    (
        b"RSDS" + GUID + b"\3\0\0\0" + b"a.pdb\0rest",
        CodeViewRecord("pdb70", guid=GUID, age=3, name="a.pdb"),
    ),
    (
        b"RSDS" + GUID + b"\3\0\0\0" + b"no end",
        CodeViewRecord("pdb70", guid=GUID, age=3, name="no end"),
    ),
    (
        b"NB10" + struct.pack("<III", 0, 77, 4) + b"b.pdb\0",
        CodeViewRecord("pdb20", timestamp=77, age=4, name="b.pdb"),
    ),
    (b"NB11....", CodeViewRecord("unknown")),
    (b"abc", None),
    (b"", None),
]


@pytest.mark.parametrize(("data", "wanted"), CODEVIEW)
def test_codeview(data: bytes, wanted: CodeViewRecord | None) -> None:
    dump = Minidump()
    dump.module(0x1000, 0x1000, "a", codeview=data)
    (module,) = whole(dump).modules()
    assert module.codeview == wanted
    if wanted is not None and wanted.kind == "pdb70":
        assert wanted.debug_id == "03020100-0504-0706-0809-0a0b0c0d0e0f-3"
    elif wanted is not None:
        assert wanted.debug_id is None


@pytest.mark.parametrize("data", [b"RSDS" + bytes(19), b"NB10" + bytes(11)])
def test_a_cut_codeview(data: bytes) -> None:
    dump = Minidump()
    dump.module(0x1000, 0x1000, "a", codeview=data)
    found = read(dump)
    assert found.modules()[0].codeview is None
    assert "module at 0x1000: its CodeView record is cut short" in told(found)


@pytest.mark.parametrize(
    ("text", "name", "what"),
    [
        (struct.pack("<I", 6) + "abc".encode("utf-16-le"), "abc", ""),
        (struct.pack("<I", 7) + "abcd".encode("utf-16-le"), "abc", ""),
        (struct.pack("<I", 8) + "ab\0d".encode("utf-16-le"), "ab", ""),
        (struct.pack("<I", 2) + b"\0\xd8", "\ufffd", ""),
        (struct.pack("<I", 0), "", ""),
        (struct.pack("<I", 0xFFFFFFFF) + "ab\0".encode("utf-16-le"), "ab", "claims 4294967295"),
    ],
)
def test_strings(text: bytes, name: str, what: str) -> None:
    dump = Minidump()
    dump.module(0x1000, 0x1000, text)
    found = read(dump)
    assert found.modules()[0].name == name
    assert what in told(found)
    assert bool(what) == bool(found.problems)


def test_strings_beyond_the_end() -> None:
    dump = Minidump()
    dump.module(0x1000, 0x1000, "a", ModuleNameRva=0xFFFFFFFF)
    found = read(dump)
    assert found.modules()[0].name == ""
    assert "module at 0x1000: its string at 0xffffffff lies beyond the file's end" in told(found)


def test_modules_that_wine_knows_of() -> None:
    dump = Minidump("amd64", "windows")
    dump.module(0x1000, 0x1000, "ntdll.dll")
    record = r.MODULE.pack(BaseOfImage=0x5000, SizeOfImage=0x100)
    dump.stream(streams.WINE_MODULE_LIST, struct.pack("<I", 1) + record)
    found = whole(dump)
    assert [each.name for each in found.modules()] == ["ntdll.dll"]
    assert [each.base for each in found.wine_modules()] == [0x5000]


# --- memory -------------------------------------------------------------------------------


def test_memory_is_sorted_and_has_every_stack_once() -> None:
    dump = Minidump()
    high = dump.memory(0x9000, b"high")
    dump.memory(0x1000, b"low")
    dump.thread(5, {}, high)
    dump.thread(6, {}, high)
    dump.thread(7, {}, (0x5000, b"not listed"), listed=False)
    found = whole(dump)
    assert [(each.start, bytes_of(found, each)) for each in found.memory()] == [
        (0x1000, b"low"), (0x5000, b"not listed"), (0x9000, b"high"),
    ]  # fmt: skip


def test_memory_in_both_lists() -> None:
    dump = Minidump(memory="both")
    dump.memory(0x1000, b"a")
    dump.memory(0x2000, b"b")
    assert len(whole(dump).memory()) == 2


def test_ranges_that_overlap() -> None:
    dump = Minidump()
    dump.memory(0x1000, b"0123456789")
    dump.memory(0x1004, b"ab")
    dump.memory(0x1008, b"abcdef")
    found = read(dump)
    assert [(each.start, bytes_of(found, each)) for each in found.memory()] == [
        (0x1000, b"0123456789"), (0x100A, b"cdef"),
    ]  # fmt: skip
    assert (
        told(found) == "memory: ranges with other bytes for the same addresses: 2, from 0x1004 on"
    )


def test_memory_beyond_the_end() -> None:
    dump = Minidump()
    dump.memory(0x1000, b"cut", DataSize=1000)
    dump.memory(0x9000, b"lost", Rva=0xFFFFFFFF)
    dump.memory((1 << 64) - 2, b"wraps")
    dump.memory(0x5000, b"empty", DataSize=0)
    dump.memory(0x6000, b"nowhere", Rva=0)
    found = read(dump)
    assert [(each.start, bytes_of(found, each)) for each in found.memory()] == [
        (0x1000, b"cutlostwrapsemptynowhere"), ((1 << 64) - 2, b"wr"),
    ]  # fmt: skip
    # 976 of the first, all of the second, and three of the third.
    assert told(found) == (
        "MemoryListStream: ranges that go beyond the end of the file or of memory: 3, of 983 bytes"
    )


@pytest.mark.parametrize("cut", range(1, 14))
def test_a_truncated_file(cut: int) -> None:
    """The memory is last: ranges at the end are cut or lost, and all else is there."""
    dump = full()
    found = read(dump, len(dump.build()) - cut)
    lost = {streams.MEMORY_LIST}
    for kind, entries in listed(found).items():
        assert kind in lost or entries == HONEST[kind]
    assert sum(each.size for each in found.memory()) == 70 - cut
    assert "go beyond the end" in told(found)


def test_memory_info() -> None:
    dump = Minidump()
    dump.region(0x1000, 0x2000, 0x20, AllocationBase=0, State=0x2000, Type=0x1000000)
    assert whole(dump).memory_info() == [MemoryInfo(0x1000, 0x2000, 0, 0x20, 0x2000, 0x20, 1 << 24)]


# --- the rest -----------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "cpu"), [(64, "amd64"), (32, "x86"), (64, "arm64")])
def test_the_dynamic_linkers_list(bits: int, cpu: str) -> None:
    dump = Minidump(cpu)
    links = [(0, "", 0x3000), (0x70000000, "/lib/libc.so.6", 0x5000)]
    dump.dso_debug(links, bytes(range(48)), bits=bits, Brk=1, LdBase=2, Dynamic=3)
    found = whole(dump).dso_debug()
    assert found is not None
    assert found.links == [LinkMap(0, "", 0x3000), LinkMap(0x70000000, "/lib/libc.so.6", 0x5000)]
    assert (found.version, found.brk, found.ldbase, found.dynamic) == (1, 1, 2, 3)
    assert found.section == bytes(range(48))


def test_the_dynamic_linkers_list_packed() -> None:
    """As minidump-writer in Rust has it: 36 bytes, and 20 for each module."""
    dump = Minidump()
    link = struct.pack("<QIQ", 0x7000, 0, 0x5000)
    dump.stream(0x55, link * 2)
    dump.build()
    rva = dump.places[0x55][0] + 12  # one entry more in the directory
    head = struct.pack("<IIIQQQ", 1, rva, 2, 1, 2, 3)
    dump.stream(streams.LINUX_DSO_DEBUG, head + bytes(32))
    found = whole(dump).dso_debug()
    assert found is not None
    assert found.links == [LinkMap(0x7000, "", 0x5000)] * 2
    assert (found.brk, found.ldbase, found.dynamic, found.section) == (1, 2, 3, bytes(32))


def test_a_dynamic_linkers_list_that_claims_too_much() -> None:
    dump = Minidump()
    dump.dso_debug([(0, "", 0)], DsoCount=0xFFFFFFFF)
    found = read(dump)
    assert found.dso_debug() is not None
    assert "LinuxDsoDebug: claims 4294967295 modules" in told(found)
    dump.entries[streams.LINUX_DSO_DEBUG] = {"DataSize": 39}
    found = read(dump)
    assert found.dso_debug() is None
    assert "LinuxDsoDebug: is cut short" in told(found)


@pytest.mark.parametrize("size", [52, 64])
def test_crashpad(size: int) -> None:
    dump = Minidump()
    annotations, of_module = {"prod": "game", "ver": "1"}, {"url": "https://example.org/ü"}
    dump.crashpad(annotations, {3: of_module}, size=size, AddressMask=0xFF << 56)
    found = whole(dump).crashpad()
    assert found is not None
    assert found.annotations == annotations
    assert [(each.index, each.annotations) for each in found.modules] == [(3, of_module)]
    assert (found.report_id, found.client_id) == (bytes(range(16)), bytes(range(16, 32)))
    assert found.address_mask == (0xFF << 56 if size == 64 else 0)


class Blob:
    """Bytes of a stream that begins at `start`."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.data = b""

    def add(self, data: bytes) -> int:
        rva = self.start + len(self.data)
        self.data += data + bytes(-len(data) % 4)
        return rva


def crashpad_objects(start: int) -> Minidump:
    """A dump with two kinds of annotations that the builder does not make."""
    blob = Blob(start)
    line = blob.add(r.utf8_string("a line"))
    name, value = blob.add(r.utf8_string("name")), blob.add(struct.pack("<I", 3) + b"val")
    lines = blob.add(struct.pack("<II", 1, line))
    objects = blob.add(struct.pack("<IIHHI", 1, name, 1, 0, value))
    module = blob.add(struct.pack("<IIIIIII", 1, 8, lines, 0, 0, 16, objects))
    links = blob.add(struct.pack("<IIII", 1, 5, 28, module))
    dump = Minidump()
    dump.stream(0x55, blob.data)
    data = struct.pack("<I16s16sIIII", 1, b"", b"", 0, 0, 16, links)
    dump.stream(streams.CRASHPAD_INFO, data)
    return dump


def test_crashpads_lines_and_objects() -> None:
    first = crashpad_objects(0)
    first.build()
    found = whole(crashpad_objects(first.places[0x55][0])).crashpad()
    assert found is not None
    (each,) = found.modules
    assert (each.index, each.lines, each.annotations) == (5, ["a line"], {})
    assert each.objects == [("name", 1, b"val")]


def test_crashpad_that_is_broken() -> None:
    dump = Minidump()
    dump.crashpad({"a": "b"}, {0: {"c": "d"}}, SimpleAnnotations_Rva=0xFFFFFFF0)
    found = read(dump)
    assert (found.crashpad() or pytest.fail()).annotations == {}
    assert "Crashpad's annotations" in told(found)
    dump = Minidump()
    dump.crashpad(size=20)
    assert read(dump).crashpad() is None


def test_handles() -> None:
    dump = Minidump("amd64", "windows")
    dump.handles([(4, "File", "C:\\log.txt"), (8, "Event", "")])
    assert [(each.handle, each.type, each.name) for each in whole(dump).handles()] == [
        (4, "File", "C:\\log.txt"), (8, "Event", ""),
    ]  # fmt: skip


def function_table_stream(**lies: int) -> bytes:
    values = {"head": 24, "size": 32, "native": 8, "entry": 12, "count": 2, "pad": 4, **lies}
    data = struct.pack("<6I", *values.values()) + bytes(4)
    for start, functions in ((0x1000, 2), (0x9000, 1)):
        data += struct.pack("<QQQII", start, start + 0x100, start, functions, 4) + bytes(8)
        data += b"f" * 12 * functions + bytes(4)
    return data


def test_function_tables() -> None:
    dump = Minidump("amd64", "windows")
    dump.stream(streams.FUNCTION_TABLE, function_table_stream())
    found = whole(dump)
    first, second = found.function_tables()
    assert (first.start, first.end, first.base) == (0x1000, 0x1100, 0x1000)
    assert (first.count, first.entry_size, second.count) == (2, 12, 1)
    for each in (first, second):
        data = bytes(found.file.buffer[each.rva : each.rva + each.count * each.entry_size])
        assert data == b"f" * 12 * each.count


@pytest.mark.parametrize(
    "lies", [{"count": 3}, {"count": 0xFFFFFFFF}, {"entry": 1 << 30}, {"native": 0xFFFFFFFF}]
)
def test_function_tables_that_claim_too_much(lies: dict[str, int]) -> None:
    dump = Minidump("amd64", "windows")
    dump.stream(streams.FUNCTION_TABLE, function_table_stream(**lies))
    found = read(dump)
    assert len(found.function_tables()) <= 2
    assert "FunctionTableStream: claims" in told(found)


def test_who_wrote_the_dump() -> None:
    dump = Minidump()
    dump.breakpad_info(5, 6)
    found = whole(dump).breakpad()
    assert found is not None
    assert (found.requesting_tid, found.writer_tid) == (5, 6)
    dump = Minidump()
    dump.stream(streams.BREAKPAD_INFO, struct.pack("<III", 1, 6, 5))
    found = whole(dump).breakpad()
    assert found is not None
    assert (found.requesting_tid, found.writer_tid) == (None, 6)
    assert whole(Minidump()).breakpad() is None


def test_memory_counters_of_both_versions() -> None:
    for revision, size in ((1, 80), (2, 152)):
        dump = Minidump()
        data = struct.pack("<HHIQ", revision, 1, 5, 4096).ljust(size, b"\0")
        dump.stream(streams.PROCESS_VM_COUNTERS, data)
        values = read(dump).values(streams.PROCESS_VM_COUNTERS)
        assert values is not None
        assert (values["PageFaultCount"], values["PeakWorkingSetSize"]) == (5, 4096)
        assert ("VirtualSize" in values) == (revision == 2)
