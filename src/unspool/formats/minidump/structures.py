"""Data table: the structures of the streams that nearly every minidump has.

Names are those of minidumpapiset.h. A row is name, type, how to show it, meaning (`layout.Field`).
"""

from __future__ import annotations

from unspool.formats.minidump.layout import Layout

SIGNATURE = 0x504D444D  # "MDMP"
VERSION = 0xA793

HEADER = Layout(
    "MINIDUMP_HEADER",
    "the first bytes of the file",
    (
        ("Signature", "u32", "chars", "MDMP"),
        ("Version", "u32", "hex", "low half: 0xa793, the format; high half: of the writer"),
        ("NumberOfStreams", "u32", "count", "how many entries the directory has"),
        ("StreamDirectoryRva", "u32", "rva:MINIDUMP_DIRECTORY", "where the directory is"),
        ("CheckSum", "u32", "hex", "of the file; 0 in practice"),
        ("TimeDateStamp", "u32", "time", "when the dump was made"),
        ("Flags", "u64", "flags:MINIDUMP_TYPE", "what the writer was asked to put in"),
    ),
)

LOCATION = Layout(
    "MINIDUMP_LOCATION_DESCRIPTOR",
    "a run of bytes of the file",
    (
        ("DataSize", "u32", "size", "number of bytes"),
        ("Rva", "u32", "rva", "where they are in the file"),
    ),
)

LOCATION64 = Layout(
    "MINIDUMP_LOCATION_DESCRIPTOR64",
    "a run of bytes of a large file",
    (
        ("DataSize", "u64", "size", "number of bytes"),
        ("Rva", "u64", "rva", "where they are in the file"),
    ),
)

DIRECTORY = Layout(
    "MINIDUMP_DIRECTORY",
    "an entry of the directory: one stream",
    (
        ("StreamType", "u32", "enum:MINIDUMP_STREAM_TYPE", "what the stream holds"),
        ("Location", LOCATION, "to:stream", "the stream's bytes"),
    ),
)

# The bytes of the string follow, and a NUL that Length does not count.
STRING = Layout(
    "MINIDUMP_STRING",
    "a string in UTF-16",
    (("Length", "u32", "size", "bytes of the string without its NUL"),),
)

MEMORY_DESCRIPTOR = Layout(
    "MINIDUMP_MEMORY_DESCRIPTOR",
    "a range of the process's memory that is in the file",
    (
        ("StartOfMemoryRange", "u64", "address", "where it was in the process"),
        ("Memory", LOCATION, "to:memory", "its bytes"),
    ),
)

MEMORY_LIST = Layout(
    "MINIDUMP_MEMORY_LIST",
    "the list of memory ranges",
    (("NumberOfMemoryRanges", "u32", "count", "how many ranges follow"),),
)

MEMORY_DESCRIPTOR64 = Layout(
    "MINIDUMP_MEMORY_DESCRIPTOR64",
    "a range of memory; its bytes lie behind those of the range before",
    (
        ("StartOfMemoryRange", "u64", "address", "where it was in the process"),
        ("DataSize", "u64", "size", "number of bytes"),
    ),
)

MEMORY64_LIST = Layout(
    "MINIDUMP_MEMORY64_LIST",
    "the list of memory ranges of a full dump",
    (
        ("NumberOfMemoryRanges", "u64", "count", "how many ranges follow"),
        ("BaseRva", "u64", "rva:memory", "where the first range's bytes are in the file"),
    ),
)

_THREAD_ROWS = (
    ("ThreadId", "u32", "dec", "the thread's id"),
    ("SuspendCount", "u32", "dec", "how often it is suspended"),
    ("PriorityClass", "u32", "enum:PRIORITY_CLASS", "the process's priority class"),
    ("Priority", "u32", "dec", "priority within the class"),
    ("Teb", "u64", "address", "the thread environment block"),
    ("Stack", MEMORY_DESCRIPTOR, "to:memory", "the stack, from its pointer upwards"),
    ("ThreadContext", LOCATION, "to:CONTEXT", "the registers"),
)

THREAD = Layout("MINIDUMP_THREAD", "a thread", _THREAD_ROWS)

THREAD_EX = Layout(
    "MINIDUMP_THREAD_EX",
    "a thread with a backing store (Itanium)",
    (*_THREAD_ROWS, ("BackingStore", MEMORY_DESCRIPTOR, "to:memory", "spilled registers")),
)

THREAD_LIST = Layout(
    "MINIDUMP_THREAD_LIST",
    "the list of threads",
    (("NumberOfThreads", "u32", "count", "how many threads follow"),),
)

THREAD_NAME = Layout(
    "MINIDUMP_THREAD_NAME",
    "a thread's name",
    (
        ("ThreadId", "u32", "dec", "the thread's id"),
        ("RvaOfThreadName", "u64", "rva:MINIDUMP_STRING", "where its name is"),
    ),
)

THREAD_NAME_LIST = Layout(
    "MINIDUMP_THREAD_NAME_LIST",
    "the list of threads' names",
    (("NumberOfThreadNames", "u32", "count", "how many names follow"),),
)

FIXED_FILE_INFO = Layout(
    "VS_FIXEDFILEINFO",
    "the version resource of an image",
    (
        ("dwSignature", "u32", "hex", "0xfeef04bd, or 0 without a version"),
        ("dwStrucVersion", "u32", "version", "version of this structure"),
        ("dwFileVersionMS", "u32", "version", "file version, first two numbers"),
        ("dwFileVersionLS", "u32", "version", "file version, last two numbers"),
        ("dwProductVersionMS", "u32", "version", "product version, first two numbers"),
        ("dwProductVersionLS", "u32", "version", "product version, last two numbers"),
        ("dwFileFlagsMask", "u32", "flags:VS_FF", "which of the flags are valid"),
        ("dwFileFlags", "u32", "flags:VS_FF", "what kind of build it is"),
        ("dwFileOS", "u32", "enum:VOS", "the system that it is for"),
        ("dwFileType", "u32", "enum:VFT", "what the file is"),
        ("dwFileSubtype", "u32", "dec", "what kind of driver or font it is"),
        ("dwFileDateMS", "u32", "hex", "date, upper half; 0 in practice"),
        ("dwFileDateLS", "u32", "hex", "date, lower half"),
    ),
)
FIXED_FILE_INFO_SIGNATURE = 0xFEEF04BD

MODULE = Layout(
    "MINIDUMP_MODULE",
    "an image that was loaded",
    (
        ("BaseOfImage", "u64", "address", "where it is mapped"),
        ("SizeOfImage", "u32", "size", "bytes of address space it takes"),
        ("CheckSum", "u32", "hex", "checksum of its PE header"),
        ("TimeDateStamp", "u32", "time", "when it was linked, or a hash of it"),
        ("ModuleNameRva", "u32", "rva:MINIDUMP_STRING", "where its path is"),
        ("VersionInfo", FIXED_FILE_INFO, "", "its version"),
        ("CvRecord", LOCATION, "to:CodeView", "which debug file belongs to it"),
        ("MiscRecord", LOCATION, "to:IMAGE_DEBUG_MISC", "an old link to a .dbg file"),
        ("Reserved0", "u64", "reserved", "unused"),
        ("Reserved1", "u64", "reserved", "unused"),
    ),
)

MODULE_LIST = Layout(
    "MINIDUMP_MODULE_LIST",
    "the list of loaded images",
    (("NumberOfModules", "u32", "count", "how many images follow"),),
)

UNLOADED_MODULE = Layout(
    "MINIDUMP_UNLOADED_MODULE",
    "an image that was loaded once",
    (
        ("BaseOfImage", "u64", "address", "where it was mapped"),
        ("SizeOfImage", "u32", "size", "bytes of address space it took"),
        ("CheckSum", "u32", "hex", "checksum of its PE header"),
        ("TimeDateStamp", "u32", "time", "when it was linked, or a hash of it"),
        ("ModuleNameRva", "u32", "rva:MINIDUMP_STRING", "where its name is"),
    ),
)

UNLOADED_MODULE_LIST = Layout(
    "MINIDUMP_UNLOADED_MODULE_LIST",
    "the list of images that are loaded no more",
    (
        ("SizeOfHeader", "u32", "size", "bytes of this header"),
        ("SizeOfEntry", "u32", "size", "bytes of an entry"),
        ("NumberOfEntries", "u32", "count", "how many images follow"),
    ),
)

EXCEPTION = Layout(
    "MINIDUMP_EXCEPTION",
    "what went wrong",
    (
        ("ExceptionCode", "u32", "enum:EXCEPTION_CODE", "NTSTATUS; on Linux the signal"),
        ("ExceptionFlags", "u32", "hex", "1: cannot be continued; on Linux the signal's code"),
        ("ExceptionRecord", "u64", "address", "another exception that led to this one"),
        ("ExceptionAddress", "u64", "address", "the instruction; on Linux the fault's address"),
        ("NumberParameters", "u32", "count", "how many parameters are valid"),
        ("__unusedAlignment", "u32", "reserved", "unused"),
        ("ExceptionInformation", "u64[15]", "hex", "parameters; of a violation how, where"),
    ),
)

EXCEPTION_STREAM = Layout(
    "MINIDUMP_EXCEPTION_STREAM",
    "the exception, and whose it was",
    (
        ("ThreadId", "u32", "dec", "the thread that had it"),
        ("__alignment", "u32", "reserved", "unused"),
        ("ExceptionRecord", EXCEPTION, "", "the exception"),
        ("ThreadContext", LOCATION, "to:CONTEXT", "the registers at that moment"),
    ),
)

SYSTEM_INFO = Layout(
    "MINIDUMP_SYSTEM_INFO",
    "processor and operating system",
    (
        ("ProcessorArchitecture", "u16", "enum:PROCESSOR_ARCHITECTURE", "kind of processor"),
        ("ProcessorLevel", "u16", "dec", "family of the processor"),
        ("ProcessorRevision", "u16", "hex", "model and stepping"),
        ("NumberOfProcessors", "u8", "dec", "how many processors there are"),
        ("ProductType", "u8", "enum:PRODUCT_TYPE", "workstation or server"),
        ("MajorVersion", "u32", "dec", "version of the system"),
        ("MinorVersion", "u32", "dec", "second number of the version"),
        ("BuildNumber", "u32", "dec", "third number of the version"),
        ("PlatformId", "u32", "enum:PLATFORM_ID", "kind of system"),
        ("CSDVersionRva", "u32", "rva:MINIDUMP_STRING", "service pack; on Linux what uname says"),
        ("SuiteMask", "u16", "flags:SUITE", "parts of Windows that are installed"),
        ("Reserved2", "u16", "reserved", "unused"),
        ("Cpu", "bytes[24]", "to:CPU_INFORMATION", "what the processor says of itself"),
    ),
)

# The two forms of SYSTEM_INFO.Cpu.
CPU_X86 = Layout(
    "CPU_INFORMATION.X86CpuInfo",
    "an x86 processor; other forms than this are for other processors",
    (
        ("VendorId", "bytes[12]", "chars", "vendor: cpuid 0, ebx, edx, ecx"),
        ("VersionInformation", "u32", "hex", "family, model, stepping: cpuid 1, eax"),
        ("FeatureInformation", "u32", "hex", "features: cpuid 1, edx"),
        ("AMDExtendedCpuFeatures", "u32", "hex", "AMD's features: cpuid 0x80000001, ebx"),
    ),
)
CPU_OTHER = Layout(
    "CPU_INFORMATION.OtherCpuInfo",
    "any other processor, x86-64 among them",
    (
        ("ProcessorFeatures", "u64[2]", "hex", "bits of IsProcessorFeaturePresent"),
        ("Reserved", "u64", "reserved", "unused"),
    ),
)
CPU_ARM = Layout(
    "CPU_INFORMATION.ArmCpuInfo",
    "an ARM processor, as Breakpad writes it",
    (
        ("CpuId", "u32", "hex", "main ID register"),
        ("ElfHwCaps", "u32", "hex", "AT_HWCAP of Linux"),
        ("Reserved", "u64[2]", "reserved", "unused"),
    ),
)

MEMORY_INFO = Layout(
    "MINIDUMP_MEMORY_INFO",
    "pages with the same attributes",
    (
        ("BaseAddress", "u64", "address", "where they start"),
        ("AllocationBase", "u64", "address", "where what they were allocated with starts"),
        ("AllocationProtect", "u32", "flags:PAGE", "protection when they were allocated"),
        ("__alignment1", "u32", "reserved", "unused"),
        ("RegionSize", "u64", "size", "number of bytes"),
        ("State", "u32", "flags:MEM_STATE", "in use, reserved or free"),
        ("Protect", "u32", "flags:PAGE", "protection"),
        ("Type", "u32", "flags:MEM_TYPE", "private, mapped or of an image"),
        ("__alignment2", "u32", "reserved", "unused"),
    ),
)

MEMORY_INFO_LIST = Layout(
    "MINIDUMP_MEMORY_INFO_LIST",
    "the list of all regions of the address space",
    (
        ("SizeOfHeader", "u32", "size", "bytes of this header"),
        ("SizeOfEntry", "u32", "size", "bytes of an entry"),
        ("NumberOfEntries", "u64", "count", "how many regions follow"),
    ),
)

THREAD_INFO = Layout(
    "MINIDUMP_THREAD_INFO",
    "times and start of a thread",
    (
        ("ThreadId", "u32", "dec", "the thread's id"),
        ("DumpFlags", "u32", "flags:MINIDUMP_THREAD_INFO", "how the thread could be dumped"),
        ("DumpError", "u32", "hex", "HRESULT of what went wrong"),
        ("ExitStatus", "u32", "hex", "its exit status; 0x103 while it runs"),
        ("CreateTime", "u64", "filetime", "when it was started"),
        ("ExitTime", "u64", "filetime", "when it ended"),
        ("KernelTime", "u64", "ticks", "time spent in the kernel"),
        ("UserTime", "u64", "ticks", "time spent in the program"),
        ("StartAddress", "u64", "address", "the function that it was started with"),
        ("Affinity", "u64", "hex", "processors that it may run on"),
    ),
)

THREAD_INFO_LIST = Layout(
    "MINIDUMP_THREAD_INFO_LIST",
    "the list of threads' times",
    (
        ("SizeOfHeader", "u32", "size", "bytes of this header"),
        ("SizeOfEntry", "u32", "size", "bytes of an entry"),
        ("NumberOfEntries", "u32", "count", "how many threads follow"),
    ),
)

# The records that MODULE.CvRecord leads to, by their first four bytes. A name or id follows.
CV_RSDS, CV_NB10, CV_ELF = 0x53445352, 0x3031424E, 0x4270454C

CV_PDB70 = Layout(
    "CV_INFO_PDB70",
    "the PDB file of a PE image",
    (
        ("CvSignature", "u32", "chars", "RSDS"),
        ("Signature", "guid", "guid", "GUID that the PDB file has, too"),
        ("Age", "u32", "dec", "how often the PDB file was written again"),
    ),
)
CV_PDB20 = Layout(
    "CV_INFO_PDB20",
    "the PDB file of an old PE image",
    (
        ("CvSignature", "u32", "chars", "NB10"),
        ("Offset", "u32", "hex", "0"),
        ("Signature", "u32", "time", "when the PDB file was made"),
        ("Age", "u32", "dec", "how often the PDB file was written again"),
    ),
)
CV_INFO_ELF = Layout(
    "CV_INFO_ELF",
    "the build id of an ELF image, as Breakpad writes it",
    (("CvSignature", "u32", "chars", "LEpB"),),
)
IMAGE_DEBUG_MISC = Layout(
    "IMAGE_DEBUG_MISC",
    "the .dbg file of an old PE image",
    (
        ("DataType", "u32", "dec", "1: the name of an executable"),
        ("Length", "u32", "size", "bytes of this record with its name"),
        ("Unicode", "u8", "dec", "whether the name is UTF-16"),
        ("Reserved", "bytes[3]", "reserved", "unused"),
    ),
)
