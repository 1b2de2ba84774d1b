"""The strategy for x64 Windows modules: what it needs, where it finds it, and what it says."""

from __future__ import annotations

import pytest

from tests.build import unwind_info as b
from tests.build.pe import AMD64, I386, Section, image
from tests.unit.unwind.spaces import ARCHES, region, thread, words
from unspool.arch.x86_64 import R15, RAX, RBP, RBX, RCX, RIP, RSP
from unspool.formats.pe import Pe
from unspool.memory import Memory
from unspool.model import Module, StopReason, Trust
from unspool.pe_image import PeImage
from unspool.space import AddressSpace
from unspool.unwind.rows import Row
from unspool.unwind.step import Missed, Stepper
from unspool.unwind.strategies import pe_x64
from unspool.unwind.strategies.pe_x64 import PeX64
from unspool.unwind.walk import walk

X86 = ARCHES["x86_64"]
BASE, STACK = 0x1_8000_0000, 0x7000_0000

# push %rbx; push %r15; sub $32, %rsp; lea 16(%rsp), %rbp; call; add $32, %rsp; pop; pop; ret
PLAIN = bytes.fromhex("53 4157 4883ec20 e800000000 90 4883c420 415f 5b c3")
CODES = [b.alloc(7, 32), b.push(3, b.R15), b.push(1, b.RBX)]
FRAMED = bytes.fromhex("55 4883ec20 488d6c2410 e800000000 488d6510 5d c3")
FRAME_CODES = [b.set_frame(10), b.alloc(5, 32), b.push(1, b.RBP)]


# ___chkstk_ms, up to where it touches the stack.
PROBE = bytes.fromhex("5150483d00100000488d4c241872194881e900100000 48830900")


class Made:
    """A module of two functions, a leaf and one that was interrupted, and its address space."""

    def __init__(
        self, *, held: str = "memory", machine: int = AMD64, functions: bool = True,
        spoil: bytes | None = None, kind: str = "pe",
    ) -> None:  # fmt: skip
        code = PLAIN.ljust(64, b"\xcc") + FRAMED.ljust(128, b"\xcc") + PROBE.ljust(64, b"\xcc")
        text = Section(".text", code, "rx")
        xdata = b.Xdata(0x3000)
        plain = xdata.add(b.unwind_info(CODES, prologue=7) if spoil is None else spoil)
        framed = xdata.add(b.unwind_info(FRAME_CODES, prologue=10, frame=(b.RBP, 16)))
        frame = xdata.add(b.unwind_info([b.alloc(0, 16), b.machine_frame(0)]))
        made = image(
            machine, [text, xdata.section()], image_base=0x4000_0000,
            functions=[
                (0x1000, 0x1000 + len(PLAIN), plain), (0x1040, 0x1040 + len(FRAMED), framed),
                (0x1080, 0x1090, frame),
            ] if functions else None,
        )  # fmt: skip
        parts = [region(STACK, words(X86, *range(100, 164)), writable=True)]
        if held == "memory":
            data = made.memory(BASE)
            parts.append(region(BASE, data[:0x1000]))
            parts.append(region(BASE + 0x1000, data[0x1000:0x2000], executable=True))
            parts.append(region(BASE + 0x2000, data[0x2000:]))
        self.memory = Memory(parts)
        mapped = Pe(made.memory(BASE), mapped=True)
        self.image = PeImage(self.memory, BASE, mapped, Pe(made.file()) if held == "file" else None)
        module = Module(0, "a.dll", BASE, BASE + 0x5000, kind=kind, bias=self.image.bias)
        self.space = AddressSpace(X86, self.memory, [module], self.load)
        self.table = PeX64(self.space)

    def load(self, _: Module) -> PeImage | None:
        return self.image

    def row(self, rva: int, exact: bool = True) -> Row | Missed:
        """The row of a pc that is executing at an RVA, or of a return address behind it."""
        pc = BASE + rva
        return self.table.row(pc if exact else pc + 1, pc)

    def good(self, rva: int, exact: bool = True) -> Row:
        row = self.row(rva, exact)
        assert isinstance(row, Row), row.why
        return row

    def why(self, rva: int, exact: bool = True) -> str:
        row = self.row(rva, exact)
        assert isinstance(row, Missed)
        return row.why


def shape(row: Row) -> tuple[int, int, dict[int, int]]:
    return row.cfa_register, row.cfa_offset, dict(row.saved)


@pytest.mark.parametrize("held", ["memory", "file"])
def test_rows_in_our_registers(held: str) -> None:
    made = Made(held=held)
    assert shape(made.good(0x1000)) == (RSP, 8, {RIP: -8})
    assert shape(made.good(0x1007)) == (RSP, 56, {RIP: -8, RBX: -16, R15: -24})
    assert shape(made.good(0x100B, exact=False)) == (RSP, 56, {RIP: -8, RBX: -16, R15: -24})
    assert shape(made.good(0x1040 + 10)) == (RBP, 32, {RIP: -8, RBP: -16})
    assert shape(made.good(0x1040 + 5)) == (RSP, 48, {RIP: -8, RBP: -16})


@pytest.mark.parametrize("held", ["memory", "file"])
def test_epilogues_are_looked_for_where_code_is_executing(held: str) -> None:
    made = Made(held=held)
    end = 0x1000 + len(PLAIN) - 4
    assert shape(made.good(end - 4)) == (RSP, 56, {RIP: -8, RBX: -16, R15: -24})
    assert shape(made.good(end)) == (RSP, 24, {RIP: -8, RBX: -16, R15: -24})
    assert shape(made.good(end + 3)) == (RSP, 8, {RIP: -8})
    # A function that never returns is called last, and an epilogue's bytes follow.
    assert shape(made.good(end, exact=False)) == (RSP, 56, {RIP: -8, RBX: -16, R15: -24})
    assert shape(made.good(0x1040 + 15)) == (RBP, 32, {RIP: -8, RBP: -16})
    assert shape(made.good(0x1040 + 19)) == (RSP, 16, {RIP: -8, RBP: -16})


def test_rows_are_quick_and_say_where_they_are_from() -> None:
    made = Made()
    for rva in (0x1000, 0x1007, 0x1012, 0x1040, 0x104A, 0x1060):
        row = made.good(rva)
        assert row.quick is not None
        assert (row.strategy, row.trust, row.interrupted) == ("pe_x64", Trust.UNWIND_INFO, False)
    assert made.good(0x1007).function == BASE + 0x1000
    assert made.good(0x104A).function == BASE + 0x1040
    assert made.good(0x1060).function is None


def test_leaf_functions_have_no_entry() -> None:
    made = Made()
    assert shape(made.good(0x1060)) == (RSP, 8, {RIP: -8})
    assert made.why(0x1060, exact=False) == "a.dll has unwind data, but none for this address"


@pytest.mark.parametrize("held", ["memory", "file"])
def test_where_the_stack_overflows(held: str) -> None:
    made = Made(held=held)
    assert shape(made.good(0x10C0 + 22)) == (RSP, 24, {RIP: -8, RCX: -16, RAX: -24})


def test_code_of_which_memory_holds_a_part() -> None:
    made = Made()
    end = 0x1000 + len(PLAIN) - 4
    for part in list(made.memory.regions):
        if part.start == BASE + 0x1000:
            part.end = BASE + end + 2
    assert shape(made.good(end))[1] == 56  # a pop that nothing is known to follow
    whole = Made(held="file")
    made.image.file = whole.image.file
    assert shape(made.good(end)) == (RSP, 24, {RIP: -8, RBX: -16, R15: -24})


def test_a_machine_frame() -> None:
    row = Made().good(0x1085)
    assert shape(row) == (RSP, 56, {RIP: -40, RSP: -16})
    assert row.interrupted
    assert row.quick is None


# --- what can be missing --------------------------------------------------------------


def test_other_modules() -> None:
    made = Made(kind="elf")
    assert made.why(0x1000) == "a.dll is no Windows module"
    assert made.table.row(5, 5).why == "0x5 is in no module"  # type: ignore[union-attr]


def test_a_module_of_which_nothing_is_at_hand() -> None:
    made = Made()
    made.space = AddressSpace(X86, made.memory, made.space.modules, lambda _: None)
    answer = PeX64(made.space).row(BASE + 0x1000, BASE + 0x1000)
    assert isinstance(answer, Missed)
    assert answer.why == "neither the file nor the memory of a.dll is at hand"


def test_a_module_without_a_table() -> None:
    # Not even for leaf functions: nobody says which functions are.
    assert "no unwind data for a.dll" in Made(functions=False).why(0x1060)
    assert "no unwind data for a.dll" in Made(machine=I386).why(0x1000)


def test_a_table_that_is_not_at_hand() -> None:
    why = Made(held="none").why(0x1000)
    assert "no unwind data for a.dll, whose file was not found" in why


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (b.unwind_info([b.push(1, 3)], version=3), "version 3 is not supported"),
        (b.unwind_info([b.code(1, 12, 0)]), "unknown unwind code 12/0"),
        (b.unwind_info(chained=(0x1000, 0x1010, 0x3000)), "too long a chain"),
    ],
)
def test_broken_unwind_data(spoil: bytes, why: str) -> None:
    made = Made(spoil=spoil)
    assert why in made.why(0x1000)
    assert made.why(0x1000).startswith("broken unwind data in a.dll: ")
    # It costs itself, and not the next function.
    made.good(0x1040)


def test_info_beyond_the_image() -> None:
    made = Made(spoil=b.unwind_info(chained=(0x1000, 0x1010, 0x7FFF0000)))
    assert made.why(0x1000).startswith("unwind data of a.dll at 0x1ffff0000 cannot be read")


def test_code_that_is_not_at_hand() -> None:
    """A core without the pages of .text, and no file: what the codes say."""
    made = Made()
    for part in list(made.memory.regions):
        if part.start == BASE + 0x1000:
            part.load = None
    end = 0x1000 + len(PLAIN) - 4
    assert shape(made.good(end)) == (RSP, 56, {RIP: -8, RBX: -16, R15: -24})
    assert shape(made.good(0x1060)) == (RSP, 8, {RIP: -8})


def test_a_bound_on_hostile_data(monkeypatch: pytest.MonkeyPatch) -> None:
    chained = b.unwind_info([b.push(1, 3)] * 255, chained=(0x1000, 0x1010, 0x3000))
    monkeypatch.setattr(pe_x64, "_MAX_WORK", 100_000)
    made = Made(spoil=chained)
    whys = [made.why(0x1000 + at) for at in range(20)]
    assert "too long a chain" in whys[0]
    assert "absurdly much" in whys[-1]


# --- a walk ---------------------------------------------------------------------------


def test_a_walk_through_a_machine_frame() -> None:
    """Interrupted in an epilogue, of which a return address would know nothing."""
    made = Made()
    popping = BASE + 0x1000 + len(PLAIN) - 2  # pop %rbx
    back, root = BASE + 0x100C, BASE + 0x1040 + 15
    stack = [1, 2, popping, 0x33, 0x202, STACK + 8 * 8, 0x2B, 0]
    stack += [7, back]  # the epilogue's rbx and return address
    stack += [0] * 4 + [15, 3, root]
    made.memory.set_regions(
        [part for part in made.memory.regions if part.start != STACK]
        + [region(STACK, words(X86, *stack, *[0] * 8), writable=True)]
    )
    made.space.memory = made.memory
    stepper = Stepper(made.space, [made.table], [])
    found = walk(stepper, thread(X86, pc=BASE + 0x1085, sp=STACK))
    assert [frame.pc for frame in found.frames] == [BASE + 0x1085, popping, back, root]
    assert [frame.exact for frame in found.frames] == [True, True, False, False]
    assert {frame.trust for frame in found.frames[1:]} == {Trust.UNWIND_INFO}
    assert found.stop.reason in (StopReason.NO_STRATEGY, StopReason.FAULT)
