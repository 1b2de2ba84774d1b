"""Wine's RtlVirtualUnwind and our rows: the same caller at every instruction.

Where they differ, Wine is wrong, in ways that are known: it takes the epilogue for the
function's body. `test_pe_steps.py`, where a processor decides, has such places too.
"""

from __future__ import annotations

import re
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from tests.build import unwind_info as b
from tests.build.pe_unwind import CODE, Image, lay_out, random_function
from tests.conftest import Tool
from tests.oracle.pe_programs import build, library, started
from tests.wine.flavours import FLAVOURS, Flavour
from unspool.formats.pe import EXCEPTION, Pe
from unspool.formats.pe_epilogue import MAX_SIZE, RETURN, epilogue_at
from unspool.formats.pe_row import row_at
from unspool.formats.pe_unwind import (
    PUSH_NONVOL,
    RBP,
    RSP,
    SET_FPREG,
    FunctionTable,
    RuntimeFunction,
    parse_unwind_info,
)

pytestmark = pytest.mark.oracle

# As in virtual_unwind.c.
STACK = 0x2_0000_0000
RSP_VALUE = STACK + 0x10_0000
REGISTERS = [STACK + 0x80_0000 + 0x1_0000 * number for number in range(16)]
UNWOUND = 1


def word(address: int) -> int:
    """What lies on the stack at an address."""
    return address ^ 0x5A00_0000_0000_0000


class Code:
    """An image's code and tables. `name` is how virtual_unwind.c is to load it."""

    def __init__(self, name: str, data: bytes, table: FunctionTable, pe: Pe | None = None) -> None:
        self.name = name
        self.data = data
        self.table = table
        self.pe = pe

    @classmethod
    def of_file(cls, path: Path, name: str = "") -> Code:
        pe = Pe(path.read_bytes())
        directory = pe.directory(EXCEPTION)
        assert directory is not None
        located = pe.located(directory[0])
        assert located is not None
        table = FunctionTable(located[0], located[1], located[1] + directory[1])
        return cls(name or path.name, b"", table, pe)

    @classmethod
    def of_image(cls, image: Image, name: str) -> Code:
        table = FunctionTable(image.data, image.table_at, len(image.data))
        return cls(f"@{name}|{image.table_at}|{len(table)}", image.data, table)

    def read(self, rva: int, size: int) -> bytes:
        return self.pe.read(rva, size) if self.pe else self.data[rva : rva + size]

    def at(self, rva: int) -> bytes:
        if self.pe is None:
            return self.read(rva, MAX_SIZE)
        located = self.pe.located(rva)
        assert located is not None
        buffer, start, end = located
        return bytes(buffer[start : min(start + MAX_SIZE, end)])

    def function(self, rva: int) -> RuntimeFunction:
        found = self.table.find(rva)
        assert found is not None
        return found

    def unwound(self, rva: int, rbp: int, code: bytes | None) -> tuple[int, ...]:
        """The caller's registers and rip, by our row."""
        row = row_at(self.table, self.read, self.function(rva), rva, code)
        before = [*REGISTERS]
        before[RSP], before[RBP] = RSP_VALUE, rbp
        top = before[row.register] + row.offset
        after = [*before, 0]
        after[RSP] = top
        for register, offset in row.saved.items():
            after[register] = word(top + offset)
        return tuple(after)

    def frame_pointer(self, rva: int) -> int:
        """rbp as it must be for rsp to fit: some registers are pushed after it was set."""
        function = self.function(rva)
        info = parse_unwind_info(self.read, function.unwind)
        above = 0
        for offset, operation, _, size in info.codes:
            if offset <= rva - function.begin:
                if operation == SET_FPREG:
                    return RSP_VALUE + above + info.frame_offset
                above += size if operation in (1, 2) else 8 * (operation == 0)
        return REGISTERS[RBP]

    def difference(self, rva: int, rbp: int, theirs: tuple[int, ...]) -> str | None:
        """How Wine's answer differs from ours without being wrong in a known way."""
        code = self.at(rva)
        ours = self.unwound(rva, rbp, code)
        if ours == theirs[:17]:
            return None
        function = self.function(rva)
        info = parse_unwind_info(self.read, function.unwind)
        into = rva - function.begin
        ahead = epilogue_at(code, rva)
        if ahead is not None and (
            # No jump is a tail call to Wine; nor is `bnd ret` a return.
            ahead.kind != RETURN
            or b"\xf2\xc3" in code
            # What looks like an epilogue is none in the prologue. But MSVC's may reach behind
            # an early return.
            or into < info.prologue
        ):
            rest = self.unwound(rva, rbp, None)
            return None if rest == theirs[:17] else f"{rest} by the codes"
        if info.prologue <= into < max((code[0] for code in info.codes), default=0):
            # Of a prologue that is longer than it says, all has been executed to Wine.
            rest = self.unwound(function.end - 1, rbp, None)
            return None if rest == theirs[:17] else f"{rest} by all codes"
        return f"{[hex(each) for each in ours]}"


class Asker:
    """Runs virtual_unwind.c under one version of Wine."""

    def __init__(self, wine: Flavour, root: Path) -> None:
        self.wine = wine
        self.root = root
        # Below the folder that Wine in a root directory of its own can see.
        self.folder = Path(tempfile.mkdtemp(prefix="virtual-unwind-", dir=root))

    def path(self, path: Path) -> str:
        """What a Windows program calls a file."""
        return "Z:" + str(self.wine.inside(path, self.root)).replace("/", "\\")

    def image(self, image: Image, name: str) -> Code:
        """Code of a made-up image, in a file that the program reads."""
        path = self.folder / name
        path.write_bytes(image.data)
        return Code.of_image(image, self.path(path))

    def ask(self, code: Code, requests: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
        """What Wine answers to (RVA, rbp): registers, rip, kind of answer."""
        program = build("virtual_unwind", "-O2", self.root)
        questions, answers = self.folder / "requests", self.folder / "results"
        questions.write_bytes(b"".join(struct.pack("<IIQ", 0, *each) for each in requests))
        names = self.path(questions), self.path(answers), code.name
        with started(program, *names, wine=self.wine) as process:
            assert process.wait(60) == 0
        return list(struct.iter_unpack("<18Q", answers.read_bytes()))

    def check(self, code: Code, requests: Sequence[tuple[int, int]]) -> None:
        results = self.ask(code, requests)
        assert len(results) == len(requests)
        assert {result[17] for result in results} == {UNWOUND}
        wrong = {}
        for (rva, rbp), result in zip(requests, results, strict=True):
            difference = code.difference(rva, rbp, result)
            if difference is not None:
                wrong[hex(rva)] = difference, [hex(each) for each in result]
        assert wrong == {}


@pytest.fixture(params=["8.0-x86_64", "10.0-x86_64"])
def wine(request: pytest.FixtureRequest, programs_root: Path) -> Asker:
    return Asker(FLAVOURS[request.param], programs_root)


_INSTRUCTION = re.compile(r"^ +([0-9a-f]+):\t", re.MULTILINE)


def instructions(tool: Tool, path: Path, image_base: int) -> list[int]:
    """RVAs of all instructions, by objdump, which knows from symbols where functions begin."""
    listing = tool("x86_64-w64-mingw32-objdump", "-d", "--no-show-raw-insn", "-w", path)
    return [int(address, 16) - image_base for address in _INSTRUCTION.findall(listing)]


def test_a_library_of_wines(tool: Tool, wine: Asker) -> None:
    """The prologues, the ends and some of the rest of its functions."""
    path = library("ntdll", wine.wine)
    code = Code.of_file(path)
    assert code.pe is not None
    chosen = []
    for rva in instructions(tool, path, code.pe.image_base):
        function = code.table.find(rva)
        if function is not None and (
            rva - function.begin < 24 or function.begin % 128 == 0 or epilogue_at(code.at(rva), rva)
        ):
            chosen.append((rva, code.frame_pointer(rva)))
    assert len(chosen) > 10_000
    wine.check(code, chosen)


@pytest.mark.parametrize("flags", ["-O0", "-O2"])
def test_forms_that_compilers_seldom_write(tool: Tool, wine: Asker, flags: str) -> None:
    path = build("pe_steps", flags, wine.root)
    code = Code.of_file(path, wine.path(path))
    assert code.pe is not None
    rvas = instructions(tool, path, code.pe.image_base)
    described = [rva for rva in rvas if code.table.find(rva)]
    assert len(described) > 500
    wine.check(code, [(rva, code.frame_pointer(rva)) for rva in described])


def test_made_up_functions(wine: Asker) -> None:
    """Parts of functions, frame registers with offsets, large frames, version 2."""
    functions = [random_function(Random(seed), [b.RBP]) for seed in range(400)]
    image = lay_out(functions)
    code = wine.image(image, "made_up.bin")
    requests = []
    for index, function in enumerate(functions):
        first = function.parts[0]
        size = sum(len(each.code) for each in first.instructions[: first.prologue])
        bottom = None
        for rva, machine in image.run(index):
            rbp, rsp = machine.registers[RBP], machine.registers[RSP]
            if rva == image.begins[index][0] + size:
                bottom = rsp
            # Registers that are pushed after the frame register was set Windows takes from
            # rsp, as if nothing had moved that since.
            if bottom not in (None, rsp) and pushes_late(code, rva):
                continue
            is_set = function.frame[0] == RBP and abs(rbp - rsp) < 1 << 32
            requests.append((rva, RSP_VALUE + rbp - rsp if is_set else REGISTERS[RBP]))
    assert len(requests) > 5000
    wine.check(code, requests)


def pushes_late(code: Code, rva: int) -> bool:
    """Whether the function pushes registers after it has set the frame register."""
    info = parse_unwind_info(code.read, code.function(rva).unwind)
    while info.parent is not None:
        info = parse_unwind_info(code.read, info.parent.unwind)
    operations = [operation for _, operation, _, _ in info.codes]
    return SET_FPREG in operations and PUSH_NONVOL in operations[: operations.index(SET_FPREG)]


def test_entries_that_lead_to_others_and_machine_frames(wine: Asker) -> None:
    xdata = b.Xdata(0x2000)
    plain = xdata.add(b.unwind_info([b.alloc(6, 40), b.push(2, b.R12)], prologue=6))
    frames = [
        xdata.add(b.unwind_info([b.save(9, 3, 8), b.alloc(4, 64), b.machine_frame(0)], prologue=9)),
        xdata.add(b.unwind_info([b.alloc(4, 64), b.machine_frame(0, error_code=True)], prologue=4)),
    ]
    image = Image([])
    image.table_at = 0x3000
    image.table = [
        (CODE, CODE + 32, plain),
        (CODE + 32, CODE + 64, image.table_at + 1),
        (CODE + 64, CODE + 96, frames[0]),
        (CODE + 96, CODE + 128, frames[1]),
    ]
    image.data = bytes(CODE) + b"\x90" * 0x1000 + bytes(xdata.data)
    image.data = image.data.ljust(image.table_at, b"\0") + b.runtime_functions(image.table)
    code = wine.image(image, "by_hand.bin")
    wine.check(code, [(rva, REGISTERS[RBP]) for rva in range(CODE, CODE + 128)])
