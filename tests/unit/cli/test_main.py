from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import reports
from tests.unit.cli.conftest import Fake
from unspool.cli import main
from unspool.cli.commands import COMMANDS
from unspool.cli.options import parse
from unspool.errors import FormatError, InputError, MissingDependency, UsageError
from unspool.model import Report

NEITHER = f"is neither a file nor a command; commands: {', '.join(COMMANDS)}; see unspool --help"

Capture = pytest.CaptureFixture[str]


def one_line(capture: Capture) -> str:
    captured = capture.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("\n")
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("unspool: ")
    return captured.err[len("unspool: ") : -1]


@pytest.mark.parametrize("words", [["/core"], ["stack", "/core"], ["stack", "--", "/core"]])
def test_a_target_alone_is_the_stack_command(fake: Fake, capsys: Capture, words: list[str]) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("boom, x86_64: SIGSEGV")
    assert fake.source == "/core"


def test_options_reach_the_api(
    fake: Fake, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "abr":
        (tmp_path / name).mkdir()
    (tmp_path / "e").write_bytes(b"MZ")
    words = (
        "/core --executable e --symbols a --symbols b --sysroot r --thread #3 --max-frames 20 "
        "--no-symbols --no-lines --explain --offline --quiet"
    )
    assert main(words.split()) == 0
    fake.opened.pop("progress")(5)
    only_for_dumps = {"procfs": None, "floating_point": False}
    given = {"executable": "e", "symbols": ["a", "b"], "sysroot": "r"}
    assert fake.opened == given | only_for_dumps
    expected = {
        "threads": "#3", "max_frames": 20, "symbols": False, "explain": True, "lines": False,
    }  # fmt: skip
    assert fake.unwound == expected
    assert capsys.readouterr().out.startswith("Thread 0")


def test_defaults_reach_the_api(fake: Fake) -> None:
    assert main(["/core"]) == 0
    del fake.opened["progress"]
    assert fake.opened == {
        "executable": None, "symbols": [], "sysroot": None, "procfs": None, "floating_point": False,
    }  # fmt: skip
    expected = {"threads": "all", "max_frames": 0, "symbols": True, "explain": False, "lines": True}
    assert fake.unwound == expected


def test_json_is_the_contract(fake: Fake, capsys: Capture) -> None:
    assert main(["/core", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "unspool.report/1"


def test_an_incomplete_answer_is_1(fake: Fake, capsys: Capture) -> None:
    fake.report = reports.waiting()
    assert main(["/core"]) == 1
    assert main(["/core", "--format=json"]) == 1
    assert "Missing" in capsys.readouterr().out


def test_the_size_of_the_file_is_told(fake: Fake, capsys: Capture, tmp_path: Path) -> None:
    core = tmp_path / "core"
    core.write_bytes(bytes(12_345))
    assert main([str(core)]) == 0
    second = capsys.readouterr().out.splitlines()[1]
    assert second.startswith("pid 4000, 3 threads (1 shown), core of 12 kB read in ")


def test_a_number_is_a_process_unless_there_is_such_a_file(
    fake: Fake, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["1234"]) == 0
    assert fake.source == 1234
    (tmp_path / "1234").touch()
    assert main(["1234"]) == 0
    assert fake.source == "1234"
    assert main(["99999999999999"]) == 0
    assert fake.source == "99999999999999"


def test_a_file_named_like_a_command_is_read(
    fake: Fake, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stack").touch()
    (tmp_path / "triage").touch()
    assert main(["stack"]) == 64
    assert one_line(capsys).endswith("; a file of the name stack is given as ./stack")
    for words, source in (
        (["stack", "stack"], "stack"),
        (["./stack"], "./stack"),
        (["triage"], "triage"),
    ):
        assert main(words) == 0
        assert fake.source == source


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no TARGET; give a core, or see unspool --help"),
        (["stack"], "no TARGET; give a core, or see unspool --help"),
        (["locks"], "no TARGET; give a core, or see unspool locks --help"),
        (["triage", "core"], f"triage {NEITHER}"),
        (["core", "other"], f"core {NEITHER}"),
        (["stack", "a", "b"], "more than one TARGET; one at a time; see unspool stack --help"),
        (["./a", "b"], "more than one TARGET; one at a time; see unspool stack --help"),
        (["--explain", "stack", "core"], "stack: the command comes first; options come after it"),
        (["./core", "--symbols", "nowhere"],
         "--symbols nowhere: there is no such file or directory"),
        (["./core", "--sysroot=nowhere"], "--sysroot nowhere: there is no such file or directory"),
        (["dump", "a", "-o", "b", "--procfs", "nowhere"],
         "--procfs nowhere: there is no such directory"),
        (["./core", "--executable", "/dev/zero"],
         "--executable /dev/zero: neither an ELF nor a Windows program"),
        (["./core", "--executable", __file__],
         f"--executable {__file__}: neither an ELF nor a Windows program"),
        (["./core", "--sysroot", __file__], f"--sysroot {__file__}: it is no directory"),
        (["layout", "./core", "--procfs", __file__],
         f"--procfs {__file__}: there is no such directory"),
        (["./core", "--online", "--offline"],
         "--online and --offline exclude each other; see unspool stack --help"),
        (["./core", "--xyzzy"], "unknown option --xyzzy; see unspool stack --help"),
        (["--format", "xml", "core"],
         "--format xml: it is text, json, memfault or minidump-stackwalk; "
         "see unspool stack --help"),
    ],
)  # fmt: skip
def test_usage_errors_are_64(
    words: list[str], message: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 64
    assert one_line(capsys) == message


def test_a_word_that_is_no_file_may_have_been_meant_as_a_command(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["triage"], ["triage", "--help"]):
        assert main(words) == 2
        assert one_line(capsys) == f"triage {NEITHER}"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("core is empty", "was the disk full?"), 2, "core is empty; was the disk full?"),
        (InputError("a\nb\x1b[2J"), 2, "a\\x0ab\\x1b[2J"),
        (UsageError("no thread 5"), 64, "no thread 5"),
        (MissingDependency("zstandard is missing"), 2, "zstandard is missing"),
        (FormatError("program header 3", "lies"), 2, "broken input: program header 3: lies"),
        (MemoryError(), 2, "out of memory; --thread crashed or --max-frames need less"),
        (OSError(28, "No space left on device", "/tmp/x"), 2, "/tmp/x: No space left on device"),
        (OSError("odd"), 2, "odd"),
        (KeyboardInterrupt(), 130, None),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    fake: Fake, capsys: Capture, error: BaseException, code: int, message: str | None
) -> None:
    def fail() -> Report:
        raise error

    fake.report = fail
    assert main(["stack", "core"]) == code
    if message is None:
        assert capsys.readouterr() == ("", "")
    else:
        assert one_line(capsys) == message


@pytest.mark.parametrize("error", [RecursionError("too deep"), KeyError("x"), ZeroDivisionError()])
def test_a_bug_is_one_line_too(
    fake: Fake, capsys: Capture, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail() -> Report:
        raise error

    fake.report = fail
    assert main(["stack", "core"]) == 2
    line = one_line(capsys)
    assert line.startswith(f"internal error in test_main.py:{fail.__code__.co_firstlineno + 1}: ")
    assert type(error).__name__ in line
    assert "UNSPOOL_TRACEBACK=1" in line
    monkeypatch.setenv("UNSPOOL_TRACEBACK", "1")
    with pytest.raises(type(error)):
        main(["stack", "core"])


@pytest.mark.parametrize("word", ["--version", "-V"])
def test_the_version(capsys: Capture, word: str) -> None:
    from unspool import __version__

    assert main([word]) == 0
    assert capsys.readouterr().out == f"unspool {__version__}\n"


@pytest.mark.parametrize(
    "words", [["--help"], ["-h"], ["stack", "--help"], ["./core", "-h"], ["-qh"]]
)
def test_help_goes_to_standard_output(
    capsys: Capture, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "core").touch()
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "usage: unspool" in captured.out
    assert captured.err == ""
    assert max(map(len, captured.out.splitlines())) <= 80


def test_every_command_has_a_module_with_options_that_explain_themselves() -> None:
    from unspool.cli.help import EXAMPLES, options

    for name in COMMANDS:
        found = options(name)
        assert all(option.help and option.name.startswith("--") for option in found)
        assert len({option.name for option in found}) == len(found)
        assert EXAMPLES[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_terminal(capsys: Capture, name: str) -> None:
    assert main([name, "--help"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []


def test_examples_of_the_help_are_commands_that_work(
    fake: Fake, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unspool.cli.help import EXAMPLES

    monkeypatch.chdir(tmp_path)
    (tmp_path / "core").touch()
    for name in ("dbg", "fs"):
        (tmp_path / name).mkdir()
    for name, examples in EXAMPLES.items():
        for example, _ in examples:
            called = example.rpartition("unspool ")[2].partition(" >")[0].partition(" |")[0]
            command = ["unspool", *called.split()]
            if name != "stack" and command[1] == name:
                # These read real files, which other tests give them.
                parse(command[2:], COMMANDS[name].load().OPTIONS, name)
                continue
            assert main(command[1:]) == 0, example
