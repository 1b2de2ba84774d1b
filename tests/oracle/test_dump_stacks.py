"""Minidumps of real cores: stacks walked from them are those walked from the cores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.minidumps import Place, crash, stacks
from tests.programs.cores import Core
from tests.programs.table import PROGRAMS
from tests.wine.conftest import CoreMaker
from tests.wine.expected import scenarios
from tests.wine.flavours import FLAVOURS
from tests.wine.zoo import VARIANTS

pytestmark = pytest.mark.oracle
pytest_plugins = ["tests.wine.conftest"]

EVERY_CORE = [f"{program.name}/{kind}" for program in PROGRAMS for kind in program.kinds]
WINE_CORES = [
    *((name, "O2", "kernel") for name in FLAVOURS),
    *((name, "O0", "gcore") for name in ("8.0-x86_64", "8.0-i386", "10.0-wow64")),
]
# As the tests of whole stacks have them, so that they share the cores.
DEPTHS = (1, 2, 37, 500)
CORPUS = Path(__file__).parents[1] / "corpus"
DEMO = Path(__file__).parents[2] / "demo" / "bundled"


def check(original: dict[str, Any], dumped: dict[str, Any]) -> None:
    """Every thread has the same frames, segments and end, and the crash is the same."""
    theirs, ours = stacks(original), stacks(dumped)
    assert [each["tid"] for each in ours] == [each["tid"] for each in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["frames"] == other["frames"], mine["tid"]
        assert mine == other
    assert crash(dumped) == crash(original)
    assert dumped["target"].get("wine") == original["target"].get("wine")


def options(core: Core) -> dict[str, Any]:
    places = {"exe": str(core.executable), "dir": str(core.executable.parent)}
    words = [option.format(**places) for option in core.program.options]
    given: dict[str, Any] = {"symbols": []}
    for name, value in zip(words[::2], words[1::2], strict=True):
        if name == "--symbols":
            given["symbols"].append(value)
        else:
            given[name.removeprefix("--")] = value
    if core.sysroot:
        given |= {"sysroot": core.sysroot, "executable": core.executable}
    return given


@pytest.mark.parametrize("core", EVERY_CORE, indirect=True)
def test_native_stacks(core: Core, tmp_path: Path) -> None:
    place = Place(core.path, **options(core))
    dumped, _ = place.dump(tmp_path / "a.dmp")
    if core.program.repeats:
        # A hundred thousand frames as JSON take long, and tell nothing more.
        assert dumped.walked() == place.walked()
    else:
        check(place.report(), dumped.report())


@pytest.mark.parametrize(
    ("name", "variant", "kind"), WINE_CORES, ids=["/".join(core) for core in WINE_CORES]
)
def test_wine_stacks(
    zoo_core: CoreMaker, tmp_path: Path, name: str, variant: str, kind: str
) -> None:
    """Of the whole dump, the sanitized one, and a dump of that dump."""
    wanted = scenarios(FLAVOURS[name], VARIANTS[variant], DEPTHS)
    core = zoo_core(name, variant, wanted, kind)
    sysroot = core.sysroot if not kind.startswith("gcore") else None
    place = Place(core.path, [core.zoo.folder], sysroot=sysroot)
    original = place.report()
    whole, _ = place.dump(tmp_path / "whole.dmp")
    check(original, whole.report())
    for number, source in enumerate((place, whole)):
        sanitized, _ = source.dump(tmp_path / f"{number}.dmp", sanitize=True)
        check(without_names(original), sanitized.report(names=False))


def without_names(report: dict[str, Any]) -> dict[str, Any]:
    for thread in report["threads"]:
        for frame in thread["frames"]:
            frame.pop("function", None)
            frame.pop("function_offset", None)
    return report


@pytest.mark.parametrize("core", sorted((CORPUS / "wine").glob("*.core.xz")), ids=lambda p: p.name)
def test_wine_stacks_without_any_file(core: Path, tmp_path: Path) -> None:
    """Unwind data that the core alone has goes into the dump."""
    place = Place(core)
    dumped, _ = place.dump(tmp_path / "a.dmp")
    check(without_names(place.report(names=False)), dumped.report(names=False))


@pytest.mark.parametrize(("core", "symbols"), [("crash", ""), ("wine", "wine")])
def test_the_demo(core: str, symbols: str, tmp_path: Path) -> None:
    """The Windows program of one has neither a link time nor a PDB file."""
    place = Place(DEMO / f"{core}.core.xz", [DEMO / symbols])
    dumped, _ = place.dump(tmp_path / "a.dmp")
    check(place.report(), dumped.report())
