"""`unspool layout` on programs whose runtimes have heaps of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs.cores import make_core
from tests.programs.table import BY_NAME
from unspool import api
from unspool.analyses.layout.records import Kind

pytestmark = pytest.mark.oracle


def test_gos_heap_is_no_stack(programs_root: Path) -> None:
    """Goroutines' stacks are in it: those of several threads, whose stack it is not."""
    core = make_core(BY_NAME["go"], "kernel", programs_root)
    with api.open(str(core.path)) as target:
        found = api.layout(target)
    heap = [area for area in found.areas if area.name.startswith("Go's heap")]
    assert heap
    assert heap[0].start == 0xC0 << 32
    assert {area.kind for area in heap} == {Kind.HEAP}
    stacks = [area.name for area in found.areas if area.kind == Kind.STACK]
    others = [name for name in stacks if not name.startswith(("signal stack of", "first stack"))]
    assert not others, "the first thread's, and the signal stack that its frame tells of"
    assert any(area.name.startswith("room of Go's heap") for area in found.areas)
