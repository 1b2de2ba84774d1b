"""Finders of generated code: who is believed, and what a broken one costs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from tests.unit.unwind.spaces import ARCHES
from unspool.errors import FormatError
from unspool.generated.code import GeneratedModule, Process
from unspool.generated.find import find_generated
from unspool.memory import Fault, Memory
from unspool.model import Location, Module, TargetInfo
from unspool.space import AddressSpace

Finder = Callable[[Process], list[GeneratedModule]]


class Named:
    def __init__(self, name: str) -> None:
        self.name = name

    def locate(self, pc: int) -> Location:
        return Location(None, self.name, pc)


def made(base: int, end: int, name: str = "") -> GeneratedModule:
    module = Module(99, name or f"jit{base}", base, end, kind="jit")
    return GeneratedModule(module, names=Named(name) if name else None)


@pytest.fixture
def process() -> Process:
    file = Module(0, "file", 100, 200)
    space = AddressSpace(ARCHES["x86_64"], Memory(), [file], lambda _: None)
    info = TargetInfo("core", "x86_64")
    return Process(space, space.memory, lambda module, name: None, info=info)


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Finder], str]:
    def make(name: str, find: Finder) -> str:
        module = ModuleType(name)
        module.find = find  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"unspool.generated.{name}", module)
        return name

    return make


def test_the_earlier_finder_and_files_are_believed(
    process: Process, finder: Callable[[str, Finder], str]
) -> None:
    first = finder("first", lambda _: [made(300, 400, "a"), made(150, 160)])
    second = finder("second", lambda _: [made(350, 450), made(500, 600)])
    code = find_generated(process, [first, second])
    assert [each.module.base for each in code.modules] == [300, 500]
    assert [each.base for each in process.space.modules] == [100, 300, 500]
    assert [each.index for each in process.space.modules] == [0, 1, 2]
    for address, base in ((299, None), (300, 300), (399, 300), (400, None), (599, 500)):
        found = code.at(address)
        assert (found.module.base if found else None) == base
    names = code.names(process.space.modules[1])
    assert names is not None
    assert names.locate(7) == Location(None, "a", 7)
    assert code.names(process.space.modules[0]) is None
    assert code.names(process.space.modules[2]) is None
    assert code.findings == []


@pytest.mark.parametrize("error", [FormatError("a list", "never ends"), Fault(0x123, 4)])
def test_a_broken_finder_costs_itself(
    process: Process, finder: Callable[[str, Finder], str], error: Exception
) -> None:
    def fail(process: Process) -> list[GeneratedModule]:
        raise error

    code = find_generated(
        process, [finder("broken", fail), finder("good", lambda _: [made(1, 2)])]
    )
    assert [each.module.base for each in code.modules] == [1]
    [finding] = code.findings
    assert finding.kind == "generated_code"
    assert "broken" in finding.title
    assert str(error) in finding.title
