"""The bundled cores of Wine processes: every stack whole, on machines without Wine.

Expected is what the source of the programs says, by the rules for real Wine (tests/wine), and,
frame by frame, what was found with all files at hand when the cores were made.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.oracle.unspool_command import Answer, run_unspool
from tests.wine.expected import callbacks, expected, mismatch
from tests.wine.flavours import FLAVOURS
from tests.wine.running import Thread

from .reduce.names import unpack

HERE = Path(__file__).parent / "wine"
CORES: list[dict[str, Any]] = tomllib.loads((HERE / "PROVENANCE.toml").read_text())["core"]
LARGEST = 60_000  # bytes of a bundled file


@dataclass(frozen=True)
class Subject:
    core: dict[str, Any]
    golden: dict[str, Any]
    names: Path
    cache: Path
    answer: Answer

    @property
    def threads(self) -> list[Thread]:
        return [Thread(**thread) for thread in self.golden["threads"]]

    def stack(self, tid: int) -> dict[str, Any]:
        return next(stack for stack in self.answer.threads if stack["tid"] == tid)


def ask(core: Path, cache: Path, *options: str | Path) -> Answer:
    done = run_unspool(core, "--format", "json", *options, cache=cache)
    assert done.stdout, done.stderr
    return Answer(done.returncode, json.loads(done.stdout), done.stderr)


@pytest.fixture(scope="module", params=CORES, ids=lambda core: core["name"])
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    core = request.param
    folder = tmp_path_factory.mktemp(core["name"])
    names, cache = folder / "names", folder / "cache"
    unpack(HERE / f"{core['name']}.names.tar.xz", names)
    golden = json.loads((HERE / f"{core['name']}.json").read_text())
    path = HERE / f"{core['name']}.core.xz"
    return Subject(core, golden, names, cache, ask(path, cache, "--symbols", names))


def shown(stack: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(hex(int(frame["pc"], 16)), frame.get("function")) for frame in stack["frames"]]


def switches(stack: dict[str, Any]) -> list[list[Any]]:
    """[index of the first frame on another stack, how the thread came there]."""
    places = [frame["segment"] for frame in stack["frames"]]
    return [
        [index, stack["segments"][place].get("switch")]
        for index, place in enumerate(places)
        if index and place != places[index - 1]
    ]


def test_every_frame_is_as_recorded(subject: Subject) -> None:
    places = [(pc, name) for pc, name in subject.golden["places"]]
    assert len(subject.answer.threads) == len(subject.golden["stacks"])
    for stack in subject.golden["stacks"]:
        found = subject.stack(stack["tid"])
        assert shown(found) == [places[index] for index in stack["frames"]]
        assert switches(found) == stack["switches"]


def test_every_stack_is_whole(subject: Subject) -> None:
    assert subject.answer.code == 0, subject.answer.errors
    for stack in subject.answer.threads:
        assert stack["stop"]["reason"] == "root"
        assert not stack.get("gaps")
        trusts = {frame["trust"] for frame in stack["frames"]}
        assert not trusts & {"scan", "frame_pointer"}, stack["tid"]


def windows_functions(subject: Subject, tid: int) -> list[str]:
    """The functions on the Windows side; of WoW64 on its 32-bit side."""
    stack = subject.stack(tid)
    modules = subject.answer.report["modules"]
    names = []
    for frame in stack["frames"]:
        segment = stack["segments"][frame["segment"]]
        is_pe = "module" in frame and modules[frame["module"]]["kind"] == "pe"
        beyond = subject.core["flavour"].endswith("wow64") and int(segment["high"], 16) > 1 << 32
        if segment["kind"] == "windows" and is_pe and not beyond:
            names.append(frame.get("function") or "")
    return names


def test_the_windows_side_is_as_the_source_says(subject: Subject) -> None:
    flavour = FLAVOURS[subject.core["flavour"]]
    scenarios = {thread.scenario for thread in subject.threads}
    assert len(scenarios) >= 20
    for thread in subject.threads:
        found = windows_functions(subject, thread.tid)
        assert mismatch(expected(flavour, thread), found) is None, thread
        recursions = sum(name.lstrip("_") == "recurse" for name in found)
        assert recursions == thread.depth * max(callbacks(thread), 1), thread


def test_windows_ids_are_known(subject: Subject) -> None:
    for thread in subject.threads:
        assert subject.stack(thread.tid)["windows_tid"] == thread.windows_tid
    wine = subject.answer.report["target"]["wine"]
    assert wine["build"] == subject.core["wine"]
    assert wine["bitness"] == (64 if subject.core["flavour"].endswith("x86_64") else 32)


def test_names_are_all_that_files_of_names_add(subject: Subject) -> None:
    path = HERE / f"{subject.core['name']}.core.xz"
    alone = ask(path, subject.cache)
    assert alone.code == 0
    for mine, theirs in zip(subject.answer.threads, alone.threads, strict=True):
        assert [pc for pc, _ in shown(mine)] == [pc for pc, _ in shown(theirs)]
        # Exports name the outermost function of every thread.
        assert theirs["frames"][-1].get("module") == mine["frames"][-1]["module"]


def test_the_same_core_compressed_by_zstd(subject: Subject, tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    packed = HERE / f"{subject.core['name']}.core.xz"
    copy = tmp_path / "core.zst"
    copy.write_bytes(
        zstandard.ZstdCompressor(level=1).compress(lzma.decompress(packed.read_bytes()))
    )
    other = ask(copy, subject.cache, "--symbols", subject.names)
    for report in (other.report, subject.answer.report):
        report["target"].pop("path", None)
        report["target"].pop("size", None)
    assert other.report == subject.answer.report


def test_the_core_that_the_documents_show(tmp_path: Path) -> None:
    """A window that waits in a callback for a thread that waits in an exception filter."""
    folder = HERE.parents[2] / "demo" / "bundled"
    answer = ask(folder / "wine.core.xz", tmp_path, "--symbols", folder / "wine")
    assert answer.code == 0, answer.errors
    waiting, crashed = answer.threads
    assert [stack["stop"]["reason"] for stack in answer.threads] == ["root", "root"]
    assert ours(answer, waiting) == [
        "show_word_count",
        "window_procedure",
        "open_document",
        "start",
    ]
    crash = ["crash_handler", *["count_words"] * 3, "count_in_background"]
    assert ours(answer, crashed) == crash
    words = [str(switch[1]).partition(":")[0] for switch in switches(waiting)]
    assert words == ["Wine system call", "Wine callback", "Wine system call"]
    assert "Windows exception: access violation" in str(switches(crashed))


def ours(answer: Answer, stack: dict[str, Any]) -> list[str | None]:
    """The program's own functions."""
    return [
        frame.get("function")
        for frame in stack["frames"]
        if (answer.file(frame) or "").endswith("editor.exe")
    ]


@pytest.mark.parametrize("core", CORES, ids=lambda core: core["name"])
def test_files_are_what_provenance_says(core: dict[str, Any]) -> None:
    for kind, key in (("core.xz", "core_sha256"), ("names.tar.xz", "names_sha256")):
        data = (HERE / f"{core['name']}.{kind}").read_bytes()
        assert len(data) <= LARGEST
        assert hashlib.sha256(data).hexdigest() == core[key]


def test_every_flavour_has_a_core_and_every_file_a_provenance() -> None:
    assert {core["flavour"] for core in CORES} == set(FLAVOURS)
    names = {core["name"] for core in CORES}
    files = {path.name for path in HERE.iterdir()} - {"PROVENANCE.toml"}
    kinds = ("core.xz", "names.tar.xz", "json")
    assert files == {f"{name}.{kind}" for name in names for kind in kinds}
