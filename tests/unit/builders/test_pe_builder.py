"""The PE builder against other people's readers: GNU objdump and symbolic."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.build import unwind_info as unwind
from tests.build.pe import (
    AMD64,
    ARM64,
    I386,
    STATIC,
    WINE_BUILTIN,
    CodeView,
    Export,
    Exports,
    Image,
    Section,
    Symbol,
    image,
)
from tests.conftest import Tool

OBJDUMP = "x86_64-w64-mingw32-objdump"
MACHINES = [AMD64, I386]


def sample(machine: int, **more: int) -> Image:
    text = Section(".text", b"\x90" * 0x345, "rx")
    data = Section(".data", b"d" * 20, "rw", virtual_size=0x2345)
    debug = Section(".debug_info", b"dwarf", "r-", rva=0x9000)
    xdata = unwind.Xdata(0x8000)
    plain = xdata.add(unwind.unwind_info([unwind.alloc(4, 0x28)], prologue=4))
    exports = Exports(
        "my.dll",
        [
            ("zed", 0x1010),
            ("abc", 0x1020),
            Export(None, 0x1030),
            Export("fw", forward="KERNEL32.Sleep"),
            Export("alias", ordinal=5),
        ],
        base=5,
    )
    return image(
        machine,
        [text, data, Section(".bss", b"", "rwb", virtual_size=0x100), xdata.section(), debug],
        exports=exports,
        codeview=CodeView("c:\\out\\a.pdb", age=0x1B),
        functions=[(0x1000, 0x1040, plain)] if machine == AMD64 else None,
        symbols=[
            Symbol("_short", 0, text),
            Symbol("_a_long_name@8", 16, text, auxiliary=[b"x"], storage=STATIC),
            Symbol("_outside", 0x77, -1, kind=0),
        ],
        checksum=0x1234,
        entry=0x1004,
        **more,
    )


@pytest.fixture(params=MACHINES)
def text(request: pytest.FixtureRequest, tool: Tool, tmp_path: Path) -> str:
    path = tmp_path / "sample.dll"
    path.write_bytes(sample(request.param).file())
    return tool(OBJDUMP, "-w", "-p", "-h", "-t", path)


def test_objdump_reads_headers(text: str) -> None:
    is_64 = "pei-x86-64" in text
    for line in (
        "SizeOfImage\t\t0000d000" if is_64 else "SizeOfImage\t\t0000c000",
        "CheckSum\t\t00001234",
        f"Time/Date\t\t{time.ctime(0x5F5E100F)}",
        "Magic\t\t\t020b\t(PE32+)" if is_64 else "Magic\t\t\t010b\t(PE32)",
        "\tDLL\n",
    ):
        assert line in text
    assert "arning" not in text


def test_objdump_reads_sections(text: str) -> None:
    base = 0x180000000 if "pei-x86-64" in text else 0x10000000
    rows = {line.split()[1]: line.split() for line in text.splitlines() if " 2**" in line}
    assert list(rows)[:5] == [".text", ".data", ".bss", ".xdata", ".debug_info"]
    assert [int(number, 16) for number in rows[".text"][2:6]] == [
        0x345, base + 0x1000, base + 0x1000, 0x400,
    ]  # fmt: skip
    assert int(rows[".data"][2], 16) == 0x200  # what the file has of it
    assert int(rows[".debug_info"][3], 16) == base + 0x9000


def test_objdump_reads_exports(text: str) -> None:
    for line in (
        " my.dll\n",
        "Ordinal Base \t\t\t5\n",
        "[   0] +base[   5] 1010 Export RVA",
        "[   2] +base[   7] 1030 Export RVA",
        "Forwarder RVA -- KERNEL32.Sleep",
    ):
        assert line in re.sub(r"\+base\[ *(\d+)\] +0*", r"+base[   \1] ", text)
    names = text.rpartition("[Ordinal/Name Pointer] Table")[2].partition("\n\n")[0]
    assert [line.split()[-1] for line in names.splitlines()[1:]] == ["abc", "alias", "fw", "zed"]


def test_objdump_reads_debug_id_and_symbols(text: str) -> None:
    digits = "030201000504070608090a0b0c0d0e0f"
    assert f"(format RSDS signature {digits} age 27 pdb c:\\out\\a.pdb)" in text
    symbols = re.sub("0x0+", "0x", text.partition("SYMBOL TABLE:")[2])
    for line in (
        "(sec  1)(fl 0x)(ty   20)(scl   2) (nx 0) 0x _short",
        "(sec  1)(fl 0x)(ty   20)(scl   3) (nx 1) 0x10 _a_long_name@8",
        "(sec -1)(fl 0x)(ty    0)(scl   2) (nx 0) 0x77 _outside",
    ):
        assert line in symbols


def test_objdump_reads_unwind_infos(tool: Tool, tmp_path: Path) -> None:
    xdata = unwind.Xdata(0x8000)
    first = xdata.add(
        unwind.unwind_info(
            [
                unwind.save_xmm(0x30, 6, 0x40),
                unwind.save_xmm(0x2C, 7, 0x200000),
                unwind.save(0x28, unwind.RSI, 0x88),
                unwind.save(0x24, unwind.RDI, 0x100000),
                unwind.set_frame(0x20),
                unwind.alloc(0x1C, 0x30),
                unwind.alloc(0x18, 0x1230),
                unwind.alloc(0x14, 0x123450),
                unwind.push(2, unwind.RBP),
                unwind.machine_frame(0, error_code=True),
            ],
            prologue=0x30,
            frame=(unwind.RBP, 0x20),
            handler=0x1234,
            handler_data=b"data",
        )
    )
    second = xdata.add(unwind.unwind_info(chained=(0x1000, 0x1040, first)))
    third = xdata.add(unwind.unwind_info([unwind.epilogues(5, [0x123, 7])], version=2))
    made = image(
        AMD64,
        [Section(".text", b"\x90" * 0x400, "rx"), xdata.section()],
        functions=[(0x1000, 0x1040, first), (0x1040, 0x1080, second), (0x1080, 0x1280, third)],
    )
    path = tmp_path / "unwind.dll"
    path.write_bytes(made.file())
    text = tool(OBJDUMP, "-p", path)
    for line in (
        "Prologue size: 0x30, Frame offset: 0x2, Frame reg: rbp",
        "pc+0x30: save xmm6 at rsp + 0x40",
        "pc+0x2c: save xmm7 at rsp + 0x200000",
        "pc+0x28: save rsi at rsp + 0x88",
        "pc+0x24: save rdi at rsp + 0x100000",
        "pc+0x20: FPReg: rbp = rsp + 0x20",
        "pc+0x1c: alloc small area: rsp = rsp - 0x30",
        "pc+0x18: alloc large area: rsp = rsp - 0x1230",
        "pc+0x14: alloc large area: rsp = rsp - 0x123450",
        "pc+0x02: push rbp",
        "pc+0x00: interrupt entry (SS, old RSP, EFLAGS, CS, RIP,ErrorCode)",
        "Handler: 0000000180001234",
        "UNW_FLAG_CHAININFO",
        f"v2 epilog (length: 05) at pc+: 0x{0x200 - 5:x} 0x{0x200 - 0x123:x} 0x{0x200 - 7:x}",
    ):
        assert line in text


@pytest.mark.parametrize("machine", [*MACHINES, ARM64])
@pytest.mark.parametrize("age", [0, 1, 0xABC])
def test_symbolic_reads_ids(machine: int, age: int) -> None:
    debuginfo = pytest.importorskip("symbolic.debuginfo")
    made = image(machine, codeview=CodeView("a.pdb", age=age), timestamp=0x1234ABCD)
    [read] = debuginfo.Archive.from_bytes(made.file()).iter_objects()
    suffix = f"-{age:x}" if age else ""
    assert read.debug_id == f"03020100-0504-0706-0809-0a0b0c0d0e0f{suffix}"
    assert read.code_id == "1234abcd2000"


def test_memory_is_the_file_spread_out() -> None:
    made = sample(AMD64)
    data, memory = made.file(), made.memory()
    assert len(memory) == made.size_of_image
    assert memory[: len(made.headers)] == data[: len(made.headers)]
    for section in made.sections:
        held = memory[section.rva : section.rva + section.size]
        assert held == section.data.ljust(section.size, b"\0")[: section.size]
        assert data[section.offset :].startswith(section.data)
    assert made[".data"].rva == 0x2000
    # Its tail, three pages long, has no bytes in the file.
    assert made[".bss"].rva == 0x5000


def test_rebasing_writes_the_base_into_the_header() -> None:
    for machine, size in ((AMD64, 8), (I386, 4)):
        made = image(machine)
        plain, rebased = made.memory(), made.memory(0x7A000000, rebased=True)
        assert made.memory(0x7A000000) == plain
        changed = [i for i in range(len(plain)) if plain[i] != rebased[i]]
        assert changed
        first = rebased.index((0x7A000000).to_bytes(size, "little"))
        assert {*changed} <= {*range(first, first + size)}


def test_a_low_alignment_makes_offsets_of_addresses() -> None:
    text, data = Section(".text", b"\x90" * 0x123, "rx"), Section(".data", b"d" * 9, "rw")
    made = image(AMD64, [text, data], section_alignment=0x40, file_alignment=0x40)
    assert (text.offset, data.offset) == (text.rva, data.rva)
    assert data.rva == text.rva + 0x140
    assert made.memory() == made.file()


def test_lies_change_the_header_alone() -> None:
    honest, lying = sample(AMD64), sample(AMD64, NumberOfSections=9, SizeOfHeaders=7)
    first, second = honest.file(), lying.file()
    assert len(first) == len(second)
    changed = [i for i in range(len(first)) if first[i] != second[i]]
    assert changed == [0x86, 0xD4, 0xD5]
    section = Section(".text", b"x", "rx", SizeOfRawData=1 << 31, PointerToRawData=5)
    other = Section(".text", b"x", "rx")
    first, second = image(sections=[section]).file(), image(sections=[other]).file()
    assert sum(a != b for a, b in zip(first, second, strict=True)) == 4


def test_a_stub_follows_the_dos_header() -> None:
    assert image(stub=WINE_BUILTIN).file()[0x40:0x50] == b"Wine builtin DLL"


def test_an_epilogue_code_has_the_size_then_the_distances() -> None:
    assert unwind.epilogues(5, [0x123, 7]) == bytes([5, 0x16, 0x23, 0x16, 7, 0x06])
    info = unwind.unwind_info([unwind.epilogues(5, [])], version=2, count=9)
    assert info == bytes([2, 0, 9, 0, 5, 0x16, 0, 0])
