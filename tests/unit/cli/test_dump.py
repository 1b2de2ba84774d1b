"""`unspool dump` and `unspool core2md` as a user calls them, on a bundled core."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.conftest import BUNDLED
from unspool.cli import main

Capture = pytest.CaptureFixture[str]


def threads(path: str | Path, capsys: Capture) -> list[object]:
    assert main([str(path), "--symbols", str(BUNDLED), "--format=json"]) in (0, 1)
    report = json.loads(capsys.readouterr().out)
    return [[frame["pc"] for frame in thread["frames"]] for thread in report["threads"]]


def test_a_dump_is_written_and_said_so(core: str, capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "a.dmp"
    assert main(["dump", core, "--symbols", str(BUNDLED), "-o", str(path)]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{path}: ")
    assert first.endswith(" kB, minidump of crash")
    assert "5 threads with 5 stacks, " in second
    assert third == "  every stack is whole"
    assert threads(path, capsys) == threads(core, capsys)


def test_what_is_read_is_not_written_over(core: str, capsys: Capture, tmp_path: Path) -> None:
    own = tmp_path / "core"
    own.write_bytes(Path(core).read_bytes())
    (tmp_path / "link").symlink_to(own)
    os.link(own, tmp_path / "other")
    dump = tmp_path / "a.dmp"
    assert main(["dump", str(own), "--symbols", str(BUNDLED), "-q", "-o", str(dump)]) == 0
    commands = [["dump", str(own), "-o", str(own)], ["dump", str(own), "-o", f"{tmp_path}/./core"]]
    commands += [["dump", str(own), "-o", str(tmp_path / name)] for name in ("link", "other")]
    commands.append(["dump", str(own), "--memory-free", "-o", str(own)])
    commands.append(["core2md", str(own), "/proc/self", str(own)])
    commands += [[name, str(dump), "-o", str(dump)] for name in ("dump", "inspect")]
    was = own.read_bytes(), dump.read_bytes()
    for words in commands:
        assert main(words) == 64, words
        assert "is what is read; it would be lost" in capsys.readouterr().err
    assert (own.read_bytes(), dump.read_bytes()) == was


def test_quiet(core: str, capsys: Capture, tmp_path: Path) -> None:
    words = ["dump", core, "--symbols", str(BUNDLED), "-q", "-o", str(tmp_path / "a.dmp")]
    assert main(words) == 0
    assert capsys.readouterr() == ("", "")


def test_a_part_that_is_missing(core: str, capsys: Capture, tmp_path: Path) -> None:
    data = Path(core).read_bytes()
    cut = tmp_path / "cut"
    cut.write_bytes(data[: len(data) * 2 // 3])
    assert main(["dump", str(cut), "--symbols", str(BUNDLED), "-o", str(tmp_path / "a.dmp")]) == 1
    said = capsys.readouterr().out
    assert "not whole: the stacks of threads " in said
    assert "the core is truncated" in said
    assert (tmp_path / "a.dmp").read_bytes()[:4] == b"MDMP"


def test_the_report_in_place_of_a_dump(core: str, capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    words = ["dump", core, "--symbols", str(BUNDLED), "--memory-free", "-o", str(path)]
    assert main(words) == 0
    assert "report without memory" in capsys.readouterr().out
    assert json.loads(path.read_text())["schema"] == "unspool.report/1"
    assert threads(path, capsys) == threads(core, capsys)


def test_a_dump_of_a_dump(core: str, capsys: Capture, tmp_path: Path) -> None:
    one, other = tmp_path / "1.dmp", tmp_path / "2.dmp"
    assert main(["dump", core, "--symbols", str(BUNDLED), "-q", "-o", str(one)]) == 0
    words = ["dump", str(one), "--symbols", str(BUNDLED), "-q", "-o", str(other)]
    assert main([*words, "--sanitize"]) == 0
    assert threads(other, capsys) == threads(core, capsys)


def test_unwind_tables(core: str, capsys: Capture, tmp_path: Path) -> None:
    """The program's file is there, so that its tables are saved only when they are asked for."""
    sizes = []
    for which in ("none", "missing", "all"):
        path = tmp_path / which
        words = ["dump", core, "--symbols", str(BUNDLED), "-o", str(path), "-q"]
        assert main([*words, "--unwind-tables", which]) == 0
        sizes.append(path.stat().st_size)
    assert sizes[0] <= sizes[1] < sizes[2]
    assert main([*words, "--unwind-tables", "some"]) == 64
    assert "missing, all or none" in capsys.readouterr().err


def test_a_bounded_stack(core: str, capsys: Capture, tmp_path: Path) -> None:
    sizes = []
    for most in ("64", "0"):
        path = tmp_path / f"{most}.dmp"
        words = ["dump", core, "--symbols", str(BUNDLED), "-q", "-o", str(path)]
        assert main([*words, "--stack-bytes", most]) == 0
        sizes.append(path.stat().st_size)
        short = threads(path, capsys)
    assert sizes[0] < sizes[1]
    # What is there is as it is in the core.
    for mine, whole in zip(short, threads(core, capsys), strict=True):
        assert isinstance(mine, list)
        assert isinstance(whole, list)
        assert mine[:1] == whole[:1]


def test_what_a_bound_has_cut_is_told(core: str, capsys: Capture, tmp_path: Path) -> None:
    words = ["dump", core, "--symbols", str(BUNDLED), "-o", str(tmp_path / "a.dmp")]
    assert main([*words, "--stack-bytes", "64"]) == 0
    told = capsys.readouterr().out
    assert "cut at --stack-bytes: the stacks of threads " in told
    assert "every stack is whole" not in told
    assert main([*words, "--stack-bytes", "100000"]) == 0
    assert "every stack is whole" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["dump"], "no TARGET"),
        (["dump", "core"], "no output file; name it with -o"),
        (["dump", "a", "b", "-o", "c"], "more than one TARGET"),
        (["dump", "a", "-o", "c", "--sanitize", "--environ"], "exclude each other"),
        (["dump", "a", "-o", "c", "--memory-free", "--sanitize"], "exclude each other"),
        (["dump", "a", "-o", "c", "--stack-bytes", "many"], "a whole number was expected"),
        (["core2md", "core", "out"], "2 arguments: core2md wants CORE PROCFS OUT"),
    ],
)
def test_usage(words: list[str], complaint: str, capsys: Capture) -> None:
    assert main(words) == 64
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1


def test_what_is_no_target_writes_nothing(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "a.dmp"
    assert main(["dump", __file__, "-o", str(path)]) == 2
    assert "a text file, not a core" in capsys.readouterr().err
    assert not path.exists()


def test_a_report_holds_no_memory(core: str, capsys: Capture, tmp_path: Path) -> None:
    report, path = tmp_path / "a.json", tmp_path / "a.dmp"
    main(["dump", core, "--symbols", str(BUNDLED), "--memory-free", "-q", "-o", str(report)])
    assert main(["dump", str(report), "-o", str(path)]) == 2
    assert "holds no memory" in capsys.readouterr().err
    assert not path.exists()


def test_core2md(core: str, capsys: Capture, tmp_path: Path) -> None:
    kept, path = tmp_path / "proc", tmp_path / "a.dmp"
    kept.mkdir()
    (kept / "cmdline").write_bytes(b"crash\0--seriously\0")
    (kept / "status").write_text("Name:\tcrash\nPid:\t4711\nUmask:\t0022\n")
    words = ["core2md", core, str(kept), str(path), "--symbols", str(BUNDLED)]
    assert main(words) == 0
    assert capsys.readouterr() == ("", "")
    data = path.read_bytes()
    assert b"crash\0--seriously\0" in data
    assert b"Umask:\t0022" in data
    assert threads(path, capsys) == threads(core, capsys)


def test_core2md_goes_without_a_procfs_that_is_gone(
    core: str, capsys: Capture, tmp_path: Path
) -> None:
    words = ["core2md", core, str(tmp_path / "none"), str(tmp_path / "a.dmp")]
    assert main([*words, "--symbols", str(BUNDLED), "-v"]) == 0
    assert "every stack is whole" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["dump", "core2md"])
def test_help(command: str, capsys: Capture) -> None:
    assert main([command, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: unspool {command} ")
    assert "examples:" in said
    assert max(map(len, said.splitlines())) <= 80


def test_nothing_is_left_where_nothing_can_be_written(
    core: str, capsys: Capture, tmp_path: Path
) -> None:
    assert main(["dump", core, "-o", str(tmp_path / "no" / "a.dmp")]) == 2
    assert "cannot be written: No such file or directory" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_a_cut_dump_still_has_the_threads_and_the_crash(
    core: str, capsys: Capture, tmp_path: Path
) -> None:
    """As an upload that broke off, or a disk that was full, leaves it."""
    whole, cut = tmp_path / "whole.dmp", tmp_path / "cut.dmp"
    words = ["dump", core, "--symbols", str(BUNDLED), "-q", "-o", str(whole)]
    assert main(words) == 0
    data = whole.read_bytes()
    stacks = threads(whole, capsys)
    first = next(at for at in range(0, len(data), 64) if whole_stacks(data[:at], cut, capsys))
    assert first < len(data) * 3 // 4
    assert main([str(cut), "--symbols", str(BUNDLED)]) == 1
    said = capsys.readouterr().out
    assert "SIGSEGV" in said
    assert f"the minidump is truncated: it has {first:,} bytes" in said
    assert threads(cut, capsys)[0] == stacks[0]


def whole_stacks(data: bytes, path: Path, capsys: Capture) -> bool:
    """Whether what is left of a dump still has a whole stack of the crashed thread."""
    path.write_bytes(data)
    code = main([str(path), "--symbols", str(BUNDLED), "--thread=crashed", "--format=json"])
    out = capsys.readouterr().out
    if code == 2 or not out:
        return False
    found = json.loads(out)["threads"]
    return bool(found) and found[0]["stop"]["reason"] == "root" and not found[0].get("gaps")
