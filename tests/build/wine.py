"""A made-up Wine process of any release: modules, TEBs, stacks, system call frames.

    process = WineProcess(Era("7.0"))
    thread = process.thread().call("main", "recurse").syscall("NtWaitForSingleObject")
    data = process.core().build()
    thread.expected()  # (pc, sp) of the frames that a walk has to find

Nothing of it is taken from the project's own tables.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence

from tests.build.core import AT_PAGESZ, Core
from tests.build.wine_code import Function, Module, UnixModule, WindowsModule
from tests.build.wine_dispatcher import Dispatcher, dispatcher
from tests.build.wine_eras import Era, TebOffsets
from tests.build.wine_thread import Stacks, WineThread

DISPATCHER_POINTER = 0x7FFE1000
WINDOWS_STACK, UNIX_STACK, GUARD = 0x10000, 0x8000, 0x2000
_NT_386_TLS = 0x200
_TEB_BLOCK = 0x10000
_UNIX_FUNCTIONS = {
    # Each needs a register of the caller's to find its caller's frame.
    "unix NtWaitForSingleObject": "fixed", "unix NtUserGetMessage": "rbx",
    "unix NtCreateWindow": "r15", "unix call": "r13", "server_wait": "fixed", "read": "fixed",
    "KeUserModeCallback": "rbx", "send_message": "r12", "handler": "fixed", "wait_suspend": "rbp",
    "call_user_mode_callback": "rbp",
    "start_thread": "root", "unix generated": "bare",
}  # fmt: skip
_WINDOWS_FUNCTIONS = {
    "main": "fixed", "recurse": "rbp", "work": "r12", "window_procedure": "rsi", "odd": "rdi",
    "deep": "r15", "filter": "r14", "unix_caller": "rbx", "plain": "fixed", "generated": "bare",
}  # fmt: skip
_NTDLL_FUNCTIONS = {
    "LdrInitializeThunk": "fixed", "RtlUserThreadStart": "root", "dispatch_exception": "r13",
    "KiUserExceptionDispatcher": "machine", "KiUserApcDispatcher": "machine",
}  # fmt: skip
_STUBS = ("NtWaitForSingleObject", "NtUserGetMessage", "NtCreateWindow")
_NARROW = {"r12": "ebx", "r13": "esi", "r14": "edi", "r15": "ebx"}


class Block:
    """A mapping."""

    def __init__(self, address: int, data: bytearray, flags: str) -> None:
        self.address, self.data, self.flags = address, data, flags

    @property
    def end(self) -> int:
        return self.address + len(self.data)


class WineProcess:
    """A process in the making. `label` is what Wine calls its version, None if that is what it
    is; `by_teb_pointer` as for `dispatcher`. Without `pointers` nothing says where that is.
    `hidden` are functions that ntdll.dll does not export.

    `threads` of the made-up kind are in `threads`, others' registers in `natives`.
    """

    def __init__(
        self,
        era: Era,
        *,
        label: str | None = None,
        by_teb_pointer: bool = False,
        pointers: bool = True,
        hidden: Sequence[str] = (),
    ) -> None:
        self.era = era
        self.threads: list[WineThread] = []
        self.natives: list[tuple[int, dict[str, int]]] = []
        self.pointers = pointers
        self.blocks: list[Block] = []
        self._starts: list[int] = []
        wide = era.bits == 64
        self.syscall_dispatcher: Dispatcher = dispatcher(era, by_teb_pointer=by_teb_pointer)
        self.unix_dispatcher: Dispatcher | None = None
        if era.has_unix_calls:
            self.unix_dispatcher = dispatcher(era, unix_call=True, by_teb_pointer=by_teb_pointer)
        self._add_modules(f"wine-{label or era.version}".encode() + b"\0", wide)
        self.ntdll.hidden = set(hidden)
        for module in self.modules:
            for address, data, flags in module.parts():
                self.block(address, data, flags)
        self.first_teb = 0x7FFD_0000 if wide else 0x3FFE_0000
        self.peb = self.first_teb + _TEB_BLOCK
        self.block(self.peb, bytes(0x10000))
        if pointers:
            self._set_pointers(wide)
        self.fill_peb(self.peb, era.word, [self.program, self.ntdll])

    # --- memory -----------------------------------------------------------------------

    def block(self, address: int, data: bytes, flags: str = "rw") -> Block:
        made = Block(address, bytearray(data), flags)
        at = bisect_right(self._starts, address)
        self.blocks.insert(at, made)
        self._starts.insert(at, address)
        return made

    def block_at(self, address: int) -> Block:
        at = bisect_right(self._starts, address) - 1
        if at < 0 or address >= self.blocks[at].end:
            raise LookupError(f"nothing at 0x{address:x}")
        return self.blocks[at]

    def write(self, address: int, data: bytes) -> None:
        block = self.block_at(address)
        at = address - block.address
        if at + len(data) > len(block.data):
            raise LookupError(f"0x{address:x} is too near to its mapping's end")
        block.data[at : at + len(data)] = data

    def read(self, address: int, size: int) -> bytes:
        block = self.block_at(address)
        at = address - block.address
        return bytes(block.data[at : at + size])

    def store(self, address: int, value: int) -> None:
        size = self.era.word
        self.write(address, (value & ((1 << 8 * size) - 1)).to_bytes(size, "little"))

    def load(self, address: int) -> int:
        return int.from_bytes(self.read(address, self.era.word), "little")

    # --- modules ----------------------------------------------------------------------

    def _add_modules(self, strings: bytes, wide: bool) -> None:
        word = self.era.word
        kind = "x86_64" if wide else "i386"
        root = "/nonexistent/wine"
        self.ntdll_so = UnixModule(
            "ntdll.so", f"{root}/{kind}-unix/ntdll.so", 0x7F12_3400_0000 if wide else 0xF740_0000,
            word, strings,
        )  # fmt: skip
        self.ntdll = WindowsModule(
            "ntdll.dll", f"{root}/{kind}-windows/ntdll.dll",
            0x1_7000_0000 if wide else 0x7BC0_0000, word,
            ["__wine_syscall_dispatcher", "__wine_unix_call_dispatcher"],
        )  # fmt: skip
        self.program = WindowsModule(
            "app.exe", "", 0x1_4000_0000 if wide else 0x40_0000, word
        )
        self.modules: list[Module] = [self.ntdll_so, self.ntdll, self.program]

        def fitting(kind: str) -> str:
            if wide or kind in ("fixed", "bare", "root"):
                return kind
            return _NARROW.get(kind, f"e{kind[1:]}")

        unix = self.ntdll_so
        self._add_dispatchers(unix)
        for name, frame in _UNIX_FUNCTIONS.items():
            unix.add(name, fitting(frame))
        unix.add("restore_rt", "leaf", bytes.fromhex(
            "48c7c00f0000000f05" if wide else "b8ad000000cd80"))  # fmt: skip
        # The first function of a module may not be what a wrong pointer to its start finds.
        self.ntdll.add("RtlFirst")
        for name, frame in _NTDLL_FUNCTIONS.items():
            self.ntdll.add(name, frame if frame == "machine" else fitting(frame))
        machine = wide and self.era.entry == "machine"
        self.ntdll.add("KiUserCallbackDispatcher", "machine" if machine else "fixed")
        self.ntdll.add("behind", fitting("rsi"))  # the callback dispatcher: not exported, say
        for number, name in enumerate(_STUBS):
            kind = "empty" if wide and self.era.new_exceptions else "leaf"
            self.ntdll.add(name, kind, self._stub(number))
        for name, frame in _WINDOWS_FUNCTIONS.items():
            self.program.add(name, fitting(frame))

    def _add_dispatchers(self, unix: UnixModule) -> None:
        made = [("dispatcher", self.syscall_dispatcher)]
        if self.unix_dispatcher is not None:
            made.append(("unix dispatcher", self.unix_dispatcher))
        for name, each in made:
            # The real ones are not at their library's start either.
            unix.add(f"before {name}")
            unix.add(name, "raw", each.code, size=0x200)
            unix.rules[name] = each.rules

    def _stub(self, number: int) -> bytes:
        if self.era.bits == 64:
            return (
                b"\x4c\x8b\xd1\xb8" + struct.pack("<I", number)
                + bytes.fromhex("f604250803fe7f0175030f05c3eb01c3ff14250010fe7fc3")
            )  # fmt: skip
        return b"\xb8" + struct.pack("<I", number) + b"\xba\0\0\0\0\xff\xd2\xc2\x08\x00"

    def function(self, name: str) -> Function:
        for module in (self.program, self.ntdll, self.ntdll_so):
            if name in module.functions:
                return module.functions[name]
        raise KeyError(name)

    def function_at(self, address: int) -> Function:
        for module in self.modules:
            for each in module.functions.values():
                if each.address <= address < each.address + each.size:
                    return each
        raise LookupError(f"no function at 0x{address:x}")

    # --- what Wine keeps --------------------------------------------------------------

    @property
    def dispatcher_address(self) -> int:
        return self.ntdll_so["dispatcher"].address

    def _set_pointers(self, wide: bool) -> None:
        variables = self.ntdll.variables
        self.store(
            self.ntdll.base + variables["__wine_syscall_dispatcher"], self.dispatcher_address
        )
        if self.unix_dispatcher is not None:
            at = self.ntdll.base + variables["__wine_unix_call_dispatcher"]
            self.store(at, self.ntdll_so["unix dispatcher"].address)
        if wide:
            self.block(DISPATCHER_POINTER, bytes(0x1000))
            self.store(DISPATCHER_POINTER, self.dispatcher_address)

    def fill_peb(self, peb: int, word: int, modules: Sequence[Module]) -> None:
        """A PEB and the loader's list: all in one page. The program comes first."""
        offsets = TebOffsets(word)

        def store(address: int, value: int) -> None:
            self.write(address, value.to_bytes(word, "little"))

        ldr = peb + 0x800
        store(peb + offsets.image_base, modules[0].base)
        store(peb + offsets.ldr, ldr)
        head = ldr + offsets.head
        entries = [ldr + 0x80 * (at + 1) for at in range(len(modules))]
        names = ldr + 0x400
        for previous, at in zip([head, *entries], [*entries, head], strict=True):
            store(previous, at)
        for at, module in zip(entries, modules, strict=True):
            store(at + offsets.entry_base, module.base)
            self.write(at + offsets.entry_size, struct.pack("<I", module.size))
            for field, text in zip(
                offsets.entry_names, (f"C:\\{module.name}", module.name), strict=True
            ):
                raw = text.encode("utf-16-le")
                self.write(at + field, struct.pack("<HH", len(raw), len(raw)))
                store(at + field + word, names)
                self.write(names, raw)
                names += 0x40

    def thread(self, *, stacks: Stacks | None = None) -> WineThread:
        """A thread in `RtlUserThreadStart`."""
        index = len(self.threads)
        teb = self.first_teb - _TEB_BLOCK * index + (0x2000 if self.era.bits == 32 else 0)
        block = self.block(teb & -_TEB_BLOCK, bytes(_TEB_BLOCK))
        if stacks is None:
            stacks = self._stacks(index, block)
        era, offsets = self.era, self.era.teb
        for slot, value in era.decoys.items():
            self.store(teb + slot, value)
        fields = {
            offsets.stack_base: stacks.windows[1], offsets.stack_limit: stacks.windows[0] + GUARD,
            offsets.allocation: stacks.windows[0], offsets.self: teb, offsets.peb: self.peb,
            offsets.pid: 0x20, offsets.tid: 0x24 + 4 * index,
        }  # fmt: skip
        if era.bits == 32 and self.pointers:
            fields[offsets.dispatcher] = self.dispatcher_address
        if era.kernel_stack is not None:
            fields[era.kernel_stack] = stacks.unix[0]
        for offset, value in fields.items():
            self.store(teb + offset, value)
        if era.placement == "block":
            self.store(stacks.signal[0] & -_TEB_BLOCK, teb)
        made = WineThread(self, index, teb, stacks)
        self.threads.append(made)
        return made

    def _stacks(self, index: int, teb_block: Block) -> Stacks:
        """Places as the release has them; where it joins mappings, they are joined."""
        wide = self.era.bits == 64
        base = (0x62_0000 if not wide else 0x1000_0000) + 0x10_0000 * index
        signal = (teb_block.address + 0x3800, teb_block.end)
        if self.era.placement == "above":
            self.block(base, bytes(WINDOWS_STACK + UNIX_STACK))
            windows = base, base + WINDOWS_STACK
            return Stacks(windows, (windows[1], windows[1] + UNIX_STACK), signal)
        if self.era.placement == "own":
            # The Unix stack lies below the Windows stack, and the kernel makes one of both.
            self.block(base, bytes(UNIX_STACK + WINDOWS_STACK))
            unix = base, base + UNIX_STACK
            return Stacks((unix[1], unix[1] + WINDOWS_STACK), unix, signal)
        data = (0x1_0000_0000 if wide else 0x5000_0000) + 0x11_0000 * index
        self.block(data, bytes(0x10000 + UNIX_STACK))
        self.block(base, bytes(WINDOWS_STACK))
        return Stacks(
            (base, base + WINDOWS_STACK),
            (data + 0x10000, data + 0x10000 + UNIX_STACK),
            (data + 0x860, data + 0x10000),
        )

    def native(self, registers: dict[str, int], tid: int | None = None) -> int:
        """A thread that Wine knows nothing of. Its index among all threads."""
        self.natives.append((tid or 5000 + len(self.natives), registers))
        return len(self.threads) + len(self.natives) - 1

    # --- the core ---------------------------------------------------------------------

    def core(self, *, order: Sequence[int] | None = None, without: Sequence[Module] = ()) -> Core:
        """The core: threads in `order`, natives last. The code of modules in `without` is left
        out, as the kernel does with pages of files that nobody wrote to."""
        core = Core("x86_64" if self.era.bits == 64 else "i386")
        for position, index in enumerate(order or range(len(self.threads))):
            thread = self.threads[index]
            self._status(core, thread.tid, thread.registers, thread.gs_base, 11 * (not position))
            if not position:
                core.process(thread.tid, "app.exe", "app.exe")
                core.signal_info(11, 1, 8)
                core.auxv({AT_PAGESZ: 4096})
                core.files(self.files())
        for tid, registers in self.natives:
            self._status(core, tid, registers, registers.get("gs_base", 0), 0)
        left_out = {address for module in without for address, _, _ in module.parts()}
        for block in self.blocks:
            held = b"" if block.address in left_out else bytes(block.data)
            core.load(block.address, held, memsz=len(block.data), flags=block.flags)
        return core

    def _status(
        self, core: Core, tid: int, registers: dict[str, int], teb: int, signal: int
    ) -> None:
        registers = {name: registers[name] for name in registers if name != "gs_base"}
        if self.era.bits == 64:
            core.thread(tid, {**registers, "gs_base": teb, "cs": 0x33}, signal=signal)
            return
        core.thread(tid, {**registers, "fs": 0x6B, "gs": 0x63, "cs": 0x23}, signal=signal)
        if teb:
            entries = (12, 0x1234, 0xFFFFF, 0x51, 13, teb, 0xFFF, 0x51, 14, 0, 0, 0x28)
            core.note("LINUX", _NT_386_TLS, struct.pack("<12I", *entries))

    def files(self) -> list[tuple[int, int, int, str]]:
        """NT_FILE: a library whole, of Wine's PE modules the headers, nothing of the program."""
        unix = self.ntdll_so
        return [
            (unix.base, unix.base + unix.size, 0, unix.path),
            (self.ntdll.base, self.ntdll.base + 0x1000, 0, self.ntdll.path),
        ]
