"""Names of generated code in a report: as many and as long as they may be, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from unspool.capture import code_names as subject
from unspool.capture.code_names import MOST_LETTERS, code_names
from unspool.capture.config import Config, Value
from unspool.capture.privacy import Policy
from unspool.errors import FormatError
from unspool.generated.code import GeneratedCode, GeneratedModule
from unspool.memory import Fault
from unspool.model import SUBJECT, Frame, Inline, Location, Module, Segment, Stack, Stop, Trust
from unspool.targets.base import Target

BASE = 0x5000


class Names:
    """Names by look-up pc or subject; asked for others it fails as readers of memory do."""

    def __init__(self, known: dict[int, Location | Exception]) -> None:
        self.known = known

    def locate(self, pc: int) -> Location | None:
        found = self.known.get(pc)
        if isinstance(found, Exception):
            raise found
        return found


class Made(Target):
    def __init__(self, known: dict[int, Location | Exception]) -> None:
        module = Module(3, "[jit]", BASE, BASE * 100, kind="jit")
        self._generated = GeneratedCode([GeneratedModule(module, names=Names(known))], [])


def stack(*pcs: int, subjects: dict[int, int] | None = None) -> Stack:
    frames = [Frame(pc + 1, None, Trust.FRAME_POINTER) for pc in pcs]
    return Stack(0, 1, frames, [Segment("unix")], Stop("root"), subjects=subjects)


def policy(tmp_path: Path, **values: Value) -> Policy:
    return Policy(Config({"salt_file": str(tmp_path / "salt"), **values}), None)


def test_names_of_frames_alone(tmp_path: Path) -> None:
    known: dict[int, Location | Exception] = {
        BASE: Location(None, "f", 4, "f.java", 7, [Inline("g", "g.java", 8)], wasm_offset=5),
        BASE + 1: Fault(1, 1), BASE + 2: FormatError("a", "b"), BASE + 3: Location(None, None),
        BASE + 4: Location(None, "not on a stack"), SUBJECT + 9: Location(None, "method"),
        BASE * 200: Location(None, "of another module"),
    }  # fmt: skip
    found: dict[int, Location] = {}
    stacks = [stack(BASE, BASE + 1, BASE + 2, BASE), stack(BASE + 3, BASE, BASE * 200,
              subjects={1: SUBJECT + 9})]  # fmt: skip
    text = policy(tmp_path, code_names="in").code_name
    assert code_names(Made(known), stacks, found, text)
    assert found == {
        BASE: Location(3, "f", 4, "f.java", 7, [Inline("g", "g.java", 8)]),
        SUBJECT + 9: Location(3, "method", inlines=[]),
    }


def test_what_memory_holds_is_cut_and_made_printable(tmp_path: Path) -> None:
    known: dict[int, Location | Exception] = {
        BASE: Location(None, "x" * 100_000, file="\x1b[2J\n\u202e", inlines=[Inline("i")] * 1000),
    }
    found: dict[int, Location] = {}
    text = policy(tmp_path, code_names="in").code_name
    assert code_names(Made(known), [stack(BASE)], found, text)
    made = found[BASE]
    assert made.function is not None
    assert len(made.function) == MOST_LETTERS
    assert made.function.endswith("x…")
    assert made.file == "\\x1b[2J\\x0a\\u202e"
    assert len(made.inlines) == 64


def test_there_are_only_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MOST_NAMES", 3)
    known: dict[int, Location | Exception] = {
        BASE + each: Location(None, str(each)) for each in range(5)
    }
    found: dict[int, Location] = {}
    text = policy(tmp_path, code_names="in").code_name
    assert not code_names(Made(known), [stack(*sorted(known))], found, text)
    assert [each.function for each in found.values()] == ["0", "1", "2"]


def test_hashed_names(tmp_path: Path) -> None:
    known: dict[int, Location | Exception] = {
        BASE: Location(None, "f", file="f.java", line=3, inlines=[Inline("f", "g.java", 4)])
    }
    found: dict[int, Location] = {}
    hashed = policy(tmp_path, code_names="hashed")
    assert hashed.has_code_names
    assert code_names(Made(known), [stack(BASE)], found, hashed.code_name)
    made = found[BASE]
    assert made.function == hashed.hash("f") == made.inlines[0].function
    assert made.file == hashed.hash("f.java")
    assert "java" not in repr(made)


def test_they_are_out_unless_they_are_wanted(tmp_path: Path) -> None:
    default = policy(tmp_path)
    assert not default.has_code_names
    assert default.code_name("f") is None
    before = stack(BASE, subjects={0: SUBJECT + 1})
    assert default.stack(before).subjects == {}
    assert policy(tmp_path, code_names="in").stack(before).subjects == before.subjects


def test_without_generated_code_nothing_is_looked_for() -> None:
    target = Made({})
    target._generated = None
    assert code_names(target, [stack(BASE)], {}, str)
