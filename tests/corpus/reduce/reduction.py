"""The whole reduction: four cores of one process, and three walks that must agree."""

from __future__ import annotations

import lzma
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import unspool
from unspool.model import Report, Stack
from unspool.pe_image import PeImage
from unspool.targets.base import Target

from .core_file import CoreFile, Piece, Segment
from .kept import Kept
from .names import elf_debug_file, packed, pe_debug_file, unpack
from .ranges import Ranges
from .record import recording
from .selection import select

# Paths of files in a reduced core begin with this: no machine has them, so that none is looked at.
BELOW = "/elsewhere"


@dataclass(frozen=True)
class Reduced:
    """`core` is compressed by xz, `names` a .tar.xz; `size` is that of the core as it is.

    `excerpts` says how many bytes of each module are in it that are not zero.
    """

    core: bytes
    names: bytes
    size: int
    excerpts: dict[str, int]
    report: Report

    def entry(self, *facts: str) -> str:
        """What PROVENANCE.toml says of the core; `facts` are lines of their own before the rest."""
        excerpts = ", ".join(f'"{module}" = {size}' for module, size in self.excerpts.items())
        lines = [
            "[[core]]",
            *facts,
            f"size = {self.size}",
            f'core_sha256 = "{sha256(self.core).hexdigest()}"',
            f'names_sha256 = "{sha256(self.names).hexdigest()}"',
            f"excerpts = {{ {excerpts} }}",
        ]
        return "\n".join([*lines, ""])


def reduce(
    core: Path,
    symbols: Sequence[str],
    sysroot: str | None,
    whole: Sequence[Path] = (),
    more: Callable[[Target], list[Stack]] | None = None,
    data: Mapping[str, str] | None = None,
) -> Reduced:
    """The reduced form of a kernel's core. Raises AssertionError where it says something else.

    `whole` are files to put beside the names as they are, in place of names. `more` walks other
    stacks that have to be found in it, and gives them. `data` are modules, and how those symbols
    of each begin that are no functions, but are needed.
    """
    file = CoreFile(core)
    with tempfile.TemporaryDirectory(prefix="reduce-", dir="/var/tmp") as name:
        folder = Path(name)
        with unspool.open(str(core), symbols=symbols, sysroot=sysroot) as target:
            full = unspool.unwind(target)
            files = debug_files(target, full, {path.name for path in whole}, data or {})
            files.update((path.name, path.read_bytes()) for path in whole)
            file.write(folder / "filled", filled(target, file), BELOW)
        archive = packed(files)
        (folder / "names.tar.xz").write_bytes(archive)
        unpack(folder / "names.tar.xz", folder / "names")
        named = [str(folder / "names")]
        alone_with = named if data else []
        with (
            recording() as reads,
            unspool.open(str(folder / "filled"), symbols=alone_with) as target,
        ):
            alone = unspool.unwind(target)
            assert_same(full, alone)
            others = more(target) if more is not None else []
            kept = select(target, full, reads, others)
            file.write(folder / "core", list(pieces(file.segments, kept)), BELOW)
            excerpts = excerpts_of(target, kept)
        content = (folder / "core").read_bytes()
        small = lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
        (folder / "core.xz").write_bytes(small)
        with unspool.open(str(folder / "core.xz"), symbols=named) as target:
            report = unspool.unwind(target)
        assert_same(full, report)
        assert_same_names(full, report)
        return Reduced(small, archive, len(content), excerpts, report)


def filled(target: Target, file: CoreFile) -> list[Piece]:
    """The core's segments with what lies in modules' files."""
    memory = target.space.memory
    found = []
    for segment in file.segments:
        size = segment.size if target.space.module_at(segment.address) else segment.held
        data = memory.read_available(segment.address, size)
        found.append(Piece(segment.address, segment.size, segment.flags, [(segment.address, data)]))
    return found


def pieces(segments: Sequence[Segment], kept: Kept) -> Iterator[Piece]:
    """Segments cut at the pages that are kept."""
    used = kept.used().pages()
    held = Ranges([*used, *kept.whole])
    for segment in segments:
        at, end = segment.address, segment.address + segment.size
        cuts = {at, end}
        for low, high in [*held.inside(at, end), *kept.whole.inside(at, end)]:
            cuts |= {low, high}
        borders = sorted(cuts)
        for low, high in pairwise(borders):
            data = list(kept.contents(low, high))
            if low in held:
                # Bytes at the end make all of the piece held.
                data.insert(0, (high - 1, b"\0"))
            yield Piece(low, high - low, segment.flags, data)


def excerpts_of(target: Target, kept: Kept) -> dict[str, int]:
    found: dict[str, int] = {}
    for module in target.modules:
        held = bytearray(module.end - module.base)
        for at, data in kept.contents(module.base, module.end):
            held[at - module.base : at - module.base + len(data)] = data
        found[module.name] = found.get(module.name, 0) + len(held) - held.count(0)
    return dict(sorted(found.items()))


def debug_files(
    target: Target, report: Report, without: Collection[str], others: Mapping[str, str]
) -> dict[str, bytes]:
    """For each module with frames a file with its functions' names, by path."""
    found = {}
    for module in target.modules:
        starts, ends = begins(report, module.base, module.end)
        image = target.space.image(module) if starts else None
        if image is None or module.name in without:
            continue
        if isinstance(image, PeImage):
            raw = target.space.memory.read_available(module.base, image.headers.size_of_headers)
            names = {at - module.base: starts[at] for at in starts}
            folder = "64" if image.headers.is_64 else "32"
            data = pe_debug_file(image.headers, raw, names)
            found[f"{folder}/{module.name}.debug"] = data
        elif module.code_id and image.elf:
            sized = {at - image.bias: (starts[at], ends[at] - at) for at in starts}
            if module.name in others:
                tables = target.symbols_of(module, others[module.name])
                sized |= {at - image.bias: (name, 8) for name, at in tables.items()}
            data = elf_debug_file(
                image.elf.elf_class == 2, image.elf.machine, module.code_id, sized
            )
            found[f"{module.name}.debug"] = data
    return found


def begins(report: Report, low: int, high: int) -> tuple[dict[int, str], dict[int, int]]:
    """Where functions begin that frames are in, with their names; and how far frames reach."""
    names, ends = {}, {}
    for pc, location in sorted(report.locations.items()):
        if low <= pc < high and location.function and location.function_offset is not None:
            start = pc - location.function_offset
            names[start], ends[start] = location.function, pc + 1
    return names, ends


def assert_same(wanted: Report, found: Report) -> None:
    """The same stacks, frame by frame."""
    for mine, theirs in zip(wanted.stacks, found.stacks, strict=True):
        assert summary(mine) == summary(theirs), (mine.tid, summary(mine), summary(theirs))


def summary(stack: Any) -> Mapping[str, Any]:
    return {
        "tid": (stack.tid, stack.windows_tid),
        "frames": [(f"{f.pc:#x}", f.sp, f.trust, f.exact, f.segment) for f in stack.frames],
        "segments": [(s.kind, s.low, s.high, s.switch) for s in stack.segments],
        "stop": (stack.stop.reason, stack.stop.detail),
        "gaps": len(stack.gaps),
    }


def assert_same_names(wanted: Report, found: Report) -> None:
    """The same names, also where debug information has others for functions that were inlined."""
    mine, theirs = (
        {pc: place.function for pc, place in report.locations.items()} for report in (wanted, found)
    )
    differing = {
        f"{pc:#x}": (mine[pc], theirs.get(pc)) for pc in mine if mine[pc] != theirs.get(pc)
    }
    assert not differing, differing
