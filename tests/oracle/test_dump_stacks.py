"""Minidumps of real cores: stacks walked from them are those walked from the cores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.minidumps import Place, check, without_names
from tests.programs.cores import Core
from tests.programs.table import PROGRAMS

pytestmark = pytest.mark.oracle

EVERY_CORE = [f"{program.name}/{kind}" for program in PROGRAMS for kind in program.kinds]
CORPUS = Path(__file__).parents[1] / "corpus"
DEMO = Path(__file__).parents[2] / "demo" / "bundled"


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


@pytest.mark.parametrize("core", sorted((CORPUS / "wine").glob("*.core.xz")), ids=lambda p: p.name)
def test_wine_stacks_without_any_file(core: Path, tmp_path: Path) -> None:
    """Unwind data that the core alone has goes into the dump."""
    place = Place(core)
    dumped, _ = place.dump(tmp_path / "a.dmp")
    check(without_names(place.report(names=False)), dumped.report(names=False))


@pytest.mark.parametrize(
    "core",
    ["threads/kernel", "threads-m32/kernel", "signal/kernel", "chain-aarch64-O2/qemu",
     "chain-arm-exidx/qemu"],
    indirect=True,
)  # fmt: skip
def test_all_unwind_tables_do_without_any_file(core: Core, tmp_path: Path) -> None:
    """Those of the exception index too."""
    place = Place(core.path, **options(core))
    (tmp_path / "empty").mkdir()
    found = []
    for tables in ("all", "missing"):
        place.dump(tmp_path / f"{tables}.dmp", tables=tables)
        bare = Place(tmp_path / f"{tables}.dmp", sysroot=tmp_path / "empty")
        found.append(bare.walked())
    expected = place.walked()
    assert found[0] == expected
    # With the same trust: not by frame pointers and guesses, as without tables.
    assert found[1] != expected


@pytest.mark.parametrize("core", sorted((CORPUS / "wine").glob("*.core.xz"))[:1], ids=["wine"])
def test_no_unwind_tables(core: Path, tmp_path: Path) -> None:
    """Whoever has all files saves what they would take."""
    place = Place(core)
    _, kept = place.dump(tmp_path / "a.dmp")
    _, none = place.dump(tmp_path / "b.dmp", tables="none")
    assert none.memory < kept.memory / 2
    assert none.threads == kept.threads


@pytest.mark.parametrize(("core", "symbols"), [("crash", ""), ("wine", "wine")])
def test_the_demo(core: str, symbols: str, tmp_path: Path) -> None:
    """The Windows program of one has neither a link time nor a PDB file."""
    place = Place(DEMO / f"{core}.core.xz", [DEMO / symbols])
    dumped, _ = place.dump(tmp_path / "a.dmp")
    check(place.report(), dumped.report())
