"""The table of expected stacks covers the zoo, and its comparison can fail."""

from __future__ import annotations

import re

import pytest

from .expected import SCENARIOS, callbacks, expected, mismatch, scenarios
from .flavours import FLAVOURS
from .running import Thread
from .zoo import SOURCES, VARIANTS

QSORT = Thread(1, 36, "qsort", 3, 1, main=False)
FOUND = [
    *("NtWaitForMultipleObjects", "WaitForMultipleObjectsEx", "WaitForSingleObject", "park"),
    *("qsort_compare", "quick_sort", "qsort", "qsort_leaf", "recurse", "recurse", "recurse"),
    *("qsort_thread", "BaseThreadInitThunk", "RtlUserThreadStart"),
]


def test_every_scenario_of_the_program_is_in_the_table() -> None:
    table = (SOURCES / "zoo.c").read_text().partition("scenarios[] = {")[2].partition("};")[0]
    assert set(re.findall(r'\{"(\w+)"', table)) == set(SCENARIOS)


@pytest.mark.parametrize("name", FLAVOURS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_all_scenarios_fit_in_one_process(name: str, variant: str) -> None:
    found = scenarios(FLAVOURS[name], VARIANTS[variant], [1, 2, 50, 500])
    assert len(found) < 250
    assert len({argument.partition(":")[0] for argument in found}) > 15


@pytest.mark.parametrize("name", FLAVOURS)
def test_depth_and_nesting_are_counted(name: str) -> None:
    thread = Thread(1, 36, "wndproc", 7, 3, main=False)
    names = expected(FLAVOURS[name], thread)
    assert names.count("recurse") == 21
    assert names.count("KiUserCallbackDispatcher") == callbacks(thread) == 3


def test_a_right_stack_matches() -> None:
    assert mismatch(expected(FLAVOURS["8.0-x86_64"], QSORT), FOUND) is None


@pytest.mark.parametrize("index", range(len(FOUND)))
def test_a_missing_frame_is_noticed(index: int) -> None:
    found = FOUND[:index] + FOUND[index + 1 :]
    optional = FOUND[index] == "quick_sort"
    assert (mismatch(expected(FLAVOURS["8.0-x86_64"], QSORT), found) is None) == optional


@pytest.mark.parametrize("index", range(len(FOUND) + 1))
@pytest.mark.parametrize("name", ["recurse", "ReadFile", ""])
def test_a_frame_too_many_is_noticed(index: int, name: str) -> None:
    found = [*FOUND[:index], name, *FOUND[index:]]
    assert mismatch(expected(FLAVOURS["8.0-x86_64"], QSORT), found) is not None


def test_decorated_names_match() -> None:
    wanted = ["CreateWindowExA", "qsort_thread", "Parked::~Parked", "memcpy"]
    assert (
        mismatch(wanted, ["_CreateWindowExA@48", "_qsort_thread@4", "Parked::~Parked()", "memcpy"])
        is None
    )
    assert mismatch(["recurse"], ["recurse2"]) is not None
