"""Functions of Windows programs that can be replaced, and that cannot, on both halves' stacks."""

from __future__ import annotations

import pytest

from unspool import api
from unspool.analyses.patch import patch_check
from unspool.analyses.patch.functions import resolve
from unspool.analyses.patch.records import SAFE, UNSAFE

from .conftest import Runner

WANTED = ("park", "main", "vectored_thread", "ntdll.so!NtDelayExecution", "MessageBoxW")


@pytest.mark.parametrize("name", ["8.0-x86_64", "8.0-i386", "10.0-x86_64", "10.0-i386", "10.0-wow64"])
def test_both_halves_of_each_thread(name: str, zoo: Runner) -> None:
    with (
        zoo(name, "O0", ["@sleep:2", "wndproc:3:2", "wait_event:1"]) as running,
        api.open(running.pid) as target,
    ):
        functions = resolve(target, WANTED, inlined=False)
        check = patch_check(target, api.unwind(target, symbols=False), functions)
        modules = target.modules
    found = {each.wanted: each for each in check.functions}
    for wanted in ("park", "main", "ntdll.so!NtDelayExecution"):
        assert found[wanted].conservative.verdict == UNSAFE, wanted
        assert found[wanted].unwinding.verdict == UNSAFE, wanted
    for wanted in ("vectored_thread", "MessageBoxW"):
        assert found[wanted].conservative.verdict == SAFE, found[wanted].conservative
        # On i386 ntdll's stubs of system calls have no unwind data; their code says that they
        # return.
        unwound = found[wanted].unwinding
        assert (unwound.verdict, unwound.hits) == (SAFE, []), unwound
    # One is on the Windows half's stack, the other on the Unix half's.
    kinds = {each.kind for each in check.stacks}
    assert {"unix", "windows"} <= kinds
    hits = found["ntdll.so!NtDelayExecution"].unwinding.hits
    assert {modules[each.module].name
            for each in found["ntdll.so!NtDelayExecution"].ranges
            if each.module is not None} == {"ntdll.so"}  # fmt: skip
    sleeping = {thread.tid for thread in running.threads if thread.scenario == "sleep"}
    assert sleeping <= {hit.tid for hit in hits}
