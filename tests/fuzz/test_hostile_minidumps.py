"""Minidumps made to take forever, to take all memory, or to make a reader fall over.

Each is read by the command line in a process of its own under limits. Every name says what
the dump does; what it `keeps` is what can be read in spite of it, and what it lies about must
be `said`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.build import minidump_records as r
from tests.build.minidump import Block, File, List, Minidump
from tests.build.process import Process
from tests.conftest import Corpus
from tests.fuzz import commands
from tests.fuzz.harness import within
from tests.fuzz.minidump_seeds import TIDS, honest, linux, seed, windows
from tests.fuzz.minidump_values import read
from unspool.formats.minidump import reader

Make = Callable[[], bytes]
MAX32, MAX64 = (1 << 32) - 1, (1 << 64) - 1
ALL = ("threads", "modules", "frames")
BOTH = ("stack", "inspect")


class Case:
    """`error` is a word of the one line that refuses the file; else it `keeps` what it can.

    `said` are the commands whose exit code tells that something is wrong: `stack` reads what it
    needs, `inspect` everything.
    """

    def __init__(
        self, make: Make, keeps: tuple[str, ...], said: tuple[str, ...], error: str | None,
        kind: str,
    ) -> None:  # fmt: skip
        self.make = make
        self.keeps = keeps
        self.said = said
        self.error = error
        self.kind = kind


CASES: dict[str, Case] = {}


def case(
    *keeps: str, said: tuple[str, ...] = BOTH, error: str | None = None, kind: str = "linux-x86_64"
) -> Callable[[Make], Make]:
    """`kind` is the seed that the dump is made of, which says what there is to keep."""

    def add(make: Make) -> Make:
        CASES[make.__name__] = Case(make, keeps, said, error, kind)
        return make

    return add


def built(change: Callable[[Minidump], object], kind: str = "linux-x86_64") -> bytes:
    dump = honest(kind)
    change(dump)
    return dump.build()


# --- header and directory -------------------------------------------------------------


@case(error="cut short")
def signature_alone() -> bytes:
    return b"MDMP"


@case(error="")
def a_byte_less_than_a_header() -> bytes:
    return seed("linux-x86_64")[:31]


@case(error="")
def header_only() -> bytes:
    return seed("linux-x86_64")[:32]


@case(error="")
def header_without_streams() -> bytes:
    return r.HEADER.pack(Signature=0x504D444D, Version=0xA793, StreamDirectoryRva=32)


@case(error="big-endian")
def big_endian_signature() -> bytes:
    return b"PMDM" + struct.pack(">7I", 0xA793, 1, 32, 0, 0, 0, 0) + bytes(64)


@case(*ALL, said=())
def another_version_of_the_format() -> bytes:
    """The high half is the writer's own; the low half is checked by nobody."""
    return built(lambda dump: dump.lies.update(Version=0x1234_A794))


@case(*ALL)
def directory_of_all_numbers() -> bytes:
    return built(lambda dump: dump.lies.update(NumberOfStreams=MAX32))


@case(error="")
def directory_of_all_numbers_in_a_large_file() -> bytes:
    """Two million entries that are there, all of them nonsense."""
    return built(lambda dump: dump.lies.update(NumberOfStreams=MAX32, StreamDirectoryRva=16)) + (
        b"\xff" * (24 << 20)
    )


@case(error="")
def directory_beyond_the_end() -> bytes:
    return built(lambda dump: dump.lies.update(StreamDirectoryRva=MAX32 - 3))


@case(error="")
def directory_that_is_the_header() -> bytes:
    return built(lambda dump: dump.lies.update(StreamDirectoryRva=0))


@case(*ALL, said=())
def a_hundred_thousand_unused_entries() -> bytes:
    """Windows leaves entries of type 0 behind; not so many."""
    return built(lambda dump: dump.extra_entries.extend([(0, 0, 0)] * 100_000))


@case("threads", "modules", said=("inspect",))
def every_list_a_thousand_times() -> bytes:
    dump = honest("linux-x86_64")
    dump.build()
    again = [(kind, size, rva) for kind, (rva, size) in dump.places.items()]
    dump.extra_entries += again * 1000
    return dump.build()


@case("modules", said=("inspect",))
def a_second_list_of_threads_that_is_empty() -> bytes:
    return built(lambda dump: dump.stream(r.THREAD_LIST, b"\0\0\0\0"))


@case(error="")
def all_streams_in_one_place() -> bytes:
    dump = honest("linux-x86_64")
    for kind in _kinds("linux-x86_64"):
        dump.entries[kind] = {"Rva": 0, "DataSize": 4096}
    return dump.build()


@case("threads", said=("inspect",))
def streams_that_overlap() -> bytes:
    """The list of modules begins in the middle of that of threads."""
    dump = honest("linux-x86_64")
    dump.build()
    rva, size = dump.places[r.THREAD_LIST]
    dump.entries[r.MODULE_LIST] = {"Rva": rva + 20, "DataSize": size}
    return dump.build()


@case(*ALL, said=())
def unknown_streams() -> bytes:
    def change(dump: Minidump) -> None:
        for kind in (0x4D7A_0001, 0xFFFF, 0x8000_0000, MAX32, 1, 2, 25):
            dump.stream(kind, b"anything")

    return built(change)


@case(*ALL, said=("inspect",))
def unknown_streams_that_are_not_there() -> bytes:
    entries = [(0x4D7A_0000 + n, MAX32 - n, MAX32 - 3 * n) for n in range(1000)]
    return built(lambda dump: dump.extra_entries.extend(entries))


@case("modules")
def four_gigabytes_in_a_kilobyte() -> bytes:
    """Thread, context, name, module's record, stack and memory say that they have 4 GB each."""
    dump = Minidump()
    dump.thread(
        1, {"rip": 0x1000, "rsp": 0x2000}, (0x2000, bytes(16)), Stack_DataSize=MAX32,
        Context_DataSize=MAX32,
    )  # fmt: skip
    dump.thread_name(1, r.string("name", length=MAX32))
    dump.module(
        0x6666_5555_4000, 0x4000, r.string("/prog", length=MAX32 - 1), codeview=b"RSDS",
        CvRecord_DataSize=MAX32, MiscRecord_DataSize=MAX32, MiscRecord_Rva=4,
    )  # fmt: skip
    dump.module(
        0x5555_5555_4000, 0x4000, "/nonexistent/prog", codeview=r.build_id(bytes(range(20)))
    )
    dump.memory(0x4000, b"x", DataSize=MAX32)
    for kind in (r.THREAD_LIST, r.MODULE_LIST, r.MEMORY_LIST):
        dump.lists[kind] = List(count=MAX32)
        dump.entries[kind] = {"DataSize": MAX32}
    return dump.build(2048)


# --- system information ---------------------------------------------------------------


@case(error="not supported")
def an_unsupported_cpu() -> bytes:
    return cpu(0x8006)


@case(error="not supported")
def a_cpu_that_there_is_not() -> bytes:
    return cpu(0xFFFF)


def cpu(number: int) -> bytes:
    dump = Minidump(system=None)
    dump.system("linux", ProcessorArchitecture=number)
    dump.thread(1, {"rip": 1, "rsp": 2}, (0, bytes(64)))
    return dump.build()


@case("threads", said=("stack",))
def the_wrong_cpu() -> bytes:
    """The contexts say AMD64, the system ARM64."""
    dump = honest("linux-x86_64")
    dump.drop(r.SYSTEM_INFO)
    dump.system("linux", ProcessorArchitecture=12)
    return dump.build()


@case(*ALL, said=("stack",))
def no_system_information() -> bytes:
    return built(lambda dump: dump.drop(r.SYSTEM_INFO))


@case(*ALL)
def a_version_string_without_end() -> bytes:
    dump = honest("linux-x86_64")
    dump.drop(r.SYSTEM_INFO)
    dump.system("linux", CSDVersionRva=MAX32 - 2)
    return dump.build()


# --- threads and contexts -------------------------------------------------------------


def with_thread(context: bytes | None = None, **lies: int) -> bytes:
    """The seed with one thread more, whose record or context lies."""
    dump = honest("linux-x86_64")
    dump.thread(9, {"rip": 1, "rsp": 2} if context is None else None, context=context, **lies)
    return dump.build()


@case(*ALL)
def more_threads_than_there_is_room() -> bytes:
    return built(lambda dump: dump.lists.update({r.THREAD_LIST: List(count=MAX32)}))


@case(*ALL, said=())
def a_list_of_threads_with_padding() -> bytes:
    """As Breakpad writes it where 64-bit fields are aligned."""
    return built(lambda dump: dump.lists.update({r.THREAD_LIST: List(padding=4)}))


@case(*ALL, said=("stack",))
def a_context_too_short() -> bytes:
    return with_thread(r.context("amd64", {}, size=100))


@case(*ALL, said=())
def a_context_too_long() -> bytes:
    """Windows writes the extended state behind it."""
    return with_thread(r.context("amd64", {"rip": 1}, size=60_000))


@case(*ALL, said=("stack",))
def a_context_of_nothing() -> bytes:
    return with_thread(b"")


@case(*ALL, said=("stack",))
def a_context_of_all_bits() -> bytes:
    return with_thread(b"\xff" * 1232)


@case(*ALL, said=("stack",))
def a_context_of_another_cpu() -> bytes:
    return with_thread(r.context("arm64", {"pc": 1}))


@case(*ALL)
def a_context_beyond_the_end() -> bytes:
    return with_thread(Context_Rva=MAX32 - 1231)


@case(*ALL, said=("stack",))
def a_context_that_is_the_header() -> bytes:
    return with_thread(Context_Rva=0, Context_DataSize=1232)


@case(*ALL)
def a_stack_of_four_gigabytes() -> bytes:
    return with_thread(Stack_Start=0x1_0000, Stack_DataSize=MAX32, Stack_Rva=32)


@case(*ALL)
def a_stack_that_wraps_around() -> bytes:
    return with_thread(Stack_Start=MAX64 - 7, Stack_DataSize=4096, Stack_Rva=32)


@case(*ALL)
def a_stack_beyond_the_end() -> bytes:
    return with_thread(Stack_Start=0x1_0000, Stack_DataSize=4096, Stack_Rva=MAX32)


@case(*ALL, said=())
def stacks_of_no_size() -> bytes:
    """Their bytes are in the list of memory."""
    dump = honest("linux-x86_64")
    threads = list(dump.threads)
    dump.threads = [
        lambda file, thread=thread: {**thread(file), "Stack_DataSize": 0}  # type: ignore[misc]
        for thread in threads
    ]
    return dump.build()


@case(*ALL, said=())
def stacks_with_no_place_that_the_list_of_memory_knows() -> bytes:
    """A whole dump's threads have an RVA of 0: the stack is among all memory."""
    dump = honest("linux-x86_64")
    threads = list(dump.threads)
    dump.threads = [
        lambda file, thread=thread: {**thread(file), "Stack_Rva": 0}  # type: ignore[misc]
        for thread in threads
    ]
    return dump.build()


@case("modules", said=())
def thousands_of_threads_on_one_stack() -> bytes:
    return shared_stack(5_000, 40)


def shared_stack(threads: int, frames: int) -> bytes:
    process = Process()
    process.thread(1, ["inner", *["middle"] * (frames - 2), "_start"])
    dump = linux(process=process)
    [(_, registers, _)] = process.threads
    context = r.context("amd64", registers)
    block = dump.blocks[0]
    place: list[int] = []

    def add(tid: int) -> None:
        def record(file: File) -> dict[str, int | bytes]:
            if tid == 2:
                place[:] = [file.add(context, 16)]
            return {
                "ThreadId": tid, "Context_DataSize": len(context), "Context_Rva": place[0],
                "Stack_Start": block.address, "Stack_DataSize": len(block.data),
                "Stack_Rva": block.rva,
            }  # fmt: skip

        dump.threads.append(record)

    for tid in range(2, threads):
        add(tid)
    return dump.build()


@case("modules", said=())
def one_thread_five_thousand_times() -> bytes:
    dump = honest("linux-x86_64")
    for _ in range(5000):
        dump.thread(TIDS[0])
    return dump.build()


@case("modules", said=("stack",))
def forty_thousand_threads_of_nothing() -> bytes:
    dump = honest("linux-x86_64")
    table = r.THREAD.pack(ThreadId=5) * 40_000
    dump.stream(r.THREAD_LIST, struct.pack("<I", 40_000) + table)
    dump.threads.clear()
    return dump.build()


# --- names ----------------------------------------------------------------------------


def with_name(text: bytes, **lies: int) -> bytes:
    return built(lambda dump: dump.thread_name(TIDS[0], text, **lies))


@case(*ALL)
def a_name_without_end() -> bytes:
    return with_name(r.string("name", length=MAX32))


@case(*ALL, said=())
def a_name_of_half_a_character() -> bytes:
    return with_name(r.string(b"abc", length=3))


@case(*ALL, said=())
def a_name_of_half_a_pair() -> bytes:
    return with_name(r.string("\ud800x\udc00"))


@case(*ALL, said=())
def names_that_command_a_terminal() -> bytes:
    dump = honest("linux-x86_64")
    dump.thread_name(TIDS[0], r.string("\x1b[2J\x07\r\n\x00\u202e\x9b31m"))
    dump.module(0x1_0000, 0x1000, "\x1b]0;title\x07\n\x9b2J")
    dump.unloaded_module(0x2_0000, 0x1000, "\x1b[31m")
    dump.stream(r.LINUX_CMD_LINE, b"\x1b[31m\0\x1b[2J\n")
    dump.stream(r.COMMENT_A, b"\x1b[31m\0")
    dump.stream(r.COMMENT_W, "\x1b[31m\0".encode("utf-16-le"))
    dump.crashpad({"\x1b[31m": "\x1b[2J\n"})
    dump.stream(0x1234, b"\x1b[31m")
    return dump.build()


@case(*ALL, said=("inspect",))
def a_name_that_is_its_own_list() -> bytes:
    rva = 0
    for _ in range(2):
        dump = honest("linux-x86_64")
        dump.thread_name(TIDS[0], r.string("x"), RvaOfThreadName=rva)
        data = dump.build()
        rva, _ = dump.places[r.THREAD_NAMES]
    return data


@case(*ALL)
def a_name_beyond_the_end() -> bytes:
    return with_name(b"", RvaOfThreadName=MAX64 - 3)


@case(*ALL, said=())
def names_of_threads_that_are_not_there() -> bytes:
    def change(dump: Minidump) -> None:
        for tid in range(5000):
            dump.thread_name(tid + 100_000, r.string("x"))

    return built(change)


@case("threads", "frames", said=())
def a_long_name_of_everything() -> bytes:
    """60 kB that 6,000 modules, unloaded modules, threads and handles share: 1.4 GB, read alike."""
    dump = honest("linux-x86_64")
    dump.stream(0x1234, r.string("n" * 30_000) + r.build_id(b"i" * 60_000))
    dump.streams.insert(0, dump.streams.pop())
    # The text's place depends on how many streams there are.
    dump.stream(r.HANDLE_DATA, b"")
    dump.unloaded_module(1, 1, "")
    dump.build()
    at, _ = dump.places[0x1234]
    for n in range(6_000):
        dump.module(
            0x10_0000 + (n << 12), 4096, b"", ModuleNameRva=at, CvRecord_Rva=at + 4 + 60_002,
            CvRecord_DataSize=60_004,
        )  # fmt: skip
        dump.thread_name(n, b"", RvaOfThreadName=at)
        dump.unloaded_module(n << 12, 4096, "", ModuleNameRva=at)
    dump.drop(r.HANDLE_DATA)
    names = r.HANDLE.pack(TypeNameRva=at, ObjectNameRva=at)
    dump.stream(r.HANDLE_DATA, struct.pack("<4I", 16, 32, 6_000, 0) + names * 6_000)
    data = dump.build()
    assert dump.places[0x1234][0] == at
    return data


@case("threads", "frames", said=BOTH)
def long_names_that_share_bytes() -> bytes:
    """Each begins two bytes behind the one before, and claims 1 GB of the same text."""
    dump = honest("linux-x86_64")
    dump.stream(0x1234, b"A" * 200_000)
    dump.streams.insert(0, dump.streams.pop())
    dump.unloaded_module(1, 1, "")
    dump.build()
    at, _ = dump.places[0x1234]
    for n in range(10_000):
        dump.module(0x10_0000 + (n << 12), 4096, b"", ModuleNameRva=at + 6 * n)
        dump.thread_name(n, b"", RvaOfThreadName=at + 6 * n + 2)
        dump.unloaded_module(n << 12, 4096, "", ModuleNameRva=at + 6 * n + 4)
    data = dump.build()
    assert dump.places[0x1234][0] == at
    return data


# --- modules --------------------------------------------------------------------------


def with_modules(*modules: tuple[int, int, str]) -> bytes:
    dump = honest("linux-x86_64")
    for base, size, name in modules:
        dump.module(base, size, name)
    return dump.build()


@case(*ALL)
def more_modules_than_there_is_room() -> bytes:
    return built(lambda dump: dump.lists.update({r.MODULE_LIST: List(count=MAX32)}))


@case(*ALL, said=())
def modules_of_odd_extent() -> bytes:
    return with_modules(
        (0x1_0000, 0, "/none"), (0x2_0000, MAX32, "/all"), (MAX64, 1, "/end"),
        (MAX64 - 0xFFF, MAX32, "/wraps"), (0, 0x1000, "/null"), (1 << 63, MAX32, "/kernel"),
    )  # fmt: skip


@case("threads", "modules", said=())
def modules_that_cover_each_other() -> bytes:
    base = 0x5555_5555_4000
    return with_modules(
        *((base + shift, 0x4000, f"/over{shift}") for shift in (-0x2000, 0, 0, 0x800, 0x3FFF)),
        *((base - (n << 8), MAX32, f"/wide{n}") for n in range(3000)),
    )


@case(*ALL, said=())
def names_that_are_no_files() -> bytes:
    names = (
        "", "/", "/dev/zero", "/dev/stdin", "/proc/self/mem", "/proc/self/fd/0", "..", "a\nb",
        "/" * 5000, "/proc/kmsg", "C:", "\\\\.\\pipe\\x", "\\\\server\\share\\x.dll", "\0",
    )  # fmt: skip
    return with_modules(*(((n + 1) << 16, 0x1000, name) for n, name in enumerate(names)))


@case(*ALL, said=("inspect",))
def records_of_odd_size() -> bytes:
    dump = honest("linux-x86_64")
    records = [
        b"", b"R", b"RSD", b"RSDS", r.rsds("x")[:23], r.rsds("x")[:24], r.rsds("no end")[:-1],
        b"NB10", r.nb10("y")[:15], r.build_id(b""), r.build_id(bytes(20)),
        r.build_id(b"x" * 70_000), b"MTOC" + bytes(16), b"\xff" * 40,
    ]  # fmt: skip
    for n, record in enumerate(records):
        dump.module((n + 1) << 16, 0x1000, f"/m{n}", codeview=record)
    dump.module(0x100_0000, 0x1000, "/far", CvRecord_Rva=MAX32, CvRecord_DataSize=24)
    dump.module(0x101_0000, 0x1000, "/long", CvRecord_Rva=32, CvRecord_DataSize=MAX32)
    dump.module(0x102_0000, 0x1000, b"", ModuleNameRva=MAX32)
    dump.module(0x103_0000, 0x1000, r.string("/odd", length=7))
    return dump.build()


@case(*ALL, said=("inspect",))
def more_unloaded_modules_than_there_is_room() -> bytes:
    dump = honest("linux-x86_64")
    dump.unloaded_module(0x1_0000, MAX32, "gone.dll")
    dump.unloaded_module(MAX64, MAX32, "gone.dll", ModuleNameRva=MAX32)
    dump.lists[r.UNLOADED_MODULE_LIST] = List(count=MAX32)
    return dump.build()


# --- memory ---------------------------------------------------------------------------


@case("threads", "modules", "frames")
def more_memory_than_there_is_room() -> bytes:
    return built(lambda dump: dump.lists.update({r.MEMORY_LIST: List(count=MAX32)}))


@case(*ALL)
def memory_that_wraps_around() -> bytes:
    dump = honest("linux-x86_64")
    dump.memory(MAX64 - 15, bytes(64))
    dump.memory(MAX64, b"x")
    dump.memory(MAX64, b"xx")
    dump.memory(1 << 63, bytes(8), DataSize=MAX32)
    dump.memory(0, bytes(8), DataSize=MAX32, Rva=MAX32)
    return dump.build()


@case(*ALL, said=())
def memory_that_is_listed_twice() -> bytes:
    """Breakpad lists stacks twice; here everything is."""
    dump = honest("linux-x86_64")
    dump.blocks += [Block(each.address, each.data, True, {}) for each in list(dump.blocks)]
    return dump.build()


@case("threads", "modules", said=("inspect",))
def memory_that_contradicts_itself() -> bytes:
    dump = honest("linux-x86_64")
    for block in list(dump.blocks):
        for shift in (-8, 0, 4):
            dump.memory(block.address + shift, b"\xcc" * len(block.data))
    return dump.build()


@case(*ALL)
def twenty_thousand_ranges_that_all_cover_everything() -> bytes:
    """4 GB each, at a stride of 16 bytes, nested in each other, all of the file's first bytes."""
    dump = honest("linux-x86_64")
    for n in range(20_000):
        dump.memory(0x1_0000 + 16 * n, b"", DataSize=MAX32 - 32 * n, Rva=16)
    return dump.build()


@case(*ALL, said=())
def twenty_thousand_ranges_of_nothing() -> bytes:
    dump = honest("linux-x86_64")
    for n in range(20_000):
        dump.memory(0x1_0000 + n, b"")
    return dump.build()


def memory64(**lies: int) -> bytes:
    dump = linux(memory="64")
    dump.lists[r.MEMORY64_LIST] = List(**lies)
    return dump.build()


@case("threads", "modules")
def all_memory_beyond_the_end() -> bytes:
    return memory64(base=MAX64 - 4095)


@case("threads", "modules")
def all_memory_at_the_last_byte() -> bytes:
    return memory64(base=len(memory64()) - 1)


@case(*ALL)
def more_ranges_of_all_memory_than_there_is_room() -> bytes:
    return memory64(count=MAX64)


@case(*ALL)
def sizes_that_add_up_to_nothing() -> bytes:
    """The ranges' sizes wrap around 2^64, back to the first byte."""
    dump = linux(memory="64")
    dump.memory(0x1_0000, b"", DataSize=MAX64 - 0xFFF)
    dump.memory(0x2_0000, b"", DataSize=0x1000)
    dump.memory(0x3_0000, b"", DataSize=MAX64)
    return dump.build()


@case(*ALL, said=())
def both_lists_of_memory() -> bytes:
    return linux(memory="both").build()


@case("threads", "modules", "frames", said=(), kind="windows-amd64")
def both_lists_of_memory_on_windows() -> bytes:
    return windows(memory="both").build()


def regions(**lies: int) -> bytes:
    dump = honest("windows-amd64")
    dump.region(MAX64, MAX64)
    dump.region(0, MAX64, MAX32, State=MAX32, Type=MAX32)
    dump.lists[r.MEMORY_INFO_LIST] = List(**lies)
    return dump.build()


@case("threads", "modules", said=(), kind="windows-amd64")
def regions_that_cover_everything() -> bytes:
    return regions()


@case("threads", "modules", kind="windows-amd64")
def regions_of_size_zero() -> bytes:
    return regions(entry_size=0, count=MAX64)


@case("threads", "modules", kind="windows-amd64")
def regions_of_size_one() -> bytes:
    return regions(entry_size=1)


@case("threads", "modules", kind="windows-amd64")
def regions_of_all_sizes() -> bytes:
    return regions(entry_size=MAX32, header_size=MAX32, count=MAX64)


@case("threads", "modules", said=(), kind="windows-amd64")
def thirty_thousand_regions() -> bytes:
    dump = honest("windows-amd64")
    for n in range(30_000):
        dump.region(n << 4, MAX64 >> 1)
    return dump.build()


# --- exception ------------------------------------------------------------------------


def with_exception(tid: int, parameters: int = 0, **lies: int) -> bytes:
    dump = honest("linux-x86_64")
    dump.drop(r.EXCEPTION)
    dump.exception(tid, 11, 8, [MAX64] * min(parameters, 15), **lies)
    return dump.build()


@case(*ALL, said=())
def an_exception_of_a_thread_that_is_not_there() -> bytes:
    return with_exception(99_999)


@case(*ALL, said=("inspect",))
def an_exception_with_more_parameters_than_there_is_room() -> bytes:
    return with_exception(TIDS[1], 15, NumberParameters=MAX32)


@case(*ALL)
def an_exception_without_a_context() -> bytes:
    """Its thread's own context is good."""
    return with_exception(TIDS[0], Context_Rva=MAX32, Context_DataSize=MAX32)


@case(*ALL)
def an_exception_of_eight_bytes() -> bytes:
    return built(lambda dump: dump.entries.update({r.EXCEPTION: {"DataSize": 8}}))


@case(*ALL, said=())
def an_exception_of_unknown_code() -> bytes:
    return with_exception(TIDS[0], ExceptionCode=MAX32, ExceptionFlags=MAX32, ExceptionRecord=7)


# --- what only Linux, Breakpad and Crashpad write ------------------------------------


def with_stream(kind: int, data: bytes) -> bytes:
    dump = honest("linux-x86_64")
    dump.drop(kind)
    dump.stream(kind, data)
    return dump.build()


@case(*ALL, said=())
def maps_of_one_line_without_end() -> bytes:
    return with_stream(r.LINUX_MAPS, b"0" * (2 << 20))


@case(*ALL, said=())
def maps_of_nonsense() -> bytes:
    lines = [
        b"-", b"zz-zz rwxp", b"1-0 r-xp 0 0 0 /x", b"0-ffffffffffffffffffff r-xp 0 0:0 0 /x",
        b"\xff\xfe", b"1000-2000", b"1000-2000 r-xp", b"1000-2000 r-xp 00000000 08:01 77 \xff\x1b",
        b"\0\0\0", b"5555555540000-1 r--p 0 0 0 /nonexistent/prog",
    ]  # fmt: skip
    return with_stream(r.LINUX_MAPS, b"\n".join(lines * 100))


@case("threads", said=())
def maps_of_forty_thousand_lines() -> bytes:
    lines = (b"%x-%x r-xp 00000000 08:01 77 /x%d\n" % (n << 12, MAX64, n) for n in range(40_000))
    return with_stream(r.LINUX_MAPS, b"".join(lines))


@case(*ALL, said=())
def an_auxiliary_vector_without_end() -> bytes:
    return with_stream(r.LINUX_AUXV, struct.pack("<QQ", 5, MAX64) * 50_000 + b"odd")


@case(*ALL, said=())
def texts_of_nothing() -> bytes:
    dump = honest("linux-x86_64")
    for kind in range(r.LINUX_CPU_INFO, r.LINUX_DSO_DEBUG + 1):
        dump.stream(kind, b"")
    return dump.build()


@case(*ALL, said=("inspect",))
def a_link_map_of_all_numbers() -> bytes:
    dump = honest("linux-x86_64")
    dump.drop(r.LINUX_DSO_DEBUG)
    dump.dso_debug([(MAX64, "/x", MAX64)], b"odd", DsoCount=MAX32)
    return dump.build()


@case(*ALL, said=("inspect",))
def annotations_that_lead_to_themselves() -> bytes:
    """A dictionary in itself, a list of modules in itself, and counts without bound."""
    dump = honest("linux-x86_64")
    dump.crashpad({"a": "b"}, {0: {"c": "d"}})
    dump.build()
    rva, _ = dump.places[r.CRASHPAD_INFO]
    data = bytearray(dump.build())
    for offset in (36, 44):
        struct.pack_into("<II", data, rva + offset, MAX32, rva + offset)
    return bytes(data)


@case(*ALL, said=("inspect",))
def annotations_of_all_numbers() -> bytes:
    dump = honest("linux-x86_64")
    dump.crashpad({"a": "b"}, {0: {"c": "d"}, MAX32: {"e": "f"}})
    dump.build()
    data = bytearray(dump.build())
    rva, _ = dump.places[r.CRASHPAD_INFO]
    for offset in (36, 44):
        size, there = struct.unpack_from("<II", data, rva + offset)
        struct.pack_into("<I", data, there, MAX32)
        struct.pack_into("<I", data, rva + offset, MAX32 if offset == 36 else size)
    return bytes(data)


@case("threads", "modules", "frames", kind="windows-amd64", said=("inspect",))
def more_handles_than_there_is_room() -> bytes:
    dump = honest("windows-amd64")
    dump.lists[r.HANDLE_DATA] = List(count=MAX32, entry_size=3)
    return dump.build()


@case(*ALL, said=(), kind="windows-amd64")
def miscellany_that_is_longer_than_it_says() -> bytes:
    dump = honest("windows-amd64")
    dump.misc(7, size=1364, SizeOfInfo=MAX32, Flags1=MAX32, more=b"\xff" * 1340)
    return dump.build()


# --- the tests ------------------------------------------------------------------------


def _kinds(kind: str) -> list[int]:
    dump = honest(kind)
    dump.build()
    return list(dump.places)


@cache
def truth(kind: str, folder: Path) -> dict[str, Any]:
    """What an honest dump tells."""
    path = folder / f"{kind}.dmp"
    path.write_bytes(seed(kind))
    _, report = commands.report_of(path)
    return report


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("honest")


def threads(report: dict[str, Any]) -> dict[int, list[str]]:
    """Program counters of each thread of the seeds."""
    return {
        thread["tid"]: [frame["pc"] for frame in thread["frames"]]
        for thread in reversed(report["threads"])
        if thread["tid"] in TIDS
    }


def modules(report: dict[str, Any]) -> set[tuple[str | None, str, str | None]]:
    found = report.get("modules", [])
    return {(each.get("path"), each["base"], each.get("code_id")) for each in found}


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_minidump_is_read_as_far_as_it_goes(
    tmp_path: Path, folder: Path, name: str
) -> None:
    case = CASES[name]
    path = tmp_path / "a.dmp"
    path.write_bytes(case.make())
    if case.error is not None:
        result = commands.run("stack", path)
        commands.check(result)
        assert result.returncode == 2, result.stdout
        assert case.error in result.stderr
        return
    code, report = commands.report_of(path)
    assert report, "nothing at all is read"
    honest_report = truth(case.kind, folder)
    if "threads" in case.keeps:
        assert threads(report).keys() == set(TIDS)
    if "modules" in case.keeps:
        assert modules(report) >= modules(honest_report)
    if "frames" in case.keeps:
        assert threads(report) == threads(honest_report)
    if "stack" in case.said:
        assert code == 1, "nothing is said of it"


@pytest.mark.parametrize("name", CASES)
def test_what_the_reader_gives_of_a_hostile_minidump_holds(name: str) -> None:
    with within(commands.SECONDS):
        read(CASES[name].make())


@pytest.mark.parametrize("name", CASES)
def test_a_minidump_of_a_hostile_minidump_is_honest(tmp_path: Path, name: str) -> None:
    path, output = tmp_path / "a.dmp", tmp_path / "b.dmp"
    path.write_bytes(CASES[name].make())
    with within(2 * commands.SECONDS):
        code, _, errors = commands.run_here("dump", path, "-o", output)
    assert output.exists() == (code != 2)
    assert errors.startswith("unspool: ") == (code == 2)
    if code != 2:
        assert reader.Minidump(output.read_bytes()).read_all() == []


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_minidump_can_be_looked_into(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    path = tmp_path / "a.dmp"
    path.write_bytes(case.make())
    anatomy = commands.inspected(path)
    if case.error is None:
        assert anatomy["nodes"]
    if "inspect" in case.said and case.error is None:
        assert anatomy["problems"], "nothing is said of it"


@pytest.mark.parametrize(
    "name", ["hostile__invalid-range.dmp", "hostile__invalid-record-count.dmp"]
)
def test_broken_dumps_of_others(tmp_path: Path, corpus: Corpus, name: str) -> None:
    path = tmp_path / "a.dmp"
    path.write_bytes(corpus(name))
    commands.report_of(path)
    commands.inspected(path)


def test_the_seeds_are_good(folder: Path) -> None:
    """The other tests compare with them."""
    for kind in ("linux-x86_64", "windows-amd64"):
        report = truth(kind, folder)
        assert [len(pcs) for pcs in threads(report).values()] == (
            [4, 3, 4] if kind == "linux-x86_64" else [4, 4, 4]
        )
        assert len(modules(report)) == (1 if kind == "linux-x86_64" else 2)
