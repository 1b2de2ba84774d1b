"""The parts that reduce cores: sets of addresses, and a core that is written again."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool import api

from .reduce.core_file import NT_FILE, CoreFile, Piece, renamed
from .reduce.ranges import Ranges

WINE = Path(__file__).parent / "wine"
few = st.integers(0, 40)


@given(st.lists(st.tuples(few, few)), few, few)
def test_ranges_are_sets_of_addresses(added: list[tuple[int, int]], low: int, high: int) -> None:
    ranges = Ranges()
    for pair in added:
        ranges.add(*pair)
    model = {address for pair in added for address in range(*pair)}
    assert {address for pair in ranges for address in range(*pair)} == model
    assert {a for pair in ranges.inside(low, high) for a in range(*pair)} == model & {
        *range(low, high)
    }
    assert all((address in ranges) == (address in model) for address in range(42))
    borders = [border for pair in ranges for border in pair]
    assert borders == sorted(set(borders))


def test_ranges_as_pages() -> None:
    assert list(Ranges([(0x1FFF, 0x2001), (0x5000, 0x5001)]).pages()) == [
        (0x1000, 0x3000),
        (0x5000, 0x6000),
    ]


@pytest.mark.parametrize("name", ["wine-10.0-x86_64", "wine-10.0-i386"])
def test_a_core_that_is_written_again(name: str, tmp_path: Path) -> None:
    data = lzma.decompress((WINE / f"{name}.core.xz").read_bytes())
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(data)
    file = CoreFile(first)
    pieces = [
        Piece(
            each.address, each.size, each.flags, [(each.address, data[each.offset :][: each.held])]
        )
        for each in file.segments
    ]
    file.write(second, pieces, "")
    assert second.read_bytes() == data
    file.write(second, pieces, "/further")
    with api.open(str(first)) as before, api.open(str(second)) as after:
        assert before.modules
        for mine, theirs in zip(before.modules, after.modules, strict=True):
            assert (mine.base, mine.name) == (theirs.base, theirs.name)
            assert theirs.path in (mine.path, f"/further{mine.path}")


def test_paths_in_a_note_of_files() -> None:
    words = (2, 1, *(0, 1, 2), *(3, 4, 5))
    numbers = b"".join(word.to_bytes(8, "little") for word in words)
    moved = renamed(numbers + b"/a\0anonymous\0", True, "/x")
    assert moved == numbers + b"/x/a\0anonymous\0"
    assert NT_FILE.to_bytes(4, "big") == b"FILE"
