"""Java threads beside what Java itself says of them at the same moment."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import unspool
from tests.programs.cores import (
    allow_cores,
    usable_core_pattern,
    written_by_kernel,
    written_core,
)
from tests.programs.jvms import (
    EACH_JDK,
    SMALL,
    Jdk,
    Said,
    classes,
    newest_jdk,
    oldest_jdk,
    running_java,
    thread_named,
)
from unspool import api
from unspool.model import Report, Stack, StopReason, Trust
from unspool.targets.base import Target

Method = tuple[str, str | None, int | None]

DEPTH, THREADS = 100, 2
MODES = {
    "mixed": (),
    "interpreter": ("-Xint",),
    "c1": ("-Xcomp", "-XX:TieredStopAtLevel=1"),
    "c2": ("-Xcomp", "-XX:-TieredCompilation"),
    "frame-pointers": ("-XX:+PreserveFramePointer", "-XX:ReservedCodeCacheSize=256m"),
    "zgc": ("-XX:+UseZGC",),
    "whole-pointers": ("-XX:-UseCompressedOops", "-XX:-UseCompressedClassPointers"),
}
HIDDEN = ("-XX:+UnlockDiagnosticVMOptions", "-XX:+ShowHiddenFrames")


def java_frames(report: Report, stack: Stack) -> list[Method]:
    """The methods on a stack, innermost first, as Java counts them."""
    found: list[Method] = []
    for index in range(len(stack.frames)):
        place = report.location(stack, index)
        if place is None or place.module is None or place.function is None:
            continue
        if report.modules[place.module].kind != "jit" or place.function == "call_stub":
            continue
        if place.file is None and "." not in place.function:
            continue  # a stub
        found += [(call.function, call.file, call.line) for call in place.inlines]
        found.append((place.function, place.file, place.line))
    return found


def check_whole(report: Report, *, guesses: bool = False) -> None:
    for stack in report.stacks:
        shown = f"{stack.name}: {stack.stop} {stack.gaps}"
        assert stack.stop.reason == StopReason.ROOT, shown
        assert not stack.gaps, shown
        assert guesses or not any(frame.trust == Trust.SCAN for frame in stack.frames), shown


def compare(report: Report, said: Said, tids: dict[str, int]) -> int:
    stacks = {stack.tid: stack for stack in report.stacks}
    frames = 0
    for name, expected in said.threads.items():
        stack = stacks[tids[name]]
        got = java_frames(report, stack)
        # Native methods have no lines, in Java's words: line -2.
        assert got == expected, name
        frames += len(got)
    return frames


def given_up(target: Target, report: Report, tid: int) -> int:
    """How many return addresses on a stack are not those that the frames went on at."""
    (stack,) = (each for each in report.stacks if each.tid == tid)
    read = target.space.memory.read_uint
    return sum(
        each.sp is not None
        and report.modules[target.space.module_at(each.pc).index].kind == "jit"  # type: ignore[union-attr]
        and each.trust == Trust.UNWIND_INFO
        and not each.exact
        and read(each.sp - 8, 8) != each.pc
        for each in stack.frames
    )


def ids(pid: int, said: Said) -> dict[str, int]:
    return {name: thread_named(pid, name) for name in said.threads}


@contextlib.contextmanager
def started(
    jdk: Jdk,
    root: Path,
    *arguments: object,
    options: tuple[str, ...],
    cwd: Path | None = None,
) -> Iterator[tuple[subprocess.Popen[str], Said]]:
    more = (*HIDDEN, *options)
    with running_java(jdk, root, *map(str, arguments), options=more, cwd=cwd) as made:
        yield made


@pytest.mark.parametrize("mode", MODES)
@EACH_JDK
def test_waiting_threads(jdk: Jdk, mode: str, programs_root: Path, tmp_path: Path) -> None:
    native = programs_root / "java" / "libstacks.so"
    with started(
        jdk, programs_root, "Stacks", DEPTH, THREADS, native, options=MODES[mode], cwd=tmp_path
    ) as (process, said):  # fmt: skip
        tids = ids(process.pid, said)
        targets: list[int | str] = [process.pid]
        if mode in ("mixed", "interpreter"):
            targets.append("core")
        for each in targets:
            core = each if each != "core" else str(written_by_kernel(process.pid, tmp_path))
            with unspool.open(core) as target:
                report = unspool.unwind(target)
                check_whole(report)
                assert compare(report, said, tids) > 800


@pytest.mark.parametrize("sanitize", [False, True])
@pytest.mark.parametrize("mode", ["interpreter", "c2"])
def test_a_minidump_holds_what_names_its_java_frames(
    mode: str, sanitize: bool, programs_root: Path, tmp_path: Path
) -> None:
    native = programs_root / "java" / "libstacks.so"
    path = str(tmp_path / "java.dmp")
    with started(
        oldest_jdk(), programs_root, "Stacks", 30, 1, native, options=MODES[mode]
    ) as (process, said):  # fmt: skip
        tids = ids(process.pid, said)
        with unspool.open(process.pid) as target:
            if sanitize:
                unspool.unwind(target)  # what is known already has to be in the dump as well
            api.dump(target, path, sanitize=sanitize)
    with unspool.open(path) as target:
        report = unspool.unwind(target)
    check_whole(report)
    assert compare(report, said, tids) > 100


@pytest.mark.parametrize(
    ("mode", "depth"), [("interpreter", 37), ("c1", 37), ("c2", 37), ("c2", 40)]
)
@EACH_JDK
def test_a_jvm_that_crashes_in_java(
    jdk: Jdk, mode: str, depth: int, programs_root: Path, tmp_path: Path
) -> None:
    """The kernel's core: through the JVM's own handler, its signal frame, and exact Java code."""
    options = {"interpreter": "-Xint", "c1": "-XX:TieredStopAtLevel=1", "c2": "-Xbatch"}[mode]
    command = [
        jdk.tool("java"), *SMALL, options, "-XX:ErrorFile=/dev/null",
        "-cp", classes(programs_root), "Crash", depth,
    ]  # fmt: skip
    with usable_core_pattern():
        subprocess.run(
            list(map(str, command)), cwd=tmp_path, check=False, capture_output=True, timeout=120,
            preexec_fn=allow_cores,
        )  # fmt: skip
    core = written_core(tmp_path)
    with unspool.open(str(core)) as target:
        report = unspool.unwind(target, threads="crashed")
    os.unlink(core)
    check_whole(report)
    methods = [name for name, _, _ in java_frames(report, report.stacks[0])]
    assert methods[-1] == "Crash$1.run"
    # No place that faults is described: the innermost call that was put in place may be missing,
    # and none is made up.
    known = {depth + 1} if mode == "interpreter" else {depth, depth + 1}
    assert methods.count("Crash.poke") in known
    innermost = methods[: methods.index("Crash.poke")]
    assert all(name.endswith("Unsafe.getLong") for name in innermost)
    assert (mode == "interpreter") == bool(innermost)


@pytest.mark.parametrize("mode", ["mixed", "interpreter"])
def test_virtual_threads_and_calls_from_c(mode: str, programs_root: Path) -> None:
    """A virtual thread that slept has its oldest frames in the heap: there the stack has a gap."""
    with (
        started(newest_jdk(22), programs_root, "Virtual", options=MODES[mode]) as (process, _),
        unspool.open(process.pid) as target,
    ):
        report = unspool.unwind(target)
    whole = {}
    for stack in report.stacks:
        assert stack.stop.reason == StopReason.ROOT, f"{stack.name}: {stack.stop}"
        names = [name for name, _, _ in java_frames(report, stack)]
        whole[tuple(names)] = [gap.detail for gap in stack.gaps]
    (virtual,) = (names for names in whole if "Virtual.down" in names)
    assert virtual[:7] == ("Virtual.down",) * 7
    assert whole[virtual] == ["more frames of the virtual thread are in the heap"]
    at = virtual.index("jdk.internal.vm.Continuation.run")
    assert virtual[at + 1] == "java.lang.VirtualThread.runContinuation"
    assert virtual[-1] == "java.util.concurrent.ForkJoinWorkerThread.run"
    (sorter,) = (names for names in whole if "Virtual.compare" in names)
    assert not whole[sorter]
    calls = [name for name in sorter if name.startswith("Virtual")]
    assert calls == ["Virtual.compare", "Virtual.sort", "Virtual$1.run"]


@pytest.mark.parametrize("stale", [True, False])
@EACH_JDK
def test_code_that_was_given_up_under_a_thread(
    jdk: Jdk, stale: bool, programs_root: Path
) -> None:
    options = ("-Xbatch", "-XX:-TieredCompilation", "-XX:CompileCommand=dontinline,Stale::value")
    words = ["Stale", 20, *(["stale"] if stale else [])]
    with started(jdk, programs_root, *words, options=options) as (process, said):
        with unspool.open(process.pid) as target:
            report = unspool.unwind(target)
            replaced = given_up(target, report, ids(process.pid, said)["stale"])
        check_whole(report)
        assert compare(report, said, ids(process.pid, said)) > 20
        assert (replaced > 5) == stale
