"""What threads under Wine wait for: critical sections, SRW locks, addresses, handles.

That a thread waits for such a thing, exported functions of ntdll on its stack say. For which one,
no register says: of the words that these functions left on the stack, the one is taken that
points at a critical section which is held by another thread of the process and waited for.
Layouts: Windows' winnt.h (RTL_CRITICAL_SECTION), Wine's dlls/ntdll/sync.c of 8.0 and 10.0.
"""

from __future__ import annotations

from struct import Struct

from unspool.analyses.locks.records import Holder, Lock
from unspool.analyses.locks.words import NO_HOLDER
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from unspool.analyses.locks.frames import StackNames
    from unspool.memory import Memory
    from unspool.model import Stack
    from unspool.targets.base import Target

_MOST_WORDS = 2048
_LOWEST = 0x10000
# Behind the stack pointer of the caller of ntdll's function: its arguments.
_ARGUMENTS = 8
_MOST_NAME = 80
_SECTIONS = ("RtlEnterCriticalSection", "RtlpWaitForCriticalSection", "EnterCriticalSection")
_SRW = ("RtlAcquireSRWLockExclusive", "RtlAcquireSRWLockShared")
_ADDRESS = (
    "RtlSleepConditionVariableCS", "RtlSleepConditionVariableSRW", "RtlWaitOnAddress",
    "NtWaitForAlertByThreadId",
)  # fmt: skip
_HANDLES = (
    "NtWaitForSingleObject", "NtWaitForMultipleObjects", "NtSignalAndWaitForSingleObject",
    "NtWaitForKeyedEvent",
)  # fmt: skip


class _Layout:
    """DebugInfo, LockCount, RecursionCount, OwningThread, LockSemaphore; and RTL_CRITICAL_
    SECTION_DEBUG: the section, its name in Wine (Spare[0]); PEB.LoaderLock."""

    def __init__(self, word: int) -> None:
        self.word = word
        self.section = Struct("<QiiQQ" if word == 8 else "<IiiII")
        self.semaphore = 8 + 2 * word  # the offset of LockSemaphore
        self.none = (1 << 8 * word) - 1
        self.debug_section, self.debug_name = (8, 0x28) if word == 8 else (4, 0x18)
        self.loader_lock = 0x110 if word == 8 else 0xA0
        self.words = "Q" if word == 8 else "I"


_LAYOUTS = {4: _Layout(4), 8: _Layout(8)}


class WindowsWait:
    """A wait of Windows code: the lock, the function, and how the lock was found."""

    __slots__ = ("evidence", "function", "lock")

    def __init__(self, lock: Lock, function: str, evidence: str) -> None:
        self.lock = lock
        self.function = function
        self.evidence = evidence


class WindowsWaits:
    """Finds the waits of one process. `memory` is what locks are read from."""

    def __init__(self, target: Target, memory: Memory, party: int) -> None:
        self.target = target
        self.memory = memory
        self.party = party
        self.by_tid: Mapping[int, int] = {
            thread.windows_tid: thread.index
            for thread in target.threads
            if thread.windows_tid is not None
        }

    def of(self, stack: Stack, names: StackNames) -> WindowsWait | None:
        """What a thread waits for, None if its stack names no such wait."""
        first = self._first(names)
        if first is None:
            return None
        end = first
        while end < len(names.modules) and names.modules[end] == "ntdll.dll":
            end += 1
        inside = names.functions[first:end]
        layout = _LAYOUTS[self._word(stack, first)]
        for wanted, find in (
            (_SECTIONS, self._section), (_SRW, self._srw), (_ADDRESS, self._address),
            (_HANDLES, self._handle_wait),
        ):  # fmt: skip
            for name in wanted:
                if name in inside:
                    function = next((each for each in wanted if each in inside), name)
                    words = list(self._words(stack, first, end, layout))
                    return find(stack, function, words, layout)
        return None

    def _first(self, names: StackNames) -> int | None:
        """The first frame in ntdll.dll; of 32-bit code in a 64-bit process, in that one's."""
        found = [
            index
            for index, module in enumerate(names.modules)
            if module == "ntdll.dll" and names.kinds[index] == "pe"
        ]
        if not found:
            return None
        wow64 = any(module.startswith("wow64") for module in names.modules[: found[0] + 8])
        if wow64:
            behind = max(
                index for index, module in enumerate(names.modules) if module.startswith("wow64")
            )
            # The code that starts a 32-bit program is on the stack's older part, too.
            first = next((i for i, m in enumerate(names.modules) if m.startswith("wow64")), behind)
            while first < len(names.modules) and names.modules[first].startswith("wow64"):
                first += 1
            return first if first in found else None
        before = names.modules[: found[0]]
        return found[0] if not any(kind == "pe" for kind in names.kinds[: len(before)]) else None

    def _word(self, stack: Stack, index: int) -> int:
        wine = self.target.wine
        word = self.target.arch.pointer_size
        if word == 8 and wine is not None and wine.ntdll32 is not None:
            pc = stack.frames[index].lookup_pc
            if wine.ntdll32.base <= pc < wine.ntdll32.end:
                return 4
        return word

    def _words(self, stack: Stack, first: int, end: int, layout: _Layout) -> Iterator[int]:
        """Words of the stack from ntdll's innermost frame to its caller's, then of registers."""
        low = stack.frames[first].sp
        high = stack.frames[end].sp if end < len(stack.frames) else None
        if low is None:
            return
        size = _MOST_WORDS * layout.word
        if high is not None and low < high:
            size = min(size, high - low + _ARGUMENTS * layout.word)
        data = self.target.space.memory.read_available(low, size)
        count = len(data) // layout.word
        yield from Struct(f"<{count}{layout.words}").unpack(data[: count * layout.word])
        wine = self.target.wine
        known = wine.threads.get(stack.index) if wine is not None else None
        if known is not None and known.frames and layout.word == self.target.arch.pointer_size:
            try:
                for value in known.frames[0].registers(self.target.space):
                    if value is not None:
                        yield value
            except Fault:
                return

    def _section(
        self, stack: Stack, function: str, words: list[int], layout: _Layout
    ) -> WindowsWait:
        waited = self._waited_address(stack, words, layout)
        exact = waited - layout.semaphore if waited is not None else 0
        found = self._read_section(exact, stack, layout, sure=True) if exact > 0 else None
        if found is not None:
            words_of = f"ntdll's list of waiting threads has 0x{waited or 0:x}, its LockSemaphore"
            return WindowsWait(found, function, f"{function} on the stack; {words_of}")
        sections = [
            section
            for address in dict.fromkeys(words)
            if address >= _LOWEST and address % 4 == 0
            and (section := self._read_section(address, stack, layout)) is not None
        ]  # fmt: skip
        if not sections:
            lock = Lock("critical_section", self.party, None)
            lock.unknown = "no word on the stack points at a critical section that is held"
            return WindowsWait(lock, function, f"{function} on the stack")
        best = next((each for each in sections if each.holders), sections[0])
        if len(sections) > 1:
            # One is left of an earlier call, and the words do not say which.
            for holder in best.holders:
                holder.certain = False
        return WindowsWait(
            best, function, f"{function} on the stack, with 0x{best.address or 0:x} in its frames"
        )

    def _read_section(
        self, address: int, stack: Stack, layout: _Layout, *, sure: bool = False
    ) -> Lock | None:
        """The section at an address, if one is there that is waited for; `sure`: it is one.

        From Windows 8 on, and in Wine 10, most have no DebugInfo that would lead back to them.
        """
        data = self.memory.read_available(address, layout.section.size)
        if len(data) < layout.section.size:
            return None
        debug, count, recursion, owner, semaphore = layout.section.unpack(data)
        if not 1 <= count < 1 << 20 or not 1 <= recursion < 1 << 20:
            return None
        back = self._pointer(debug + layout.debug_section, layout)
        proven = back == address
        holder = self.by_tid.get(owner)
        if not proven and debug not in (0, layout.none):
            return None
        if holder is None and not ((proven or sure) and owner and owner % 4 == 0):
            return None
        state = f"LockCount {count}, RecursionCount {recursion}, OwningThread 0x{owner:x}"
        if semaphore:
            state += f", LockSemaphore 0x{semaphore:x}"
        lock = Lock("critical_section", self.party, address, state=state)
        if self._loader_lock(stack, layout) == address:
            lock.name = "the loader lock"
        elif proven:
            lock.name = self._name(debug, layout)
        if holder is not None:
            at = address + layout.word + 8
            how = f"OwningThread at 0x{at:x} is Windows thread 0x{owner:x}"
            lock.holders = [Holder(self.party, holder, how)]
        else:
            lock.unknown = f"Windows thread 0x{owner:x} owns it, which is not there any more"
            lock.gone = owner
        return lock

    def _loader_lock(self, stack: Stack, layout: _Layout) -> int | None:
        wine = self.target.wine
        known = wine.threads.get(stack.index) if wine is not None else None
        if known is None:
            return None
        teb = known.teb if layout.word == self.target.arch.pointer_size else known.teb32
        return self._pointer(teb.peb + layout.loader_lock, layout) if teb is not None else None

    def _name(self, debug: int, layout: _Layout) -> str | None:
        """What Wine calls its own sections: "loader.c: loader_section"."""
        at = self._pointer(debug + layout.debug_name, layout)
        text = self.memory.read_available(at, _MOST_NAME).partition(b"\0")[0] if at else b""
        name = text.decode("ascii", "replace")
        return name if len(name) > 3 and name.isprintable() and name.isascii() else None

    def _pointer(self, address: int, layout: _Layout) -> int | None:
        return self.memory.maybe_uint(address, layout.word)

    def _waited_address(self, stack: Stack, words: list[int], layout: _Layout) -> int | None:
        at = self._entry(stack, words, layout)
        return None if at is None else words[at + 2]

    def _entry(self, stack: Stack, words: list[int], layout: _Layout) -> int | None:
        """Where ntdll's `struct futex_entry` is on the stack: two links, address, thread."""
        tid = next((t for t, index in self.by_tid.items() if index == stack.index), None)
        if tid is None:
            return None
        for at in range(2, len(words) - 1):
            if words[at + 1] & 0xFFFFFFFF != tid or words[at] < _LOWEST:
                continue
            links = words[at - 2], words[at - 1]
            is_list = all(each > _LOWEST and each % layout.word == 0 for each in links)
            if is_list and self.memory.read_available(words[at], 2):
                return at - 2
        return None

    def kept(self, stack: Stack, names: StackNames) -> Iterator[tuple[int, int, bool]]:
        """What a minidump must hold for `of` to find the same there: addresses and sizes.

        Functions need not have names: whatever ntdll waits in, these are few words. The last value
        is False for text.
        """
        first = self._first(names)
        low = stack.frames[first].sp if first is not None else None
        if first is None or low is None:
            return
        end = first
        while end < len(names.modules) and names.modules[end] == "ntdll.dll":
            end += 1
        layout = _LAYOUTS[self._word(stack, first)]
        words = list(self._words(stack, first, end, layout))
        wine = self.target.wine
        known = wine.threads.get(stack.index) if wine is not None else None
        for teb in (known.teb, known.teb32) if known is not None else ():
            if teb is not None and teb.layout.word == layout.word:
                yield teb.peb + layout.loader_lock, layout.word, True
        at = self._entry(stack, words, layout)
        addresses = [each for each in dict.fromkeys(words) if each % 4 == 0]
        if at is not None:
            yield low + at * layout.word, 4 * layout.word, True
            yield words[at + 2] & -4, 4, True
            addresses = [words[at + 2] - layout.semaphore]
        for address in addresses:
            if address < _LOWEST:
                continue
            if self._read_section(address, stack, layout, sure=at is not None) is not None:
                yield address, layout.section.size, True
                debug = self._pointer(address, layout) or 0
                if self._pointer(debug + layout.debug_section, layout) == address:
                    yield debug, layout.debug_name + layout.word, True
                    yield self._pointer(debug + layout.debug_name, layout) or 0, _MOST_NAME, False

    def _srw(self, stack: Stack, function: str, words: list[int], layout: _Layout) -> WindowsWait:
        found = self._address(stack, function, words, layout)
        found.lock.kind = "srw_lock"
        if found.lock.address is not None:
            found.lock.address &= -4
        found.lock.unknown = "SRW locks do not know who holds them"
        return found

    def _address(
        self, stack: Stack, function: str, words: list[int], layout: _Layout
    ) -> WindowsWait:
        address = self._waited_address(stack, words, layout)
        lock = Lock("wait_on_address", self.party, address)
        lock.unknown = "who will wake it up, the memory does not say"
        if function.startswith("RtlSleepConditionVariable"):
            lock.kind, lock.unknown = "condition", NO_HOLDER
        evidence = f"{function} on the stack"
        if address is not None:
            value = self.memory.read_available(address & -4, 4)
            lock.state = f"the word at 0x{address & -4:x} is 0x{int.from_bytes(value, 'little'):x}"
            evidence += ", the address by ntdll's list of waiting threads"
        return WindowsWait(lock, function, evidence)

    def _handles(self, function: str, words: list[int]) -> list[int]:
        """The handles that 32-bit code passed on the stack; 64-bit code does in registers."""
        if len(words) < 3:
            return []
        if function in ("NtWaitForSingleObject", "NtWaitForKeyedEvent"):
            return words[1:2]
        data = self.memory.read_available(words[2], 4 * words[1]) if words[1] <= 64 else b""
        return list(Struct(f"<{len(data) // 4}I").unpack(data[: len(data) & ~3]))

    def _handle_wait(
        self, stack: Stack, function: str, words: list[int], layout: _Layout
    ) -> WindowsWait:
        lock = Lock("handle", self.party, None)
        lock.unknown = "what a handle is of, and who holds that, wineserver alone knows"
        handles = self._handles(function, words) if layout.word == 4 else []
        if handles:
            lock.state = "handle " + ", ".join(f"0x{each:x}" for each in handles)
        return WindowsWait(lock, function, f"{function} on the stack")
