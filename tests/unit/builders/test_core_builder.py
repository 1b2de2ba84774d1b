"""The core builder against eu-readelf, readelf and pyelftools."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import pytest

from tests.build.core import AT_ENTRY, AT_PAGESZ, REGISTERS, Core, Stack
from tests.conftest import Tool

elffile = pytest.importorskip("elftools.elf.elffile")

ROLES = {
    "x86_64": ("rip", "rsp"), "i386": ("eip", "esp"), "aarch64": ("pc", "sp"), "arm": ("pc", "sp"),
}  # fmt: skip
SIZES = {
    "x86_64": (336, 136), "i386": (144, 124), "aarch64": (392, 136), "arm": (148, 124),
}  # fmt: skip


def sample(arch: str, notes: str = "first") -> bytes:
    pc, sp = ROLES[arch]
    core = Core(arch, notes=notes)
    core.thread(4711, {pc: 0x401234, sp: 0x7FFD0010}, signal=11)
    core.process(4711, "prog", "prog --flag")
    core.signal_info(11, 1, 0x8)
    core.auxv({AT_PAGESZ: 4096, AT_ENTRY: 0x401000})
    core.files([(0x400000, 0x402000, 0x1000, "/bin/prog"), (0x500000, 0x501000, 0, "/lib/x.so")])
    core.thread(0, {pc: 1})
    core.thread(0, {pc: 2})
    core.load(0x7FFD0000, b"stack" * 10)
    core.load(0x400000, b"\x7fELF", memsz=0x2000, flags="rx")
    return core.build()


@pytest.mark.parametrize("notes", ["first", "last"])
@pytest.mark.parametrize("arch", REGISTERS)
def test_pyelftools_reads_what_was_built(arch: str, notes: str) -> None:
    read = elffile.ELFFile(io.BytesIO(sample(arch, notes)))
    kinds = [segment["p_type"] for segment in read.iter_segments()]
    assert kinds == (
        ["PT_NOTE", "PT_LOAD", "PT_LOAD"] if notes == "first" else ["PT_LOAD", "PT_LOAD", "PT_NOTE"]
    )
    [segment] = read.iter_segments("PT_NOTE")
    found = list(segment.iter_notes())
    assert [note["n_type"] for note in found] == [
        "NT_PRSTATUS", "NT_PRPSINFO", "NT_SIGINFO", "NT_AUXV", "NT_FILE", "NT_PRSTATUS",
        "NT_PRSTATUS",
    ]  # fmt: skip
    assert (found[0]["n_descsz"], found[1]["n_descsz"]) == SIZES[arch]
    info = found[1]["n_desc"]
    assert (info["pr_pid"], info["pr_fname"]) == (4711, b"prog" + bytes(12))
    files = found[4]["n_desc"]
    assert list(files["filename"]) == [b"/bin/prog", b"/lib/x.so"]
    assert files["Elf_Nt_File_Entry"][0]["page_offset"] == 1
    stack, text = (s for s in read.iter_segments("PT_LOAD"))
    assert stack.data() == b"stack" * 10
    assert (text["p_filesz"], text["p_memsz"], text["p_flags"]) == (4, 0x2000, 5)


@pytest.mark.parametrize("arch", REGISTERS)
def test_elfutils_reads_registers_and_signal(tool: Tool, tmp_path: Path, arch: str) -> None:
    path = tmp_path / "core"
    path.write_bytes(sample(arch))
    text = " ".join(tool("eu-readelf", "-n", path).split())
    assert "0x0000000000401234" in text or "0x00401234" in text or "4198964" in text
    assert "pid: 4711, ppid: 1" in text
    assert "si_signo: 11, si_errno: 0, si_code: 1 fault address: 0x8" in text
    assert "PAGESZ: 4096 ENTRY: 0x401000" in text
    assert "/bin/prog" in text


@pytest.mark.parametrize("arch", REGISTERS)
def test_every_register_lands_where_elfutils_looks(tool: Tool, tmp_path: Path, arch: str) -> None:
    values = {name: 0x1000 + i for i, name in enumerate(REGISTERS[arch])}
    core = Core(arch)
    core.thread(1, values)
    path = tmp_path / "core"
    path.write_bytes(core.build())
    text = tool("eu-readelf", "-n", path).replace(":", " ").replace(",", " ").split()
    numbers = {}
    for name, value in itertools.pairwise(text):
        numbers.setdefault(name, value)
    for name, value in values.items():
        if name in numbers:
            assert int(numbers[name], 0) == value, name
    assert sum(name in numbers for name in values) >= len(values) - 3


def test_a_register_that_the_machine_lacks_is_refused() -> None:
    with pytest.raises(KeyError):
        Core("i386").thread(1, {"rip": 1})


def test_length_cuts() -> None:
    whole = sample("x86_64")
    core = Core("x86_64")
    core.thread(1, {})
    assert len(core.build(100)) == 100
    assert len(whole) > 4096


def test_stack_labels() -> None:
    stack = Stack(0x1000)
    stack.label("low").push("high", 1, "low+8").label("high").push("high-0x10", -1)
    assert (stack["low"], stack["high"], stack.here) == (0x1000, 0x1018, 0x1028)
    words = [int.from_bytes(stack.build()[i : i + 8], "little") for i in range(0, 40, 8)]
    assert words == [0x1018, 1, 0x1008, 0x1008, (1 << 64) - 1]
    with pytest.raises(ValueError, match="twice"):
        stack.label("low")
    assert Stack(0, 4).push(1, 2).raw(b"xy").space(2).build() == b"\1\0\0\0\2\0\0\0xy" + bytes(8)
