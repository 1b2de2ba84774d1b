"""Analyses by name: their findings are part of a report, and say what they rest on."""

from __future__ import annotations

import json
import lzma
import random
from pathlib import Path

import pytest

from tests.build.seh import BASE, FINAL, GOOD, LIMIT, SehProcess
from tests.conftest import examples
from unspool import api
from unspool.analyses.registry import ANALYSES, chosen, is_whole
from unspool.cli import main
from unspool.errors import InputError, UsageError
from unspool.model import Report
from unspool.render.json import dumps
from unspool.render.json_reader import loads

Capture = pytest.CaptureFixture[str]
CORPUS = Path(__file__).parents[2] / "corpus"
WINE = str(CORPUS / "wine" / "wine-8.0-i386.core.xz")
NATIVE = str(CORPUS / "tiny-chain.kernel.core.zst")


@pytest.fixture
def overwritten(tmp_path: Path) -> str:
    """A dump whose second exception record was overwritten by text."""
    process = SehProcess()
    process.chain([(LIMIT + 0x200, GOOD), (LIMIT + 0x240, GOOD), (BASE - 0x20, FINAL)])
    process.write(LIMIT + 0x230, b"a long enough text over it....")
    path = tmp_path / "a.dmp"
    path.write_bytes(process.dump())
    return str(path)


def test_names_are_written_in_several_ways() -> None:
    def names(*texts: str) -> list[tuple[str, str]]:
        return [(analysis.name, argument) for analysis, argument in chosen(texts)]

    assert names("redzone,locks") == [("locks", ""), ("redzone", "")]
    assert names("locks", "locks, seh") == [("locks", ""), ("seh", "")]
    assert names("all") == [(each.name, "") for each in ANALYSES if not each.argument]
    assert names("all,locks") == names("all")
    assert names("seh,patch-check=f(int, int)") == [("seh", ""), ("patch-check", "f(int, int)")]
    assert names("patch-check=a", "patch-check=b") == [("patch-check", "a"), ("patch-check", "b")]


@pytest.mark.parametrize(
    "text", ["lock", "", "locks,", "locks=x", "patch-check", "patch-check=", "all=x"]
)
def test_what_is_no_analysis(text: str) -> None:
    with pytest.raises(UsageError):
        chosen([text])


def test_findings_are_added_to_the_report(overwritten: str) -> None:
    with api.open(overwritten) as target:
        report = api.unwind(target)
        before = list(report.findings)
        found = api.analyse(target, report, ["seh"])
    assert report.findings == before + found
    (broken,) = [each for each in found if each.kind == "seh_handler"]
    assert broken.threads == (0,)
    assert f"exception record 1 at 0x{LIMIT + 0x240:x}" in broken.title
    detail = (broken.detail or "").splitlines()
    assert any(line.startswith("Next 0x") for line in detail)
    # A report holds none of the process's memory but these two words.
    assert not any("6c 6f 6e 67" in line or "long enough" in line for line in detail)
    assert any(line.startswith("refused by Windows Vista, record ") for line in detail)


def test_a_saved_report_keeps_them(overwritten: str) -> None:
    with api.open(overwritten) as target:
        report = api.unwind(target)
        api.analyse(target, report, ["all"])
    assert {each.kind for each in report.findings} >= {"seh_handler", "below_stack"}
    again = loads(dumps(report).encode())
    assert [each.kind for each in again.findings] == [each.kind for each in report.findings]
    assert [each.detail for each in again.findings] == [each.detail for each in report.findings]


def test_every_thread_is_looked_at_whatever_the_report_shows() -> None:
    """A report of one frame of one thread is what is asked for, and says nothing of locks."""
    with api.open(WINE) as target:
        whole = api.unwind(target)
        part = api.unwind(target, threads="crashed", max_frames=1)
        assert is_whole(target, whole)
        assert not is_whole(target, part)
        assert len(part.stacks) == 1
        first = api.analyse(target, whole, ["locks,redzone"])
        assert api.analyse(target, part, ["locks,redzone"]) == first
        assert len(part.stacks) == 1
    threads = {index for each in first if each.kind == "below_stack" for index in each.threads}
    assert threads == set(range(len(whole.stacks)))


def test_all_says_nothing_of_what_a_target_has_not() -> None:
    with api.open(NATIVE) as target:
        asked = api.analyse(target, api.unwind(target), ["seh"])
        every = api.analyse(target, api.unwind(target), ["all"])
    assert [each.kind for each in asked] == ["no_seh_chain"]
    assert "no_seh_chain" not in {each.kind for each in every}


def test_a_function_that_is_being_executed() -> None:
    with api.open(NATIVE) as target:
        report = api.unwind(target)
        pc = report.stacks[0].frames[0].pc
        (found,) = api.analyse(target, report, [f"patch-check={pc - 1:#x}-{pc + 1:#x}"])
    assert found.kind == "patch_check"
    assert "unsafe" in found.title
    assert f"executes 0x{pc:x}" in (found.detail or "")
    assert list(found.threads) == [0]


def test_a_report_has_no_memory(tmp_path: Path) -> None:
    saved = tmp_path / "a.json"
    with api.open(NATIVE) as target:
        saved.write_text(dumps(api.unwind(target)))
    with api.open(str(saved)) as target:
        report = api.unwind(target)
        with pytest.raises(InputError, match="holds no memory"):
            api.analyse(target, report, ["locks"])


@pytest.mark.parametrize("seed", range(examples(5)))
def test_cores_that_lie(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a core says, analyses answer or say what is missing; a bug would be raised."""
    monkeypatch.setenv("UNSPOOL_TRACEBACK", "1")
    data = bytearray(lzma.decompress(Path(WINE).read_bytes()))
    chosen = random.Random(seed)
    for _ in range(60):
        # Half of it in headers and notes, the rest in stacks, TEBs and heaps.
        place = chosen.randrange(len(data) if chosen.random() < 0.5 else 20_000)
        data[place] = chosen.randrange(256)
    if seed % 2:
        del data[chosen.randrange(5_000, len(data)) :]
    path = tmp_path / "core"
    path.write_bytes(data)
    assert main([str(path), "--analyses", "all", "--format", "json", "-q"]) in (0, 1, 2)


class TestCommand:
    def test_findings_in_text_and_json(self, capsys: Capture, overwritten: str) -> None:
        main([overwritten, "--analyses", "seh,redzone"])
        text = capsys.readouterr().out
        assert "  exception record 1 at" in text
        assert "    refused by Windows Vista" in text
        assert "not to be trusted" in text
        main([overwritten, "--analyses", "seh", "--analyses", "redzone", "--format", "json"])
        kinds = [each["kind"] for each in json.loads(capsys.readouterr().out)["findings"]]
        assert "seh_handler" in kinds
        assert "below_stack" in kinds

    def test_without_there_are_none(self, capsys: Capture, overwritten: str) -> None:
        main([overwritten, "--format", "json"])
        kinds = {each["kind"] for each in json.loads(capsys.readouterr().out).get("findings", ())}
        assert not kinds & {"seh_handler", "below_stack"}

    def test_a_wrong_name_is_told_before_anything_is_read(self, capsys: Capture) -> None:
        assert main(["nowhere.core", "--analyses", "looks"]) == 64
        assert "there are locks, seh, layout, redzone, fibers, patch-check=FUNCTION and all" in (
            capsys.readouterr().err
        )

    def test_what_an_analysis_lacks_is_a_missing_part(
        self, capsys: Capture, tmp_path: Path
    ) -> None:
        process = SehProcess()
        path = tmp_path / "a.dmp"
        path.write_bytes(process.dump(without_teb=True))
        assert main([str(path), "--analyses", "seh", "--format", "json"]) == 1
        report: Report = loads(capsys.readouterr().out.encode())
        assert any(each.kind == "seh_unknown" and each.incomplete for each in report.findings)
