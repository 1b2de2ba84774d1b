"""Cores of Wine processes can be reduced: the same stacks from a five-hundredth of the bytes."""

from __future__ import annotations

import json

import pytest

from tests.corpus.reduce.golden import summary_of
from tests.corpus.reduce.reduction import reduce

from .conftest import CoreMaker

pytestmark = pytest.mark.oracle

SCENARIOS = ("@wait_event:2", "wndproc:2:2", "null_deref:2", "suspended_spin:1")


@pytest.mark.parametrize("flavour", ["8.0-x86_64", "10.0-wow64"])
def test_a_core_is_reduced_in_the_same_way_each_time(zoo_core: CoreMaker, flavour: str) -> None:
    core = zoo_core(flavour, "O2", SCENARIOS, "kernel")
    # Both compare the reduced core's stacks with the whole one's.
    first, second = (reduce(core.path, [str(core.zoo.folder)], core.sysroot) for _ in range(2))
    assert (first.core, first.names) == (second.core, second.names)
    assert len(first.core) < core.path.stat().st_size // 500
    assert json.dumps(summary_of(first.report)) == json.dumps(summary_of(second.report))
