"""An ELF core as a target: threads, memory, modules, the crash."""

from __future__ import annotations

from unspool import arch as architectures
from unspool.errors import FormatError, InputError
from unspool.formats import notes
from unspool.formats.elf import ET_CORE, ET_DYN, ET_EXEC, PT_LOAD, PT_NOTE, Elf
from unspool.memory import Memory, Region
from unspool.model import Crash, Finding, TargetInfo, Thread
from unspool.space import AddressSpace
from unspool.targets.base import Options, Target
from unspool.targets.core.modules import CoreModules
from unspool.targets.signals import crash_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.arch.base import Arch
    from unspool.cursor import Buffer
    from unspool.formats.elf import ProgramHeader
    from unspool.targets.core.registers import FloatingPoint
    from unspool.targets.facts import Facts
    from unspool.targets.input.source import Source
    from unspool.targets.stream.notes import NoteStream

_MAX_THREADS = 1_000_000
_MAX_VDSO = 1 << 20
_MAX_PLATFORM = 16

# What a walk needs.
WALK_NOTES = {
    notes.NT_PRSTATUS, notes.NT_PRPSINFO, notes.NT_SIGINFO, notes.NT_AUXV, notes.NT_FILE,
    notes.NT_ARM_PAC_MASK, notes.NT_386_TLS,
}  # fmt: skip


class CoreNotes:
    """The notes of a core, decoded."""

    def __init__(self, elf: Elf, arch: Arch) -> None:
        self.statuses: list[notes.PrStatusNote] = []
        self.info: tuple[int, str, str] | None = None
        self.siginfo: tuple[int, int, int | None] | None = None
        self.auxv: dict[int, int] = {}
        self.files: list[notes.FileMapping] = []
        self.code_mask: int | None = None
        self._read(elf, arch)

    def _read(self, elf: Elf, arch: Arch) -> None:
        for note in elf.notes():
            # Most of a big core's notes are vector registers, which nothing here needs.
            if note.type not in WALK_NOTES or note.name not in (b"CORE", b"LINUX"):
                continue
            data = bytes(elf.buffer[note.offset : note.offset + note.size])
            if note.type == notes.NT_PRSTATUS and len(self.statuses) < _MAX_THREADS:
                status = notes.parse_prstatus(arch, data)
                if status is not None:
                    self.statuses.append(status)
            elif note.type == notes.NT_386_TLS and self.statuses:
                special = self.statuses[-1].special
                for name in ("fs", "gs"):  # Windows' TEB under Wine; the C library's thread
                    base = notes.parse_386_tls(data, special.get(name, 0))
                    if base is not None:
                        special[f"{name}_base"] = base
            elif note.type == notes.NT_PRPSINFO:
                self.info = notes.parse_prpsinfo(arch, data)
            elif note.type == notes.NT_SIGINFO and self.siginfo is None:
                self.siginfo = notes.parse_siginfo(arch, data)
            elif note.type == notes.NT_AUXV:
                self.auxv = notes.parse_auxv(arch, data)
            elif note.type == notes.NT_FILE:
                self.files = notes.parse_file_note(arch, data)
            elif note.type == notes.NT_ARM_PAC_MASK and len(data) >= 16:
                # struct user_pac_mask: the bits of data and of code addresses that hold an
                # authentication code. The top byte is a tag, and no part of the address.
                self.code_mask = ~int.from_bytes(data[8:16], "little") & (1 << 56) - 1


class CoreTarget(Target):
    """An ELF core. Bytes that it does not hold come from the mapped files."""

    def __init__(self, source: Source, options: Options) -> None:
        self.source = source
        self.options = options
        self.findings = []
        self._floating_point: FloatingPoint | None = None
        elf = core_elf(source)
        arch = architectures.by_machine(elf.machine, elf.elf_class)
        assert arch is not None
        loads = [header for header in elf.program_headers() if header.type == PT_LOAD]
        self.notes = CoreNotes(elf, arch)
        if options.procfs is not None:
            from unspool.targets.core.facts import complete_notes

            complete_notes(self.notes, arch, options.procfs)
        if self.notes.code_mask is not None:
            arch = arch.with_code_mask(self.notes.code_mask)
        self.arch = arch
        held_regions = [_held_region(source.buffer, header) for header in loads]
        held = Memory(held_regions)
        listed = {region.start: region for region in held_regions}
        offsets = {header.vaddr: header.offset for header in reversed(loads)}
        modules = CoreModules(
            self.notes, held, listed, elf.machine, arch.pointer_size, options, self.findings,
            lambda region: source.peek(offsets[region.start], min(region.end - region.start, 4)),
        )  # fmt: skip
        self.core_modules = self.mapped_modules = modules
        memory = Memory([*held_regions, *_rests(held_regions, loads, modules)])
        memory.add_missing(modules.unlisted_regions(memory))
        self.threads = core_threads(self.notes, arch)
        self.crash = core_crash(self.notes)
        if self.crash is not None and self.threads:
            self.threads[0].crashed = True
        modules.memory = memory
        self.space = AddressSpace(
            arch, memory, modules.modules, modules.image, modules.entry_points(), modules.holes()
        )
        self.info = self._info()
        self.info.system = self._system()
        self._note_losses(elf, loads)

    def _info(self) -> TargetInfo:
        info = self.notes.info
        program = self.core_modules.program
        path = self.core_modules.windows_path() or (program.path if program else None)
        return TargetInfo(
            "core",
            self.arch.report_name,
            path=self.source.path,
            pid=info[0] if info else None,
            executable=path or (info[1] if info else None),
            command_line=info[2].split(" ") if info and info[2] else None,
        )

    def _system(self) -> dict[str, object] | None:
        """What the core tells of the machine: next to nothing, but for a kept directory."""
        found: dict[str, object] = {}
        if self.options.procfs is not None:
            from unspool.targets.core.facts import kept_system

            found = kept_system(self.options.procfs, self.arch.report_name)
        found["os_version"] = ".".join(map(str, self.kernel_version() or ()))
        found["cpu"] = found.get("cpu") or self._platform()
        return {key: value for key, value in found.items() if value} or None

    def kernel_version(self) -> tuple[int, int, int] | None:
        """The kernel's version, by the vdso that it gave the process."""
        address = self.notes.auxv.get(notes.AT_SYSINFO_EHDR)
        region = self.space.memory.region(address) if address else None
        if address is None or region is None:
            return None
        size = min(region.end - address, _MAX_VDSO)
        return notes.vdso_version(self.space.memory.read_available(address, size))

    def _platform(self) -> str:
        """What the kernel calls the processor: `i686`, `v7l`; "" if that is the architecture."""
        address = self.notes.auxv.get(notes.AT_PLATFORM, 0)
        text = self.space.memory.read_available(address, _MAX_PLATFORM).partition(b"\0")[0]
        name = text.decode("ascii", "replace")
        is_name = name.replace("_", "").isalnum() and name.isascii()
        return name if is_name and name != self.arch.report_name else ""

    def floating_point(self, thread: Thread) -> bytes | None:
        from unspool.targets.core.registers import FloatingPoint

        if self._floating_point is None:
            self._floating_point = FloatingPoint(core_elf(self.source), self.arch)
        return self._floating_point.image(thread.index)

    def owners(self) -> set[int] | None:
        auxv = self.notes.auxv
        return {auxv[each] for each in (notes.AT_UID, notes.AT_EUID) if each in auxv} or None

    def shared_files(self) -> Sequence[tuple[int, int, str, int, int]]:
        """A core does not say which mappings are shared: images are not, for sure."""
        return [
            (each.start, each.end, each.path, 0, each.offset)
            for each in self.notes.files
            if self.space.module_at(each.start) is None
        ]

    def facts(self) -> Facts:
        from unspool.targets.core.facts import core_facts

        return core_facts(self)

    def _note_losses(self, elf: Elf, loads: list[ProgramHeader]) -> None:
        """Says what a truncated core has lost."""
        size = len(self.source.buffer)
        cut = [header for header in loads if header.offset + header.filesz > size]
        lost_headers = elf.segment_count() - len(elf.program_headers())
        if cut or lost_headers:
            wanted = max((header.offset + header.filesz for header in loads), default=0)
            more = f" of at least {wanted:,}" if wanted > size else ""
            lost = f"the core is truncated: it has {size:,}{more} bytes"
            self._lose(
                self.source.truncated or lost,
                f"{len(cut) + lost_headers} of {len(loads) + lost_headers} memory "
                "segments are missing or cut; get the whole file (ulimit -c unlimited, space on "
                "the disk, systemd's ProcessSizeMax and ExternalSizeMax)",
            )
        elif self.source.truncated:
            self._lose(self.source.truncated, None)
        if not self.threads:
            self._lose(
                "the core holds no threads: its notes are missing or cut off",
                "gcore writes them last, so that a truncated file loses them first",
            )
        elif any(h.type == PT_NOTE and h.offset + h.filesz > size for h in elf.program_headers()):
            self._lose("the core is truncated inside its notes: threads are missing", None)

    def _lose(self, title: str, detail: str | None) -> None:
        self.findings.append(Finding("truncated", title, detail=detail, incomplete=True))
        self.info.truncated = True

    def close(self) -> None:
        self.source.close()


def core_elf(source: Source | NoteStream) -> Elf:
    """The core's ELF header, or an `InputError` that says what the file is instead."""
    try:
        elf = Elf(source.buffer)
    except FormatError as error:
        raise InputError(
            f"{source.name}: broken ELF file ({error})", "is it a whole core?"
        ) from None
    if elf.type != ET_CORE:
        what = "an executable or library" if elf.type in (ET_EXEC, ET_DYN) else "an object file"
        raise InputError(
            f"{source.name}: {what}, not a core",
            "give the core, and the program with --executable if it has moved",
        )
    if architectures.by_machine(elf.machine, elf.elf_class) is None:
        name = architectures.machine_name(elf.machine, elf.elf_class)
        raise InputError(
            f"{source.name}: core of a {name} process, which is not supported",
            f"supported are {architectures.SUPPORTED}",
        )
    return elf


def _held_region(buffer: Buffer, header: ProgramHeader) -> Region:
    """The part of a segment that the core itself holds."""
    available = max(0, min(header.filesz, header.memsz, len(buffer) - header.offset))
    return Region(
        header.vaddr,
        header.vaddr + available,
        lambda: (buffer, header.offset, available),
        writable=bool(header.flags & 2),
        executable=bool(header.flags & 1),
        mapping=(header.vaddr, header.vaddr + header.memsz),
    )


def _rests(
    held: list[Region], loads: list[ProgramHeader], modules: CoreModules
) -> list[Region]:
    """The parts of segments that the core does not hold.

    A segment ends where the next one starts: thousands that all cover each other and as
    many mapped files would make millions of regions.
    """
    regions: list[Region] = []
    limit = 1 << 64
    for region, header in sorted(zip(held, loads, strict=True), key=_start, reverse=True):
        # Data that the process had written and a truncated core has lost: the file has
        # them as they were at the start, which would be a lie.
        lost = region.writable and region.end - region.start < min(header.filesz, header.memsz)
        if not lost:
            regions += modules.rest(region, region.end, min(region.mapping[1], limit))
        limit = region.start
    return regions


def _start(pair: tuple[Region, ProgramHeader]) -> int:
    return pair[0].start


def core_threads(core: CoreNotes, arch: Arch) -> list[Thread]:
    """Threads in the order of their notes; ids may repeat, the position is the identity."""
    threads = []
    for index, status in enumerate(core.statuses):
        registers = status.registers
        if registers is not None:
            registers[arch.pc] = (registers[arch.pc] or 0) & arch.code_address_mask
        threads.append(Thread(index, status.tid, registers, special=status.special))
    return threads


def core_crash(core: CoreNotes) -> Crash | None:
    """The signal of the core's first thread: kernel and gcore write the dumping one first."""
    if not core.statuses:
        return None
    number = core.statuses[0].cursig
    code = word = None
    if core.siginfo is not None and (number == 0 or core.siginfo[0] in (number, 0)):
        number = core.siginfo[0] or number
        code, word = core.siginfo[1], core.siginfo[2]
    return crash_of(number, code, word)
