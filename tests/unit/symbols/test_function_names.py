"""What is left of a demangled name without parameters and return type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.symbols.function_names import as_elsewhere, without_arguments, without_parameters


@pytest.mark.parametrize(
    ("full", "name"),
    [
        ("f()", "f"),
        ("ns::Class<int>::method(int, char const*)", "ns::Class<int>::method"),
        ("ns::Class<int>::method(int) const", "ns::Class<int>::method"),
        ("A::f() volatile &&", "A::f"),
        ("A::f() const &", "A::f"),
        # Return types: templates have one, and it can hold anything.
        ("void f<int>(int)", "f<int>"),
        ("std::enable_if<(1) > (0), int>::type f<int>(int)", "f<int>"),
        ("B<(true > 3)>::type f<true>()", "f<true>"),
        ("decltype(fp(1)) call<main::'lambda'(int)>(main::'lambda'(int))",
         "call<main::'lambda'(int)>"),
        ("std::ostream& operator<<<char>(std::ostream&, char)", "operator<<<char>"),
        ("bool std::operator<<int>(int, int)", "std::operator<<int>"),
        ("void f<int>(int)::'lambda'()::operator()() const", "f<int>(int)::'lambda'()::operator()"),
        ("unsigned long const& std::max<unsigned long>(unsigned long const&)",
         "std::max<unsigned long>"),
        # Operators that look like brackets.
        ("A::operator<(A const&) const", "A::operator<"),
        ("A::operator<<(int)", "A::operator<<"),
        ("A::operator<=>(A const&)", "A::operator<=>"),
        ("A::operator->()", "A::operator->"),
        ("A::operator->*(int)", "A::operator->*"),
        ("A::operator()(int)", "A::operator()"),
        ("A::operator[](int)", "A::operator[]"),
        ("A::operator,(A)", "A::operator,"),
        ("void f<&A::operator<(A)>(int)", "f<&A::operator<(A)>"),
        # Names with spaces.
        ("A::operator bool() const", "A::operator bool"),
        ("A::operator unsigned long() const", "A::operator unsigned long"),
        ("B<int>::operator std::vector<int, char><double>()",
         "B<int>::operator std::vector<int, char><double>"),
        ("operator new(unsigned long)", "operator new"),
        ("operator delete[](void*)", "operator delete[]"),
        ('operator"" _x(unsigned long long)', 'operator"" _x'),
        ("(anonymous namespace)::hidden(int)", "(anonymous namespace)::hidden"),
        ("int (anonymous namespace)::t<int>(int)", "(anonymous namespace)::t<int>"),
        ("virtual thunk to Foo::~Foo()", "virtual thunk to Foo::~Foo"),
        ("non-virtual thunk to ns::Both::other()", "non-virtual thunk to ns::Both::other"),
        ("thread-local wrapper routine for x", "thread-local wrapper routine for x"),
        ("guard variable for f()::x", "guard variable for f()::x"),
        # Identifiers that begin like a keyword, and tags of the ABI.
        ("int operators::f<int>(int)", "operators::f<int>"),
        ("void my_operator<int>(int)", "my_operator<int>"),
        ("foo::bar[abi:cxx11](int)", "foo::bar[abi:cxx11]"),
        ("std::string foo::bar[abi:cxx11]<int>(int)", "foo::bar[abi:cxx11]<int>"),
        # Parts and copies of functions.
        ("f(int) (.cold)", "f.cold"),
        ("void f<int>(char) const (.isra.0.cold)", "f<int>.isra.0.cold"),
        # MSVC says everything.
        ("void __cdecl foo(int)", "foo"),
        ("public: class B __cdecl A::f(int)", "A::f"),
    ],
)  # fmt: skip
def test_names(full: str, name: str) -> None:
    assert without_parameters(full) == name


@pytest.mark.parametrize(
    "text", ["", ")", "f)", "a>)b(", "void f<a)>(int)", "const", "f) const", "x (.y"]
)
def test_what_makes_no_sense_stays(text: str) -> None:
    assert without_parameters(text) == text


@given(st.text(alphabet="af <>()[]{}:,&*'-.~ operatorcnsld", max_size=60))
def test_any_text_gives_a_part_of_itself(text: str) -> None:
    name = without_parameters(text)
    assert isinstance(name, str)
    assert len(name) <= len(text)
    assert bool(name) == bool(text)


@pytest.mark.parametrize(
    ("full", "name"),
    [
        ("public: virtual void * __cdecl Foo::`scalar deleting dtor'(unsigned int)",
         "Foo::`scalar deleting dtor'"),
        ("[thunk]: public: virtual void __cdecl C::f`adjustor{16}'(void)", "C::f`adjustor{16}'"),
        ("int `int __cdecl main(void)'::`1'::dtor$0", "`int __cdecl main(void)'::`1'::dtor$0"),
        ("void __cdecl `dynamic initializer for 'x''(void)", "`dynamic initializer for 'x''"),
        ("public: int __cdecl lam::operator()(int) const", "lam::operator()"),
        ("public: int __cdecl x::operator int(void)", "x::operator int"),
        ("private: static int __stdcall C::s(struct HWND__*, long)", "C::s"),
        ("int (__cdecl * __cdecl fp(void))(int)", "fp"),
        ("public: void (__cdecl * __cdecl std::function<void __cdecl(int)>::get(void))(int)",
         "std::function<void __cdecl(int)>::get"),
        ("it's f<int>(int)", "f<int>"),
    ],
)  # fmt: skip
def test_names_as_msvc_writes_them(full: str, name: str) -> None:
    assert without_parameters(full) == name


@pytest.mark.parametrize(
    ("full", "name"),
    [
        ("shop::outer(shop::Item&, int)", "shop::outer"),
        ("f<int>::operator()(int) const", "f<int>::operator()"),
        ("`anonymous namespace'::f(int)", "`anonymous namespace'::f"),
        ("f", "f"),
        ("f(int", "f(int"),
        ("f)", None),
        ("f const", None),
    ],
)
def test_names_with_arguments_and_no_type(full: str, name: str | None) -> None:
    """As PDB files have them."""
    assert without_arguments(full) == name


def test_names_of_msvc_are_spelled_as_elsewhere() -> None:
    full = "a::`anonymous-namespace'::f<struct b, class c<enum d>(union e)>::my_struct g"
    assert as_elsewhere(full) == "a::(anonymous namespace)::f<b, c<d>(e)>::my_struct g"
