"""Pointers to the dispatchers that ntdll.dll's variables hold."""

from __future__ import annotations

import tempfile

import pytest

from tests.build.wine import WineProcess
from tests.build.wine_eras import Era
from unspool import api
from unspool.memory import Memory
from unspool.targets.live.stacks import Copied
from unspool.targets.live.wine_variables import dispatcher_variables


def variables(process: WineProcess, now: Memory | None = None) -> Copied:
    with tempfile.NamedTemporaryFile(prefix="core.") as file:
        file.write(process.core().build())
        file.flush()
        with api.open(file.name) as target:
            space = target.space  # type: ignore[attr-defined]
            return dispatcher_variables(space, now or space.memory)


@pytest.mark.parametrize("bits", [64, 32])
def test_they_are_read_where_the_exports_say(bits: int) -> None:
    process = WineProcess(Era("10.9", bits))
    process.thread().call("main").syscall()
    found = variables(process)
    assert process.unix_dispatcher is not None
    for name, function in (
        ("__wine_syscall_dispatcher", "dispatcher"),
        ("__wine_unix_call_dispatcher", "unix dispatcher"),
    ):
        address = process.ntdll.base + process.ntdll.variables[name]
        start, end = found.window(address, process.era.word)
        value = int.from_bytes(found.buffer[start:end], "little")
        assert value == process.ntdll_so[function].address
    assert found.size == 2 * process.era.word


def test_a_process_that_has_ended_has_none() -> None:
    process = WineProcess(Era("10.9"))
    process.thread().call("main").syscall()
    assert variables(process, Memory()).ranges == []
