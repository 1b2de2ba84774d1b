"""Functions of Windows programs that can be replaced, and that cannot, on both halves' stacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs.build import check, run, tool
from unspool import api
from unspool.analyses.patch import patch_check
from unspool.analyses.patch.functions import resolve
from unspool.analyses.patch.records import SAFE, UNSAFE
from unspool.errors import InputError

from .conftest import Runner
from .flavours import FLAVOURS
from .running import run_zoo
from .zoo import SOURCES, VARIANTS, Zoo

WANTED = ("park", "main", "vectored_thread", "ntdll.so!NtDelayExecution", "MessageBoxW")


@pytest.mark.parametrize("name", list(FLAVOURS))
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
        # Among thousands of words of a 32-bit program, one may look like an address of it, by
        # chance (once in some hundred runs): but not like a return address.
        conservative = found[wanted].conservative
        assert not [hit for hit in conservative.hits if hit.kind != "word" or hit.after_call]
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


@pytest.mark.parametrize("name", ["8.0-x86_64", "8.0-i386"])
def test_names_out_of_a_pdb_file(name: str, zoo: Runner) -> None:
    """The program has no symbols; its PDB file lies elsewhere."""
    pytest.importorskip("symbolic")
    with zoo(name, "stripped", ["@sleep:2", "wait_event:1"]) as running:
        with api.open(running.pid, symbols=[str(running.zoo.symbols)]) as target:
            report = api.unwind(target)
            check = api.patch_check(target, ["zoo!park", "zoo!recurse", "zoo!vectored_thread"])
        with api.open(running.pid) as target:
            without = api.patch_check(target, ["zoo!park"])
    found = {each.wanted: each for each in check.functions}
    named = {
        frame.pc
        for stack in report.stacks
        for frame in stack.frames
        if (place := report.locations.get(frame.lookup_pc)) and place.function == "recurse"
    }
    assert len(named) >= 1
    recurse = found["zoo!recurse"]
    assert recurse.unwinding.verdict == UNSAFE
    assert named <= {hit.value for hit in recurse.unwinding.hits}
    assert all(code.start <= pc <= code.end for code in recurse.ranges[:1] for pc in named)
    assert found["zoo!vectored_thread"].unwinding.verdict == SAFE
    assert found["zoo!vectored_thread"].ranges
    assert without.functions[0].ranges == []
    assert "no function park" in without.functions[0].unknown[0]


@pytest.mark.parametrize("name", ["8.0-x86_64", "8.0-i386"])
def test_two_builds_of_the_program(name: str, wine_root: Path) -> None:
    """Built again with one function more and one changed, of which neither is on a stack."""
    flavour = FLAVOURS[name]
    zoo = Zoo(VARIANTS["O0"], flavour.machine, wine_root / f"{flavour.machine}-builds")
    compiler = tool(f"{flavour.machine}-w64-mingw32-gcc")
    zoo.folder.mkdir(exist_ok=True)
    text = (SOURCES / "libraries.c").read_text()
    more = "\nint never(int a) { return a * %d; }\n"
    for build, factor, added in (("zoo", 3, ""), ("new", 4, "int added;\nvoid f(void) {}\n")):
        source = zoo.folder / f"{build}.c"
        source.write_text(text + added + more % factor)
        check(run([compiler, "-O1", "-Wl,--build-id", source, "-o", zoo.folder / f"{build}.exe"]))
    # Arguments are DLLs: one thread line is what says that it runs.
    with (
        run_zoo(flavour, zoo, ["kernel32.dll"], wine_root) as running,
        api.open(running.pid) as target,
    ):
        old, new = str(zoo.executable), str(zoo.folder / "new.exe")
        changed = api.patch_check(target, ["zoo!main"], old=old, new=new)
        with pytest.raises(InputError, match="runs no file"):
            api.patch_check(target, [], old=new, new=old)
    found = {each.wanted: each for each in changed.functions}
    never = found.pop("zoo.exe!never")
    assert (never.conservative.verdict, never.unwinding.verdict) == (SAFE, SAFE)
    assert (found["zoo!main"].conservative.verdict, found["zoo!main"].unwinding.verdict) == (
        UNSAFE, UNSAFE
    )  # fmt: skip
    assert "1 added" in changed.notes[0]
    assert not {"zoo.exe!main", "zoo.exe!say", "zoo.exe!linux_id"} & set(found)
    (code,) = never.ranges
    assert (
        changed.functions[0].ranges[0].start
        < code.start
        < changed.functions[0].ranges[0].end + 0x1000
    )
