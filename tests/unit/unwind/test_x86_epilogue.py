"""Frames of 32-bit Windows code that is about to return."""

from __future__ import annotations

import pytest

from tests.unit.unwind.spaces import ARCHES, CODE, STACK, call_at, region, words
from unspool.arch.x86 import EAX, EBP, EBX, EDI, EIP, ESI, ESP
from unspool.memory import Memory
from unspool.model import Module, Trust
from unspool.space import AddressSpace
from unspool.unwind.step import Found, Missed, Query
from unspool.unwind.strategies.order import default_stepper
from unspool.unwind.strategies.x86_epilogue import X86Epilogue

X86 = ARCHES["i386"]
WINDOWS = 0x1000_0000
CALL = b"\xe8\0\0\0\0"


def space(code: str, *stack: int, kind: str = "pe") -> AddressSpace:
    """Windows code at WINDOWS, calls at CODE, a stack."""
    raw = bytes.fromhex(code.replace(" ", ""))
    memory = Memory(
        [
            region(CODE, CALL * 40, executable=True),
            region(WINDOWS, raw, executable=True),
            region(STACK, words(X86, *stack), writable=True),
        ]
    )
    module = Module(0, "game.exe", WINDOWS, WINDOWS + 0x1000, kind=kind)
    return AddressSpace(X86, memory, [module], lambda _: None)


def query(pc: int, exact: bool = True, **registers: int) -> Query:
    values: list[int | None] = list(range(0x100, 0x109))
    values[EIP], values[ESP] = pc, STACK
    for name, value in registers.items():
        values[X86.register_names.index(name)] = value
    return Query(pc, exact, values, None, above=STACK)


def ask(made: AddressSpace, asked: Query) -> Found | Missed:
    return X86Epilogue(made).answer(asked)


def test_a_system_call_stub() -> None:
    # mov $0xdf,%eax; mov $stub,%edx; call *%edx; ret $12 — the kernel's frame says esp.
    made = space("b8df000000 ba20c6c07b ffd2 c20c00", call_at("i386", 3), 1, 2, 3)
    found = ask(made, query(WINDOWS + 12, exact=False))
    assert isinstance(found, Found)
    assert found.trust == Trust.LEAF
    assert found.registers[EIP] == call_at("i386", 3)
    assert found.registers[ESP] == STACK + 4
    assert (found.registers[EBX], found.registers[EBP]) == (0x103, 0x105)
    assert found.registers[EAX] is None


def test_registers_are_popped() -> None:
    made = space("83c408 5b 5e 5f 5d c3", 0, 0, 0x11, 0x12, 0x13, 0x14, call_at("i386", 2))
    found = ask(made, query(WINDOWS))
    assert isinstance(found, Found)
    values = found.registers
    assert (values[EBX], values[ESI], values[EDI], values[EBP]) == (0x11, 0x12, 0x13, 0x14)
    assert values[EIP] == call_at("i386", 2)
    assert values[ESP] == STACK + 28


def test_the_frame_pointer_leads_where_the_stack_pointer_does_not() -> None:
    made = space("ffd0 c9 c3", 0, 0, 0, 0x77, call_at("i386", 2))
    found = ask(made, query(WINDOWS + 2, exact=False, ebp=STACK + 12))
    assert isinstance(found, Found)
    assert (found.registers[EBP], found.registers[ESP]) == (0x77, STACK + 20)


def test_a_realigned_stack_is_restored_from_the_register_that_was_popped() -> None:
    made = space("ffd0 59 5d 8d61fc c3", STACK + 20, 0x55, 0, 0, call_at("i386", 2))
    found = ask(made, query(WINDOWS + 2))
    assert isinstance(found, Found)
    assert (found.registers[EBP], found.registers[ESP]) == (0x55, STACK + 20)
    # Behind a call it is not known where the stack pointer is, but for what ebp says.
    assert isinstance(ask(made, query(WINDOWS + 2, exact=False)), Missed)
    made = space("ffd0 8d65f8 59 5d 8d61fc c3", 0, STACK + 24, 0x55, 0, 0, call_at("i386", 2))
    found = ask(made, query(WINDOWS + 2, exact=False, ebp=STACK + 12))
    assert isinstance(found, Found)
    assert (found.registers[EBP], found.registers[ESP]) == (0x55, STACK + 24)


def test_what_is_popped_behind_a_call_may_be_an_argument() -> None:
    made = space("ffd0 5b c9 c3", 0x77, 0, 0x55, call_at("i386", 2))
    found = ask(made, query(WINDOWS + 2, exact=False, ebp=STACK + 8))
    assert isinstance(found, Found)
    assert found.registers[EBX] is None
    assert found.registers[EBP] == 0x55
    found = ask(made, query(WINDOWS + 2, ebp=STACK + 8))
    assert isinstance(found, Found)
    assert found.registers[EBX] == 0x77


@pytest.mark.parametrize("exact", [True, False])
def test_a_register_that_calls_change_is_known_of_the_innermost_frame_alone(exact: bool) -> None:
    made = space("ffd0 8d6104 c3", 0, 0, call_at("i386", 2))
    found = ask(made, query(WINDOWS + 2, exact=exact, ecx=STACK + 4))
    assert isinstance(found, Found) == exact


@pytest.mark.parametrize(
    ("code", "why"),
    [("31c0 c3", "more than return"), ("c3", "no call before"), ("5d c3", "no call before")],
)
def test_what_is_not_believed(code: str, why: str) -> None:
    # The words of the stack are arguments: the callee has taken them off it.
    missed = ask(space(code, 0x1234, 0x5678, call_at("i386", 1)), query(WINDOWS))
    assert isinstance(missed, Missed)
    assert why in missed.why


def test_only_windows_code_is_read_that_way() -> None:
    missed = ask(space("c3", call_at("i386", 3), kind="elf"), query(WINDOWS))
    assert isinstance(missed, Missed)
    names = [[each.name for each in default_stepper(space("c3", 0, kind=kind)).dynamic]
             for kind in ("elf", "pe")]  # fmt: skip
    assert "epilogue" not in names[0]
    assert "epilogue" in names[1]


def test_unknown_registers() -> None:
    asked = query(WINDOWS)
    asked.registers[EBP] = None
    missed = ask(space("c9 c3", 0, 0), asked)
    assert isinstance(missed, Missed)
    assert "is not known" in missed.why
