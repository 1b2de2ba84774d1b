"""Names of the linker turned into those of the language: C++ (GNU, MSVC), Rust, D.

LLVM's demangler does the work, by way of `pydemumble`; without that library a name stays
as it is. `demangle` gives all that the mangled name says; `function_name` leaves the
parameters out, as debuggers do in a stack.
"""

from __future__ import annotations

from unspool.symbols.function_names import as_elsewhere, without_parameters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PREFIXES = ("_Z", "__Z", "_R", "?", "_D")

# LLVM's demangler recurses once or more a character and has no limit: 16,000 characters
# were seen to overflow a stack of 8 MiB, and other threads have less. Of 120,000 names of
# LLVM, node.js and others the longest has 900.
_MAX_MANGLED = 2048
# A back-reference repeats what it refers to: `A = f<int, int>, B = g<A, A>, C = h<B, B>` has
# a name of 200 characters and a meaning of gigabytes. Names that could become longer than
# this stay mangled; of the 120,000 real ones one in a thousand.
_MAX_GROWN = 1 << 24
# What is longer than this helps nobody. All such results of one process together are bounded.
_MAX_NAME = 1 << 14
_ALLOWANCE = 1 << 26
_MAX_CACHED = 100_000
_HEX = "0123456789abcdef"

_cache: dict[str, str] = {}
_functions: dict[str, str] = {}
_demangler: Callable[[str], str] | None = None
_spent = 0


def is_mangled(name: str) -> bool:
    return name.startswith(_PREFIXES)


def available() -> bool:
    """Whether the library is installed."""
    return _load() is not None


def demangle(name: str) -> str:
    """The whole meaning of a mangled name: `int ns::f<int>(char const*)`; else `name` itself.

    Hashes at the end of Rust's names, made to tell versions of one crate apart, are dropped.
    """
    if not name.startswith(_PREFIXES):
        return name
    known = _cache.get(name)
    if known is None:
        if len(_cache) >= _MAX_CACHED:
            _cache.clear()
        known = _cache[name] = _demangle(name)
    return known


def function_name(name: str) -> str:
    """The function's name without parameters and return type: `ns::f<int>`.

    What the compiler marks on a part or a copy of a function stays, as in C: `f.cold`,
    `f.isra.0`.
    """
    if not name.startswith(_PREFIXES):
        return name
    known = _functions.get(name)
    if known is None:
        if len(_functions) >= _MAX_CACHED:
            _functions.clear()
        full = demangle(name)
        keep = full == name or _is_rust(name)
        known = full if keep else without_parameters(full)
        if name[0] == "?" and not keep:
            known = as_elsewhere(known)
        _functions[name] = known
    return known


def _is_rust(name: str) -> bool:
    """Rust's names have no parameters, and arrows that look like brackets.

    Its older mangling is C++'s with a hash as the last part: `_ZN3foo17h0123456789abcdefE`.
    """
    if name.startswith("_R"):
        return True
    at = name.rfind("17h")
    return at > 0 and name[at + 19 : at + 20] == "E" and not name[at + 3 : at + 19].strip(_HEX)


def _demangle(name: str) -> str:
    global _spent  # noqa: PLW0603 - one allowance for the process, as memory is the process's
    if len(name) > _MAX_MANGLED or _spent > _ALLOWANCE or grown_size(name) > _MAX_GROWN:
        return name
    demangler = _load()
    if demangler is None:
        return name
    try:
        result = demangler(name)
    except ValueError:  # a result that is no UTF-8
        return name
    if len(result) > _MAX_NAME:
        _spent += len(result)
        return name
    # pydemumble 0.1.1 drops the hash of Rust's older mangling, 0.1.3 keeps it.
    head, separator, last = result.rpartition("::h")
    if separator and len(last) == 16 and not last.strip(_HEX) and _is_rust(name):
        return head
    return result or name


def _load() -> Callable[[str], str] | None:
    global _demangler  # noqa: PLW0603 - the import is tried once
    if _demangler is None:
        try:
            from pydemumble import demangle as found
        except ImportError:
            found = _nothing
        _demangler = found
    return None if _demangler is _nothing else _demangler


def _nothing(name: str) -> str:
    return name


def grown_size(name: str) -> int:
    """A bound of the length of a mangled name's meaning, in parts of the name.

    If part i is referred to u times, and refers to earlier parts alone, no part can become
    longer than the name times all (1 + u). Template packs multiply as well: each expansion
    (`Dp` and others) repeats its pattern for all arguments of a pack (`J…E`), of which there
    are no more than characters after it.
    """
    if name.startswith("?"):
        return _grown_msvc_size(name)
    rust = name.startswith("_R")
    starts = "B" if rust else "ST"
    uses: dict[str, int] = {}
    for part in name.split("_")[:-1]:
        tail = len(part)
        while tail and part[tail - 1].isalnum() and (rust or not part[tail - 1].islower()):
            tail -= 1
        found = [at for letter in starts if (at := part.find(letter, tail)) >= 0]
        if found:
            reference = part[min(found) :]
            uses[reference] = uses.get(reference, 0) + 1
    size = len(name)
    for count in uses.values():
        size *= 1 + count
    pack = -1 if rust else name.find("J")
    if pack >= 0:
        expansions = sum(name.count(mark) for mark in ("Dp", "sp", "fl", "fr", "fL", "fR"))
        size *= (len(name) - pack) ** min(expansions, 8)
    return size


def _grown_msvc_size(name: str) -> int:
    """The same of MSVC's names, where a digit stands for one of ten earlier names or types.

    Every template and every symbol within has ten of its own, and begins with `?`. Which
    digits are whose is not parsed: with k times ten to refer to, the product of all (1 + u)
    is largest where the uses of each digit are the same everywhere.
    """
    scopes = name.count("?")
    size = float(len(name))
    for digit in "0123456789":
        size *= (1 + name.count(digit) / scopes) ** scopes
    return int(min(size, 1e18))
