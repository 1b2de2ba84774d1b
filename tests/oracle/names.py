"""When are two tools' names for a function the same?

Tools choose differently among the names of one address (``raise``, ``__GI_raise``, ``gsignal``),
show versions or not, and demangle in their own ways. So names are brought to a plain form, and
what still differs must be two symbols of the same address.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from tests.programs.build import build_id, run, tool

COMPILER_SUFFIX = re.compile(r"(\.(cold|part|constprop|isra|lto_priv|llvm)(\.\d+)*)+$")
RUST_HASH = re.compile(r"::h[0-9a-f]{16}$")
GO_ABI = re.compile(r"\.abi(0|internal)$")
# The function with #[panic_handler] is linked as rust_begin_unwind; gdb shows its own name,
# which has changed between Rust's versions.
RUST_LINK_NAMES = dict.fromkeys(("rust_begin_unwind", "begin_panic_handler"), "panic_handler")
CLOSURE = re.compile(r"\{\{?closure(_env)?(#\d+)?\}?\}")
DEBUG_FOLDER = Path("/usr/lib/debug/.build-id")


def plain(name: str, language: str = "c") -> str:
    """A name without what tools add to it; of Rust the last component only."""
    name = COMPILER_SUFFIX.sub("", name.partition("@")[0])
    if name.startswith(("_Z", "_R")):
        name = demangle(name)
    if language == "c++":
        return undecorated(name)
    if language == "rust":
        return last_component(undecorated(CLOSURE.sub("{closure}", RUST_HASH.sub("", name))))
    if language == "go":
        return GO_ABI.sub("", name)
    return name.removeprefix("__vdso_")


def last_component(name: str) -> str:
    """The last part of a Rust path; of a closure, the function it is in too."""
    *parents, last = name.removesuffix("::").split("::")  # f::<T> has become f::
    if last == "{closure}" and parents:
        last = f"{parents[-1]}::{last}"
    return RUST_LINK_NAMES.get(last, last)


@cache
def demangle(name: str) -> str:
    """Raises Unavailable when there is no c++filt."""
    return run([tool("c++filt"), name]).stdout.strip() or name


def undecorated(name: str) -> str:
    """A C++ name without template arguments, parameters, return type and ABI tags."""
    name = re.sub(r"\[abi:\w+\]", "", name.replace("(anonymous namespace)", "{anonymous}"))
    name = name.replace("operator()", "operator{}").replace("->", "").replace(" const", "")
    for opening, closing in ("<>", "()"):
        name = without_nested(name, opening, closing)
    return name.split(" ")[-1].strip().replace("operator{}", "operator()")


def without_nested(text: str, opening: str, closing: str) -> str:
    depth = 0
    kept = []
    for character in text:
        if character == opening:
            depth += 1
        elif character == closing and depth:
            depth -= 1
        elif not depth:
            kept.append(character)
    return "".join(kept)


@cache
def addresses(path: str) -> dict[str, set[int]]:
    """Name → addresses of a file's symbols, those of its separate debug file included."""
    found: dict[str, set[int]] = {}
    files = [path]
    if Path(path).is_file():
        identity = build_id(Path(path))
        files.append(str(DEBUG_FOLDER / identity[:2] / f"{identity[2:]}.debug"))
    for file in files:
        for table in ((), ("-D",)):
            for line in run([tool("nm"), *table, file]).stdout.splitlines():
                fields = line.split()
                if len(fields) == 3:
                    found.setdefault(fields[2].partition("@")[0], set()).add(int(fields[0], 16))
    return found


def same(one: str, other: str, module: str | None, language: str) -> bool:
    """Whether two names stand for the same function of the file `module`."""
    if plain(one, language) == plain(other, language):
        return True
    if module is None:
        return False
    table = addresses(module)
    return bool(table.get(one.partition("@")[0], set()) & table.get(other.partition("@")[0], set()))
