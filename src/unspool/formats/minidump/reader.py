"""A minidump's streams as records; what is broken costs itself alone and is noted.

Nothing but header and directory is read before it is asked for, and each stream once.
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.formats.minidump import lists, memory_ranges, modules, streams
from unspool.formats.minidump.dump_bytes import DumpBytes
from unspool.formats.minidump.process_structures import MISC_INFO
from unspool.formats.minidump.records import (
    BreakpadInfo,
    CrashpadInfo,
    DsoDebug,
    ExceptionRecord,
    FunctionTable,
    Handle,
    MemoryInfo,
    MiscInfo,
    ModuleRecord,
    Problem,
    Range,
    Stream,
    System,
    ThreadInfo,
    ThreadRecord,
)
from unspool.formats.minidump.structures import DIRECTORY, HEADER, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from unspool.cursor import Buffer

    T = TypeVar("T")

__all__ = [
    "BreakpadInfo", "CrashpadInfo", "DsoDebug", "ExceptionRecord", "FunctionTable", "Handle",
    "MemoryInfo", "Minidump", "MiscInfo", "ModuleRecord", "Problem", "Range", "Stream", "System",
    "ThreadInfo", "ThreadRecord", "is_minidump",
]  # fmt: skip

_MAX_STREAMS = 10_000
_MAX_MODULES = 100_000
_MAX_TEXT = 64 << 20


def is_minidump(buffer: Buffer) -> bool:
    return bytes(buffer[:4]) == b"MDMP"


class Minidump:
    """A minidump over `buffer`. Raises `FormatError` if it is none.

    `header` are the fields of MINIDUMP_HEADER, `streams` all entries of the directory that lie in
    the file, unused ones among them. `problems` grows as streams are read; `read_all` reads all.
    """

    __slots__ = ("_cache", "file", "header", "streams")

    def __init__(self, buffer: Buffer) -> None:
        tag = bytes(buffer[:4])
        if tag == b"PMDM":
            raise FormatError("minidump header", "big-endian, which no supported CPU is")
        if tag != b"MDMP":
            raise FormatError("minidump header", "no minidump signature")
        if len(buffer) < HEADER.size:
            raise FormatError("minidump header", "cut short")
        self.file = DumpBytes(buffer)
        self.header: dict[str, Any] = HEADER.unpack(buffer)
        if self.header["Version"] & 0xFFFF != VERSION:
            self.file.note("header", f"version 0x{self.header['Version']:x} is not known")
        self._cache: dict[str, Any] = {}
        self.streams = self._directory()

    @property
    def problems(self) -> list[Problem]:
        return self.file.problems

    def _directory(self) -> list[Stream]:
        file, rva = self.file, self.header["StreamDirectoryRva"]
        claimed = self.header["NumberOfStreams"]
        count = min(claimed, max(0, file.size - rva) // DIRECTORY.size, _MAX_STREAMS)
        if count < claimed:
            file.note("directory", f"claims {claimed} streams, holds {count}")
        found = []
        seen: set[int] = set()
        rows = DIRECTORY.rows(file.buffer, rva, count, DIRECTORY.size)
        for index, (type_, size, start) in enumerate(rows):
            name = streams.stream_type(type_).name
            held = size if type_ == streams.UNUSED else file.held(start, size, name)
            found.append(Stream(index, type_, name, start, held, size))
            if type_ in seen and type_ != streams.UNUSED and held:
                file.note(name, "is there more than once; the first one is used")
            seen.add(type_)
        self._note_overlaps(found)
        return found

    def _note_overlaps(self, found: list[Stream]) -> None:
        used = [each for each in found if each.size and each.type != streams.UNUSED]
        used.sort(key=lambda each: (each.rva, each.index))
        last = None
        for each in used:
            if last is not None and each.rva < last.rva + last.size:
                self.file.note(each.name, f"shares bytes with {last.name}")
            if last is None or each.rva + each.size > last.rva + last.size:
                last = each

    def stream(self, type: int) -> Stream | None:
        """The first stream of that type that has any bytes in the file."""
        for each in self.streams:
            if each.type == type and each.size:
                return each
        return None

    def _once(self, name: str, read: Callable[[], T]) -> T:
        if name not in self._cache:
            self._cache[name] = read()
        value: T = self._cache[name]
        return value

    def entries(self, type: int) -> lists.Entries | None:
        """The entries of a stream that is a list; None if it is not there or has no header."""
        return self._once(f"entries {type}", lambda: self._entries(type))

    def _entries(self, type: int) -> lists.Entries | None:
        stream = self.stream(type)
        if stream is None:
            return None
        kind, file = streams.stream_type(type), self.file
        try:
            return lists.find_entries(
                kind, file.buffer, stream.rva, stream.size, file.note, stream.claimed
            )
        except FormatError as error:
            file.note(kind.name, str(error))
            return None

    def values(self, type: int) -> dict[str, Any] | None:
        """What a stream that is a structure holds, as far as it goes; None without the stream."""
        stream = self.stream(type)
        if stream is None:
            return None
        header = streams.structure_of(type, self.file.buffer, stream.rva)
        if header is None:
            return None
        return header.unpack_known(self.file.buffer, stream.rva, stream.rva + stream.size)

    # --- what has happened ----------------------------------------------------------------

    def system(self) -> System | None:
        """Processor and operating system; told by the threads where SystemInfo is lost, or None."""
        return self._once("system", lambda: self._system() or self._guessed_system())

    def _guessed_system(self) -> System | None:
        from unspool.formats.minidump.guess import guess_system

        return guess_system(self)

    def _system(self) -> System | None:
        values = self.values(streams.SYSTEM_INFO)
        if values is None:
            return None
        if "Cpu" not in values:
            self.file.note("SystemInfoStream", "is cut short")
            if "PlatformId" not in values:
                return None
            values = {"Cpu": b"", **values}
        return System(values, self.file.string(values.get("CSDVersionRva", 0), "SystemInfoStream"))

    def exception(self) -> ExceptionRecord | None:
        return self._once("exception", self._exception)

    def _exception(self) -> ExceptionRecord | None:
        values = self.values(streams.EXCEPTION)
        if values is None:
            return None
        if "ExceptionRecord" not in values:
            self.file.note("ExceptionStream", "is cut short")
            return None
        record = values["ExceptionRecord"]
        information, count = record["ExceptionInformation"], record["NumberParameters"]
        if count > len(information):
            self.file.note("ExceptionStream", f"claims {count} parameters")
        place = values.get("ThreadContext", {"Rva": 0, "DataSize": 0})
        return ExceptionRecord(
            values["ThreadId"], record["ExceptionCode"], record["ExceptionFlags"],
            record["ExceptionRecord"], record["ExceptionAddress"],
            tuple(information[: min(count, len(information))]),
            self._context(place["Rva"], place["DataSize"], "ExceptionStream"),
        )  # fmt: skip

    def _context(self, rva: int, size: int, where: str) -> tuple[int, int] | None:
        if not rva or not size:
            return None
        held = self.file.held(rva, size, where)
        return (rva, held) if held else None

    def misc(self) -> MiscInfo | None:
        return self._once("misc", self._misc)

    def _misc(self) -> MiscInfo | None:
        stream = self.stream(streams.MISC_INFO)
        values = self.values(streams.MISC_INFO)
        if stream is None or values is None or "Flags1" not in values:
            return None
        size = values["SizeOfInfo"]
        if size > stream.size:
            self.file.note("MiscInfoStream", f"claims {size} bytes")
        elif 8 <= size < stream.size:
            end = stream.rva + size
            values = MISC_INFO.unpack_known(self.file.buffer, stream.rva, end)
        return MiscInfo(values)

    def breakpad(self) -> BreakpadInfo | None:
        """Who wrote the dump. Breakpad's own tools do not show the thread that did."""
        values = self.values(streams.BREAKPAD_INFO)
        if values is None or "requesting_thread_id" not in values:
            return None
        valid = values["validity"]
        writer = values["dump_thread_id"] if valid & 1 else None
        return BreakpadInfo(writer, values["requesting_thread_id"] if valid & 2 else None)

    # --- threads --------------------------------------------------------------------------

    def threads(self) -> list[ThreadRecord]:
        """All threads, of the extended list (Itanium's) only where there is no other."""
        return self._once("threads", self._threads)

    def _threads(self) -> list[ThreadRecord]:
        type_ = streams.THREAD_LIST
        if self.stream(type_) is None:
            type_ = streams.THREAD_EX_LIST
        entries = self.entries(type_)
        if entries is None:
            return []
        return [self._thread(*row[:10]) for row in entries.rows(self.file.buffer)]

    def _thread(
        self, tid: int, suspended: int, priority_class: int, priority: int, teb: int,
        start: int, size: int, rva: int, context_size: int, context_rva: int,
    ) -> ThreadRecord:  # fmt: skip
        where = f"thread {tid}"
        return ThreadRecord(
            tid, suspended, priority_class, priority, teb, start,
            self._stack(start, size, rva, where), self._context(context_rva, context_size, where),
        )  # fmt: skip

    def _stack(self, start: int, size: int, rva: int, where: str) -> Range | None:
        if not size:
            return None
        # A full dump of Windows has all memory in the list of 64-bit ranges, and so the stacks'
        # records lead nowhere; some writers leave them out of ordinary dumps as well.
        if not rva:
            return memory_ranges.part_at(self._listed_disjoint(), start, size)
        found = memory_ranges.held_range(self.file, Range(start, size, rva))
        if found is None or found.size < size:
            self.file.note(where, "its stack goes beyond the end of the file or of memory")
        return found

    def thread_names(self) -> dict[int, str]:
        """Names by thread id; of two for one id the first, empty ones left out."""
        return self._once("thread names", self._thread_names)

    def _thread_names(self) -> dict[int, str]:
        entries = self.entries(streams.THREAD_NAMES)
        names: dict[int, str] = {}
        for tid, rva in entries.rows(self.file.buffer) if entries else ():
            name = self.file.string(rva, f"name of thread {tid}")
            if name:
                names.setdefault(tid, name)
        return names

    def thread_infos(self) -> list[ThreadInfo]:
        entries = self.entries(streams.THREAD_INFO_LIST)
        return [ThreadInfo(*row) for row in entries.rows(self.file.buffer)] if entries else []

    # --- modules and memory ---------------------------------------------------------------

    def modules(self) -> list[ModuleRecord]:
        """The images that were loaded, as the dump lists them: the program is the first."""
        return self._once("modules", lambda: self._modules(streams.MODULE_LIST))

    def wine_modules(self) -> list[ModuleRecord]:
        """ELF modules of a dump that a program under Wine has written of itself."""
        return self._once("wine modules", lambda: self._modules(streams.WINE_MODULE_LIST))

    def _modules(self, type: int) -> list[ModuleRecord]:
        entries = self.entries(type)
        if entries is None:
            return []
        entries.count = min(entries.count, _MAX_MODULES)
        return [modules.module(self.file, row) for row in entries.rows(self.file.buffer)]

    def unloaded_modules(self) -> list[ModuleRecord]:
        return self._once("unloaded modules", self._unloaded_modules)

    def _unloaded_modules(self) -> list[ModuleRecord]:
        entries = self.entries(streams.UNLOADED_MODULE_LIST)
        if entries is None:
            return []
        entries.count = min(entries.count, _MAX_MODULES)
        return [modules.unloaded(self.file, row) for row in entries.rows(self.file.buffer)]

    def listed_memory(self) -> list[Range]:
        """The ranges of both memory lists as they are listed; they may overlap."""
        return self._once("listed memory", self._listed_memory)

    def _listed_memory(self) -> list[Range]:
        found: list[Range] = []
        entries = self.entries(streams.MEMORY_LIST)
        if entries is not None:
            found += memory_ranges.ranges_of_list(self.file, entries)
        entries = self.entries(streams.MEMORY64_LIST)
        if entries is not None:
            found += memory_ranges.ranges_of_list64(self.file, entries)
        return found

    def _listed_disjoint(self) -> list[Range]:
        return self._once(
            "disjoint", lambda: memory_ranges.disjoint(self.file, self.listed_memory())
        )

    def memory(self) -> list[Range]:
        """All memory that the file holds, by address, none overlapping another.

        That of both lists, and stacks that are in no list.
        """
        return self._once("memory", self._memory)

    def _memory(self) -> list[Range]:
        stacks = [each.stack for each in self.threads() if each.stack is not None]
        return memory_ranges.disjoint(self.file, [*self.listed_memory(), *stacks])

    def memory_info(self) -> list[MemoryInfo]:
        """The regions of the address space as they are listed."""
        return self._once("memory info", self._memory_info)

    def _memory_info(self) -> list[MemoryInfo]:
        entries = self.entries(streams.MEMORY_INFO_LIST)
        if entries is None:
            return []
        return [
            MemoryInfo(base, size, allocation, allocation_protect, state, protect, kind)
            for base, allocation, allocation_protect, _, size, state, protect, kind, _ in (
                entries.rows(self.file.buffer)
            )
        ]

    # --- the rest -------------------------------------------------------------------------

    def text(self, type: int) -> bytes | None:
        """The bytes of a stream, such as a file of /proc; None if it is not there."""
        stream = self.stream(type)
        if stream is None:
            return None
        return bytes(self.file.buffer[stream.rva : stream.rva + min(stream.size, _MAX_TEXT)])

    def dso_debug(self) -> DsoDebug | None:
        """The dynamic linker's list of modules, as Breakpad writes it."""
        from unspool.formats.minidump.linux import dso_debug

        return self._once("dso debug", lambda: dso_debug(self))

    def crashpad(self) -> CrashpadInfo | None:
        from unspool.formats.minidump.crashpad import crashpad_info

        return self._once("crashpad", lambda: crashpad_info(self))

    def handles(self) -> list[Handle]:
        from unspool.formats.minidump.process import handles

        return self._once("handles", lambda: handles(self))

    def function_tables(self) -> list[FunctionTable]:
        """Unwind data of code that the program made at run time."""
        from unspool.formats.minidump.process import function_tables

        return self._once("function tables", lambda: function_tables(self))

    def read_all(self) -> list[Problem]:
        """Reads every stream, and gives all that is wrong with the dump."""
        self.system(), self.exception(), self.misc(), self.memory(), self.memory_info()
        self.thread_names(), self.thread_infos(), self.modules(), self.wine_modules()
        self.unloaded_modules(), self.dso_debug(), self.crashpad(), self.handles()
        self.function_tables()
        return self.problems
