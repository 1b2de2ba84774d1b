"""A JVM of aarch64, recorded under a real kernel: stacks beside what Java itself said of them, and
the callers at single instructions beside who had called."""

from __future__ import annotations

import lzma
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import unspool
from tests.oracle.test_java import check_whole, compare
from tests.programs.java_steps import Process, told, unpacked
from unspool import api
from unspool.model import StopReason, Trust
from unspool.targets.base import Target

from .reduce.names import unpack

HERE = Path(__file__).parent / "java"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    unpack(HERE / "java.names.tar.xz", folder)
    return folder


@pytest.fixture
def target(names: Path) -> Iterator[Target]:
    with unspool.open(str(HERE / "java.core.xz"), symbols=[str(names)]) as opened:
        yield opened


def test_every_frame_is_as_java_said(target: Target) -> None:
    report = unspool.unwind(target)
    check_whole(report)
    assert compare(report, *told((HERE / "java.said").read_text())) > 250
    kinds = {each.name for each in report.modules if each.kind == "jit"}
    assert kinds == {"CodeCache"}


@pytest.mark.parametrize("sanitize", [False, True])
def test_a_minidump_of_it_says_the_same(
    target: Target, sanitize: bool, names: Path, tmp_path: Path
) -> None:
    path = str(tmp_path / "java.dmp")
    api.dump(target, path, sanitize=sanitize, tables="all")
    with unspool.open(path, symbols=[str(names)]) as dump:
        report = unspool.unwind(dump)
    check_whole(report)
    assert compare(report, *told((HERE / "java.said").read_text())) > 250


def test_the_callers_at_single_instructions(target: Target) -> None:
    process = Process(target)
    parts: Counter[str] = Counter()
    states = list(unpacked(lzma.decompress((HERE / "java.steps.xz").read_bytes())))
    for state in states:
        stack = process.walk(state)
        shown = f"{state.pc:#x} in {process.part(state.pc)}"
        assert tuple(frame.pc for frame in stack.frames[1:]) == state.callers, shown
        assert stack.stop.reason == StopReason.ROOT, shown
        assert not stack.gaps, shown
        assert not any(frame.trust == Trust.SCAN for frame in stack.frames), shown
        parts[process.part(state.pc).partition(" (")[0]] += 1
    assert len({state.pc for state in states}) > 1000
    assert parts["nmethod"] > 200
    assert parts["Interpreter: method entry point"] > 50
    assert sum(parts[each] for each in parts if each.startswith("Interpreter")) > 400
    for each in ("I2C/C2I adapters", "StubRoutines"):
        assert parts[each] > 10, each
