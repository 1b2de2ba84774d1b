"""Honest files with a few things changed, that print themselves shortly when they fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

EXTREMES = [
    0, 1, 2, 3, 4, 7, 8, 0x10, 0x7F, 0x80, 0xFF, 0xFFF, 0x1000, 0x7FFF, 0x8000, 0xFFFF, 0x10000,
    0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x1_0000_0000, (1 << 47) - 8, 1 << 47, (1 << 63) - 1,
    1 << 63, (1 << 64) - 0x1000, (1 << 64) - 8, (1 << 64) - 1,
]  # fmt: skip

# What is done, where, and with what: ("set", offset, bytes), ("copy", to, from, size), …
Change = tuple[str, int, bytes] | tuple[str, int, int, int]


class Mutant:
    """`make(*arguments)` with changes. Its text is the code that makes it again."""

    def __init__(
        self, make: Callable[..., bytes], arguments: Sequence[object], changes: Sequence[Change]
    ) -> None:
        self.make = make
        self.arguments = arguments
        self.changes = changes

    def __repr__(self) -> str:
        return f"Mutant({self.make.__name__}, {self.arguments!r}, {self.changes!r})"

    def build(self) -> bytes:
        data = bytearray(self.make(*self.arguments))
        for kind, at, *rest in self.changes:
            if kind == "set":
                new = rest[0]
                assert isinstance(new, bytes)
                data[at : at + len(new)] = new
                continue
            start, size = rest
            assert isinstance(start, int)
            assert isinstance(size, int)
            piece = bytes(data[start : start + size])
            if kind == "copy":
                data[at : at + size] = piece
            elif kind == "insert":
                data[at:at] = piece
            elif kind == "drop":
                del data[at : at + size]
            elif kind == "repeat":
                data[at : at + 10 * size] = piece * 10
        return bytes(data)


@st.composite
def patched(
    draw: st.DrawFn,
    make: Callable[..., bytes],
    arguments: st.SearchStrategy[Sequence[object]],
    places: Callable[[bytes], list[range]],
) -> Mutant:
    """Up to eight places overwritten."""
    chosen = draw(arguments)
    data = make(*chosen)
    spots = places(data)
    changes: list[Change] = []
    for _ in range(draw(st.integers(1, 8))):
        spot = draw(st.sampled_from(spots))
        offset = draw(st.integers(spot.start, spot.stop - 1))
        if draw(st.booleans()):
            offset -= offset % 4
            size = draw(st.sampled_from([1, 2, 4, 8]))
            value = draw(st.sampled_from(EXTREMES) | st.integers(0, len(data) + 8))
            new = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        else:
            new = draw(st.binary(min_size=1, max_size=12))
        changes.append(("set", offset, new))
    return Mutant(make, chosen, changes)


@st.composite
def rearranged(
    draw: st.DrawFn,
    make: Callable[..., bytes],
    arguments: st.SearchStrategy[Sequence[object]],
    places: Callable[[bytes], list[range]],
) -> Mutant:
    """Pieces copied over others, inserted, dropped or repeated."""
    chosen = draw(arguments)
    spots = places(make(*chosen))
    changes: list[Change] = []
    for _ in range(draw(st.integers(1, 4))):
        source, target = draw(st.sampled_from(spots)), draw(st.sampled_from(spots))
        changes.append(
            (
                draw(st.sampled_from(["copy", "insert", "drop", "repeat"])),
                draw(st.integers(target.start, target.stop - 1)),
                draw(st.integers(source.start, source.stop - 1)),
                draw(st.sampled_from([1, 4, 8, 24, 32, 56, 64, 336, 1000])),
            )
        )
    return Mutant(make, chosen, changes)
