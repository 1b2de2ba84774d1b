"""Files that use the red zone, may not, and do not; and what lies below threads' stack pointers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.programs.running import running_program
from tests.programs.table import Program
from unspool import api
from unspool.analyses.redzone import FileUses, file_uses, thread_zones, zone_findings
from unspool.analyses.redzone.records import ASKED, I386, KERNEL, SYSTEM_V, WINDOWS
from unspool.arch import x86_below
from unspool.errors import InputError, MissingDependency
from unspool.targets.base import Options

pytest.importorskip("iced_x86")

SOURCE = """
#define NOINLINE __attribute__((noinline))
extern long outside(long);
NOINLINE long leaf(long a, long b) { volatile long x[3]; x[0] = a; x[2] = b; return x[0] + x[2]; }
NOINLINE long deep(long a) {
    __asm__ volatile("movq %0, -200(%%rsp)\\n movq -200(%%rsp), %0" : "+r"(a));
    return a;
}
NOINLINE long calls(long a) { volatile long y = a; return outside(y) + y; }
"""
I386_SOURCE = SOURCE.replace("rsp", "esp").replace("movq", "movl")
MAIN = """
NOINLINE long outside(long a) { return a; }
int main(int argc, char **argv) { return (int)(leaf(argc, 2) + deep(argc) + calls(argc)); }
"""
PROGRAM = SOURCE + MAIN


def compiled(tool: Tool, folder: Path, *command: str, source: str = SOURCE) -> str:
    path, made = folder / "a.c", folder / "made.exe"
    made.unlink(missing_ok=True)
    path.write_text(source)
    tool(*command, path, "-o", made)
    if not made.exists():
        pytest.skip(f"{' '.join(command)} makes nothing here")
    return str(made)


def looked(path: str, **options: bool) -> FileUses:
    return file_uses(Path(path).read_bytes(), path, Options(), **options)


def verdicts(result: FileUses) -> dict[str | None, str]:
    return {each.name: each.verdict for each in result.functions}


@pytest.mark.parametrize(
    "command",
    [("gcc", "-O2", "-c"), ("gcc", "-O2", "-c", "-ffunction-sections"), ("gcc", "-O0", "-c")],
    ids=" ".join,
)
def test_an_object(tool: Tool, tmp_path: Path, command: tuple[str, ...]) -> None:
    path = compiled(tool, tmp_path, *command)
    result = looked(path)
    assert (result.kind, result.arch, result.zone) == ("ELF object", "x86-64", SYSTEM_V)
    assert verdicts(result) == {"leaf": "within", "deep": "beyond"}
    assert result.functions_seen == 3
    assert result.problems == []
    forbidden = looked(path, no_red_zone=True)
    assert forbidden.zone is ASKED
    assert verdicts(forbidden) == {"leaf": "forbidden", "deep": "forbidden"}


def test_a_program_with_lines(tool: Tool, tmp_path: Path) -> None:
    pytest.importorskip("symbolic")
    result = looked(compiled(tool, tmp_path, "gcc", "-O0", "-g", source=PROGRAM))
    found = {each.name: each for each in result.functions}
    assert found["leaf"].verdict == "within"
    assert found["deep"].verdict == "beyond"
    assert "calls" not in found
    for name, lines in (("leaf", {4}), ("deep", {5, 6, 7})):
        assert {place[1] for place in found[name].places.values()} == lines
        assert all(str(place[0]).endswith("a.c") for place in found[name].places.values())
    assert {use.evidence for use in found["leaf"].uses} == {"cfi and code"}


@pytest.mark.parametrize("version", ["4", "5"])
@pytest.mark.parametrize("how", [("-c",), ()])
def test_split_debug_information_is_said_to_be_unread(
    tool: Tool, tmp_path: Path, version: str, how: tuple[str, ...]
) -> None:
    source = SOURCE if how else PROGRAM
    flags = ("gcc", "-O0", "-g", f"-gdwarf-{version}", *how)
    whole = looked(compiled(tool, tmp_path, *flags, source=source))
    split = looked(compiled(tool, tmp_path, *flags, "-gsplit-dwarf", source=source))
    notes = [note for note in split.notes if ".dwo" in note]
    assert (len(notes), any(".dwo" in note for note in whole.notes)) == (1, False)
    assert not any(each.places for each in split.functions)


def test_a_stripped_program(tool: Tool, tmp_path: Path) -> None:
    """Functions are known by unwind data alone; they have no names."""
    result = looked(compiled(tool, tmp_path, "gcc", "-O2", "-s", source=PROGRAM))
    assert sorted(each.verdict for each in result.functions) == ["beyond", "within"]
    assert {(each.name, each.known) for each in result.functions} == {(None, True)}


def test_without_a_red_zone_there_is_nothing_to_find(tool: Tool, tmp_path: Path) -> None:
    plain = SOURCE.replace("-200(%%rsp)", "(%%rsp)")
    path = compiled(tool, tmp_path, "gcc", "-O2", "-mno-red-zone", "-c", source=plain)
    result = looked(path, no_red_zone=True)
    assert result.functions == []
    assert result.looked_at > 0


def test_a_kernel_module_is_one_by_its_sections(tool: Tool, tmp_path: Path) -> None:
    source = SOURCE + '__attribute__((section(".modinfo"))) char info[] = "license=GPL";\n'
    assert looked(compiled(tool, tmp_path, "gcc", "-O2", "-c", source=source)).zone is KERNEL


def test_i386_and_windows_have_none(tool: Tool, tmp_path: Path) -> None:
    result = looked(compiled(tool, tmp_path, "gcc", "-m32", "-O2", "-c", source=I386_SOURCE))
    assert result.zone is I386
    assert verdicts(result) == {"deep": "forbidden"}
    for compiler, arch in (("x86_64-w64-mingw32-gcc", "x86-64"), ("i686-w64-mingw32-gcc", "i386")):
        text = I386_SOURCE + MAIN if arch == "i386" else PROGRAM.replace("long", "long long")
        result = looked(compiled(tool, tmp_path, compiler, "-O2", source=text))
        assert (result.kind, result.zone, result.arch) == ("PE file", WINDOWS, arch)
        assert verdicts(result).get("deep") == "forbidden"
        assert "leaf" not in verdicts(result)


def test_data_between_functions_is_no_code(tool: Tool, tmp_path: Path) -> None:
    source = SOURCE + '__asm__(".text\\n.byte 0x06,0x48,0x89,0x44,0x24,0xf8,0x0e,0x1e\\n");\n'
    result = looked(compiled(tool, tmp_path, "gcc", "-O2", "-c", source=source))
    assert result.skipped >= 8
    assert set(verdicts(result)) == {"leaf", "deep"}


def test_other_files_and_no_decoder(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = compiled(tool, tmp_path, "gcc", "-O2", "-c")
    data = bytearray(Path(path).read_bytes())
    data[18] = 243  # RISC-V
    with pytest.raises(InputError, match="another CPU"):
        file_uses(bytes(data), "a.o", Options())
    monkeypatch.setattr(x86_below, "available", lambda: False)
    with pytest.raises(MissingDependency, match="iced-x86"):
        looked(path)


# --- threads ------------------------------------------------------------------------------

PATCH = Program(name="patch", source="patch.c", flags=("-O2", "-g", "-pthread"))


@pytest.mark.parametrize("variant", ["x86-64", "i386"])
def test_threads_of_a_process(variant: str, programs_root: Path) -> None:
    program = PATCH if variant == "x86-64" else PATCH.variant("patch-m32", compiler="gcc-m32")
    with running_program(program, programs_root) as running, api.open(running.pid) as target:
        zones = list(thread_zones(target))
    (zone,) = zones
    assert zone.sp is not None
    assert zone.beyond is not None
    size = 128 if variant == "x86-64" else 0
    assert zone.beyond[1] == zone.sp - size
    assert zone.beyond[0] < zone.beyond[1]
    assert zone.red_zone == ((zone.sp - 128, zone.sp) if size else None)
    if variant == "x86-64":
        assert zone.uses == []
    (finding,) = zone_findings(zones)
    assert finding.kind == "below_stack"
    assert not finding.incomplete
    assert f"0x{zone.beyond[0]:x}-0x{zone.beyond[1]:x}" in (finding.detail or "")
