"""Cores of programs that wait for each other say what the running ones did."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.oracle.locks.answers import keeps_its_promises
from tests.programs.build import build
from tests.programs.build import tool as tool_path
from tests.programs.cores import EMULATORS, allow_cores, written_by_gcore, written_by_kernel
from tests.programs.running import running
from tests.programs.waits import VARIANTS, calm_survey, started, survey, wait_until_calm
from unspool import api
from unspool.render import locks_text

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("name", ["locks", "locks-static", "locks-m32"])
def test_a_core_says_the_same(programs_root: Path, tmp_path: Path, tool: Tool, name: str) -> None:
    with started(name, programs_root, "ring", "3") as process:
        calm_survey([process.pid], 3)
        core = written_by_gcore(process.pid, tmp_path)
    report = survey(str(core))
    keeps_its_promises(report)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert len(deadlock.chain) == 3
    os.truncate(core, 40_000)
    cut = survey(str(core))
    assert not cut.complete
    text = "\n".join(locks_text.lines(cut))
    assert "no deadlock is known" in text
    assert "the core is truncated" in text


@pytest.mark.parametrize("processor", ["aarch64-gcc", "arm-gcc"])
def test_cores_of_other_processors(programs_root: Path, tmp_path: Path, processor: str) -> None:
    """Written by qemu-user, which the kernel's signal ends."""
    program = VARIANTS["locks"].variant(f"locks-{processor}", compiler=processor)
    emulator, sysroot = EMULATORS[processor.partition("-")[0]]
    command = [tool_path(emulator), "-L", sysroot, build(program, programs_root)]
    for mode, waits in (("ring", 3), ("writer", 2)):
        folder = tmp_path / mode
        folder.mkdir()
        with running([*command, mode, "3"], cwd=folder, preexec_fn=allow_cores) as process:
            wait_until_calm(process.pid)
            process.send_signal(signal.SIGSEGV)
            process.wait()
        cores = list(folder.glob("qemu_*.core"))
        if not cores:
            pytest.skip("qemu wrote no core")
        with api.open(str(cores[0]), sysroot=sysroot, executable=str(command[-1])) as target:
            report = api.locks([(target, api.unwind(target))])
        keeps_its_promises(report)
        (deadlock,) = report.deadlocks
        assert deadlock.certain
        assert len(deadlock.chain) == waits


@pytest.mark.parametrize("name", ["locks", "locks-static", "locks-m32"])
def test_the_kernels_core_says_the_same(programs_root: Path, tmp_path: Path, name: str) -> None:
    """And the dump that is made of it."""
    command = [build(VARIANTS[name], programs_root), "behind", "3"]
    with running(command, cwd=tmp_path) as process:
        live = calm_survey([process.pid], 6)
        core = written_by_kernel(process.pid, tmp_path)
    dump = str(tmp_path / "a.dmp")
    with api.open(str(core)) as target:
        api.dump(target, dump)
    for found in (survey(str(core)), survey(dump)):
        keeps_its_promises(found)
        (deadlock,) = found.deadlocks
        assert deadlock.certain
        assert len(deadlock.chain) == 3
        assert len(deadlock.behind) == 3
        assert {each.address for each in found.locks} == {each.address for each in live.locks}
