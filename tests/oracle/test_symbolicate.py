"""Reports of real cores, named on "another machine": the same as on the machine itself.

The other machine has none of the process's folders: paths in the report lead nowhere, and its
programs and libraries lie in one build-id tree.
"""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.programs.cores import Core
from unspool import api
from unspool.formats.elf import Elf
from unspool.model import Report
from unspool.render.json import dumps
from unspool.render.json_reader import loads
from unspool.symbols.files import open_elf

pytestmark = pytest.mark.oracle
BUNDLED = ROOT / "demo" / "bundled"
CORES = (
    "chain-O2/kernel", "chain-no-pie/kernel", "chain-buildid/kernel", "chain-minidebug/kernel",
    "chain-static-pie/kernel", "chain-m32-O2/kernel", "inline/kernel", "templates/kernel",
    "threads/kernel", "exception-uncaught/kernel", "dlopen/kernel", "rust/kernel",
    "chain-aarch64-O2/qemu", "chain-arm-O2/qemu", "threads-arm/qemu",
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("symbolic")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def on_the_machine(path: Path, **options: object) -> tuple[Report, Report]:
    """The report of a core without any names, and with those that this machine knows."""
    with api.open(str(path), **options) as target:  # type: ignore[arg-type]
        return api.unwind(target, symbols=False), api.unwind(target)


def moved(report: Report, tree: Path) -> Report:
    """The report as another machine reads it, and its files in a build-id tree there."""
    for module in report.modules:
        elf = open_elf(module.file or module.path or "")
        build_id = elf.build_id() if elf else None
        if elf is not None and build_id:
            place = tree / ".build-id" / build_id[:2] / build_id[2:]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(str(module.file or module.path))
        document = json.loads(dumps(report))
    for each in document["modules"]:
        if "path" in each:
            each["path"] = f"/another/machine{each['path']}"
    return loads(json.dumps(document))


def names(report: Report) -> list[list[object]]:
    """What is known of each frame of each thread; not of the vdso, which is in no file."""
    kernels = {module.index for module in report.modules if module.kind == "vdso"}
    found = []
    for stack in report.stacks:
        locations = [report.locations.get(frame.lookup_pc) for frame in stack.frames]
        found.append([each for each in locations if not each or each.module not in kernels])
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("core", CORES, indirect=True)
def test_cores(core: Core, tmp_path: Path) -> None:
    bare, expected = on_the_machine(core.path, executable=str(core.executable))
    named, missing = api.symbolicate(
        moved(bare, tmp_path / "tree"), symbols=[str(tmp_path / "tree")]
    )
    assert names(named) == names(expected)
    assert any(location.file for location in named.locations.values())
    lacking = {each.kind for each in missing}
    assert lacking <= {"debuginfo"}


def test_a_wine_process(tmp_path: Path) -> None:
    core = tmp_path / "core"
    core.write_bytes(lzma.decompress((BUNDLED / "wine.core.xz").read_bytes()))
    bare, expected = on_the_machine(core, symbols=[str(BUNDLED)])
    assert not any(each.function for each in bare.locations.values())
    report = loads(dumps(bare).encode())
    assert api.symbolicate(report)[0].locations != expected.locations
    named, missing = api.symbolicate(report, symbols=[str(BUNDLED)])
    assert names(named) == names(expected)
    assert missing == []


def test_what_is_listed_is_what_is_needed(demo_core: str, tmp_path: Path) -> None:
    """Every file that `--missing` lists, put where it says, and nothing is missing any more."""
    bare, expected = on_the_machine(demo_core, symbols=[str(BUNDLED)])
    report = loads(dumps(bare).encode())
    [lacking] = api.symbolicate(report)[1]
    source = BUNDLED / "crash" if (BUNDLED / "crash").is_file() else next(
        path for path in (BUNDLED / "crash").rglob("*") if path.is_file()
    )  # fmt: skip
    assert Elf(source.read_bytes()).build_id() == lacking.id
    for place in lacking.places:
        tree = tmp_path / place.replace("/", "-")
        (tree / place).parent.mkdir(parents=True)
        (tree / place).write_bytes(source.read_bytes())
        named, missing = api.symbolicate(report, symbols=[str(tree)])
        assert missing == []
        assert names(named) == names(expected)
