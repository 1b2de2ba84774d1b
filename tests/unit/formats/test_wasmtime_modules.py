"""What a component's modules are called by Wasmtime's serialised description of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.wasmtime import part_info
from unspool.formats.wasmtime import as_in_symbols
from unspool.formats.wasmtime_modules import module_names

NOISE = b"\0\1\4host\0\0\2\0\1\0\0\1\2go\0\0\0\0\1\0\0\0\2\0"
IMPORTS = [("host", "f", 0, 0), ("host", "memory", 2, 0), ("", "0", 0, 1)]
EXPORTS = [("go", 0, 2), ("memory", 2, 0)]
VERSIONS = pytest.mark.parametrize(("major", "pooled"), [(38, False), (42, False), (43, True)])


def info(*parts: bytes) -> bytes:
    return NOISE + b"\3" + NOISE.join(parts) + NOISE


@VERSIONS
def test_each_module_has_its_own_name(major: int, pooled: bool) -> None:
    data = info(
        part_info(0, "first", IMPORTS, EXPORTS, pooled=pooled),
        part_info(1, None, IMPORTS[:1], [("go", 0, 1)], pooled=pooled),
        part_info(2, "only memory", [], [("memory", 2, 0)], pooled=pooled),
        part_info(3, "wit-component:shim", [], [("0", 0, 0), ("1", 0, 1)], pooled=pooled),
    )
    functions = {0: (2, 5), 1: (1, 1), 3: (0, 1)}
    assert module_names(data, (major,), functions) == {0: "first", 3: "wit-component:shim"}


@VERSIONS
def test_a_description_that_does_not_fit_names_nothing(major: int, pooled: bool) -> None:
    good = part_info(0, "first", IMPORTS, EXPORTS, pooled=pooled)
    assert module_names(good, (major,), {0: (2, 2)}) == {0: "first"}
    # So many imported functions, an export of a function that there is, another number.
    assert module_names(good, (major,), {0: (1, 2)}) == {}
    assert module_names(good, (major,), {0: (2, 1)}) == {}
    assert module_names(good, (major,), {1: (2, 2)}) == {}
    skipped = part_info(0, "first", [("host", "f", 0, 0), ("host", "g", 0, 2)], pooled=pooled)
    assert module_names(skipped, (major,), {0: (2, 2)}) == {}
    without = part_info(0, "first", pooled=pooled)
    assert module_names(without, (major,), {0: (0, 2)}) == {}
    assert module_names(good, (37,), {0: (2, 2)}) == {}
    assert module_names(good, (), {0: (2, 2)}) == {}


@VERSIONS
def test_of_two_descriptions_that_fit_neither_is_believed(major: int, pooled: bool) -> None:
    """Names of imports and exports may be any text, a description of a module among them."""
    good = part_info(0, "first", IMPORTS, EXPORTS, pooled=pooled)
    other = part_info(0, "other", IMPORTS, EXPORTS, pooled=pooled)
    assert module_names(info(good, other), (major,), {0: (2, 2)}) == {}


def test_a_name_that_cannot_be_shown_is_none() -> None:
    for name in ("", "a\nb", "\x1b[31m"):
        data = part_info(0, name, IMPORTS, EXPORTS)
        assert module_names(data, (50,), {0: (2, 2)}) == {}


@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(
    [part_info(0, "first", IMPORTS, EXPORTS), part_info(1, None, IMPORTS), NOISE]
)), max_size=20), st.sampled_from([38, 43]))  # fmt: skip
def test_noise_raises_nothing(parts: list[bytes], major: int) -> None:
    module_names(b"".join(parts), (major,), {0: (2, 3), 1: (0, 1 << 20)})


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("go", "go"), ("a<b>::c?", "a<b>::c?"), ("a??b", "a??b"), ("über", "?ber"),
        ("a  \té?b", "a?b"), ("x" * 97, "x" * 96), ("é" + "x" * 96, "?" + "x" * 95), ("", ""),
    ],
)  # fmt: skip
def test_names_in_symbols(name: str, symbol: str) -> None:
    assert as_in_symbols(name) == symbol
