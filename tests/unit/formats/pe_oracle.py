"""What GNU objdump says of a PE file, brought to one form to compare with."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from unspool.formats import pe_symbols
from unspool.formats.pe import EXPORT, MACHINE_I386, Pe, Section
from unspool.formats.pe_exports import exports

from .pe_names import functions

OBJDUMP = "x86_64-w64-mingw32-objdump"

_FIELD = re.compile(r"^(\w+|Time/Date)\t+(.+?)(?:\t.*)?$", re.MULTILINE)
_SECTION = re.compile(r"^ +\d+ (\S+) +([0-9a-f]+)  ([0-9a-f]+)  [0-9a-f]+  ([0-9a-f]+)  2")
_ADDRESS = re.compile(r"^\t\[ *(\d+)\] \+base\[ *(\d+)\] +([0-9a-f]+) (Export|Forwarder) RVA")
# Newer versions add the ordinal and the hint.
_NAME = re.compile(r"^\t\[ *(\d+)\](?: \+base\[.*\]  [0-9a-f]{4})? (.+)$")
_DIRECTORY = re.compile(r"^Entry ([0-9a-f]) ([0-9a-f]+) ([0-9a-f]+) ", re.MULTILINE)
_CODEVIEW = re.compile(r"^\(format (\w+) signature ([0-9a-f]+) age (\d+)(?: pdb (.*))?\)$", re.M)
_SYMBOL = re.compile(
    r"^\[ *\d+\]\(sec +(-?\d+)\)\(fl 0x..\)\(ty +([0-9a-f]+)\)\(scl +(\d+)\) \(nx \d+\) "
    r"0x([0-9a-f]+) (.*)$",
    re.MULTILINE,
)
_UNINITIALISED = 0x80
_HEADERS = {
    "Magic": lambda pe: 0x20B if pe.is_64 else 0x10B,
    "AddressOfEntryPoint": lambda pe: pe.entry,
    "ImageBase": lambda pe: pe.image_base,
    "SectionAlignment": lambda pe: pe.section_alignment,
    "FileAlignment": lambda pe: pe.file_alignment,
    "SizeOfImage": lambda pe: pe.size_of_image,
    "SizeOfHeaders": lambda pe: pe.size_of_headers,
    "CheckSum": lambda pe: pe.checksum,
}  # fmt: skip

Tool = Callable[..., str]


class Objdump:
    """The output of one run."""

    def __init__(self, tool: Tool, path: Path) -> None:
        self.text = tool(OBJDUMP, "-w", "-p", "-h", "-t", path)
        self.fields = dict(_FIELD.findall(self.text.partition("The Data Directory")[0]))

    def headers(self) -> dict[str, int]:
        return {name: int(self.fields[name].split()[0], 16) for name in _HEADERS}

    def directories(self) -> dict[int, tuple[int, int]]:
        found = {}
        for index, rva, size in _DIRECTORY.findall(self.text):
            if int(rva, 16) and int(size, 16):
                found[int(index, 16)] = int(rva, 16), int(size, 16)
        return found

    def sections(self) -> list[tuple[str, int, int, int]]:
        """(name, size, address, file offset); the size in the file, if it is not all zeros."""
        matches = map(_SECTION.match, self.text.splitlines())
        rows = [match.groups() for match in matches if match]
        return [(name, *(int(number, 16) for number in rest)) for name, *rest in rows]  # type: ignore[misc]

    def exports(self) -> list[tuple[str | None, int, int]]:
        """(name, ordinal, RVA) without forwarders, sorted."""
        table = self.text.partition("Export Address Table -- Ordinal Base")[2]
        addresses, _, names = table.partition("[Ordinal/Name Pointer] Table")
        slots = {}
        for index, ordinal, rva, kind in _rows(_ADDRESS, addresses):
            if kind == "Export":
                slots[int(index)] = int(ordinal), int(rva, 16)
        named: dict[int, list[str | None]] = {}
        for index, name in _rows(_NAME, names.partition("\n\n")[0]):
            named.setdefault(int(index), []).append(name)
        found = [(n, *slot) for index, slot in slots.items() for n in named.get(index, [None])]
        return sorted(found, key=str)

    def codeview(self) -> tuple[str, str, int] | None:
        """(path, signature's digits, age)."""
        match = _CODEVIEW.search(self.text)
        if match is None or match[1] != "RSDS":
            return None
        return (match[4] or "").replace("(none)", ""), match[2], int(match[3])

    def functions(self, pe: Pe) -> dict[int, set[str]]:
        """The names of symbols with a function's type, by RVA.

        Wine's msvcirt.dll has one outside of code: a pointer called `operator_delete`.
        """
        lines = [line for line in self.text.splitlines() if _SECTION.match(line)]
        code = {number for number, line in enumerate(lines, 1) if ", CODE" in line}
        found: dict[int, set[str]] = {}
        for number, kind, storage, value, name in _SYMBOL.findall(self.text):
            if kind == "20" and int(number) in code and storage in ("2", "3", "105"):
                rva = pe.sections[int(number) - 1].rva + int(value, 16)
                found.setdefault(rva, set()).add(name)
        return found


def _rows(pattern: re.Pattern[str], text: str) -> list[tuple[str, ...]]:
    return [match.groups() for match in map(pattern.match, text.splitlines()) if match]


def differences(tool: Tool, path: Path) -> list[str]:
    """In what we and objdump read a file differently."""
    pe = Pe(path.read_bytes())
    oracle = Objdump(tool, path)
    found = []

    def compare(what: str, ours: object, theirs: object) -> None:
        if ours != theirs:
            found.append(f"{path.name}: {what}: {ours!r} is {theirs!r} to objdump"[:400])

    compare("headers", {name: of(pe) for name, of in _HEADERS.items()}, oracle.headers())
    compare("directories", _directories(pe), oracle.directories())
    compare("sections", _sections(pe), oracle.sections())
    compare("exports", _exports(pe), oracle.exports())
    record = pe.codeview()
    guid = record and (record.path, record.debug_id.replace("-", "")[:32], record.age)
    compare("debug id", guid, oracle.codeview())
    found += _symbol_differences(pe, oracle)
    return found


def _directories(pe: Pe) -> dict[int, tuple[int, int]]:
    numbered = {index: pe.directory(index) for index in range(16)}
    return {index: where for index, where in numbered.items() if where}


def _sections(pe: Pe) -> list[tuple[str, int, int, int]]:
    return [
        (
            section.name,
            _held_size(section),
            pe.image_base + section.rva,
            section.raw_offset,
        )
        for section in pe.sections
    ]


def _held_size(section: Section) -> int:
    if section.characteristics & _UNINITIALISED:
        return section.virtual_size
    return min(section.raw_size, section.virtual_size)


def _exports(pe: Pe) -> list[tuple[str | None, int, int]]:
    directory = pe.directory(EXPORT)
    # The file of debug information (objcopy --only-keep-debug) names a directory that it lacks.
    if directory is None or pe.located(directory[0]) is None:
        return []
    table = exports(pe.read, directory)[1]
    return sorted(((each.name, each.ordinal, each.rva) for each in table), key=str)


def _symbol_differences(pe: Pe, oracle: Objdump) -> list[str]:
    theirs = oracle.functions(pe)
    ours = dict(functions(pe))
    wrong = []
    for rva, names in theirs.items():
        if pe.machine == MACHINE_I386:
            names = {pe_symbols.undecorated(name) for name in names}
        if ours.get(rva) not in names:
            wrong.append(f"symbol at 0x{rva:x}: {ours.get(rva)} is {names} to objdump")
    return wrong
