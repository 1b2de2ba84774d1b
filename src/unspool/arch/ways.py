"""Ways through code that lies ahead of a pc, each a `run` of instructions until it returns.

What ends there is of the CPU: `x86_ahead`, `aarch64_ahead`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol, Self, TypeVar

    class Return(Protocol):
        calls: int

    Found = TypeVar("Found", bound=Return)
    Found_co = TypeVar("Found_co", bound=Return, covariant=True)

    class Way(Protocol[Found_co]):
        at: int
        branches: list[Self]

        def run(self, most: int) -> Found_co | None: ...


# One way through a function, and all that are tried: a function has a few returns, and those
# that are near are reached without many branches.
MOST_STEPS, MOST_WAYS, MOST_CALLS = 300, 16, 24
_MOST_AT_END = 12


def returns(first: Way[Found]) -> Iterator[Found]:
    """Returns that a way and its branches lead to, the straightest way first."""
    ways, seen = [first], {first.at}
    for _ in range(MOST_WAYS):
        if not ways:
            return
        way = ways.pop(0)
        found = way.run(MOST_STEPS)
        if found is not None:
            yield found
        for branch in way.branches:
            if branch.at not in seen:
                seen.add(branch.at)
                ways.append(branch)


def ending(way: Way[Found]) -> Found | None:
    """The return that follows at once, if it does: nothing branches or calls before it."""
    found = way.run(_MOST_AT_END)
    return found if found is not None and not way.branches and not found.calls else None
