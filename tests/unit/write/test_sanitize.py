"""What is blanked and what stays."""

from __future__ import annotations

from struct import pack, unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.write.sanitize import BLANK, Sanitizer

MODULE = (0x7F00_0000_1000, 0x7F00_0000_9000)
STACK = (0x7FFF_0000_0000, 0x7FFF_0001_0000)
BLANK_64 = BLANK << 32 | BLANK


def words(data: bytes) -> tuple[int, ...]:
    return unpack(f"<{len(data) // 8}Q", data)


def test_pointers_stay_and_all_else_is_blanked() -> None:
    secret = int.from_bytes(b"password", "little")
    values = [MODULE[0], MODULE[1] - 1, STACK[0] + 8, secret, 1, 0, (1 << 64) - 1]
    clean = Sanitizer([MODULE, STACK], 8).clean(STACK[0], pack("<7Q", *values))
    assert words(clean) == (
        MODULE[0], MODULE[1] - 1, STACK[0] + 8, BLANK_64, BLANK_64, 0, BLANK_64,
    )  # fmt: skip


def test_the_end_of_a_stack_is_a_pointer_into_it() -> None:
    sanitizer = Sanitizer([STACK], 8)
    assert sanitizer.keeps(STACK[1])
    assert not sanitizer.keeps(STACK[1] + 1)
    assert not sanitizer.keeps(STACK[0] - 1)


def test_words_are_aligned_by_address_not_by_place_in_the_data() -> None:
    data = b"abc" + pack("<Q", MODULE[0]) + b"defgh"
    clean = Sanitizer([MODULE], 8).clean(0x7FFF_0000_0005, data)
    assert clean == bytes(3) + pack("<Q", MODULE[0]) + bytes(5)


def test_32_bit_words_of_a_64_bit_process() -> None:
    low = (0x0040_0000, 0x0041_0000)
    data = pack("<4I", 0x0040_1234, 0xCAFE, 7, 0x0040_5678)
    clean = Sanitizer([low], 8).clean(0x0050_0000, data)
    assert unpack("<4I", clean) == (0x0040_1234, BLANK, BLANK, 0x0040_5678)


def test_32_bit_processes() -> None:
    low = (0x0804_8000, 0x0805_0000)
    clean = Sanitizer([low], 4).clean(0xFF00_0000, pack("<3I", 0x0804_8123, 99, 0))
    assert unpack("<3I", clean) == (0x0804_8123, BLANK, 0)


def test_facts_stay() -> None:
    data = pack("<4Q", 1, 2, 3, 4)
    sanitizer = Sanitizer([], 8, [(STACK[0] + 8, STACK[0] + 16), (STACK[0] + 28, STACK[0] + 32)])
    clean = sanitizer.clean(STACK[0], data)
    assert words(clean) == (BLANK_64, 2, BLANK_64, BLANK)
    # Of data that begins in the middle of one.
    assert sanitizer.clean(STACK[0] + 12, data[12:])[:4] == data[12:16]


@given(st.binary(max_size=100), st.integers(0, 1 << 40), st.sampled_from([4, 8]))
def test_nothing_survives_that_is_no_pointer(data: bytes, address: int, word: int) -> None:
    sanitizer = Sanitizer([MODULE], word)
    clean = sanitizer.clean(address, data)
    assert len(clean) == len(data)
    start = -address % word
    blank = BLANK.to_bytes(4, "little")
    for at in range(start, len(clean) - word + 1, word):
        value = int.from_bytes(clean[at : at + word], "little")
        halves = {clean[at : at + 4], clean[at + word - 4 : at + word]}
        assert sanitizer.keeps(value) or halves <= {blank, bytes(4)}


@pytest.mark.parametrize("word", [4, 8])
def test_empty_data(word: int) -> None:
    assert Sanitizer([MODULE], word).clean(1, b"") == b""
