"""Builds minidumps as Windows, Breakpad and Crashpad write them, honest ones and lying ones.

    dump = Minidump("amd64", "linux")
    dump.thread(100, {"rip": 0x401000, "rsp": 0x7FFD_0000}, stack=(0x7FFD_0000, words))
    dump.module(0x40_0000, 0x2000, "/bin/prog", codeview=build_id(bytes(20)))
    data = dump.build()

Every field can be overridden by its name in `minidump_records.py`: `dump.thread(…,
Stack_Rva=0)`. An override changes that field alone; the file is laid out as if it were honest.
`dump.lists[THREAD_LIST] = List(count=1 << 31)` lies about a list, `dump.entries[THREAD_LIST] =
{"Rva": 5}` about its directory entry. After `build`, `dump.places[THREAD_LIST]` is where it lies.

The file is header, directory, then each stream behind its strings and contexts, then all memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence

from tests.build import minidump_records as r

Registers = Mapping[str, int | bytes]
Lies = Mapping[str, int]


class List:
    """How a list lies: about its count, its sizes, and with bytes between count and array.

    Breakpad and Crashpad sometimes write 4 bytes of padding behind the count, so that 64-bit
    fields are aligned; readers tell it by the stream's size.
    """

    def __init__(
        self,
        *,
        count: int | None = None,
        padding: int = 0,
        header_size: int | None = None,
        entry_size: int | None = None,
        base: int | None = None,
    ) -> None:
        self.count = count
        self.padding = padding
        self.header_size = header_size
        self.entry_size = entry_size
        self.base = base  # Memory64List: where the bytes of all ranges begin


class Block:
    """Memory that the dump holds. Its RVA is known while a dump is built."""

    def __init__(self, address: int, data: bytes, listed: bool, lies: Lies) -> None:
        self.address = address
        self.data = data
        self.listed = listed
        self.lies = lies
        self.rva = 0


class File:
    """The file in the making."""

    def __init__(self, start: int) -> None:
        self.data = bytearray(start)

    def add(self, data: bytes, align: int = 4) -> int:
        self.data += bytes(-len(self.data) % align)
        rva = len(self.data)
        self.data += data
        return rva


Body = Callable[[File], bytes]


class Minidump:
    """A minidump in the making.

    `arch` is a key of `CONTEXTS`, `system` one of `PLATFORMS`; None leaves SystemInfo out.
    `memory` says which streams list it: "list", "64", "both" or "none". `lies` are fields of
    the header. `thread_ex` writes a ThreadExList instead of a ThreadList.
    """

    def __init__(
        self,
        arch: str = "amd64",
        system: str | None = "linux",
        *,
        memory: str = "list",
        thread_ex: bool = False,
        **lies: int,
    ) -> None:
        self.arch = arch
        self.memory_lists = memory
        self.thread_ex = thread_ex
        self.lies = lies
        self.lists: dict[int, List] = {}
        self.entries: dict[int, Lies] = {}
        self.extra_entries: list[tuple[int, int, int]] = []  # type, size, RVA
        self.places: dict[int, tuple[int, int]] = {}  # type -> RVA, size; once built
        self.blocks: list[Block] = []
        self.streams: list[tuple[int, Body]] = []  # type, and what makes its bytes
        self.threads: list[Callable[[File], dict[str, int | bytes]]] = []
        self._names: list[tuple[int, bytes, Lies]] = []
        self._modules: list[Callable[[File], bytes]] = []
        self._unloaded: list[tuple[dict[str, int], bytes]] = []
        self._regions: list[dict[str, int]] = []
        if system is not None:
            self.system(system)

    # --- what the process was ---------------------------------------------------------

    def system(self, system: str, csd: str = "", **lies: int | bytes) -> None:
        fields = {
            "ProcessorArchitecture": r.ARCHITECTURES[self.arch],
            "NumberOfProcessors": 4,
            "MajorVersion": 10 if system == "windows" else 6,
            "BuildNumber": 19045 if system == "windows" else 0,
            "PlatformId": r.PLATFORMS[system],
            **lies,
        }

        def body(file: File) -> bytes:
            rva = file.add(r.string(csd))
            return r.SYSTEM.pack(**{"CSDVersionRva": rva, **fields})

        self.streams.append((r.SYSTEM_INFO, body))

    def misc(
        self, pid: int = 0, created: int = 0, *, size: int = 24, more: bytes = b"", **lies: int
    ) -> None:
        """MINIDUMP_MISC_INFO of `size` bytes (24, 44, 232, 832 or 1364); `more` is its rest."""
        fields = {"SizeOfInfo": size, "Flags1": 3, "ProcessId": pid, "ProcessCreateTime": created}
        record = r.MISC.pack(**{**fields, **lies}) + more
        self.stream(r.MISC_INFO, record[:size].ljust(size, b"\0"))

    # --- threads ----------------------------------------------------------------------

    def thread(
        self,
        tid: int,
        registers: Registers | None = None,
        stack: tuple[int, bytes] | Block | None = None,
        *,
        name: str | None = None,
        context: bytes | None = None,
        listed: bool = True,
        **lies: int,
    ) -> None:
        """A thread; `context` are the bytes of one instead of `registers`, None for none.

        Breakpad lists stacks among the memory as well (`listed`). Several threads may have
        the same `Block` for a stack.
        """
        if isinstance(stack, tuple):
            stack = self.memory(*stack, listed=listed)
        if context is None and registers is not None:
            context = r.context(self.arch, registers)

        def record(file: File) -> dict[str, int | bytes]:
            fields: dict[str, int | bytes] = {"ThreadId": tid, "PriorityClass": 32}
            if stack is not None:
                fields |= {
                    "Stack_Start": stack.address,
                    "Stack_DataSize": len(stack.data),
                    "Stack_Rva": stack.rva,
                }
            if context is not None:
                fields |= {"Context_DataSize": len(context), "Context_Rva": file.add(context, 16)}
            return fields | lies

        self.threads.append(record)
        if name is not None:
            self.thread_name(tid, r.string(name))

    def thread_name(self, tid: int, text: bytes, **lies: int) -> None:
        """A name alone; `text` is a whole MINIDUMP_STRING."""
        self._names.append((tid, text, lies))

    def exception(
        self,
        tid: int,
        code: int,
        address: int = 0,
        parameters: Sequence[int] = (),
        *,
        registers: Registers | None = None,
        context: bytes | None = None,
        **lies: int,
    ) -> None:
        if context is None and registers is not None:
            context = r.context(self.arch, registers)

        def body(file: File) -> bytes:
            fields: dict[str, int | bytes] = {
                "ThreadId": tid,
                "ExceptionCode": code,
                "ExceptionAddress": address,
                "NumberParameters": len(parameters),
                "ExceptionInformation": struct.pack(f"<{len(parameters)}Q", *parameters),
            }
            if context is not None:
                fields |= {"Context_DataSize": len(context), "Context_Rva": file.add(context, 16)}
            return r.EXCEPTION_STREAM.pack(**{**fields, **lies})

        self.streams.append((r.EXCEPTION, body))

    # --- modules ----------------------------------------------------------------------

    def module(
        self,
        base: int,
        size: int,
        name: str | bytes,
        *,
        codeview: bytes | None = None,
        version: bytes = b"",
        **lies: int,
    ) -> None:
        """A module; `name` in bytes is a whole MINIDUMP_STRING."""
        text = r.string(name) if isinstance(name, str) else name

        def record(file: File) -> bytes:
            fields: dict[str, int | bytes] = {
                "BaseOfImage": base,
                "SizeOfImage": size,
                "ModuleNameRva": file.add(text),
                "VersionInfo": version,
            }
            if codeview is not None:
                fields |= {"CvRecord_DataSize": len(codeview), "CvRecord_Rva": file.add(codeview)}
            return r.MODULE.pack(**{**fields, **lies})

        self._modules.append(record)

    def unloaded_module(self, base: int, size: int, name: str, **lies: int) -> None:
        self._unloaded.append(({"BaseOfImage": base, "SizeOfImage": size, **lies}, r.string(name)))

    # --- memory -----------------------------------------------------------------------

    def memory(self, address: int, data: bytes, *, listed: bool = True, **lies: int) -> Block:
        """Memory; not `listed`, only a thread's record leads to it. `lies` are its entry's."""
        block = Block(address, data, listed, lies)
        self.blocks.append(block)
        return block

    def region(self, base: int, size: int, protect: int = 4, **lies: int) -> None:
        """A MINIDUMP_MEMORY_INFO: committed private memory unless `lies` say other."""
        self._regions.append(
            {
                "BaseAddress": base, "AllocationBase": base, "AllocationProtect": protect,
                "RegionSize": size, "State": 0x1000, "Protect": protect, "Type": 0x20000, **lies,
            }
        )  # fmt: skip

    # --- other streams ----------------------------------------------------------------

    def stream(self, kind: int, data: bytes) -> None:
        """Any stream: the Linux texts, and unknown ones. A second one of a type is a duplicate."""
        self.streams.append((kind, lambda _file: data))

    def drop(self, kind: int) -> None:
        """Takes streams of that type out again; lists of records are dropped with their records."""
        self.streams = [stream for stream in self.streams if stream[0] != kind]

    def breakpad_info(self, requesting_tid: int, dump_tid: int = 0) -> None:
        fields = {"Validity": 3, "DumpThreadId": dump_tid, "RequestingThreadId": requesting_tid}
        self.stream(r.BREAKPAD_INFO, r.BREAKPAD.pack(**fields))

    def dso_debug(
        self,
        links: Sequence[tuple[int, str, int]],
        dynamic: bytes = b"",
        *,
        bits: int = 64,
        **lies: int,
    ) -> None:
        """Breakpad's r_debug: of each loaded object its bias, name and dynamic section.

        `dynamic` is what the program's own dynamic section holds.
        """
        head, link = (r.DSO_DEBUG64, r.LINK_MAP64) if bits == 64 else (r.DSO_DEBUG32, r.LINK_MAP32)

        def body(file: File) -> bytes:
            names = [file.add(r.string(name)) for _, name, _ in links]
            table = b"".join(
                link.pack(Addr=addr, Name=rva, Ld=ld)
                for (addr, _, ld), rva in zip(links, names, strict=True)
            )
            fields = {"Version": 1, "Map": file.add(table, 8), "DsoCount": len(links), **lies}
            return head.pack(**fields) + dynamic

        self.streams.append((r.LINUX_DSO_DEBUG, body))

    def handles(self, handles: Sequence[tuple[int, str, str]]) -> None:
        """MINIDUMP_HANDLE_DATA_STREAM of (handle, type's name, object's name)."""

        def body(file: File) -> bytes:
            records = [
                r.HANDLE.pack(
                    Handle=handle,
                    TypeNameRva=file.add(r.string(kind)),
                    ObjectNameRva=file.add(r.string(name)) if name else 0,
                )
                for handle, kind, name in handles
            ]
            return self._sized_list(r.HANDLE_DATA, 16, "IIII", records, r.HANDLE.size)

        self.streams.append((r.HANDLE_DATA, body))

    def crashpad(
        self,
        annotations: Mapping[str, str] = {},
        modules: Mapping[int, Mapping[str, str]] = {},
        *,
        size: int = 64,
        **lies: int,
    ) -> None:
        """MinidumpCrashpadInfo: annotations of the process, and of modules by their index.

        Its `size` was 52 before `reserved` and `address_mask` came, in 2022.
        """

        def dictionary(file: File, items: Mapping[str, str]) -> tuple[int, int]:
            pairs = [
                (file.add(r.utf8_string(key)), file.add(r.utf8_string(value)))
                for key, value in items.items()
            ]
            data = struct.pack("<I", len(pairs)) + b"".join(struct.pack("<II", *p) for p in pairs)
            return len(data), file.add(data)

        def body(file: File) -> bytes:
            length, rva = dictionary(file, annotations)
            links = b""
            for index, items in modules.items():
                inner = dict(
                    zip(("SimpleAnnotations_DataSize", "SimpleAnnotations_Rva"),
                        dictionary(file, items), strict=True)
                )  # fmt: skip
                record = r.CRASHPAD_MODULE.pack(Version=1, **inner)
                links += struct.pack("<III", index, len(record), file.add(record))
            table = struct.pack("<I", len(modules)) + links
            fields: dict[str, int | bytes] = {
                "Version": 1, "ReportId": bytes(range(16)), "ClientId": bytes(range(16, 32)),
                "SimpleAnnotations_DataSize": length, "SimpleAnnotations_Rva": rva,
                "ModuleList_DataSize": len(table), "ModuleList_Rva": file.add(table), **lies,
            }  # fmt: skip
            return r.CRASHPAD.pack(**fields)[:size]

        self.streams.append((r.CRASHPAD_INFO, body))

    # --- the file ---------------------------------------------------------------------

    def build(self, length: int | None = None) -> bytes:
        """The dump, cut to `length` bytes."""
        start = 0
        # Where memory begins follows from what is before it, which holds the RVAs of memory.
        for _ in range(2):
            rva = start
            for block in self.blocks:
                block.rva = rva
                rva += len(block.data)
            before = self._before_memory(start)
            start = len(before)
        return (before + b"".join(block.data for block in self.blocks))[:length]

    def _before_memory(self, memory_rva: int) -> bytes:
        streams = self._all_streams(memory_rva)
        count = len(streams) + len(self.extra_entries)
        file = File(r.HEADER.size + r.DIRECTORY.size * count)
        directory = bytearray()
        for kind, body in streams:
            data = body(file)
            rva = file.add(data)
            self.places[kind] = (rva, len(data))
            fields = {"StreamType": kind, "DataSize": len(data), "Rva": rva}
            directory += r.DIRECTORY.pack(**{**fields, **self.entries.get(kind, {})})
        for entry in self.extra_entries:
            directory += struct.pack("<III", *entry)
        header: dict[str, int] = {
            "Signature": 0x504D444D, "Version": 0xA793, "NumberOfStreams": count,
            "StreamDirectoryRva": r.HEADER.size, "TimeDateStamp": 0x6553F100, **self.lies,
        }  # fmt: skip
        file.data[: r.HEADER.size] = r.HEADER.pack(**header)
        file.data[r.HEADER.size : r.HEADER.size + len(directory)] = directory
        file.add(b"", 16)
        return bytes(file.data)

    def _all_streams(self, memory_rva: int) -> list[tuple[int, Body]]:
        streams = list(self.streams)
        if self.threads:
            kind = r.THREAD_EX_LIST if self.thread_ex else r.THREAD_LIST
            layout = r.THREAD_EX if self.thread_ex else r.THREAD
            streams.append((kind, lambda file: self._list(
                kind, [layout.pack(**thread(file)) for thread in self.threads])))  # fmt: skip
        if self._names:
            streams.append((r.THREAD_NAMES, self._thread_names))
        if self._modules:
            streams.append((r.MODULE_LIST, lambda file: self._list(
                r.MODULE_LIST, [module(file) for module in self._modules])))  # fmt: skip
        if self._unloaded:
            streams.append((r.UNLOADED_MODULE_LIST, self._unloaded_modules))
        if self._regions:
            records = [r.MEMORY_INFO.pack(**region) for region in self._regions]
            streams.append((r.MEMORY_INFO_LIST, lambda _file: self._sized_list(
                r.MEMORY_INFO_LIST, 16, "IIQ", records, r.MEMORY_INFO.size)))  # fmt: skip
        if self.memory_lists in ("list", "both"):
            streams.append((r.MEMORY_LIST, self._memory_list))
        if self.memory_lists in ("64", "both"):
            streams.append((r.MEMORY64_LIST, lambda _file: self._memory64_list(memory_rva)))
        return streams

    def _list(self, kind: int, records: list[bytes]) -> bytes:
        lie = self.lists.get(kind, List())
        count = len(records) if lie.count is None else lie.count
        return struct.pack("<I", count) + bytes(lie.padding) + b"".join(records)

    def _sized_list(
        self, kind: int, head: int, code: str, records: list[bytes], size: int
    ) -> bytes:
        """The newer lists, which say the sizes of their header and entries."""
        lie = self.lists.get(kind, List())
        numbers = [
            head if lie.header_size is None else lie.header_size,
            size if lie.entry_size is None else lie.entry_size,
            len(records) if lie.count is None else lie.count,
        ]
        numbers += [0] * (len(code) - 3)
        return struct.pack("<" + code, *numbers) + bytes(lie.padding) + b"".join(records)

    def _thread_names(self, file: File) -> bytes:
        records = [
            r.THREAD_NAME.pack(**{"ThreadId": tid, "RvaOfThreadName": file.add(text), **lies})
            for tid, text, lies in self._names
        ]
        return self._list(r.THREAD_NAMES, records)

    def _unloaded_modules(self, file: File) -> bytes:
        records = [
            r.UNLOADED_MODULE.pack(**{"ModuleNameRva": file.add(name), **fields})
            for fields, name in self._unloaded
        ]
        kind = r.UNLOADED_MODULE_LIST
        return self._sized_list(kind, 12, "III", records, r.UNLOADED_MODULE.size)

    def _memory_list(self, _file: File) -> bytes:
        records = []
        for block in self.blocks:
            fields = {
                "StartOfMemoryRange": block.address, "DataSize": len(block.data), "Rva": block.rva,
            }  # fmt: skip
            if block.listed:
                records.append(r.MEMORY.pack(**{**fields, **block.lies}))
        return self._list(r.MEMORY_LIST, records)

    def _memory64_list(self, base: int) -> bytes:
        """Every block, listed or not: their bytes follow each other from `base` on."""
        lie = self.lists.get(r.MEMORY64_LIST, List())
        records = b""
        for block in self.blocks:
            lies = {name: value for name, value in block.lies.items() if name != "Rva"}
            fields = {"StartOfMemoryRange": block.address, "DataSize": len(block.data), **lies}
            records += r.MEMORY64.pack(**fields)
        count = len(self.blocks) if lie.count is None else lie.count
        base = base if lie.base is None else lie.base
        return struct.pack("<QQ", count, base) + bytes(lie.padding) + records
