"""A minidump as a target: of Linux by Breakpad, Crashpad or unspool itself, and of Windows."""

from __future__ import annotations

from bisect import bisect_left
from time import gmtime, strftime

from unspool import arch as architectures
from unspool.errors import FormatError, InputError
from unspool.formats import notes
from unspool.formats.minidump import streams
from unspool.formats.minidump.contexts import parse_context
from unspool.formats.minidump.reader import Minidump
from unspool.formats.notes import FileMapping
from unspool.memory import Memory, Region
from unspool.model import Finding, TargetInfo, Thread
from unspool.space import AddressSpace, KnownStack
from unspool.targets.base import Options, Target
from unspool.targets.minidump.crash import crash_in
from unspool.targets.minidump.modules import MinidumpModules
from unspool.targets.minidump.regions import (
    Pieces,
    Spans,
    SplitMemory,
    UnsplitRegion,
    disjoint,
    gaps,
    spans_of_information,
    spans_of_maps,
)
from unspool.targets.minidump.system import system_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.arch.base import Arch
    from unspool.formats.minidump.contexts import Context
    from unspool.formats.minidump.reader import ExceptionRecord, System, ThreadRecord
    from unspool.targets.facts import Facts
    from unspool.targets.input.source import Source
    from unspool.targets.live.procfs import Mapping

# Digits of the greatest id that Linux has, and some more.
_LONGEST_ID = 10
# ELF machine and class by `System.arch_name`.
_MACHINES = {"x86_64": (62, 2), "x86": (3, 1), "aarch64": (183, 2), "arm": (40, 1)}
# Names for people of those that nobody here walks.
_CPUS = {1: "MIPS", 3: "PowerPC", 6: "Itanium", 0x8006: "RISC-V"}
_WHOLE = "is the file whole?"
# Two streams of one type, or two that have bytes in common, are odd and lose nothing.
_HARMLESS = ("is there more than once", "shares bytes with")
_SHOWN = 8
_LINES = 100
_MOST_ARGUMENTS = 1 << 16
# Many dumps are of Android, whose kernel is Linux.
_SYSTEMS = {"android": "linux"}


class MinidumpTarget(Target):
    """A minidump. What it does not hold comes from modules' files that its ids prove."""

    def __init__(self, source: Source, options: Options) -> None:
        self.source = source
        self.options = options
        self.findings = []
        try:
            self.dump = Minidump(source.buffer)
        except FormatError as error:
            raise InputError(f"{source.name}: broken minidump ({error})", _WHOLE) from None
        described = _system(self.dump, source)
        self.arch = _arch(described, source)
        system = described.os or "unknown"
        self.os = _SYSTEMS.get(system, system)
        records = self.dump.threads()
        exception = self.dump.exception()
        self.threads = self._threads(records, described, exception)
        self._crash(records, exception)
        self._map()
        self.info = self._info()
        self._know_stacks(records)
        self._note_losses()
        self._note_unloaded()
        # Windows has an ntdll.dll as Wine has, but no second half of it, and no second stack.
        self._wine_known = self.os != "linux"

    # --- threads and the crash ----------------------------------------------------------

    def _threads(
        self, records: Sequence[ThreadRecord], described: System, exception: ExceptionRecord | None
    ) -> list[Thread]:
        """Threads in the order of the list; the crashed one as it was when it crashed."""
        names = self.dump.thread_names()
        base = "gs_base" if self.arch.pointer_size == 8 else "fs_base"
        # Breakpad's dumps of Linux know of no TEBs; ours say which threads have none.
        with_tebs = self.os == "linux" and any(record.teb for record in records)
        crashed = None if exception is None else _index_of(records, exception.tid)
        threads = []
        for index, record in enumerate(records):
            places = [record.context]
            if index == crashed and exception is not None:
                # The thread's own is that of the handler which wrote the dump.
                places.insert(0, exception.context)
            registers, special = self._context(places, described)
            if with_tebs:
                special |= {base: record.teb, "teb": record.teb}
            threads.append(
                Thread(index, record.tid, registers, name=names.get(record.tid), special=special)
            )
        return threads

    def _context(
        self, places: Sequence[tuple[int, int] | None], described: System
    ) -> tuple[list[int | None] | None, dict[str, int]]:
        """Registers and others by name, of the first place that has any."""
        for place in places:
            context = self._parsed(place, described)
            if context is None:
                continue
            count, pc = len(self.arch.register_names), self.arch.pc
            registers = [*context.registers[:count], *[None] * (count - len(context.registers))]
            if registers[pc] is not None:
                registers[pc] = (registers[pc] or 0) & self.arch.code_address_mask
            return registers, dict(context.special)
        return None, {}

    def _parsed(self, place: tuple[int, int] | None, described: System) -> Context | None:
        if place is None:
            return None
        rva, size = place
        data = bytes(self.source.buffer[rva : rva + size])
        try:
            return parse_context(data, described.processor_architecture)
        except FormatError:
            return None

    def _crash(
        self, records: Sequence[ThreadRecord], exception: ExceptionRecord | None
    ) -> None:
        self.crash = None
        if exception is None:
            return
        index = _index_of(records, exception.tid)
        self.crash = crash_in(exception, self.os, index)
        if self.crash is not None:
            if self.crash.address is not None:
                self.crash.address &= self.arch.mask
            if index is not None:
                self.threads[index].crashed = True

    # --- memory and modules -------------------------------------------------------------

    def _map(self) -> None:
        """Puts the address space together."""
        dump, arch = self.dump, self.arch
        mappings = self._mappings()
        self.spans = spans_of_maps(mappings) if mappings else self._information()
        held = ((each.start, each.start + each.size, each.rva) for each in dump.memory())
        pieces = Pieces(self.source.buffer, disjoint(held), self.spans)
        modules = MinidumpModules(
            dump.modules(), Memory(pieces.regions), _files(mappings),
            notes.parse_auxv(arch, dump.text(streams.LINUX_AUXV) or b""),
            arch, self.os, self.options, self.findings,
            specials=[thread.special for thread in self.threads], is_code=self.spans.is_code,
        )  # fmt: skip
        self._find_code(pieces.loose, modules)
        regions = list(pieces.regions)
        for like, start, end in pieces.rests():
            if like.writable:
                # Data that the process had written: the file has them as they were at first.
                regions.append(_unknown(like, start, end))
            else:
                regions += modules.rest(like, start, end)
        regions.sort(key=_start)
        regions += [
            UnsplitRegion(start, end, None, executable=True)
            for start, end in gaps(modules.ranges(), regions)
        ]
        self.memory = SplitMemory(regions, modules.split)
        self.mapped_modules = self._modules = modules
        modules.memory = self.memory
        self.space = AddressSpace(
            arch, self.memory, modules.modules, modules.image, modules.entry_points()
        )

    def _mappings(self) -> list[Mapping]:
        """The lines of the Linux maps that say something possible."""
        text = self.dump.text(streams.LINUX_MAPS)
        if not text:
            return []
        from unspool.targets.live.procfs import parse_maps

        return [
            each
            for each in parse_maps(text).mappings
            if 0 <= each.start < each.end <= 1 << 64 and len(each.permissions) >= 3
        ]

    def shared_files(self) -> Sequence[tuple[int, int, str, int, int]]:
        from unspool.targets.live.procfs import Maps

        return Maps(self._mappings()).shared

    def noted_ids(self) -> Sequence[int]:
        text = self.dump.text(streams.COMMENT_A) or b""
        _, noted, rest = text.partition(streams.OWN_IDS)
        words = rest.rstrip(b"\0").split(None, len(self.threads)) if noted else []
        if len(words) != len(self.threads) or not all(map(bytes.isdigit, words)):
            return ()
        return [int(word[:_LONGEST_ID]) for word in words]

    def _information(self) -> Spans:
        """The mappings of MINIDUMP_MEMORY_INFO_LIST; none if there is no such stream."""
        return spans_of_information(
            (each.base, each.size, each.allocation_base, each.state, each.protect)
            for each in self.dump.memory_info()
        )

    def _find_code(self, loose: Sequence[Region], modules: MinidumpModules) -> None:
        """Marks what is code of the bytes in no known mapping: modules', and where threads are."""
        pcs, sps = self._sorted_registers(self.arch.pc), self._sorted_registers(self.arch.sp)
        for region in loose:
            start, end = region.start, region.end
            if modules.has(start) or (_any_in(pcs, start, end) and not _any_in(sps, start, end)):
                region.writable, region.executable = False, True

    def _sorted_registers(self, number: int) -> list[int]:
        found = (each.registers[number] for each in self.threads if each.registers is not None)
        return sorted(value for value in found if value is not None)

    def _know_stacks(self, records: Sequence[ThreadRecord]) -> None:
        """Windows notes a stack's bounds in the TEB; what lies in one block of memory is next."""
        if self.os != "windows":
            return
        from unspool.wine import layouts
        from unspool.wine.teb import read_teb

        layout = layouts.TEB64 if self.arch.pointer_size == 8 else layouts.TEB32
        known = []
        for thread, record in zip(self.threads, records, strict=True):
            teb = read_teb(self.memory, record.teb, layout) if record.teb else None
            sp = thread.registers[self.arch.sp] if thread.registers is not None else None
            bounds = self.spans.block_at(sp) if sp is not None else None
            if teb is not None:
                bounds = teb.allocation, teb.stack_base
            elif bounds is None and record.stack is not None:
                bounds = record.stack.start, record.stack.start + record.stack.size
            if bounds is not None:
                known.append(KnownStack("windows", *bounds, thread.index))
        self.space.know_stacks(known)

    # --- the report's facts -------------------------------------------------------------

    def _info(self) -> TargetInfo:
        modules = self._modules
        program = modules.program
        misc = self.dump.misc()
        time = self.dump.header["TimeDateStamp"]
        arguments = (self.dump.text(streams.LINUX_CMD_LINE) or b"").rstrip(b"\0")
        return TargetInfo(
            "minidump",
            self.arch.report_name,
            self.os,
            path=self.source.path,
            pid=(misc.pid if misc is not None else None) or self._pid_of_status(),
            executable=modules.windows_path() or (program.path if program else None),
            command_line=_words(arguments) if arguments else None,
            captured_at=strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(time)) if time else None,
            system=system_of(self.dump),
        )

    def _pid_of_status(self) -> int | None:
        for line in (self.dump.text(streams.LINUX_PROC_STATUS) or b"").splitlines()[:_LINES]:
            name, _, value = line.partition(b":")
            if name == b"Pid" and value.strip().isdigit():
                return int(value) & 0xFFFFFFFF
        return None

    def _note_losses(self) -> None:
        """Says what of the dump is cut, or contradicts itself."""
        dump, source = self.dump, self.source
        wrong = [each for each in dump.problems if not each.what.startswith(_HARMLESS)]
        words = [str(each) for each in wrong[:_SHOWN]]
        if len(wrong) > _SHOWN:
            words.append(f"and {len(wrong) - _SHOWN:,} more")
        detail = "\n".join(words) or None
        if source.truncated:
            self._lose(source.truncated, detail)
        elif dump.file.is_cut or len(dump.streams) < dump.header["NumberOfStreams"]:
            self._lose(f"the minidump is truncated: it has {source.size:,} bytes", detail)
        elif wrong:
            self._lose("the minidump is damaged: it contradicts itself", detail)
        if not self.threads:
            self._lose("the minidump holds no threads", None)

    def _note_unloaded(self) -> None:
        """Says which threads run code of a module that was there before."""
        records = self.dump.unloaded_modules()
        unloaded = sorted((each.base, each.size, each.name) for each in records)
        for thread in self.threads if unloaded else ():
            pc = thread.registers[self.arch.pc] if thread.registers is not None else None
            if pc is None or self.space.module_at(pc) is not None:
                continue
            base, size, name = unloaded[bisect_left(unloaded, (pc + 1,)) - 1]
            if base <= pc < base + size:
                name = name or f"a module at 0x{base:x}"
                title = f"{name} was unloaded while its code at 0x{pc:x} was needed"
                finding = Finding("unloaded_module", title, threads=(thread.index,))
                self.findings.append(finding)

    def _lose(self, title: str, detail: str | None) -> None:
        self.findings.append(Finding("truncated", title, detail=detail, incomplete=True))
        self.info.truncated = True

    def record_reads(self) -> list[tuple[int, int]]:
        self.memory.split_all()
        return super().record_reads()

    def floating_point(self, thread: Thread) -> bytes | None:
        from unspool.targets.minidump.facts import floating_state

        place, described = self.dump.threads()[thread.index].context, self.dump.system()
        if place is None or described is None:
            return None
        context = self._parsed(place, described)
        data = bytes(self.source.buffer[place[0] : sum(place)])
        return floating_state(context, data) if context is not None else None

    def facts(self) -> Facts:
        from unspool.targets.minidump.facts import minidump_facts

        return minidump_facts(self.dump)

    def close(self) -> None:
        self.source.close()


def _system(dump: Minidump, source: Source) -> System:
    """What the dump says of its processor and system, or an `InputError`."""
    described = dump.system()
    if described is None:
        raise InputError(
            f"{source.name}: the minidump does not say of what system it is (no SystemInfo)", _WHOLE
        )
    return described


def _arch(described: System, source: Source) -> Arch:
    machine = _MACHINES.get(described.arch_name or "")
    arch = architectures.by_machine(*machine) if machine else None
    if arch is None:
        from unspool.formats.minidump.names import ENUMS

        number = described.processor_architecture
        name = _CPUS.get(number) or ENUMS["PROCESSOR_ARCHITECTURE"].get(number)
        raise InputError(
            f"{source.name}: minidump of a {name or f'process of CPU number {number}'}"
            f"{' process' if name else ''}, which is not supported",
            f"supported are {architectures.SUPPORTED}",
        )
    return arch


def _index_of(records: Sequence[ThreadRecord], tid: int) -> int | None:
    return next((index for index, each in enumerate(records) if each.tid == tid), None)


def _files(mappings: Sequence[Mapping]) -> list[FileMapping]:
    """The mappings of files. Inodes are not asked for: dumps made of cores have none."""
    return [
        FileMapping(each.start, each.end, each.offset, each.path)
        for each in mappings
        if each.path.startswith("/")
    ]


def _unknown(like: Region, start: int, end: int) -> Region:
    return Region(
        start, end, None, writable=True, executable=like.executable, mapping=like.mapping
    )


def _words(arguments: bytes) -> list[str]:
    words = arguments[:_MOST_ARGUMENTS].split(b"\0")
    return [word.decode("utf-8", "replace") for word in words]


def _any_in(numbers: Sequence[int], start: int, end: int) -> bool:
    """Whether one of sorted numbers is in `[start, end)`."""
    at = bisect_left(numbers, start)
    return at < len(numbers) and numbers[at] < end


def _start(region: Region) -> int:
    return region.start
