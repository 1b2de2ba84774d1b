"""Builds source maps (ECMA-426) of WebAssembly: places are (offset, file, line), from 0; without
file and line a place is of no source."""

from __future__ import annotations

import json
from collections.abc import Sequence

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def source_map(
    places: Sequence[tuple[int, ...]], sources: Sequence[str | None] = ("a.ts",), **keys: object
) -> bytes:
    segments = []
    before = [0, 0, 0]
    for offset, *more in places:
        numbers = [offset - before[0]]
        before[0] = offset
        if more:
            file, line = more
            numbers += [file - before[1], line - before[2], 0]
            before[1:] = file, line
        segments.append("".join(map(vlq, numbers)))
    document = {"version": 3, "sources": list(sources), "names": [], "mappings": ",".join(segments)}
    return json.dumps({**document, **keys}).encode()


def vlq(value: int) -> str:
    """A number in letters of six bits, the lowest first, its sign in the lowest bit."""
    rest = -value << 1 | 1 if value < 0 else value << 1
    letters = ""
    while True:
        digit, rest = rest & 31, rest >> 5
        letters += DIGITS[digit | (32 if rest else 0)]
        if not rest:
            return letters
