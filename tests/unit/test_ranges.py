"""Which of a report's modules an address is in."""

from __future__ import annotations

from unspool.model import Module
from unspool.model.target import ModuleRanges


def module(base: int, end: int, kind: str = "elf") -> Module:
    return Module(0, f"{kind}{base}", base, end, kind=kind)


def test_made_code_inside_of_a_library() -> None:
    library, first, last = module(100, 500), module(200, 220, "jit"), module(300, 310, "wasm")
    ranges = ModuleRanges([first, library, last, module(600, 700), module(700, 800, "jit")])
    expected = {
        99: None, 100: library, 199: library, 200: first, 219: first, 220: library, 305: last,
        310: library, 499: library, 500: None,
    }  # fmt: skip
    for address, found in expected.items():
        assert ranges.at(address) is found, address
    assert ranges.at(-1) is None
    assert ranges.at(800) is None


def test_behind_files_that_overlap_nothing_is_made_up() -> None:
    """Wine's preloader spans what it reserves, and Windows modules lie in it."""
    ranges = ModuleRanges([module(100, 500), module(200, 220, "pe")])
    assert ranges.at(230) is None
    assert ranges.at(150) is not None
