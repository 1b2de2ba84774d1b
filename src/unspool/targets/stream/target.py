"""A process that crashed a moment ago, as the kernel shows it to its core handler.

The kernel writes the core down a pipe, and as long as somebody holds the other end the
process stays in /proc as it was when it crashed: its threads' registers are in the core's
notes, and everything else is read there, when somebody asks for it. Its memory in the pipe is
never read. core(5), "Piping core dumps to a program": for that /proc/sys/kernel/core_pipe_limit
must not be 0.
"""

from __future__ import annotations

import os

from unspool import arch as architectures
from unspool.formats import notes
from unspool.formats.notes import parse_auxv
from unspool.memory import Memory
from unspool.model import Finding, TargetInfo
from unspool.space import AddressSpace
from unspool.targets.base import Options, Target
from unspool.targets.core.target import WALK_NOTES, CoreNotes, core_crash, core_elf, core_threads
from unspool.targets.live.access import open_memory, open_process
from unspool.targets.live.modules import LiveModules, read_headers
from unspool.targets.live.procfs import parse_maps
from unspool.targets.live.regions import ProcessRegions
from unspool.targets.stream.notes import NoteStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.arch.base import Arch
    from unspool.model import Thread
    from unspool.targets.core.registers import FloatingPoint
    from unspool.targets.facts import Facts
    from unspool.targets.live.procfs import Maps, Process

# /proc/PID/maps is better: it tells inodes.
_WALK = WALK_NOTES - {notes.NT_FILE}
_VECTORS = {notes.NT_FPREGSET, notes.NT_X86_XSTATE, notes.NT_PRXFPREG}


def open_stream(
    descriptor: int, pid: int, options: Options, *, release: bool = False, system: bool = True
) -> StreamTarget:
    """The process of the core that comes from `descriptor`.

    `pid` is its id as this process sees it, core_pattern's %P. The descriptor stays the caller's,
    who must not close it before the target has been used; with `release` it is closed as soon as
    the notes have been read, since another process keeps the pipe open. Without `system` no
    facts of the machine are looked up. Raises `InputError`.
    """
    process = open_process(pid)
    try:
        wanted = _WALK | _VECTORS if options.floating_point else _WALK
        source = NoteStream(descriptor, wanted, f"core of {pid}")
        if release:
            os.close(descriptor)
        target = StreamTarget(source, process, options)
        if system:
            target.look_at_system()
        return target
    except BaseException:
        process.close()
        raise


class StreamTarget(Target):
    """A crashed process that still is in /proc. `host_tids` are by the threads' own ids."""

    def __init__(self, source: NoteStream, process: Process, options: Options) -> None:
        """Raises `InputError`."""
        self.options = options
        self.findings = []
        self.process = process
        self.source = source
        self._floating_point: FloatingPoint | None = None
        elf = core_elf(source)
        arch = architectures.by_machine(elf.machine, elf.elf_class)
        assert arch is not None
        self.notes = CoreNotes(elf, arch)
        if self.notes.code_mask is not None:
            arch = arch.with_code_mask(self.notes.code_mask)
        self.arch = arch
        self._memory = open_memory(process)
        try:
            self._look(arch)
        except BaseException:
            os.close(self._memory)
            raise

    def _look(self, arch: Arch) -> None:
        self.maps_text = self.process.read("maps") or b""
        self.maps = maps = parse_maps(self.maps_text)
        self.threads = core_threads(self.notes, arch)
        self.host_tids = self._host_tids()
        self.crash = core_crash(self.notes)
        if self.crash is not None and self.threads:
            self.threads[0].crashed = True
        for thread in self.threads:
            thread.name = self.process.name(self.host_tids.get(thread.tid, thread.tid))
        self.info = self._info(arch)
        memory = Memory()
        modules = LiveModules(
            self.process, maps, read_headers(maps, self._memory), self._auxv(arch), arch,
            self.options, self.findings,
            now=self._frozen_memory(maps, memory),
            specials=[thread.special for thread in self.threads],
        )  # fmt: skip
        self.regions.modules = modules
        if modules.windows:
            # Which mappings are of PE modules, whose code no file has as it is, is known now.
            memory.set_regions(self.regions.frozen(maps))
        self.info.executable = modules.windows_path() or self.info.executable
        modules.memory = memory
        self.mapped_modules = modules
        self.space = AddressSpace(
            arch, memory, modules.modules, modules.image, modules.entry_points(), modules.holes()
        )
        self._note_losses(maps)

    def look_at_system(self) -> None:
        """Learns `TargetInfo.system`. It takes some milliseconds."""
        from unspool.targets.system import live_system

        # The device's own files: those of a crashed container may be on a disk that hangs.
        self.info.system = live_system(self.arch.report_name, self.maps_text, "")

    def _frozen_memory(self, maps: Maps, memory: Memory) -> Memory:
        self.regions = ProcessRegions(self._memory, None)
        memory.set_regions(self.regions.frozen(maps))
        return memory

    def _auxv(self, arch: Arch) -> dict[int, int]:
        return self.notes.auxv or parse_auxv(arch, self.process.read("auxv") or b"")

    def _host_tids(self) -> dict[int, int]:
        """Threads' ids as this process sees them, where they are others: in a container.

        The notes tell the ids that the process itself sees (`task_pid_vnr`), and so does the
        last number of the line NSpid.
        """
        if self.notes.info is None or self.notes.info[0] == self.process.pid:
            return {}
        result = {}
        for tid in self.process.tasks():
            own = self.process.status(tid).get("NSpid", "").split()
            if own and own[-1].isdecimal():
                result[int(own[-1])] = tid
        return result

    def _info(self, arch: Arch) -> TargetInfo:
        info = self.notes.info
        arguments = (self.process.read("cmdline") or b"").rstrip(b"\0")
        return TargetInfo(
            "core",
            arch.report_name,
            pid=info[0] if info else self.process.pid,
            executable=self.process.link("exe") or (info[1] if info else None),
            command_line=[os.fsdecode(part) for part in arguments.split(b"\0")] or None,
        )

    def _note_losses(self, maps: Maps) -> None:
        if not maps.mappings:
            self._lose(
                f"process {self.process.pid} is gone from /proc: threads' registers are all there "
                "is",
                "set /proc/sys/kernel/core_pipe_limit to 1 or more, so that the kernel waits",
            )
        if not self.threads:
            self._lose("the core holds no threads: its notes are missing or cut off", None)
        elif self.source.truncated:
            self._lose(self.source.truncated, None)

    def _lose(self, title: str, detail: str | None) -> None:
        self.findings.append(Finding("truncated", title, detail=detail, incomplete=True))
        self.info.truncated = True

    def floating_point(self, thread: Thread) -> bytes | None:
        """Only with `Options.floating_point`, which keeps these notes."""
        from unspool.targets.core.registers import FloatingPoint

        if self._floating_point is None:
            self._floating_point = FloatingPoint(core_elf(self.source), self.arch)
        return self._floating_point.image(thread.index)

    def facts(self) -> Facts:
        from unspool.targets.live.facts import live_facts

        return live_facts(self, self.space.memory)

    def close(self) -> None:
        self.process.close()
        self.regions.close()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1
