"""Code that a program has made while it ran: where it lies, its unwind data, its names.

Nothing of it is in a file: what there is to know is in the process's memory, in the form that
its runtime gave it. A finder for each form turns it into modules, see `find`.
"""

from __future__ import annotations

from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from unspool.formats.elf import Elf
    from unspool.image import Image
    from unspool.memory import Memory
    from unspool.model import Finding, Location, Module, TargetInfo, Thread
    from unspool.space import AddressSpace

    class CodeNames(Protocol):
        """Names of generated code."""

        def locate(self, pc: int) -> Location | None:
            """What is known of an address of the process, but for the module's index.

            Or of a subject, where frames of the code have any, see `model.Stack`.

            May raise `FormatError` and `Fault`: then nothing is known.
            """
            ...

    class Runtime(Protocol):
        """What the strategies of one kind of runtime need to know."""

        @property
        def kind(self) -> str: ...

    class SubjectNames(Protocol):
        """A runtime that names what frames work on, wherever their code lies."""

        @property
        def kind(self) -> str: ...

        def locate(self, pc: int) -> Location | None:
            """What is known of a subject; None if it is none of this runtime's."""
            ...

        def tables(self) -> list[tuple[int, int]]:
            """The memory that a minidump must hold for that, as (start, end)."""
            ...

    class Running(Protocol):
        """What /proc tells of a process that runs."""

        @property
        def pid(self) -> int: ...

        def status(self, tid: int | None = None) -> dict[str, str]: ...

        def read(self, name: str) -> bytes | None: ...

        def open(self, name: str, flags: int) -> int: ...


GENERATED_KINDS = ("wasm", "jit")


class GeneratedModule:
    """A range of generated code as a module of kind "wasm" or "jit".

    `image` has its unwind data, `names` its names, if there are any. `elf` is for code that is
    described by an ELF object in memory, with addresses of the process: its symbols and DWARF are
    its names, or complete them. `runtime` is what the strategy of its runtime needs to know.
    `tables` gives the memory, as (start, end), that a minidump must hold for all that to be found
    in it again. `dwarf` is for WebAssembly: for the number of a module where its code section
    begins in the binary, and a binary that has nothing but the DWARF.
    """

    __slots__ = ("dwarf", "elf", "image", "module", "names", "runtime", "tables")

    def __init__(
        self,
        module: Module,
        *,
        image: Image | None = None,
        names: CodeNames | None = None,
        elf: Callable[[], Elf | None] | None = None,
        runtime: Runtime | None = None,
        tables: Callable[[], list[tuple[int, int]]] | None = None,
        dwarf: Callable[[int], tuple[int, bytes] | None] | None = None,
    ) -> None:
        self.dwarf = dwarf
        self.tables = tables
        self.module = module
        self.image = image
        self.names = names
        self.elf = elf
        self.runtime = runtime


class GeneratedCode:
    """All generated code of a process, by address; no two modules overlap.

    `namers` are runtimes that name frames by what these hold, and whose code is in no module here.
    """

    def __init__(
        self,
        modules: Sequence[GeneratedModule],
        findings: Sequence[Finding],
        namers: Sequence[SubjectNames] = (),
    ) -> None:
        self.modules = sorted(modules, key=_base)
        self.findings = findings
        self.namers = namers
        self._bases = [each.module.base for each in self.modules]

    def at(self, address: int) -> GeneratedModule | None:
        """The module that an address is in."""
        index = bisect_right(self._bases, address) - 1
        if index >= 0 and address < self.modules[index].module.end:
            return self.modules[index]
        return None

    def of(self, module: Module) -> GeneratedModule | None:
        """What is known of a module, if it is one of these."""
        found = self.at(module.base)
        return found if found is not None and found.module.base == module.base else None

    def locate_subject(self, subject: int) -> Location | None:
        """What is known of a subject that is named by no module."""
        for namer in self.namers:
            found = namer.locate(subject)
            if found is not None:
                return found
        return None

    def names(self, module: Module) -> CodeNames | None:
        """The names of a module's code, if it is one of these and its runtime has any."""
        found = self.of(module)
        return found.names if found is not None else None


class Process:
    """What a finder may look at.

    `space` is as the walk sees it. `now` reads all of the process's memory, of a running one as
    it is at the moment. `symbol` gives the address of a symbol of an ELF module, `symbols_of` those
    of all that begin with a prefix, by name. `live` is the
    process if it runs, `sysroot` a directory with the file system of the machine that it ran on,
    `symbols` are the files and directories that the user gave, `owners` the ids of the user
    whose process it is, if they are known. What a person should know goes to `findings`, runtimes
    that name what frames work on to `namers`; `known` is what the finders before have found.
    """

    __slots__ = (
        "findings", "info", "known", "live", "namers", "now", "owners", "space", "symbol",
        "symbols", "symbols_of", "sysroot", "threads",
    )  # fmt: skip

    def __init__(
        self,
        space: AddressSpace,
        now: Memory,
        symbol: Callable[[Module, str], int | None],
        *,
        info: TargetInfo,
        threads: Sequence[Thread] = (),
        live: Running | None = None,
        sysroot: str | None = None,
        symbols: Sequence[str] = (),
        owners: set[int] | None = None,
        symbols_of: Callable[[Module, str], dict[str, int]] | None = None,
    ) -> None:
        self.findings: list[Finding] = []
        self.namers: list[SubjectNames] = []
        self.symbols_of = symbols_of or _no_symbols
        self.known: list[GeneratedModule] = []
        self.owners = owners
        self.space = space
        self.now = now
        self.symbol = symbol
        self.info = info
        self.threads = threads
        self.live = live
        self.sysroot = sysroot
        self.symbols = symbols


def _no_symbols(module: Module, prefix: str) -> dict[str, int]:
    return {}


def _base(each: GeneratedModule) -> int:
    return each.module.base
