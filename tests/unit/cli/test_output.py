"""Standard streams as they are: in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import open_terminal
from unspool.cli import output
from unspool.cli.progress import Progress

SCRIPT = """
import sys
from types import SimpleNamespace
from contextlib import nullcontext
from tests import reports
from unspool import api
from unspool.cli import main
api.open = lambda *_, **__: nullcontext(SimpleNamespace(threads=[1]))
api.unwind = lambda *_, **__: {report}
sys.exit(main(sys.argv[1:]))
"""
ROOT = Path(__file__).parents[3]


def command(*words: str, report: str = "reports.crash()") -> list[str]:
    return [sys.executable, "-c", SCRIPT.format(report=report), *words]


def run(*words: str, report: str = "reports.crash()", **options: object) -> tuple[int, str, str]:
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": os.environ["PATH"]}
    environment |= options.pop("env", {})  # type: ignore[call-overload]
    result = subprocess.run(
        command(*words, report=report), capture_output="stdout" not in options, text=True,
        env=environment, timeout=60, check=False, **options,  # type: ignore[call-overload]
    )  # fmt: skip
    return result.returncode, result.stdout, result.stderr


def test_a_picture_is_utf_8_in_every_locale() -> None:
    core = ROOT / "tests/corpus/wine/wine-8.0-i386.core.xz"
    environment = {
        "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "src"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "unspool", "layout", core, "--format", "svg"],
        env=environment, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode in (0, 1), done.stderr) == (True, b"")
    text = done.stdout.decode()
    assert not text.isascii(), "nothing is tested"
    assert text.endswith("</svg>\n")


@pytest.mark.parametrize("words", [(), ("--format=json",), ("--help",)])
def test_a_reader_that_leaves_is_no_error(words: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        code, _, errors = run("/core", *words, stdout=pipe, stderr=subprocess.PIPE,
                              report="reports.overflow(30_000)")  # fmt: skip
    assert (code, errors) == (0, "")


def test_a_reader_that_leaves_in_the_middle_is_no_error() -> None:
    process = subprocess.Popen(
        command("/core", "--format=json", report="reports.overflow(30_000)"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b'{"schema":"unspool.report/1",\n'
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), errors) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("report", ["reports.crash()", "reports.overflow(30_000)"])
def test_a_full_disk_is_an_error(report: str) -> None:
    with open("/dev/full", "wb") as full:
        code, _, errors = run("/core", "--format=json", stdout=full, stderr=subprocess.PIPE,
                              report=report)  # fmt: skip
    assert (code, errors) == (
        2,
        "unspool: standard output cannot be written: No space left on device; "
        "make room or write elsewhere\n",
    )


def test_no_standard_output_is_an_error() -> None:
    code, _, errors = run(
        "/core", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1)
    )
    assert (code, errors) == (2, "unspool: standard output is closed\n")


def test_no_standard_error_is_not_needed() -> None:
    code, out, _ = run("/core", preexec_fn=lambda: os.close(2))
    assert code == 0
    assert out.startswith("boom, x86_64")
    assert run("--bananas", preexec_fn=lambda: os.close(2))[0] == 64


def test_interrupting_ends_quietly_with_130() -> None:
    hang = "(print('ready', flush=True), __import__('time').sleep(60))"
    process = subprocess.Popen(
        command("/core", report=hang), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (130, b"", b"")


@pytest.mark.parametrize("words", [(), ("--help",), ("--verbose",)])
def test_a_terminal_of_another_encoding_gets_what_it_can_show(words: tuple[str, ...]) -> None:
    code, out, errors = run("/core", *words, env={"PYTHONIOENCODING": "ascii"},
                            report="reports.overflow(100)")  # fmt: skip
    assert (code, errors) == (0, "")
    assert out.isascii()


def terminal(*words: str, **environment: str) -> str:
    """What comes out of a terminal."""
    outer, inner = open_terminal()
    process = subprocess.Popen(
        command("/core", *words), stdout=inner, stderr=inner, stdin=inner,
        env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "TERM": "xterm", **environment},
    )  # fmt: skip
    os.close(inner)
    pieces = []
    try:
        while piece := os.read(outer, 65536):
            pieces.append(piece)
    except OSError:  # Linux: the other end is closed
        pass
    os.close(outer)
    process.wait(60)
    return b"".join(pieces).decode()


def test_a_terminal_has_colours_unless_they_are_not_wanted() -> None:
    assert "\x1b[1;31mcrashed" in terminal()
    assert "\x1b" not in terminal(NO_COLOR="1")
    assert "\x1b" not in terminal(TERM="dumb")
    assert "\x1b" not in terminal("--color=never")
    assert "\x1b" in terminal("--color=always", NO_COLOR="1")
    assert "\x1b" in terminal(NO_COLOR="")


def test_a_pipe_has_no_colours_unless_they_are_asked_for() -> None:
    assert "\x1b" not in run("/core")[1]
    assert "\x1b" in run("/core", "--color", "always")[1]


# --- progress ---------------------------------------------------------------------------


class Terminal:
    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    made = Terminal()
    monkeypatch.setattr("unspool.cli.progress.sys", SimpleNamespace(stderr=made))
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("unspool.cli.progress.monotonic", lambda: now[0])
    return now


def test_progress_shows_after_a_second_and_not_too_often(
    screen: Terminal, clock: list[float]
) -> None:
    with Progress() as progress:
        progress(1 << 20)
        clock[0] += 0.9
        progress(2 << 20)
        assert screen.text == ""
        clock[0] += 0.2
        progress(3_000_000)
        assert screen.text == "\r\x1b[Kunspool: 3.0 MB read"
        clock[0] += 0.05
        progress(4_000_000)
        assert "4.0 MB" not in screen.text
        clock[0] += 0.1
        progress(5_000_000)
        assert screen.text.endswith("\r\x1b[Kunspool: 5.0 MB read")
    assert screen.text.endswith("\r\x1b[K")


def test_progress_in_words(
    screen: Terminal, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress() as progress:
        progress.say("downloading")
        assert screen.text == ""
        clock[0] += 1.1
        progress.say("downloading: 1 of 2\x1b[2J")
        assert screen.text.startswith("\r\x1b[Kunspool: downloading: 1 of 2")
        assert "\x1b[2J" not in screen.text
        progress.log("a line")
        assert screen.text.endswith("\r\x1b[K")
        assert capsys.readouterr().err == "unspool: a line\n"
    assert screen.text.endswith("\r\x1b[K")


def test_progress_that_never_showed_leaves_nothing(screen: Terminal, clock: list[float]) -> None:
    with Progress() as progress:
        progress(1 << 20)
    assert screen.text == ""


@pytest.mark.parametrize("enabled", [True, False])
def test_progress_is_for_terminals(
    capsys: pytest.CaptureFixture[str], clock: list[float], enabled: bool
) -> None:
    with Progress(enabled) as progress:
        clock[0] += 5
        progress(1 << 20)
    assert capsys.readouterr() == ("", "")


def test_progress_survives_a_terminal_that_goes_away(
    screen: Terminal, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(screen, "write", gone)
    with Progress() as progress:
        clock[0] += 5
        progress(1 << 20)
        progress(1 << 21)


def test_streams_that_are_no_files_are_no_terminals() -> None:
    assert not output.is_terminal(None)
    with open(os.devnull) as stream:
        assert not output.is_terminal(stream)
    assert not output.is_terminal(stream)
