"""What is known of a held thread of a Wine process: where its stacks are, and what is used.

It is learned by and by, from what has been copied: see `wine_stacks`.
"""

from __future__ import annotations

from unspool.arch.x86_64 import R14
from unspool.memory import Fault, Memory
from unspool.wine import layouts
from unspool.wine.teb import read_teb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.targets.live.stacks import Copied, Range
    from unspool.wine.layouts import FrameLayout, TebLayout

# The Windows stack of 32-bit code in a WoW64 process; 0 is that of the process's own word size.
OF_32_BIT = 1

_ESP_AT = layouts.WOW64_CONTEXT + 0xC4
CPU_AREA_SIZE = layouts.WOW64_CONTEXT + layouts.CONTEXT_I386.size
_BLOCK, _BEHIND_TEBS = 0x10000, 0x3800
# Words of a 64-bit stack to look for a 32-bit stack pointer in, and how much lower than the
# known one that may be: stacks hold pointers that mean nothing any more.
_SEARCHED, _FAR = 4096, 64 << 10
# Stack pointers of one thread that are in none of its stacks: those of coroutines.
_MAX_ELSEWHERE = 8


class CopiedMemory(Memory):
    """What has been copied, as memory to read. It has no regions and no windows."""

    def __init__(self, copied: Copied) -> None:
        super().__init__()
        self.copied = copied

    def read_available(self, address: int, size: int) -> bytes:
        start, end = self.copied.window(address, size)
        return bytes(memoryview(self.copied.buffer)[start:end])

    def read(self, address: int, size: int) -> bytes:
        data = self.read_available(address, size)
        if len(data) < size:
            raise Fault(address + len(data), size - len(data))
        return data

    def word(self, address: int, size: int) -> int | None:
        """The word at an address; None if that has not been copied."""
        data = self.read_available(address, size)
        return int.from_bytes(data, "little") if len(data) == size else None


class WineThread:
    """A thread that has a TEB.

    `windows` are its Windows stacks, see `OF_32_BIT`. The address of its newest system call
    frame is one of the words `private` of the TEB, most likely of `likely`. `signal` is the
    stack for signal handlers. `cpu_area` is where the registers of a WoW64 thread's 32-bit code
    are, or 0. `frames` are the stack pointers in the frames, the newest first; None if nobody
    has looked. `searched` is where to search for the 32-bit stack pointer, see `search`.
    """

    __slots__ = (
        "_esp", "_r14", "cpu_area", "frames", "likely", "private", "searched", "signal", "windows",
    )  # fmt: skip

    def __init__(
        self, memory: CopiedMemory, address: int, layout: TebLayout, sp: int, is_wow64: bool
    ) -> None:
        """Raises `Fault` if there is no TEB at the address. `sp` is the thread's."""
        teb = read_teb(memory, address, layout)
        if teb is None:
            raise Fault(address, layout.size)
        # Up to Wine 11.7 the signal stack is in the TEB's block of 64 kB, since 11.8 in one of
        # its own, at whose start a pointer to the TEB is.
        block = address & -_BLOCK
        self.signal = block + _BEHIND_TEBS, block + _BLOCK
        if memory.word(sp & -_BLOCK, layout.word) == address:
            self.signal = sp & -_BLOCK, (sp & -_BLOCK) + _BLOCK
        self.windows: list[Range] = [(teb.allocation, teb.stack_base)]
        self.cpu_area = 0
        self.frames: list[int] | None = None
        self.searched = 0
        self._esp = self._r14 = 0
        word = layout.word
        other = None
        if is_wow64 and teb.wow_offset:
            other = read_teb(memory, address + teb.wow_offset, layouts.TEB32)
        if other is not None:
            self.windows.append((other.allocation, other.stack_base))
            self.cpu_area = memory.read_uint(address + layouts.WOW64_CPU_AREA, word)
        start, end = layout.private
        data = memoryview(memory.read(address + start, end - start))
        private = data.cast("Q") if word == 8 else data.cast("I")
        self.private = private.tolist()
        self.likely = [private[(slot - start) // word] for slot in layout.syscall_frame]

    def window(self, sp: int) -> int | None:
        """Which of the Windows stacks an address is in."""
        for index, (low, high) in enumerate(self.windows):
            if low <= sp < high:
                return index
        return None

    def parked(self, sp: int, r14: int) -> bool:
        """Whether r14 is the stack pointer of a WoW64 thread's other Windows stack.

        While 32-bit code runs, wow64cpu.dll keeps the 64-bit one there, and conversely. But
        other code uses the register for whatever it likes.
        """
        if not self.cpu_area:
            return False
        return {self.window(sp), self.window(r14)} == {0, OF_32_BIT}

    def learn(
        self, memory: CopiedMemory, frames: Sequence[int], layout: FrameLayout, word: int
    ) -> None:
        """Takes what lies in its system call frames, which are at `frames`, newest first."""
        found = (memory.word(address + layout.sp, word) for address in frames)
        self.frames = [sp for sp in found if sp is not None]
        if self.cpu_area:
            self._esp = memory.word(self.cpu_area + _ESP_AT, 4) or 0
            if frames:
                at = dict(layout.registers)[R14]
                self._r14 = memory.word(frames[0] + at, word) or 0

    def beyond(self, sps: Sequence[int]) -> list[int]:
        """Stack pointers into the other stacks than those that `sps` are on.

        While Windows code runs, the newest system call frame is stale, or not filled yet;
        while 32-bit code does, so are the 32-bit registers.
        """
        running = {self.window(sp) for sp in sps}
        frames = list(self.frames or ())
        is_unix = running == {None}
        if not is_unix:
            del frames[:1]
        if self.cpu_area and OF_32_BIT not in running:
            frames.append(self._esp)
            # 64-bit code has the 32-bit stack pointer in r14, or has saved it on its stack.
            if is_unix and self.window(self._r14) == OF_32_BIT:
                frames.append(self._r14)
            else:
                own = [sp for sp in (*sps, *frames) if self.window(sp) == 0]
                self.searched = min(own, default=0)
        lowest: dict[int, int] = {}
        elsewhere = []
        for sp in frames:
            index = self.window(sp)
            if index is None:
                elsewhere.append(sp)
            else:
                lowest[index] = min(sp, lowest.get(index, sp))
        return [*lowest.values(), *elsewhere[:_MAX_ELSEWHERE]]

    def search(self, memory: CopiedMemory) -> int | None:
        """The lowest pointer to the 32-bit stack on the 64-bit one, if it is lower than known.

        Situation: a system call that replaces the 32-bit registers, NtRaiseException for
        example, has stored the new ones, which are those of an older frame.
        """
        data = memory.read_available(self.searched & -8, _SEARCHED * 8)
        words = memoryview(data)[: len(data) & -8].cast("Q")
        if not words:
            return None
        self.searched = 0
        low = max(self.windows[OF_32_BIT][0], self._esp - _FAR)
        pointers = [word for word in words if low <= word < self._esp]
        return min(pointers) if pointers else None
