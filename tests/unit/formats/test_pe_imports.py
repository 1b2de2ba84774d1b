"""Import tables and relocations of PE files, against objdump; and what is no table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import Tool, examples
from unspool.errors import FormatError
from unspool.formats.pe import Pe
from unspool.formats.pe_imports import imports, relocations

SOURCE = """
#include <windows.h>
int value = 3, *pointer = &value;
__declspec(dllexport) int call(const char *text) { return MessageBoxA(0, text, 0, *pointer); }
"""
_made: dict[str, bytes] = {}


def made(tool: Tool, folder: Path, machine: str) -> bytes:
    if machine not in _made:
        (folder / "a.c").write_text(SOURCE)
        tool(f"{machine}-w64-mingw32-gcc", "-shared", folder / "a.c", "-o", folder / "a.dll")
        (folder / f"{machine}.dll").write_bytes((folder / "a.dll").read_bytes())
        _made[machine] = (folder / "a.dll").read_bytes()
    return _made[machine]


@pytest.mark.parametrize("machine", ["x86_64", "i686"])
def test_as_objdump_has_them(tool: Tool, tmp_path: Path, machine: str) -> None:
    pe = Pe(made(tool, tmp_path, machine))
    path = tmp_path / "b.dll"
    path.write_bytes(made(tool, tmp_path, machine))
    listed = tool(f"{machine}-w64-mingw32-objdump", "-p", path)
    found = dict(imports(pe))
    names = sorted(name.partition("!")[2] for name in found.values())
    wanted, dll = [], False
    for line in listed.splitlines():
        dll = (dll or "DLL Name" in line) and "Export Tables" not in line
        row = re.fullmatch(r"\t[0-9a-f]+\s+\d+\s+(\S+)\s*", line)
        if dll and row:
            wanted.append(row[1])
    assert names == sorted(wanted)
    assert "user32.dll!MessageBoxA" in found.values()
    fixed = {
        int(page, 16) + int(offset, 16)
        for page, body in re.findall(
            r"Virtual Address: (\w+) Chunk.*?\n(.*?)(?=\n\n|\nVirtual|\Z)", listed, re.S
        )
        for offset in re.findall(r"offset\s+([0-9a-f]+) \[\w+\] (?:DIR64|HIGHLOW)", body)
    }
    assert relocations(pe) == fixed
    assert len(fixed) > 5


@settings(max_examples=examples(150), deadline=None)
@given(st.data())
def test_broken_tables(
    tool: Tool, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    machine = data.draw(st.sampled_from(["x86_64", "i686"]))
    whole = bytearray(made(tool, tmp_path_factory.getbasetemp(), machine))
    pe = Pe(bytes(whole))
    places = [directory for index in (1, 5) if (directory := pe.directory(index))]
    for _ in range(data.draw(st.integers(1, 8))):
        rva, size = data.draw(st.sampled_from(places))
        located = pe.located(rva)
        assert located is not None
        at = located[1] + data.draw(st.integers(0, max(size - 1, 0)))
        whole[min(at, len(whole) - 1)] = data.draw(st.integers(0, 255))
    try:
        broken = Pe(bytes(whole))
    except FormatError:
        return
    for slot, name in imports(broken):
        assert slot >= 0
        assert "!" in name
    assert all(each >= 0 for each in relocations(broken))
