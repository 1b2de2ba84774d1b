"""Floating point and vector registers of a core's threads, which no walk needs."""

from __future__ import annotations

from unspool.formats import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.arch.base import Arch
    from unspool.formats.elf import Elf

_MAX_THREADS = 1_000_000

FXSAVE_SIZE, FPSIMD_SIZE = 512, 528
# Of what FXSAVE writes, the last 48 bytes are software's own; the kernel keeps notes there.
_FXSAVE_USED = 464
# struct user_vfp: d0 to d31, then the status register.
VFP_SIZE = 260
_SIZES = {"aarch64": FPSIMD_SIZE, "arm": VFP_SIZE}


class FloatingPoint:
    """Where each thread's registers are in a core's notes, by the thread's index."""

    def __init__(self, elf: Elf, arch: Arch) -> None:
        self.buffer = elf.buffer
        # The first of them that is there counts. NT_FPREGSET of i386 is what FSAVE writes.
        if arch.name == "arm":
            kinds = {notes.NT_ARM_VFP: 0}
        elif arch.link is not None:
            kinds = {notes.NT_FPREGSET: 0}
        elif arch.pointer_size == 8:
            kinds = {notes.NT_FPREGSET: 0, notes.NT_X86_XSTATE: 1}
        else:
            kinds = {notes.NT_PRXFPREG: 0, notes.NT_X86_XSTATE: 1}
        self.size = _SIZES.get(arch.name, FXSAVE_SIZE)
        self.used = _SIZES.get(arch.name, _FXSAVE_USED)
        self.places: dict[int, tuple[int, int]] = {}
        index = -1
        for note in elf.notes():
            if note.type == notes.NT_PRSTATUS and note.name in (b"CORE", b"LINUX"):
                # The same that are threads, see `CoreNotes`.
                index += note.size >= arch.prstatus.tid_offset + 4
                if index >= _MAX_THREADS:
                    break
            elif note.type in kinds and index >= 0 and note.size >= self.size:
                place = kinds[note.type], note.offset
                if place < self.places.get(index, (2, 0)):
                    self.places[index] = place

    def image(self, index: int) -> bytes | None:
        """The registers as `Target.floating_point` gives them."""
        place = self.places.get(index)
        if place is None:
            return None
        data = bytes(self.buffer[place[1] : place[1] + self.used])
        return data.ljust(self.size, b"\0")
