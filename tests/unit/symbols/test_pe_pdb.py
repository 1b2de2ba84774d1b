"""PDB files: where they are found, which are refused, and what they say."""

from __future__ import annotations

import lzma
import shutil
from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.unit.symbols.conftest import SOURCES
from tests.unit.symbols.pe_programs import (
    BASE,
    BITS,
    SOURCE,
    Programs,
    calls_in,
    function_at,
    module_of,
    symbols_of,
)
from unspool.formats.pe import Pe
from unspool.model import Module
from unspool.symbols.ids import store_id
from unspool.symbols.pe.files import open_pe
from unspool.symbols.pe.module import PeModuleSymbols

pytest.importorskip("symbolic")

Place = tuple[str, int]

FUNCTIONS = {
    "stop", "shop::Box<int>::get", "shop::(anonymous namespace)::hidden", "shop::outer", "_under",
    "std_call", "fast_call", "api", "entry",
}  # fmt: skip


@pytest.fixture(params=BITS)
def bits(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kept(bits: str, tmp_path: Path) -> Path:
    """The DLL that is kept beside the source, its PDB file beside it."""
    folder = tmp_path / "app"
    folder.mkdir()
    for kind in ("dll", "pdb"):
        packed = SOURCES / f"windows-{bits}.{kind}.xz"
        (folder / f"windows.{kind}").write_bytes(lzma.decompress(packed.read_bytes()))
    return folder / "windows.dll"


def opened(path: Path) -> Pe:
    pe = open_pe(str(path))
    assert pe is not None
    return pe


def code_of(path: Path) -> range:
    """The RVAs of its code."""
    text = opened(path).section(".text")
    assert text is not None
    return range(text.rva, text.rva + text.virtual_size)


def places(symbols: PeModuleSymbols, rva: int) -> list[Place]:
    """(function, line), innermost first."""
    found = symbols.lookup(BASE + rva)
    return [(place.function, place.line or 0) for place in found[2]] if found else []


# --- what it says -------------------------------------------------------------------------


def test_functions_are_called_as_in_the_source(kept: Path) -> None:
    symbols = symbols_of(kept)
    assert {function_at(symbols, rva) for rva in code_of(kept)} - {None} == FUNCTIONS
    assert symbols.problems == symbols.refused == []
    assert symbols.module.debug_file == str(kept.with_suffix(".pdb"))


def test_lines_and_inlined_calls(kept: Path) -> None:
    symbols = symbols_of(kept)
    lines = SOURCE.read_text().splitlines()
    seen = {tuple(places(symbols, rva)) for rva in code_of(kept)}
    chains = [chain for chain in seen if [name for name, _ in chain[:2]] == [
        "shop::deep", "shop::middle",
    ]]  # fmt: skip
    assert {chain[2][0] for chain in chains} == {"shop::outer", "shop::Box<int>::get"}
    for chain in chains:
        assert lines[chain[1][1] - 1].strip() == "return deep(x + 1) ^ x;"
        assert "middle(" in lines[chain[2][1] - 1]
    assert any(name == "__two_under" for chain in seen for name, _ in chain[:-1])


def test_offsets_count_from_the_functions_begin(kept: Path) -> None:
    pe = opened(kept)
    symbols = symbols_of(kept)
    found = symbols.lookup(BASE + pe.entry + 5)
    assert found is not None
    assert found[:2] == ("entry", BASE + pe.entry)


def test_the_padding_between_functions_has_no_lines(kept: Path) -> None:
    symbols = symbols_of(kept)
    data = opened(kept)
    padding = [rva for rva in code_of(kept)[:-2] if data.read(rva, 3) == b"\xcc" * 3]
    assert len(padding) >= 2
    for rva in padding:
        assert places(symbols, rva) == []
        # A PDB file says where its functions end; what is exported may have more behind it.
        assert function_at(symbols, rva) in (None, "_under", "api")


@pytest.mark.oracle
def test_calls_are_in_the_lines_that_llvm_symbolizer_says(
    bits: str, programs: Programs, tool: Tool
) -> None:
    path = programs.msvc(bits)
    base = opened(path).image_base
    symbols = symbols_of(path)
    rvas = calls_in(path, bits, tool)
    output = tool(
        "llvm-symbolizer", f"--obj={path}", "--output-style=GNU", "--functions=none",
        "--inlines", "--addresses", *(hex(base + rva) for rva in rvas),
    )  # fmt: skip
    theirs: dict[int, list[int]] = {}
    current: list[int] = []
    for line in output.splitlines():
        if line.startswith("0x") and ":" not in line:
            current = theirs.setdefault(int(line, 16) - base, [])
        elif line.rpartition(":")[2].isdecimal() and not line.startswith("??"):
            current.append(int(line.rpartition(":")[2]))
    assert len(rvas) > 8
    assert max(map(len, theirs.values())) == 3
    for rva in rvas:
        assert [line for _, line in places(symbols, rva)] == theirs[rva], hex(rva)


def test_names_are_the_same_as_by_exports(kept: Path) -> None:
    full = symbols_of(kept)
    kept.with_suffix(".pdb").unlink()
    bare = symbols_of(kept)
    assert bare.module.debug_file is None
    named = [rva for rva in code_of(kept) if function_at(bare, rva) is not None]
    same = [rva for rva in named if function_at(bare, rva) == function_at(full, rva)]
    assert {function_at(bare, rva) for rva in named} == {"_under", "api"}
    # Of x86-64 it is known where functions end, of this i386 DLL it is not.
    if opened(kept).is_64:
        unknown = [rva for rva in named if rva not in same]
        assert all(opened(kept).read(rva, 1) == b"\xcc" for rva in unknown)


# --- where it is --------------------------------------------------------------------------


def moved(kept: Path, place: str) -> Path:
    target = kept.parents[1] / place
    target.parent.mkdir(parents=True, exist_ok=True)
    kept.with_suffix(".pdb").rename(target)
    return target


def store(path: Path) -> str:
    codeview = opened(path).codeview()
    assert codeview is not None
    return codeview.store_id


def test_beside_the_module_in_any_case(kept: Path) -> None:
    place = moved(kept, "app/Windows.PDB")
    assert symbols_of(kept).module.debug_file == str(place)


def test_under_symbols_by_name(kept: Path) -> None:
    place = moved(kept, "symbols/deep/WINDOWS.pdb")
    assert symbols_of(kept, (place.parents[1],)).module.debug_file == str(place)


def test_in_a_symbol_store(kept: Path) -> None:
    place = moved(kept, f"store/windows.pdb/{store(kept)}/windows.pdb")
    found = symbols_of(kept, (place.parents[2],))
    assert found.module.debug_file == str(place)
    assert store_id(found.module.debug_id or "") == store(kept)


def test_where_the_linker_wrote_it(bits: str, programs: Programs, tmp_path: Path) -> None:
    """LLD on Linux records the PDB file's path."""
    path = programs.msvc(bits)
    copy = tmp_path / "other.dll"
    shutil.copy(path, copy)
    assert symbols_of(copy).module.debug_file == str(path.with_suffix(".pdb"))


def test_another_builds_is_refused(kept: Path, bits: str, tmp_path: Path) -> None:
    other = next(each for each in BITS if each != bits)
    packed = SOURCES / f"windows-{other}.pdb.xz"
    kept.with_suffix(".pdb").write_bytes(lzma.decompress(packed.read_bytes()))
    symbols = symbols_of(kept)
    [(path, why)] = symbols.refused
    assert path == str(kept.with_suffix(".pdb"))
    assert why.startswith("its id is ")
    assert why.endswith(f"the module's {symbols.module.debug_id}")
    assert symbols.module.debug_file is None


def test_the_right_one_is_found_behind_a_wrong_one(kept: Path, bits: str) -> None:
    other = next(each for each in BITS if each != bits)
    right = moved(kept, "symbols/windows.pdb")
    packed = SOURCES / f"windows-{other}.pdb.xz"
    wrong = right.parent / "a" / "windows.pdb"
    wrong.parent.mkdir()
    wrong.write_bytes(lzma.decompress(packed.read_bytes()))
    assert symbols_of(kept, (right.parent,)).module.debug_file == str(right)


@pytest.mark.parametrize("content", [b"", b"no PDB file", b"Microsoft C/C++ MSF 7.00\r\n\x1aDS"])
def test_files_that_are_no_pdb_file(kept: Path, content: bytes) -> None:
    kept.with_suffix(".pdb").write_bytes(content)
    symbols = symbols_of(kept)
    assert symbols.module.debug_file is None
    assert len(symbols.refused) == content.startswith(b"Micro")


def test_a_damaged_one_is_a_problem_in_words(kept: Path) -> None:
    place = kept.with_suffix(".pdb")
    data = bytearray(place.read_bytes())
    at = data.index(b"\x94\x2e\x31\x01")  # the version in the symbol hash's stream, or the like
    data[at : at + 0x400] = b"\xff" * 0x400
    place.write_bytes(data)
    symbols = symbols_of(kept)
    for rva in code_of(kept):
        symbols.lookup(BASE + rva)
    for problem in symbols.problems:
        assert "\n" not in problem


# --- of a report alone --------------------------------------------------------------------


def test_a_report_names_the_file_by_its_id(kept: Path) -> None:
    """The module's own file is not there: the PDB file is all."""
    original = module_of(kept)
    place = moved(kept, f"store/windows.pdb/{store(kept)}/windows.pdb")
    kept.unlink()
    module = Module(
        0, "WINDOWS.dll", BASE, BASE + 0x5000, kind="pe", code_id=original.code_id,
        debug_id=original.debug_id, path=r"C:\app\WINDOWS.dll",
    )  # fmt: skip
    symbols = symbols_of(kept, (place.parents[2],), module=module)
    named = {function_at(symbols, rva) for rva in range(0x1000, 0x1200)} - {None}
    assert named == FUNCTIONS
    assert symbols.module.debug_file == str(place)
    assert symbols.module.file is None
