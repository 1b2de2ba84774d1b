"""Where functions start, by what is around them."""

from __future__ import annotations

import pytest

from tests.unit.unwind.x86_functions import BASE, Code
from unspool.unwind.function_starts import boundaries, called_nearby, ends_before, is_padding


def test_functions_that_code_around_calls_the_nearest_first() -> None:
    code = Code()
    for target in (0x100, 0x180, 0x300):
        code.call(0x800 + target, target)
    assert called_nearby(code.space(), BASE + 0x200) == [BASE + 0x180, BASE + 0x100]
    assert called_nearby(code.space(), 0x5000) == []


@pytest.mark.parametrize(
    "end",
    [
        "c3", "c20800", "e900000000", "eb10", "ff2500000011", "ffe0", "ffa1b8000000", "e800000000",
        "c3cccccc", "c38d742600", "c20400 90", "c38db42600000000", "ebfe 6690", "c3 8d4900",
        "c3 662e0f1f840000000000 6690", "c3 2e8db42600000000 90",
    ],
)  # fmt: skip
def test_what_ends_before_a_function(end: str) -> None:
    raw = bytes.fromhex(end.replace(" ", ""))
    code = bytes([0x55] * (32 - len(raw))) + raw
    assert ends_before(code + b"\x55", 32)
    assert not ends_before(bytes([0x55] * 32) + raw, 32)


def test_padding() -> None:
    assert is_padding(b"")
    assert is_padding(bytes.fromhex("90 6690 8d7600 2e8db42600000000 cccc"))
    assert not is_padding(bytes.fromhex("9040"))


def test_boundaries() -> None:
    code = Code()
    code.put(0x100, "558bec" + "40" * 29 + "5dc3")  # aligned, 34 bytes
    code.put(0x130, "53" + "40" * 14 + "c3")
    code.put(0x140, "5640c3")
    code.put(0x143, "83ec0c" + "40" * 0x60)  # behind a return, not aligned
    found = list(boundaries(code.space(), BASE + 0x180))
    assert found[:2] == [BASE + 0x140, BASE + 0x130]
    assert BASE + 0x100 in found
    assert BASE + 0x143 in found
    assert BASE + 0x110 not in found  # in the middle of a function
    assert found.index(BASE + 0x143) > found.index(BASE + 0x100)
    assert not list(boundaries(code.space(), 0x5000))


def test_the_start_of_the_code_is_one() -> None:
    code = Code()
    code.put(0, "40" * 0x200)
    assert BASE in list(boundaries(code.space(), BASE + 0x100))
