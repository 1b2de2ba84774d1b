"""The peers on real minidumps of public test suites: what the corpus expects is what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CORPUS

from . import breakpad, lldb, python_minidump

pytestmark = pytest.mark.oracle
NAMES = (
    *("breakpad__linux_null_read_av", "breakpad__null_read_av", "breakpad__minidump2"),
    *("breakpad__thread_name_list", "rust-minidump__linux-mini", "sentry-native__minidump"),
    *("symbolicator__fixtures__linux", "symbolicator__fixtures__windows"),
    "lldb__minidump-new__linux-x86_64",
)


@pytest.fixture
def dump(request: pytest.FixtureRequest, corpus: Callable[[str], bytes], tmp_path: Path) -> Path:
    path = tmp_path / f"{request.param}.dmp"
    path.write_bytes(corpus(path.name))
    return path


def expected(dump: Path) -> dict[int, int]:
    """The program counter of each thread, by its id."""
    document: dict[str, Any] = json.loads((CORPUS / f"{dump.name}.expected.json").read_text())
    threads = document["threads"]
    return {t["tid"]: int(str(t["frames"][0]["pc"]), 0) for t in threads if t["frames"]}


@pytest.mark.parametrize("dump", NAMES, indirect=True)
def test_breakpad(dump: Path) -> None:
    dumped, walked = breakpad.minidump_dump(dump), breakpad.minidump_stackwalk(dump)
    found = [breakpad.number(thread, "thread_id") for thread in dumped.threads]
    assert set(expected(dump)) <= set(found)
    pcs = {index: stack[0].pc for index, stack in walked.stacks.items() if stack}
    for index, tid in enumerate(found):
        if tid in expected(dump) and index in pcs:
            assert pcs[index] == expected(dump)[tid]
    assert len(walked.modules) == len(dumped.modules)
    assert walked.code == 0


@pytest.mark.parametrize("dump", NAMES, indirect=True)
def test_lldb(dump: Path) -> None:
    seen = lldb.lldb(dump)
    assert seen.loaded
    assert set(expected(dump)) <= set(seen.stacks)
    for tid, pc in expected(dump).items():
        assert seen.stacks[tid][0].pc == pc
    assert seen.images


@pytest.mark.parametrize("dump", NAMES, indirect=True)
def test_python_package(dump: Path) -> None:
    listed = python_minidump.parse(dump)
    assert set(expected(dump)) <= set(listed.threads)
    assert listed.modules
    start, size = listed.memory[0]
    assert len(listed.read(start, size)) == size
