"""Made-up address spaces: code that is all calls, stacks of given words, rows by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.build.process import MACHINES
from unspool import arch as architectures
from unspool.arch.base import Arch
from unspool.memory import Memory, Region
from unspool.model import Stack, Thread, Trust
from unspool.space import AddressSpace
from unspool.unwind.rows import Row
from unspool.unwind.step import DynamicStrategy, Missed, Stepper, TableStrategy
from unspool.unwind.walk import walk

CODE, CODE_SIZE = 0x40_0000, 0x1000
STACK = 0x7000_0000

ARCHES: dict[str, Arch] = {}
_MACHINES = {"x86_64": (62, 2), "i386": (3, 1), "aarch64": (183, 2), "arm": (40, 1)}
for _name, _machine in _MACHINES.items():
    _arch = architectures.by_machine(*_machine)
    assert _arch is not None
    ARCHES[_name] = _arch
NAMES = tuple(ARCHES)


def region(start: int, data: bytes, **keywords: bool) -> Region:
    return Region(start, start + len(data), lambda: (data, 0, len(data)), **keywords)


def words(arch: Arch, *values: int) -> bytes:
    size = arch.pointer_size
    return b"".join((value & arch.mask).to_bytes(size, "little") for value in values)


def space(
    name: str, stack: bytes, *others: Region, entry_points: Sequence[int] = ()
) -> AddressSpace:
    """An executable page of nothing but calls, a stack, and other regions."""
    call = MACHINES[name].call
    code = (call * CODE_SIZE)[:CODE_SIZE]
    memory = Memory(
        [region(CODE, code, executable=True), region(STACK, stack, writable=True), *others]
    )
    return AddressSpace(ARCHES[name], memory, [], lambda _: None, entry_points)


def call_at(name: str, number: int) -> int:
    """The return address of the `number`-th call in the code."""
    return CODE + number * len(MACHINES[name].call)


class Table(TableStrategy):
    """Rows by look-up address."""

    name = "table"

    def __init__(self, rows: Mapping[int, Row]) -> None:
        self.rows = rows
        self.asked: list[int] = []

    def row(self, pc: int, lookup_pc: int) -> Row | Missed:
        self.asked.append(lookup_pc)
        return self.rows.get(lookup_pc) or Missed("not in the table")


def row(
    arch: Arch, offset: int, saved: Sequence[tuple[int, int]] | None = None, **keywords: object
) -> Row:
    """A row with the CFA `offset` above the stack pointer, the return address right below."""
    if saved is None:
        saved = [(arch.ra_column, -arch.pointer_size)]
    register = keywords.pop("cfa_register", arch.sp)
    return Row("table", Trust.CFI, arch, register, offset, saved, **keywords)  # type: ignore[arg-type]


def thread(arch: Arch, **registers: int) -> Thread:
    values: list[int | None] = [0] * len(arch.register_names)
    for name, value in registers.items():
        values[getattr(arch, name, None) or arch.register_names.index(name)] = value
    return Thread(0, 1, values)


def walk_table(
    made: AddressSpace,
    rows: Mapping[int, Row],
    first: Thread,
    dynamic: Sequence[DynamicStrategy] = (),
    **keywords: int,
) -> Stack:
    return walk(Stepper(made, [Table(rows)], dynamic), first, **keywords)
