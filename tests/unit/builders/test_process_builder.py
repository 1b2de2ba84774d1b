"""The made-up process against elfutils: it finds the very frames that the builder planted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.build.elf import Elf
from tests.build.process import MACHINES, Process, Program
from tests.conftest import Tool

FUNCTIONS = ["inner", "middle", "main", "_start"]


@pytest.mark.parametrize("notes", ["first", "last"])
@pytest.mark.parametrize("arch", MACHINES)
def test_eu_stack_finds_the_planted_frames(
    tool: Tool, tmp_path: Path, arch: str, notes: str
) -> None:
    program, core = tmp_path / "prog", tmp_path / "core"
    process = Process(arch, path=str(program), notes=notes)
    process.thread(4711, FUNCTIONS, signal=11)
    process.thread(4712, FUNCTIONS[1:])
    program.write_bytes(process.program.build())
    core.write_bytes(process.core().build())
    text = tool("eu-stack", "-e", program, "--core", core)
    threads = re.split(r"TID \d+:", text)[1:]
    found = [
        [(int(pc, 16), name) for pc, name in re.findall(r"#\d+ +0x([0-9a-f]+) (\w+)", part)]
        for part in threads
    ]
    expected = [
        list(zip(pcs, names, strict=True))
        for pcs, names in zip(process.pcs, (FUNCTIONS, FUNCTIONS[1:]), strict=True)
    ]
    assert found == expected


@pytest.mark.parametrize("arch", MACHINES)
def test_readelf_has_no_complaint(tool: Tool, tmp_path: Path, arch: str) -> None:
    path = tmp_path / "prog"
    path.write_bytes(Program(MACHINES[arch]).build())
    text = tool("readelf", "-W", "-a", "-wF", path)
    assert "arning" not in text
    assert len(re.findall(r" FDE cie=", text)) == 4


def test_a_section_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="page"):
        Program(MACHINES["x86_64"], [*map(str, range(200)), "_start"]).build()


def test_more_sections_can_follow() -> None:
    program = Program(MACHINES["x86_64"])

    def more(image: Elf) -> None:
        image.section(".comment", data=b"hi")

    before = program.build()
    program.extra = more
    assert program.build()[0x800:0x3020] == before[0x800:0x3020]
    assert b".comment" in program.build()
