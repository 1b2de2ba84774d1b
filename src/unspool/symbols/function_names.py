"""Takes a demangled C++ function's name out of its whole meaning."""

from __future__ import annotations

_OPEN, _CLOSE = "<([{", ">)]}"
# Operators whose sign looks like a bracket, the longest first.
_SIGNS = ("<<=", ">>=", "<=>", "->*", "<<", ">>", "<=", ">=", "->", "()", "[]", "<", ">")
_TRAILERS = (" const", " volatile", " &&", " &", " noexcept")


def without_parameters(full: str) -> str:
    """`void ns::f<int>(char) const` becomes `ns::f<int>`; what is no function stays as it is.

    "f() (.cold)", LLVM's way to say that a part of a function was split off, becomes
    `f.cold`. If brackets do not match, the name is given as it is.
    """
    name, suffix = _split_clone(full)
    signature = _strip_trailers(name)
    if signature.endswith(")"):
        opening = _opening(signature)
        if opening is None:
            return full
        if not signature[:opening].endswith("operator"):
            signature = signature[:opening]
    elif signature != name:
        return full
    start = _name_start(signature)
    if start is None or start == len(signature):
        return full
    return signature[start:] + suffix


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
        if char in _OPEN:
            open_brackets.append(char)
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
