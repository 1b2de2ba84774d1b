"""What every object of wineserver has: its type, its name, and where all of a type are.

No symbols are needed: an object points at its operations, these at a description of its type,
and that at the type's name in UTF-16, "Mutant". So the types are found by their names in
the program's file, and objects by the addresses of their operations in the server's memory.
Layouts: Wine's server/object.h, the same from 6.12 to 10.10. Newer servers, whose events and
mutexes are kept elsewhere, are refused by the sizes that the operations state.
"""

from __future__ import annotations

from itertools import islice
from struct import Struct

from unspool.memory import Fault
from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.memory import Memory

_MOST_OBJECTS = 1 << 17
_MOST_REFERENCES = 1 << 24
_MOST_SIZE = 0x1000
# Bytes of its program, and bytes that are searched in all: a server's own are a few megabytes.
_MOST_IMAGE, _MOST_SCANNED = 64 << 20, 512 << 20
_MOST_NAME = 2048
_MOST_DEPTH = 32
_MOST_NAMESAKES = 64  # places where a type's name is, in other strings too


class UnknownServerError(Exception):
    """This wineserver cannot be read: why."""


class Layout:
    """Words of a server of 4 or 8 bytes' pointers.

    `header` is of an object: references, handles, operations, the queue of those that wait for it
    (two links), name. `name`: two links, the object, its parent, the length in bytes.
    """

    def __init__(self, word: int) -> None:
        p = "Q" if word == 8 else "I"
        self.word = word
        self.pointer = Struct(f"<{p}")
        self.header = Struct(f"<II{p * 4}")
        self.queue = 8 + word
        self.name = Struct(f"<{p * 4}I")
        self.text = Struct(f"<{p}I")  # a string: where, how many bytes
        # next, thread, count, flags, abandoned, what for, key, cookie, until, timer, status
        self.wait = Struct(f"<{p}{p}iiiiQQq{p}i" + ("4x" if word == 8 else ""))
        self.entry = Struct(f"<{p * 4}")  # of its queues: two links, the object, the wait
        self.mutex = Struct(f"<{p}Ii{p}{p}")  # owner, count, abandoned, two links
        self.event = Struct(f"<{p}{p}ii")  # two links, manual reset, signalled
        self.semaphore = Struct("<II")  # count, most
        # process, count, last, free, entries; an entry: the object, access rights
        self.table = Struct(f"<{p}iii" + (f"4x{p}" if word == 8 else p))
        self.handle = Struct(f"<{p}I" + ("4x" if word == 8 else ""))


_LAYOUTS = {4: Layout(4), 8: Layout(8)}


class ServerObject(Record):
    """An object: its address there, its type ("Mutant"; "" if it has no name) and full name."""

    __slots__ = ("address", "name", "size", "type")

    def __init__(self, address: int, type_: str, size: int, name: str | None) -> None:
        self.address = address
        self.type = type_
        self.size = size
        self.name = name


class Objects:
    """The objects in a server's memory. `image` is where its program is, from start to end.

    Raises `UnknownServerError` if these are not the objects of a wineserver as it is known here.
    """

    def __init__(self, memory: Memory, word: int, image: tuple[int, int]) -> None:
        self.memory = memory
        self.layout = _LAYOUTS[word]
        self.image = image[0], min(image[1], image[0] + _MOST_IMAGE)
        self._room = _MOST_SCANNED
        self._types: dict[int, tuple[str, int]] = {}
        sizes = [self.operations(name) for name in ("Mutant", "Event", "Semaphore")]
        if any(len(each) != 1 for each in sizes):
            raise UnknownServerError(
                "the types of its objects were not found; its program's file is needed for that"
            )
        mutex, event, semaphore = (next(iter(each.values())) for each in sizes)
        # What all have comes first: it ends where a semaphore's two counts begin.
        self.start = semaphore - self.layout.semaphore.size
        wanted = self.start + self.layout.mutex.size, self.start + self.layout.event.size
        if (mutex, event) != wanted or self.start < self.layout.header.size:
            raise UnknownServerError(
                f"its objects are laid out in an unknown way: a mutex of {mutex} bytes, "
                f"an event of {event}, a semaphore of {semaphore}"
            )

    def operations(self, name: str) -> dict[int, int]:
        """The operations of the types of a name: their addresses, and their objects' sizes."""
        found = {}
        text = name.encode("utf-16-le")
        for start in islice(self._find(text, 2, *self.image), _MOST_NAMESAKES):
            string = self.layout.text.pack(start, len(text))
            for described in self._find(string, self.layout.word, *self.image):
                pointer = self.layout.pointer.pack(described)
                for used in self._find(pointer, self.layout.word, *self.image):
                    at = used - self.layout.word
                    size = self.word(at) or 0
                    dump = self.word(used + self.layout.word) or 0
                    if 8 < size <= _MOST_SIZE and self.image[0] <= dump < self.image[1]:
                        found[at] = size
        return found

    def of(self, operations: int) -> Iterator[int]:
        """The addresses of all objects with these operations."""
        pointer = self.layout.pointer.pack(operations)
        found = self._find(pointer, self.layout.word, 0, 1 << 64, written=True)
        for count, used in enumerate(found):
            if self.is_object(used - 8):
                yield used - 8
            if count >= _MOST_OBJECTS:
                return

    def is_object(self, address: int) -> bool:
        """Whether the header of an object is there: its counts make sense, and its queue closes."""
        layout = self.layout
        try:
            header = layout.header.unpack(self.memory.read(address, layout.header.size))
            references, handles, _, following, before, _ = header
            if not 0 < references < _MOST_REFERENCES or handles > references:
                return False
            return self.is_list(address + layout.queue, following, before)
        except Fault:
            return False

    def is_list(self, head: int, following: int, before: int) -> bool:
        """Whether both links of a list's entry lead to entries that lead back. Raises `Fault`."""
        word = self.layout.word
        back = self.memory.read_uint(following + word, word)
        return back == head and self.memory.read_uint(before, word) == head

    def describe(self, address: int) -> ServerObject | None:
        """What is at an address; None if no object is there."""
        operations = self.word(address + 8)
        if operations is None or not self.is_object(address):
            return None
        known = self._type(operations)
        return None if known is None else ServerObject(address, *known, self._name(address))

    def _type(self, operations: int) -> tuple[str, int] | None:
        if operations not in self._types:
            word = self.layout.word
            size, described = self.word(operations), self.word(operations + word)
            inside = self.image[0] <= operations < self.image[1]
            if size is None or described is None or not inside or size > _MOST_SIZE:
                return None
            self._types[operations] = self._text(described) or "", size
        return self._types[operations]

    def _text(self, at: int) -> str | None:
        try:
            text = self.layout.text.unpack(self.memory.read(at, self.layout.text.size))
            return self.decode(*text)
        except Fault:
            return None

    def decode(self, start: int, size: int) -> str | None:
        """A string of `size` bytes in UTF-16, None if it is none. Raises `Fault`."""
        if not start or not 0 < size <= _MOST_NAME or size % 2:
            return None
        try:
            text = self.memory.read(start, size).decode("utf-16-le")
        except UnicodeDecodeError:
            return None
        return text if text.isprintable() else None

    def _name(self, address: int) -> str | None:
        """The full name, as `\\Sessions\\1\\BaseNamedObjects\\name`; None if it has none."""
        parts: list[str] = []
        layout = self.layout
        at: int | None = address
        while at and len(parts) < _MOST_DEPTH:
            name = self.word(at + layout.queue + 2 * layout.word)
            if not name:
                break
            try:
                data = self.memory.read(name, layout.name.size)
                _, _, owner, parent, size = layout.name.unpack(data)
                text = self.decode(name + layout.name.size, size)
            except Fault:
                return None
            if owner != at or text is None:
                return None
            parts.append(text)
            at = parent
        return "\\" + "\\".join(reversed(parts)) if parts else None

    def word(self, address: int) -> int | None:
        """The pointer at an address, None if nothing is there."""
        return self.memory.maybe_uint(address, self.layout.word)

    def _find(
        self, wanted: bytes, step: int, low: int, high: int, *, written: bool = False
    ) -> Iterator[int]:
        """Where bytes are, at addresses that are multiples of `step`; `written`: in data alone."""
        import re

        pattern = re.compile(re.escape(wanted))
        for start, region, view in self.memory.pieces(low, high):
            if written and not region.writable:
                continue
            data = view[: max(self._room, 0)]
            self._room -= len(data)
            for match in pattern.finditer(data):
                if (start + match.start()) % step == 0:
                    yield start + match.start()
