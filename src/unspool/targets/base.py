"""What every target gives: facts, threads, an address space, and what is missing of it."""

from __future__ import annotations

import os

from unspool.image import Image
from unspool.memory import RecordedMemory
from unspool.symbols.files import SymbolPaths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from _typeshed import StrPath

    from unspool.arch.base import Arch
    from unspool.formats.elf import Elf
    from unspool.generated.code import CodeNames, GeneratedCode, SubjectNames
    from unspool.memory import Memory
    from unspool.model import Crash, Finding, Location, Module, Report, TargetInfo, Thread
    from unspool.pe_image import PeImage
    from unspool.space import AddressSpace
    from unspool.symbols.elf.symbols import ElfSymbols
    from unspool.targets.facts import Facts
    from unspool.targets.live.procfs import Process
    from unspool.targets.mapped_modules import MappedModules
    from unspool.wine.process import WineProcess


class Options:
    """Where a target looks for files, as the user said.

    `executable` is the crashed program's file; `symbols` are directories (or files) with
    executables, libraries and debug files, indexed once for all who look there; `sysroot` is
    a directory that holds the target's file system. `progress` is called with the number of
    bytes done, from time to time.

    `procfs` is a directory with files as in /proc/PID, kept of the process of a core: what its
    notes do not say is taken from there. `floating_point` makes a live target keep the
    threads' floating point registers, see `Target.floating_point`.
    """

    __slots__ = ("executable", "floating_point", "procfs", "progress", "symbols", "sysroot")

    def __init__(
        self,
        *,
        executable: StrPath | None = None,
        symbols: StrPath | Sequence[StrPath] = (),
        sysroot: StrPath | None = None,
        progress: Callable[[int], None] | None = None,
        procfs: StrPath | None = None,
        floating_point: bool = False,
    ) -> None:
        self.procfs = _path(procfs)
        self.floating_point = floating_point
        self.executable = _path(executable)
        self.symbols = SymbolPaths(symbols)
        self.sysroot = _path(sysroot)
        self.progress = progress


def _path(path: StrPath | None) -> str | None:
    return None if path is None else os.fspath(path)


class Target:
    """A process to examine. Use as a context manager, or call `close`."""

    info: TargetInfo
    arch: Arch
    space: AddressSpace
    threads: list[Thread]
    crash: Crash | None
    findings: list[Finding]
    options: Options
    mapped_modules: MappedModules | None = None
    _wine: WineProcess | None = None
    _wine_known = False
    _generated: GeneratedCode | None = None
    _debug_files: dict[str, list[ElfSymbols]] | None = None

    @property
    def modules(self) -> list[Module]:
        """Images mapped in the process, by address."""
        return self.space.modules

    def elf(self, module: Module) -> Elf | None:
        """The module's ELF: of its verified file, else of its memory; None if of neither."""
        image = self.space.image(module)
        return image.elf if isinstance(image, Image) else None

    def pe(self, module: Module) -> PeImage | None:
        """The PE module's data, of its verified file or its memory; None if of neither."""
        image = self.space.image(module)
        return None if isinstance(image, Image) else image

    @property
    def wine(self) -> WineProcess | None:
        """What Wine knows of its threads, or None if this is no Wine process."""
        if not self._wine_known:
            self._wine_known = True
            if any(module.name in ("ntdll.so", "ntdll.dll") for module in self.modules):
                from unspool.wine.process import recognise

                self._wine = recognise(self.space, self.threads, self.symbol)
                self.info.wine = self._wine.describe() if self._wine else None
        return self._wine

    @property
    def generated(self) -> GeneratedCode:
        """Code that the process has made while it ran. Its modules are added to `modules`."""
        if self._generated is None:
            from unspool.generated.code import Process as Surroundings
            from unspool.generated.find import find_generated

            surroundings = Surroundings(
                self.space, self.memory_now(), self.symbol, info=self.info, threads=self.threads,
                live=self.live_process(), sysroot=self.options.sysroot,
                symbols=self.options.symbols.paths, owners=self.owners(),
                symbols_of=self.symbols_of,
            )  # fmt: skip
            self._generated = find_generated(surroundings)
            self.findings += self._generated.findings
        return self._generated

    @property
    def known_generated(self) -> GeneratedCode | None:
        """The same, if a walk has met such code; None if not."""
        return self._generated

    def code_names(self, module: Module, lines: bool = True) -> CodeNames | None:
        """The names of code that the process has made, if the module is such and has any."""
        found = self._generated.of(module) if self._generated is not None else None
        if found is not None and found.dwarf is not None and found.names is not None and lines:
            from unspool.symbols.elf.object_names import WasmLines

            found.names, found.dwarf = WasmLines(found.names, found.dwarf), None
        if found is None or found.elf is None or (found.names is not None and not lines):
            return found.names if found is not None else None
        from unspool.symbols.elf.object_names import CompletedNames, ObjectNames

        names = ObjectNames(found.elf, lines=lines)
        return names if found.names is None else CompletedNames(found.names, names)

    def add_places(self, report: Report) -> None:
        """Adds to the locations of WebAssembly code where in its binary that is from."""
        code = self._generated
        if code is not None and any(each.module.kind == "wasm" for each in code.modules):
            from unspool.generated.wasm_places import add_places
            from unspool.symbols.symbolicate import lookup_pcs

            add_places(report.locations, lookup_pcs(report), code)

    @property
    def namers(self) -> Sequence[SubjectNames]:
        """Runtimes that name what frames work on, of those that a walk has come to."""
        return self._generated.namers if self._generated is not None else ()

    def locate_subject(self, subject: int) -> Location | None:
        """What a runtime knows of a frame's subject that is named by no module."""
        return self._generated.locate_subject(subject) if self._generated is not None else None

    def symbol(self, module: Module, name: str) -> int | None:
        """The address of a symbol of an ELF module, by its symbol tables, or its debug file's.

        None if it is outside: V8 maps its builtins once more, near the code that it makes, and
        such a part of a file has nothing around it.
        """
        elf = self.elf(module)
        bias = module.bias
        if elf is None or bias is None:
            return None
        address = None
        if elf.may_name(name):
            from unspool.symbols.elf.symbols import ElfSymbols

            address = ElfSymbols(elf, bias=bias).address_of(name)
        if address is None and module.file is None and self.options.symbols.paths:
            address = self._given_symbol(module.code_id or "", name)
        inside = address is not None and module.base <= address + bias < module.end
        return address + bias if address is not None and inside else None

    def _given_symbol(self, build_id: str, name: str) -> int | None:
        """A symbol's file address by debug files in --symbols, where a module's file is missing."""
        if self._debug_files is None:
            self._debug_files = {}
        known = self._debug_files.get(build_id)
        if known is None:
            from unspool.symbols.elf.symbols import ElfSymbols
            from unspool.symbols.files import open_elf

            files = map(open_elf, self.options.symbols.by_build_id(build_id))
            known = self._debug_files[build_id] = [ElfSymbols(each) for each in files if each]
        addresses = (symbols.address_of(name) for symbols in known)
        return next((address for address in addresses if address is not None), None)

    def symbols_of(self, module: Module, prefix: str) -> dict[str, int]:
        """The addresses of an ELF module's symbols whose names begin with `prefix`."""
        elf, bias = self.elf(module), module.bias
        if elf is None or bias is None:
            return {}
        from unspool.symbols.elf.symbols import ElfSymbols

        found = ElfSymbols(elf, bias=bias).addresses_of(prefix)
        return {
            name: address + bias
            for name, address in found.items()
            if module.base <= address + bias < module.end
        }

    def record_reads(self) -> list[tuple[int, int]]:
        """From now on, what is read of the memory is appended to the result, as (address, size).

        To be called before anything is walked.
        """
        memory = RecordedMemory(self.space.memory)
        self.space.memory = memory
        if self.mapped_modules is not None:
            self.mapped_modules.memory = memory
        return memory.reads

    def floating_point(self, thread: Thread) -> bytes | None:
        """A thread's floating point and vector registers, None if they are not known.

        On x86 and x86-64 the 512 bytes that FXSAVE writes, on aarch64 the 528 of the kernel's
        `struct user_fpsimd_state`.
        """
        return None

    def memory_now(self) -> Memory:
        """All of the process's memory: of a running one, as it is at the moment of reading."""
        return self.space.memory

    def kept_reads(self) -> list[tuple[int, bytes]]:
        """What has been read of `memory_now` since `record_reads`, if `space` does not hold it.

        What runtimes need for names, and no walk does, is read before.
        """
        for namer in self.namers:
            namer.tables()
        return []

    def live_process(self) -> Process | None:
        """What /proc tells of the process, if it runs."""
        return None

    def owners(self) -> set[int] | None:
        """The ids of the user whose process it is, real and effective, if they are known."""
        return None

    def shared_files(self) -> Sequence[tuple[int, int, str, int, int]]:
        """Memory that processes share: where it is, by addresses, and of which file.

        That has a path, a number, of its device and inode, 0 if they are not known, and an offset.
        """
        return ()

    def noted_ids(self) -> Sequence[int]:
        """The ids that threads have in their own pid namespace, by index, if the target notes them.

        Empty if it does not, as most do: then they are the threads' ids, or not known.
        """
        return ()

    def facts(self) -> Facts:
        """What is known of the process beside its memory and threads."""
        from unspool.targets.facts import Facts

        return Facts()

    def close(self) -> None:
        """Releases files and memory. The target's data cannot be read any more."""

    def __enter__(self) -> Target:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
