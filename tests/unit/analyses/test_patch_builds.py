"""Which functions differ between two builds: what moves is the same, what changes is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Tool
from unspool.analyses.patch import builds
from unspool.analyses.patch.builds import (
    ADDED,
    CHANGED,
    REMOVED,
    Comparison,
    ElfSource,
    with_parts,
)
from unspool.analyses.patch.builds import compare as compare_sources
from unspool.analyses.patch.pe_builds import PeSource
from unspool.errors import InputError
from unspool.formats.elf import Elf
from unspool.formats.pe import Pe

SOURCE = """
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#define NOINLINE __attribute__((noinline, noclone))
long here = 1, there = 2;
static long own = 3;
NOINLINE long reads(void) { return %(variable)s; }
NOINLINE long adds(long a) { return a + %(number)d; }
NOINLINE long one(long a) { return a * 3; }
NOINLINE long two(long a) { return a * 5; }
NOINLINE long calls(long a) { return %(callee)s(a) + 1; }
NOINLINE void says(void) { puts("%(text)s"); own++; }
NOINLINE int imports(const char *text) { return %(imported)s(text, 0, 10) != 0; }
NOINLINE double scales(double a) { return a * %(factor)s; }
NOINLINE long loops(long n) { long s = 0; for (long i = 0; i < n; i++) s += adds(i) ^ s; return s; }
NOINLINE int chooses(int n) { switch (n) { case 1: return 5; case 2: return 9; } return 3; }
%(more)s
int main(int argc, char **argv) {
    says();
    return (int)(reads() + adds(argc) + calls(argc) + one(argc) + two(argc) + imports(argv[0]) +
                 (int)scales(argc) + loops(argc) + chooses(argc));
}
"""
PLAIN = {
    "variable": "here", "number": 100, "callee": "one", "text": "hello there",
    "imported": "strtol", "factor": "1.5", "more": "",
}  # fmt: skip
pytestmark = pytest.mark.skipif(
    not builds.x86_below.available(), reason="iced-x86 is not installed"
)


def built(tool: Tool, folder: Path, name: str, *flags: str, **changes: object) -> Elf:
    source, made = folder / f"{name}.c", folder / name
    source.write_text(SOURCE % {**PLAIN, **changes})
    tool("gcc", "-O2", "-Wl,--build-id", *flags, source, "-o", made, "-lm")
    if not made.exists():
        pytest.skip("gcc makes no such program here")
    return Elf(made.read_bytes())


def compare(old: Elf, new: Elf) -> Comparison:
    return compare_sources(ElfSource(old), ElfSource(new))


def differences(old: Elf, new: Elf) -> dict[str, str]:
    return {each.name: each.how for each in compare(old, new).differences}


@pytest.fixture(params=[("-fPIE", "-pie"), ("-fno-pie", "-no-pie"), ("-m32",)], ids=" ".join)
def flags(request: pytest.FixtureRequest) -> tuple[str, ...]:
    chosen: tuple[str, ...] = request.param
    return chosen


def test_the_same_source_is_the_same(tool: Tool, tmp_path: Path, flags: tuple[str, ...]) -> None:
    old = built(tool, tmp_path, "old", *flags)
    assert differences(old, built(tool, tmp_path, "new", *flags)) == {}
    assert compare(old, old).same > 10
    stripped = built(tool, tmp_path, "stripped", *flags, "-rdynamic", "-s")
    assert compare(stripped, stripped).differences == []


@pytest.mark.parametrize(
    ("changes", "function"),
    [
        ({"variable": "there"}, "reads"),
        ({"number": 101}, "adds"),
        ({"callee": "two"}, "calls"),
        ({"text": "hello where"}, "says"),
        ({"imported": "strtoul"}, "imports"),
        ({"factor": "2.5"}, "scales"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_changes_is_found(
    tool: Tool, tmp_path: Path, flags: tuple[str, ...], changes: dict[str, object], function: str
) -> None:
    if "-m32" in flags and function in ("scales", "imports", "reads", "says"):
        flags = (*flags, "-fno-pic", "-no-pie", "-msse2", "-mfpmath=sse")
    old = built(tool, tmp_path, "old", *flags)
    found = differences(old, built(tool, tmp_path, "new", *flags, **changes))
    assert found.get(function) == CHANGED


@pytest.mark.parametrize("mode", [("-fPIE", "-pie"), ("-fno-pie", "-no-pie")], ids=" ".join)
def test_what_only_moves_is_not(tool: Tool, tmp_path: Path, mode: tuple[str, ...]) -> None:
    more = "NOINLINE long added(long a) { return a * 1234567 / 89 + own; }"
    old = built(tool, tmp_path, "old", *mode)
    new = built(tool, tmp_path, "new", *mode, more=more, text="hello there")
    assert differences(old, new) == {"added": ADDED}
    assert differences(new, old) == {"added": REMOVED}
    names = builds.code_names(compare(new, old).differences)
    assert names == ["added"]


def test_parts_go_with_their_function(tool: Tool, tmp_path: Path) -> None:
    # A function that jumps to its part: as compilers name them, which split what they like.
    split = (
        '__asm__(".text\\n.type splits, @function\\nsplits: imul $%d, %%rdi\\n js splits.cold\\n"'
        '"ret\\n.size splits, .-splits\\n.type splits.cold, @function\\nsplits.cold: ud2\\n"'
        '".size splits.cold, .-splits.cold\\n");'
    )
    old = built(tool, tmp_path, "old", more=split % 7)
    new = built(tool, tmp_path, "new", more=split % 11)
    compared = compare(old, new)
    (changed,) = [each for each in compared.differences if each.name == "splits"]
    assert [each.name for each in with_parts(compared, changed)] == ["splits", "splits.cold"]


def test_without_a_decoder_too_many_differ(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = built(tool, tmp_path, "old")
    new = built(tool, tmp_path, "new", number=101)
    with_it = differences(old, new)
    monkeypatch.setattr(builds.x86_below, "available", lambda: False)
    compared = compare(old, new)
    assert not compared.exact
    assert with_it.items() <= {each.name: each.how for each in compared.differences}.items()


def test_what_cannot_be_compared(tool: Tool, tmp_path: Path) -> None:
    old = built(tool, tmp_path, "old")
    with pytest.raises(InputError, match="different CPUs"):
        compare(old, built(tool, tmp_path, "other", "-m32"))
    with pytest.raises(InputError, match="--old has no build id"):
        compare(built(tool, tmp_path, "bare", "-Wl,--build-id=none"), old)
    with pytest.raises(InputError, match="--new has no symbol table"):
        compare(old, built(tool, tmp_path, "stripped", "-s", "-static-pie"))


# --- PE files -------------------------------------------------------------------------------

MINGW = ["x86_64-w64-mingw32-gcc", "i686-w64-mingw32-gcc"]


_pe_files: dict[tuple[str, str], bytes] = {}


def pe_built(tool: Tool, folder: Path, name: str, compiler: str, **changes: object) -> Pe:
    source, made = folder / f"{name}.c", folder / f"{name}.exe"
    text = SOURCE % {**PLAIN, **changes}
    if (compiler, text) not in _pe_files:
        source.write_text(text)
        flags = ("-O2", "-Wl,--build-id", "-msse2", "-mfpmath=sse")
        tool(compiler, *flags, source, "-o", made)
        _pe_files[compiler, text] = made.read_bytes()
    return Pe(_pe_files[compiler, text])


def pe_differences(old: Pe, new: Pe) -> dict[str, str]:
    compared = compare_sources(PeSource(old), PeSource(new))
    return {each.name: each.how for each in compared.differences}


@pytest.mark.parametrize("compiler", MINGW)
@pytest.mark.parametrize(
    ("changes", "function"),
    [
        ({"variable": "there"}, "reads"),
        ({"number": 101}, "adds"),
        ({"callee": "two"}, "calls"),
        ({"text": "hello where"}, "says"),
        ({"imported": "strtoul"}, "imports"),
        ({"factor": "2.5"}, "scales"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_changes_in_a_pe_file(
    tool: Tool, tmp_path: Path, compiler: str, changes: dict[str, object], function: str
) -> None:
    old = pe_built(tool, tmp_path, "old", compiler)
    found = pe_differences(old, pe_built(tool, tmp_path, "new", compiler, **changes))
    assert found.get(function) == CHANGED
    ours = {"reads", "adds", "calls", "says", "imports", "scales", "one", "two", "loops", "chooses"}
    assert ours & set(found) == {function}


@pytest.mark.parametrize("compiler", MINGW)
def test_what_only_moves_in_a_pe_file(tool: Tool, tmp_path: Path, compiler: str) -> None:
    more = "NOINLINE long added(long a) { return a * 1234567 / 89 + own; }"
    old = pe_built(tool, tmp_path, "old", compiler)
    new = pe_built(tool, tmp_path, "new", compiler, more=more)
    found = pe_differences(old, new)
    assert found.pop("added") == ADDED
    # Of MinGW's own code, jump tables that move and lists of pointers are not told apart.
    assert set(found) <= {
        "__CTOR_LIST__", "_CTOR_LIST__", "_gnu_exception_handler", "_matherr", "__matherr"
    }  # fmt: skip
    assert pe_differences(old, old) == {}
    assert len(PeSource(old).functions) > 50


def test_a_pe_file_and_others(tool: Tool, tmp_path: Path) -> None:
    wide, narrow = (pe_built(tool, tmp_path, each[:4], each) for each in MINGW)
    with pytest.raises(InputError, match="different CPUs"):
        compare_sources(PeSource(wide), PeSource(narrow))
    with pytest.raises(InputError, match="different CPUs"):
        compare_sources(PeSource(wide), ElfSource(built(tool, tmp_path, "elf")))
    names = set(PeSource(wide).names.slots.values())
    assert {"msvcrt.dll!puts", "msvcrt.dll!strtol"} <= {each.lower() for each in names}
