"""The structures of a minidump as tables: one line each, fields by their published names.

    THREAD.pack(ThreadId=7, Stack_Rva=0x200)
    context("amd64", {"rip": 0x401000, "rsp": 0x7FFD_0000})

Nested structures are flattened (`Stack.Memory.Rva` is `Stack_Rva`). From minidumpapiset.h and
winnt.h as Microsoft documents them, Breakpad's minidump_format.h and minidump_cpu_*.h, and
Crashpad's minidump_extensions.h.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

(
    THREAD_LIST, MODULE_LIST, MEMORY_LIST, EXCEPTION, SYSTEM_INFO, THREAD_EX_LIST,
    MEMORY64_LIST, COMMENT_A, COMMENT_W, HANDLE_DATA, FUNCTION_TABLE, UNLOADED_MODULE_LIST,
    MISC_INFO, MEMORY_INFO_LIST, THREAD_INFO_LIST,
) = range(3, 18)  # fmt: skip
THREAD_NAMES = 24
BREAKPAD_INFO, ASSERTION_INFO = 0x47670001, 0x47670002
(
    LINUX_CPU_INFO, LINUX_PROC_STATUS, LINUX_LSB_RELEASE, LINUX_CMD_LINE, LINUX_ENVIRON,
    LINUX_AUXV, LINUX_MAPS, LINUX_DSO_DEBUG,
) = range(0x47670003, 0x4767000B)  # fmt: skip
CRASHPAD_INFO = 0x43500001

# PROCESSOR_ARCHITECTURE_…, and the one that Breakpad used before Microsoft had a number.
ARCHITECTURES = {"x86": 0, "arm": 5, "amd64": 9, "arm64": 12, "arm64_old": 0x8003, "arm_windows": 5}
PLATFORMS = {"windows": 2, "macos": 0x8101, "linux": 0x8201, "android": 0x8203}


class Structure:
    """`fields` is "name:code" with codes of the struct module; no alignment but what is said."""

    def __init__(self, fields: str) -> None:
        pairs = [field.split(":") for field in fields.split()]
        self.names = [name for name, _ in pairs]
        self._code = struct.Struct("<" + "".join(code for _, code in pairs))
        self.size = self._code.size
        self._empty = {name: b"" if code.endswith("s") else 0 for name, code in pairs}

    def pack(self, **values: int | bytes) -> bytes:
        """Fields that are not given are 0; numbers are cut to their fields."""
        unknown = values.keys() - self._empty.keys()
        if unknown:
            raise TypeError(f"no such field: {sorted(unknown)}")
        merged = self._empty | values
        return self._code.pack(*(merged[name] for name in self.names))


HEADER = Structure(
    "Signature:I Version:I NumberOfStreams:I StreamDirectoryRva:I CheckSum:I TimeDateStamp:I "
    "Flags:Q"
)
DIRECTORY = Structure("StreamType:I DataSize:I Rva:I")
SYSTEM = Structure(
    "ProcessorArchitecture:H ProcessorLevel:H ProcessorRevision:H NumberOfProcessors:B "
    "ProductType:B MajorVersion:I MinorVersion:I BuildNumber:I PlatformId:I CSDVersionRva:I "
    "SuiteMask:H Reserved2:H Cpu:24s"
)
_THREAD = (
    "ThreadId:I SuspendCount:I PriorityClass:I Priority:I Teb:Q Stack_Start:Q Stack_DataSize:I "
    "Stack_Rva:I Context_DataSize:I Context_Rva:I "
)
THREAD = Structure(_THREAD)
THREAD_EX = Structure(_THREAD + "BackingStore_Start:Q BackingStore_DataSize:I BackingStore_Rva:I")
THREAD_NAME = Structure("ThreadId:I RvaOfThreadName:Q")
THREAD_INFO = Structure(
    "ThreadId:I DumpFlags:I DumpError:I ExitStatus:I CreateTime:Q ExitTime:Q KernelTime:Q "
    "UserTime:Q StartAddress:Q Affinity:Q"
)
MODULE = Structure(
    "BaseOfImage:Q SizeOfImage:I CheckSum:I TimeDateStamp:I ModuleNameRva:I VersionInfo:52s "
    "CvRecord_DataSize:I CvRecord_Rva:I MiscRecord_DataSize:I MiscRecord_Rva:I Reserved0:Q "
    "Reserved1:Q"
)
UNLOADED_MODULE = Structure(
    "BaseOfImage:Q SizeOfImage:I CheckSum:I TimeDateStamp:I ModuleNameRva:I"
)
MEMORY = Structure("StartOfMemoryRange:Q DataSize:I Rva:I")
MEMORY64 = Structure("StartOfMemoryRange:Q DataSize:Q")
MEMORY_INFO = Structure(
    "BaseAddress:Q AllocationBase:Q AllocationProtect:I alignment1:I RegionSize:Q State:I "
    "Protect:I Type:I alignment2:I"
)
EXCEPTION_STREAM = Structure(
    "ThreadId:I alignment:I ExceptionCode:I ExceptionFlags:I ExceptionRecord:Q "
    "ExceptionAddress:Q NumberParameters:I unusedAlignment:I ExceptionInformation:120s "
    "Context_DataSize:I Context_Rva:I"
)
MISC = Structure(
    "SizeOfInfo:I Flags1:I ProcessId:I ProcessCreateTime:I ProcessUserTime:I ProcessKernelTime:I"
)
HANDLE = Structure(
    "Handle:Q TypeNameRva:I ObjectNameRva:I Attributes:I GrantedAccess:I HandleCount:I "
    "PointerCount:I"
)
BREAKPAD = Structure("Validity:I DumpThreadId:I RequestingThreadId:I")
CRASHPAD = Structure(
    "Version:I ReportId:16s ClientId:16s SimpleAnnotations_DataSize:I SimpleAnnotations_Rva:I "
    "ModuleList_DataSize:I ModuleList_Rva:I Reserved:I AddressMask:Q"
)
CRASHPAD_MODULE = Structure(
    "Version:I ListAnnotations_DataSize:I ListAnnotations_Rva:I SimpleAnnotations_DataSize:I "
    "SimpleAnnotations_Rva:I AnnotationObjects_DataSize:I AnnotationObjects_Rva:I"
)
# As a compiler for 64-bit machines lays them out; Breakpad writes them without packing.
DSO_DEBUG64 = Structure("Version:I Map:I DsoCount:I padding:I Brk:Q LdBase:Q Dynamic:Q")
DSO_DEBUG32 = Structure("Version:I Map:I DsoCount:I Brk:I LdBase:I Dynamic:I")
LINK_MAP64 = Structure("Addr:Q Name:I padding:I Ld:Q")
LINK_MAP32 = Structure("Addr:I Name:I Ld:I")


# --- contexts -------------------------------------------------------------------------


def _run(names: str, start: int, step: int, code: str) -> dict[str, tuple[int, str]]:
    return {name: (start + i * step, code) for i, name in enumerate(names.split())}


_NUMBERED = " ".join(f"x{number}" for number in range(31))
_VECTORS = " ".join(f"v{number}" for number in range(32))
_ARM = {
    "flags": (0, "I"),
    **_run(" ".join(f"r{number}" for number in range(13)) + " sp lr pc cpsr", 4, 4, "I"),
}
# Size, ContextFlags of a whole context, and where each register is.
CONTEXTS: dict[str, tuple[int, int, dict[str, tuple[int, str]]]] = {
    "x86": (716, 0x1003F, {
        "flags": (0, "I"),
        **_run("dr0 dr1 dr2 dr3 dr6 dr7", 4, 4, "I"),
        "float_save": (0x1C, "112s"),
        **_run("gs fs es ds edi esi ebx edx ecx eax ebp eip cs eflags esp ss", 0x8C, 4, "I"),
        "extended": (0xCC, "512s"),
    }),
    "amd64": (1232, 0x10001F, {
        "flags": (0x30, "I"), "mxcsr": (0x34, "I"),
        **_run("cs ds es fs gs ss", 0x38, 2, "H"), "eflags": (0x44, "I"),
        **_run("dr0 dr1 dr2 dr3 dr6 dr7", 0x48, 8, "Q"),
        **_run(
            "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 rip", 0x78, 8, "Q"
        ),
        "float_save": (0x100, "512s"),
    }),
    "arm64": (912, 0x400007, {
        "flags": (0, "I"), "cpsr": (4, "I"),
        **_run(f"{_NUMBERED} sp pc", 8, 8, "Q"),
        **_run(_VECTORS, 0x110, 16, "16s"), "fpcr": (0x310, "I"), "fpsr": (0x314, "I"),
    }),
    # Breakpad until 2018; packed to 4 bytes.
    "arm64_old": (796, 0x8000_0006, {
        "flags": (0, "Q"),
        **_run(f"{_NUMBERED} sp pc", 8, 8, "Q"), "cpsr": (0x110, "I"),
        "fpsr": (0x114, "I"), "fpcr": (0x118, "I"), **_run(_VECTORS, 0x11C, 16, "16s"),
    }),
    "arm": (368, 0x4000_0006, _ARM),
    "arm_windows": (416, 0x20_0007, _ARM),
}  # fmt: skip


def context(arch: str, registers: Mapping[str, int | bytes], *, size: int | None = None) -> bytes:
    """A CONTEXT with these registers ("flags" for ContextFlags), cut or stretched to `size`."""
    length, flags, places = CONTEXTS[arch]
    out = bytearray(length)
    for name, value in {"flags": flags, **registers}.items():
        offset, code = places[name]
        if isinstance(value, int):
            value &= (1 << 8 * struct.calcsize(code)) - 1
        struct.pack_into("<" + code, out, offset, value)
    return bytes(out if size is None else out[:size].ljust(size, b"\0"))


# --- small things ---------------------------------------------------------------------


def string(text: str | bytes, *, length: int | None = None, end: bytes = b"\0\0") -> bytes:
    """A MINIDUMP_STRING: its length in bytes without the NUL, then UTF-16LE."""
    raw = text.encode("utf-16-le", "surrogatepass") if isinstance(text, str) else text
    return struct.pack("<I", len(raw) if length is None else length) + raw + end


def utf8_string(text: str, *, length: int | None = None) -> bytes:
    """Crashpad's MinidumpUTF8String."""
    raw = text.encode()
    return struct.pack("<I", len(raw) if length is None else length) + raw + b"\0"


def rsds(pdb: str, guid: bytes = bytes(range(16)), age: int = 1) -> bytes:
    """CodeView of a PDB 7.0; the GUID in its order in memory."""
    return b"RSDS" + guid + struct.pack("<I", age) + pdb.encode() + b"\0"


def nb10(pdb: str, signature: int = 0x3B7D8410, age: int = 1) -> bytes:
    """CodeView of a PDB 2.0."""
    return b"NB10" + struct.pack("<III", 0, signature, age) + pdb.encode() + b"\0"


def build_id(identifier: bytes) -> bytes:
    """Breakpad's CodeView of an ELF file (MDCVInfoELF)."""
    return b"LEpB" + identifier


def version_info(file_version: tuple[int, int, int, int], **lies: int) -> bytes:
    """A VS_FIXEDFILEINFO; the product's version is the file's."""
    major, minor, build, revision = file_version
    high, low = major << 16 | minor, build << 16 | revision
    fields = [
        lies.get("signature", 0xFEEF04BD), lies.get("struct_version", 0x10000), high, low, high,
        low, 0x3F, 0, 0x40004, 2, 0, 0, 0,
    ]  # fmt: skip
    return struct.pack("<13I", *fields)
