"""A minidump cut at every length: an answer from what is there, or one line that says why not."""

from __future__ import annotations

import pytest

from tests.build import minidump_records as r
from tests.build.minidump import Minidump
from tests.conftest import CORPUS, Corpus
from tests.fuzz.commands import look_into_file, run_here
from tests.fuzz.cutting import answer, answers, cut
from tests.fuzz.harness import examine, within
from tests.fuzz.minidump_seeds import KINDS, seed
from unspool.model import Report

PARTS = 4
REAL = sorted(path.name.removesuffix(".zst") for path in CORPUS.glob("*.dmp.zst"))


def small() -> bytes:
    """One of everything, with its memory last."""
    dump = Minidump("amd64", "linux")
    dump.misc(1)
    dump.exception(1, 11, 8, [1, 2])
    dump.crashpad({"a": "b"}, {0: {"c": "d"}})
    dump.handles([(4, "File", "x")])
    dump.dso_debug([(1, "/x", 2)])
    dump.breakpad_info(1)
    dump.stream(r.LINUX_MAPS, b"1000-2000 r-xp 00000000 08:01 77 /x\n")
    dump.thread(1, {"rip": 0x1004, "rsp": 0x5000}, (0x5000, bytes(range(1, 65))), name="a")
    dump.module(0x1000, 0x1000, "/x", codeview=r.build_id(bytes(20)))
    dump.unloaded_module(0x3000, 0x1000, "y")
    dump.region(0x1000, 0x1000)
    return dump.build()


def check(data: bytes, lengths: list[int], slack: int = 0) -> None:
    """A cut dump has no more frames than the whole one, and says that it is cut."""
    with within(120):
        found = answers(data, [*lengths, len(data)])
    frames, _ = found.pop(len(data))
    for length, (some, incomplete) in found.items():
        assert some <= frames + slack
        assert incomplete, f"cut to {length} of {len(data)} bytes, and nothing is said"


@pytest.mark.parametrize("part", range(PARTS))
def test_a_small_dump_cut_at_every_length(part: int) -> None:
    data = small()
    assert len(data) < 5000
    check(data, list(range(part, len(data), PARTS)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_dump_cut_at_many_lengths(kind: str) -> None:
    data = seed(kind)
    check(data, list(range(0, len(data), 97)))


@pytest.mark.parametrize("name", REAL)
def test_a_real_dump_cut_at_many_lengths(corpus: Corpus, name: str) -> None:
    data = corpus(name)
    with within(120):
        for length, path in cut(data, list(range(0, len(data), max(len(data) // 60, 1)))):
            answer(path, length % 5 == 0)


def test_a_small_dump_cut_at_every_length_is_printed_or_refused() -> None:
    """The command line's own exit code, and one line for an error."""
    data = small()
    with within(120):
        for length, path in cut(data, list(range(0, len(data), 13))):
            code, out, errors = run_here("stack", path)
            assert code == 2 if length < 32 else 1
            assert bool(out) == (code != 2)
            assert len(errors.splitlines()) == (code == 2)
            if length >= 4:
                look_into_file(path)


def test_a_dump_that_is_cut_behind_its_stacks_has_them(corpus: Corpus) -> None:
    """Breakpad on Linux writes them first, and what system it is later."""
    data = corpus("symbolicator__fixtures__linux.dmp")
    frames = []
    for each in (data, data[:15_800]):
        report = examine(each)
        assert isinstance(report, Report)
        frames.append([frame.pc for frame in report.stacks[0].frames])
    assert frames[1] == frames[0]
    assert not report.complete
