"""Unwind tables beside code of no module: those that are believed, and those that are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import cfi
from tests.build.jit import LAYOUTS
from tests.unit.generated.surroundings import surroundings
from tests.unit.unwind.spaces import thread
from unspool.generated import near_cfi
from unspool.generated.code import Process
from unspool.generated.find import find_generated
from unspool.model import Module, Trust
from unspool.unwind.step import Missed
from unspool.unwind.strategies.dwarf_cfi import DwarfCfi
from unspool.unwind.strategies.order import default_stepper
from unspool.unwind.walk import walk

CODE, TABLE = 0x4000_1000, 0x4000_0000
EVERY_ARCH = pytest.mark.parametrize("arch", list(LAYOUTS))

# The stack grows by 64 (with the return address, where a call pushes it), in 4 bytes.
PROLOGUES = {
    "x86_64": bytes.fromhex("4883ec38"),  # sub rsp, 56
    "i386": bytes.fromhex("9083ec3c"),  # nop; sub esp, 60
    "aarch64": bytes.fromhex("ff0301d1"),  # sub sp, sp, #64
    "arm": bytes.fromhex("40d04de2"),  # sub sp, sp, #64
}


def table(
    arch: str, at: int = TABLE, functions: list[tuple[int, int]] | None = None, **cie: object
) -> cfi.FrameSection:
    layout = LAYOUTS[arch]
    made = cfi.FrameSection(address=at, address_size=layout.bits // 8)
    keywords: dict[str, object] = {
        "initial": layout.initial, "data_align": layout.data_align,
        "return_register": layout.return_register,
    }  # fmt: skip
    common = made.cie(**(keywords | cie))  # type: ignore[arg-type]
    for start, size in functions or [(CODE, 0x20), (CODE + 0x20, 0x30)]:
        made.fde(common, start, size, cfi.advance_loc(4) + cfi.def_cfa_offset(64))
    return made


def code(arch: str, size: int = 0x1000) -> bytes:
    """Functions that all begin alike, at every multiple of 0x10."""
    return (PROLOGUES[arch] + bytes(12)) * (size // 16)


def page(data: bytes, size: int = 0x1000) -> bytes:
    return data + bytes(size - len(data))


def process(
    arch: str,
    data: bytes,
    *,
    at: int = TABLE,
    text: bytes | None = None,
    modules: list[Module] | None = None,
) -> Process:
    regions = [(at, data, False), (CODE, code(arch) if text is None else text, True)]
    return surroundings(arch, regions, modules=modules or [])


def cfa(process: Process, pc: int) -> int | str:
    find_generated(process, ["near_cfi"])
    row = DwarfCfi(process.space).row(pc, pc)
    return row.why if isinstance(row, Missed) else row.cfa_offset


def ranges(process: Process) -> list[tuple[int, int]]:
    return [(each.module.base, each.module.end) for each in near_cfi.find(process)]


@EVERY_ARCH
def test_a_table_before_its_code(arch: str) -> None:
    made = process(arch, page(table(arch).build()))
    assert ranges(made) == [(CODE, CODE + 0x50)]
    assert cfa(made, CODE + 0x10) == 64
    assert cfa(made, CODE + 0x4F) == 64
    assert "in no module" in str(cfa(made, CODE + 0x50))


def test_a_table_behind_its_code_or_among_it() -> None:
    after = process("x86_64", table("x86_64", CODE + 0x1000).build(), at=CODE + 0x1000)
    assert cfa(after, CODE + 0x10) == 64
    text = code("x86_64", 0x800) + table("x86_64", CODE + 0x800).build()
    assert cfa(process("x86_64", b"", text=page(text)), CODE + 0x10) == 64


@pytest.mark.parametrize("encoding", [cfi.PCREL | cfi.SDATA4, cfi.PCREL | cfi.SDATA8, cfi.ABSPTR])
def test_encodings(encoding: int) -> None:
    data = table("x86_64", fde_encoding=encoding).build()
    assert cfa(process("x86_64", page(data)), CODE + 0x24) == 64


def test_several_tables_one_after_the_other() -> None:
    first = table("x86_64", functions=[(CODE, 0x20)]).build()
    second = table("x86_64", TABLE + len(first), [(CODE + 0x800, 0x20)]).build()
    for gap in (0, 4, 64):
        second = table("x86_64", TABLE + len(first) + gap, [(CODE + 0x800, 0x20)]).build()
        made = process("x86_64", page(first + bytes(gap) + second))
        assert cfa(made, CODE + 0x10) == 64
        assert cfa(made, CODE + 0x810) == 64


def test_functions_far_apart_are_modules_of_their_own() -> None:
    functions = [(CODE, 0x20), (CODE + 0x3000, 0x20)]
    made = process(
        "x86_64", page(table("x86_64", functions=functions).build()), text=code("x86_64", 0x4000)
    )
    assert ranges(made) == [(CODE, CODE + 0x20), (CODE + 0x3000, CODE + 0x3020)]
    assert cfa(made, CODE + 0x3010) == 64


def test_code_whose_names_are_known_gets_unwind_data() -> None:
    named = Module(0, "perf-1.map", CODE, CODE + 0x1000, kind="jit")
    made = process("x86_64", page(table("x86_64").build()))
    made.space.add_modules([named], {})
    assert near_cfi.find(made) == []
    assert cfa(made, CODE + 0x10) == 64


# --- not believed ------------------------------------------------------------------------


def test_a_copy_of_a_table_is_none() -> None:
    """Its addresses are relative to where it was: elsewhere they lead to other code."""
    copied = table("x86_64").build()
    assert ranges(process("x86_64", page(bytes(0x104) + copied))) == [(CODE + 0x104, CODE + 0x154)]
    made = process("x86_64", page(bytes(0x104) + copied))
    assert "moves the stack pointer" in str(cfa(made, CODE + 0x114))


def test_a_table_that_nobody_relocated_is_none() -> None:
    data = table("x86_64", functions=[(TABLE + 0x20, 0x20)]).build()
    assert ranges(process("x86_64", page(data))) == []


@pytest.mark.parametrize("arch", ["x86_64", "i386", "aarch64"])
def test_code_that_moves_the_stack_pointer_otherwise(arch: str) -> None:
    """It was freed, and other code is there now; the table stayed."""
    text = code(arch).replace(PROLOGUES[arch], bytes(4))
    made = process(arch, page(table(arch).build()), text=text)
    assert "no instruction" in str(cfa(made, CODE + 0x10))


def test_a_function_that_reaches_out_of_its_mapping() -> None:
    functions = [(CODE + 0xFF0, 0x20)]
    assert ranges(process("x86_64", page(table("x86_64", functions=functions).build()))) == []


def test_a_table_beyond_a_gap() -> None:
    made = process("x86_64", page(table("x86_64", TABLE - 0x1000).build()), at=TABLE - 0x1000)
    assert ranges(made) == []


def test_code_of_a_file_is_left_to_the_file() -> None:
    for module in (Module(0, "a", CODE, CODE + 0x1000), Module(0, "a", CODE + 0x10, CODE + 0x20)):
        made = process("x86_64", page(table("x86_64").build()), modules=[module])
        assert all(low >= CODE + 0x20 for low, _ in ranges(made))


@pytest.mark.parametrize(
    ("initial", "why"),
    [
        (cfi.def_cfa(7, 16) + cfi.offset(16, 1), "stack pointer"),
        (cfi.def_cfa(6, 8) + cfi.offset(16, 1), "stack pointer"),
        (cfi.def_cfa(7, 8) + cfi.offset(16, 2), "return address"),
        (cfi.def_cfa(7, 8), "return address"),
        (cfi.def_cfa_expression(b"\x77\x08") + cfi.offset(16, 1), "stack pointer"),
    ],
)
def test_rows_that_no_call_leaves(initial: bytes, why: str) -> None:
    data = table("x86_64", initial=initial).build()
    assert why in str(cfa(process("x86_64", page(data)), CODE + 0x10))


def test_signal_frames_are_not_looked_for() -> None:
    data = table("x86_64", augmentation="zRS").build()
    assert "return address" in str(cfa(process("x86_64", page(data)), CODE + 0x10))


def test_of_two_tables_for_a_function_one_that_fits() -> None:
    """The first is of code that was freed; the second does not help then, and nothing is wrong."""
    data = table("x86_64").build()
    other = table("x86_64", TABLE + len(data) + 64).build()
    made = process("x86_64", page(data + bytes(64) + other))
    assert ranges(made) == [(CODE, CODE + 0x50)]
    assert cfa(made, CODE + 0x10) == 64


def test_how_much_is_read_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = page(table("x86_64").build())
    monkeypatch.setattr(near_cfi, "_MAX_READ", 0x800)
    assert ranges(process("x86_64", data)) == []
    monkeypatch.setattr(near_cfi, "_MAX_READ", 64 << 20)
    monkeypatch.setattr(near_cfi, "_REACH", 0x100)
    assert ranges(process("x86_64", data)) == []


def test_how_many_functions_are_looked_at_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_cfi, "_MAX_FUNCTIONS", 1)
    assert ranges(process("x86_64", page(table("x86_64").build()))) == [(CODE, CODE + 0x20)]


def test_records_are_gone_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """CIEs without any FDE make a chain too."""
    asked = []
    original = near_cfi._table_end

    def counted(data: bytes, start: int) -> tuple[int, int]:
        asked.append(start)
        return original(data, start)

    monkeypatch.setattr(near_cfi, "_table_end", counted)
    cie = cfi.FrameSection(address=TABLE)
    cie.cie()
    assert ranges(process("x86_64", page(cie.build()[:-4] * 100))) == []
    assert asked == [0]


CALL = bytes.fromhex("e800000000")


@pytest.mark.parametrize("called", [True, False])
def test_a_caller_has_called(called: bool) -> None:
    """A table that leads to an address that no call left there is of other code."""
    text = bytearray(code("x86_64"))
    text[0x800:0x805] = CALL if called else bytes(5)
    stack = bytearray(0x100)
    stack[56:64] = (CODE + 0x805).to_bytes(8, "little")
    at = 0x7000_0000
    regions = [
        (TABLE, page(table("x86_64").build()), False), (CODE, bytes(text), True),
        (at, bytes(stack), False),
    ]  # fmt: skip
    made = surroundings("x86_64", regions)
    stepper = default_stepper(made.space, None, lambda: find_generated(made, ["near_cfi"]))
    found = walk(stepper, thread(made.space.arch, rip=CODE + 0x10, rsp=at), explain=True)
    assert found.frames[0].trail is not None
    tried = {each.strategy: each.answer for each in found.frames[0].trail}
    if called:
        assert [frame.pc for frame in found.frames[:2]] == [CODE + 0x10, CODE + 0x805]
        assert found.frames[1].trust == Trust.CFI
    else:
        assert "where no call is" in tried["dwarf_cfi"]
        assert all(frame.trust != Trust.CFI for frame in found.frames)


@given(st.data())
def test_broken_tables_break_nothing(data: st.DataObject) -> None:
    arch = data.draw(st.sampled_from(list(LAYOUTS)))
    mutant = bytearray(table(arch).build())
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(mutant) - 1))
        mutant[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    made = process(arch, page(bytes(mutant)))
    for module in find_generated(made, ["near_cfi"]).modules:
        assert CODE <= module.module.base < module.module.end <= CODE + 0x1000
        for pc in (module.module.base, module.module.base + 5, module.module.end - 1):
            DwarfCfi(made.space).row(pc, pc)
