"""Minidumps of Wine processes: stacks walked from them are those walked from the cores."""

from __future__ import annotations

from pathlib import Path

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
