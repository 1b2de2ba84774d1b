"""Demangling: C++, Rust, what stays mangled, and names made to hurt."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Tool
from tests.unit.symbols.conftest import Compile
from unspool.symbols import demangle as module
from unspool.symbols.demangle import demangle, function_name, grown_size, is_mangled

pydemumble = pytest.importorskip("pydemumble")


@pytest.mark.parametrize(
    ("mangled", "full", "name"),
    [
        ("_ZN3foo3BarIiE6methodEiPKc", "foo::Bar<int>::method(int, char const*)",
         "foo::Bar<int>::method"),
        ("_Z1fIiEvT_", "void f<int>(int)", "f<int>"),
        ("_Z3foov.cold", "foo() (.cold)", "foo.cold"),
        ("_ZN4core9panicking5panic17h0123456789abcdefE", "core::panicking::panic",
         "core::panicking::panic"),
        ("_ZN4core9panicking5panic17h0123456789abcdefE.llvm.123", "core::panicking::panic",
         "core::panicking::panic"),
        ("_RNvNtNtCs1234_7mycrate3foo3bar4main", "mycrate::foo::bar::main",
         "mycrate::foo::bar::main"),
        ("_RINvC1a1fFEuE", "a::f::<fn()>", "a::f::<fn()>"),
        ("?foo@@YAXH@Z", "void __cdecl foo(int)", "foo"),
        ("?f@?$C@US@@@ns@@QEAAXPEBD@Z",
         "public: void __cdecl ns::C<struct S>::f(char const *)", "ns::C<S>::f"),
        ("??_GFoo@@UEAAPEAXI@Z",
         "public: virtual void * __cdecl Foo::`scalar deleting dtor'(unsigned int)",
         "Foo::`scalar deleting dtor'"),
        ("?f@?A0x12345678@@YAXXZ", "void __cdecl `anonymous namespace'::f(void)",
         "(anonymous namespace)::f"),
        # Part of a name that only looks like the hash of Rust's.
        ("_ZN1A17handleIRAfterPassEi", "A::handleIRAfterPass(int)", "A::handleIRAfterPass"),
    ],
)  # fmt: skip
def test_names(mangled: str, full: str, name: str) -> None:
    assert is_mangled(mangled)
    assert demangle(mangled) == full
    assert function_name(mangled) == name
    assert demangle(mangled) == full  # the second time from the cache


@pytest.mark.parametrize("name", ["main", "", "Z", "_start", "runtime.main", "_ZN", "_R", "_Zfoo"])
def test_what_is_not_mangled_stays(name: str) -> None:
    assert demangle(name) == name
    assert function_name(name) == name


def test_without_mangled_names_the_library_is_not_imported() -> None:
    code = (
        "import sys; from unspool.symbols.demangle import function_name as f;"
        "f('main'); f('runtime.main'); assert 'pydemumble' not in sys.modules;"
        "f('_Z1fv'); assert 'pydemumble' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_library_names_stay_mangled() -> None:
    code = (
        "import sys; sys.modules['pydemumble'] = None;"
        "from unspool.symbols.demangle import available, demangle, function_name;"
        "assert demangle('_Z1fv') == function_name('_Z1fv') == '_Z1fv'; assert not available()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def doubling(levels: int) -> str:
    """f(a<int>, b<A, A>, c<B, B>, …): each type is the one before, twice."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    name, last = "_Z1f1aIiE", 1
    for level in range(levels):
        high, low = divmod(last - 1, 36)
        reference = f"S{digits[high] if high else ''}{digits[low]}_"
        name += f"1{chr(98 + level % 25)}I{reference}{reference}E"
        last += 2
    return name


def rust_doubling(levels: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

    def base62(value: int) -> str:
        high, low = divmod(value - 1, 62)
        return (digits[high - 1] if high else "") + digits[low] + "_"

    text = "INvC1a1f"
    last = len(text)
    text += "TllE"
    for _ in range(levels):
        reference = f"B{base62(last)}"
        last = len(text)
        text += f"T{reference}{reference}E"
    return f"_R{text}E"


def expanding(depth: int) -> str:
    """Each pack expansion repeats the ones in it for all ten arguments."""
    return "_Z1fIJ" + "i" * 10 + "EEv" + "Dp1aIT_" * depth + "T_" + "E" * depth


def msvc_types(levels: int) -> str:
    """Each parameter is a function of six parameters, which are the one before."""
    functions = "".join(f"P6AX{min(level, 9)}{min(level, 9) * 11111}@Z" for level in range(levels))
    return f"?f@@YAXPEAH{functions}@Z"


def msvc_names(levels: int) -> str:
    """Templates in templates, each of four arguments that are the first."""
    name = "V?$a@H@@"
    for level in range(levels):
        name = f"V?$b{level}@{name}V1@V1@V1@@@"
    return f"?f@@YAX{name}@Z"


MAKERS = [doubling, rust_doubling, expanding, msvc_types, msvc_names]


@pytest.mark.parametrize("make", MAKERS)
def test_the_bound_of_growth_is_one(make: object) -> None:
    """As long as the names are short enough to try, what they mean is within the bound."""
    for levels in range(1, 7):
        name = make(levels)  # type: ignore[operator]
        meaning = pydemumble.demangle(name)
        assert len(meaning) > 5 * levels
        assert len(meaning) <= 20 * grown_size(name)


@pytest.mark.parametrize("make", MAKERS)
def test_names_that_would_grow_without_end_stay_mangled(make: object) -> None:
    started = time.monotonic()
    for levels in (20, 25, 40):
        name = make(levels)  # type: ignore[operator]
        assert function_name(name) == name
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "part",
    ["P", "N", "Z", "1aI", "F", "MiFvi", "ZN1a1bE", "DT", "J", "A_", "Dv4_", "X", "ad", "1fI"],
)
def test_deep_names_do_not_overflow_the_stack(part: str) -> None:
    """In a process of its own: an overflow would end this one."""
    code = (
        "from unspool.symbols.demangle import function_name\n"
        f"for length in (500, 2040, 2048, 10_000, 100_000):\n"
        f"    for start in ('_Z1f', '_Z', '_R', '?', '_D1a'):\n"
        f"        function_name((start + {part!r} * length)[:length])\n"
        f"        function_name((start + {part!r} * (length // 3))[:length] + 'i' + 'E' * 700)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_results_that_are_too_long_are_dropped_and_bounded_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def long_winded(name: str) -> str:
        calls.append(name)
        return "x" * (1 << 20)

    monkeypatch.setattr(module, "_demangler", long_winded)
    monkeypatch.setattr(module, "_spent", 0)
    names = [f"_Z4long{number}" for number in range(100)]
    assert [demangle(name) for name in names] == names
    assert len(calls) == 65  # 64 MiB, and one more


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_CACHED", 10)
    for number in range(100):
        assert function_name(f"_Z4name{number}") == f"_Z4name{number}"
        assert len(module._cache) <= 10
        assert len(module._functions) <= 10


@given(st.text(alphabet="_ZRNSTIEJDpv1234abcKPXLi?@$", max_size=40))
def test_any_name_is_answered(text: str) -> None:
    for prefix in ("_Z", "_R", "?", "_D"):
        assert function_name(prefix + text)


def test_names_that_are_no_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    assert function_name("_Z3f\ufffdov") in ("_Z3f\ufffdov", "f\ufffdo")
    assert function_name("_Z4f\u00fcov").startswith(("f", "_Z"))


def _spelled_alike(name: str) -> str:
    """gdb and c++filt write `> >`, number their lambdas, and name clones in their own way."""
    name = name.replace("operator< <", "operator<<")
    name = re.sub(r"\{lambda\((.*?)\)#\d+\}", r"'lambda'(\1)", name)
    name = re.sub(r" \[clone (\.[^]]*)\]", r"\1", name)
    return re.sub(r"'lambda\d*'", "'lambda'", name).replace("> >", ">>").replace("> >", ">>")


@pytest.mark.oracle
def test_a_real_program_has_the_names_that_other_tools_show(classes: Path, tool: Tool) -> None:
    """The full name is that of c++filt; what we take of it must be the function's part."""
    rows = [line.split() for line in tool("nm", "--defined-only", classes).splitlines()]
    mangled = {row[2] for row in rows if row[1] in "tTwW" and row[2].startswith("_Z")}
    assert len(mangled) > 20
    filt = tool("c++filt", *sorted(mangled)).splitlines()
    checked = 0
    for name, theirs in zip(sorted(mangled), filt, strict=True):
        full, short = _spelled_alike(demangle(name)), _spelled_alike(function_name(name))
        if "auto:" in theirs or "{parm#" in theirs:
            continue  # each demangler has its own idea of generic lambdas
        checked += 1
        assert full.replace(" (.", ".").rstrip(")") == _spelled_alike(theirs).rstrip(")")
        assert short in _spelled_alike(theirs) or "." in short
        assert "(" not in short.replace("operator()", "").split("::")[-1].split("<")[0]
    assert checked > 20
    wanted = {
        "ns::Class<int>::method", "ns::Class<int>::operator()", "ns::Class<int>::operator bool",
        "ns::Class<int>::operator<<", "ns::Class<int>::~Class", "(anonymous namespace)::hidden",
        "choose", "operator<<int>", "main::Local::member",
    }  # fmt: skip
    shown = {
        re.sub(r"\.(isra|constprop|part|cold)[.0-9a-z]*", "", function_name(n)) for n in mangled
    }
    assert wanted - shown == set()


@pytest.mark.oracle
@pytest.mark.parametrize("mangling", ["legacy", "v0"])
def test_a_real_rust_program(mangling: str, compiled: Compile, tool: Tool) -> None:
    flags = ["-C", "symbol-mangling-version=v0"] if mangling == "v0" else []
    if mangling == "v0" and "symbol-mangling-version" not in tool("rustc", "-C", "help"):
        pytest.skip("this rustc has no v0 mangling yet")
    program = compiled("shapes.rs", "rustc", "-g", "-O", *flags)
    rows = [line.split() for line in tool("nm", "--defined-only", program).splitlines()]
    ours = {row[2] for row in rows if len(row) == 3 and "shapes" in row[2] and row[1] in "tT"}
    names = {function_name(name) for name in ours}
    assert "shapes::main" in names
    assert any(name.startswith("<shapes::Square<") and name.endswith("::area") for name in names)
    assert any(name.startswith("shapes::describe") for name in names)
    assert not any(re.search(r"::h[0-9a-f]{16}", name) for name in names)
    assert not any(name.startswith(("_Z", "_R")) for name in names)
