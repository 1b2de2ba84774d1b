"""Naming reports with PE modules: by the target's data, by files alone, and what is said of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.build import pe as build
from tests.unit.symbols.pe_programs import BASE, Programs, module_of
from tests.unit.symbols.test_symbolicate import Options, nothing, report_of
from unspool.formats.pe import Pe
from unspool.memory import Memory, Region
from unspool.model import Location, Module, Report
from unspool.pe_image import PeImage
from unspool.render.json import dumps
from unspool.render.json_reader import loads
from unspool.symbols.symbolicate import symbolicate


def entry_of(path: Path) -> int:
    pe = Pe(path.read_bytes())
    return BASE + pe.entry


def in_memory(data: bytes, base: int = BASE) -> PeImage:
    """A module whose file is gone."""
    memory = Memory([Region(base, base + len(data), lambda: (data, 0, len(data)))])
    return PeImage(memory, base, Pe(data, mapped=True))


def test_exports_out_of_memory() -> None:
    text = build.Section(".text", bytes(0x200), "rx")
    made = build.image(sections=[text], exports=[("one", 0x1000), ("two", 0x1100)])
    module = Module(0, "a.dll", BASE, BASE + made.size_of_image, kind="pe")
    report = report_of([module], [BASE + 0x1010, BASE + 0x1180, BASE + 0x20])
    named = symbolicate(report, nothing, Options(), pe_of=lambda _: in_memory(made.memory()))
    assert named.locations == {
        BASE + 0x1010: Location(0, "one", 0x10),
        BASE + 0x1180: Location(0, "two", 0x80),
        BASE + 0x20: Location(0),
    }
    assert named.findings == []
    assert named.modules[0].code_id == Pe(made.file()).code_id


def test_a_module_of_which_nothing_is_known() -> None:
    module = Module(0, "a.dll", BASE, BASE + 0x2000, kind="pe")
    named = symbolicate(report_of([module], [BASE + 0x1010]), nothing, Options())
    assert named.locations == {BASE + 0x1010: Location(0)}
    assert named.findings == []


def test_a_broken_export_table_is_said_if_it_is_the_files(tmp_path: Path) -> None:
    text = build.Section(".text", bytes(0x200), "rx")
    made = build.image(sections=[text], directories={0: (0x7000_0000, 40)})
    data, path = made.file(), tmp_path / "a.dll"
    path.write_bytes(data)
    named = symbolicate(
        report_of([module_of(path)], [BASE + 0x1010]), nothing, Options(),
        pe_of=lambda _: PeImage(Memory(), BASE, Pe(data), Pe(data)),
    )  # fmt: skip
    [finding] = named.findings
    assert finding.kind == "debug_info"
    assert "export table cannot be read" in finding.title
    absent = symbolicate(
        report_of([module_of(path)], [BASE + 0x1010]), nothing, Options(),
        pe_of=lambda _: in_memory(made.memory()),
    )  # fmt: skip
    assert absent.findings == []


def elsewhere(report: Report) -> Report:
    """The report as another machine reads it."""
    return loads(dumps(report).encode())


@pytest.mark.parametrize("bits", ["x86_64", "i686"])
def test_a_report_alone_and_files_by_name(bits: str, programs: Programs, tmp_path: Path) -> None:
    pytest.importorskip("symbolic")
    path = programs.mingw(bits, "-g")
    module = module_of(path)
    module.path = r"C:\game\windows.dll"
    where = entry_of(path)
    report = elsewhere(report_of([module], [where]))
    unnamed = symbolicate(report, nothing, Options())
    assert unnamed.locations == {where: Location(0)}
    named = symbolicate(report, nothing, Options([path.parent]))
    location = named.locations[where]
    assert (location.function, location.function_offset) == ("entry", 0)
    assert Path(location.file or "").name == "windows.cpp"
    assert named.modules[0].file == str(path)


def test_refused_debug_files_are_findings(programs: Programs, tmp_path: Path) -> None:
    program, debug = programs.split("x86_64", tmp_path)
    debug.write_bytes(debug.read_bytes() + b"changed")
    report = report_of([module_of(program)], [entry_of(program)])
    named = symbolicate(report, nothing, Options())
    [finding] = named.findings
    assert finding.kind == "debug_file_refused"
    assert finding.title.startswith(f"{debug} is not the debug file of windows.dll: its checksum")


def python(code: str) -> None:
    root = Path(__file__).parents[3]  # where the package `tests` is
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ), cwd=root)


def test_without_lines_the_library_is_not_imported(programs: Programs) -> None:
    path = programs.mingw("x86_64", "-g")
    python(
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.unit.symbols.test_pe_reports import *\n"
        f"path = Path({str(path)!r})\n"
        "report = report_of([module_of(path)], [entry_of(path)])\n"
        "named = symbolicate(report, nothing, Options(), lines=False)\n"
        "[location] = named.locations.values()\n"
        "assert (location.function, location.file) == ('entry', None), location\n"
        "assert 'symbolic' not in sys.modules\n"
    )


@pytest.mark.parametrize("kind", ["mingw", "msvc"])
def test_a_missing_library_is_said(kind: str, programs: Programs) -> None:
    path = programs.mingw("x86_64", "-g") if kind == "mingw" else programs.msvc("x86_64")
    python(
        "import sys\n"
        "from pathlib import Path\n"
        "from importlib.machinery import PathFinder\n"
        "from tests.unit.symbols.test_pe_reports import *\n"
        "real = PathFinder.find_spec\n"
        "def find_spec(name, *rest):\n"
        "    return None if name == 'symbolic' else real(name, *rest)\n"
        "PathFinder.find_spec = find_spec\n"
        f"path = Path({str(path)!r})\n"
        "report = report_of([module_of(path)], [entry_of(path)])\n"
        "named = symbolicate(report, nothing, Options())\n"
        "assert [finding.kind for finding in named.findings] == ['no_lines'], named.findings\n"
    )


def test_modules_of_other_kinds_load_nothing_of_pe() -> None:
    python(
        "import sys\n"
        "from unspool.model import *\n"
        "from unspool.symbols.files import SymbolPaths\n"
        "from unspool.symbols.symbolicate import symbolicate\n"
        "class Options: symbols = SymbolPaths([]); sysroot = None\n"
        "frames = [Frame(0x1001, None, Trust.CFI, True)]\n"
        "stack = Stack(0, 1, frames, [Segment('unix')], Stop(StopReason.ROOT))\n"
        "module = Module(0, 'a.so', 0x1000, 0x2000)\n"
        "report = Report(TargetInfo('core', 'x86_64'), [module], [stack])\n"
        "symbolicate(report, lambda _: None, Options)\n"
        "loaded = [name for name in sys.modules if name.startswith('unspool.')]\n"
        "assert not [name for name in loaded if '.pe' in name]\n"
    )
