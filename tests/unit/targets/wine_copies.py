"""Made-up Wine processes as a running process is read: the planner's part of their memory alone."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

from tests.build.core import REGISTERS
from tests.build.wine import Block, WineProcess
from tests.build.wine_thread import WineThread
from tests.unit.unwind.wine_walks import check_stack
from unspool import api
from unspool.arch.base import Arch
from unspool.arch.x86 import X86
from unspool.arch.x86_64 import X86_64
from unspool.memory import Region
from unspool.targets.live.copier import StackCopier
from unspool.targets.live.procfs import Mapping, Maps
from unspool.targets.live.stacks import Copied, Held
from unspool.targets.live.wine_stacks import WinePlanner

WORDS = REGISTERS["x86_64"]


def red_zone(bits: int) -> int:
    """What leaf functions of x86-64 may use below the stack pointer, in bytes."""
    return 128 if bits == 64 else 0


class Fake:
    """What a copier asks of a process and of the calls that read it."""

    def __init__(self, blocks: Sequence[Block], maps: Maps) -> None:
        self.blocks, self.maps = blocks, maps
        self.rounds: list[list[tuple[int, int]]] = []

    def task_count(self) -> int:
        return 1

    def read(self, name: str) -> bytes:
        assert name == "maps"
        return b"".join(
            f"{each.start:x}-{each.end:x} {each.permissions} 0 0:0 0\n".encode()
            for each in self.maps.mappings
        )

    def read_memory(self, tid: int, ranges: list[tuple[int, int]], buffer: bytearray) -> int:
        self.rounds.append(ranges)
        at = 0
        for low, high in ranges:
            data = self.bytes_at(low, high)
            buffer[at : at + len(data)] = data
            at += len(data)
        return at

    def bytes_at(self, low: int, high: int) -> bytes:
        """Across neighbouring mappings, as the kernel copies."""
        data = b""
        for block in self.blocks:
            if block.address <= low < block.end:
                part = block.data[low - block.address : min(high, block.end) - block.address]
                data += part
                low += len(part)
        assert low == high, f"nothing at {low:x}"
        return data


def mapping(block: Block) -> Mapping:
    permissions = "".join(flag if flag in block.flags else "-" for flag in "rwx")
    return Mapping(block.address, block.end, f"{permissions}p", 0, 0, 0, "")


def held(thread: WineThread, tls: int = 0) -> Held:
    """The thread as the kernel gives it to a 64-bit tracer."""
    words = [thread.registers.get(name, 0) for name in WORDS]
    words[WORDS.index("gs_base" if thread.era.bits == 64 else "fs_base")] = thread.gs_base
    return Held(thread.tid, thread.pc, thread.sp, tls, words)


def maps_of(blocks: Sequence[Block], *files: str) -> Maps:
    """The mappings of a process that has mapped `files` as well."""
    mappings = [Mapping(at << 12, at + 1 << 12, "r--p", 0, 0, 7, path)
                for at, path in enumerate(files, 1)]  # fmt: skip
    return Maps([*mappings, *map(mapping, blocks)])


def plan(
    blocks: Sequence[Block], threads: Sequence[Held], arch: Arch = X86_64, *files: str
) -> tuple[WinePlanner, list[Copied]]:
    """What is copied while the threads are held, and who decided on it."""
    maps = maps_of(blocks, *files)
    fake: Any = Fake(blocks, maps)
    planner = WinePlanner(1, maps, arch)
    copied = StackCopier(fake, fake, planner, -1).copy_stacks(threads)
    assert len(fake.rounds) <= planner.rounds
    return planner, copied


def copy(process: WineProcess, threads: Sequence[Held]) -> list[Copied]:
    """What is copied of a made-up process."""
    arch = X86_64 if process.era.bits == 64 else X86
    planner, copied = plan(process.blocks, threads, arch)
    assert not planner.cut
    return copied


def with_control_blocks(process: WineProcess) -> list[Held]:
    """All threads; the C library's block of all but the first is at the top of the Unix stack."""
    return [
        held(thread, thread.stacks.unix[1] - 0x100 if thread.index else 0)
        for thread in process.threads
    ]


def walk_copies(process: WineProcess) -> None:
    """Every stack is whole, though nothing of stacks is there but what was copied."""
    copied = copy(process, with_control_blocks(process))
    with tempfile.NamedTemporaryFile(prefix="core.") as file:
        file.write(process.core().build())
        file.flush()
        with api.open(file.name) as target:
            memory = target.space.memory  # type: ignore[attr-defined]
            memory.set_regions(restricted(process, memory.regions, copied))
            report = api.unwind(target, symbols=False)
    for thread, stack in zip(process.threads, report.stacks, strict=True):
        check_stack(thread, stack)


def restricted(
    process: WineProcess, regions: Sequence[Region], copied: Sequence[Copied]
) -> list[Region]:
    """Stacks and TEBs as copied; the rest, which does not change, as it is."""
    changing = [part for thread in process.threads for part in parts_of(thread)]
    result = []
    for region in regions:
        if not any(low < region.end and region.start < high for low, high in changing):
            result.append(region)
            continue
        at = region.start
        for low, high, load in sorted(loads(copied), key=lambda each: each[0]):
            low, high = max(low, region.start), min(high, region.end)
            if low < high:
                result += [piece(region, at, low), piece(region, low, high, load)]
                at = high
        result.append(piece(region, at, region.end))
    return result


def parts_of(thread: WineThread) -> list[tuple[int, int]]:
    block = thread.teb & -0x10000
    return [*vars(thread.stacks).values(), (block, block + 0x10000)]


def loads(copied: Sequence[Copied]) -> list[tuple[int, int, Any]]:
    result = []
    for each in copied:
        for (low, high), offset in zip(each.ranges, each.offsets, strict=True):
            result.append((low, high, (each.buffer, offset, high - low)))
    return result


def piece(region: Region, low: int, high: int, load: Any = None) -> Region:
    return Region(
        low, high, (lambda: load) if load else None,
        writable=region.writable, executable=region.executable, mapping=region.mapping,
    )  # fmt: skip


def lowest(copied: Sequence[Copied], stack: tuple[int, int]) -> int:
    """The lowest copied address of a stack, single words aside; its end if there is none."""
    ranges = [(low, high) for part in copied for low, high in part.ranges if high - low > 8]
    lows = [max(low, stack[0]) for low, high in ranges if low < stack[1] and high > stack[0]]
    return min(lows, default=stack[1])


def used(thread: WineThread, stack: tuple[int, int]) -> int:
    """The lowest address of a stack that is in use, by the frames that a walk has to find."""
    pointers = [sp for _, sp in thread.expected() if stack[0] <= sp < stack[1]]
    if stack == thread.stacks.unix:
        pointers.append(thread.frame)
    return min(pointers, default=stack[1])
