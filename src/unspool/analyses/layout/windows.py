"""What Windows code expects where: TEBs, PEBs, heaps, and what Wine holds for it.

Of Wine's processes and of minidumps of Windows itself. Offsets are those of Windows'
structures (winternl.h), which Wine fills for its programs' sake.
"""

from __future__ import annotations

from unspool.analyses.layout.mappings import is_held
from unspool.analyses.layout.paint import Label
from unspool.analyses.layout.records import Kind
from unspool.memory import Fault
from unspool.targets.minidump.target import MinidumpTarget
from unspool.wine import layouts, loader_list
from unspool.wine.layouts import DISPATCHER_POINTER
from unspool.wine.teb import Teb, read_teb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.memory import Memory
    from unspool.targets.base import Target
    from unspool.targets.live.procfs import Mapping

KUSER = 0x7FFE0000
DOS_LOW, DOS_HIGH = 0x10000, 0x110000
_PAGE, _GRANULE = 0x1000, 0x10000
# HEAP.SegmentSignature and, beside it, where it is; PEB.ProcessHeap, NumberOfHeaps, ProcessHeaps.
_SIGNATURE = (0xFFEEFFEE).to_bytes(4, "little")
_SIGNED = {4: 0x08, 8: 0x10}
_PEB = {4: (0x18, 0x88, 0x90), 8: (0x30, 0xE8, 0xF0)}
_MAX_HEAPS = 4096
# Starts of mappings that are looked at for a heap's signature, of all together.
_MAX_PLACES = 40_000
_HEAD = 0x18
_RESERVE = b"WINEPRELOADRESERVE="

# What Wine's preloader, or Wine itself, holds before libraries are mapped
# (loader/preloader.c, dlls/ntdll/unix/virtual.c): name, start, end, word sizes of the process.
RESERVED = (
    ("DOS area", 0x10000, 0x110000, (4, 8)),
    ("low memory area", 0x110000, 0x68000000, (4, 8)),
    ("top-down area of 32-bit code", 0x7F000000, 0x82000000, (4,)),
    ("top-down area below 2 GB", 0x7F000000, 0x7FFE0000, (8,)),
    ("top-down area of 64-bit code", 0x7FFFFE000000, 0x7FFFFFFF0000, (8,)),
)
# What Wine holds beside, so that nothing of Unix comes there.
_BESIDE = (
    ("rest behind KUSER_SHARED_DATA", 0x7FFE2000, 0x7FFF0000, (8,)),
    ("addresses above those of Windows code", 0x82000000, 1 << 32, (4,)),
)


class Windows:
    """The Windows side of a process: TEBs by thread index, PEBs by their word size."""

    def __init__(self, target: Target, memory: Memory, environ: bytes = b"") -> None:
        self.target = target
        self.memory = memory
        self.tebs = _tebs(target)
        self.pebs: dict[int, int] = {}
        for _, teb in self.tebs:
            self.pebs.setdefault(teb.layout.word, teb.peb)
        self.is_wine = target.wine is not None
        # What the preloader was asked to reserve: (name, start, end).
        self.asked = asked(environ) if self.is_wine else []
        self.heaps: dict[int, str] = {}

    def programs(self) -> set[int]:
        """The bases of the program's image, by PEBs."""
        found = (
            loader_list.image_base(self.memory, peb, word) for word, peb in self.pebs.items()
        )
        return {base for base in found if base}

    def structures(self, labels: dict[int, str]) -> Iterator[Label]:
        """TEBs, PEBs and the pages at fixed addresses."""
        for index, teb in self.tebs:
            bits = teb.layout.word * 8
            yield Label(
                teb.address, teb.address + teb.layout.word // 4 * _PAGE, Kind.TEB,
                f"TEB ({bits}-bit) of {labels[index]}",
                f"its field Self is its address 0x{teb.address:x}, its PEB 0x{teb.peb:x}",
                threads=(index,),
            )  # fmt: skip
            if teb.wow_offset > 0 and teb.stack_base % _PAGE:
                # The 64-bit stack of a WoW64 thread ends where the registers of its 32-bit
                # code are kept, within the last page.
                yield Label(
                    teb.stack_base, -(-teb.stack_base // _PAGE) * _PAGE, Kind.TEB,
                    f"CPU area (WoW64) of {labels[index]}",
                    f"above the 64-bit stack's base 0x{teb.stack_base:x} in the TEB",
                    threads=(index,),
                )  # fmt: skip
        for word, peb in self.pebs.items():
            whose = next(teb for _, teb in self.tebs if teb.layout.word == word)
            yield Label(
                peb, peb + _PAGE, Kind.PEB, f"PEB ({word * 8}-bit)",
                f"the TEB at 0x{whose.address:x} points at 0x{peb:x}",
            )  # fmt: skip
        yield from self._fixed()

    def _fixed(self) -> Iterator[Label]:
        # NtSystemRoot: "C:\\windows", in whatever letters.
        root = self.memory.read_available(KUSER + 0x30, 6)
        if root[2:6] == b":\0\\\0":
            letter = chr(root[0])
            yield Label(
                KUSER, KUSER + _PAGE, Kind.KUSER, "KUSER_SHARED_DATA",
                f"the fixed address of Windows; its NtSystemRoot begins with {letter}:\\",
            )  # fmt: skip
        elif self.is_wine:
            yield Label(
                KUSER, KUSER + _PAGE, Kind.KUSER, "KUSER_SHARED_DATA",
                "the fixed address of Windows",
            )  # fmt: skip
        if not self.is_wine:
            return
        name, evidence = "page for the dispatcher's address", "the page behind KUSER_SHARED_DATA"
        try:
            pointer = self.memory.read_uint(DISPATCHER_POINTER, 8)
        except Fault:
            pointer = 0
        module = self.target.space.module_at(pointer) if pointer else None
        if module is not None:
            name = "dispatcher page"
            evidence += f"; it points at 0x{pointer:x} in {module.name}"
        yield Label(
            DISPATCHER_POINTER, DISPATCHER_POINTER + _PAGE, Kind.DISPATCHER, name, evidence
        )

    def blocks(self, labels: dict[int, str]) -> Iterator[Label]:
        """What else is in the blocks that TEBs are in: Wine's own data of the thread."""
        for index, teb in self.tebs:
            start = teb.address & -_GRANULE
            yield Label(
                start, start + _GRANULE, Kind.TEB, f"block with the TEB of {labels[index]}",
                f"the 64 KiB around the TEB at 0x{teb.address:x}",
                threads=(index,), decide=_anonymous,
            )  # fmt: skip
        for peb in self.pebs.values() if self.is_wine else ():
            start = peb & -_GRANULE
            yield Label(
                start, start + _GRANULE, Kind.PEB, "block with the PEB",
                f"the 64 KiB around the PEB at 0x{peb:x}", decide=_anonymous,
            )  # fmt: skip

    # --- heaps ---------------------------------------------------------------------------------

    def heap_labels(self, mappings: Sequence[Mapping]) -> Iterator[Label]:
        """Windows heaps: the process heap, those that the PEB lists, those that show their mark."""
        for word, peb in self.pebs.items():
            for address, evidence in self._listed(peb, word):
                self.heaps.setdefault(address, evidence)
        words = sorted(self.pebs)
        # A 32-bit heap's mark lies where other structures may have anything.
        others = {*self.pebs.values(), *(teb.address & -_GRANULE for _, teb in self.tebs)}
        left = _MAX_PLACES
        for mapping in mappings if words else ():
            if mapping.path or mapping.permissions[:2] != "rw":
                continue
            first = -(-mapping.start // _GRANULE) * _GRANULE
            for at in range(first, min(mapping.end, first + left * _GRANULE), _GRANULE):
                left -= 1
                if at in others:
                    continue
                found = self._heap_at(at, words)
                if found is not None:
                    yield Label(at, mapping.end, Kind.WINDOWS_HEAP, *found, decide=_anonymous)

    def _listed(self, peb: int, word: int) -> Iterator[tuple[int, str]]:
        first, count, array = _PEB[word]
        try:
            heap = self.memory.read_uint(peb + first, word)
            yield heap, f"PEB.ProcessHeap of 0x{peb:x}"
            number = min(self.memory.read_uint(peb + count, 4), _MAX_HEAPS)
            places = self.memory.read_uint(peb + array, word)
            for at in range(number if places else 0):
                heap = self.memory.read_uint(places + at * word, word)
                yield heap, f"PEB.ProcessHeaps[{at}] of 0x{peb:x}"
        except Fault:
            return

    def _heap_at(self, at: int, words: Sequence[int]) -> tuple[str, str] | None:
        """(name, evidence) of what begins at an address, if it is a heap's."""
        head = self.memory.read_available(at, _HEAD)
        listed = self.heaps.get(at)
        for word in words:
            if head[_SIGNED[word] : _SIGNED[word] + 4] == _SIGNATURE:
                evidence = f"0xffeeffee at 0x{at + _SIGNED[word]:x}"
                if listed is not None:
                    name = "process heap" if "ProcessHeap of" in listed else "Windows heap"
                    return f"{name} 0x{at:x}", f"{listed}; {evidence}"
                return f"Windows heap 0x{at:x}", evidence
        if listed is not None:
            return f"Windows heap 0x{at:x}", listed
        return None

    # --- what Wine holds -----------------------------------------------------------------------

    def reserved(self) -> Iterator[Label]:
        """Mappings without access in the ranges that Wine keeps for Windows code."""
        if not self.is_wine:
            return
        for name, start, end in self.asked:
            yield Label(
                start, end, Kind.RESERVED, f"{name}, held by Wine's preloader",
                f"the environment asks for 0x{start:x} to 0x{end:x}", decide=_held,
            )  # fmt: skip
        own = self.target.arch.pointer_size
        for name, start, end, words in (*RESERVED, *_BESIDE):
            if own in words:
                kind = Kind.DOS if name == "DOS area" else Kind.RESERVED
                yield Label(
                    start, end, kind, f"{name}, held by Wine",
                    f"in what Wine reserves: 0x{start:x} to 0x{end:x}", decide=_held,
                )  # fmt: skip


def asked(environ: bytes) -> list[tuple[str, int, int]]:
    """The range in WINEPRELOADRESERVE, `START-END` in hex (loader/preloader.c).

    People set it; Wine does where a program is linked for an address that must be free.
    """
    for each in environ.split(b"\0"):
        if each.startswith(_RESERVE):
            low, dash, high = each[len(_RESERVE) :].partition(b"-")
            try:
                start, end = int(low, 16), int(high, 16)
            except ValueError:
                return []
            if dash and 0 < start < end < 1 << 47:
                return [("WINEPRELOADRESERVE", start, end)]
    return []


def _tebs(target: Target) -> list[tuple[int, Teb]]:
    """(thread index, TEB), in a WoW64 process two of them a thread."""
    found: list[tuple[int, Teb]] = []
    if target.wine is not None:
        for index, known in sorted(target.wine.threads.items()):
            found.append((index, known.teb))
            if known.teb32 is not None:
                found.append((index, known.teb32))
    elif isinstance(target, MinidumpTarget) and target.os == "windows":
        layout = layouts.TEB64 if target.arch.pointer_size == 8 else layouts.TEB32
        for thread, record in zip(target.threads, target.dump.threads(), strict=True):
            teb = read_teb(target.memory, record.teb, layout) if record.teb else None
            if teb is not None:
                found.append((thread.index, teb))
    return found


def _anonymous(mapping: Mapping, label: Label) -> tuple[str, str] | None:
    return (label.kind, label.name) if not mapping.path else None


def _held(mapping: Mapping, label: Label) -> tuple[str, str] | None:
    # Linux calls "[heap]" whatever the program break lies in. It puts the break at random behind
    # the preloader, which may then hold that place: no heap is there, nor can one grow.
    if mapping.path not in ("", "[heap]"):
        return None
    if is_held(mapping.permissions):
        return label.kind, label.name
    if mapping.path:
        return None
    # The DOS area is given to the program as readable and writable memory.
    if label.kind == Kind.DOS and mapping.permissions[:2] == "rw":
        return Kind.DOS, "DOS area"
    return None
