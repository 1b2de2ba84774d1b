"""Every row of every FDE of real libraries: we, readelf and pyelftools agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Corpus, Tool
from tests.unit.formats import oracles
from unspool.formats import cfi_row
from unspool.formats.elf import Elf

LIBRARIES = [
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib64/ld-linux-x86-64.so.2",
    "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
    "/lib/x86_64-linux-gnu/libgcc_s.so.1",
    "/lib32/libc.so.6",
    "/usr/aarch64-linux-gnu/lib/libc.so.6",
    "/usr/aarch64-linux-gnu/lib/libstdc++.so.6",
    "/usr/aarch64-linux-gnu/lib/libgcc_s.so.1",
]


def need(path: str) -> Path:
    found = Path(path)
    if not found.is_file():
        pytest.skip(f"{path} is not on this machine")
    return found


def compare_with_readelf(tool: Tool, path: Path, name: str = ".eh_frame") -> int:
    data = path.read_bytes()
    section = oracles.open_section(data, name)
    assert section is not None
    oracle = oracles.from_readelf(tool("readelf", "-W", "-wNF", path), name, Elf(data).machine)
    wrong = oracles.differences(section, oracle, whole=False)
    assert wrong == [], f"{len(wrong)} differences"
    return len(oracle)


@pytest.mark.parametrize("path", LIBRARIES)
def test_rows_are_those_of_readelf(tool: Tool, path: str) -> None:
    assert compare_with_readelf(tool, need(path)) > 50


@pytest.mark.parametrize("path", [LIBRARIES[i] for i in (1, 3, 7)])
def test_rows_are_those_of_pyelftools(path: str) -> None:
    pytest.importorskip("elftools")
    found = need(path)
    section = oracles.open_section(found.read_bytes(), ".eh_frame")
    oracle = oracles.from_pyelftools(found, ".eh_frame")
    assert section is not None
    assert len(oracle) > 50
    assert oracles.differences(section, oracle, whole=True) == []


@pytest.fixture(scope="module")
def libpthread(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """glibc 2.19's: hand-written CFI with hundreds of expressions around its futex calls."""
    path = tmp_path_factory.mktemp("lib") / "libpthread-2.19.so"
    path.write_bytes(corpus("elf__libpthread-2.19.so"))
    return path


def test_a_library_full_of_expressions(tool: Tool, libpthread: Path) -> None:
    assert compare_with_readelf(tool, libpthread) > 100


def test_expressions_are_byte_for_byte_those_of_pyelftools(libpthread: Path) -> None:
    pytest.importorskip("elftools")
    section = oracles.open_section(libpthread.read_bytes(), ".eh_frame")
    oracle = oracles.from_pyelftools(libpthread, ".eh_frame")
    assert section is not None
    # pyelftools 0.33 forgets to factor the offset of DW_CFA_def_cfa_sf, which this library
    # uses; its CFAs are held against readelf's above.
    for offset, (_, _, rows) in oracle.items():
        for address, cfa, expected in rows:
            _, found_cfa, found = oracles.ours(section, offset, address, whole=True)
            assert found == expected
            assert found_cfa == cfa or "exp:" not in found_cfa + cfa
    rules = [
        rule for _, _, rows in oracle.values() for _, cfa, r in rows for rule in [cfa, *r.values()]
    ]
    assert sum("exp:" in rule for rule in rules) > 300


def test_every_search_table_leads_to_the_fde_that_a_full_index_finds() -> None:
    from unspool.formats.cfi import EhFrameHdr

    path = need(LIBRARIES[0])
    data = path.read_bytes()
    section = oracles.open_section(data, ".eh_frame")
    header = Elf(data).section(".eh_frame_hdr")
    assert section is not None
    assert header is not None
    table = EhFrameHdr(data, header.offset, header.offset + header.size, header.address, 8)
    assert table.eh_frame == section.address
    assert len(table) > 1000
    section.find(0)
    starts = section._starts
    assert starts is not None
    for start in starts[::7]:
        at = table.find(start)
        assert at is not None
        by_table, by_index = section.fde_at_address(at), section.find(start)
        assert by_index is not None
        assert by_table.start == by_index.start == start
        for probe in (start, by_table.end - 1):
            rows = [cfi_row.row_at(section, fde, probe) for fde in (by_table, by_index)]
            assert rows[0].rules == rows[1].rules
