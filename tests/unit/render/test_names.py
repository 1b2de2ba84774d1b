from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.render.names import base_name, short_file, short_function


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("main", "main"),
        ("std::vector<int>::push_back(int const&)", "std::vector<…>::push_back(…)"),
        ("operator<<(std::ostream&, Thing const&)", "operator<<(…)"),
        ("Thing::operator()(int) const", "Thing::operator()(…)"),
        ("Box<Fn>::operator->()", "Box<…>::operator->()"),
        ("(anonymous namespace)::run(int)", "(anonymous namespace)::run(…)"),
        ("<alloc::boxed::Box<F,A> as FnOnce<Args>>::call_once",
         "<alloc::boxed::Box<…> as FnOnce<…>>::call_once"),
        ("core::ops::FnOnce::call_once{{vtable.shim}}", "core::ops::FnOnce::call_once{…}"),
        ("app::main::{{closure}}", "app::main::{{closure}}"),
        ("f<(a > b)>(int)::g", "f<…>(…)::g"),
        ("unclosed<int", "unclosed<…"),
        ("too many >> closed", "too many >> closed"),
    ],
)  # fmt: skip
def test_what_lies_in_brackets_is_left_out_of_a_long_name(name: str, short: str) -> None:
    assert short_function(name, limit=len(short)) == short
    assert short_function(name, limit=len(name)) == name


def test_a_name_that_is_still_too_long_keeps_both_ends() -> None:
    name = "a" * 100 + "::" + "b" * 100
    short = short_function(name, 60)
    assert len(short) == 60
    assert short.startswith("aaaa")
    assert short.endswith("bbbb")
    assert "…" in short


def test_a_name_of_a_million_brackets_is_short_work() -> None:
    assert short_function("<" * 500_000 + ")" * 500_000) == "<<…"


@given(st.text("ab<>()[]{}:-o perator&*,", max_size=200), st.integers(8, 80))
def test_no_name_is_longer_than_the_limit(name: str, limit: int) -> None:
    assert len(short_function(name, limit)) <= limit


@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("boom.c", "boom.c"),
        ("./boom.c", "boom.c"),
        ("/boom.c", "boom.c"),
        ("/src/boom/boom.c", "boom/boom.c"),
        ("../sysdeps/unix/read.c", "unix/read.c"),
        ("C:\\src\\app\\main.cpp", "app/main.cpp"),
        ("C:\\main.cpp", "main.cpp"),
        ("/a_directory_with_a_name_of_some_length/main.c", "main.c"),
        ("/rustc/4b91a6/library/core/src/panicking.rs", "core/src/panicking.rs"),
        ("src/main.rs", "src/main.rs"),
        ("/src/main.c", "src/main.c"),
        ("/a_library_whose_name_takes_room/src/lib.rs", "src/lib.rs"),
        ("/x/" + "n" * 90, "n" * 71 + "…"),
    ],
)
def test_files_keep_their_last_two_parts(path: str, short: str) -> None:
    assert short_file(path) == short


def test_base_names() -> None:
    assert base_name("/usr/bin/true") == "true"
    assert base_name("C:\\windows\\ntdll.dll") == "ntdll.dll"
    assert base_name("/") == "/"
    assert base_name("") == ""
    assert len(base_name("x" * 100_000)) == 72
