"""A perf map, /tmp/perf-PID.map: one line for each piece of code that a runtime has made.

A line is the code's address and its size, both hexadecimal, and the rest is its name, with
whatever spaces that has (linux/tools/perf/Documentation/jit-interface.txt). There is no header
and no escaping. Runtimes append, so a later line is about newer code.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer

_LIMIT = 1 << 64
_MAX_NAME = 1 << 12


class PerfMap:
    """The lines of a map, in their order: code at `[starts[i], ends[i])` has the name `name(i)`.

    `skipped` counts lines that are none: a line that was cut, a name with a line feed in it.
    """

    __slots__ = ("_names", "ends", "skipped", "starts")

    def __init__(self, data: Buffer) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self._names: list[bytes] = []
        self.skipped = 0
        # A million lines take 0.4 s here, and this loop is all of it.
        start_of, end_of, name_of = self.starts.append, self.ends.append, self._names.append
        for line in bytes(data).split(b"\n"):
            parts = line.split(b" ", 2)
            try:
                start, size = int(parts[0], 16), int(parts[1], 16)
                name = parts[2]
            except (ValueError, IndexError):
                self.skipped += bool(line)
                continue
            if 0 < size < _LIMIT and 0 <= start < _LIMIT - size:
                start_of(start)
                end_of(start + size)
                name_of(name)
            else:
                self.skipped += 1

    def __len__(self) -> int:
        return len(self.starts)

    def name(self, index: int) -> str:
        """A line's name; undecodable bytes are replaced."""
        name = self._names[index][:_MAX_NAME]
        return name.rstrip(b"\r").decode("utf-8", "replace")
