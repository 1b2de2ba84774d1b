"""Whatever happens, there is a report of what is known, and the kernel goes on."""

from __future__ import annotations

import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs.build import build
from tests.programs.table import BY_NAME

from .kernel import SOURCE, Handler, crash, installed, running_in
from .test_stacks import THREADS, compiled

pytestmark = pytest.mark.oracle

# Stands for a system call that no signal ends.
HANGING = """
def walk(*arguments):
    import signal, time
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGTERM})
    time.sleep(1000)
"""


def chain(root: Path) -> Path:
    return build(BY_NAME["chain-O2"], root)


def kinds(report: dict) -> set[str]:  # type: ignore[type-arg]
    return {each["kind"] for each in report.get("findings", ())}


def change(handler: Handler, module: str, text: str) -> None:
    """Makes a module of the handler's another one, in a copy of all of them."""
    copy = handler.folder / "src"
    shutil.copytree(SOURCE, copy)
    with open(copy / "unspool" / module, "a") as file:
        file.write(text)
    script = handler.folder / "h"
    script.write_text(script.read_text().replace(repr(str(SOURCE)), repr(str(copy))))


@pytest.mark.parametrize("handler", [("--seconds", "1")], indirect=True)
def test_a_worker_that_hangs(handler: Handler, programs_root: Path) -> None:
    """In a call that no signal ends: the kernel goes on, with a report of what was known."""
    change(handler, "unwind/walk.py", HANGING)
    program = build(BY_NAME["threads"], programs_root)
    report = handler.report(crash([program]))
    assert "unfinished" in kinds(report)
    assert [len(thread["frames"]) for thread in report["threads"]] == [1] * 6
    assert report["crash"]["signal"] == "SIGSEGV"
    assert {"libc.so.6", program.name} <= {module["name"] for module in report["modules"]}


@pytest.mark.parametrize("handler", [("--seconds", "1")], indirect=True)
def test_a_walk_that_takes_too_long(handler: Handler, programs_root: Path) -> None:
    """Half a million frames, without the library that would make it quick: there is none."""
    program = build(BY_NAME["overflow"], programs_root)
    report = handler.report(crash([program]))
    frames = report["threads"][0]["frames"]
    # A fast machine makes it.
    if kinds(report):
        assert kinds(report) <= {"time_limit", "unfinished", "frames_left_out"}
        assert len(frames) == 1000
        assert report["threads"][0]["stop"]["reason"] == "depth"
    else:
        assert len(frames) > 100_000
    assert frames[5]["trust"] == "cfi"


@pytest.mark.parametrize("handler", [("--memory-mb", "32")], indirect=True)
def test_a_process_that_is_too_big_for_the_limit(handler: Handler, programs_root: Path) -> None:
    program = build(BY_NAME["overflow"], programs_root)
    report = handler.report(crash([program]))
    assert kinds(report) & {"memory_limit", "unfinished"}
    assert report["threads"][0]["frames"]


@pytest.mark.parametrize("handler", [("--max-frames", "100")], indirect=True)
def test_as_many_frames_as_are_wanted(handler: Handler, tmp_path: Path) -> None:
    program = compiled(THREADS, tmp_path, "-pthread", "-DCOUNT=40")
    report = handler.report(crash([program]))
    assert kinds(report) == {"frames_limit"}
    assert len(report["threads"]) == 40
    assert all(thread["frames"] for thread in report["threads"])
    assert sum(len(thread["frames"]) for thread in report["threads"]) < 100 + 40


@pytest.mark.parametrize(
    "handler", [("--rate-count", "2", "--rate-seconds", "600")], indirect=True
)
def test_a_program_that_crashes_again_and_again(handler: Handler, programs_root: Path) -> None:
    program = chain(programs_root)
    for _ in range(4):
        crash([program])
    assert len(handler.files(program.name)) == 2
    other = handler.folder / "other"
    other.write_bytes(program.read_bytes())
    other.chmod(0o755)
    crash([other])
    assert len(handler.files("other")) == 1


@pytest.mark.parametrize(
    "handler", [("--free-mb", "1000000000"), ("--directory", "/proc/nowhere")], indirect=True
)
def test_where_nothing_can_be_written_the_process_still_ends(
    handler: Handler, programs_root: Path
) -> None:
    crash([chain(programs_root)])
    assert handler.files() == []


@pytest.fixture
def log(tmp_path: Path) -> Iterator[socket.socket]:
    """What reads the system's log."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.settimeout(10)
        yield reader


def test_every_crash_is_told_to_the_log(log: socket.socket, programs_root: Path) -> None:
    program = chain(programs_root)
    with installed() as handler:
        log.bind(str(handler.folder / "log"))
        pid = crash([program])
        text = log.recv(4096).decode()
        assert text.startswith("<29>unspool[")
        assert "chain-O2 crashed with signal 11: report /tmp/" in text
        assert str(handler.report_file(pid)) in text
    with installed(("--module-names", "out")) as handler:
        log.close()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.settimeout(10)
            other.bind(str(handler.folder / "log"))
            crash([program])
            assert "chain" not in other.recv(4096).decode().partition(": report")[0]


def test_a_log_that_nobody_reads_holds_up_nothing(programs_root: Path) -> None:
    """Situation: the log's own daemon crashed."""
    program = chain(programs_root)
    with installed() as handler, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
        full.bind(str(handler.folder / "log"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as writer:
            writer.setblocking(False)
            for _ in range(10_000):
                try:
                    writer.sendto(b"x", str(handler.folder / "log"))
                except BlockingIOError:
                    break
        handler.report(crash([program]))


def test_a_configuration_that_is_broken_loses_no_crash(programs_root: Path) -> None:
    with installed(("--config", "/dev/null/x")) as handler:
        report = handler.report(crash([chain(programs_root), "an-argument"]))
    assert "configuration" in kinds(report)
    assert "executable" not in report["target"]
    assert {module.get("path") for module in report["modules"]} == {None}
    assert "uid" not in report["capture"]


def test_an_error_of_the_handler_is_a_report(handler: Handler, programs_root: Path) -> None:
    change(handler, "unwind/walk.py", "walk = None\n")
    report = handler.report(crash([chain(programs_root)]))
    (finding,) = report["findings"]
    assert finding["kind"] == "unfinished"
    assert len(report["threads"][0]["frames"]) == 1


def test_an_error_before_anything_is_known(handler: Handler, programs_root: Path) -> None:
    change(handler, "targets/stream/target.py", "open_stream = None\n")
    report = handler.report(crash([chain(programs_root)]))
    (finding,) = report["findings"]
    assert finding["kind"] == "handler_error"
    assert finding["title"].startswith("internal error in opening.py:")
    assert report["crash"]["number"] == signal.SIGSEGV
    assert report["threads"] == report["modules"] == []


def test_nothing_is_left_running(handler: Handler, programs_root: Path) -> None:
    crashed = crash([chain(programs_root)])
    lines = running_in(handler.folder)
    assert not [line for line in lines if str(crashed) in line.split("\0")]
