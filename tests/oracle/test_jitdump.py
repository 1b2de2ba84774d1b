"""jitdumps as perf reads them: it makes an ELF file of each function."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from tests.cpython.install import command, environment
from tests.programs.build import HERE, run, tool
from unspool.formats.cfi import CfiSection
from unspool.formats.jitdump import JitCode, Jitdump

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def injected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Jitdump, Path]:
    """A jitdump of CPython's that is complete, and the folder with perf's files."""
    folder = tmp_path_factory.mktemp("perf")
    perf, python = tool("perf"), command()
    words = [*python, "-X", "perf_jit", HERE / "python_ends.py"]
    done = run([perf, "record", "-k", "mono", "-o", "data", *words], cwd=folder, env=environment())
    if done.returncode:
        pytest.skip(f"perf may not record here: {done.stderr.strip()[-200:]}")
    pid = done.stdout.split()[0]
    done = run([perf, "inject", "--jit", "-i", "data", "-o", "more"], cwd=folder)
    assert done.returncode == 0, done.stderr
    dump = folder / f"jit-{pid}.dump"
    for path in (f"/tmp/{dump.name}", *Path("/tmp").glob(f"jitted-{pid}-*.so")):
        shutil.move(path, folder)
    return Jitdump(dump.read_bytes()), folder


def test_functions_are_perfs(injected: tuple[Jitdump, Path]) -> None:
    dump, folder = injected
    functions = dump.functions()
    assert dump.problem is None
    assert {"py::inner", "py::outer"} <= {dump.name(each).rpartition(":")[0] for each in functions}
    for code in functions:
        with (folder / f"jitted-{dump.pid}-{code.index}.so").open("rb") as file:
            compare(dump, code, ELFFile(file))


def compare(dump: Jitdump, code: JitCode, elf: ELFFile) -> None:
    text, frames = elf.get_section_by_name(".text"), elf.get_section_by_name(".eh_frame")
    assert text.data() == dump.code_bytes(code)
    [symbol] = [each for each in elf.get_section_by_name(".symtab").iter_symbols() if each.name]
    assert symbol.name == dump.name(code)
    assert symbol["st_size"] == code.end - code.start
    ours = dump.unwind_data(code)
    assert ours is not None
    assert frames.data()[: len(ours)] == ours
    # The place where perf puts it is the one that its addresses are relative to.
    section = CfiSection(ours, 0, len(ours), frames["sh_addr"], is_eh=True, address_size=8)
    fde = section.find(text["sh_addr"])
    assert fde is not None
    assert (fde.start, fde.end) == (text["sh_addr"], text["sh_addr"] + code.end - code.start)
    assert frames["sh_addr"] - text["sh_addr"] == code.end - code.start + -code.end % 8
