"""The bundled cores of Wasmtime hosts: every stack whole, on machines without Wasmtime.

Expected is what the runtime itself said of its Wasm frames, what the source of the host says,
and, frame by frame, what was found with all files at hand when the cores were made.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import unspool
from tests.oracle.names import plain
from tests.oracle.unspool_command import Answer, run_unspool
from tests.programs.wasm_hosts import Told, expected, told
from tests.wasm_reports import activations, crossings, recorded_switches, wasm_frames

from .reduce.names import unpack

HERE = Path(__file__).parent / "wasm"
CORES: list[dict[str, Any]] = tomllib.loads((HERE / "PROVENANCE.toml").read_text())["core"]
LARGEST = 30_000  # bytes of a bundled file
FAILURES = ("fail", "failing")  # functions beyond the levels in hosts that end in Wasm code
FAILING = ("unreachable", "bounds", "division")
GUESSES = ("scan", "frame_pointer")
TABLES = 50  # the library of this version has unwind tables for all of its functions
HOST = {"at_the_end", "back", "enter", "go_on", "top", "park", "main"}


@dataclass(frozen=True)
class Subject:
    core: dict[str, Any]
    golden: dict[str, Any]
    answer: Answer
    alone: Answer
    """without the files of names"""

    @property
    def told(self) -> dict[int, Told]:
        """What the runtime said, by the thread that has those frames now."""
        said = told("\n".join(json.dumps(line) for line in self.golden["told"]))
        if "move=1" in self.core["arguments"]:
            # One thread began the fiber and said what is in it, another one goes on with it.
            (own,) = said.values()
            said = {self.answer.crashed["tid"]: own}
        return said

    def stack(self, tid: int) -> dict[str, Any]:
        return next(stack for stack in self.answer.threads if stack["tid"] == tid)

    def has(self, argument: str) -> bool:
        return argument in self.core["arguments"].split()


def ask(core: Path, cache: Path, *options: str | Path) -> Answer:
    done = run_unspool("stack", core, "--format", "json", *options, cache=cache)
    assert done.stdout, done.stderr
    return Answer(done.returncode, json.loads(done.stdout), done.stderr)


@pytest.fixture(scope="module", params=CORES, ids=lambda core: core["name"])
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    core = request.param
    folder = tmp_path_factory.mktemp(core["name"])
    unpack(HERE / f"{core['name']}.names.tar.xz", folder / "names")
    golden = json.loads((HERE / f"{core['name']}.json").read_text())
    path = HERE / f"{core['name']}.core.xz"
    named = ask(path, folder / "cache", "--symbols", folder / "names")
    return Subject(core, golden, named, ask(path, folder / "cache"))


def test_wasm_frames_are_the_runtimes_own(subject: Subject) -> None:
    assert subject.told
    for answer in (subject.answer, subject.alone):
        stacks = {stack["tid"]: stack for stack in answer.threads}
        for tid, own in subject.told.items():
            named = [
                (f"{f.module}.wasm", f.function or f"<wasm function {f.index}>", f.offset)
                for f in own.frames
            ]
            assert wasm_frames(answer.report, stacks[tid]) == named


def test_activations_are_as_the_source_says(subject: Subject) -> None:
    begun = subject.has("move=1")
    for tid, own in subject.told.items():
        wanted = expected(own.depth, own.skip, begun=begun)
        if any(subject.has(f"end={end}") for end in FAILING):
            wanted.insert(0, list(FAILURES))
        found = activations(subject.answer.report, subject.stack(tid))
        assert [[n if n[:5] != "<wasm" else "" for n in group] for group in found] == wanted


def test_native_code_between_activations_is_walked(subject: Subject) -> None:
    """The host's own functions: two for each activation, and those around them."""
    for tid, own in subject.told.items():
        if any(frame["trust"] == "scan" for frame in subject.stack(tid)["frames"]):
            assert int(subject.core["wasmtime"].partition(".")[0]) < TABLES
            continue  # the runtime's own functions are guessed, and some are passed over
        names = host_functions(subject.stack(tid))
        first = ["at_the_end", "back"]
        if any(subject.has(f"end={end}") for end in FAILING):
            first = ["enter", "at_the_end", "back"]
        calls = [name for name in names if name in ("at_the_end", "back", "enter")]
        last = [] if subject.has("move=1") else ["enter"]
        assert calls == [*first, *["enter", "back"] * own.depth, *last]
        assert names[-1] in (["go_on"] if subject.has("move=1") else ["park", "main"])


def host_functions(stack: dict[str, Any]) -> list[str]:
    names = [plain(frame.get("function") or "") for frame in stack["frames"]]
    return [name for name in names if name in HOST]


def test_a_thread_that_was_stopped_in_wasm_code(subject: Subject) -> None:
    if not subject.has("spin=1"):
        pytest.skip("no thread was in Wasm code")
    spinning = [s for s in subject.answer.threads if s.get("name") == "spinning"]
    if not spinning:  # the names of threads are the first one's in a core of the kernel
        of_wasm = [s for s in subject.answer.threads if activations(subject.answer.report, s)]
        spinning = [s for s in of_wasm if s["tid"] not in subject.told]
    (stack,) = spinning
    assert activations(subject.answer.report, stack) == [["count", "spin"]]
    assert stack["frames"][0]["trust"] == "context"
    assert host_functions(stack) == ["enter"]


def test_every_frame_is_as_recorded(subject: Subject) -> None:
    places = [(pc, name) for pc, name in subject.golden["places"]]
    assert len(subject.answer.threads) == len(subject.golden["stacks"])
    for stack in subject.golden["stacks"]:
        found = subject.stack(stack["tid"])
        shown = [(hex(int(f["pc"], 16)), f.get("function")) for f in found["frames"]]
        assert shown == [places[index] for index in stack["frames"]]
        assert recorded_switches(found) == stack["switches"]


def test_every_stack_is_whole(subject: Subject) -> None:
    assert subject.answer.code == 0, subject.answer.errors
    for stack in subject.answer.threads:
        assert stack["stop"]["reason"] == "root"
        assert not stack.get("gaps")
        guesses = [frame for frame in stack["frames"] if frame["trust"] in GUESSES]
        assert not [frame for frame in guesses if "wasm_offset" in frame]
        # Functions of older libraries that cannot unwind have no tables.
        assert not guesses or int(subject.core["wasmtime"].partition(".")[0]) < TABLES, guesses


def test_empty_activations_are_said(subject: Subject) -> None:
    for tid, own in subject.told.items():
        words = [text for _, text in crossings(subject.stack(tid)) if "tail call" in text]
        assert len(words) == (1 if own.skip and own.skip <= own.depth else 0)


def test_a_second_walk_of_the_same_target() -> None:
    with unspool.open(str(HERE / f"{CORES[0]['name']}.core.xz")) as target:
        first, second = unspool.unwind(target), unspool.unwind(target)
    for one, other in zip(first.stacks, second.stacks, strict=True):
        assert [segment.kind for segment in one.segments] == [s.kind for s in other.segments]
        assert [(f.pc, f.sp, f.trust) for f in one.frames] == [
            (f.pc, f.sp, f.trust) for f in other.frames
        ]


@pytest.mark.parametrize("core", CORES, ids=lambda core: core["name"])
def test_files_are_what_provenance_says(core: dict[str, Any]) -> None:
    for kind, key in (("core.xz", "core_sha256"), ("names.tar.xz", "names_sha256")):
        data = (HERE / f"{core['name']}.{kind}").read_bytes()
        assert len(data) <= LARGEST
        assert hashlib.sha256(data).hexdigest() == core[key]


def test_every_file_has_a_provenance() -> None:
    names = {core["name"] for core in CORES}
    files = {path.name for path in HERE.iterdir()} - {"PROVENANCE.toml"}
    kinds = ("core.xz", "names.tar.xz", "json")
    steps = {f"{core['name']}.steps.xz" for core in CORES if "end=tour" in core["arguments"]}
    assert files == steps | {f"{name}.{kind}" for name in names for kind in kinds}
