"""What a core tells of its process beside memory and threads: by notes, segments, its stack.

A directory of files as in /proc/PID, which a handler of cores can keep (`Options.procfs`),
knows more and is asked first.
"""

from __future__ import annotations

import os
from itertools import pairwise
from struct import Struct

from unspool.formats import notes
from unspool.formats.cpuinfo import Processor
from unspool.formats.elf import PT_LOAD, Elf
from unspool.targets.facts import (
    Facts,
    ProcDirectory,
    find_linker,
    lsb_release,
)  # fmt: skip
from unspool.targets.system import distribution, processor_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import TypeVar

    from unspool.arch.base import Arch
    from unspool.formats.notes import FileMapping
    from unspool.memory import Memory
    from unspool.targets.core.target import CoreNotes, CoreTarget

    T = TypeVar("T")

# Strings that a program was given: the kernel allows a quarter of the stack's limit.
_MAX_STRINGS = 8 << 20
# Between the auxiliary vector and the bytes behind AT_RANDOM there is hardly anything; before
# it are the addresses of the program's arguments and of its environment's strings.
_AUXV_NEAR = 64 << 10
_VSYSCALL = 0xFFFFFFFFFF600000


def core_facts(target: CoreTarget) -> Facts:
    """Everything that the core, and the kept directory if there is one, tell."""
    elf = Elf(target.source.buffer)
    kept = ProcDirectory(target.options.procfs) if target.options.procfs else None
    auxv = _auxv(elf)
    strings = _strings(target, auxv or b"")
    command_line, environ = strings or (_arguments(target), None)
    facts = Facts(
        auxv=auxv,
        maps=_maps(target, elf),
        command_line=command_line,
        environ=environ,
        status=_status(target),
        linker=find_linker(target, target.space.memory, target.notes.auxv),
        thread_names=_names(target),
        version=target.kernel_version(),
    )
    if target.options.sysroot:
        sysroot = target.options.sysroot
        facts.lsb_release = lsb_release(lambda path: _inside(sysroot, path))
    if kept is not None:
        _complete(facts, kept)
    return facts


def kept_system(procfs: str, arch: str) -> dict[str, object]:
    """What a kept directory tells of the machine that its process ran on."""
    kept = ProcDirectory(procfs)
    processor = Processor(kept.read("cpuinfo") or b"")
    text = kept.read("lsb-release") or kept.read("os-release") or b""
    return {
        "cpu": processor_words(processor, arch),
        "cpu_count": processor.count,
        "memory_maps": (kept.read("maps") or b"").count(b"\n"),
        "distribution": distribution(text),
    }


def complete_notes(core: CoreNotes, arch: Arch, procfs: str) -> None:
    """Takes from a kept directory what a core's notes do not have: old kernels wrote no NT_FILE."""
    kept = ProcDirectory(procfs)
    if not core.auxv:
        core.auxv = notes.parse_auxv(arch, kept.read("auxv") or b"")
    if not core.files:
        from unspool.targets.live.procfs import parse_maps

        core.files = [
            notes.FileMapping(each.start, each.end, each.offset, each.path)
            for each in parse_maps(kept.read("maps") or b"").mappings
            if each.is_file
        ]


def _complete(facts: Facts, kept: ProcDirectory) -> None:
    facts.auxv = kept.read("auxv") or facts.auxv
    facts.maps = kept.read("maps") or facts.maps
    facts.command_line = kept.read("cmdline") or facts.command_line
    facts.environ = kept.read("environ") or facts.environ
    facts.status = kept.read("status") or facts.status
    # None of a process's own files, but handlers put them beside these.
    facts.cpu_info = kept.read("cpuinfo")
    facts.lsb_release = kept.read("lsb-release") or kept.read("os-release") or facts.lsb_release
    facts.thread_names.update(kept.names())


def _inside(sysroot: str, path: str) -> str | None:
    from unspool.symbols.files import under_sysroot

    return under_sysroot(sysroot, path)


def _auxv(elf: Elf) -> bytes | None:
    for note in elf.notes():
        if note.type == notes.NT_AUXV and note.name == b"CORE":
            return bytes(elf.buffer[note.offset : note.offset + note.size])
    return None


def _names(target: CoreTarget) -> dict[int, str]:
    """The kernel and gcore name the first thread of the process, whichever crashed."""
    info = target.notes.info
    return {info[0]: info[1]} if info and info[1] else {}


def _status(target: CoreTarget) -> bytes | None:
    """The lines of /proc/PID/status that the notes tell."""
    info = target.notes.info
    if info is None:
        return None
    pid, name, _ = info
    lines = [f"Name:\t{_escaped(name)}", f"Tgid:\t{pid}", f"Pid:\t{pid}"]
    lines.append(f"Threads:\t{len(target.threads)}")
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace("\n", "\\n")


def _arguments(target: CoreTarget) -> bytes | None:
    """What NT_PRPSINFO has of the command line: 80 bytes, with spaces for what ended strings."""
    info = target.notes.info
    return info[2].encode("utf-8", "surrogateescape") + b"\0" if info and info[2] else None


# --- what the program was started with ---------------------------------------------------


def _strings(target: CoreTarget, auxv: bytes) -> tuple[bytes, bytes] | None:
    """The arguments and the environment, each string with a NUL behind it, from the stack.

    The kernel puts them to the upper end of the first stack, in the order arguments,
    environment, the program's path (fs/binfmt_elf.c, `create_elf_tables`), and /proc/PID/cmdline
    and environ show just these bytes. Below are the auxiliary vector, before it the addresses
    of the environment's strings, of the arguments, and the number of arguments.
    """
    word = target.arch.pointer_size
    memory = target.space.memory
    count, first = _first_argument(memory, target.notes.auxv, auxv, word) or (0, 0)
    path = target.notes.auxv.get(notes.AT_EXECFN, 0)
    if not count or not 0 < path - first <= _MAX_STRINGS:
        return None
    data = memory.read_available(first, path - first)
    if len(data) < path - first or data[-1]:
        return None
    end = 0
    for _ in range(count):
        end = data.find(b"\0", end) + 1
        if not end:
            return None
    return data[:end], data[end:]


def _first_argument(
    memory: Memory, values: dict[int, int], auxv: bytes, word: int
) -> tuple[int, int] | None:
    """How many arguments there are, and where the first one's string is."""
    anchor = values.get(notes.AT_RANDOM, 0)
    window = memory.window(anchor)
    if window is None or not auxv:
        return None
    low = max(window.low, anchor - _AUXV_NEAR) - window.base
    near = bytes(window.buffer[low : anchor - window.base])
    at = near.rfind(auxv[: 8 * word])
    if at < 0:
        return None
    floor = max(window.low - window.base, low + at - _MAX_STRINGS)
    unpack = Struct("<Q" if word == 8 else "<I").unpack_from
    words = (unpack(window.buffer, at)[0] for at in range(low + at - word, floor - 1, -word))
    if next(words, 1):
        return None
    for value in words:  # the environment
        if not value:
            break
    first = 0
    for count, value in enumerate(words):
        if value == count and count:
            return count, first
        first = value
    return None


# --- mappings ------------------------------------------------------------------------------


def _maps(target: CoreTarget, elf: Elf) -> bytes | None:
    """The lines of /proc/PID/maps that segments and NT_FILE tell. Device and inode are zero.

    Nothing says which mappings are shared, either; most are private.
    """
    segments = _apart(
        (header.vaddr, header.vaddr + header.memsz, header.flags)
        for header in elf.program_headers()
        if header.type == PT_LOAD and header.memsz
    )
    files = _apart((each.start, each.end, each) for each in _files(target))
    names = _names_of_mappings(target)
    lines = []
    for start, end, flags, mapping in _pieces(segments, files):
        if mapping is not None:
            offset, name = mapping.offset + start - mapping.start, mapping.path
        else:
            offset, name = 0, next((names[at] for at in names if start <= at < end), "")
        if flags is None:
            flags = _flags(target.space.memory, start)
        permissions = "".join(
            letter if flags & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1))
        )
        line = f"{start:08x}-{end:08x} {permissions}p {offset:08x} 00:00 0 "
        lines.append(os.fsencode(f"{line:<73}{name}".replace("\n", "\\012").rstrip(" ") + "\n"))
    return b"".join(lines) or None


def _files(target: CoreTarget) -> Iterable[FileMapping]:
    modules = target.core_modules
    if target.notes.files:
        return target.notes.files
    return [mapping for entry in modules.mapped for mapping in entry.mappings]


def _names_of_mappings(target: CoreTarget) -> dict[int, str]:
    """Addresses in mappings that /proc has names for: those that the kernel itself made."""
    auxv = target.notes.auxv
    names = {auxv.get(notes.AT_SYSINFO_EHDR): "[vdso]", auxv.get(notes.AT_RANDOM): "[stack]"}
    if target.arch.name == "x86-64":
        names[_VSYSCALL] = "[vsyscall]"
    return {address: name for address, name in names.items() if address}


def _flags(memory: Memory, address: int) -> int:
    """The protection of a mapping that no segment lists, see `CoreModules.unlisted_regions`."""
    region = memory.region(address)
    return 4 | 2 * region.writable | region.executable if region else 0


def _apart(ranges: Iterable[tuple[int, int, T]]) -> list[tuple[int, int, T]]:
    """Ranges by address; what reaches back into an earlier one is cut off."""
    result: list[tuple[int, int, T]] = []
    reach = 0
    for start, end, what in sorted(ranges, key=lambda each: each[:2]):
        start = max(start, reach)
        end = min(end, 1 << 64)
        if start < end:
            result.append((start, end, what))
            reach = end
    return result


def _pieces(
    segments: Sequence[tuple[int, int, int]], files: Sequence[tuple[int, int, FileMapping]]
) -> Iterator[tuple[int, int, int | None, FileMapping | None]]:
    """(start, end, flags, file) of all that either list holds, by address."""
    bounds = sorted({bound for each in (*segments, *files) for bound in each[:2]})
    at_segment = at_file = 0
    for start, end in pairwise(bounds):
        while at_segment < len(segments) and segments[at_segment][1] <= start:
            at_segment += 1
        while at_file < len(files) and files[at_file][1] <= start:
            at_file += 1
        flags = mapping = None
        if at_segment < len(segments) and segments[at_segment][0] <= start:
            flags = segments[at_segment][2]
        if at_file < len(files) and files[at_file][0] <= start:
            mapping = files[at_file][2]
        if flags is not None or mapping is not None:
            yield start, end, flags, mapping
