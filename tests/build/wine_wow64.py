"""A made-up process of new-style WoW64: 32-bit Windows code in a 64-bit process.

    process = Wow64Process("10.0")
    thread = process.thread().call32("main", "recurse").syscall32("NtWaitForSingleObject")

wow64cpu.dll parks the 64-bit stack pointer in r14 while 32-bit code runs, and the 32-bit one
while it does not. `named`: the loader's lists have these modules too.
"""

from __future__ import annotations

import struct

from tests.build.unwind_info import alloc, push, unwind_info
from tests.build.wine import WineProcess
from tests.build.wine_code import FIXED, PE_64, Function, WindowsModule
from tests.build.wine_eras import CONTEXT_32, Era, TebOffsets
from tests.build.wine_thread import Stacks, WineThread

VERSIONS = ("9.0", "9.3", "10.9", "11.8")
STACK_32 = 0x20000
CPU_AREA = 0x1488  # TlsSlots[1]
_SAVED = ("rbp", "rbx", "rsi", "rdi")
_PUSHED = 0x28
# Instructions of syscall_32to64 and unix_call_32to64: name, code.
ENTRY = (
    ("xchg", "4c87f4"), ("save edi", "4189bd9c000000"), ("save esi", "4189b5a0000000"),
    ("save ebx", "41899da4000000"), ("save ebp", "4189adb4000000"), ("load eip", "418b16"),
    ("save eip", "418995b8000000"), ("pushf", "9c"), ("popf", "5a"),
    ("save flags", "418995c0000000"), ("load esp", "498d5604"), ("save esp", "418995c4000000"),
)  # fmt: skip
UNIX_ENTRY = (*ENTRY[:7], ("load esp", "498d5614"), ENTRY[-1])
EXIT = (
    ("restore edi", "418bbd9c000000"), ("restore esi", "418bb5a0000000"),
    ("restore ebx", "418b9da4000000"), ("restore ebp", "418badb4000000"),
    ("take eip", "418b95b8000000"), ("park eip", "891424"), ("take esp", "458bb5c4000000"),
    ("xchg back", "4c87f4"), ("ljmp", "41ff2e"),
)  # fmt: skip


class Wow64Process(WineProcess):
    """`ntdll32`, `program32`: 32-bit modules. `functions32` are theirs by name."""

    def __init__(self, version: str, *, named: bool = True) -> None:
        super().__init__(Era(version, 64))
        self.peb32 = self.peb + 0x1000
        if named:
            self.fill_peb(self.peb, 8, [self.program, self.ntdll, self.wow64, self.cpu])
            self.fill_peb(self.peb32, 4, self.made32)
        self.thunk = self.cpu.base + 0x4000
        jump = self.cpu.base + 0x4100
        self.write(self.thunk, b"\xff\x2d" + struct.pack("<I", jump))
        self.write(jump, struct.pack("<IH", self.cpu["syscall_32to64"].address, 0x33))

    def _add_modules(self, strings: bytes, wide: bool) -> None:
        super()._add_modules(strings, wide)
        self.wow64 = WindowsModule("wow64.dll", "", 0x6FFF_FE00_0000, 8)
        for name, kind in (
            ("Wow64LdrpInitialize", "rbp"), ("cpu_simulate", "fixed"),
            ("Wow64SystemServiceEx", "rbx"), ("wow64_NtWait", "r15"), ("wow64win_callback", "rsi"),
            ("Wow64KiUserCallbackDispatcher", "rdi"),
        ):  # fmt: skip
            self.wow64.add(name, kind)
        self.cpu = WindowsModule("wow64cpu.dll", "", 0x7B2C_0000, 8)
        self.cpu.has_code_in_data = True
        codes = [alloc(0, _PUSHED), *(push(0, PE_64[name]) for name in reversed(_SAVED))]
        for name, entry in (("syscall_32to64", ENTRY), ("unix_call_32to64", UNIX_ENTRY)):
            code = b"".join(bytes.fromhex(each) for _, each in entry)
            code += b"\x90" * (-len(code) % 5) + b"\xe8\0\0\0\0"
            self.sizes = getattr(self, "sizes", {}) | {name: len(code)}
            code += b"".join(bytes.fromhex(each) for _, each in EXIT)
            self.cpu.add(name, "raw", code)
            self.cpu.unwind[name] = unwind_info(codes)
        self.cpu.add("BTCpuSimulate", "raw")
        self.cpu.unwind["BTCpuSimulate"] = unwind_info(codes)
        self.ntdll32 = WindowsModule("ntdll.dll", "", 0x7BC0_0000, 4)
        self.program32 = WindowsModule("app32.exe", "", 0x40_0000, 4)
        for name, kind in (
            ("RtlUserThreadStart", "fixed"), ("KiUserCallbackDispatcher", "ebp"),
            ("KiUserApcDispatcher", "fixed"), ("KiUserExceptionDispatcher", "fixed"),
        ):  # fmt: skip
            self.ntdll32.add(name, kind)
        stub = bytes.fromhex("b800000000ba00000000ffd2c20800")
        self.ntdll32.add("NtWaitForSingleObject", "leaf", stub)
        self.ntdll32.add("unix_caller", "esi")
        for name, kind in (
            ("main", "fixed"), ("recurse", "ebp"), ("work", "ebx"), ("odd", "edi"),
            ("deep", "esi"),
        ):  # fmt: skip
            self.program32.add(name, kind)
        self.made32 = [self.ntdll32, self.program32]
        self.modules += [self.wow64, self.cpu, *self.made32]

    def function32(self, name: str) -> Function:
        for module in self.made32:
            if name in module.functions:
                return module.functions[name]
        raise KeyError(name)

    def function(self, name: str) -> Function:
        for module in (self.wow64, self.cpu):
            if name in module.functions:
                return module.functions[name]
        return super().function(name)

    def thread(self, *, stacks: Stacks | None = None) -> Wow64Thread:
        made = super().thread(stacks=stacks)
        thread = Wow64Thread.__new__(Wow64Thread)
        thread.__dict__.update(made.__dict__)
        self.threads[-1] = thread
        thread.begin()
        return thread


class Wow64Thread(WineThread):
    """Begins in 32-bit code, in `RtlUserThreadStart`. `esp` is where that will go on."""

    process: Wow64Process

    def begin(self) -> None:
        offsets = TebOffsets(4)
        self.teb32 = self.teb + 0x2000
        low = 0x80_0000 + 0x4_0000 * self.index
        self.process.block(low, bytes(STACK_32))
        self.stack32 = low, low + STACK_32
        for offset, value in (
            (offsets.self, self.teb32), (offsets.stack_base, low + STACK_32),
            (offsets.stack_limit, low), (offsets.allocation, low),
            (offsets.peb, self.process.peb32), (offsets.dispatcher, self.process.thunk),
            (offsets.tid, 0x24 + 4 * self.index),
        ):  # fmt: skip
            self.process.write(self.teb32 + offset, struct.pack("<I", value))
        self.process.write(self.teb + TebOffsets(8).wow, struct.pack("<i", 0x2000))
        # The area lies behind the TEBs here: nothing tells where it has to be.
        self.area = self.teb + 0x3000
        self.store(self.teb + CPU_AREA, self.area)
        self.process.write(self.area, struct.pack("<HH", 0, 0x14C))
        self.esp = self.stack32[1] - 0x40
        self.call("Wow64LdrpInitialize")
        self.simulate("RtlUserThreadStart")

    # --- 32-bit code ------------------------------------------------------------------

    def push32(self, value: int) -> None:
        self.sp -= 4
        self.process.write(self.sp, struct.pack("<I", value & 0xFFFF_FFFF))

    def simulate(self, name: str) -> Wow64Thread:
        """64-bit code starts 32-bit code: a function that returns to nowhere."""
        self.call("cpu_simulate")
        # Never to be brought back: wow64cpu.dll does not return.
        self.registers |= {"r12": self.teb, "r13": self.area + 4, "r14": 0x77}
        self._call(self.process.cpu["BTCpuSimulate"])
        for each in _SAVED:
            self.push(self.registers[each])
        self.sp -= _PUSHED
        self.registers["r14"] = self.sp
        self.sp = self.esp
        for each in ("rbx", "rsi", "rdi"):
            self.registers[each] = 0x5EED
        self.registers["rbp"] = 0
        self.kinds.append("windows")
        self.push32(0)
        self._enter32(self.process.ntdll32[name])
        return self

    def _enter32(self, function: Function) -> None:
        register = f"r{function.kind[1:]}"
        if register in self.registers:
            self.push32(self.registers[register])
            self.registers[register] = self.sp
            self.sp -= 0x20
        elif function.kind == "fixed":
            self.sp -= FIXED[4]
        self.function = function
        self.registers[self.pc_name] = function.after_call(2)

    def call32(self, *names: str) -> Wow64Thread:
        for name in names:
            self._call32(self.process.function32(name))
        return self

    def _call32(self, function: Function) -> None:
        assert self.function is not None
        self.calls += 1
        back = self.function.after_call(1 + self.calls % 7)
        self.frames.append((back, self.sp))
        self.push32(back)
        self._enter32(function)

    # --- from 32-bit code into 64-bit code --------------------------------------------

    def enter64(self, name: str, stop: str | None = None) -> Wow64Thread:
        """32-bit code jumps to `name` of wow64cpu.dll; `stop`: before that instruction."""
        function = self.process.cpu[name]
        entry = ENTRY if name == "syscall_32to64" else UNIX_ENTRY
        at = function.address
        self.esp = self.sp
        eip = int.from_bytes(self.process.read(self.sp, 4), "little")
        popped = 4 if name == "syscall_32to64" else 0x14
        for step, code in entry:
            self.registers[self.pc_name] = at
            if step == stop:
                if step != "xchg":
                    self.kinds.append("windows")
                return self
            if step == "xchg":
                self._exchange()
            elif step in ("pushf", "popf"):
                self.sp += -8 if step == "pushf" else 8
            at += len(bytes.fromhex(code))
        for each, value in (
            ("edi", self.registers["rdi"]), ("esi", self.registers["rsi"]),
            ("ebx", self.registers["rbx"]), ("ebp", self.registers["rbp"]), ("eip", eip),
            ("esp", self.esp + popped),
        ):  # fmt: skip
            place = self.area + 4 + CONTEXT_32[each]
            self.process.write(place, struct.pack("<I", value & 0xFFFF_FFFF))
        self.kinds.append("windows")
        self.function = function
        return self

    def _exchange(self) -> None:
        self.registers["r14"], self.sp = self.sp, self.registers["r14"]

    def _call_out(self, first: str | Function) -> None:
        """The call in the middle of syscall_32to64."""
        assert self.function is not None
        function = first if isinstance(first, Function) else self.process.function(first)
        back = self.function.address + self.process.sizes[self.function.name]
        self.frames.append((back, self.sp))
        self.push(back)
        self._enter(function)

    def syscall32(
        self, *wow64: str, stop: str | None = None, leave: str | None = None, serve: bool = True
    ) -> Wow64Thread:
        """A system call of 32-bit code: through wow64.dll, to Unix code.

        `stop`: only up to that instruction of wow64cpu.dll; `leave`: on the way back.
        """
        stub = self.process.ntdll32["NtWaitForSingleObject"]
        self._call32(stub)
        entered = self.sp
        back = stub.address + 0x0C
        self.push32(back)
        self.frames.append((back, entered))
        self.enter64("syscall_32to64", stop)
        if leave is not None:
            return self.go_back32(leave)
        if stop is not None:
            return self
        self._call_out("Wow64SystemServiceEx")
        self.call(*(wow64 or ("wow64_NtWait",)))
        if serve:
            self.syscall("NtWaitForSingleObject")
        return self

    def unix_call32(self, stop: str | None = None) -> Wow64Thread:
        """A call of a Unix library by 32-bit code."""
        assert self.function is not None
        self.calls += 1
        back = self.function.after_call(1 + self.calls % 7)
        # As everywhere: with its arguments on the stack.
        self.frames.append((back, self.sp + 0x10))
        self.push32(back)
        self.enter64("unix_call_32to64", stop)
        if stop is not None:
            return self
        function = self.process.cpu["unix_call_32to64"]
        site = function.address + self.process.sizes["unix_call_32to64"]
        entered = self.sp
        self.push(site)
        assert self.process.unix_dispatcher is not None
        self._run(self.process.unix_dispatcher, "unix dispatcher", (site, entered), site, None)
        self._call_unix("unix call")
        return self

    def go_back32(self, stop: str) -> Wow64Thread:
        """Leaves wow64cpu.dll again: before that instruction of its way out."""
        name = "syscall_32to64"
        function = self.process.cpu[name]
        at = function.address + self.process.sizes[name]
        context = self.area + 4
        for step, code in EXIT:
            self.registers[self.pc_name] = at
            if step == stop:
                break
            register = step.removeprefix("restore e")
            if register != step:
                raw = self.process.read(context + CONTEXT_32[f"e{register}"], 4)
                self.registers[f"r{register}"] = int.from_bytes(raw, "little")
            elif step == "park eip":
                raw = self.process.read(context + CONTEXT_32["eip"], 4)
                self.process.write(self.sp, raw)
            elif step == "take esp":
                raw = self.process.read(context + CONTEXT_32["esp"], 4)
                self.registers["r14"] = int.from_bytes(raw, "little")
            elif step == "xchg back":
                self._exchange()
                self.kinds.pop()
            at += len(bytes.fromhex(code))
        return self

    # --- callbacks --------------------------------------------------------------------

    def callback32(self, *names: str) -> Wow64Thread:
        """Unix code calls back, 64-bit code of wow64.dll goes on in 32-bit code."""
        self.callback("wow64win_callback", "Wow64KiUserCallbackDispatcher")
        self.esp -= 0x100
        self.simulate("KiUserCallbackDispatcher")
        return self.call32(*names)
