"""Other readers of call frame information, brought to one form to compare with.

An oracle gives, for each FDE by its offset in the section: its range and its rows, each
(address, CFA, {column: rule}). A CFA is "REG+N" or "exp"; a rule "c-8" (saved at CFA-8),
"v+8" (is CFA+8), "exp", "vexp", or "=REG". Columns that are unspecified or undefined are left out,
as readelf prints the same letter for both. Registers are DWARF numbers.
"""

from __future__ import annotations

import re
from pathlib import Path

from unspool.formats import cfi, cfi_row, elf

Row = tuple[int, str, dict[int, str]]
Oracle = dict[int, tuple[int, int, list[Row]]]

_X86_64 = [
    "rax",
    "rdx",
    "rcx",
    "rbx",
    "rsi",
    "rdi",
    "rbp",
    "rsp",
    "r8",
    "r9",
    "r10",
    "r11",
    "r12",
    "r13",
    "r14",
    "r15",
    "rip",
]
_X86 = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip"]
_AARCH64 = [*(f"x{n}" for n in range(31)), "sp", "pc", "elr", "ra_sign_state"]
# AADWARF64: v0-v31 are 64-95.
NAMES = {
    62: {name: number for number, name in enumerate(_X86_64)}
    | {f"xmm{n}": 17 + n for n in range(16)},
    3: {name: number for number, name in enumerate(_X86)},
    183: {name: number for number, name in enumerate(_AARCH64)}
    | {f"v{n}": 64 + n for n in range(32)},
}
_SECTION = re.compile(r"^Contents of the (\S+) section")
_CIE = re.compile(r"^([0-9a-f]{8,}) \S+ \S+ CIE .* ra=(\d+)")
_FDE = re.compile(r"^([0-9a-f]{8,}) .* FDE cie=(\S+) pc=([0-9a-f]+)\.\.([0-9a-f]+)")
_ROW = re.compile(r"^([0-9a-f]{8,}) (?:(\w+)([+-]\d+)|exp)(?: |$)")
# Long rules run into their neighbours: "c-1024c-16".
_RULE = re.compile(r"[cv][+-]\d+|vexp|exp|r\d+ \([\w.]+\)|\w+")


def _register(name: str, names: dict[str, int]) -> int:
    """A register by readelf's name for it: `rbx`; `r72` where it knows no name."""
    return names[name] if name in names else int(name[1:])


def from_readelf(text: str, section: str, machine: int) -> Oracle:
    """Parses `readelf -wNF`. FDEs that print no rows have their CIE's."""
    result: Oracle = {}
    names = NAMES[machine]
    cies: dict[str, tuple[int, list[Row]]] = {}
    here, ra = "", 0
    columns: list[int] = []
    rows: list[Row] = []
    for line in text.splitlines():
        if found := _SECTION.match(line):
            here = found[1]
        elif here != section:
            continue
        elif found := _CIE.match(line):
            ra, rows = int(found[2]), []
            cies[found[1]] = ra, rows
        elif found := _FDE.match(line):
            start, rows = int(found[3], 16), []
            ra = cies[found[2]][0]
            result[int(found[1], 16)] = start, int(found[4], 16), rows
            # Replaced below where the FDE has rows of its own.
            rows += [(start, cfa, rules) for _, cfa, rules in cies[found[2]][1]]
        elif line.startswith("   LOC"):
            rows.clear()
            columns = [ra if name == "ra" else _register(name, names) for name in line.split()[2:]]
        elif found := _ROW.match(line):
            cfa = f"{_register(found[2], names)}{int(found[3]):+d}" if found[2] else "exp"
            made = {}
            for column, rule in zip(columns, _RULE.findall(line, found.end()), strict=True):
                if rule not in ("u", "s"):
                    # `r1 (rdx)` is DWARF register 1, not the one that is called r1.
                    made[column] = rule if rule[0] in "cve" else "=" + rule.split()[0][1:]
            rows.append((int(found[1], 16), cfa, made))
    return result


def from_pyelftools(path: Path, section: str) -> Oracle:
    """Rows by pyelftools, which gives expressions byte by byte: "exp:70087f" and the like."""
    from elftools.dwarf.callframe import FDE
    from elftools.elf.elffile import ELFFile

    result: Oracle = {}
    with path.open("rb") as stream:
        info = ELFFile(stream).get_dwarf_info(relocate_dwarf_sections=False)
        entries = info.EH_CFI_entries() if section == ".eh_frame" else info.CFI_entries()
        for entry in entries:
            if not isinstance(entry, FDE):
                continue
            start = entry["initial_location"]
            rows: list[Row] = []
            table = entry.get_decoded().table or entry.cie.get_decoded().table
            for line in table:
                cfa = line["cfa"]
                text = "exp:" + bytes(cfa.expr).hex() if cfa.expr else f"{cfa.reg}{cfa.offset:+d}"
                rules = {
                    number: _rule(rule)
                    for number, rule in line.items()
                    if isinstance(number, int) and rule.type not in ("UNDEFINED", "SAME_VALUE")
                }
                rows.append((line.get("pc", start), text, rules))
            result[entry.offset] = (start, start + entry["address_range"], rows)
    return result


def _rule(rule: object) -> str:
    kind, argument = rule.type, rule.arg  # type: ignore[attr-defined]
    if kind in ("EXPRESSION", "VAL_EXPRESSION"):
        return ("v" if kind[0] == "V" else "") + "exp:" + bytes(argument).hex()
    return {"OFFSET": "c", "VAL_OFFSET": "v", "REGISTER": "="}[kind] + (
        str(argument) if kind == "REGISTER" else f"{argument:+d}"
    )


def ours(section: cfi.CfiSection, offset: int, address: int, whole: bool) -> Row:
    """Our row in the same form; expressions with their bytes if `whole`."""
    fde = section.fde_at(section.start + offset)
    assert fde is not None
    row = cfi_row.row_at(section, fde, address)

    def expression(program: bytes) -> str:
        return "exp:" + program.hex() if whole else "exp"

    rules = {}
    for number, (kind, argument) in row.rules.items():
        if kind in (cfi_row.UNDEFINED, cfi_row.SAME_VALUE):
            continue
        if kind == cfi_row.OFFSET:
            rules[number] = f"c{argument:+d}"
        elif kind == cfi_row.VAL_OFFSET:
            rules[number] = f"v{argument:+d}"
        elif kind == cfi_row.REGISTER:
            rules[number] = f"={argument}"
        else:
            assert isinstance(argument, bytes)
            rules[number] = ("v" if kind == cfi_row.VAL_EXPRESSION else "") + expression(argument)
    if row.cfa_expression is not None:
        cfa = expression(row.cfa_expression)
    else:
        cfa = f"{row.cfa_register}{row.cfa_offset:+d}"
    return address, cfa, rules


def open_section(data: bytes, name: str) -> cfi.CfiSection | None:
    """A CFI section of an ELF file as our reader sees it."""
    file = elf.Elf(data)
    header = file.section(name)
    if header is None:
        return None
    buffer, start, end = file.section_data(header)
    return cfi.CfiSection(
        buffer, start, end, header.address, is_eh=name == ".eh_frame",
        address_size=file.address_size,
    )  # fmt: skip


def differences(section: cfi.CfiSection, oracle: Oracle, whole: bool) -> list[str]:
    """Rows on which we and an oracle do not agree, at both ends of each row's range."""
    wrong = []
    for offset, (start, end, rows) in oracle.items():
        fde = section.fde_at(section.start + offset)
        if fde is None or (fde.start, fde.end) != (start, end):
            wrong.append(f"FDE at 0x{offset:x}: range")
            continue
        borders = [row[0] for row in rows[1:]] + [end]
        for (address, cfa, rules), border in zip(rows, borders, strict=True):
            for probe in {address, border - 1} if border > address else ():
                found = ours(section, offset, probe, whole)
                if found[1:] != (cfa, rules):
                    wrong.append(f"0x{probe:x}: {found[1:]} is not {cfa, rules}")
    return wrong
