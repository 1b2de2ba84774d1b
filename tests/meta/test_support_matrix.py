"""docs/support-matrix.md says what the code's tables say."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from tests.unit.unwind.spaces import space
from unspool import arch as architectures
from unspool.cli.commands import COMMANDS
from unspool.model import Module, StopReason, Trust
from unspool.space import AddressSpace
from unspool.targets.input import magic
from unspool.unwind.step import DynamicStrategy, EarlyStrategy, Stepper, TableStrategy
from unspool.unwind.strategies.order import default_stepper
from unspool.unwind.strategies.wow64 import Wow64
from unspool.wine.layouts import TEB64
from unspool.wine.process import WineProcess
from unspool.wine.teb import Teb
from unspool.wine.thread import WineThread

TEXT = (Path(__file__).parents[2] / "docs" / "support-matrix.md").read_text("utf-8")
TEB = Teb(
    0x2000_0000, TEB64,
    stack_base=0, stack_limit=0, allocation=0, peb=0, pid=0, tid=0, wow_offset=0x2000,
)  # fmt: skip
Strategy = EarlyStrategy | TableStrategy | DynamicStrategy
ARCHES = {"x86-64": (62, 2), "i386": (3, 1), "aarch64": (183, 2), "arm": (40, 1)}


def rows(heading: str) -> dict[str, list[str]]:
    """A section's table rows by their first cell, without the marks of code."""
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert section, heading
    found = {}
    for line in section.splitlines():
        if line.startswith("| ") and not line.startswith("|---"):
            first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
            found[first.strip("`")] = rest
    return found


def values(cls: type) -> set[str]:
    return {value for name, value in vars(cls).items() if name.isupper()}


def test_architectures() -> None:
    assert rows("Inputs and architectures")["input"] == list(ARCHES)
    supported = architectures.SUPPORTED.replace(" and", ",").split(", ")
    assert supported == list(ARCHES)
    for name, (machine, elf_class) in ARCHES.items():
        arch = architectures.by_machine(machine, elf_class)
        assert arch is not None
        assert arch.name == name


def test_formats() -> None:
    [option] = [each for each in COMMANDS["stack"].load().OPTIONS if each.name == "--format"]
    assert tuple(rows("Formats"))[1:] == option.choices


def test_compressions() -> None:
    named = rows("Compression")
    assert set(named) - {"format"} == {name for name, _ in magic._COMPRESSIONS}
    for _, name, _ in magic._FOREIGN:
        assert name.replace("the old format of lz4", "old lz4 format") in TEXT


def strategies() -> dict[str, list[str]]:
    """The table of strategies: by their names, the cells of trust and architectures."""
    section = rows("Ways to find a caller")
    return {name: cells for name, cells in section.items() if len(cells) == 1 + len(ARCHES)}


def listed(arch: str, *kinds: str) -> list[str]:
    """Strategies whose cell in the column says one of these, or that they are asked anywhere."""
    table = strategies()
    column = table["strategy"].index(arch)
    cells = {name: row[column] for name, row in table.items() if name != "strategy"}
    found = [name for name, cell in cells.items() if cell in kinds or re.match("yes|`", cell)]
    for name in list(found):
        before = re.search(r"before `(\w+)`", cells[name])
        if before is not None:
            found.remove(name)
            found.insert(found.index(before[1]), name)
    return found


def asked(stepper: Stepper) -> list[Strategy]:
    return [*stepper.early, *stepper.tables, *stepper.dynamic]


def named(stepper: Stepper) -> list[str]:
    return [strategy.name for strategy in asked(stepper)]


def stepper_of(
    arch: str, *, windows: bool = True, wine: bool = False, wow64: bool = False
) -> Stepper:
    """The stepper of a process of that kind."""
    empty = space(arch.replace("-", "_"), b"")
    modules = [Module(0, "ntdll.dll", 0x1000_0000, 0x1001_0000, kind="pe")] if windows else []
    made_up = AddressSpace(empty.arch, empty.memory, modules, lambda _: None, ())
    process = WineProcess(made_up, None, modules) if wine else None
    if process and wow64:
        process.threads[0] = WineThread(0, TEB, TEB, ())
    return default_stepper(made_up, process)


@pytest.mark.parametrize("arch", ARCHES)
def test_strategies_of_native_processes(arch: str) -> None:
    assert named(stepper_of(arch, windows=False)) == listed(arch)
    assert named(stepper_of(arch)) == listed(arch, "Windows code")


@pytest.mark.parametrize("arch", ["x86-64", "i386"])
def test_strategies_of_wine_processes(arch: str) -> None:
    assert named(stepper_of(arch, wine=True)) == listed(arch, "Windows code", "Wine")


def test_strategies_of_wow64_processes() -> None:
    native = stepper_of("x86-64", wine=True, wow64=True)
    assert named(native) == listed("x86-64", "Windows code", "Wine", "WoW64")
    (wow64,) = (each for each in native.early if isinstance(each, Wow64))
    known = named(wow64.compat)
    table = listed("i386", "Windows code", "Wine", "WoW64")
    assert [name for name in table if name in known] == known
    # On that stack there is no Unix code.
    unix = {"wine_syscall", "wine_callback", "wine_rescue"}
    assert set(table) - set(known) == unix


def test_trust_of_strategies() -> None:
    steppers = [
        stepper_of(arch, wine=arch in ("x86-64", "i386"), wow64=arch == "x86-64") for arch in ARCHES
    ]
    known = {each.name: each for stepper in steppers for each in asked(stepper)}
    table = strategies()
    for name, strategy in known.items():
        while hasattr(strategy, "guess"):
            strategy = strategy.guess
        code = Path(inspect.getsourcefile(strategy.__class__) or "")
        for trust in re.findall("[a-z_]+", table[name][0]):
            assert f"Trust.{trust.upper()}" in code.read_text("utf-8"), name


def test_signal_trampolines() -> None:
    cells = strategies()["signal_frame"][1:]
    for cell, (machine, elf_class) in zip(cells, ARCHES.values(), strict=True):
        arch = architectures.by_machine(machine, elf_class)
        assert arch is not None
        assert set(re.findall(r"\w+", cell)) == {frame.name for frame in arch.signal_frames}


@pytest.mark.parametrize("trust", sorted(values(Trust)))
def test_every_trust_is_listed(trust: str) -> None:
    (made,) = rows("Trust and stop reasons")[trust]
    source = Path(architectures.__file__).parents[1] / "unwind"
    used = any(f"Trust.{trust.upper()}" in path.read_text("utf-8") for path in source.rglob("*.py"))
    assert made == ("yes" if used else "no")


@pytest.mark.parametrize("reason", sorted(values(StopReason)))
def test_every_stop_reason_is_listed(reason: str) -> None:
    from unspool.model import Report, Stack, Stop, TargetInfo

    report = Report(TargetInfo("core", "x86_64"), [], [Stack(0, 1, [], [], Stop(reason))])
    (code,) = rows("Trust and stop reasons")[reason]
    assert code == ("0" if report.complete else "1")


def test_commands() -> None:
    there = {
        name
        for cell, (answer,) in rows("Commands").items()
        if answer == "yes"
        for name in re.findall(r"[a-z][a-z0-9-]*", cell.replace("unspool", ""))
    }
    assert there == set(COMMANDS)
