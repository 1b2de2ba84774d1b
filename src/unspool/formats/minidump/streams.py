"""Data table: the streams of minidumps: number, name, what they hold, what they are made of."""

from __future__ import annotations

from unspool.formats.minidump import extensions as ext
from unspool.formats.minidump import names
from unspool.formats.minidump import process_structures as ps
from unspool.formats.minidump import structures as st

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer
    from unspool.formats.minidump.layout import Layout

UNUSED = 0
THREAD_LIST, MODULE_LIST, MEMORY_LIST, EXCEPTION, SYSTEM_INFO, THREAD_EX_LIST = range(3, 9)
MEMORY64_LIST, COMMENT_A, COMMENT_W, HANDLE_DATA, FUNCTION_TABLE = range(9, 14)
UNLOADED_MODULE_LIST, MISC_INFO, MEMORY_INFO_LIST, THREAD_INFO_LIST = range(14, 18)
HANDLE_OPERATION_LIST, TOKEN, JAVASCRIPT_DATA, SYSTEM_MEMORY_INFO = range(18, 22)
PROCESS_VM_COUNTERS, IPT_TRACE, THREAD_NAMES = range(22, 25)
# What MiniDumpWriteDump of Wine writes beside the list of PE modules (dbghelp/minidump.c), without
# a name for the number: it lies among those that Microsoft has reserved.
WINE_MODULE_LIST = 0xFFF0
BREAKPAD_INFO, ASSERTION_INFO = 0x47670001, 0x47670002
LINUX_CPU_INFO, LINUX_PROC_STATUS, LINUX_LSB_RELEASE = 0x47670003, 0x47670004, 0x47670005
LINUX_CMD_LINE, LINUX_ENVIRON, LINUX_AUXV = 0x47670006, 0x47670007, 0x47670008
LINUX_MAPS, LINUX_DSO_DEBUG = 0x47670009, 0x4767000A
CRASHPAD_INFO = 0x43500001
STABILITY_REPORT = 0x4B6B0002
MAC_CRASH_INFO, MAC_BOOTARGS, MOZ_LINUX_LIMITS, MOZ_SOFT_ERRORS = range(0x4D7A0001, 0x4D7A0005)

# In a comment of ours: the threads' ids as they know themselves, in the order of the list.
OWN_IDS = b"; its threads' ids in their own pid namespace: "


class StreamType:
    """A kind of stream: its number, its name in the header files and what it holds.

    `shape` says what its bytes are:
    - "struct": `header`, of which old writers may have written less, new ones more
    - "list": `header` with a number of entries in the field `count`, then entries
    - "sized list": the same, and the header's first two fields say how large header and entries
      are, so that both can grow
    - "memory64": a list whose entries' bytes lie behind each other in the file
    - "function table", "tokens": see their structures
    - "text" (UTF-8), "strings" (each with a NUL), "wide" (UTF-16), "json"
    - "auxv", "dso debug", "crashpad", "mac crash info": see their structures
    - "bytes": anything else; `header` is None
    """

    __slots__ = ("count", "entry", "header", "meaning", "name", "number", "shape")

    def __init__(
        self, number: int, name: str, meaning: str, shape: str,
        header: Layout | None = None, entry: Layout | None = None, count: str = "",
    ) -> None:  # fmt: skip
        self.number = number
        self.name = name
        self.meaning = meaning
        self.shape = shape
        self.header = header
        self.entry = entry
        self.count = count


_ALL = (
    StreamType(UNUSED, "UnusedStream", "nothing: an unused entry", "bytes"),
    StreamType(1, "ReservedStream0", "nothing", "bytes"),
    StreamType(2, "ReservedStream1", "nothing", "bytes"),
    StreamType(
        THREAD_LIST, "ThreadListStream", "threads, with stack and registers", "list",
        st.THREAD_LIST, st.THREAD, "NumberOfThreads",
    ),
    StreamType(
        MODULE_LIST, "ModuleListStream", "images that were loaded", "list",
        st.MODULE_LIST, st.MODULE, "NumberOfModules",
    ),
    StreamType(
        MEMORY_LIST, "MemoryListStream", "memory that is in the file", "list",
        st.MEMORY_LIST, st.MEMORY_DESCRIPTOR, "NumberOfMemoryRanges",
    ),
    StreamType(
        EXCEPTION, "ExceptionStream", "why the process ended", "struct", st.EXCEPTION_STREAM
    ),
    StreamType(
        SYSTEM_INFO, "SystemInfoStream", "processor and operating system", "struct",
        st.SYSTEM_INFO,
    ),
    StreamType(
        THREAD_EX_LIST, "ThreadExListStream", "threads with a backing store", "list",
        st.THREAD_LIST, st.THREAD_EX, "NumberOfThreads",
    ),
    StreamType(
        MEMORY64_LIST, "Memory64ListStream", "memory that is in the file, of a full dump",
        "memory64", st.MEMORY64_LIST, st.MEMORY_DESCRIPTOR64, "NumberOfMemoryRanges",
    ),
    StreamType(COMMENT_A, "CommentStreamA", "a comment", "text"),
    StreamType(COMMENT_W, "CommentStreamW", "a comment in UTF-16", "wide"),
    StreamType(
        HANDLE_DATA, "HandleDataStream", "open handles", "sized list",
        ps.HANDLE_DATA, ps.HANDLE, "NumberOfDescriptors",
    ),
    StreamType(
        FUNCTION_TABLE, "FunctionTableStream", "unwind data of code made at run time",
        "function table", ps.FUNCTION_TABLE_STREAM, ps.FUNCTION_TABLE, "NumberOfDescriptors",
    ),
    StreamType(
        UNLOADED_MODULE_LIST, "UnloadedModuleListStream", "images that were loaded once",
        "sized list", st.UNLOADED_MODULE_LIST, st.UNLOADED_MODULE, "NumberOfEntries",
    ),
    StreamType(
        MISC_INFO, "MiscInfoStream", "facts about the process and the machine", "struct",
        ps.MISC_INFO,
    ),
    StreamType(
        MEMORY_INFO_LIST, "MemoryInfoListStream", "regions of the address space", "sized list",
        st.MEMORY_INFO_LIST, st.MEMORY_INFO, "NumberOfEntries",
    ),
    StreamType(
        THREAD_INFO_LIST, "ThreadInfoListStream", "times and starts of threads", "sized list",
        st.THREAD_INFO_LIST, st.THREAD_INFO, "NumberOfEntries",
    ),
    StreamType(
        HANDLE_OPERATION_LIST, "HandleOperationListStream", "last operations on handles",
        "sized list", ps.HANDLE_OPERATION_LIST, ps.HANDLE_OPERATION, "NumberOfEntries",
    ),
    StreamType(
        TOKEN, "TokenStream", "access tokens", "tokens", ps.TOKEN_LIST, ps.TOKEN,
        "TokenListEntries",
    ),
    StreamType(JAVASCRIPT_DATA, "JavaScriptDataStream", "JavaScript's own data", "bytes"),
    StreamType(
        SYSTEM_MEMORY_INFO, "SystemMemoryInfoStream", "memory and load of the machine", "struct",
        ps.SYSTEM_MEMORY_INFO,
    ),
    StreamType(
        PROCESS_VM_COUNTERS, "ProcessVmCountersStream", "the process's use of memory", "struct",
        ps.VM_COUNTERS_2,
    ),
    StreamType(IPT_TRACE, "IptTraceStream", "a trace of Intel's processors", "bytes"),
    StreamType(
        THREAD_NAMES, "ThreadNamesStream", "names of threads", "list",
        st.THREAD_NAME_LIST, st.THREAD_NAME, "NumberOfThreadNames",
    ),
    StreamType(0x8000, "ceStreamNull", "Windows CE: nothing", "bytes"),
    StreamType(0x8001, "ceStreamSystemInfo", "Windows CE: the system", "bytes"),
    StreamType(0x8002, "ceStreamException", "Windows CE: the exception", "bytes"),
    StreamType(0x8003, "ceStreamModuleList", "Windows CE: modules", "bytes"),
    StreamType(0x8004, "ceStreamProcessList", "Windows CE: processes", "bytes"),
    StreamType(0x8005, "ceStreamThreadList", "Windows CE: threads", "bytes"),
    StreamType(0x8006, "ceStreamThreadContextList", "Windows CE: registers", "bytes"),
    StreamType(0x8007, "ceStreamThreadCallStackList", "Windows CE: call stacks", "bytes"),
    StreamType(0x8008, "ceStreamMemoryVirtualList", "Windows CE: virtual memory", "bytes"),
    StreamType(0x8009, "ceStreamMemoryPhysicalList", "Windows CE: physical memory", "bytes"),
    StreamType(0x800A, "ceStreamBucketParameters", "Windows CE: Watson's parameters", "bytes"),
    StreamType(0x800B, "ceStreamProcessModuleMap", "Windows CE: modules of processes", "bytes"),
    StreamType(0x800C, "ceStreamDiagnosisList", "Windows CE: diagnoses", "bytes"),
    StreamType(
        WINE_MODULE_LIST, "WineElfModuleListStream", "Wine: ELF modules, which Windows has none of",
        "list", st.MODULE_LIST, st.MODULE, "NumberOfModules",
    ),
    StreamType(
        BREAKPAD_INFO, "BreakpadInfoStream", "who asked for the dump", "struct",
        ext.BREAKPAD_INFO,
    ),
    StreamType(
        ASSERTION_INFO, "AssertionInfoStream", "an assertion that failed", "struct",
        ext.ASSERTION_INFO,
    ),
    StreamType(LINUX_CPU_INFO, "LinuxCpuInfo", "/proc/cpuinfo", "text"),
    StreamType(LINUX_PROC_STATUS, "LinuxProcStatus", "/proc/PID/status", "text"),
    StreamType(LINUX_LSB_RELEASE, "LinuxLsbRelease", "/etc/lsb-release or os-release", "text"),
    StreamType(LINUX_CMD_LINE, "LinuxCmdLine", "/proc/PID/cmdline", "strings"),
    StreamType(LINUX_ENVIRON, "LinuxEnviron", "/proc/PID/environ", "strings"),
    StreamType(LINUX_AUXV, "LinuxAuxv", "/proc/PID/auxv", "auxv", None, ext.AUXV64),
    StreamType(LINUX_MAPS, "LinuxMaps", "/proc/PID/maps", "text"),
    StreamType(
        LINUX_DSO_DEBUG, "LinuxDsoDebug", "the dynamic linker's list of modules", "dso debug",
        ext.DSO_DEBUG64, ext.LINK_MAP64, "dso_count",
    ),
    StreamType(
        CRASHPAD_INFO, "CrashpadInfoStream", "annotations of Crashpad's client", "crashpad",
        ext.CRASHPAD_INFO,
    ),
    StreamType(STABILITY_REPORT, "StabilityReportStream", "Chromium's stability report", "bytes"),
    StreamType(
        MAC_CRASH_INFO, "MozMacosCrashInfoStream", "Mozilla: __crash_info of macOS",
        "mac crash info", ext.MAC_CRASH_INFO, ext.MAC_CRASH_INFO_RECORD, "record_count",
    ),
    StreamType(
        MAC_BOOTARGS, "MozMacosBootargsStream", "Mozilla: the macOS kernel's arguments", "struct",
        ext.MAC_BOOTARGS,
    ),
    StreamType(MOZ_LINUX_LIMITS, "MozLinuxLimits", "Mozilla: /proc/PID/limits", "text"),
    StreamType(
        MOZ_SOFT_ERRORS, "MozSoftErrors", "Mozilla: what went wrong while the dump was made",
        "json",
    ),
)  # fmt: skip

STREAMS = {kind.number: kind for kind in _ALL}


def stream_type(number: int) -> StreamType:
    """The kind of stream of that number; one that nobody knows is bytes without a name."""
    known = STREAMS.get(number)
    return known or StreamType(number, f"0x{number:x}", "of an unknown type", "bytes")


def structure_of(number: int, buffer: Buffer, rva: int) -> Layout | None:
    """The header of the stream at `rva`, by its version where versions differ."""
    if number == PROCESS_VM_COUNTERS and bytes(buffer[rva : rva + 2]) == b"\1\0":
        return ps.VM_COUNTERS_1
    return stream_type(number).header


def cpu_layout(processor_architecture: int | None, cpu: bytes) -> Layout:
    """Which form of CPU_INFORMATION the bytes have.

    Windows writes the one of x86 for 32-bit systems alone, Breakpad and Crashpad sometimes for
    x86-64, too: then the vendor's name is there. We write it of cores, which tell the features
    and not the vendor; Windows' form has some features of every processor.
    """
    if processor_architecture in (names.ARM, names.ARM64_OLD):
        return st.CPU_ARM
    if processor_architecture == names.X86:
        return st.CPU_X86
    vendor = cpu[:12]
    named = vendor.isascii() and vendor.isalpha()
    nameless = any(cpu) and not any(cpu[:16])
    is_x86 = processor_architecture == names.AMD64 and (named or nameless)
    return st.CPU_X86 if is_x86 else st.CPU_OTHER
