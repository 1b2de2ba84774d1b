"""Exception chains of real programs: against their memory, winedbg, and what the source does."""

from __future__ import annotations

import json
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.oracle.unspool_command import run_unspool
from tests.programs.build import tool

from .cores import made_by_kernel
from .flavours import FLAVOURS, Flavour
from .prefixes import PATIENCE, new_prefix
from .records import build_records
from .running import Running, Thread, run_zoo

pytestmark = pytest.mark.oracle

DEEP = 200
# The last one has all others' threads behind it. winedbg follows a circle for ever.
SCENARIOS = (
    *("good:3", "overwritten:1", "handler_overwritten", "below", "above", "misaligned"),
    *("on_stack", "generated", "data", "unlisted", "circle", "null_next", "cut", "empty", "down"),
    f"good:{DEEP}",
)
SYSTEMS = ("server_2003", "vista", "sehop", "wine")
ALL = (True,) * 4
# Whether the systems accept a chain, in their order; and what is wrong, of the first bad record.
EXPECTED: dict[str, tuple[tuple[bool, ...], str]] = {
    "main": (ALL, ""),
    "good": (ALL, ""),
    "empty": (ALL, ""),
    "overwritten": ((False,) * 4, "lies in no Windows image"),
    "handler_overwritten": ((True, False, True, True), "0x42424242 lies in no Windows image"),
    "below": ((False, True, False, False), "it is below the stack's limit"),
    "above": ((False,) * 4, "it is not below the stack's base"),
    "misaligned": ((False,) * 4, "it is not aligned to 4"),
    "on_stack": ((False, False, False, True), "lies on the stack"),
    "generated": ((True, False, True, True), "lies in no Windows image"),
    "data": ((False, False, True, True), "lies in memory that is not executable"),
    "unlisted": ((False, False, True, True), "is not in the SafeSEH table of zoo.exe"),
    "circle": ((False,) * 4, "it does not lie above the record before it"),
    "down": ((True, True, True, True), "it does not lie above the record before it"),
    "null_next": ((False,) * 4, "it is below the stack's limit"),
    "cut": ((True, True, False, True), ""),
}
# Their handlers are in a program whose table does not have them: without it, all is well.
BY_TABLE = {"unlisted": ALL, "data": (True, False, True, True)}
# What an exception tells: the first handler is called if the record is accepted. (A handler on
# the stack or in data would fault again, for ever.)
RAISED = ("good", "below", "above", "misaligned", "generated", "unlisted", "cut", "down")
Answer = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    flavour: Flavour
    threads: tuple[Thread, ...]
    memory: dict[int, list[tuple[int, int, int]]]  # by tid: (address, next, handler)
    debugger: str
    live: Answer
    core: Answer
    plain: Answer  # of the same program without a table

    def chain(self, answer: Answer, tid: int) -> Answer:
        return next(each for each in answer["threads"] if each["tid"] == tid)


def name_of(thread: Thread) -> str:
    return thread.scenario.split(",")[0]


def teb_of(thread: Thread) -> int:
    return int(thread.scenario.split(",")[1], 16)


def raw_chain(pid: int, teb: int) -> list[tuple[int, int, int]]:
    """The records as the process's memory has them, until one cannot be read or comes again."""
    found: list[tuple[int, int, int]] = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(teb)
        (address,) = struct.unpack("<I", memory.read(4))
        while address != 0xFFFFFFFF and address not in {each[0] for each in found}:
            try:
                memory.seek(address)
                following, handler = struct.unpack("<II", memory.read(8))
            except (OSError, struct.error):
                break
            found.append((address, following, handler))
            address = following
    return found


def ask(target: str | Path, cache: Path, *options: str | Path) -> Answer:
    done = run_unspool("seh", target, "--format", "json", *options, cache=cache)
    assert done.returncode in (0, 1), done.stderr
    answer: Answer = json.loads(done.stdout)
    assert answer["complete"] is (done.returncode == 0)
    return answer


def ask_winedbg(running: Running, root: Path) -> str:
    """What winedbg says of the chains that it can follow to their end."""
    script = running.folder / "script"
    tids = [each.windows_tid for each in running.threads if name_of(each) != "circle"]
    commands = [f"attach 0x{running.threads[0].nesting:x}"]
    commands += [f"info frame 0x{tid:x}" for tid in tids]
    script.write_text("\n".join([*commands, "detach", "quit"]) + "\n")
    flavour = running.flavour
    file = str(flavour.inside(script, root))
    program = r"C:\windows\system32\winedbg.exe"
    command = [flavour.wine(flavour.loader), program, "--file", file]
    if flavour.sysroot:
        # The process's own mounts: there is its wineserver.
        command = [tool("nsenter"), "-t", str(running.pid), "--mount", "--root", *command]
    with (running.folder / "winedbg").open("w+") as output:
        # Not a pipe: wineboot, which it starts, would hold it open.
        subprocess.run(
            command, cwd=None if flavour.sysroot else running.folder,
            env=flavour.environment(running.folder / "prefix", root),
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
        output.seek(0)
        return output.read()


@pytest.fixture(scope="module", params=["8.0-i386", "10.0-i386", "10.0-wow64"])
def subject(
    request: pytest.FixtureRequest, wine_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Subject:
    flavour = FLAVOURS[request.param]
    root = wine_root
    folder = tmp_path_factory.mktemp(f"records-{flavour.name}")
    cache, core = folder / "cache", folder / "core"
    with run_zoo(flavour, build_records(root, safe_seh=False), SCENARIOS, root) as running:
        plain = ask(str(running.pid), cache)
    with run_zoo(flavour, build_records(root, safe_seh=True), SCENARIOS, root) as running:
        memory = {each.tid: raw_chain(running.pid, teb_of(each)) for each in running.threads}
        live = ask(str(running.pid), cache)
        made_by_kernel(running, core)
        threads = running.threads
    of_core = ask(core, cache, *system(flavour), "--executable", zoo_path(root))
    with run_zoo(flavour, build_records(root, safe_seh=True), SCENARIOS, root) as running:
        debugger = "" if flavour.wow64 else ask_winedbg(running, root)
    return Subject(flavour, threads, memory, debugger, live, of_core, plain)


def system(flavour: Flavour) -> tuple[str | Path, ...]:
    return ("--sysroot", flavour.sysroot) if flavour.sysroot else ()


def zoo_path(root: Path) -> Path:
    return build_records(root, safe_seh=True).executable


def records(chain: Answer) -> list[tuple[int, int, int]]:
    """Those that were read."""
    return [
        (int(each["address"], 16), int(each["next"], 16), int(each["handler"]["address"], 16))
        for each in chain["records"]
        if "next" in each
    ]


def verdicts(chain: Answer) -> tuple[bool | None, ...]:
    answers = {each["system"]: each["verdict"] for each in chain["rules"]}
    assert tuple(answers) == SYSTEMS
    words = {"accepted": True, "refused": False, "unknown": None}
    # Whether its handlers are called.
    words.update({"not_unwound": True, "endless": False})
    return tuple(words[answers[name]] for name in SYSTEMS)


def test_records_are_those_of_the_memory(subject: Subject) -> None:
    assert len(subject.threads) == len(SCENARIOS) + 1
    for thread in subject.threads:
        chain = subject.chain(subject.core, thread.tid)
        raw = subject.memory[thread.tid]
        found = records(chain)
        assert int(chain["teb"], 16) == teb_of(thread)
        if name_of(thread) == "circle":
            assert found == [*raw, raw[0]]
        elif name_of(thread) in ("above", "misaligned"):
            assert found == raw[:1] and len(raw) == 2  # nothing is behind a broken link
        else:
            assert found == raw, thread.scenario
        newest = int(thread.scenario.split(",")[2], 16)
        assert not newest or raw[0][0] == newest


def test_a_live_process_says_the_same_of_what_lies_on_stacks(subject: Subject) -> None:
    for thread in subject.threads:
        live, core = (subject.chain(answer, thread.tid) for answer in (subject.live, subject.core))
        if name_of(thread) in ("below", "above"):
            assert len(live["records"]) == 1  # in memory of other kinds, which is not copied
            assert "next" not in live["records"][0]
        else:
            assert records(live) == records(core)
            assert verdicts(live) == verdicts(core)


def test_verdicts_are_as_the_program_means_them(subject: Subject) -> None:
    for thread in subject.threads:
        chain = subject.chain(subject.core, thread.tid)
        wanted, fault = EXPECTED[name_of(thread)]
        assert verdicts(chain) == wanted, thread.scenario
        faults = [fault for each in chain["records"] for fault in each.get("faults", ())]
        assert bool(faults) == bool(fault)
        assert fault in (faults or [""])[0]


def test_without_a_table_every_function_is_a_handler(subject: Subject) -> None:
    by_name = {}
    for chain in subject.plain["threads"]:
        for each in chain["records"]:
            handler = each.get("handler", {})
            if handler.get("module") == "zoo.exe":
                assert each["image_handlers"] == "no_table"
                by_name[handler.get("function")] = verdicts(chain)
    assert by_name["unlisted_handler"] == BY_TABLE["unlisted"]
    assert by_name[None] == BY_TABLE["data"]


def test_records_lie_in_the_frames_of_those_who_install_them(subject: Subject) -> None:
    for thread in subject.threads:
        name = name_of(thread)
        others = ("below", "above", "empty", "circle", "null_next", "overwritten", "down")
        if name in ("main", *others):
            continue
        chain = subject.chain(subject.core, thread.tid)
        frames = [each["frame"]["function"] for each in chain["records"]]
        depth = thread.depth if len(frames) > 1 else 0
        assert frames[: depth + 1] == [name, *["guarded"] * depth]
        numbers = [each["frame"]["index"] for each in chain["records"]]
        assert numbers == sorted(set(numbers))


def test_the_bytes_that_overwrote_a_record(subject: Subject) -> None:
    thread = next(each for each in subject.threads if name_of(each) == "overwritten")
    chain = subject.chain(subject.core, thread.tid)
    bad, beyond = chain["records"]
    text = "a request that is longer than its buffer"
    assert bad["overwritten"]["text"]["text"] == text
    assert bad["next"] == hex(int.from_bytes(text[16:20].encode(), "little"))
    words = {each["address"]: each for each in bad["overwritten"]["words"]}
    assert words[bad["address"]]["words"] == text[16:20]
    assert words[bad["address"]]["kind"] == "text"
    assert "overwritten" not in beyond
    assert beyond["checks"]["readable"] is False


def test_winedbg_lists_the_same_chains(subject: Subject) -> None:
    if subject.flavour.wow64:
        pytest.skip("of a WoW64 process winedbg reads the 64-bit TEB, which has no chain")
    chains = subject.debugger.split("Exception frames:\n")[1:]
    threads = [each for each in subject.threads if name_of(each) != "circle"]
    assert len(chains) == len(threads), subject.debugger
    for thread, text in zip(threads, chains, strict=True):
        said = [
            tuple(int(part.rpartition("=")[2], 16) for part in line.replace(":", "").split())
            for line in text.splitlines()
            if "prev=" in line
        ]
        mine = records(subject.chain(subject.core, thread.tid))
        # Another run of the program: addresses that VirtualAlloc gives can differ.
        assert len(said) >= len(mine)
        if name_of(thread) not in ("generated", "above"):
            assert said[: len(mine)] == mine, thread.scenario


@pytest.mark.parametrize("name", ["8.0-i386", "10.0-i386", "10.0-wow64"])
def test_wine_calls_the_handlers_that_it_is_said_to_accept(
    name: str, wine_root: Path, tmp_path: Path
) -> None:
    """The verdicts on Wine are what Wine does: nothing of unspool's has a part in this."""
    with new_prefix(FLAVOURS[name], wine_root) as prefix:
        program = build_records(wine_root, safe_seh=True).executable
        found = {
            scenario: prefix.run(program, ["raise", scenario], tmp_path / "said") == "called\n"
            for scenario in RAISED
        }
    assert found == {scenario: EXPECTED[scenario][0][3] for scenario in RAISED}
