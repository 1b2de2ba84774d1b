"""`unspool locks` on real programs that wait for each other in known ways."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator

from tests.conftest import Tool
from tests.programs.build import build
from tests.programs.build import tool as tool_path
from tests.programs.cores import (
    EMULATORS,
    allow_cores,
    written_by_gcore,
    written_by_kernel,
)
from tests.programs.running import running
from tests.programs.waits import NATIVE, VARIANTS, calm_survey, started, survey, wait_until_calm
from tests.unit.render.test_json import closed
from unspool import api
from unspool.analyses.locks.findings import findings
from unspool.analyses.locks.records import LockReport
from unspool.formats.elf import Elf
from unspool.model import Finding
from unspool.render import locks_graph, locks_json, locks_text
from unspool.symbols.elf.data import DataSymbols
from unspool.write.minidump import write_minidump

pytestmark = pytest.mark.oracle

SCHEMA = json.loads(files("unspool.render").joinpath("locks-1.schema.json").read_text())
CLOSED = Draft202012Validator(closed(SCHEMA))
RECURSIVE, NORMAL = "recursive", "normal"
KINDS = {"n": NORMAL, "r": RECURSIVE, "e": "error-checking", "R": "robust", "a": "adaptive"}


@pytest.fixture(scope="module")
def live(programs_root: Path) -> Live:
    return Live(programs_root)


class Live:
    """Runs a mode of the program until so many threads wait, and looks at it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, name: str, *arguments: str, waits: int) -> LockReport:
        with started(name, self.root, *arguments) as process:
            report = calm_survey([process.pid], waits)
        keeps_its_promises(report)
        return report


def keeps_its_promises(report: LockReport) -> None:
    """What holds of any answer: chains are closed, and each format can be written."""
    for deadlock in report.deadlocks:
        chain = [report.waits[index] for index in deadlock.chain]
        for here, after in zip(chain, [*chain[1:], chain[0]], strict=True):
            assert after.key in [each.key for each in report.locks[here.lock].holders]
    document = json.loads("".join(locks_json.chunks(report)))
    CLOSED.validate(document)
    assert len(document["waits"]) == len(report.waits)
    ElementTree.fromstring("".join(locks_graph.svg(report)))
    assert "".join(locks_graph.dot(report)).count("->") >= len(report.waits)
    assert list(locks_text.lines(report, verbose=True))


def owner_known(name: str, kind: str) -> bool:
    """musl's normal mutexes do not know their owner, and adaptive ones are normal to it."""
    return name != "locks-musl" or kind not in "na"


@pytest.mark.parametrize("count", [2, 3, 10])
@pytest.mark.parametrize("name", [name for name in NATIVE if name != "locks-musl"])
def test_a_ring_is_one_deadlock(live: Live, name: str, count: int) -> None:
    report = live(name, "ring", str(count), waits=count)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert sorted(report.waits[index].thread for index in deadlock.chain) == [*range(1, count + 1)]
    assert not deadlock.behind
    assert {lock.kind for lock in report.locks} == {"mutex"}
    assert [finding.kind for finding in report.findings] == ["deadlock"]
    if name == "locks":
        names = {lock.name for lock in report.locks}
        assert {"locks of locks", "locks+0x28 of locks"} <= names


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NATIVE)
def test_mutexes_of_every_kind(live: Live, name: str, kind: str) -> None:
    report = live(name, "ring", "2", kind, waits=2)
    assert [lock.kind for lock in report.locks] == ["mutex", "mutex"]
    assert bool(report.deadlocks) == owner_known(name, kind)
    if not owner_known(name, kind):
        assert all(lock.unknown for lock in report.locks)
    elif name != "locks-musl":
        assert KINDS[kind] in report.locks[0].state


def test_a_priority_inheriting_deadlock_that_the_kernel_refused(live: Live) -> None:
    """One thread waits for a word of its own stack, for ever."""
    for name in ("locks", "locks-static", "locks-m32"):
        (deadlock,) = live(name, "ring", "2", "p", waits=2).deadlocks
        assert len(deadlock.chain) == 2
        if name == "locks-static":
            assert not deadlock.certain, "no name says that it waits for a mutex"


@pytest.mark.parametrize(
    ("file", "kinds"), [("words", ["futex", "futex"]), ("wine-77-fsync", ["mutant", "handle"])]
)
@pytest.mark.parametrize("name", ["locks", "locks-m32", "locks-musl"])
def test_a_wait_for_any_of_several_words(
    live: Live, tmp_path: Path, name: str, file: str, kinds: list[str]
) -> None:
    """By futex_waitv, as Proton's fsync has it: its memory is known by its file's name."""
    report = live(name, "vector", str(tmp_path / file), waits=2)
    assert [lock.kind for lock in report.locks] == kinds
    assert all(wait.any for wait in report.waits)
    first, second = report.waits
    assert (second.address or 0) - (first.address or 0) == 8
    assert str(tmp_path / file) in (report.locks[0].shared or "")
    assert "0x1" in report.locks[0].state


def test_who_waits_behind_a_ring_is_not_in_it(live: Live) -> None:
    report = live("locks", "behind", "3", waits=6)
    (deadlock,) = report.deadlocks
    assert sorted(report.waits[index].thread for index in deadlock.chain) == [1, 2, 3]
    assert sorted(report.waits[index].thread for index in deadlock.behind) == [4, 5, 6]


@pytest.mark.parametrize("name", ["locks", "locks-static"])
def test_a_convoy_is_no_deadlock(live: Live, name: str) -> None:
    report = live(name, "convoy", "20", waits=20)
    assert not report.deadlocks
    assert not report.findings
    (lock,) = report.locks
    assert [holder.thread for holder in lock.holders] == [0]


def test_a_thread_that_waits_for_itself(live: Live) -> None:
    (deadlock,) = live("locks", "self", waits=1).deadlocks
    assert len(deadlock.chain) == 1


@pytest.mark.parametrize("name", ["locks", "locks-static", "locks-m32"])
def test_a_writer_and_a_mutex(live: Live, name: str) -> None:
    report = live(name, "writer", waits=2)
    assert {lock.kind for lock in report.locks} == {"mutex", "rwlock"}
    assert [deadlock.certain for deadlock in report.deadlocks] == [True]


@pytest.mark.parametrize("name", ["locks", "locks-stripped"])
def test_a_lock_held_while_the_dynamic_linker_is_waited_for(live: Live, name: str) -> None:
    report = live(name, "loader", waits=2)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert "the dynamic linker's lock (_rtld_global)" in [lock.name for lock in report.locks]
    loading = [each for each in report.findings if each.kind == "loading_with_lock"]
    assert len(loading) == 2
    assert all("dl_iterate_phdr" in finding.title for finding in loading)


def test_a_reader_is_not_known_and_so_the_deadlock_is_only_possible(live: Live) -> None:
    report = live("locks", "readers", waits=2)
    (deadlock,) = report.deadlocks
    assert not deadlock.certain
    assert [finding.kind for finding in report.findings] == ["possible_deadlock"]
    assert any("does not say which" in (lock.unknown or "") for lock in report.locks)


@pytest.mark.parametrize("name", ["locks", "locks-stripped", "locks-m32", "locks-musl"])
def test_other_waits_have_their_kinds(live: Live, name: str) -> None:
    report = live(name, "others", waits=4)
    assert not report.deadlocks
    kinds = [report.locks[wait.lock].kind for wait in report.waits]
    # What waits for a semaphore has no exported name: without debug symbols it is any word.
    assert kinds[2] in ("semaphore", "futex")
    assert kinds[:2] + kinds[3:] == ["condition", "barrier", "join"]
    barrier, join = report.locks[1], report.locks[3]
    if name != "locks-musl":
        assert barrier.state == "1 of 3 threads have come to it"
    assert [holder.thread for holder in join.holders] == [4]


@contextlib.contextmanager
def sharing(root: Path, memory: Path, count: int, kind: str) -> Iterator[list[int]]:
    """Processes in a circle; none says that it is ready before the next one holds its lock."""
    memory.write_bytes(bytes(4096))
    command = [str(build(VARIANTS["locks"], root)), "share", str(memory)]
    processes = [
        subprocess.Popen([*command, str(role), str(count), kind], stdout=subprocess.DEVNULL)
        for role in range(count)
    ]
    try:
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize("kind", ["n", "R", "p"])
def test_two_processes_share_mutexes(
    programs_root: Path, tmp_path: Path, tool: Tool, kind: str
) -> None:
    memory = tmp_path / "memory"
    with sharing(programs_root, memory, 2, kind) as pids:
        report = calm_survey(pids, 2)
        for pid in pids:
            Path(f"/proc/{pid}/coredump_filter").write_text("0x3f")
            written_by_gcore(pid, tmp_path)
        cores = [str(tmp_path / f"core.{pid}") for pid in pids]
        alone = survey(pids[0])
    for found in (report, survey(*cores)):
        keeps_its_promises(found)
        (deadlock,) = found.deadlocks
        assert deadlock.certain
        assert sorted(found.waits[index].party for index in deadlock.chain) == [0, 1]
        assert all(str(memory) in (lock.shared or "") for lock in found.locks)
    assert not alone.deadlocks
    assert "no thread of the targets" in (alone.locks[0].unknown or "")


@contextlib.contextmanager
def two_with_files(root: Path, folder: Path, kind: str) -> Iterator[list[int]]:
    """Each has one file locked and wants the other's."""
    first, second = folder / "first", folder / "second"
    first.touch()
    second.touch()
    with (
        started("locks", root, "files", first, second, kind) as one,
        started("locks", root, "files", second, first, kind) as other,
    ):
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        yield [one.pid, other.pid]


@pytest.mark.parametrize("kind", ["flock", "ofd"])
def test_files_locked_across_processes(programs_root: Path, tmp_path: Path, kind: str) -> None:
    """By flock, and by fcntl's locks of open files: the kernel looks for no circle there."""
    with two_with_files(programs_root, tmp_path, kind) as pids:
        report = calm_survey(pids, 2)
    keeps_its_promises(report)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert {lock.kind for lock in report.locks} == {"file_lock"}
    shared = sorted((lock.shared or "").partition(",")[0] for lock in report.locks)
    assert shared == [str(tmp_path / "first"), str(tmp_path / "second")]


def test_a_file_locked_by_fcntl(programs_root: Path, tmp_path: Path) -> None:
    """Of these the kernel refuses the one that would close the circle; the other one waits."""
    with two_with_files(programs_root, tmp_path, "posix") as pids:
        report = calm_survey(pids, 1)
        alone = survey(pids[report.waits[0].party])
    assert not report.deadlocks
    (lock,) = report.locks
    assert [each.party for each in lock.holders] == [1 - report.waits[0].party]
    assert "which is none of the targets" in (alone.locks[0].unknown or "")


@pytest.mark.parametrize("name", ["locks", "locks-stripped", "locks-m32", "locks-musl"])
def test_threads_that_join_each_other(live: Live, name: str) -> None:
    (deadlock,) = live(name, "joins", waits=3).deadlocks
    assert deadlock.certain
    assert len(deadlock.chain) == 3


def test_a_mutex_that_notes_no_owner(live: Live) -> None:
    """As those of Rust's library, and of others that are made of a futex alone."""
    report = live("locks", "bare", waits=2)
    (lock,) = report.locks
    assert (lock.kind, lock.name) == ("futex", "bare of locks")
    assert not lock.holders
    assert "who will wake it up" in (lock.unknown or "")


def test_rusts_mutexes_note_no_owner(live: Live) -> None:
    """The deciding frame is the program's, behind those of Rust's library."""
    report = live("locks-rust", waits=3)
    assert not report.deadlocks
    (lock,) = (lock for lock in report.locks if lock.name and "LOCK" in lock.name)
    assert lock.name == "locks::LOCK of locks-rust"
    assert (lock.kind, lock.unknown) == ("mutex", "Rust's locks do not know who holds them")
    text = "\n".join(locks_text.lines(report))
    assert text.count("in locks::main::{{closure}}, locks.rs:") == 2
    assert "who holds 1 of the locks is not known" in text
    assert "may be held by thread" in text


def test_rusts_guards_on_the_stacks_of_a_ring(live: Live) -> None:
    """A guard has its lock's address: that is evidence, and no proof."""
    (deadlock,) = live("locks-rust", "ring", waits=3).deadlocks
    assert not deadlock.certain
    assert len(deadlock.chain) == 2


def test_who_initialises_and_who_reads_is_guessed(live: Live) -> None:
    """The static variable, the once_flag, and each thread of the two that read and want to write.

    Who joins one of them holds none of their locks.
    """
    report = live("locks-c++", "initialise", waits=7)
    assert not any(each.certain for each in report.deadlocks)
    chains = [[report.waits[at].thread for at in each.chain] for each in report.deadlocks]
    assert sorted(map(sorted, chains)) == [[1, 2], [3, 4], [5], [6]]
    assert [each.kind for each in report.findings].count("all_wait") == 1
    text = "\n".join(locks_text.lines(report))
    assert "one-time initialisation" in text
    assert "guard variable for app::made()::only" in text
    assert "in app::upgrade, locks.cpp" in text


def test_a_lock_of_a_thread_that_has_ended(live: Live) -> None:
    report = live("locks", "gone", waits=1)
    assert not report.deadlocks
    assert [each.kind for each in report.findings] == ["holder_gone", "all_wait"]
    assert "is no thread of the process" in report.findings[0].title
    assert "but see the notes" in "\n".join(locks_text.lines(report))


@pytest.mark.parametrize("name", ["locks", "locks-m32"])
def test_a_reader_behind_a_writer(live: Live, name: str) -> None:
    """A reader waits for another word there; without others it can only be the one that reads."""
    report = live(name, "prefer", waits=2)
    assert {(lock.kind, lock.name) for lock in report.locks} == {("rwlock", "rwlocks of " + name)}
    assert "a writer that waits comes first" in (report.locks[0].unknown or "")
    assert [report.waits[at].thread for at in report.deadlocks[0].chain] == [0]


@pytest.mark.parametrize("name", ["locks", "locks-static", "locks-m32", "locks-musl"])
def test_the_lock_of_a_file_that_is_written(live: Live, name: str) -> None:
    (deadlock,) = live(name, "file", "2", "r", waits=2).deadlocks
    assert len(deadlock.chain) == 2
    assert deadlock.certain


def test_mutexes_of_cpp(live: Live) -> None:
    report = live("locks-c++", waits=3)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert len(deadlock.behind) == 1, "main joins one of them"
    names = sorted(lock.name or "" for lock in report.locks if lock.kind == "mutex")
    assert names == ["app::first of locks-c++", "app::second of locks-c++"]
    text = "\n".join(locks_text.lines(report))
    assert "in app::one, locks.cpp:" in text
    assert "in app::two, locks.cpp:" in text


def test_a_library_whose_constructor_waits(live: Live, tmp_path: Path) -> None:
    """The dynamic linker's lock is held while constructors run."""
    library = tmp_path / "plugin.so"
    source = Path(__file__).parents[1] / "programs" / "locks_plugin.c"
    subprocess.run([tool_path("gcc"), "-shared", "-fPIC", "-o", library, source], check=True)
    report = live("locks", "dlopen", str(library), waits=2)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert "the dynamic linker's lock (_rtld_global)" in [lock.name for lock in report.locks]
    loading = [each for each in report.findings if each.kind == "loading_with_lock"]
    assert len(loading) == 2
    assert all("waits in dlopen while it holds" in finding.title for finding in loading)


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


@pytest.mark.parametrize("sanitize", [False, True], ids=["whole", "sanitized"])
@pytest.mark.parametrize(
    ("name", "mode", "waits"),
    [
        ("locks", "ring 3", 3), ("locks-stripped", "ring 3", 3), ("locks-static", "ring 3", 3),
        ("locks-m32", "ring 3", 3), ("locks-musl", "ring 3 r", 3), ("locks", "ring 3 R", 3),
        ("locks", "writer", 2), ("locks-m32", "writer", 2), ("locks", "loader", 2),
        ("locks", "readers", 2), ("locks", "others", 4), ("locks", "vector", 2),
        ("locks", "ring 2 p", 2), ("locks", "gone", 1), ("locks", "file", 2),
        ("locks-m32", "file", 2),
    ],
)  # fmt: skip
def test_a_minidump_says_the_same(
    name: str, mode: str, waits: int, programs_root: Path, tmp_path: Path, *, sanitize: bool
) -> None:
    """The words of the locks are kept, also of a sanitized one: owners and counts.

    Of a lock that does not say who holds it, and so does not prove to be one, only the word
    that is waited for is left by sanitizing.
    """
    dump = str(tmp_path / "a.dmp")
    words = [str(tmp_path / "words")] if mode == "vector" else []
    with started(name, programs_root, *mode.split(), *words) as process:
        live = calm_survey([process.pid], waits)
        with api.open(process.pid) as target:
            api.dump(target, dump, sanitize=sanitize)
    report = survey(dump)
    keeps_its_promises(report)
    if not sanitize or mode not in ("readers", "others"):
        assert facts(report) == facts(live)
    else:
        assert len(report.waits) == waits
    assert "cannot be read" not in " ".join(finding.title for finding in report.findings)


def facts(report: LockReport) -> list[object]:
    locks = [(lock.kind, lock.address, lock.holders) for lock in report.locks]
    return [locks, report.deadlocks, [wait.key for wait in report.waits]]


def test_locks_that_are_not_in_the_dump_are_missed(programs_root: Path, tmp_path: Path) -> None:
    """As in others' minidumps, which hold stacks and hardly anything beside."""
    dump = str(tmp_path / "a.dmp")
    with started("locks", programs_root, "ring", "2") as process:
        calm_survey([process.pid], 2)
        with api.open(process.pid) as target:
            reads = target.record_reads()
            write_minidump(target, api.unwind(target).stacks, reads, dump)
    report = survey(dump)
    keeps_its_promises(report)
    assert len(report.waits) == 2
    assert not report.deadlocks
    assert not report.complete
    assert "cannot be read" in report.findings[0].title


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


def test_three_parties_of_several_processes(programs_root: Path, tmp_path: Path) -> None:
    """A circle over three processes, of which one is a core, one a minidump, and one runs."""
    with sharing(programs_root, tmp_path / "memory", 3, "n") as (first, second, third):
        live = calm_survey([first, second, third], 3)
        # Its core lacks the file's memory: the others have it as well.
        Path(f"/proc/{first}/coredump_filter").write_text("0x33")
        core, dump = str(written_by_gcore(first, tmp_path)), str(tmp_path / "b.dmp")
        with api.open(second) as target:
            api.dump(target, dump)
        mixed = survey(core, dump, third)
        partial = survey(core, third)
    for report in (live, mixed):
        keeps_its_promises(report)
        (deadlock,) = report.deadlocks
        assert deadlock.certain
        assert sorted(report.waits[index].party for index in deadlock.chain) == [0, 1, 2]
    assert not partial.deadlocks
    assert [party.report.target.kind for party in mixed.parties] == ["core", "minidump", "live"]


def analysed(name: str, root: Path, *arguments: str, waits: int) -> list[Finding]:
    """What `--analyses locks` adds to a report."""
    with started(name, root, *arguments) as process:
        calm_survey([process.pid], waits)
        with api.open(process.pid) as target:
            return findings(target, api.unwind(target))


def test_a_deadlock_in_a_report_stands_alone(programs_root: Path) -> None:
    (deadlock,) = analysed("locks", programs_root, "behind", "3", waits=6)
    assert deadlock.kind == "deadlock"
    assert list(deadlock.threads or ()) == [1, 2, 3]
    lines = (deadlock.detail or "").splitlines()
    assert len(lines) == 4
    assert all("waits #" in line and "in take, locks.c:" in line for line in lines[:3])
    assert all("held by thread" in line and "is thread id" in line for line in lines[:3])
    assert lines[3].startswith("behind it: thread ")


def test_a_convoy_in_a_report_is_one_finding(programs_root: Path) -> None:
    (convoy,) = analysed("locks", programs_root, "convoy", "30", waits=30)
    assert convoy.kind == "lock_wait"
    assert convoy.title.startswith("30 threads wait for mutex 0x")
    assert "(locks of locks), in take, locks.c:" in convoy.title
    assert "; held by thread " in convoy.title
    assert len((convoy.detail or "").splitlines()) <= 30


def test_other_waits_in_a_report_are_one_finding_each(programs_root: Path) -> None:
    found = analysed("locks", programs_root, "others", waits=4)
    assert {each.kind for each in found} == {"lock_wait"}
    assert len(found) == 4
    assert any("waits for the end of thread" in each.title for each in found)


def test_variables_are_those_of_nm(programs_root: Path, tool: Tool) -> None:
    program = build(VARIANTS["locks"], programs_root)
    symbols = DataSymbols(Elf(program.read_bytes()))
    found = 0
    for line in tool("nm", "-S", "--defined-only", program).splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[2] in "bBdD":
            start, size = int(fields[0], 16), int(fields[1], 16)
            assert symbols.lookup(start) == (fields[3], 0)
            assert symbols.lookup(start + size - 1) == (fields[3], size - 1)
            found += 1
    assert found > 5
    assert symbols.lookup(0) is None
    assert symbols.lookup(1 << 63) is None


def test_a_thousand_threads(live: Live) -> None:
    report = live("locks", "ring", "1000", waits=1000)
    (deadlock,) = report.deadlocks
    assert len(deadlock.chain) == 1000


def test_a_runtime_whose_locks_are_not_seen(tmp_path: Path) -> None:
    """Python's deadlock is none of threads' locks, and "no deadlock" would be a lie."""
    program = tmp_path / "ring.py"
    program.write_text(
        "import threading\n"
        "locks = threading.Lock(), threading.Lock()\n"
        "both = threading.Barrier(3)\n"
        "def take(own):\n"
        "    with locks[own]:\n"
        "        both.wait()\n"
        "        locks[1 - own].acquire()\n"
        "for own in (0, 1):\n"
        "    threading.Thread(target=take, args=(own,)).start()\n"
        "both.wait()\n"
        "print('ready', flush=True)\n"
    )
    with running([sys.executable, program]) as process:
        report = calm_survey([process.pid], 3)
    keeps_its_promises(report)
    assert not report.deadlocks
    assert "runtime_locks" in [each.kind for each in report.findings]
    text = "\n".join(locks_text.lines(report))
    assert "no deadlock is known" in text
    assert "runs CPython: its locks are semaphores" in text
