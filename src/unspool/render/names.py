"""Names of functions and files made short enough for a line."""

from __future__ import annotations

# A name is shortened when it is longer than this; most C++ and Rust names are not.
_LONG = 72
# No more of a name is looked at; the longest of honest programs have a few thousand letters.
_LONGEST = 4000

# Folders that tell nothing of whose file it is.
_COMMON = ("src", "lib", "include", "source")

_PAIRS = {"<": ">", "(": ")", "[": "]", "{": "}"}
_OPERATORS = (
    "operator<<=", "operator>>=", "operator<=>", "operator->*",
    "operator<<", "operator>>", "operator<=", "operator>=", "operator->", "operator()",
    "operator[]", "operator<", "operator>",
)  # fmt: skip


def short_function(name: str, limit: int = _LONG) -> str:
    """A demangled name with what lies in its brackets left out, if it is longer than `limit`.

    `std::map<int, std::string>::find(int const&)` becomes `std::map<…>::find(…)`; a name
    that is still too long keeps its start and its end.
    """
    if len(name) <= limit:
        return name
    short = _without_arguments(name[:_LONGEST])
    if len(short) <= limit:
        return short
    head = limit * 2 // 3
    return f"{short[:head]}…{short[head + 1 - limit :]}"


def _without_arguments(name: str) -> str:
    result: list[str] = []
    opened: list[str] = []  # the closing brackets that are awaited, outermost first
    index = 0
    while index < len(name):
        char = name[index]
        operator = _operator_at(name, index)
        if operator:
            if not opened:
                result.append(operator)
            index += len(operator)
            continue
        index += 1
        if char in _PAIRS and (opened or not _opens_path(name, index - 1)):
            if not opened:
                result.append(char if name[index : index + 1] == _PAIRS[char] else char + "…")
            opened.append(_PAIRS[char])
        elif _closes(char, opened):
            while opened.pop() != char:
                pass  # a comparison within an argument: it only looked like a bracket
            if not opened:
                result.append(char)
        elif not opened:
            result.append(char)
    return "".join(result).replace("(…) const", "(…)")


def _operator_at(name: str, index: int) -> str:
    if name[index] != "o" or not name.startswith("operator", index):
        return ""
    return next((sign for sign in _OPERATORS if name.startswith(sign, index)), "")


def _closes(char: str, opened: list[str]) -> bool:
    if char == ">":
        return bool(opened) and opened[-1] == char
    return char in opened


def _opens_path(name: str, index: int) -> bool:
    """Whether a bracket is part of the path: `<impl Trait for Type>::method` and `{closure}`
    of Rust, `(anonymous namespace)` of C++.
    """
    if name.startswith("(anonymous namespace)", index):
        return True
    return name[index] in "<{" and (index == 0 or name[index - 1] == ":")


def short_file(path: str, limit: int = 36) -> str:
    """A path's last two parts, or as many of them as fit into a column and say something.

    `src/lib.rs` is the same in every Rust library: there it takes a third part to tell.
    """
    parts = path.replace("\\", "/").rsplit("/", 3)
    short = parts[-1]
    wanted = 3 if len(parts) > 2 and parts[-2] in _COMMON else 2
    for part in parts[-2 : -wanted - 1 : -1]:
        if part in ("", ".", "..") or part.endswith(":") or len(part) + len(short) >= limit:
            break
        short = f"{part}/{short}"
    return clip(short)


def clip(text: str, limit: int = _LONG) -> str:
    """`text`, or its start if it is longer than any honest name."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def base_name(path: str) -> str:
    """The last part of a path of either system."""
    return clip(path.replace("\\", "/").rsplit("/", 1)[-1] or path)
