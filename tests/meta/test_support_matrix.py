"""docs/support-matrix.md says what the code's tables say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.unwind.spaces import space
from unspool import arch as architectures
from unspool.cli.commands import COMMANDS
from unspool.model import StopReason, Trust
from unspool.targets import magic
from unspool.unwind.strategies.order import default_stepper

TEXT = (Path(__file__).parents[2] / "docs" / "support-matrix.md").read_text("utf-8")
ARCHES = {"x86-64": (62, 2), "i386": (3, 1), "aarch64": (183, 2)}


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


def test_compressions() -> None:
    named = rows("Compression")
    assert set(named) - {"format"} == {name for name, _ in magic._COMPRESSIONS}
    for _, name, _ in magic._FOREIGN:
        assert name.replace("the old format of lz4", "old lz4 format") in TEXT


def test_strategies_in_their_order() -> None:
    stepper = default_stepper(space("x86_64", b""))
    known = [strategy.name for strategy in (*stepper.tables, *stepper.dynamic)]
    table = [name for name in rows("Ways to find a caller") if re.fullmatch("[a-z_]+", name)]
    assert [name for name in table if name != "strategy"] == known


def test_signal_trampolines() -> None:
    cells = rows("Ways to find a caller")["signal_frame"][1:]
    for cell, (machine, elf_class) in zip(cells, ARCHES.values(), strict=True):
        arch = architectures.by_machine(machine, elf_class)
        assert arch is not None
        assert set(re.findall(r"\w+", cell)) == {frame.name for frame in arch.signal_frames}


@pytest.mark.parametrize("trust", sorted(values(Trust)))
def test_every_trust_is_listed(trust: str) -> None:
    (made,) = rows("Trust and stop reasons")[trust]
    source = Path(architectures.__file__).parents[1] / "unwind"
    used = any(
        f"Trust.{trust.upper()}" in path.read_text("utf-8") for path in source.rglob("*.py")
    )
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
        for name in re.findall(r"[a-z-]+", cell.replace("unspool", ""))
    }
    assert there == set(COMMANDS)
