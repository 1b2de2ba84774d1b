"""Wine's dispatchers as machine code, instruction by instruction, with what each one does.

A thread can be stopped before any of them. The order is that of the real ones: take the return
address off the stack, save the registers, change stacks, call, and all of that back again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Protocol

from tests.build import cfi
from tests.build import expression as e
from tests.build.wine_code import DWARF_32, DWARF_64, deref
from tests.build.wine_eras import Era


class Cpu(Protocol):
    """What instructions work on. `frame` is the address of the thread's newest frame."""

    registers: dict[str, int]
    frame: int

    def push(self, value: int) -> None: ...
    def pop(self) -> int: ...
    def load(self, address: int) -> int: ...
    def store(self, address: int, value: int) -> None: ...


Effect = Callable[[Cpu], None]


class Instruction:
    """`stage`: "entry" before the stacks change, "unix", "exit" once they have changed back."""

    def __init__(self, name: str, code: bytes, stage: str, effect: Effect | None = None) -> None:
        self.name = name
        self.code = code
        self.stage = stage
        self.effect = effect
        self.offset = 0


class Dispatcher:
    """The instructions of one, and their bytes. `call` is the index of the call."""

    def __init__(self, instructions: Sequence[Instruction], rules: Callable[..., bytes]) -> None:
        at = 0
        for each in instructions:
            each.offset = at
            at += len(each.code)
        self.instructions = list(instructions)
        self.code = b"".join(each.code for each in instructions)
        self.call = next(i for i, each in enumerate(instructions) if each.name == "call")
        self.rules = rules(self)

    def offset(self, name: str) -> int:
        return next(each.offset for each in self.instructions if each.name == name)

    @property
    def return_offset(self) -> int:
        """Where the call returns to."""
        return self.instructions[self.call + 1].offset


def dispatcher(era: Era, *, unix_call: bool = False, by_teb_pointer: bool = False) -> Dispatcher:
    """The dispatcher of a release. `by_teb_pointer`: it loads the TEB's address first, as
    Staging's does."""
    build = _x86_64 if era.bits == 64 else _i386
    return Dispatcher(
        build(era, unix_call, by_teb_pointer), lambda made: _rules(era, made, unix_call)
    )


# --- effects --------------------------------------------------------------------------


def _set(register: str, value: Callable[[Cpu], int]) -> Effect:
    def effect(cpu: Cpu) -> None:
        cpu.registers[register] = value(cpu)

    return effect


def _save(register: str, offset: int) -> Effect:
    return lambda cpu: cpu.store(cpu.frame + offset, cpu.registers[register])


def _pop_to(offset: int) -> Effect:
    return lambda cpu: cpu.store(cpu.frame + offset, cpu.pop())


def _frame(offset: int = 0) -> Callable[[Cpu], int]:
    return lambda cpu: cpu.frame + offset


def _field(offset: int) -> Callable[[Cpu], int]:
    return lambda cpu: cpu.load(cpu.frame + offset)


def _junk(cpu: Cpu) -> int:
    return 0x5EED


# --- x86-64 ---------------------------------------------------------------------------

_NUMBERS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi")


def _move(opcode: int, register: str, offset: int) -> bytes:
    """mov between a register and rcx + offset."""
    number = _NUMBERS.index(register) if register in _NUMBERS else int(register[1:])
    prefix = 0x4C if number >= 8 else 0x48
    if offset < 0x80:
        return bytes([prefix, opcode, 0x41 | (number & 7) << 3, offset])
    return bytes([prefix, opcode, 0x81 | (number & 7) << 3]) + struct.pack("<i", offset)


def _x86_64(era: Era, unix_call: bool, by_teb_pointer: bool) -> list[Instruction]:
    out: list[Instruction] = []
    stage = "entry"

    def add(name: str, code: str | bytes, effect: Effect | None = None) -> None:
        raw = bytes.fromhex(code) if isinstance(code, str) else code
        out.append(Instruction(name, raw, stage, effect))

    frame = era.frame
    if unix_call:
        add("keep rcx", "4989ca", _set("r10", lambda cpu: cpu.registers["rcx"]))
    if by_teb_pointer:
        add("load teb", "65488b0c2530000000", _set("rcx", _junk))
        add("load", _move(0x8B, "rcx", era.slot), _set("rcx", _frame()))
    else:
        add("load", b"\x65\x48\x8b\x0c\x25" + struct.pack("<i", era.slot), _set("rcx", _frame()))
    add("pop", "8f4170", _pop_to(0x70))
    if not unix_call:
        add("pushf", "9c", lambda cpu: cpu.push(0x246))
        add("popf", "8f8180000000", _pop_to(0x80))
    add("flags", b"\xc7\x81" + struct.pack("<ii", era.restore_flags, 0))
    saved = ["rbx", "rsi", "rdi", "r12", "r13", "r14", "r15", "rsp", "rbp"]
    if not unix_call:
        saved[:0] = ["rax", "rdx"]
    for name in saved:
        add(f"save {name}", _move(0x89, name, frame[name]), _save(name, frame[name]))
    if not unix_call:
        add("rewind", "488369700b", lambda cpu: cpu.store(cpu.frame + 0x70, _field(0x70)(cpu) - 11))
        if era.clears_fp:
            add("clear rbp", "4831ed", _set("rbp", lambda _: 0))
        add("set rbp", "488da998000000", _set("rbp", _frame(0x98)))
        if not era.ms_abi:
            for register, code in (("r12", "4c8b642428"), ("r13", "4c8b6c2430")):
                add(f"argument {register}", code, _set(register, _junk))
    add("switch", "4889cc", _set("rsp", _frame()))
    stage = "unix"
    if not unix_call and era.ms_abi:
        add("home space", "4883ec20", lambda cpu: cpu.registers.update(rsp=cpu.frame - 0x20))
    for register in ("rbx", "rcx", "r14"):
        # What the table of system calls is looked up with.
        add(f"clobber {register}", "90", _set(register, _junk))
    add("call", "41ff14d2" if unix_call else "41ff14c2")
    if unix_call:
        add("frame", "4889e1", _set("rcx", _frame()))
    else:
        add("frame", "488d8d68ffffff", _set("rcx", _frame()))
    _leave_64(add, era)
    stage = "exit"
    add("take rip", "488b4970", _set("rcx", _field(0x70)))
    if not unix_call and not era.ms_abi:
        add("push flags", "4153", lambda cpu: cpu.push(0x246))
        add("pop flags", "9d", lambda cpu: cpu.registers.update(rsp=cpu.registers["rsp"] + 8))
    add("push rip", "51", lambda cpu: cpu.push(cpu.registers["rcx"]))
    add("ret", "c3")
    return out


def _leave_64(add: Callable[[str, str | bytes, Effect | None], None], era: Era) -> None:
    frame = era.frame
    for name in ("rbp", "r15", "r14", "r13", "r12", "rdi", "rsi", "rbx"):
        add(f"restore {name}", _move(0x8B, name, frame[name]), _set(name, _field(frame[name])))
    if era.cfa_at is not None:
        add("into the frame", "488d6170", _set("rsp", _frame(0x70)))
    add("test", "f6c203", None)
    add("switch back", _move(0x8B, "rsp", 0x88), _set("rsp", _field(0x88)))


# --- i386 -----------------------------------------------------------------------------


def _i386(era: Era, unix_call: bool, by_teb_pointer: bool) -> list[Instruction]:
    out: list[Instruction] = []
    stage = "entry"

    def add(name: str, code: str | bytes, effect: Effect | None = None) -> None:
        raw = bytes.fromhex(code) if isinstance(code, str) else code
        out.append(Instruction(name, raw, stage, effect))

    if by_teb_pointer:
        add("load teb", "648b0d18000000", _set("ecx", _junk))
        add("load", b"\x8b\x89" + struct.pack("<i", era.slot), _set("ecx", _frame()))
    else:
        add("load", b"\x64\x8b\x0d" + struct.pack("<i", era.slot), _set("ecx", _frame()))
    add("flags", "66c741020000")
    add("pop", "8f4108", _pop_to(0x08))
    if unix_call:
        add("skip arguments", "8d542410")
        store = _set("edx", lambda cpu: cpu.registers["esp"] + 0x10)
        add("skip", "90", store)
        add("save esp", "89510c", _save("edx", 0x0C))
    else:
        add("pushf", "9c", lambda cpu: cpu.push(0x246))
        add("popf", "8f4104", _pop_to(0x04))
        add("save esp", "89610c", _save("esp", 0x0C))
    for name, code in (("ebx", "895920"), ("edi", "89792c"), ("esi", "897130"), ("ebp", "896934")):
        add(f"save {name}", code, _save(name, era.frame[name]))
    if unix_call:
        add("switch", "8d61f0", _set("esp", _frame(-0x10)))
    else:
        add("set ebp", "8d6934", _set("ebp", _frame(0x34)))
        add("argument", "8d742404", _set("esi", _junk))
        add("switch", "89cc", _set("esp", _frame()))
    stage = "unix"
    add("call", "ff1490")
    if unix_call:
        add("frame", "8d642410", _set("esp", _frame()))
        add("take eip", "8b4c2408", _set("ecx", _field(0x08)))
    else:
        add("frame", "8d65cc", _set("esp", _frame()))
        for name, code in (
            ("edi", "8b7c242c"), ("esi", "8b742430"), ("ebp", "8b6c2434"), ("ebx", "8b5c2420"),
        ):  # fmt: skip
            add(f"restore {name}", code, _set(name, _field(era.frame[name])))
        add("take eip", "8b4c2408", _set("ecx", _field(0x08)))
    add("switch back", "8b64240c", _set("esp", _field(0x0C)))
    stage = "exit"
    if era.returns_by_jump:
        add("jmp", "ffe1")
    else:
        add("push eip", "51", lambda cpu: cpu.push(cpu.registers["ecx"]))
        add("ret", "c3")
    return out


# --- unwind data ----------------------------------------------------------------------


def _rules(era: Era, made: Dispatcher, unix_call: bool) -> bytes:
    """What the release says where the return address is, while the Unix function runs."""
    if era.cfi == "none":
        return b""
    wide = era.bits == 64
    numbers = DWARF_64 if wide else DWARF_32
    bp, pc, sp = ("rbp", "rip", "rsp") if wide else ("ebp", "eip", "esp")
    base = 0x98 if wide else 0x34
    holder, back = numbers[bp], -base
    if unix_call:
        holder, back = numbers[sp], 0 if wide else 0x10
        if wide and era.cfi == "windows":
            holder = numbers["rcx"]  # of no use to whoever called: a call may change it
    if era.cfi == "windows":
        rules = cfi.def_cfa_expression(deref(holder, back + era.frame[sp]))
        for name in (*era.windows_saved, pc):
            where = e.breg(holder, back + era.frame[name])
            rules += cfi.expression(numbers[name], where)
    else:
        assert era.cfa_at is not None
        rules = cfi.def_cfa_expression(deref(holder, back + era.cfa_at)) + cfi.offset(
            numbers[pc], 1
        )
        for index, name in enumerate(_pushed(era), 2):
            rules += cfi.offset(numbers[name], index)
    return cfi.advance(made.offset("switch")) + rules


def _pushed(era: Era) -> tuple[str, ...]:
    """What callers of Windows code push, from the return address downwards (8.21 and later)."""
    if era.bits == 64:
        return ("rbp", "rbx", "r12", "r13", "r14", "r15")
    return ("ebp", "ebx", "esi", "edi")
