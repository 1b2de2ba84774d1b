"""Whole stacks of real Windows programs in real Wine: two releases, both widths, and WoW64.

Every thread's Windows functions are exactly those that the source says, each `recurse` as often
as the thread was told; every stack reaches its root, and changes stacks as often as it did.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.oracle.unspool_command import Answer, run_unspool

from .conftest import CoreMaker
from .cores import ZooCore
from .expected import DEBUGGED, SCENARIOS, callbacks, expected, mismatch, scenarios
from .flavours import FLAVOURS
from .running import Thread
from .zoo import VARIANTS

pytestmark = pytest.mark.oracle

DEPTHS = (1, 2, 37, 500)
# These take a whole CPU, a lock, or a timer of the system for themselves.
ONCE = {
    "spin", "suspended_spin", "critsec", "critsec_owner", "load_library", "unix_call", *DEBUGGED
}  # fmt: skip
# (flavour, variant, kind of core)
CORES = [
    *((name, "O2", "kernel") for name in FLAVOURS),
    *((name, "O0", "gcore") for name in ("8.0-x86_64", "8.0-i386", "10.0-wow64")),
    *((name, "stripped", "kernel-zst") for name in FLAVOURS),
    ("8.0-x86_64", "fp", "kernel"),
    ("10.0-i386", "fp", "kernel"),
]
Subject = tuple[ZooCore, Answer]


@pytest.fixture(scope="session")
def subject(
    request: pytest.FixtureRequest, zoo_core: CoreMaker, wine_root: Path
) -> Subject:
    """A core of the zoo and what unspool says of it."""
    name, variant, kind = request.param
    wanted = scenarios(FLAVOURS[name], VARIANTS[variant], DEPTHS)
    core = zoo_core(name, variant, wanted, kind)
    return core, ask(core, wine_root / "cache")


def ask(core: ZooCore, cache: Path, *more: str) -> Answer:
    options = ["--symbols", core.zoo.folder]
    if core.sysroot and not core.kind.startswith("gcore"):
        options += ["--sysroot", core.sysroot]
    done = run_unspool(core.path, "--format", "json", *options, *more, cache=cache)
    assert done.stdout, done.stderr
    return Answer(done.returncode, json.loads(done.stdout), done.stderr)


every_core = pytest.mark.parametrize(
    "subject", CORES, ids=["/".join(core) for core in CORES], indirect=True
)


def stack_of(answer: Answer, thread: Thread) -> dict[str, Any]:
    return next(stack for stack in answer.threads if stack["tid"] == thread.tid)


def windows_functions(core: ZooCore, answer: Answer, stack: dict[str, Any]) -> list[str]:
    """The functions on the Windows side; of WoW64 on its 32-bit side, as far as that is used."""
    modules = answer.report["modules"]
    names = []
    for frame in stack["frames"]:
        module = modules[frame["module"]] if "module" in frame else None
        segment = stack["segments"][frame["segment"]]
        if segment["kind"] != "windows" or module is None or module["kind"] != "pe":
            continue
        if not (core.flavour.wow64 and int(segment["high"], 16) > 1 << 32):
            names.append(frame.get("function") or "")
    return names


@every_core
def test_the_windows_side_is_as_the_source_says(subject: Subject) -> None:
    core, answer = subject
    problems = {}
    for thread in core.threads:
        found = windows_functions(core, answer, stack_of(answer, thread))
        problem = mismatch(expected(core.flavour, thread), found)
        if problem:
            problems[f"{thread.scenario}:{thread.depth}"] = problem
    assert not problems


@every_core
def test_recursion_is_exactly_as_deep_as_it_was(subject: Subject) -> None:
    core, answer = subject
    wrong = {}
    for thread in core.threads:
        names = windows_functions(core, answer, stack_of(answer, thread))
        count = sum(name.lstrip("_") == "recurse" for name in names)
        if count != thread.depth * max(callbacks(thread), 1):
            wrong[f"{thread.scenario}:{thread.depth}"] = count
    assert not wrong


@every_core
def test_every_stack_is_whole(subject: Subject) -> None:
    _, answer = subject
    stops = Counter(
        (stack["stop"]["reason"], stack["stop"].get("detail")) for stack in answer.threads
    )
    assert {reason for reason, _ in stops} == {"root"}, stops
    assert not [stack["gaps"] for stack in answer.threads if stack.get("gaps")]
    assert answer.code == 0, answer.errors
    # Nothing was guessed: all code has unwind data.
    trusts = Counter(frame["trust"] for stack in answer.threads for frame in stack["frames"])
    assert not {"scan", "frame_pointer"} & set(trusts), trusts


@every_core
def test_windows_ids_and_the_process_are_known(subject: Subject) -> None:
    core, answer = subject
    for thread in core.threads:
        assert stack_of(answer, thread)["windows_tid"] == thread.windows_tid
    wine = answer.report["target"]["wine"]
    assert wine["version"] == core.flavour.version
    assert wine["bitness"] == (32 if core.flavour.machine == "i686" else 64)
    assert answer.report["target"]["executable"].endswith("zoo.exe")


@every_core
def test_switches_are_as_many_as_callbacks_and_calls(subject: Subject) -> None:
    """Each segment has the bounds of its stack, and every callback a way there and back."""
    core, answer = subject
    for thread in core.threads:
        stack = stack_of(answer, thread)
        switches = Counter(
            (segment.get("switch") or "").partition(":")[0] for segment in stack["segments"]
        )
        assert switches["Wine callback"] == callbacks(thread), thread
        spins = thread.scenario in ("spin", "suspended_spin")
        level = 0 if spins else 1
        assert switches["Wine system call"] >= callbacks(thread) + level, thread
        for segment in stack["segments"]:
            assert int(segment["low"], 16) < int(segment["high"], 16), segment
        for frame in stack["frames"]:
            segment = stack["segments"][frame["segment"]]
            assert int(segment["low"], 16) <= int(frame["sp"], 16) <= int(segment["high"], 16)


@every_core
def test_exceptions_are_found_where_they_were_raised(subject: Subject, wine_root: Path) -> None:
    core, answer = subject
    excepted = {
        index
        for finding in answer.report["findings"]
        if finding["kind"] == "windows_exception"
        for index in finding["threads"]
    }
    # Where no signal hit the process, these are what has crashed.
    if core.kind.startswith("gcore"):
        crashed = ask(core, wine_root / "cache", "--thread", "crashed").threads
        assert {stack["index"] for stack in crashed} == excepted != set()
    by_index = {stack["index"]: stack["tid"] for stack in answer.threads}
    found = {
        by_index[finding["threads"][0]]: finding["title"]
        for finding in answer.report["findings"]
        if finding["kind"] == "windows_exception"
    }
    for thread in core.threads:
        if thread.scenario in ("null_deref", "vectored", "seh"):
            title = found.pop(thread.tid)
            assert "access violation, write to 0x0 (0xc0000005)" in title
        elif thread.scenario == "raise":
            found.pop(thread.tid, None)
    assert not found


# As many threads as the zoo takes; of scenarios that can be had any number of times.
@pytest.mark.parametrize("first", [1, 251])
@pytest.mark.parametrize("name", FLAVOURS)
def test_every_depth_from_1_to_500(
    name: str, first: int, zoo_core: CoreMaker, wine_root: Path
) -> None:
    repeated = [each for each in SCENARIOS if each not in ONCE]
    # Another scenario for the same depth in each flavour.
    shift = list(FLAVOURS).index(name)
    wanted = [
        f"{repeated[(depth + shift) % len(repeated)]}:{depth}"
        for depth in range(first, first + 250)
    ]
    core = zoo_core(name, "O2", wanted, "kernel")
    answer = ask(core, wine_root / "cache")
    problems = {}
    for thread in core.threads:
        found = windows_functions(core, answer, stack_of(answer, thread))
        problem = mismatch(expected(core.flavour, thread), found)
        if problem or found.count("recurse") != thread.depth:
            problems[f"{thread.scenario}:{thread.depth}"] = problem
    assert not problems
    assert {thread.depth for thread in core.threads} >= set(range(first, first + 250))
    assert answer.code == 0, answer.errors


@pytest.mark.parametrize("scenario", DEBUGGED)
@pytest.mark.parametrize("name", FLAVOURS)
def test_a_process_that_a_debugger_holds(
    name: str, scenario: str, zoo_core: CoreMaker, wine_root: Path
) -> None:
    core = zoo_core(name, "O2", [f"{scenario}:5"], "kernel")
    answer = ask(core, wine_root / "cache")
    for thread in core.threads:
        found = windows_functions(core, answer, stack_of(answer, thread))
        assert mismatch(expected(core.flavour, thread), found) is None
    assert {stack["stop"]["reason"] for stack in answer.threads} == {"root"}


@pytest.mark.parametrize("name", ["8.0-x86_64", "10.0-x86_64", "10.0-i386"])
def test_the_windows_half_without_the_unix_files(
    name: str, zoo_core: CoreMaker, wine_root: Path, tmp_path: Path
) -> None:
    """On another machine libc and ntdll.so are missing: their frames are, and that is said."""
    core = zoo_core(name, "O2", ["wait_event:7", "wndproc:2:2"], "kernel")
    done = run_unspool(
        core.path, "--format", "json", "--symbols", core.zoo.folder, "--sysroot", tmp_path,
        cache=wine_root / "cache",
    )  # fmt: skip
    answer = Answer(done.returncode, json.loads(done.stdout), done.stderr)
    assert answer.code == 1
    thread = next(each for each in core.threads if each.scenario == "wait_event")
    stack = stack_of(answer, thread)
    names = [frame.get("function") for frame in stack["frames"]]
    assert names.count("recurse") == 7
    assert "no unwind data for" in stack["gaps"][0]["detail"]
