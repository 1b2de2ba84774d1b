"""Names of functions and files made short enough for a line."""

from __future__ import annotations

# A name is shortened when it is longer than this; most C++ and Rust names are not.
_LONG = 72

_OPEN, _CLOSE = "<([{", ">)]}"
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
    short = _without_arguments(name)
    if len(short) <= limit:
        return short
    head = limit * 2 // 3
    return f"{short[:head]}…{short[head + 1 - limit :]}"


def _without_arguments(name: str) -> str:
    result: list[str] = []
    depth = index = 0
    while index < len(name):
        char = name[index]
        if char == "o" and name.startswith("operator", index):
            operator = next((sign for sign in _OPERATORS if name.startswith(sign, index)), "")
            if operator:
                if not depth:
                    result.append(operator)
                index += len(operator)
                continue
        # `<impl Trait for Type>::method` and `<Type as Trait>::method` of Rust, `(anonymous
        # namespace)` of C++: what opens a path is the path.
        if char in _OPEN and (depth or not _opens_path(name, index)):
            if not depth:
                result.append(char + "…")
            depth += 1
        elif char in _CLOSE and depth and name[index - 1] != "-":
            depth -= 1
            if not depth:
                result.append(char)
        elif not depth:
            result.append(char)
        index += 1
    return "".join(result).replace("(…) const", "(…)")


def _opens_path(name: str, index: int) -> bool:
    if name.startswith("(anonymous namespace)", index):
        return True
    return name[index] in "<{" and (index == 0 or name[index - 1] == ":")


def short_file(path: str, limit: int = 36) -> str:
    """The last two parts of a path, or its last one if that is too long for a column."""
    parts = path.replace("\\", "/").rsplit("/", 2)
    name = parts[-1]
    if len(parts) > 1 and parts[-2] not in ("", ".", "..") and not parts[-2].endswith(":"):
        both = f"{parts[-2]}/{name}"
        if len(both) <= limit:
            return both
    return name


def base_name(path: str) -> str:
    """The last part of a path of either system."""
    return path.replace("\\", "/").rsplit("/", 1)[-1] or path
