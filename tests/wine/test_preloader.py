"""Wine with its preloader, and DLLs that are and are not where they were linked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

import unspool
from tests.oracle.test_layout import area_at, mappings
from tests.programs.build import check, locked, run, tool
from unspool.analyses.layout import Layout
from unspool.analyses.layout.records import Kind, Rule

from .flavours import FLAVOURS, WINE8, Flavour
from .install import PRELOADED
from .running import Running, run_zoo
from .zoo import SOURCES, VARIANTS, Zoo

pytestmark = pytest.mark.oracle

# Where the program is, where a DLL can be, and what the preloader is asked to hold.
BASES = {"x86_64": (0x140000000, 0x66600000000), "i686": (0x400000, 0x66600000)}
ASKED = (0x70000000, 0x70100000)


@dataclass(frozen=True)
class Preloaded(Flavour):
    """Wine whose loader has a preloader beside it, which is told what to reserve."""

    def wine(self, name: str) -> str:
        return str(PRELOADED.folder / "usr/lib/wine" / name)

    def environment(self, prefix: Path, root: Path) -> dict[str, str]:
        reserve = f"{ASKED[0]:x}-{ASKED[1]:x}"
        return {**super().environment(prefix, root), "WINEPRELOADRESERVE": reserve}


PRELOADS = {
    "preloader-x86_64": Preloaded("preloader-x86_64", WINE8, "x86_64", "wine64", "win64"),
    "preloader-i386": Preloaded("preloader-i386", WINE8, "i686", "wine", "win32"),
}


def build_libraries(machine: str, root: Path) -> Zoo:
    """A program that loads DLLs: one for the program's own address, one for a free address."""
    zoo = Zoo(VARIANTS["O0"], machine, root / f"{machine}-libraries")
    taken, free = BASES[machine]
    with locked(root / f"{zoo.folder.name}.lock"):
        if not zoo.executable.exists():
            zoo.folder.mkdir(exist_ok=True)
            compiler = tool(f"{machine}-w64-mingw32-gcc")
            fixed = "-Wl,--disable-dynamicbase"
            source = zoo.folder / "library.c"
            source.write_text("int value = 3; int *where(void) { return &value; }\n")
            for name, base in (("moved.dll", taken), ("stays.dll", free)):
                linked = f"-Wl,--image-base,{base:#x}"
                library = zoo.folder / name
                check(run([compiler, "-shared", fixed, linked, source, "-o", library]))
            new = zoo.folder / "new.exe"
            linked = f"-Wl,--image-base,{taken:#x}"
            check(run([compiler, "-O1", fixed, linked, SOURCES / "libraries.c", "-o", new]))
            new.rename(zoo.executable)
    return zoo


Seen = tuple[str, Running, Layout, list[tuple[int, int, str, str]]]


@pytest.fixture(scope="module", params=["8.0-x86_64", "8.0-i386", "10.0-wow64", *PRELOADS])
def seen(request: pytest.FixtureRequest, wine_root: Path) -> Iterator[Seen]:
    """A flavour's program while it runs, its layout and its mappings."""
    name = request.param
    if name in PRELOADS:
        PRELOADED.need()
    flavour = PRELOADS[name] if name in PRELOADS else FLAVOURS[name]
    zoo = build_libraries(flavour.machine, wine_root)
    with run_zoo(flavour, zoo, ["moved.dll", "stays.dll"], wine_root) as running:
        maps = mappings(running.pid)
        with unspool.open(running.pid) as target:
            yield name, running, unspool.api.layout(target), maps


def rules(found: Layout, name: str) -> list[Rule]:
    return [rule for rule in found.rules if rule.id == name]


def is_placed(flags: str, path: str) -> bool:
    """Whether Linux chose the place: of the heap, which held memory is not, the stack, the vdso."""
    return path.startswith("[") and flags[:3] != "---"


def base_of(running: Running, name: str) -> int:
    """Where the program says that the DLL is."""
    told = [each.scenario.split(",") for each in running.threads]
    return next(int(base, 16) for library, base in told if library == name)


def test_every_mapping_is_there_once(seen: Seen) -> None:
    _, _, found, maps = seen
    assert sum(area.size for area in found.areas) == sum(end - start for start, end, _, _ in maps)
    assert all(one.end <= two.start for one, two in pairwise(found.areas))


def test_native_dlls_at_their_bases_and_elsewhere(seen: Seen) -> None:
    name, running, found, _ = seen
    machine = running.flavour.machine
    taken, free = BASES[machine]
    moved, stays = base_of(running, "moved.dll"), base_of(running, "stays.dll")
    assert stays == free
    assert moved != taken
    for base, library in ((moved, "moved.dll"), (stays, "stays.dll")):
        area = area_at(found, base)
        assert (area.kind, area.name) == (Kind.NATIVE, f"{library} headers")
    (rule,) = rules(found, "dll-bases")
    assert rule.evidence[0].startswith(f"moved.dll (native) at {moved:#x}, linked for {taken:#x}: ")
    assert not [line for line in rule.evidence if line.startswith("stays.dll")]
    (rule,) = rules(found, "image-base")
    assert rule.verdict == "ok", name


def test_the_preloader_and_what_it_holds(seen: Seen) -> None:
    name, _, found, maps = seen
    mapped = [start for start, _, _, path in maps if "preloader" in path]
    (rule,) = rules(found, "preloader")
    assert (rule.says == "Wine's preloader started the process") == bool(mapped)
    assert bool(mapped) == (name in PRELOADS)
    if name not in PRELOADS:
        return
    assert rule.verdict == "ok"
    assert f"{min(mapped):#x}" in rule.evidence[0]
    ranges = {rule.says.partition(",")[0]: rule for rule in rules(found, "reserved-area")}
    # With it no library comes where Windows code goes. Only what Linux itself put there at random
    # may be in the way: 64-bit Wine 8 does not hold all that the rules ask for.
    random = [(start, end) for start, end, flags, path in maps if is_placed(flags, path)]
    for rule in ranges.values():
        assert rule.verdict in (("warning",) if rule.evidence else ("ok", "note")), rule
        assert bool(rule.evidence) == ("does not belong" in rule.says), rule
        for line in rule.evidence:
            at = int(line.partition("-")[0], 16)
            assert any(start <= at < end for start, end in random), rule
    held = [(start, end) for start, end, flags, path in maps if flags[:3] == "---" and not path]
    asked = ranges["WINEPRELOADRESERVE"]
    if not any(start <= ASKED[0] and ASKED[1] <= end for start, end in held):
        # 32-bit Wine gives most of what the preloader held back, for Unix code to use.
        assert name == "preloader-i386"
        assert (asked.verdict, asked.says.endswith(" 1 MiB not held")) == ("note", True)
        return
    area = area_at(found, ASKED[0])
    assert (area.kind, area.start, area.end) == (Kind.RESERVED, *ASKED)
    assert area.name == "WINEPRELOADRESERVE, held by Wine's preloader"
    assert "1 MiB held without access" in asked.says


def test_what_each_range_holds_is_what_proc_says(seen: Seen) -> None:
    """The bytes without access in each range, counted from /proc/PID/maps."""
    _, _, found, maps = seen
    for rule in rules(found, "reserved-area"):
        start, end = (int(word.strip(":,"), 16) for word in rule.says.split() if word[:2] == "0x")
        free = (
            end - start - sum(max(0, min(high, end) - max(low, start)) for low, high, _, _ in maps)
        )
        assert ("not held" in rule.says) == bool(free), rule.says
        plain = "used by what does not belong" in rule.says
        files = any(
            low < end
            and high > start
            and (".so" in path or "/wine" in path.rpartition("/")[0] or is_placed(flags, path))
            and "-windows" not in path
            and "preloader" not in path
            and not path.endswith(".nls")
            for low, high, flags, path in maps
        )
        assert not plain or files, rule.says
