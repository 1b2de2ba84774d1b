"""Data table: structures of Windows's rarer streams: misc info, handles, tokens, counters.

A row is name, type, how to show it, meaning (`layout.Field`).
"""

from __future__ import annotations

from unspool.formats.minidump.layout import Layout

SYSTEMTIME = Layout(
    "SYSTEMTIME",
    "a date, or a rule for one if the year is 0",
    (
        ("wYear", "u16", "dec", "year; 0: the day is the nth of its name in the month"),
        ("wMonth", "u16", "dec", "month; 0: never"),
        ("wDayOfWeek", "u16", "dec", "day of the week, 0 is Sunday"),
        ("wDay", "u16", "dec", "day of the month; in a rule which week, 5 is the last"),
        ("wHour", "u16", "dec", "hour"),
        ("wMinute", "u16", "dec", "minute"),
        ("wSecond", "u16", "dec", "second"),
        ("wMilliseconds", "u16", "dec", "thousandths of a second"),
    ),
)

TIME_ZONE = Layout(
    "TIME_ZONE_INFORMATION",
    "the time zone of the machine",
    (
        ("Bias", "i32", "minutes", "what local time lacks to UTC"),
        ("StandardName", "wide[32]", "text", "name of standard time"),
        ("StandardDate", SYSTEMTIME, "", "when standard time begins"),
        ("StandardBias", "i32", "minutes", "more to add in standard time"),
        ("DaylightName", "wide[32]", "text", "name of daylight saving time"),
        ("DaylightDate", SYSTEMTIME, "", "when daylight saving time begins"),
        ("DaylightBias", "i32", "minutes", "more to add in daylight saving time"),
    ),
)

XSTATE_FEATURE = Layout(
    "XSTATE_FEATURE",
    "where a feature's registers lie in an XSAVE area",
    (
        ("Offset", "u32", "hex", "from the start of the area"),
        ("Size", "u32", "size", "number of bytes"),
    ),
)

XSTATE_CONFIG = Layout(
    "XSTATE_CONFIG_FEATURE_MSC_INFO",
    "the processor's extended states",
    (
        ("SizeOfInfo", "u32", "size", "bytes of this structure"),
        ("ContextSize", "u32", "size", "bytes of a context with all of them"),
        ("EnabledFeatures", "u64", "flags:XSTATE", "which are in use"),
        ("Features", (XSTATE_FEATURE, 64), "", "one of each bit"),
    ),
)

# MINIDUMP_MISC_INFO is the first 24 bytes, _2 44, _3 232, _4 832, _5 all 1,364: SizeOfInfo tells.
MISC_INFO = Layout(
    "MINIDUMP_MISC_INFO_5",
    "facts about the process and the machine",
    (
        ("SizeOfInfo", "u32", "size", "bytes of this structure: tells its version"),
        ("Flags1", "u32", "flags:MINIDUMP_MISC", "which fields are valid"),
        ("ProcessId", "u32", "dec", "the process's id"),
        ("ProcessCreateTime", "u32", "time", "when the process was started"),
        ("ProcessUserTime", "u32", "seconds", "time that it spent in its program"),
        ("ProcessKernelTime", "u32", "seconds", "time that it spent in the kernel"),
        ("ProcessorMaxMhz", "u32", "mhz", "highest speed of the processor"),
        ("ProcessorCurrentMhz", "u32", "mhz", "its speed at that moment"),
        ("ProcessorMhzLimit", "u32", "mhz", "the speed it was limited to"),
        ("ProcessorMaxIdleState", "u32", "dec", "deepest idle state"),
        ("ProcessorCurrentIdleState", "u32", "dec", "idle state at that moment"),
        ("ProcessIntegrityLevel", "u32", "enum:INTEGRITY_LEVEL", "how far it is trusted"),
        ("ProcessExecuteFlags", "u32", "flags:EXECUTE_FLAGS", "whether data may be executed"),
        ("ProtectedProcess", "u32", "dec", "whether the process is protected"),
        ("TimeZoneId", "u32", "enum:TIME_ZONE_ID", "which half of the year it was"),
        ("TimeZone", TIME_ZONE, "", "the time zone"),
        ("BuildString", "wide[260]", "text", "build of the system"),
        ("DbgBldStr", "wide[40]", "text", "build of the library that wrote the dump"),
        ("XStateData", XSTATE_CONFIG, "", "extended states of the processor"),
        ("ProcessCookie", "u32", "hex", "what EncodePointer mixes into pointers"),
    ),
)

HANDLE_DATA = Layout(
    "MINIDUMP_HANDLE_DATA_STREAM",
    "the list of open handles",
    (
        ("SizeOfHeader", "u32", "size", "bytes of this header"),
        ("SizeOfDescriptor", "u32", "size", "bytes of an entry: 32 or 40"),
        ("NumberOfDescriptors", "u32", "count", "how many handles follow"),
        ("Reserved", "u32", "reserved", "unused"),
    ),
)

HANDLE = Layout(
    "MINIDUMP_HANDLE_DESCRIPTOR_2",
    "an open handle; on Linux a file descriptor",
    (
        ("Handle", "u64", "hex", "the handle"),
        ("TypeNameRva", "u32", "rva:MINIDUMP_STRING", "where the object's type is named"),
        ("ObjectNameRva", "u32", "rva:MINIDUMP_STRING", "where the object is named"),
        ("Attributes", "u32", "hex", "attributes of the handle"),
        ("GrantedAccess", "u32", "hex", "what may be done with it"),
        ("HandleCount", "u32", "dec", "handles of the object"),
        ("PointerCount", "u32", "dec", "references of the kernel to the object"),
        ("ObjectInfoRva", "u32", "rva:MINIDUMP_HANDLE_OBJECT_INFORMATION", "more about the object"),
        ("Reserved0", "u32", "reserved", "unused"),
    ),
)

HANDLE_OBJECT_INFO = Layout(
    "MINIDUMP_HANDLE_OBJECT_INFORMATION",
    "more about a handle's object; data of the system follow",
    (
        ("NextInfoRva", "u32", "rva:MINIDUMP_HANDLE_OBJECT_INFORMATION", "the next of this handle"),
        ("InfoType", "u32", "enum:HANDLE_OBJECT_INFORMATION_TYPE", "what the data are"),
        ("SizeOfInfo", "u32", "size", "bytes of this header and the data"),
    ),
)

HANDLE_OPERATION_LIST = Layout(
    "MINIDUMP_HANDLE_OPERATION_LIST",
    "the last operations on handles, as Application Verifier saw them",
    (
        ("SizeOfHeader", "u32", "size", "bytes of this header"),
        ("SizeOfEntry", "u32", "size", "bytes of an entry"),
        ("NumberOfEntries", "u32", "count", "how many operations follow"),
        ("Reserved", "u32", "reserved", "unused"),
    ),
)

# avrfsdk.h
_BACKTRACE = Layout(
    "AVRF_BACKTRACE_INFORMATION",
    "who called",
    (
        ("Depth", "u32", "count", "how many addresses are valid"),
        ("Index", "u32", "dec", "number of the backtrace"),
        ("ReturnAddresses", "u64[32]", "address", "the callers"),
    ),
)

HANDLE_OPERATION = Layout(
    "AVRF_HANDLE_OPERATION",
    "an operation on a handle",
    (
        ("Handle", "u64", "hex", "the handle"),
        ("ProcessId", "u32", "dec", "the process that did it"),
        ("ThreadId", "u32", "dec", "the thread that did it"),
        ("OperationType", "u32", "enum:HANDLE_OPERATION", "what was done"),
        ("Spare0", "u32", "reserved", "unused"),
        ("BackTraceInformation", _BACKTRACE, "", "who called"),
    ),
)

FUNCTION_TABLE_STREAM = Layout(
    "MINIDUMP_FUNCTION_TABLE_STREAM",
    "unwind data of code that the program made itself",
    (
        ("SizeOfHeader", "u32", "size", "bytes of this header"),
        ("SizeOfDescriptor", "u32", "size", "bytes of a table's descriptor"),
        ("SizeOfNativeDescriptor", "u32", "size", "bytes of the system's own descriptor behind it"),
        ("SizeOfFunctionEntry", "u32", "size", "bytes of a function's entry"),
        ("NumberOfDescriptors", "u32", "count", "how many tables follow"),
        ("SizeOfAlignPad", "u32", "size", "bytes before the first table"),
    ),
)

FUNCTION_TABLE = Layout(
    "MINIDUMP_FUNCTION_TABLE_DESCRIPTOR",
    "a table of functions; the system's descriptor and the functions follow",
    (
        ("MinimumAddress", "u64", "address", "where the first function starts"),
        ("MaximumAddress", "u64", "address", "where the last function ends"),
        ("BaseAddress", "u64", "address", "what the functions' offsets start from"),
        ("EntryCount", "u32", "count", "how many functions follow"),
        ("SizeOfAlignPad", "u32", "size", "bytes behind the functions"),
    ),
)

RUNTIME_FUNCTION = Layout(
    "RUNTIME_FUNCTION",
    "a function of x86-64 code and its unwind data",
    (
        ("BeginAddress", "u32", "hex", "where it starts, from the table's base"),
        ("EndAddress", "u32", "hex", "where it ends"),
        ("UnwindData", "u32", "hex", "where its UNWIND_INFO is"),
    ),
)

TOKEN_LIST = Layout(
    "MINIDUMP_TOKEN_INFO_LIST",
    "access tokens of the process and its threads",
    (
        ("TokenListSize", "u32", "size", "bytes of the whole list"),
        ("TokenListEntries", "u32", "count", "how many tokens follow"),
        ("ListHeaderSize", "u32", "size", "bytes of this header"),
        ("ElementHeaderSize", "u32", "size", "bytes of a token's header"),
    ),
)

# Behind the header lie pairs of an offset from it and a size, up to ElementHeaderSize, for what
# NtQueryInformationToken says; no document describes them.
TOKEN = Layout(
    "MINIDUMP_TOKEN_INFO_HEADER",
    "an access token; what it grants follows",
    (
        ("TokenSize", "u32", "size", "bytes of the token"),
        ("TokenId", "u32", "dec", "the process's or thread's id"),
        ("TokenHandle", "u64", "hex", "the handle it was read with"),
    ),
)

_BASIC = Layout(
    "MINIDUMP_SYSTEM_BASIC_INFORMATION",
    "the machine's memory",
    (
        ("TimerResolution", "u32", "ticks", "time between two ticks of the clock"),
        ("PageSize", "u32", "size", "bytes of a page"),
        ("NumberOfPhysicalPages", "u32", "count", "pages of memory"),
        ("LowestPhysicalPageNumber", "u32", "dec", "first page of memory"),
        ("HighestPhysicalPageNumber", "u32", "dec", "last page of memory"),
        ("AllocationGranularity", "u32", "size", "what addresses of allocations are multiples of"),
        ("MinimumUserModeAddress", "u64", "address", "lowest address of a program"),
        ("MaximumUserModeAddress", "u64", "address", "highest address of a program"),
        ("ActiveProcessorsAffinityMask", "u64", "hex", "processors in use"),
        ("NumberOfProcessors", "u32", "dec", "how many processors there are"),
    ),
)

_FILECACHE = Layout(
    "MINIDUMP_SYSTEM_FILECACHE_INFORMATION",
    "the cache of files",
    (
        ("CurrentSize", "u64", "size", "bytes in it"),
        ("PeakSize", "u64", "size", "most bytes that were ever in it"),
        ("PageFaultCount", "u32", "dec", "page faults of it"),
        ("MinimumWorkingSet", "u64", "size", "least memory that it keeps"),
        ("MaximumWorkingSet", "u64", "size", "most memory that it takes"),
        ("CurrentSizeIncludingTransitionInPages", "u64", "dec", "pages, with those on their way"),
        ("PeakSizeIncludingTransitionInPages", "u64", "dec", "most such pages ever"),
        ("TransitionRePurposeCount", "u32", "dec", "pages on their way that were taken"),
        ("Flags", "u32", "hex", "flags of the cache"),
    ),
)

_BASIC_PERFORMANCE = Layout(
    "MINIDUMP_SYSTEM_BASIC_PERFORMANCE_INFORMATION",
    "how much memory is promised",
    (
        ("AvailablePages", "u64", "dec", "free pages"),
        ("CommittedPages", "u64", "dec", "pages that are promised"),
        ("CommitLimit", "u64", "dec", "pages that can be promised"),
        ("PeakCommitment", "u64", "dec", "most pages that were ever promised"),
    ),
)

_IO = (
    ("IdleProcessTime", "u64", "ticks", "time with nothing to do"),
    ("IoReadTransferCount", "u64", "size", "bytes read"),
    ("IoWriteTransferCount", "u64", "size", "bytes written"),
    ("IoOtherTransferCount", "u64", "size", "bytes moved otherwise"),
)

# Counters of the whole system since its start, all 32 bits wide.
_COUNTERS = (
    ("IoReadOperationCount", "reads"),
    ("IoWriteOperationCount", "writes"),
    ("IoOtherOperationCount", "other operations on files"),
    ("AvailablePages", "free pages"),
    ("CommittedPages", "promised pages"),
    ("CommitLimit", "pages that can be promised"),
    ("PeakCommitment", "most pages that were ever promised"),
    ("PageFaultCount", "page faults"),
    ("CopyOnWriteCount", "faults that copied a page"),
    ("TransitionCount", "faults that found the page on its way out"),
    ("CacheTransitionCount", "the same for the cache of files"),
    ("DemandZeroCount", "faults that wanted a zeroed page"),
    ("PageReadCount", "pages read"),
    ("PageReadIoCount", "reads of pages"),
    ("CacheReadCount", "pages read for the cache of files"),
    ("CacheIoCount", "reads for the cache of files"),
    ("DirtyPagesWriteCount", "pages written to the page file"),
    ("DirtyWriteIoCount", "writes to the page file"),
    ("MappedPagesWriteCount", "pages written to mapped files"),
    ("MappedWriteIoCount", "writes to mapped files"),
    ("PagedPoolPages", "pages of the paged pool"),
    ("NonPagedPoolPages", "pages of the non-paged pool"),
    ("PagedPoolAllocs", "allocations from the paged pool"),
    ("PagedPoolFrees", "allocations given back to the paged pool"),
    ("NonPagedPoolAllocs", "allocations from the non-paged pool"),
    ("NonPagedPoolFrees", "allocations given back to the non-paged pool"),
    ("FreeSystemPtes", "free page table entries"),
    ("ResidentSystemCodePage", "pages of the kernel's code in memory"),
    ("TotalSystemDriverPages", "pages of drivers"),
    ("TotalSystemCodePages", "pages of the kernel's code"),
    ("NonPagedPoolLookasideHits", "allocations from lists of the non-paged pool"),
    ("PagedPoolLookasideHits", "allocations from lists of the paged pool"),
    ("AvailablePagedPoolPages", "free pages of the paged pool"),
    ("ResidentSystemCachePage", "pages of the cache of files in memory"),
    ("ResidentPagedPoolPage", "pages of the paged pool in memory"),
    ("ResidentSystemDriverPage", "pages of drivers in memory"),
    ("CcFastReadNoWait", "fast reads from the cache that could not wait"),
    ("CcFastReadWait", "fast reads from the cache that could wait"),
    ("CcFastReadResourceMiss", "fast reads that found the file locked"),
    ("CcFastReadNotPossible", "fast reads that had to go the slow way"),
    ("CcFastMdlReadNoWait", "fast reads in place that could not wait"),
    ("CcFastMdlReadWait", "fast reads in place that could wait"),
    ("CcFastMdlReadResourceMiss", "fast reads in place that found the file locked"),
    ("CcFastMdlReadNotPossible", "fast reads in place that had to go the slow way"),
    ("CcMapDataNoWait", "data mapped without waiting"),
    ("CcMapDataWait", "data mapped with waiting"),
    ("CcMapDataNoWaitMiss", "data that were not in the cache, without waiting"),
    ("CcMapDataWaitMiss", "data that were not in the cache, with waiting"),
    ("CcPinMappedDataCount", "mapped data that were pinned"),
    ("CcPinReadNoWait", "pinned reads without waiting"),
    ("CcPinReadWait", "pinned reads with waiting"),
    ("CcPinReadNoWaitMiss", "pinned reads that missed, without waiting"),
    ("CcPinReadWaitMiss", "pinned reads that missed, with waiting"),
    ("CcCopyReadNoWait", "copying reads without waiting"),
    ("CcCopyReadWait", "copying reads with waiting"),
    ("CcCopyReadNoWaitMiss", "copying reads that missed, without waiting"),
    ("CcCopyReadWaitMiss", "copying reads that missed, with waiting"),
    ("CcMdlReadNoWait", "reads in place without waiting"),
    ("CcMdlReadWait", "reads in place with waiting"),
    ("CcMdlReadNoWaitMiss", "reads in place that missed, without waiting"),
    ("CcMdlReadWaitMiss", "reads in place that missed, with waiting"),
    ("CcReadAheadIos", "reads ahead"),
    ("CcLazyWriteIos", "late writes of the cache"),
    ("CcLazyWritePages", "pages that the cache wrote late"),
    ("CcDataFlushes", "flushes of the cache"),
    ("CcDataPages", "pages that were flushed"),
    ("ContextSwitches", "switches between threads"),
    ("FirstLevelTbFills", "misses of the first translation buffer"),
    ("SecondLevelTbFills", "misses of the second translation buffer"),
    ("SystemCalls", "system calls"),
)

_PERFORMANCE = Layout(
    "MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION_2",
    "counters of the system since its start",
    (
        *_IO,
        *((name, "u32", "dec", meaning) for name, meaning in _COUNTERS),
        ("CcTotalDirtyPages", "u64", "dec", "pages that the cache has to write"),
        ("CcDirtyPageThreshold", "u64", "dec", "so many of them that writers have to wait"),
        ("ResidentAvailablePages", "i64", "dec", "pages that could be in memory"),
        ("SharedCommittedPages", "u64", "dec", "promised pages that are shared"),
        ("MdlPagesAllocated", "u64", "dec", "pages of drivers' lists"),
        ("PfnDatabaseCommittedPages", "u64", "dec", "pages of the table of pages"),
        ("SystemPageTableCommittedPages", "u64", "dec", "pages of page tables"),
        ("ContiguousPagesAllocated", "u64", "dec", "pages allocated in one run"),
    ),
)

# Revision 1 ends before MdlPagesAllocated.
SYSTEM_MEMORY_INFO = Layout(
    "MINIDUMP_SYSTEM_MEMORY_INFO_2",
    "memory and load of the whole machine",
    (
        ("Revision", "u16", "dec", "version of this structure"),
        ("Flags", "u16", "flags:MINIDUMP_SYSMEMINFO1", "which fields are valid"),
        ("BasicInfo", _BASIC, "", "the machine's memory"),
        ("FileCacheInfo", _FILECACHE, "", "the cache of files"),
        ("BasicPerfInfo", _BASIC_PERFORMANCE, "", "how much memory is promised"),
        ("PerfInfo", _PERFORMANCE, "", "counters since the system's start"),
    ),
)

_WORKING_SET = (
    ("PeakWorkingSetSize", "u64", "size", "most memory that the process ever had"),
    ("WorkingSetSize", "u64", "size", "memory that it has"),
    ("QuotaPeakPagedPoolUsage", "u64", "size", "most of the paged pool that it ever had"),
    ("QuotaPagedPoolUsage", "u64", "size", "paged pool that it has"),
    ("QuotaPeakNonPagedPoolUsage", "u64", "size", "most of the non-paged pool it ever had"),
    ("QuotaNonPagedPoolUsage", "u64", "size", "non-paged pool that it has"),
    ("PagefileUsage", "u64", "size", "memory that it was promised"),
    ("PeakPagefileUsage", "u64", "size", "most memory that it was ever promised"),
)
_PRIVATE = ("PrivateUsage", "u64", "size", "memory that it shares with nobody")

VM_COUNTERS_1 = Layout(
    "MINIDUMP_PROCESS_VM_COUNTERS_1",
    "the process's use of memory",
    (
        ("Revision", "u16", "dec", "1"),
        ("__alignment", "u16", "reserved", "unused"),
        ("PageFaultCount", "u32", "dec", "page faults"),
        *_WORKING_SET,
        _PRIVATE,
    ),
)

VM_COUNTERS_2 = Layout(
    "MINIDUMP_PROCESS_VM_COUNTERS_2",
    "the process's use of memory",
    (
        ("Revision", "u16", "dec", "version of this structure"),
        ("Flags", "u16", "flags:MINIDUMP_PROCESS_VM_COUNTERS", "which fields are valid"),
        ("PageFaultCount", "u32", "dec", "page faults"),
        *_WORKING_SET,
        ("PeakVirtualSize", "u64", "size", "most address space that it ever used"),
        ("VirtualSize", "u64", "size", "address space that it uses"),
        _PRIVATE,
        ("PrivateWorkingSetSize", "u64", "size", "memory that it has and shares with nobody"),
        ("SharedCommitUsage", "u64", "size", "shared memory that it was promised"),
        ("JobSharedCommitUsage", "u64", "size", "the same for its whole job"),
        ("JobPrivateCommitUsage", "u64", "size", "private memory promised to its job"),
        ("JobPeakPrivateCommitUsage", "u64", "size", "the most of it ever"),
        ("JobPrivateCommitLimit", "u64", "size", "how much of it the job may have"),
        ("JobTotalCommitLimit", "u64", "size", "how much memory the job may be promised"),
    ),
)
