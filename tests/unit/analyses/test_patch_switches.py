"""Which programs may have stacks that no thread is on: by what real ones call."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from tests.programs.build import build
from tests.programs.table import BY_NAME
from unspool.analyses.patch.switches import stack_switchers
from unspool.formats.elf import Elf
from unspool.targets.base import Target


def test_a_program_that_switches_stacks_is_told_from_its_libraries(programs_root: Path) -> None:
    files = {
        name: Elf(build(BY_NAME[name], programs_root).read_bytes())
        for name in ("coroutine", "inline")
    }

    def asked(*names: str) -> tuple[str | None, str | None]:
        modules = [SimpleNamespace(name=name) for name in names]
        target = SimpleNamespace(
            space=SimpleNamespace(modules=modules), elf=lambda module: files.get(module.name)
        )
        return stack_switchers(cast(Target, target))

    reason, note = asked("coroutine", "inline")
    assert note is None
    assert "switches stacks (swapcontext)" in (reason or "")
    reason, note = asked("inline", "no file", "coroutine")
    assert reason is None
    assert (note or "").endswith("; coroutine can make some")
    assert asked("inline") == (None, None)
