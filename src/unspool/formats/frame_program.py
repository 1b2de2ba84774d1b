"""The programs of FrameData: how a function's caller is found, in postfix notation.

    $T0 .raSearch = $eip $T0 ^ = $esp $T0 4 + = $ebx $T0 4 - ^ =

Names begin with `$` (registers of the CPU, temporaries) or `.` (sizes of the frame). `^` reads
memory, `@` rounds down to a multiple, `=` assigns, `.undef` says that the caller's value is
not known. Numbers are decimal. (Breakpad, symbol_files.md, "STACK WIN records".)
"""

from __future__ import annotations

from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Compilers write some thirty tokens.
_MAX_TOKENS = 500
_MASK = 0xFFFF_FFFF
_WORD = 4
_OPERATORS = frozenset("+-*/%@")
_UNDEFINED = ".undef"


def run_program(
    program: str, variables: dict[str, int], read: Callable[[int, int], int]
) -> dict[str, int | None]:
    """What the program assigns, by name; None is a value that it declares unknown.

    `variables` are those it may use. Values are unsigned words of 32 bits; `read(address,
    size)` reads one. Raises `FormatError` for anything that is no program, uses a value that
    is not known, or divides by zero; whatever `read` raises passes through.
    """
    tokens = program.split(maxsplit=_MAX_TOKENS)
    if len(tokens) > _MAX_TOKENS:
        raise FormatError("frame program", "absurdly long")
    known: dict[str, int | None] = dict(variables)
    assigned: dict[str, int | None] = {}
    stack: list[str | int] = []
    for token in tokens:
        if token in _OPERATORS:
            right = _value(stack, known)
            left = _value(stack, known)
            stack.append(_calculate(token, left, right))
        elif token == "^":
            stack.append(read(_value(stack, known), _WORD) & _MASK)
        elif token == "=":
            value = None if stack and stack[-1] == _UNDEFINED else _value(stack, known)
            if value is None:
                stack.pop()
            name = stack.pop() if stack else ""
            if not isinstance(name, str) or name == _UNDEFINED or name[:1] not in ("$", "."):
                raise FormatError("frame program", f"assigns to {name!r}")
            known[name] = assigned[name] = value
        else:
            stack.append(token)
    return assigned


def _value(stack: list[str | int], known: dict[str, int | None]) -> int:
    if not stack:
        raise FormatError("frame program", "an operator lacks its operand")
    token = stack.pop()
    if isinstance(token, int):
        return token
    if token[:1] in ("$", "."):
        value = known.get(token)
        if value is None:
            raise FormatError("frame program", f"{token} is not known")
        return value
    digits = token.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 12:
        raise FormatError("frame program", f"unknown operator {token!r}")
    return int(token) & _MASK


def _calculate(operator: str, left: int, right: int) -> int:
    if operator == "+":
        result = left + right
    elif operator == "-":
        result = left - right
    elif operator == "*":
        result = left * right
    elif not right:
        raise FormatError("frame program", "divides by zero")
    elif operator == "/":
        result = left // right
    else:
        result = left % right if operator == "%" else left - left % right
    return result & _MASK
