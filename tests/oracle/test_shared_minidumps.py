"""Real minidumps of other projects' test suites, with answers that those projects or tools gave.

They lie beside the repository (see CORPUS in tests/conftest.py) and are skipped without it. None
comes with its program or the system's libraries, so that all there is are frame pointers and
the few bytes of code that a dump has around each thread's pc. A stack is judged up to
`trusted_frames`; where it ends before that, it must say so.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CORPUS, Corpus

from .unspool_command import run_unspool

pytestmark = pytest.mark.oracle

SUFFIX = ".expected.json"
NAMES = sorted(path.name.removesuffix(SUFFIX) for path in CORPUS.glob(f"*.dmp{SUFFIX}"))
HOSTILE = sorted(path.name.removesuffix(".zst") for path in CORPUS.glob("hostile__*.dmp.zst"))
NO_CORPUS = [pytest.param("", marks=pytest.mark.skip("no corpus"))]

# (dump, thread id): how many of the trusted frames there is evidence for. The others are of tools
# that had symbol files, or that take any address on the stack for a return address.
FOUND = {("breakpad__linux_null_read_av.dmp", 11506): 2}

CRASHES = {
    "breakpad__linux_null_read_av.dmp": "SIGSEGV, read of 0x0, inside the null page",
    "breakpad__minidump2.dmp": "access violation, write to 0x45, inside the null page (0xc0000005)",
    "breakpad__null_read_av.dmp": (
        "access violation, read of 0x0, inside the null page (0xc0000005)"
    ),
    "breakpad__thread_name_list.dmp": "access violation, read of 0xf1004 (0xc0000005)",
    "radare2__mdmp__calc.dmp": "breakpoint (0x80000003)",
    "sentry-native__minidump.dmp": (
        "access violation, write to 0x20, inside the null page (0xc0000005)"
    ),
    "symbolicator__fixtures__windows.dmp": (
        "access violation, write to 0x45, inside the null page (0xc0000005)"
    ),
}


def unwound(path: Path, tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run_unspool("stack", path, *options, cache=tmp_path / "cache")


@pytest.mark.parametrize("name", NAMES or NO_CORPUS)
def test_trusted_frames_are_found(name: str, corpus: Corpus, tmp_path: Path) -> None:
    expected = json.loads((CORPUS / f"{name}{SUFFIX}").read_text())
    dump = tmp_path / "crash.dmp"
    dump.write_bytes(corpus(name))
    done = unwound(dump, tmp_path, "--format", "json")
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    assert report["target"]["kind"] == "minidump"
    # Their modules' files are on no machine of ours.
    assert {each["kind"] for each in report.get("findings", [])} <= {"missing_files"}
    found = {thread["tid"]: thread for thread in report["threads"]}
    # Breakpad's tools leave out the thread that has written the dump.
    assert set(found) >= {thread["tid"] for thread in expected["threads"]}
    for answer in expected["threads"]:
        compare(name, found[answer["tid"]], answer)


def compare(name: str, thread: dict[str, Any], answer: dict[str, Any]) -> None:
    trusted = [frame["pc"] for frame in answer["frames"][: answer["trusted_frames"]]]
    pcs = [frame["pc"] for frame in thread["frames"]]
    right = FOUND.get((name, answer["tid"]), len(trusted))
    assert pcs[:right] == trusted[:right]
    if right < len(trusted):
        # What is found beyond is right as well, and places where frames are missing are told.
        rest = pcs[right:]
        assert rest == [pc for pc in (frame["pc"] for frame in answer["frames"]) if pc in rest]
        assert thread["stop"]["reason"] != "root" or thread["gaps"]


@pytest.mark.parametrize("name", sorted(CRASHES) if NAMES else NO_CORPUS)
def test_the_crash_in_words(name: str, corpus: Corpus, tmp_path: Path) -> None:
    dump = tmp_path / "crash.dmp"
    dump.write_bytes(corpus(name))
    done = unwound(dump, tmp_path, "--thread", "crashed")
    assert done.stdout.partition("\n")[0].endswith(f": {CRASHES[name]}")
    assert ", minidump of " in done.stdout.splitlines()[1]


@pytest.mark.parametrize("name", HOSTILE or NO_CORPUS)
def test_broken_dumps(name: str, corpus: Corpus, tmp_path: Path) -> None:
    dump = tmp_path / "crash.dmp"
    dump.write_bytes(corpus(name))
    done = unwound(dump, tmp_path)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2
