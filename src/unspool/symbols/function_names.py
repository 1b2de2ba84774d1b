"""Takes a demangled C++ function's name out of its whole meaning.

GNU's and LLVM's way to write them, and MSVC's: `Foo::`scalar deleting dtor'(unsigned int)`,
where what is between a grave accent and an apostrophe is one word, however many spaces it has.
"""

from __future__ import annotations

_OPEN, _CLOSE = "<([{", ">)]}"
# Operators whose sign looks like a bracket, the longest first.
_SIGNS = ("<<=", ">>=", "<=>", "->*", "<<", ">>", "<=", ">=", "->", "()", "[]", "<", ">")
_TRAILERS = (" const", " volatile", " &&", " &", " noexcept")
# MSVC says which kind of type each is; nobody else does.
_KINDS = ("class ", "struct ", "union ", "enum ")


def without_parameters(full: str) -> str:
    """`void ns::f<int>(char) const` becomes `ns::f<int>`; what is no function stays as it is.

    "f() (.cold)", LLVM's way to say that a part of a function was split off, becomes
    `f.cold`. If brackets do not match, the name is given as it is.
    """
    name, suffix = _split_clone(full)
    signature = without_arguments(name)
    if signature is None:
        return full
    # MSVC's `int (__cdecl * __cdecl f(void))(int)`: f returns a pointer to a function.
    if signature.endswith(")") and " __" in signature:
        opening = _opening(signature)
        if opening is not None and signature.startswith("(__", opening):
            return without_parameters(signature[opening + 1 : -1]) + suffix
    start = _name_start(signature)
    if start is None or start == len(signature):
        return full
    return signature[start:] + suffix


def without_arguments(name: str) -> str | None:
    """`ns::f<int>(char) const` becomes `ns::f<int>`; a type before the name stays.

    None if it is no function, or its brackets do not match.
    """
    signature = _strip_trailers(name)
    if signature.endswith(")"):
        opening = _opening(signature)
        if opening is None:
            return None
        return signature if signature[:opening].endswith("operator") else signature[:opening]
    return signature if signature == name else None


def as_elsewhere(name: str) -> str:
    """A function's name out of MSVC's symbols or a PDB file as DWARF would have it.

    ``f<struct a>`` is `f<a>`, and ```anonymous namespace'`` is `(anonymous namespace)`.
    """
    if "`" in name:
        for quoted in ("`anonymous namespace'", "`anonymous-namespace'"):
            name = name.replace(quoted, "(anonymous namespace)")
    for kind in _KINDS:
        if kind in name:
            for before in ("<", "(", ", "):
                name = name.replace(before + kind, before)
    return name


def _split_clone(full: str) -> tuple[str, str]:
    if full.endswith(")"):
        at = full.rfind(" (.")
        if at > 0:
            return full[:at], full[at + 2 : -1]
    return full, ""


def _strip_trailers(name: str) -> str:
    stripped = True
    while stripped:
        stripped = False
        for trailer in _TRAILERS:
            if name.endswith(trailer):
                name, stripped = name[: -len(trailer)], True
    return name


def _opening(text: str) -> int | None:
    """Where the bracket opens that the last character closes."""
    depth = 0
    for index in range(len(text) - 1, -1, -1):
        char = text[index]
        if char == ")":
            depth += 1
        elif char == "(":
            depth -= 1
            if not depth:
                return index
    return None


def _name_start(text: str) -> int | None:
    """Where the name begins behind a return type: after the last space outside of brackets.

    A conversion's own name has spaces: `Foo::operator unsigned long`. "virtual thunk to f"
    and "thread-local wrapper routine for x" are not f and x: they are names as a whole.
    None if brackets do not match.
    """
    if " " not in text or not _may_have_type(text):
        return 0
    open_brackets: list[str] = []
    start = index = 0
    while index < len(text):
        char = text[index]
        if char == "o" and text.startswith("operator", index) and not _inside_word(text, index):
            index += len("operator")
            sign = _sign_at(text, index)
            if not sign and not open_brackets:
                return start  # `operator bool`, `operator new`, `operator"" _x`: to the end
            index += len(sign)
            continue
        if char in _OPEN or char == "`":
            open_brackets.append(char)
        elif char == "'":
            if open_brackets and open_brackets[-1] == "`":
                open_brackets.pop()
        elif char == ">":
            # Inside of parentheses it is "greater than", after "-" an arrow.
            if open_brackets and open_brackets[-1] == "<" and text[index - 1] != "-":
                open_brackets.pop()
        elif char in _CLOSE:
            opening = _OPEN[_CLOSE.index(char)]
            if opening not in open_brackets:
                return None
            while open_brackets.pop() != opening:
                pass  # a "less than" that was no bracket
        elif char == " " and not open_brackets:
            if text.endswith((" thunk to", " for"), 0, index):
                return 0
            start = index + 1
        index += 1
    return None if open_brackets else start


def _may_have_type(text: str) -> bool:
    """Whether a return type is possible: cheap to ask, and most often the answer is no.

    C++ mangles the return type of templates alone (Itanium C++ ABI, 5.1.5.3), be it the
    function itself or one that a local class or lambda is in. MSVC mangles it always, and
    with it the calling convention.
    """
    return text.endswith((">", "]")) or ")::" in text or " __" in text


def _sign_at(text: str, index: int) -> str:
    """The operator's sign. `operator<<T>` is operator< of T, `operator<<<T>` operator<<."""
    for sign in _SIGNS:
        after = index + len(sign)
        if text.startswith(sign, index) and (after == len(text) or text[after] in "(<["):
            return sign
    return ""


def _inside_word(text: str, index: int) -> bool:
    before = text[index - 1] if index else " "
    after = text[index + 8 : index + 9]
    return before.isalnum() or before == "_" or after.isalnum() or after == "_"
