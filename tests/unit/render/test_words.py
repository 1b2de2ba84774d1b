from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.model import StopReason, Trust
from unspool.render import words


def constants(group: type) -> set[str]:
    return {value for key, value in vars(group).items() if key.isupper()}


def test_every_trust_and_stop_reason_has_words() -> None:
    assert set(words.TRUST_WORDS) == constants(Trust)
    assert set(words.STOP_WORDS) == constants(StopReason)
    assert set(words.STOP_HINTS) == constants(StopReason) - {StopReason.ROOT}


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (9_949, "9.9 kB"),
        (9_950, "10 kB"), (314_572, "315 kB"), (999_499, "999 kB"), (999_500, "1.0 MB"),
        (1_717_000_000, "1.7 GB"), (5 * 10**12, "5.0 TB"), (10**16, "10000 TB"),
    ],
)  # fmt: skip
def test_sizes(number: int, text: str) -> None:
    assert words.size(number) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.004, "0.00 s"), (0.113, "0.11 s"), (2.46, "2.5 s"), (75.2, "75 s")]
)
def test_durations(value: float, text: str) -> None:
    assert words.seconds(value) == text


def test_counts() -> None:
    assert words.count(1, "thread") == "1 thread"
    assert words.count(12_345, "thread") == "12,345 threads"
    assert words.count(2, "address", "addresses") == "2 addresses"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([], ""),
        ([7], "7"),
        ([1, 2, 3], "1–3"),
        ([1, 2], "1, 2"),
        ([1, 2, 3, 7, 9, 10], "1–3, 7, 9, 10"),
        (list(range(0, 40, 2)), "0, 2, 4, 6, 8, 10, 12, 14 and 12 more"),
    ],
)
def test_ranges(numbers: list[int], text: str) -> None:
    assert words.ranges(numbers) == text


@given(st.sets(st.integers(0, 200)).map(sorted))
def test_ranges_without_a_limit_hold_exactly_the_numbers(numbers: list[int]) -> None:
    found = []
    for part in words.ranges(numbers, limit=1000).split(", ") if numbers else []:
        low, _, high = part.partition("–")
        found += range(int(low), int(high or low) + 1)
    assert found == numbers


def test_a_listing_reads_like_a_sentence() -> None:
    assert words.listing([]) == ""
    assert words.listing(["a()"]) == "a()"
    assert words.listing(["a()", "b()"]) == "a() and b()"
    assert words.listing(["a()", "b()", "c()"]) == "a(), b() and c()"
    assert words.listing(["a", "b", "c"], 2) == "a, b and 1 more"
