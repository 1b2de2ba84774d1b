"""`unspool patch-check` on programs of Rust and of Go."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs.cores import make_core
from tests.programs.table import BY_NAME
from tests.programs.waits import calm_survey, started
from unspool import api

pytestmark = pytest.mark.oracle


def test_rusts_closures_have_names_as_stacks_show_them(programs_root: Path) -> None:
    with started("locks-rust", programs_root, "ring") as process:
        calm_survey([process.pid], 3)
        with api.open(process.pid) as target:
            check = api.patch_check(target, ["locks::main::{{closure}}", "locks::take"])
    for function in check.functions:
        assert function.ranges, function.unknown
    take = check.functions[1]
    assert (take.conservative.verdict, take.unwinding.verdict) == ("unsafe", "unsafe")


def test_a_program_of_go_is_never_called_safe(programs_root: Path) -> None:
    """A goroutine that waits is on no thread's stack."""
    core = make_core(BY_NAME["go"], "kernel", programs_root)
    with api.open(str(core.path)) as target:
        (function,) = api.patch_check(target, ["runtime.mallocgc"]).functions
    assert function.ranges
    assert "safe" not in (function.conservative.verdict, function.unwinding.verdict)
    assert any("goroutines" in reason for reason in function.conservative.reasons)
    assert any("goroutines" in reason for reason in function.unwinding.reasons)
