"""A wineserver's memory as its C structures lay it out, in any release and word size.

Offsets are those that a compiler gave for the sources of Wine 8.0 and 10.0.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

IMAGE, HEAP = 0x10000, 0x100000
SIZES = {8: {"object": 0x48, "wait": 0x48}, 4: {"object": 0x28, "wait": 0x38}}


@dataclass(frozen=True)
class Release:
    """Where a thread and a process have their fields."""

    name: str
    word: int
    thread: dict[str, int]
    process: dict[str, int]


RELEASES = (
    Release(
        "8.0, 64-bit", 8,
        {"size": 0x248, "process": 0x68, "id": 0x70, "mutexes": 0x78, "wait": 0x98,
         "pid": 0x1C8, "tid": 0x1CC, "teb": 0x1E0},
        {"size": 0x218, "handles": 0x80, "length": 0xE4, "image": 0xE8},
    ),
    Release(
        "8.0, 32-bit", 4,
        {"size": 0x1B4, "process": 0x38, "id": 0x3C, "mutexes": 0x40, "wait": 0x50,
         "pid": 0x150, "tid": 0x154, "teb": 0x164},
        {"size": 0x168, "handles": 0x44, "length": 0x98, "image": 0x9C},
    ),
    Release(
        "10.0, 64-bit", 8,
        {"size": 0x260, "process": 0x78, "id": 0x80, "mutexes": 0x88, "wait": 0xA8,
         "pid": 0x1D8, "tid": 0x1DC, "teb": 0x1F0},
        {"size": 0x230, "handles": 0x80, "length": 0xE4, "image": 0xE8},
    ),
    Release(
        "10.0, 32-bit", 4,
        {"size": 0x1C0, "process": 0x40, "id": 0x44, "mutexes": 0x48, "wait": 0x58,
         "pid": 0x158, "tid": 0x15C, "teb": 0x16C},
        {"size": 0x178, "handles": 0x44, "length": 0x98, "image": 0x9C},
    ),
)  # fmt: skip


@dataclass
class Server:
    """Takes things at growing addresses; `image` and `heap` are the bytes."""

    release: Release
    image: bytearray = field(default_factory=bytearray)
    heap: bytearray = field(default_factory=bytearray)
    operations: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.image += bytes(0x40)
        start, word = SIZES[self.word]["object"], self.word
        sizes = {
            "Mutant": start + 8 + 3 * word, "Event": start + 8 + 2 * word,
            "Semaphore": start + 8, "Thread": self.release.thread["size"],
            "Process": self.release.process["size"], "Directory": start + word,
            "DebugObject": start + 2 * word + 4,
        }  # fmt: skip
        for name, size in sizes.items():
            self.type(name, size)

    @property
    def word(self) -> int:
        return self.release.word

    def pointers(self, *values: int) -> bytes:
        return struct.pack(f"<{len(values)}{'Q' if self.word == 8 else 'I'}", *values)

    def type(self, name: str, size: int) -> None:
        text = name.encode("utf-16-le")
        string = self.place(self.image, text)
        described = self.place(self.image, self.pointers(string, len(text)) + bytes(0x28))
        words = self.pointers(size, described, IMAGE + 8, IMAGE + 8)
        self.operations[name] = self.place(self.image, words)

    def place(self, where: bytearray, data: bytes) -> int:
        where += bytes(-len(where) % 16)
        at = len(where) + (IMAGE if where is self.image else HEAP)
        where += data
        return at

    def put(self, address: int, data: bytes) -> None:
        self.heap[address - HEAP : address - HEAP + len(data)] = data

    def object(self, type_: str, size: int, references: int = 2, handles: int = 1) -> int:
        at = self.place(self.heap, bytes(size))
        self.put(at, struct.pack("<II", references, handles))
        queue = at + 8 + self.word
        self.put(at + 8, self.pointers(self.operations[type_], queue, queue))
        return at

    def named(self, address: int, name: str, parent: int = 0) -> None:
        text = name.encode("utf-16-le")
        words = self.pointers(0, 0, address, parent) + struct.pack("<I", len(text))
        self.put(address + 8 + 3 * self.word, self.pointers(self.place(self.heap, words + text)))

    def process(self, program: str) -> int:
        places = self.release.process
        at = self.object("Process", places["size"])
        path = f"\\??\\C:\\{program}".encode("utf-16-le")
        self.put(at + places["length"], struct.pack("<I", len(path)))
        self.put(at + places["image"], self.pointers(self.place(self.heap, path)))
        return at

    def thread(self, process: int, windows_tid: int, tid: int, teb: int) -> int:
        places = self.release.thread
        at = self.object("Thread", places["size"])
        self.put(at + places["process"], self.pointers(process))
        self.put(at + places["id"], struct.pack("<I", windows_tid))
        head = at + places["mutexes"]
        self.put(head, self.pointers(head, head))
        self.put(at + places["pid"], struct.pack("<II", 1000 + (process & 0xFFFF), tid))
        self.put(at + places["teb"], struct.pack("<Q", teb))
        return at

    def mutant(self, owner: int = 0, count: int = 0) -> int:
        start = SIZES[self.word]["object"]
        at = self.object("Mutant", start + 8 + 3 * self.word)
        entry = at + start + self.word + 8
        head = owner + self.release.thread["mutexes"] if owner else entry
        # One mutant for each thread: its list has this one entry.
        words = self.pointers(owner) + struct.pack("<Ii", count, 0) + self.pointers(head, head)
        self.put(at + start, words)
        if owner:
            self.put(head, self.pointers(entry, entry))
        return at

    def event(self, manual: int, signalled: int) -> int:
        start = SIZES[self.word]["object"]
        at = self.object("Event", start + 8 + 2 * self.word)
        self.put(at + start + 2 * self.word, struct.pack("<ii", manual, signalled))
        return at

    def wait(self, thread: int, objects: list[int], select: int = 1, timer: int = 0) -> int:
        size = SIZES[self.word]["wait"]
        at = self.place(self.heap, bytes(size + 4 * self.word * len(objects)))
        words = self.pointers(0, thread) + struct.pack("<iiii", len(objects), 0, 0, select)
        self.put(at, words + struct.pack("<QQq", 0, 0, 0) + self.pointers(timer))
        for index, each in enumerate(objects):
            entry = at + size + 4 * self.word * index
            self.put(entry + 2 * self.word, self.pointers(each, at))
        self.put(thread + self.release.thread["wait"], self.pointers(at))
        return at

    def debug(self, process: int, sender: int) -> int:
        """A process that is stopped for its debugger; the debug object."""
        start = SIZES[self.word]["object"]
        at = self.object("DebugObject", start + 2 * self.word + 8)
        event = self.object("Directory", start + 3 * self.word)
        self.put(event + start, self.pointers(0, 0, sender))
        self.put(
            process + self.release.process["handles"] - 2 * self.word, self.pointers(at, event)
        )
        return at

    def handles(self, process: int, objects: list[tuple[int, int]]) -> None:
        """A process's table: objects with access rights; handles count from 4 in fours."""
        start = SIZES[self.word]["object"]
        padding = bytes(4 if self.word == 8 else 0)
        entries = b"".join(
            self.pointers(each) + struct.pack("<I", access) + padding for each, access in objects
        )
        at = self.object("Directory", start + 2 * self.word + 16, references=1, handles=0)
        counts = struct.pack("<iii", len(objects), len(objects) - 1, 0) + padding
        where = self.place(self.heap, entries)
        self.put(at + start, self.pointers(process) + counts + self.pointers(where))
        self.put(process + self.release.process["handles"], self.pointers(at))
