"""Real hosts of real WebAssembly: every frame, name and position is the runtime's own.

The hosts run Python with the package `wasmtime`, in several versions. Each is asked for a
backtrace by the runtime itself at the moment when it is looked at from outside.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs.build import tool
from tests.programs.cores import PATIENCE, allow_core, usable_core_pattern, written_by_kernel
from tests.programs.running import eventually, signal_thread
from unspool import api
from unspool.model import Stack, StopReason, Trust

from .hosts import (
    Host,
    activations,
    assert_same,
    frames_of,
    host,
    look,
    make_dump,
    wasm_frames,
)
from .install import NEWEST, VERSIONS, folder

# Older ones cannot compile tail calls, or cannot walk the stack that they leave: their own
# backtrace asserts what is not so.
WITH_TAIL_CALLS = (NEWEST, "36.0.0")
LEVELS = (1, 2, 3, 7, 40, 200)


def available(version: str) -> str:
    folder(version)
    return version


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return available(request.param)


@pytest.fixture(scope="module")
def newest() -> Iterator[Host]:
    with host(available(NEWEST), "wasm_tail_call") as started:
        yield started


def is_whole(stack: Stack) -> bool:
    return stack.stop.reason == StopReason.ROOT and not stack.gaps


def trusts(stack: Stack) -> set[str]:
    return {each.trust for each in stack.frames if stack.segments[each.segment].kind == "wasm"}


def test_levels(version: str) -> None:
    """Wasm that calls the host that calls Wasm: N activations of two frames, to the root."""
    with host(version) as running:
        for depth in LEVELS:
            said = running.ask(f"go {depth}")
            report, stack = look(running.pid, said["tid"])
            assert activations(stack) == [2] * depth
            found = wasm_frames(report, stack)
            assert [name for name, _ in found] == ["inner", "go"] * depth
            assert_same(found, running.expected(), version)
            assert stack.stop.reason == StopReason.ROOT
            running.go_on()


def test_every_level_is_a_segment_with_its_bounds_and_a_switch(newest: Host) -> None:
    said = newest.ask("go 3")
    report, stack = look(newest.pid, said["tid"])
    newest.go_on()
    assert is_whole(stack)
    assert trusts(stack) == {Trust.WASM}
    assert [each.kind for each in stack.segments] == ["unix", *["wasm", "unix"] * 3]
    names = [location.function for index in range(len(stack.frames))
             if (location := report.location(stack, index))]  # fmt: skip
    for number, segment in enumerate(stack.segments):
        sps = [each.sp for each in stack.frames if each.segment == number]
        assert all(sp is not None and segment.low <= sp < segment.high for sp in sps)  # type: ignore[operator]
        if segment.kind == "wasm":
            assert segment.switch is not None
            assert "native → Wasm" in segment.switch
            assert sps[0] == segment.low
            first = next(i for i, each in enumerate(stack.frames) if each.segment == number)
            assert "wasm_to_array_trampoline" in str(names[first - 1])
            assert "array_to_wasm_trampoline" in str(names[first + 2])
        elif number:
            assert segment.switch is not None
            assert "Wasm → native" in segment.switch
    modules = {module.name: module.kind for module in report.modules if module.kind == "wasm"}
    assert modules["demo.wasm"] == "wasm"
    assert len(modules) == 3


LONG = "_ZN4core3fmt5write17h0123456789abcdefE and a name that is much longer than what "
COMMANDS = {
    "deep 1 3000": (3001, "deep"), "deep 3 100": (103, "deep"), "unnamed 2": (2, None),
    "across 2": (4, "through"),
    "long 1": (1, LONG + "fits into a symbol of an image, é included"),
}  # fmt: skip


def test_frames(version: str) -> None:
    """Recursion, functions without a name or with a long one, calls from instance to instance."""
    with host(version) as running:
        for command, (count, name) in COMMANDS.items():
            said = running.ask(command)
            report, stack = look(running.pid, said["tid"])
            found = wasm_frames(report, stack)
            assert (len(found), found[0][0]) == (count, name)
            assert_same(found, running.expected(), version)
            assert stack.stop.reason == StopReason.ROOT
            running.go_on()


@pytest.mark.parametrize("which", WITH_TAIL_CALLS)
def test_activations_that_a_tail_call_has_left_empty(which: str) -> None:
    with host(available(which), "wasm_tail_call") as running:
        for command, frames, empty in (("empty 1", 0, 1), ("empty 4", 0, 4), ("half 2", 2, 0)):
            said = running.ask(command)
            report, stack = look(running.pid, said["tid"])
            found = wasm_frames(report, stack)
            assert found == running.expected()
            assert len(found) == frames
            words = [each.switch for each in stack.segments if each.switch]
            assert sum("no frames" in each for each in words) == empty
            assert stack.stop.reason == StopReason.ROOT
            running.go_on()


def test_threads_each_with_an_instance_of_its_own(version: str) -> None:
    with host(version) as running:
        threads = running.ask("threads 5")["threads"]
        with api.open(running.pid) as target:
            report = api.unwind(target)
        stacks = {str(stack.tid): stack for stack in report.stacks}
        assert sorted(len(frames) for frames in threads.values()) == [2, 4, 6, 8, 10]
        for tid, frames in threads.items():
            assert wasm_frames(report, stacks[tid]) == frames_of(frames)
            assert stacks[tid].stop.reason == StopReason.ROOT


SPINNING = {("leaf", "middle", "spin"), ("middle", "spin"), ("spin",)}


@pytest.mark.parametrize("bare", [(), ("bare",)], ids=["tables", "bare"])
def test_wasm_code_that_is_stopped_anywhere(version: str, bare: tuple[str, ...]) -> None:
    """In prologues and at returns too: every stack is one that the program can have."""
    if bare and version == "8.0.1":
        pytest.skip("cannot leave out its unwind tables")
    seen = set()
    with host(version, *bare) as running:
        running.tell("run spin")
        said = running.listen()
        for _ in range(25):
            report, stack = look(running.pid, said["tid"], lines=False)
            found = tuple(name for name, _ in wasm_frames(report, stack))
            if not found:  # it was still on the way there
                continue
            seen.add(found)
            assert found in SPINNING
            assert stack.frames[0].exact
            assert stack.segments[0].kind == "wasm"
            assert is_whole(stack) or version != NEWEST
            assert stack.stop.reason == StopReason.ROOT
    assert ("leaf", "middle", "spin") in seen


@pytest.mark.parametrize("function", ["fill", "grow"])
def test_the_runtimes_own_functions_that_wasm_code_calls(version: str, function: str) -> None:
    with host(version) as running:
        running.tell(f"run {function}")
        said = running.listen()
        left = 0
        for _ in range(15):
            report, stack = look(running.pid, said["tid"], lines=False)
            found = [name for name, _ in wasm_frames(report, stack)]
            guessed = {Trust.FRAME_POINTER, Trust.SCAN} & {each.trust for each in stack.frames}
            # Packages up to 36 have no unwind tables of many functions: there are guesses then.
            if (found or left) and not guessed:
                assert found == [function]
            if found == [function]:
                left += stack.segments[0].kind == "unix"
                assert stack.stop.reason == StopReason.ROOT
    assert left


def test_images_without_unwind_tables() -> None:
    with host(available(NEWEST), "bare") as running:
        for command, count in (("go 20", 40), ("deep 2 300", 302)):
            said = running.ask(command)
            report, stack = look(running.pid, said["tid"])
            found = wasm_frames(report, stack)
            assert len(found) == count
            assert_same(found, running.expected(), NEWEST)
            assert is_whole(stack)
            running.go_on()


def test_a_signal_handler_on_top_of_wasm_code() -> None:
    with host(available(NEWEST)) as running:
        running.ask("handler")
        running.tell("run spin")
        said = running.listen()
        assert kinds_of(running, said["tid"], "wasm")[0] == "wasm"  # it is in the loop
        signal_thread(running.pid, said["tid"], signal.SIGUSR1)
        kinds = kinds_of(running, said["tid"], "unix")
        report, stack = look(running.pid, said["tid"])
        assert kinds == ["unix", "wasm", "unix"]
        assert tuple(name for name, _ in wasm_frames(report, stack)) in SPINNING
        interrupted = next(each for each in stack.frames if each.segment == 1)
        assert (interrupted.trust, interrupted.exact) == (Trust.SIGNAL, True)
        assert is_whole(stack)


def kinds_of(running: Host, tid: int, first: str) -> list[str]:
    """The kinds of a thread's segments, as soon as the first one is of that kind."""
    until = time.monotonic() + 60
    kinds: list[str] = []
    while kinds[:1] != [first] and time.monotonic() < until:
        _, stack = look(running.pid, tid, lines=False)
        kinds = [each.kind for each in stack.segments]
    return kinds


def test_compiled_code_that_is_mapped_from_a_file(tmp_path: Path) -> None:
    """`wasmtime compile` makes such files: live, in a core that leaves files out, in a minidump."""
    with host(available(NEWEST), cwd=tmp_path) as running:
        running.ask(f"file {tmp_path / 'demo.cwasm'}")
        said = running.ask("go 4")
        for source in in_turn(running.pid, tmp_path):
            report, stack = look(source, said["tid"])
            assert wasm_frames(report, stack) == running.expected()
            assert is_whole(stack)
            assert "demo.cwasm" not in {each.name for each in report.modules}
    # A core from elsewhere, without the file: nothing is known but that frame pointers are kept.
    (tmp_path / "demo.cwasm").unlink()
    other, again = look(source, said["tid"])
    assert [each.pc for each in again.frames] == [each.pc for each in stack.frames]
    assert wasm_frames(other, again) == []
    assert again.stop.reason == StopReason.ROOT
    assert any("is not at hand" in each.title for each in other.findings)


@pytest.mark.parametrize("sanitize", [False, True], ids=["plain", "sanitized"])
def test_minidumps_have_the_same_stacks_and_names(
    version: str, sanitize: bool, tmp_path: Path
) -> None:
    commands = ("go 9", "deep 2 200", "long 1", "unnamed 1")
    with host(version) as running:
        for command in commands if version == NEWEST else commands[:1]:
            said = running.ask(command)
            report, stack = look(running.pid, said["tid"])
            dump = make_dump(running.pid, tmp_path, sanitize=sanitize)
            other, again = look(dump, said["tid"])
            running.go_on()
            assert [(each.pc, each.sp, each.exact) for each in again.frames] == [
                (each.pc, each.sp, each.exact) for each in stack.frames
            ]
            assert wasm_frames(other, again) == wasm_frames(report, stack)
            switches = [each.switch for each in stack.segments]
            assert [each.switch for each in again.segments] == switches
            assert dump.stat().st_size < 400_000


def test_a_trap_where_the_processor_raises_it(tmp_path: Path) -> None:
    """The runtime says what a trap was; at the next, gdb has the kernel write a core instead."""
    script = "handle SIGILL SIGSEGV stop print nopass\ncontinue\nsignal SIGXCPU\n"
    (tmp_path / "script").write_text(f"handle SIGXCPU nostop pass\n{script}")
    gdb = tool("gdb")
    with host(available(NEWEST), cwd=tmp_path) as running, usable_core_pattern():
        allow_core(running.pid)
        running.tell("trap trap")
        said, frames = running.listen(), frames_of(running.listen()["frames"])
        with subprocess.Popen(
            [gdb, "-q", "-batch", "-iex", "maint set internal-error corefile no",
             "-p", str(running.pid), "-x", str(tmp_path / "script")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as debugger:  # fmt: skip
            try:
                assert eventually(lambda: tracer(running.pid) == debugger.pid)
                running.tell("trap trap")
                assert running.process.wait(PATIENCE) == -signal.SIGXCPU
            finally:
                running.process.kill()  # gdb would wait for it
    (core,) = tmp_path.glob("core*")
    report, stack = look(core, said["tid"])
    assert wasm_frames(report, stack) == frames
    assert [each.kind for each in stack.segments] == ["wasm", "unix"]
    assert stack.frames[0].exact
    assert is_whole(stack)


def test_a_component(newest: Host) -> None:
    said = newest.ask("component")
    report, stack = look(newest.pid, said["tid"])
    newest.go_on()
    assert [name for name, _ in wasm_frames(report, stack)] == ["inner", None]
    assert [each.kind for each in stack.segments] == ["unix", "wasm", "unix"]
    first = next(index for index, each in enumerate(stack.frames) if each.segment == 1)
    trampoline = report.location(stack, first - 1)
    assert trampoline is not None
    assert str(trampoline.function).startswith("component-trampolines[0]-wasm-call-")
    assert is_whole(stack)


def tracer(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("TracerPid:")[2].split()[0])


def in_turn(pid: int, folder: Path) -> Iterator[int | Path]:
    """A process, its minidump, and its core, with which it ends."""
    yield pid
    yield make_dump(pid, folder)
    yield written_by_kernel(pid, folder)
