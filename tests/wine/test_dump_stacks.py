"""Minidumps of Wine processes: stacks walked from them are those walked from the cores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.minidumps import Place, check, without_names

from .conftest import CoreMaker
from .expected import scenarios
from .flavours import FLAVOURS
from .zoo import VARIANTS

pytestmark = pytest.mark.oracle

WINE_CORES = [
    *((name, "O2", "kernel") for name in FLAVOURS),
    *((name, "O0", "gcore") for name in ("8.0-x86_64", "8.0-i386", "10.0-wow64")),
]
# As the tests of whole stacks have them, so that they share the cores.
DEPTHS = (1, 2, 37, 500)


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


@pytest.mark.parametrize("name", FLAVOURS)
def test_all_unwind_tables_do_without_any_file(
    zoo_core: CoreMaker, tmp_path: Path, name: str
) -> None:
    """And without them next to nothing is left."""
    core = zoo_core(name, "O2", scenarios(FLAVOURS[name], VARIANTS["O2"], DEPTHS), "kernel")
    place = Place(core.path, [core.zoo.folder], sysroot=core.sysroot)
    original = without_names(place.report(names=False))
    (tmp_path / "empty").mkdir()
    whole = 0
    for tables in ("all", "missing"):
        path = tmp_path / f"{tables}.dmp"
        place.dump(path, tables=tables)
        found = Place(path, sysroot=tmp_path / "empty").report(names=False)
        if tables == "all":
            assert pcs(found) == pcs(original)
            assert ends(found) == ends(original)
        else:
            pairs = zip(pcs(found), pcs(original), strict=True)
            whole = sum(mine == other for mine, other in pairs)
    assert whole < len(original["threads"]) / 4


def pcs(report: dict[str, Any]) -> list[list[str]]:
    return [[frame["pc"] for frame in thread["frames"]] for thread in report["threads"]]


def ends(report: dict[str, Any]) -> list[str]:
    return [thread["stop"]["reason"] for thread in report["threads"]]
