"""What the names on a thread's stack say of its wait: by which function, where in the program."""

from __future__ import annotations

from unspool.analyses.locks.words import FUNCTIONS, PARKED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.model import Report, Stack

# Modules whose frames do not decide where a program waits.
_LIBRARIES = (
    "libc.so", "libc-2.", "libpthread", "ld-linux", "ld-musl", "ld-2.", "ld.so", "ntdll.",
    "kernel32.dll", "kernelbase.dll", "win32u.", "wow64", "linux-vdso", "[vdso]", "libdl.so",
    "libstdc++.so", "libc++.so", "libc++abi.so",
)  # fmt: skip
# Functions of the languages' own libraries, which are linked into programs or expanded in place.
STANDARD = (
    "std::", "core::", "alloc::", "<std::", "<core::", "__gthread", "parking_lot", "<parking_lot",
    "lock_api::", "<lock_api::", "__cxa_guard_",
    "__once_proxy", "_ZSt", "_ZNSt",
)  # fmt: skip
# HotSpot's code, and Java's own classes.
_JAVA_CODE, _JAVA = ("codeheap", "codecache"), ("java.", "javax.", "jdk.", "sun.")
_HEADERS = "/include/c++/"
# Frames of a static program that may be its C library's.
_FEW = 8
_MOST = 4000

# Calls into the loaders and into what loads symbols, by the ends of decorated names.
_LOADING = (
    "dl_iterate_phdr", "dlopen", "_dl_open", "dl_open_worker", "dlclose", "_dl_close", "dlsym",
    "LdrLoadDll", "LdrUnloadDll", "LdrGetDllHandle", "LdrGetDllHandleEx", "LdrShutdownThread",
    "LdrGetProcedureAddress", "LdrLockLoaderLock", "LdrAddRefDll", "LoadLibraryA",
    "LoadLibraryW", "LoadLibraryExA", "LoadLibraryExW", "FreeLibrary", "GetModuleHandleExW",
)  # fmt: skip
_SYMBOL_MODULES = ("dbghelp.dll", "libdw.so", "libdw-", "libbfd", "libbacktrace")


class StackNames:
    """The functions and modules of one stack, the innermost first."""

    def __init__(self, report: Report, stack: Stack) -> None:
        self.frames = stack.frames
        self.functions: list[str] = []
        self.texts: list[str] = []  # with the calls that were expanded in place
        self.standard: list[bool] = []  # nothing but a language's own library
        self.modules: list[str] = []
        self.kinds: list[str] = []
        for index in range(min(len(stack.frames), _MOST)):
            place = report.location(stack, index)
            name = place.function if place is not None else None
            inlined = [call.function for call in place.inlines] if place is not None else []
            number = place.module if place is not None else None
            module = report.modules[number] if number is not None else None
            self.functions.append(plain(name or ""))
            self.texts.append(" ".join([*inlined, name or ""]))
            calls = [(each.function, each.file) for each in place.inlines] if place else []
            if place is not None and name:
                calls.append((name, place.file))
            self.standard.append(bool(calls) and all(is_standard(*each) for each in calls))
            self.modules.append(module.name.lower() if module is not None else "")
            self.kinds.append(module.kind if module is not None else "")

    def deciding(self) -> int:
        """The first frame outside of the libraries of the system: the program's own call."""
        for index, (module, name) in enumerate(zip(self.modules, self.functions, strict=True)):
            if module.startswith(_JAVA_CODE) and "." in name and not name.startswith(_JAVA):
                return index
        first = self._first_outside()
        for index in range(first, min(first + 2 * _FEW, len(self.functions))):
            if not self.standard[index] and not self.modules[index].startswith(_LIBRARIES):
                return index
        return first

    def _first_outside(self) -> int:
        inside = False
        for index, module in enumerate(self.modules):
            if module.startswith(_LIBRARIES):
                inside = True
            elif inside or index >= _FEW:
                return index
            elif index and self.kind_at(index - 1) and not self.kind_at(index):
                return index  # a static program: behind the function that waits
        return 0

    def kind_at(self, index: int) -> str | None:
        return next((kind for part, kind in FUNCTIONS if part in self.texts[index]), None)

    def waiting(self) -> tuple[str | None, str]:
        """Which kind of lock the C library's functions wait for, and the function's name."""
        inside = False
        parked = None
        for index in range(min(len(self.functions), 2 * _FEW)):
            kind = self.kind_at(index)
            if kind == PARKED:
                parked = parked or self.functions[index]
            elif kind is not None:
                return kind, self.functions[index]
            elif self.modules[index].startswith(_LIBRARIES):
                inside = True
            elif inside or index >= _FEW:
                break
        if parked is not None:
            return PARKED, parked
        return None, self.functions[0] if self.functions else ""

    def loading(self) -> str | None:
        """The outermost call into a loader or into symbol loading that the thread is in."""
        for index in range(len(self.functions) - 1, -1, -1):
            name, module = self.functions[index], self.modules[index]
            if name in _LOADING:
                return name
            if module.startswith(_SYMBOL_MODULES):
                return f"{name or 'a function'} of {module}"
        return None


def is_standard(name: str, file: str | None) -> bool:
    """Whether a function is of a language's own library.

    One that was made of a template has its result first: `void std::call_once<…>(…)`. Calls that
    were expanded in place have no namespace, but the header that they are from.
    """
    of_header = file is not None and _HEADERS in file
    return of_header or name.startswith(STANDARD) or name.partition(" ")[2].startswith("std::")


def plain(name: str) -> str:
    """A function's name without version, decoration and the C library's prefixes.

    The prefix of a name that libraries use inside is left off where another one is meant:
    `___pthread_mutex_lock`, `__GI___pthread_rwlock_wrlock`, `pthread_join@@GLIBC_2.34`.
    """
    name = name.partition("@")[0]
    bare = name.lstrip("_").removeprefix("GI_").lstrip("_")
    return bare if bare.startswith(("pthread_", "sem_", "dl_", "dlopen", "dlclose")) else name
