"""Small honest cores to start from, and where their interesting bytes are."""

from __future__ import annotations

from functools import cache

from tests.build import cfi
from tests.build import expression as e
from tests.build.process import FRAMES, HEADER, IMAGE_SIZE, MACHINES, Process, Program

ARCHES = tuple(MACHINES)


def busy_program(arch: str) -> Program:
    """Functions whose CFI uses every kind of rule, and that still lead to their callers."""
    machine = MACHINES[arch]
    word, sp, ra, saved = machine.word, machine.sp_column, machine.ra_column, machine.saved_column
    by_expression = e.assemble(e.breg(sp, word), e.lit(word), e.op("plus"))
    return Program(
        machine,
        instructions={
            "inner": cfi.def_cfa_expression(by_expression) + cfi.val_offset(sp, 0),
            "middle": cfi.remember_state() + cfi.def_cfa_offset(8 * word) + cfi.restore_state()
            + cfi.expression(saved, e.consts(-2 * word) + e.op("plus")),
            "main": cfi.advance_loc(1) + cfi.offset_extended_sf(saved, 2) + cfi.same_value(1)
            + cfi.undefined(0) + cfi.gnu_args_size(16),
            "_start": cfi.undefined(ra),
        },
    )  # fmt: skip


@cache
def seed(arch: str, notes: str = "first") -> bytes:
    process = Process(arch, program=busy_program(arch), notes=notes)
    process.thread(4711, ["inner", "middle", "main", "_start"], signal=11)
    process.thread(0, ["middle", "main", "_start"])
    process.thread(0, ["inner", "inner", "main", "_start"])
    return process.core().build()


def places(data: bytes) -> list[range]:
    """Header, program headers and notes; the image's headers, search table and CFI; stacks."""
    image = data.index(b"\x7fELF", 64)
    stacks = image + IMAGE_SIZE
    return [
        range(64),
        range(52, 400),
        range(232, 2400),
        range(image, image + 300),
        range(image + HEADER, image + HEADER + 80),
        range(image + FRAMES, image + FRAMES + 0x180),
        range(stacks, len(data)),
    ]
