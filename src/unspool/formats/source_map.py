"""Source maps (ECMA-426) of WebAssembly, as AssemblyScript and Emscripten write them: which line
the code at an offset in the binary is from. A binary is one line, and columns are offsets in it."""

from __future__ import annotations

from bisect import bisect_right

from unspool.errors import FormatError

_DIGITS = {
    letter: value
    for value, letter in enumerate(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    )
}
_MOST_LETTERS = 16 << 20
_MOST_BITS = 40


class SourceMap:
    """Lines by offsets in the binary, which are in `offsets` in their order."""

    def __init__(
        self, sources: list[str], offsets: list[int], places: list[tuple[int, int] | None]
    ) -> None:
        self._sources = sources
        self.offsets = offsets
        self._places = places

    def at(self, offset: int, low: int) -> tuple[str, int] | None:
        """The file and line, from 1, of an offset; None if nothing from `low` on says it."""
        index = bisect_right(self.offsets, offset) - 1
        if index < 0 or self.offsets[index] < low:
            return None
        place = self._places[index]
        if place is None or not 0 <= place[0] < len(self._sources) or place[1] < 0:
            return None
        return self._sources[place[0]], place[1] + 1


def read_source_map(data: bytes) -> SourceMap:
    """Raises `FormatError` for what is none, or one of several lines or parts."""
    import json

    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise FormatError("source map", "no JSON") from None
    known = document if isinstance(document, dict) else {}
    mappings, sources = known.get("mappings"), known.get("sources")
    root = known.get("sourceRoot") or ""
    if known.get("version") != 3 or not isinstance(mappings, str) or not isinstance(sources, list):
        raise FormatError("source map", "not of version 3, or in parts")
    if len(mappings) > _MOST_LETTERS or not isinstance(root, str):
        raise FormatError("source map", f"{len(mappings)} letters of mappings")
    root += "/" if root and not root.endswith("/") else ""
    names = [f"{root}{each}" if isinstance(each, str) else "?" for each in sources]
    return _read_mappings(mappings, names)


def _read_mappings(mappings: str, sources: list[str]) -> SourceMap:
    offsets: list[int] = []
    places: list[tuple[int, int] | None] = []
    offset = source = line = 0
    for segment in mappings.split(",") if mappings else ():
        fields = _numbers(segment)
        offset += fields[0]
        if offset < 0 or (offsets and offset < offsets[-1]) or len(fields) not in (1, 4, 5):
            raise FormatError("source map", f"offset {offset}, {len(fields)} numbers")
        if len(fields) == 1:
            place = None
        else:
            source, line = source + fields[1], line + fields[2]
            place = source, line
        offsets.append(offset)
        places.append(place)
    return SourceMap(sources, offsets, places)


def _numbers(segment: str) -> list[int]:
    """The numbers of a segment: six bits a letter, the lowest first, the sign in the lowest."""
    found = []
    value = shift = 0
    for letter in segment:
        digit = _DIGITS.get(letter)
        if digit is None or shift > _MOST_BITS:
            raise FormatError("source map", "no number, or another line")
        value |= (digit & 31) << shift
        shift += 5
        if digit < 32:
            found.append(-(value >> 1) if value & 1 else value >> 1)
            value = shift = 0
    if shift or not found:
        raise FormatError("source map", "a number without an end")
    return found
