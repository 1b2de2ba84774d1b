"""A made-up thread of a Wine process: runs calls, system calls, callbacks, exceptions, signals.

It does what a CPU and Wine do to registers and stacks, and notes which frames a walk has to find.
Every register that nothing saves is junk after a switch.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.build.wine_code import FIXED, Function
from tests.build.wine_dispatcher import Dispatcher

if TYPE_CHECKING:
    from tests.build.wine import WineProcess

ACCESS_VIOLATION = 0xC0000005
SIGNAL_FRAME_64 = (
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx",
    "rax", "rcx", "rsp", "rip",
)  # fmt: skip
SIGNAL_FRAME_32 = {
    "edi": 16, "esi": 20, "ebp": 24, "esp": 28, "ebx": 32, "edx": 36, "ecx": 40, "eax": 44,
    "eip": 56,
}  # fmt: skip


class Stacks:
    """Where a thread's stacks are, as (low, high)."""

    def __init__(
        self, windows: tuple[int, int], unix: tuple[int, int], signal: tuple[int, int]
    ) -> None:
        self.windows, self.unix, self.signal = windows, unix, signal


class WineThread:
    """A thread that has just entered Windows code: in `RtlUserThreadStart`.

    `frames` are (pc, sp) of the callers, the outermost first; `kinds` the segments likewise.
    `frame` is the newest system call frame, `outer` the older ones.
    """

    def __init__(self, process: WineProcess, index: int, teb: int, stacks: Stacks) -> None:
        self.process, self.era = process, process.era
        self.index, self.teb, self.stacks = index, teb, stacks
        self.tid = 1000 + index
        word = self.era.word
        names = ("rip", "rsp", "rbp") if word == 8 else ("eip", "esp", "ebp")
        self.pc_name, self.sp_name, self.fp_name = names
        self.registers: dict[str, int] = {}
        self.frames: list[tuple[int, int]] = []
        self.kinds: list[str] = ["windows"]
        self.gs_base = teb
        self.calls = 0
        self.function: Function | None = None
        self.outer: list[int] = []
        self._scramble()
        self.frame = self._first_frame()
        self.sp = stacks.windows[1] - 0x50
        self.registers[self.fp_name] = 0
        self.push(0)
        self._enter(process.ntdll["RtlUserThreadStart"])

    # --- registers and memory ---------------------------------------------------------

    @property
    def sp(self) -> int:
        return self.registers[self.sp_name]

    @sp.setter
    def sp(self, value: int) -> None:
        self.registers[self.sp_name] = value

    @property
    def pc(self) -> int:
        return self.registers[self.pc_name]

    def load(self, address: int) -> int:
        return self.process.load(address)

    def store(self, address: int, value: int) -> None:
        self.process.store(address, value)

    def push(self, value: int) -> None:
        self.sp -= self.era.word
        self.store(self.sp, value)

    def pop(self) -> int:
        value = self.load(self.sp)
        self.sp += self.era.word
        return value

    def _scramble(self) -> None:
        """Makes junk of everything but the stack pointer."""
        for at, name in enumerate((*self.era.frame, "r8", "r9")):
            if name in ("cs", "ss", "eflags") or name == self.sp_name:
                continue
            if self.era.bits == 64 or not name.startswith("r"):
                self.registers[name] = 0x1000_0001 + 0x10101 * at

    def _first_frame(self) -> int:
        """The frame that the thread began with: below what started the thread."""
        era, word = self.era, self.era.word
        start = self.process.ntdll_so["start_thread"]
        # What unwind data of 8.21 and later leads to: on the Unix stack, in the thread's start.
        cfa = self.stacks.unix[1] - 0x200
        self.store(cfa - word, start.after_call())
        frame = (cfa - 0x100 - era.frame_size) & -64
        self.store(self.teb + era.slot, frame)
        self._set_frame(frame, {"cs": 0x33 if word == 8 else 0x23})
        # Where the thread began.
        start = self.process.ntdll["LdrInitializeThunk"]
        self.store(frame + era.frame[self.pc_name], start.address)
        self.store(frame + era.frame[self.sp_name], self.stacks.windows[1] - 0x40)
        if era.previous is not None:
            self.store(frame + era.previous, 0)
        if era.cfa_at is not None:
            self.store(frame + era.cfa_at, cfa)
        return frame

    def _set_frame(self, frame: int, fields: dict[str, int]) -> None:
        for name, value in fields.items():
            self.store(frame + self.era.frame[name], value)

    # --- calls ------------------------------------------------------------------------

    def call(self, *names: str | Function) -> WineThread:
        """Calls functions, each from the one before; names are of any module."""
        for name in names:
            self._call(name if isinstance(name, Function) else self.process.function(name))
        return self

    def _call(self, function: Function, arguments: int = 0) -> None:
        assert self.function is not None
        for number in range(arguments):
            self.push(0x11 * number)
        self.calls += 1
        back = self.function.after_call(1 + self.calls % 7)
        self.frames.append((back, self.sp))
        self.push(back)
        self._enter(function)

    def _enter(self, function: Function) -> None:
        """The prologue."""
        word = self.era.word
        if function.kind in ("fixed", "bare", "root"):
            self.sp -= FIXED[word]
        elif function.kind in self.registers:
            self.push(self.registers[function.kind])
            self.registers[function.kind] = self.sp
            # As much as no unwind data could tell.
            self.sp -= 0x20 + 0x10 * (self.calls % 3)
        self.function = function
        self.registers[self.pc_name] = function.after_call(1 + self.calls % 5)

    # --- system calls -----------------------------------------------------------------

    def syscall(
        self, name: str = "NtWaitForSingleObject", *unix: str, stop: str | None = None
    ) -> WineThread:
        """Calls a stub of ntdll.dll, which calls the dispatcher, and that the function of the
        same name in ntdll.so and `unix`, in turn. `stop`: before that instruction of it."""
        stub = self.process.function(name)
        self._call(stub)
        entered = self.sp
        back = stub.address + (0x1F if self.era.bits == 64 else 0x0C)
        self.push(back)
        site = stub.address + (0x14 if self.era.bits == 64 else 0x0C)
        self._run(self.process.syscall_dispatcher, "dispatcher", (site, entered), back, stop)
        if stop is None:
            self._call_unix(f"unix {name}", *unix)
        return self

    def unix_call(self, *unix: str, stop: str | None = None) -> WineThread:
        """Calls a function of a Unix library: `unix`, the others in turn."""
        assert self.function is not None
        self.calls += 1
        back = self.function.after_call(1 + self.calls % 7)
        entered = self.sp
        if self.era.bits == 32:
            # The arguments are the lowest part of the caller's frame. The dispatcher takes them
            # off the stack, and the caller makes room for the next ones.
            for at in range(4):
                self.store(self.sp + 4 * at, 0x11 * at)
        self.push(back)
        made = self.process.unix_dispatcher
        assert made is not None
        self._run(made, "unix dispatcher", (back, entered), back, stop)
        if stop is None:
            self._call_unix(*(unix or ("unix call",)))
        return self

    def _run(
        self, made: Dispatcher, name: str, caller: tuple[int, int], back: int, stop: str | None
    ) -> None:
        """Runs a dispatcher up to its call, or before the instruction called `stop`.

        `caller` is (pc, sp) of who called; its pc is `back` until the dispatcher rewinds it.
        """
        function = self.process.ntdll_so[name]
        rewound = not any(each.name == "rewind" for each in made.instructions)
        for each in made.instructions:
            self.registers[self.pc_name] = function.address + each.offset
            if each.name == stop:
                # Up to then the thread has not left its stack, or is on it again.
                if each.stage == "unix":
                    self.kinds.append("unix")
                # Once the arguments are off the stack, they are for the caller as well.
                popped = self.era.bits == 32 and name == "unix dispatcher" and each.stage == "exit"
                sp = caller[1] + 0x10 * popped
                self.frames.append((caller[0] if rewound else back, sp))
                self.function = function
                return
            if each.name == "call":
                if stop is None:
                    break
                self._scramble_unsaved()
            elif each.effect is not None:
                each.effect(self)
            rewound |= each.name == "rewind"
        if stop is not None:
            raise ValueError(f"no instruction {stop}")
        self.kinds.append("unix")
        self.frames.append(caller)
        self.frames.append((function.address + made.return_offset, self.sp))
        self.push(function.address + made.return_offset)

    def _call_unix(self, first: str, *others: str) -> None:
        self._scramble_unsaved()
        self._enter(self.process.function(first))
        self.call(*others)

    def _scramble_unsaved(self) -> None:
        """What a function of the Unix side may change."""
        kept = (*self.era.unix_saved, self.sp_name, self.pc_name)
        for name in self.registers:
            if name not in kept:
                self.registers[name] = 0x77

    def go_back(self) -> WineThread:
        """Returns from a system call, with the thread's frames left as they are: stale."""
        era = self.era
        while self.kinds[-1] != "windows":
            self.kinds.pop()
        # The Unix frames, the dispatcher's, the stub's.
        low, high = self.stacks.windows
        while self.frames and not low <= self.frames[-1][1] < high:
            self.frames.pop()
        site, _ = self.frames.pop()
        for name in (*era.windows_saved, self.sp_name):
            self.registers[name] = self.load(self.frame + era.frame[name])
        self.function = self.process.function_at(site)
        if self.function.kind in ("leaf", "empty"):
            back = self.pop()
            self.frames.pop()
            self.function = self.process.function_at(back)
        elif era.bits == 32:
            self.sp -= 0x10
        self.registers[self.pc_name] = self.function.after_call(2)
        return self

    # --- callbacks --------------------------------------------------------------------

    def callback(self, *windows: str, length: int = 0x40, entering: bool = False) -> WineThread:
        """Calls back into Windows code: KiUserCallbackDispatcher, then `windows`.

        `entering`: stops before that, in Unix code that is on the Windows stack already.
        """
        self.call("KeUserModeCallback")
        assert self.function is not None
        self.calls += 1
        back = self.function.after_call(1 + self.calls % 7)
        frame = getattr(self, f"_leave_by_{self.era.resume}")(back)
        older = self.frame
        era = self.era
        if era.previous is not None:
            self.store(frame + era.previous, older)
        self.store(self.teb + era.slot, frame)
        self.outer.append(older)
        self.frame = frame
        self.sp = self._callback_stack(older, length)
        sp = self.sp
        fp = self.registers[self.fp_name]
        self._scramble()
        self.sp = sp
        self.registers[self.fp_name] = fp if entering and not self.era.clears_fp else 0
        self.kinds.append("windows")
        if entering:
            self.function = self.process.ntdll_so["call_user_mode_callback"]
            self.registers[self.pc_name] = self.function.address + 0x61
            return self
        self._enter(self.process.ntdll["KiUserCallbackDispatcher"])
        return self.call(*windows)

    def _leave_by_jmp_buf(self, back: int) -> int:
        """The frame is a local variable, with a jmp_buf behind it."""
        wide = self.era.bits == 64
        size, buffer = (0x600, 0x410) if wide else (0x500, 0x388)
        self.sp = (self.sp - size) & -64
        frame = self.sp + 0x40
        self.sp = self.sp + 0x10
        self.frames.append((back, self.sp))
        self._fill_stale(frame)
        pushed = self.sp - self.era.word
        at: tuple[str, ...]
        if wide:
            at = ("rbx", "rsp", "rbp", "rsi", "rdi", "r12", "r13", "r14", "r15")
            values = [self.registers[name] for name in at]
            raw = struct.pack("<11Q", 0, *values, back)
        else:
            values = [self.registers[name] for name in ("ebp", "ebx", "edi", "esi")]
            raw = struct.pack("<6I", *values, pushed, back)
        self.process.write(frame + buffer, raw)
        return frame

    def _leave_by_rbp(self, back: int) -> int:
        """call_user_mode_callback pushes registers, and keeps rbp behind the frame."""
        wide = self.era.bits == 64
        self.frames.append((back, self.sp))
        self.push(back)
        self.push(self.registers[self.fp_name])
        base = self.registers[self.fp_name] = self.sp
        names = self.era.unix_saved if wide else ("ebx", "ebp", "esi", "edi")
        for name in names:
            if name != self.fp_name:
                self.push(self.registers[name])
        # Microsoft's calling convention has ten vector registers to save as well.
        if wide:
            self.sp = (base - (0xE0 if self.era.ms_abi else 0x40) - 0x410) & -64
        else:
            self.sp = (self.sp - 4 - 0x384) & -64
        frame = self.sp
        self._fill_stale(frame)
        self.store(frame + (0x400 if wide else 0x380), base)
        return frame

    def _leave_by_cfa(self, back: int) -> int:
        """Since 8.21 the frame says where the caller's stack goes on."""
        self.frames.append((back, self.sp))
        cfa = self.sp
        self.push(back)
        self.push(self.registers[self.fp_name])
        self.registers[self.fp_name] = self.sp
        saved = ("rbx", "r12", "r13", "r14", "r15")
        for name in saved if self.era.bits == 64 else ("ebx", "esi", "edi"):
            self.push(self.registers[name])
        self.sp = (self.sp - 0x50 - self.era.frame_size) & -64
        frame = self.sp
        self._fill_stale(frame)
        assert self.era.cfa_at is not None
        self.store(frame + self.era.cfa_at, cfa)
        return frame

    def _fill_stale(self, frame: int) -> None:
        """A new frame is not cleared: it has registers of some older system call."""
        for offset in range(0, 0xA0 if self.era.word == 8 else 0x38, self.era.word):
            self.store(frame + offset, self.load(self.frame + offset))

    def _callback_stack(self, older: int, length: int) -> int:
        """Arguments on the Windows stack, below the code that is in the system call."""
        era, word = self.era, self.era.word
        outer = self.load(older + era.frame[self.sp_name])
        pc = self.load(older + era.frame[self.pc_name])
        data = (outer - length) & -16
        if era.entry == "machine" and word == 8:
            sp = data - 0x58
            for offset, value in ((0x20, data), (0x28, length), (0x30, pc), (0x48, outer)):
                self.store(sp + offset, value)
            return sp
        if word == 8:
            sp = data - 0x28
            first = {"bare": 0x77, "deadbabe": 0xDEADBABE, "zero": 0}[era.entry]
            self.store(sp, first)
            return sp
        sp = data - (0x1C if era.entry == "machine" else 0x14)
        first = {"machine": pc, "deadbabe": 0xDEADBABE, "zero": 0}[era.entry]
        for at, value in enumerate((first, 2, data, length, 0)):
            self.store(sp + 4 * at, value)
        if era.entry == "machine":
            self.store(sp + 0x18, outer)
        return sp

    # --- exceptions, APCs, signals ----------------------------------------------------

    def exception(self, *windows: str, code: int = ACCESS_VIOLATION, red: int = 0) -> WineThread:
        """The code faults where it is; a handler runs. `red`: bytes left free below it."""
        self.frames.append((self.pc, self.sp))
        era, word = self.era, self.era.word
        address = self.pc
        if word == 8:
            context = (self.sp - red - (0x5C0 if era.new_exceptions else 0x590)) & -64
            record = context + 0x4F0
            entry = context
            self.process.write(record, struct.pack("<IIQQIIQQ", code, 0, 0, address, 2, 0, 1, 8))
            if era.new_exceptions:
                self.store(context + 0x590, self.pc)
                self.store(context + 0x590 + 24, self.sp)
        else:
            entry = (self.sp - red - 0x3F0) & -64
            record, context = (entry + 8, entry + 0x58) if era.new_exceptions else (
                entry + 0x2F0, entry + 8)  # fmt: skip
            self.process.write(record, struct.pack("<IIIIIII", code, 0, 0, address, 2, 1, 8))
            self.store(entry, record)
            self.store(entry + 4, context)
        self._write_context(context)
        self.sp = entry
        self._start("KiUserExceptionDispatcher")
        if word == 4:
            self.push(context)
            self.push(record)
        return self.call(*windows)

    def apc(self, *windows: str) -> WineThread:
        """An APC is delivered to the code that waits in a system call, or runs."""
        self.frames.append((self.pc, self.sp))
        context = (self.sp - 0x600) & -64
        self._write_context(context)
        self.sp = context - self.era.apc_context
        self._start("KiUserApcDispatcher")
        return self.call(*windows)

    def _start(self, name: str) -> None:
        sp = self.sp
        self._scramble()
        self.sp = sp
        self.kinds.append("windows")
        self.function = self.process.ntdll[name]
        self.registers[self.pc_name] = self.function.after_call(2)

    def _write_context(self, context: int) -> None:
        wide = self.era.bits == 64
        flags, cs = (0x10001F, 0x33) if wide else (0x1001F, 0x23)
        self.process.write(context + self.era.context["flags"], struct.pack("<I", flags))
        self.process.write(context + self.era.context["cs"], struct.pack("<H", cs))
        for name, offset in self.era.context.items():
            if name in self.registers:
                self.store(context + offset, self.registers[name])

    def signal(self, *unix: str) -> WineThread:
        """A signal whose handler runs on the thread's signal stack: `unix`, in turn."""
        self.frames.append((self.pc, self.sp))
        trampoline = self.process.ntdll_so["restore_rt"].address
        low, high = self.stacks.signal
        top = (high - 0x600) & -64
        if self.era.bits == 64:
            for at, name in enumerate(SIGNAL_FRAME_64):
                self.store(top + 40 + 8 * at, self.registers.get(name, 0))
            # The selectors cs and ss, gs and fs between them, behind the flags.
            self.store(top + 40 + 8 * (len(SIGNAL_FRAME_64) + 1), 0x2B_0000_0000_0033)
            self.process.write(top + 16, struct.pack("<QQQ", low, 0, high - low))
        else:
            for name, offset in SIGNAL_FRAME_32.items():
                self.store(top + 160 + offset, self.registers[name])
            for offset in (8, 12):  # es, ds
                self.store(top + 160 + offset, 0x2B)
            self.process.write(top + 148, struct.pack("<III", low, 0, high - low))
        self.frames.append((trampoline, top))
        self.kinds.append("signal")
        self._scramble()
        self.sp = top
        self.push(trampoline)
        names = unix or ("handler",)
        self._enter(self.process.function(names[0]))
        return self.call(*names[1:])

    # --- outcome ----------------------------------------------------------------------

    def expected(self) -> list[tuple[int, int]]:
        """(pc, sp) of every frame, the innermost first."""
        return [(self.pc, self.sp), *reversed(self.frames)]

    def segments(self) -> list[str]:
        """The kinds of the stack's parts, the innermost first."""
        return list(reversed(self.kinds))
