"""What V8 keeps of a function beside its code: its names, and where in the script it lies.

A ScopeInfo has a few numbers, the names of variables, and then what there is of: the variable that
keeps a class, the function's own name and its place, the name that was inferred, the function's
first and last position, and the scope around. Which of them there are is said by bits that each
version of V8 has elsewhere; but what follows what has been the same since V8 7, and is told by
whether the words are small integers or pointers. From V8 12.3 on the positions come before.
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.generated.v8.heap import is_pointer, is_small

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.generated.v8.heap import Heap

_WORD = 8
_POSITIONS_FIRST = 5  # the index of the first variable, if two positions come before
_MOST_LOCALS = 1 << 16
_MOST_INLINE = 75  # of more the names are in a table of their own
_MOST_PARTS = 8


class Scope:
    """`own` and `inferred` are names, empty if there is none; `start` is -1 if it is not known."""

    __slots__ = ("end", "inferred", "own", "start")

    def __init__(self, own: str, inferred: str, start: int, end: int) -> None:
        self.own = own
        self.inferred = inferred
        self.start = start
        self.end = end


def read_scope(heap: Heap, scope: int) -> Scope:
    """What a ScopeInfo says."""
    known = heap.known
    # It was an array once, with its length before its elements.
    base = known.elements if known.scope_is_array else _WORD
    count = heap.small(heap.word(scope, base + known.locals * _WORD))
    if not 0 <= count <= _MOST_LOCALS:
        raise FormatError(f"a scope of {count} variables", "V8's heap")
    early = known.first_variable == _POSITIONS_FIRST
    names = count if count < _MOST_INLINE else 1
    at = base + (known.first_variable + names + count) * _WORD
    parts = _parts(heap, scope, at)
    start = end = -1
    if early:
        start, end = (
            heap.small(heap.word(scope, base + (known.first_variable - 2 + n) * _WORD))
            for n in (0, 1)
        )
    elif len(parts) >= 2 and is_small(parts[-1]) and is_small(parts[-2]):
        start, end = heap.small(parts[-2]), heap.small(parts[-1])
        del parts[-2:]
    # A scope without another one around may end, and what follows be of another object.
    while len(parts) >= 2 and is_small(parts[-1]) and _is_undefined(heap, parts[-2]):
        parts.pop()
    inferred = own = ""
    if parts and is_pointer(parts[-1]):
        inferred = _name(heap, parts.pop())
    if len(parts) >= 2 and is_small(parts[-1]):
        parts.pop()
        own = _name(heap, parts.pop())
    if not 0 <= start < end:
        start = end = -1
    return Scope(own, inferred, start, end)


def _parts(heap: Heap, scope: int, at: int) -> list[int]:
    """Small integers and names, up to the scope around or whatever else follows."""
    found: list[int] = []
    for index in range(_MOST_PARTS):
        word = heap.word(scope, at + index * _WORD)
        is_name = heap.is_string(word) or heap.type(word) == heap.known.type_oddball
        if not is_name and not is_small(word):
            break
        found.append(word)
    return found


def _is_undefined(heap: Heap, word: int) -> bool:
    return is_pointer(word) and not heap.is_string(word)


def _name(heap: Heap, word: int) -> str:
    return heap.string(word) if heap.is_string(word) else ""
