"""HotSpot's monitors in memory that lies: whatever is there, it costs the answer and no more."""

from __future__ import annotations

import struct
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from unspool.errors import FormatError
from unspool.generated.hotspot.monitors import Monitors
from unspool.generated.hotspot.tables import Field
from unspool.generated.reader import Reader
from unspool.memory import Fault, Memory, Region

BASE = 0x10000


class Tables:
    """Every field is there, somewhere in a small memory; statics lead to its beginning."""

    def __init__(self, data: bytes, stream: bool) -> None:
        region = Region(BASE, BASE + len(data), lambda: (data, 0, len(data)))
        self.reader = Reader(Memory([region]))
        self.stream = stream

    def field(self, *names: str) -> Field:
        place = sum(names[0].encode()) % 24 * 8
        static = names[0].startswith(("Compressed", "Abstract_VM"))
        kind = "int" if names[0].endswith(("_length", "_shift", "_id", "_count")) else "void*"
        return Field(place, BASE + place if static else None, kind)

    def maybe(self, *names: str) -> Field | None:
        if names[0].endswith("_fieldinfo_stream") and not self.stream:
            return None
        return self.field(*names)

    def offset(self, *names: str) -> int:
        return self.field(*names).offset

    def static(self, *names: str) -> int:
        return BASE + self.field(*names).offset

    def size(self, name: str) -> int:
        return 8 + len(name)

    def get(self, address: int, field: Field) -> int:
        read = self.reader.signed if field.signed else self.reader.unsigned
        return read(address + field.offset, field.size)


WORDS = st.one_of(
    st.integers(0, 64).map(lambda at: BASE + 8 * at), st.integers(0, 300), st.integers(0, 2**64 - 1)
)


@given(st.lists(WORDS, min_size=8, max_size=64), st.booleans())
def test_any_memory_is_read_in_bounds(words: list[int], stream: bool) -> None:
    data = struct.pack(f"<{len(words)}Q", *words)
    try:
        monitors = Monitors(cast("Any", Tables(data, stream)))
        found = monitors.waits()
    except (FormatError, Fault, UnicodeError):
        return
    assert len(found) <= len(monitors.tids)
    assert all(wait.owner is not None or wait.unknown for wait in found.values())
