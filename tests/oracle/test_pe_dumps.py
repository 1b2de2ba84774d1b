"""The unwind data of x64 PE files: we read what GNU objdump and LLVM's readobj read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.oracle.pe_programs import build, library
from unspool.formats import pe_unwind as u
from unspool.formats.pe import EXCEPTION, Pe
from unspool.formats.pe_unwind import FunctionTable, RuntimeFunction, parse_unwind_info

pytestmark = pytest.mark.oracle

# begin: (end, prologue's size, frame register and offset, codes), all as text of one form.
Dump = dict[int, tuple[int, int, str, list[str]]]

NAMES = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16))]
LIBRARIES = ["ntdll", "kernelbase", "msvcrt", "ucrtbase", "user32", "rpcrt4", "wow64cpu", "zlib1"]


@pytest.fixture(params=[*LIBRARIES, "O0", "O2"])
def file(request: pytest.FixtureRequest, programs_root: Path) -> Path:
    """A DLL of Wine's, or a program of our own with every form that GNU as can write."""
    name = str(request.param)
    if name in ("O0", "O2"):
        return build("pe_steps", f"-{name}", programs_root)
    return library(name)


def ours(path: Path) -> Dump:
    pe = Pe(path.read_bytes())
    directory = pe.directory(EXCEPTION)
    assert directory is not None
    located = pe.located(directory[0])
    assert located is not None
    table = FunctionTable(located[0], located[1], located[1] + directory[1])
    functions = [table[index] for index in range(len(table))]
    assert [table.find(each.begin) for each in functions if each.end > each.begin]
    return {
        each.begin + pe.image_base: describe(pe, each)
        for each in functions
        if each.end > each.begin
    }


def describe(pe: Pe, function: RuntimeFunction) -> tuple[int, int, str, list[str]]:
    info = parse_unwind_info(pe.read, function.unwind)
    frame = f"{NAMES[info.frame_register]}+{info.frame_offset}" if info.frame_register else ""
    codes = [f"{offset} {words(*code, frame)}" for offset, *code in info.codes]
    return function.end + pe.image_base, info.prologue, frame, codes


def words(operation: int, argument: int, value: int, frame: str) -> str:
    if operation == u.PUSH_NONVOL:
        return f"push {NAMES[argument]}"
    if operation in (u.ALLOC_SMALL, u.ALLOC_LARGE):
        return f"alloc {value}"
    if operation in (u.SAVE_NONVOL, u.SAVE_NONVOL_FAR):
        return f"save {NAMES[argument]} {value}"
    if operation in (u.SAVE_XMM128, u.SAVE_XMM128_FAR):
        return f"save xmm{argument} {value}"
    if operation == u.SET_FPREG:
        return f"frame {frame}"
    assert operation == u.PUSH_MACHFRAME
    return f"machine {argument}"


# --- objdump --------------------------------------------------------------------------

_INFO = re.compile(r"^ [0-9a-f]{16} \(rva: [0-9a-f]+\): ([0-9a-f]{16}) - ([0-9a-f]{16})$")
_SIZES = re.compile(
    r"^\tNbr codes: \d+, Prologue size: (\S+), Frame offset: (\S+), Frame reg: (\w+)$"
)
_OBJDUMP_CODES = [
    (re.compile(r"push (r\w+)$"), "push {}"),
    (re.compile(r"alloc (?:small|large) area: rsp = rsp - (0x\w+)$"), "alloc {}"),
    (re.compile(r"save (r\w+|xmm\d+) at rsp \+ (0x\w+)$"), "save {} {}"),
    (re.compile(r"FPReg: (r\w+) = rsp \+ (0x\w+) \(info = \w+\)$"), "frame {}+{}"),
    (re.compile(r"interrupt entry \(SS, old RSP, EFLAGS, CS, RIP\)$"), "machine 0"),
    (re.compile(r"interrupt entry \(SS, old RSP, EFLAGS, CS, RIP, ?ErrorCode\)$"), "machine 1"),
]


def from_objdump(text: str) -> Dump:
    """What `objdump -p` says of .xdata: each info once, for the last function that has it."""
    result: Dump = {}
    codes: list[str] = []
    begin = end = 0
    for line in text.partition("Dump of .xdata\n")[2].splitlines():
        if found := _INFO.match(line):
            begin, end = int(found[1], 16), int(found[2], 16)
        elif found := _SIZES.match(line):
            codes = []
            frame = f"{found[3]}+{int(found[2], 16) * 16}" if found[3] != "none" else ""
            result[begin] = end, int(found[1], 16), frame, codes
        elif line.startswith("\t  pc+"):
            offset, _, rest = line[6:].partition(": ")
            codes.append(f"{int(offset, 16)} {normal(rest, _OBJDUMP_CODES)}")
    return result


def normal(text: str, forms: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, form in forms:
        if found := pattern.match(text):
            parts = (str(int(part, 0)) if part[:1].isdigit() else part for part in found.groups())
            return form.format(*parts).lower()
    raise AssertionError(f"a form that was not expected: {text!r}")


def test_objdump_reads_the_same(tool: Tool, file: Path) -> None:
    mine, theirs = ours(file), from_objdump(tool("x86_64-w64-mingw32-objdump", "-p", file))
    assert len(theirs) > 50 or file.stem == "wow64cpu"
    assert {begin: mine.get(begin) for begin in theirs} == theirs


# --- readobj --------------------------------------------------------------------------

_READOBJ_CODES = [
    (re.compile(r"PUSH_NONVOL reg=(\w+)$"), "push {}"),
    (re.compile(r"ALLOC_(?:SMALL|LARGE) size=(\w+)$"), "alloc {}"),
    (re.compile(r"SAVE_NONVOL(?:_FAR)? reg=(\w+), offset=(\w+)$"), "save {} {}"),
    (re.compile(r"SAVE_XMM128(?:_FAR)? reg=(\w+), offset=(\w+)$"), "save {} {}"),
    (re.compile(r"SET_FPREG reg=(\w+), offset=(\w+)$"), "frame {}+{}"),
    (re.compile(r"PUSH_MACHFRAME errcode=no$"), "machine 0"),
    (re.compile(r"PUSH_MACHFRAME errcode=yes$"), "machine 1"),
]


def from_readobj(text: str) -> Dump:
    """What `llvm-readobj --unwind` says: every function."""
    result: Dump = {}
    for part in text.split("  RuntimeFunction {\n")[1:]:
        fields = dict(re.findall(r"^ +(\w+): (.*)$", part, re.MULTILINE))
        begin, end = (
            int(re.findall(r"\((0x\w+)\)", fields[name])[0], 16)
            for name in ("StartAddress", "EndAddress")
        )
        register, offset = fields["FrameRegister"], fields["FrameOffset"]
        frame = "" if register == "-" else f"{register.split()[0].lower()}+{int(offset, 0) * 16}"
        codes = [
            f"{int(at, 16)} {normal(rest, _READOBJ_CODES)}"
            for at, rest in re.findall(r"^ +(0x\w\w): (.*)$", part, re.MULTILINE)
        ]
        result[begin] = end, int(fields["PrologSize"]), frame, codes
    return result


def test_readobj_reads_the_same(tool: Tool, file: Path) -> None:
    mine, theirs = ours(file), from_readobj(tool("llvm-readobj", "--unwind", file))
    assert theirs == mine
