from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from tests.build.seh import BASE, FINAL, GOOD, LIMIT, SehProcess
from unspool.cli import main

from .asked import ask

Capture = pytest.CaptureFixture[str]
run = partial(ask, "seh")
ROOT = Path(__file__).parents[3]
CORPUS = ROOT / "tests" / "corpus"


@pytest.fixture
def dump(tmp_path: Path) -> str:
    process = SehProcess()
    process.chain([(LIMIT + 0x200, GOOD), (BASE - 0x20, FINAL)])
    path = tmp_path / "a.dmp"
    path.write_bytes(process.dump())
    return str(path)


def test_a_good_chain(capsys: Capture, dump: str) -> None:
    code, out, errors = run(capsys, dump)
    assert (code, errors) == (0, "")
    assert "accepted by Windows Server 2003 SP1, Windows Vista and SEHOP" in out
    code, out, _ = run(capsys, dump, "--format", "json", "--thread", "#0")
    assert code == 0
    assert json.loads(out)["threads"][0]["verdict"] == "accepted"


def test_a_bad_chain_is_an_answer(capsys: Capture, tmp_path: Path) -> None:
    process = SehProcess()
    process.chain([(LIMIT + 0x202, GOOD)])
    path = tmp_path / "bad.dmp"
    path.write_bytes(process.dump())
    code, out, _ = run(capsys, str(path))
    assert code == 0
    assert "bad: it is not aligned to 4" in out


def test_a_chain_that_is_not_held(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "a.dmp"
    path.write_bytes(SehProcess().dump(without_teb=True))
    code, out, _ = run(capsys, str(path))
    assert code == 1
    assert "Missing\n  exception chain: the target does not hold its TEB" in out


@pytest.mark.parametrize(
    ("core", "words"),
    [
        ("wine/wine-10.0-x86_64.core.xz", "64-bit code (x86_64) has tables"),
        ("tiny-m32.kernel.core.zst", "no Windows program, and not Wine's"),
        ("tiny-chain.kernel.core.zst", "no Windows program, and not Wine's"),
    ],
)
def test_targets_without_chains(capsys: Capture, core: str, words: str) -> None:
    code, out, _ = run(capsys, str(CORPUS / core), "-q")
    assert code == 0
    assert words in out
    code, out, _ = run(capsys, str(CORPUS / core), "--format", "json", "-q")
    made = json.loads(out)
    assert (code, made["threads"], made["complete"]) == (0, [], True)
    assert made["findings"][-1]["kind"] == "no_seh_chain"


@pytest.mark.parametrize("name", ["8.0-i386", "10.0-i386", "10.0-wow64"])
def test_every_chain_of_the_bundled_cores_is_good(capsys: Capture, name: str) -> None:
    core = CORPUS / "wine" / f"wine-{name}.core.xz"
    code, out, _ = run(capsys, str(core), "--format", "json", "-q")
    made = json.loads(out)
    assert code == 0
    assert len(made["threads"]) > 20
    last = []
    for thread in made["threads"]:
        assert thread["verdict"] == "accepted", thread["index"]
        # The frame of each record is one that the walk found. A fiber's chain ends elsewhere.
        frames = [each["frame"]["index"] for each in thread["records"]]
        assert frames == sorted(set(frames))
        last.append(thread["records"][-1]["handler"]["module"])
    assert last.count("kernelbase.dll") == 1
    assert set(last) == {"ntdll.dll", "kernelbase.dll"}


@pytest.mark.parametrize("name", ["8.0-i386", "10.0-wow64"])
def test_our_own_minidump_of_a_core_says_the_same(
    capsys: Capture, tmp_path: Path, name: str
) -> None:
    core = str(CORPUS / "wine" / f"wine-{name}.core.xz")
    made = str(tmp_path / "a.dmp")
    assert main(["dump", core, "-o", made, "-q"]) == 0
    capsys.readouterr()
    original, dumped = (
        json.loads(run(capsys, path, "--format", "json", "-q")[1])["threads"]
        for path in (core, made)
    )
    for before, after in zip(original, dumped, strict=True):
        # Which handler is whose is told by files and exports, which a dump need not have.
        for record in (*before["records"], *after["records"]):
            record["handler"].pop("function", None)
            record["handler"].pop("function_offset", None)
        assert after["records"] == before["records"]
        assert after["rules"] == before["rules"]


def test_a_report_has_no_memory(capsys: Capture, dump: str, tmp_path: Path) -> None:
    assert main(["stack", dump, "--format", "json"]) in (0, 1)
    report = tmp_path / "report.json"
    report.write_text(capsys.readouterr().out)
    code, out, errors = run(capsys, str(report))
    assert (code, out) == (2, "")
    assert "holds no memory" in errors


def test_usage(capsys: Capture, dump: str) -> None:
    assert run(capsys)[0] == 64
    assert run(capsys, dump, "--thread", "7")[0] == 64
    assert run(capsys, dump, "--format", "html")[0] == 64
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert "usage: unspool seh TARGET [options]" in out
    assert all(len(line) <= 80 for line in out.splitlines())
