"""Real cores of other projects' test suites, with answers that those projects or tools gave.

They lie beside the repository (see CORPUS in tests/conftest.py) and are skipped without it. A
stack is judged up to `trusted_frames`; of a frame whose function nobody knows, the pc alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CORPUS, Corpus

from .names import plain
from .unspool_command import run_unspool

pytestmark = pytest.mark.oracle

SUFFIX = ".expected.json"
NAMES = sorted(
    path.name.removesuffix(SUFFIX) for path in CORPUS.glob(f"*{SUFFIX}") if ".dmp" not in path.name
)

# Answers that were made with a library which is not among the files: of its frames but the
# first there is neither unwind data nor code to check a guess with. What is found beyond
# must be right, and the stack must say where frames are missing.
LACKING = {"drgn__crashme.core": "crashme.so"}


@pytest.mark.parametrize("name", NAMES or [pytest.param("", marks=pytest.mark.skip("no corpus"))])
def test_trusted_frames_are_found(name: str, corpus: Corpus, tmp_path: Path) -> None:
    expected = json.loads((CORPUS / f"{name}{SUFFIX}").read_text())
    target, files = tmp_path / "core", tmp_path / "files"
    files.mkdir()
    target.write_bytes(corpus(name))
    if (CORPUS / f"{name}.exe.zst").exists():
        (files / f"{name}.exe").write_bytes(corpus(f"{name}.exe"))
    done = run_unspool(
        "stack", target, "--format", "json", "--symbols", files, cache=tmp_path / "cache"
    )
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)["threads"]
    assert [thread["tid"] for thread in found] == [thread["tid"] for thread in expected["threads"]]
    if name in LACKING:
        (thread,) = found
        answer = [frame["pc"] for frame in expected["threads"][0]["frames"]]
        pcs = [frame["pc"] for frame in thread["frames"]]
        assert pcs[0] == answer[0]
        assert len(pcs) > 1
        assert pcs == [pc for pc in answer if pc in pcs]
        assert thread["gaps"][0]["before"] == 1
        assert LACKING[name] in thread["gaps"][0]["detail"]
        assert done.returncode == 1
        return
    compare(found, expected["threads"])


def compare(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    for thread, answer in zip(found, expected, strict=True):
        trusted = answer["frames"][: answer["trusted_frames"]]
        frames = thread["frames"][: len(trusted)]
        assert [judged(f, e) for f, e in zip(frames, trusted, strict=False)] == [
            judged(e, e) for e in trusted
        ]


def judged(frame: dict[str, Any], expected: dict[str, Any]) -> tuple[int, str | None]:
    """What of a frame is compared: its pc, and its function where that is known."""
    name = frame.get("function") if expected["function"] else None
    return int(frame["pc"], 16), name and plain(name, "c++")
