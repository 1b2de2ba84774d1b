"""Which memory a minidump needs: every stack of every thread, and what a walk reads beside.

The walk itself says what it read (`Target.record_reads`): tables of Wine, code bytes, contexts.
To that come the stacks, as far as they are used, and what other debuggers want to see.
"""

from __future__ import annotations

from unspool.generated.code import GENERATED_KINDS
from unspool.model import StopReason
from unspool.wine import layouts
from unspool.write.ranges import joined, without

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from unspool.image import Image
    from unspool.model import Module, Stack
    from unspool.pe_image import PeImage
    from unspool.targets.base import Target
    from unspool.write.ranges import Range

# Bytes below the stack pointer that the x86-64 ABI lets code use without moving it.
_RED_ZONE = 128
# Behind the last frame of a stack that is whole: its own arguments and spilled registers.
_MARGIN = 512
# Behind the last frame that was found of one that is not: as much as Breakpad saves of any.
# With better symbols elsewhere the walk goes on there.
_UNFINISHED = 32 << 10
# Code around each pc; around that of the crash as much as Breakpad saves.
_CODE, _CRASH_CODE = 32, 128
# One read of more than this is a search, for Wine's version in ntdll.so for example.
_LARGEST_READ = 64 << 10
# Where stacks are to be bounded: of more than this, a search in one of them.
_SMALL_READ = 256
# Unwind tables of a module whose file is not at hand, and of all of them.
_LARGEST_TABLE, _ALL_TABLES = 4 << 20, 16 << 20
# The same where all are asked for.
_MOST_TABLES = 256 << 20
# Of which modules unwind tables are kept: those that have no file here (what is only in this
# memory would be lost to whoever reads the dump), all, or none.
TABLES = ("missing", "all", "none")
# Where a TEB may be is read whole, and most of it is none: TEBs are chosen as such.
_LOOKS_FOR_TEBS = (layouts.TEB64.size, layouts.TEB32.size)
# KUSER_SHARED_DATA, and behind it the pointer to Wine's dispatcher (wine/layouts.py).
_SHARED_DATA = (0x7FFE0000, 0x7FFE2000)
# See `_joined`. Of ten thousand threads each has a stack: then there is no way.
_MOST_RANGES, _GAPS = 4096, (16, 64, 256, 1024, 4096)
_AT_PLATFORM, _AT_RANDOM, _AT_EXECFN = 15, 25, 31


class Selection:
    """`own` is for each thread the range of the stack that its stack pointer is in; `ranges` are
    all ranges, in order and without overlaps."""

    __slots__ = ("own", "ranges")

    def __init__(self, own: dict[int, Range], ranges: list[Range]) -> None:
        self.own = own
        self.ranges = ranges


def select(
    target: Target,
    stacks: Sequence[Stack],
    reads: Sequence[Range],
    *,
    most: int = 0,
    strings: bool = False,
    tables: str = "missing",
) -> Selection:
    """Chooses memory. `reads` are (address, size); `most` bounds each stack, in bytes, 0 does not.

    `tables` says of which modules unwind tables are kept, see `TABLES`.
    Without `strings` the arguments and the environment of the process are left out, which lie
    on the main thread's stack above all frames.
    """
    own: dict[int, Range] = {}
    wanted: list[Range] = []
    for stack in stacks:
        ranges = list(_stack_ranges(target, stack, most))
        if ranges:
            own[stack.index] = ranges[0]
        wanted += ranges
    largest = _SMALL_READ if most else _LARGEST_READ
    looks = _LOOKS_FOR_TEBS if target.wine is not None else ()
    wanted += [
        (at, at + size) for at, size in reads if 0 < size <= largest and size not in looks
    ]
    wanted += _code(target, stacks)
    wanted += _of_modules(target, stacks, tables)
    wanted += _of_wine(target)
    return Selection(own, without(_joined(wanted), None if strings else _strings(target)))


def _joined(wanted: Sequence[Range]) -> list[Range]:
    """The ranges joined, so that there are few enough.

    Breakpad refuses a list of more than 4,096: where there are more, those are joined that lie
    close, with what is between them.
    """
    for close in _GAPS:
        found = joined(wanted, close)
        if len(found) <= _MOST_RANGES:
            break
    return found


def _stack_ranges(target: Target, stack: Stack, most: int) -> Iterator[Range]:
    """What is used of each of a thread's stacks, in the order of its segments."""
    by_segment: dict[int, list[int]] = {}
    for frame in stack.frames:
        if frame.sp is not None:
            by_segment.setdefault(frame.segment, []).append(frame.sp)
    last = len(stack.segments) - 1
    is_whole = stack.stop.reason == StopReason.ROOT
    for number, sps in sorted(by_segment.items()):
        segment = stack.segments[number]
        if segment.low is None or segment.high is None:
            continue
        margin = _MARGIN if number != last or is_whole else _UNFINISHED
        low, high = min(sps), max(sps)
        # A stack that overflowed begins below what is mapped.
        start = max(low - _RED_ZONE, min(segment.low, low))
        end = min(high + margin, max(segment.high, high))
        yield start, min(end, low + most) if most else end


def _code(target: Target, stacks: Sequence[Stack]) -> list[Range]:
    """Code bytes around each frame's pc: to disassemble, and to see calls before them."""
    pcs = {frame.pc for stack in stacks for frame in stack.frames}
    found = [(max(pc - _CODE, 0), pc + _CODE) for pc in pcs]
    for stack in stacks:
        if stack.crashed and stack.frames:
            pc = stack.frames[0].pc
            found.append((max(pc - _CRASH_CODE, 0), pc + _CRASH_CODE))
    return _inside(found, target)


def _inside(ranges: Sequence[Range], target: Target) -> list[Range]:
    """The parts that are in the same mapping as the middle: data may lie next to code."""
    found = []
    for low, high in ranges:
        region = target.space.memory.region((low + high) // 2)
        if region is not None and region.executable:
            start, end = region.mapping
            found.append((max(low, start), min(high, end)))
    return found


def _of_modules(target: Target, stacks: Sequence[Stack], tables: str) -> Iterator[Range]:
    """The vdso, and unwind tables of modules in the stacks, as `TABLES` says of which.

    What is only in this memory would otherwise be lost to whoever reads the dump.
    """
    space = target.space
    largest, room = _LARGEST_TABLE, _ALL_TABLES
    if tables == "all":
        largest = room = _MOST_TABLES
    seen: dict[int, Module] = {}
    for stack in stacks:
        for frame in stack.frames:
            module = space.module_at(frame.lookup_pc)
            if module is not None:
                seen[module.index] = module
    for module in space.modules:
        if module.kind == "vdso":
            yield module.base, module.end
        elif module.index in seen:
            for low, high in _tables_of(target, module, tables):
                size = high - low
                if size <= largest and size <= room:
                    room -= size
                    yield low, high


def _tables_of(target: Target, module: Module, tables: str) -> Iterable[Range]:
    if module.kind in GENERATED_KINDS:
        found = generated_tables(target, module)
        if found:
            return found
    image = target.space.image(module)
    if image is None or tables == "none" or (image.file is not None and tables != "all"):
        return ()
    return _tables(image, module)


def generated_tables(target: Target, module: Module) -> list[Range]:
    """What describes code that the process has made, as far as its runtime says where that is."""
    found = target.generated.of(module)
    return found.tables() if found is not None and found.tables is not None else []


def _tables(image: Image | PeImage, module: Module) -> Iterator[Range]:
    """Headers and unwind tables as they lie in memory."""
    from unspool.formats.elf import PT_ARM_EXIDX, PT_GNU_EH_FRAME
    from unspool.image import Image

    if isinstance(image, Image):
        yield module.base, module.base + 0x1000
        _, frames = image.eh_frame()
        for header in image.elf.program_headers() if image.elf else ():
            if header.type in (PT_GNU_EH_FRAME, PT_ARM_EXIDX):
                yield image.bias + header.vaddr, image.bias + header.vaddr + header.memsz
        # Which the entries of the exception index refer to; no program header tells of it.
        section = image.file.section(".ARM.extab") if image.file else None
        if section is not None:
            yield image.bias + section.address, image.bias + section.address + section.size
        if frames is not None:
            start = image.bias + frames.address
            yield start, start + frames.end - frames.start
        return
    from unspool.formats.pe import EXCEPTION, EXPORT

    headers = image.headers
    yield image.base, image.base + headers.size_of_headers
    # The walk knows some functions of Wine by their names; where there is no file it has read
    # them in memory already, which is kept.
    kinds = (EXCEPTION,) if image.file is None else (EXCEPTION, EXPORT)
    # In memory it has no name, see pe_eh_frame.
    _, frames = image.eh_frame()
    for directory in map(headers.directory, kinds):
        if directory is not None:
            yield image.base + directory[0], image.base + sum(directory)
    if frames is not None:
        start = image.bias + frames.address
        yield start, start + frames.end - frames.start


def _of_wine(target: Target) -> Iterator[Range]:
    """What Windows keeps of threads, and Wine's frames of their system calls."""
    wine = target.wine
    if wine is None:
        return
    yield _SHARED_DATA
    for thread in wine.threads.values():
        for teb in (thread.teb, thread.teb32):
            if teb is not None:
                yield teb.address, teb.address + teb.layout.size
                yield teb.peb, teb.peb + 0x1000
        for frame in thread.frames:
            yield frame.address, frame.address + frame.layout.size


def _strings(target: Target) -> Range | None:
    """Where the kernel has put arguments, environment and random bytes: a stack's very end.

    They follow the auxiliary vector, which points at some of them (execve, `create_elf_tables`
    of fs/binfmt_elf.c).
    """
    auxv: Mapping[int, int] = target.mapped_modules.auxv if target.mapped_modules else {}
    known = [auxv[each] for each in (_AT_PLATFORM, _AT_RANDOM, _AT_EXECFN) if auxv.get(each)]
    if not known:
        return None
    region = target.space.memory.region(known[0])
    if region is None or not region.writable:
        return None
    low, high = region.mapping
    inside = [each for each in known if low <= each < high]
    return min(inside, default=high), high
