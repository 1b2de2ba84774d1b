"""Contexts of threads, as they are read again."""

from __future__ import annotations

import pytest

from tests.build import minidump_records as r
from unspool.formats.minidump import contexts
from unspool.formats.minidump.contexts import Context, ContextTable, parse_context
from unspool.model import Thread
from unspool.write.context import context

TABLES = {
    "x86": contexts.X86_TABLE,
    "amd64": contexts.AMD64_TABLE,
    "arm64": contexts.ARM64_TABLE,
    "arm64_old": contexts.ARM64_OLD_TABLE,
}


def again(cpu: str, table: ContextTable, thread: Thread) -> Context:
    return parse_context(context(table, thread, None, lambda *_: True), r.ARCHITECTURES[cpu])


@pytest.mark.parametrize("cpu", TABLES)
def test_what_is_written_is_read(cpu: str) -> None:
    table = TABLES[cpu]
    registers: list[int | None] = [0x2000 + i for i in range(table.register_count)]
    special = dict.fromkeys(table.special, 0x33)
    found = again(cpu, table, Thread(0, 1, registers, special=special))
    assert found.registers == registers
    assert found.special == special
    assert found.flags & table.cpu
    assert found.floating is None


def test_registers_that_are_not_known_are_not_vouched_for() -> None:
    registers: list[int | None] = [None] * 17
    registers[7], registers[16] = 0x7FFF0000, 0x401000
    found = again("amd64", contexts.AMD64_TABLE, Thread(0, 1, registers))
    assert found.registers == registers
    assert found.flags == 0x100001
    assert again("amd64", contexts.AMD64_TABLE, Thread(0, 1, [None] * 17)).flags == 0x100000
