"""Data table: names of numbers and of bits in minidumps.

`ENUMS[name][number]` and `FLAGS[name][bit]` are what `layout.Field.show` means by "enum:name" and
"flags:name". Names are those of the header files (winnt.h, minidumpapiset.h, Breakpad's).
"""

from __future__ import annotations

# MINIDUMP_SYSTEM_INFO.ProcessorArchitecture; from 0x8001 Breakpad's own.
X86, ARM, AMD64, X86_ON_WIN64, ARM64, ARM64_OLD = 0, 5, 9, 10, 12, 0x8003

# MINIDUMP_SYSTEM_INFO.PlatformId; from 0x8000 Breakpad's own.
WIN32_NT, MACOS, IOS, LINUX, ANDROID = 2, 0x8101, 0x8102, 0x8201, 0x8203

# What the platforms are to us.
SYSTEMS = {
    0: "windows", 1: "windows", WIN32_NT: "windows", 3: "windows",
    0x8000: "unix", MACOS: "macos", IOS: "ios", LINUX: "linux", 0x8202: "solaris",
    ANDROID: "android", 0x8204: "ps3", 0x8205: "nacl", 0x8206: "fuchsia",
}  # fmt: skip

# Names of `arch.Arch.report_name`.
ARCHITECTURES = {
    X86: "x86", X86_ON_WIN64: "x86", AMD64: "x86_64", ARM64: "aarch64", ARM64_OLD: "aarch64",
    ARM: "arm",
}  # fmt: skip

DUMP_REQUESTED = 0xFFFFFFFF
# What Breakpad writes as the exception of a dump on Linux: the signal's number.
SIGNALS = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS",
    8: "SIGFPE", 9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE",
    14: "SIGALRM", 15: "SIGTERM", 16: "SIGSTKFLT", 17: "SIGCHLD", 18: "SIGCONT", 19: "SIGSTOP",
    20: "SIGTSTP", 21: "SIGTTIN", 22: "SIGTTOU", 23: "SIGURG", 24: "SIGXCPU", 25: "SIGXFSZ",
    26: "SIGVTALRM", 27: "SIGPROF", 28: "SIGWINCH", 29: "SIGIO", 30: "SIGPWR", 31: "SIGSYS",
    DUMP_REQUESTED: "DUMP_REQUESTED",
}  # fmt: skip

# ntstatus.h, and what compilers raise themselves.
WINDOWS_EXCEPTIONS = {
    0x40000005: "STATUS_SEGMENT_NOTIFICATION",
    0x40010005: "DBG_CONTROL_C",
    0x40010006: "DBG_PRINTEXCEPTION_C",
    0x40010008: "DBG_CONTROL_BREAK",
    0x4001000A: "DBG_PRINTEXCEPTION_WIDE_C",
    0x4000001E: "STATUS_WX86_SINGLE_STEP",
    0x4000001F: "STATUS_WX86_BREAKPOINT",
    0x406D1388: "MS_VC_EXCEPTION",  # SetThreadName's old way
    0x517A7ED: "CRASHPAD_SIMULATED",
    0x6BA: "RPC_S_SERVER_UNAVAILABLE",
    0x80000001: "STATUS_GUARD_PAGE_VIOLATION",
    0x80000002: "STATUS_DATATYPE_MISALIGNMENT",
    0x80000003: "STATUS_BREAKPOINT",
    0x80000004: "STATUS_SINGLE_STEP",
    0x80000007: "STATUS_WAKE_SYSTEM_DEBUGGER",
    0x80000026: "STATUS_LONGJUMP",
    0x80000029: "STATUS_UNWIND_CONSOLIDATE",
    0x80000100: "EXCEPTION_WINE_STUB",
    0x80000101: "EXCEPTION_WINE_ASSERTION",
    0xC0000002: "STATUS_NOT_IMPLEMENTED",
    0xC0000005: "STATUS_ACCESS_VIOLATION",
    0xC0000006: "STATUS_IN_PAGE_ERROR",
    0xC0000008: "STATUS_INVALID_HANDLE",
    0xC000000D: "STATUS_INVALID_PARAMETER",
    0xC0000017: "STATUS_NO_MEMORY",
    0xC000001D: "STATUS_ILLEGAL_INSTRUCTION",
    0xC0000022: "STATUS_ACCESS_DENIED",
    0xC0000025: "STATUS_NONCONTINUABLE_EXCEPTION",
    0xC0000026: "STATUS_INVALID_DISPOSITION",
    0xC0000027: "STATUS_UNWIND",
    0xC0000028: "STATUS_BAD_STACK",
    0xC0000029: "STATUS_INVALID_UNWIND_TARGET",
    0xC000008C: "STATUS_ARRAY_BOUNDS_EXCEEDED",
    0xC000008D: "STATUS_FLOAT_DENORMAL_OPERAND",
    0xC000008E: "STATUS_FLOAT_DIVIDE_BY_ZERO",
    0xC000008F: "STATUS_FLOAT_INEXACT_RESULT",
    0xC0000090: "STATUS_FLOAT_INVALID_OPERATION",
    0xC0000091: "STATUS_FLOAT_OVERFLOW",
    0xC0000092: "STATUS_FLOAT_STACK_CHECK",
    0xC0000093: "STATUS_FLOAT_UNDERFLOW",
    0xC0000094: "STATUS_INTEGER_DIVIDE_BY_ZERO",
    0xC0000095: "STATUS_INTEGER_OVERFLOW",
    0xC0000096: "STATUS_PRIVILEGED_INSTRUCTION",
    0xC00000FD: "STATUS_STACK_OVERFLOW",
    0xC0000135: "STATUS_DLL_NOT_FOUND",
    0xC0000138: "STATUS_ORDINAL_NOT_FOUND",
    0xC0000139: "STATUS_ENTRYPOINT_NOT_FOUND",
    0xC000013A: "STATUS_CONTROL_C_EXIT",
    0xC0000142: "STATUS_DLL_INIT_FAILED",
    0xC0000194: "STATUS_POSSIBLE_DEADLOCK",
    0xC00002B4: "STATUS_FLOAT_MULTIPLE_FAULTS",
    0xC00002B5: "STATUS_FLOAT_MULTIPLE_TRAPS",
    0xC00002C9: "STATUS_REG_NAT_CONSUMPTION",
    0xC0000374: "STATUS_HEAP_CORRUPTION",
    0xC0000409: "STATUS_STACK_BUFFER_OVERRUN",  # every __fastfail, not that alone
    0xC0000417: "STATUS_INVALID_CRUNTIME_PARAMETER",
    0xC0000420: "STATUS_ASSERTION_FAILURE",
    0xC0000421: "STATUS_VERIFIER_STOP",
    0xC000041D: "STATUS_FATAL_USER_CALLBACK_EXCEPTION",
    0xC0000602: "STATUS_FAIL_FAST_EXCEPTION",
    0xC0150010: "STATUS_SXS_EARLY_DEACTIVATION",
    0xC06D007E: "VCPP_EXCEPTION_MODULE_NOT_FOUND",
    0xC06D007F: "VCPP_EXCEPTION_PROCEDURE_NOT_FOUND",
    0xE0000008: "CHROME_OUT_OF_MEMORY",
    0xE0434352: "CLR_EXCEPTION",
    0xE0434F4D: "CLR_EXCEPTION_V1",
    0xE06D7363: "CPP_EXCEPTION",  # "msc" with 0xe0 before it
}

# si_code of the signals that tell with it what was wrong (asm-generic/siginfo.h).
SIGNAL_CODES = {
    4: ("ILL_ILLOPC", "ILL_ILLOPN", "ILL_ILLADR", "ILL_ILLTRP", "ILL_PRVOPC", "ILL_PRVREG",
        "ILL_COPROC", "ILL_BADSTK"),
    5: ("TRAP_BRKPT", "TRAP_TRACE", "TRAP_BRANCH", "TRAP_HWBKPT", "TRAP_UNK", "TRAP_PERF"),
    7: ("BUS_ADRALN", "BUS_ADRERR", "BUS_OBJERR", "BUS_MCEERR_AR", "BUS_MCEERR_AO"),
    8: ("FPE_INTDIV", "FPE_INTOVF", "FPE_FLTDIV", "FPE_FLTOVF", "FPE_FLTUND", "FPE_FLTRES",
        "FPE_FLTINV", "FPE_FLTSUB"),
    11: ("SEGV_MAPERR", "SEGV_ACCERR", "SEGV_BNDERR", "SEGV_PKUERR", "SEGV_ACCADI",
         "SEGV_ADIDERR", "SEGV_ADIPERR", "SEGV_MTEAERR", "SEGV_MTESERR", "SEGV_CPERR"),
    31: ("SYS_SECCOMP", "SYS_USER_DISPATCH"),
}  # fmt: skip

ENUMS: dict[str, dict[int, str]] = {
    "PROCESSOR_ARCHITECTURE": {
        X86: "INTEL", 1: "MIPS", 2: "ALPHA", 3: "PPC", 4: "SHX", ARM: "ARM", 6: "IA64",
        7: "ALPHA64", 8: "MSIL", AMD64: "AMD64", X86_ON_WIN64: "IA32_ON_WIN64", 11: "NEUTRAL",
        ARM64: "ARM64", 13: "ARM32_ON_WIN64", 14: "IA32_ON_ARM64",
        0x8001: "SPARC", 0x8002: "PPC64", ARM64_OLD: "ARM64_OLD", 0x8004: "MIPS64",
        0x8005: "RISCV", 0x8006: "RISCV64", 0xFFFF: "UNKNOWN",
    },
    "PLATFORM_ID": {
        0: "WIN32s", 1: "WIN32_WINDOWS", WIN32_NT: "WIN32_NT", 3: "WIN32_CE", 0x8000: "UNIX",
        MACOS: "MAC_OS_X", IOS: "IOS", LINUX: "LINUX", 0x8202: "SOLARIS", ANDROID: "ANDROID",
        0x8204: "PS3", 0x8205: "NACL", 0x8206: "FUCHSIA",
    },
    "PRODUCT_TYPE": {1: "WORKSTATION", 2: "DOMAIN_CONTROLLER", 3: "SERVER"},
    "PRIORITY_CLASS": {
        0x20: "NORMAL", 0x40: "IDLE", 0x80: "HIGH", 0x100: "REALTIME", 0x4000: "BELOW_NORMAL",
        0x8000: "ABOVE_NORMAL",
    },
    "VOS": {
        0: "UNKNOWN", 1: "WINDOWS16", 4: "WINDOWS32", 0x10000: "DOS", 0x10001: "DOS_WINDOWS16",
        0x10004: "DOS_WINDOWS32", 0x20000: "OS216", 0x30000: "OS232", 0x40000: "NT",
        0x40004: "NT_WINDOWS32", 0x50000: "WINCE",
    },
    "VFT": {
        0: "UNKNOWN", 1: "APP", 2: "DLL", 3: "DRV", 4: "FONT", 5: "VXD", 7: "STATIC_LIB",
    },
    "INTEGRITY_LEVEL": {
        0: "UNTRUSTED", 0x1000: "LOW", 0x2000: "MEDIUM", 0x2100: "MEDIUM_PLUS", 0x3000: "HIGH",
        0x4000: "SYSTEM", 0x5000: "PROTECTED_PROCESS",
    },
    "TIME_ZONE_ID": {0: "UNKNOWN", 1: "STANDARD", 2: "DAYLIGHT"},
    "HANDLE_OBJECT_INFORMATION_TYPE": {
        0: "None", 1: "ThreadInformation1", 2: "MutantInformation1", 3: "MutantInformation2",
        4: "ProcessInformation1", 5: "ProcessInformation2", 6: "EventInformation1",
        7: "SectionInformation1", 8: "SemaphoreInformation1",
    },
    "HANDLE_OPERATION": {0: "UNUSED", 1: "OPEN", 2: "CLOSE", 3: "BADREF"},
    "ASSERTION_TYPE": {0: "UNKNOWN", 1: "INVALID_PARAMETER", 2: "PURE_VIRTUAL_CALL"},
    "ANNOTATION_TYPE": {0: "Invalid", 1: "String"},
    # elf.h; what the kernel tells a program.
    "AT": {
        0: "AT_NULL", 1: "AT_IGNORE", 2: "AT_EXECFD", 3: "AT_PHDR", 4: "AT_PHENT", 5: "AT_PHNUM",
        6: "AT_PAGESZ", 7: "AT_BASE", 8: "AT_FLAGS", 9: "AT_ENTRY", 10: "AT_NOTELF",
        11: "AT_UID", 12: "AT_EUID", 13: "AT_GID", 14: "AT_EGID", 15: "AT_PLATFORM",
        16: "AT_HWCAP", 17: "AT_CLKTCK", 23: "AT_SECURE", 24: "AT_BASE_PLATFORM",
        25: "AT_RANDOM", 26: "AT_HWCAP2", 27: "AT_RSEQ_FEATURE_SIZE", 28: "AT_RSEQ_ALIGN",
        29: "AT_HWCAP3", 30: "AT_HWCAP4", 31: "AT_EXECFN", 32: "AT_SYSINFO",
        33: "AT_SYSINFO_EHDR", 51: "AT_MINSIGSTKSZ",
    },
}  # fmt: skip

# What the lowest bits of ContextFlags mean differs by processor.
_CONTEXT_X86 = {
    1: "CONTROL", 2: "INTEGER", 4: "SEGMENTS", 8: "FLOATING_POINT", 0x10: "DEBUG_REGISTERS",
}  # fmt: skip
_CONTEXT_ARM = {1: "CONTROL", 2: "INTEGER", 4: "FLOATING_POINT", 8: "DEBUG_REGISTERS"}
# What the kernel says of a context that was asked for (winnt.h).
_CONTEXT_KERNEL = {
    0x08000000: "EXCEPTION_ACTIVE", 0x10000000: "SERVICE_ACTIVE", 0x40000000: "EXCEPTION_REQUEST",
    0x80000000: "EXCEPTION_REPORTING",
}  # fmt: skip

FLAGS: dict[str, dict[int, str]] = {
    "MINIDUMP_TYPE": {
        0x1: "WithDataSegs", 0x2: "WithFullMemory", 0x4: "WithHandleData", 0x8: "FilterMemory",
        0x10: "ScanMemory", 0x20: "WithUnloadedModules", 0x40: "WithIndirectlyReferencedMemory",
        0x80: "FilterModulePaths", 0x100: "WithProcessThreadData",
        0x200: "WithPrivateReadWriteMemory", 0x400: "WithoutOptionalData",
        0x800: "WithFullMemoryInfo", 0x1000: "WithThreadInfo", 0x2000: "WithCodeSegs",
        0x4000: "WithoutAuxiliaryState", 0x8000: "WithFullAuxiliaryState",
        0x10000: "WithPrivateWriteCopyMemory", 0x20000: "IgnoreInaccessibleMemory",
        0x40000: "WithTokenInformation", 0x80000: "WithModuleHeaders", 0x100000: "FilterTriage",
        0x200000: "WithAvxXStateContext", 0x400000: "WithIptTrace",
        0x800000: "ScanInaccessiblePartialPages", 0x1000000: "FilterWriteCombinedMemory",
    },
    "CONTEXT_X86": {
        0x10000: "i386", **_CONTEXT_X86, 0x20: "EXTENDED_REGISTERS", 0x40: "XSTATE",
        **_CONTEXT_KERNEL,
    },
    "CONTEXT_AMD64": {
        0x100000: "AMD64", **_CONTEXT_X86, 0x40: "XSTATE", 0x80: "KERNEL_CET",
        0x20000000: "UNWOUND_TO_CALL", **_CONTEXT_KERNEL,
    },
    "CONTEXT_ARM64": {
        0x400000: "ARM64", **_CONTEXT_ARM, 0x10: "X18", 0x20000000: "UNWOUND_TO_CALL",
        0x4000000: "RET_TO_GUEST", **_CONTEXT_KERNEL,
    },
    "CONTEXT_ARM64_OLD": {0x80000000: "ARM64_OLD", 2: "INTEGER", 4: "FLOATING_POINT"},
    # Breakpad's ARM is the bit that Windows uses for a request, Microsoft's is 0x200000.
    "CONTEXT_ARM": {
        0x200000: "ARM", 0x40000000: "ARM (Breakpad)", 0x40: "ARM (old)", **_CONTEXT_ARM,
    },
    "XSTATE": {
        1: "LEGACY_FLOATING_POINT", 2: "LEGACY_SSE", 4: "AVX", 8: "MPX_BNDREGS",
        0x10: "MPX_BNDCSR", 0x20: "AVX512_KMASK", 0x40: "AVX512_ZMM_H", 0x80: "AVX512_ZMM",
        0x100: "IPT", 0x200: "PKRU", 0x400: "PASID", 0x800: "CET_U", 0x1000: "CET_S",
        0x20000: "AMX_TILE_CONFIG", 0x40000: "AMX_TILE_DATA", 1 << 62: "LWP",
    },
    "PAGE": {
        0x1: "NOACCESS", 0x2: "READONLY", 0x4: "READWRITE", 0x8: "WRITECOPY", 0x10: "EXECUTE",
        0x20: "EXECUTE_READ", 0x40: "EXECUTE_READWRITE", 0x80: "EXECUTE_WRITECOPY",
        0x100: "GUARD", 0x200: "NOCACHE", 0x400: "WRITECOMBINE", 0x40000000: "TARGETS_INVALID",
    },
    "MEM_STATE": {0x1000: "COMMIT", 0x2000: "RESERVE", 0x10000: "FREE"},
    "MEM_TYPE": {0x20000: "PRIVATE", 0x40000: "MAPPED", 0x1000000: "IMAGE"},
    "MINIDUMP_THREAD_INFO": {
        1: "ERROR_THREAD", 2: "WRITING_THREAD", 4: "EXITED_THREAD", 8: "INVALID_INFO",
        0x10: "INVALID_CONTEXT", 0x20: "INVALID_TEB",
    },
    "MINIDUMP_MISC": {
        0x1: "PROCESS_ID", 0x2: "PROCESS_TIMES", 0x4: "PROCESSOR_POWER_INFO",
        0x10: "PROCESS_INTEGRITY", 0x20: "PROCESS_EXECUTE_FLAGS", 0x40: "TIMEZONE",
        0x80: "PROTECTED_PROCESS", 0x100: "BUILDSTRING", 0x200: "PROCESS_COOKIE",
    },
    # Named after what they do, as MEM_EXECUTE_OPTION_... of ntpsapi.h.
    "EXECUTE_FLAGS": {
        0x1: "DISABLE", 0x2: "ENABLE", 0x4: "DISABLE_THUNK_EMULATION", 0x8: "PERMANENT",
        0x10: "EXECUTE_DISPATCH_ENABLE", 0x20: "IMAGE_DISPATCH_ENABLE",
        0x40: "DISABLE_EXCEPTION_CHAIN_VALIDATION",
    },
    "MINIDUMP_SYSMEMINFO1": {
        1: "FILECACHE_TRANSITIONREPURPOSECOUNT_FLAGS", 2: "BASICPERF",
        4: "PERF_CCTOTALDIRTYPAGES_CCDIRTYPAGETHRESHOLD",
        8: "PERF_RESIDENTAVAILABLEPAGES_SHAREDCOMMITPAGES",
        0x10: "PERF_MDLPAGESALLOCATED_PFNDATABASECOMMITTEDPAGES",
        0x20: "PERF_SYSTEMPAGETABLECOMMITTEDPAGES_CONTIGUOUSPAGESALLOCATED",
    },
    "MINIDUMP_PROCESS_VM_COUNTERS": {
        1: "COUNTERS", 2: "VIRTUALSIZE", 4: "EX", 8: "EX2", 0x10: "JOB",
    },
    "VS_FF": {
        1: "DEBUG", 2: "PRERELEASE", 4: "PATCHED", 8: "PRIVATEBUILD", 0x10: "INFOINFERRED",
        0x20: "SPECIALBUILD",
    },
    "SUITE": {
        0x1: "SMALLBUSINESS", 0x2: "ENTERPRISE", 0x4: "BACKOFFICE", 0x8: "COMMUNICATIONS",
        0x10: "TERMINAL", 0x20: "SMALLBUSINESS_RESTRICTED", 0x40: "EMBEDDEDNT",
        0x80: "DATACENTER", 0x100: "SINGLEUSERTS", 0x200: "PERSONAL", 0x400: "BLADE",
        0x800: "EMBEDDED_RESTRICTED", 0x1000: "SECURITY_APPLIANCE", 0x2000: "STORAGE_SERVER",
        0x4000: "COMPUTE_SERVER", 0x8000: "WH_SERVER",
    },
    "BREAKPAD_INFO": {1: "DUMP_THREAD_ID", 2: "REQUESTING_THREAD_ID"},
}  # fmt: skip


def flag_names(table: str, value: int) -> list[str]:
    """The names of the bits of `value`, lowest first; bits without a name as one hex number."""
    names, rest = [], value
    for bit, name in sorted(FLAGS[table].items()):
        if value & bit:
            names.append(name)
            rest &= ~bit
    return [*names, f"0x{rest:x}"] if rest else names


def exception_name(code: int, system: str | None) -> str | None:
    """An exception's name on a system of `SYSTEMS`; None where it has none that is known."""
    if system in ("linux", "android"):
        return SIGNALS.get(code)
    return WINDOWS_EXCEPTIONS.get(code) if system in ("windows", None) else None


def has_address(code: int, system: str | None) -> bool:
    """Whether an exception's address means something where it is 0: all of Windows', and signals
    that the CPU raises (SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV)."""
    return system not in ("linux", "android") or code in (4, 5, 7, 8, 11)


def signal_code_name(signal: int, code: int) -> str | None:
    """The name of a signal's code: what the exception's flags are on Linux."""
    names = SIGNAL_CODES.get(signal, ())
    return names[code - 1] if 0 < code <= len(names) else None
