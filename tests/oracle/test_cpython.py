"""CPython's perf trampolines: whole stacks, and Python's functions as Python itself names them."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import unspool
from tests.cpython.install import command, environment
from tests.oracle.test_node import forget, main_stack, names
from tests.programs.build import HERE, tool
from tests.programs.cores import written_by_gcore
from tests.programs.running import eventually, is_parked, running

pytestmark = pytest.mark.oracle

MAP, DUMP = "perf", "perf_jit"


def python() -> list[str]:
    return command()


@contextlib.contextmanager
def waiting(switch: str, folder: Path, depth: int = 4) -> Iterator[tuple[int, list[str]]]:
    """The id of a process that waits, and its stack by its own account, innermost first."""
    said: list[str] = []
    words = [*python(), "-X", switch, str(HERE / "python_waits.py"), str(depth)]
    with running(words, before_ready=said, cwd=folder, env=environment()) as process:
        try:
            yield process.pid, json.loads(said[-1])
        finally:
            forget(process)


@pytest.mark.parametrize("switch", [MAP, DUMP])
@pytest.mark.parametrize("depth", [0, 4, 300])
def test_functions_are_those_that_python_names(switch: str, depth: int, tmp_path: Path) -> None:
    with waiting(switch, tmp_path, depth) as (pid, told):
        report = unspool.unwind(unspool.open(pid))
        stack = main_stack(report)
        assert report.complete
        ours = [name for name in names(report, stack) if name and name.startswith("py::")]
        # A dump's last functions may still be in a buffer of the process.
        frames = {frame.trust for frame in stack.frames}
        if switch == MAP:
            assert ours == [name for name in told if "names_of" not in name]
            assert frames == {"context", "cfi", "leaf"}
        else:
            assert ours == [name for name in told if name in ours]
            assert f"py::main:{HERE / 'python_waits.py'}" in ours
        assert len(told) == depth + 6


def test_a_dump_has_the_unwind_data_as_well(tmp_path: Path) -> None:
    with waiting(DUMP, tmp_path) as (pid, _):
        report = unspool.unwind(unspool.open(pid))
        stack = main_stack(report)
        kinds = {module.index: module.kind for module in report.modules}
        trusts = {
            after.trust
            for frame, after in zip(stack.frames, stack.frames[1:], strict=False)
            if (place := report.locations.get(frame.lookup_pc)) is not None
            and place.function is not None and place.function.startswith("py::")
            and kinds.get(place.module or 0) == "jit"
        }  # fmt: skip
        assert trusts == {"cfi"}


def test_a_core(tmp_path: Path) -> None:
    with waiting(MAP, tmp_path) as (pid, _):
        live = unspool.unwind(unspool.open(pid))
        core = written_by_gcore(pid, tmp_path)
        cored = unspool.unwind(unspool.open(str(core)))
        assert names(cored, main_stack(cored)) == names(live, main_stack(live))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make namespaces")
def test_a_container(tmp_path: Path) -> None:
    """It has its own /tmp, and another id there, by which the map is called.

    Python gets the script's text: what is in /tmp outside, a checkout too, it does not see.
    """
    words = [*python(), "-X", MAP, "-c", (HERE / "python_waits.py").read_text(), "4"]
    inside = f"mount -t tmpfs none /tmp && exec {shlex.join(words)}"
    command = [tool("unshare"), "--pid", "--mount", "--fork", "sh", "-c", inside]
    told: list[str] = []
    with running(command, before_ready=told, cwd=tmp_path, env=environment()) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        pid = int(children[0])
        assert eventually(lambda: is_parked(pid))
        report = unspool.unwind(unspool.open(pid))
        ours = [
            name for name in names(report, main_stack(report)) if (name or "").startswith("py::")
        ]
        assert ours == [name for name in json.loads(told[-1]) if "names_of" not in name]
        assert "perf-1.map" in {module.name for module in report.modules}
        assert not Path(f"/tmp/perf-{pid}.map").exists()
