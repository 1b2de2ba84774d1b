"""The file under a minidump's reader: places that are checked, strings, and what was wrong."""

from __future__ import annotations

from unspool.formats.minidump.layout import wide_text
from unspool.formats.minidump.records import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer

MAX_PROBLEMS = 1000
MAX_STRING = 1 << 16
# Each string and each list of an honest file has bytes of its own, so that all together are no
# more than the file. Only a file that has many of them share bytes has to do with less.
_SPARE = 1 << 20


class DumpBytes:
    """A minidump's bytes; what is read beyond its end is cut and noted in `problems`.

    `is_cut` says that something would have been there.
    """

    __slots__ = ("_budget", "_seen", "_strings", "buffer", "is_cut", "problems", "size")

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.size = len(buffer)
        self.is_cut = False
        self.problems: list[Problem] = []
        self._seen: set[tuple[str, str]] = set()
        self._strings: dict[tuple[int, bool], str] = {}
        self._budget = self.size + _SPARE

    def note(self, where: str, what: str) -> None:
        """Keeps a problem, once; no more than `MAX_PROBLEMS` of them."""
        if (where, what) in self._seen or len(self.problems) > MAX_PROBLEMS:
            return
        if len(self.problems) == MAX_PROBLEMS:
            where, what = "minidump", "more is wrong than is told here"
        self._seen.add((where, what))
        self.problems.append(Problem(where, what))

    def held(self, rva: int, size: int, where: str) -> int:
        """How many of `size` bytes at `rva` the file has."""
        if rva + size <= self.size:
            return size
        self.is_cut = True
        self.note(where, f"{size} bytes at 0x{rva:x} go beyond the file's end")
        return max(0, self.size - rva)

    def bytes_at(self, rva: int, size: int, where: str) -> bytes:
        """Bytes of the file, cut to what it has and to what all strings may have."""
        size = self.afford(self.held(rva, size, where))
        return bytes(self.buffer[rva : rva + size])

    def afford(self, size: int) -> int:
        """How many of `size` bytes that RVAs lead to may be looked at; bounds the whole."""
        size = min(size, self._budget)
        self._budget -= size
        return size

    def string(self, rva: int, where: str) -> str:
        """The MINIDUMP_STRING at `rva`; the empty one for an RVA of 0."""
        return self._string(rva, where, wide=True)

    def utf8_string(self, rva: int, where: str) -> str:
        """The MinidumpUTF8String at `rva`; the empty one for an RVA of 0."""
        return self._string(rva, where, wide=False)

    def _string(self, rva: int, where: str, wide: bool) -> str:
        if not rva:
            return ""
        key = rva, wide
        if key not in self._strings:
            data = self._string_bytes(rva, where)
            self._strings[key] = (
                wide_text(data) if wide else data.decode("utf-8", "replace").partition("\0")[0]
            )
        return self._strings[key]

    def _string_bytes(self, rva: int, where: str) -> bytes:
        if rva + 4 > self.size:
            self.is_cut = True
            self.note(where, f"its string at 0x{rva:x} lies beyond the file's end")
            return b""
        length = int.from_bytes(self.buffer[rva : rva + 4], "little")
        if length > MAX_STRING:
            self.note(where, f"its string at 0x{rva:x} claims {length} bytes")
            length = MAX_STRING
        return self.bytes_at(rva + 4, length, where)
