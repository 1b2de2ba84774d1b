"""A dump while it is taken apart: what was found where, what is wrong, and how much more may be."""

from __future__ import annotations

from unspool.analyses.anatomy.node import Anatomy, Node, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.analyses.anatomy.leaves import Link
    from unspool.cursor import Buffer
    from unspool.formats.minidump.layout import Layout

# An honest dump's structures do not overlap, and the smallest that there are many of have some
# ten bytes. A lying one can have thousands of lists that share their bytes; what it may cost is
# bounded by its size, and at some hundred MB.
_LEAST_NODES, _NODES_PER_BYTE, _MOST_NODES = 1000, 0.25, 500_000
_LEAST_BYTES, _BYTES_PER_BYTE = 1 << 16, 2
_MOST_PROBLEMS = 200


class Survey:
    """`targets` and `flaws` are where a field leads to and what is wrong with it, by its offset."""

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.size = len(buffer)
        self.anatomy = Anatomy(self.size)
        self.nodes: list[Node] = []
        self.targets: dict[int, tuple[int, int]] = {}
        self.flaws: dict[int, str] = {}
        self.cpu: Layout | None = None
        self.architecture: int | None = None
        self.system: str | None = None
        self.thread_names: dict[int, str] = {}
        self.left_out = 0
        # Stacks without a place in the file; their bytes may be among the memory ranges.
        self.homeless: list[Link] = []
        self._found: dict[tuple[int, int, str], Node] = {}
        self._nodes = min(int(_LEAST_NODES + self.size * _NODES_PER_BYTE), _MOST_NODES)
        self._bytes = _LEAST_BYTES + self.size * _BYTES_PER_BYTE
        self._problems = 0

    # --- what is wrong ------------------------------------------------------------------

    def complain(self, problem: Problem) -> None:
        self._problems += 1
        if self._problems <= _MOST_PROBLEMS:
            self.anatomy.problems.append(problem)

    def flaw(self, field: int, where: str, what: str) -> None:
        """Something is wrong with the field at that offset."""
        self.flaws.setdefault(field, what)
        self.complain(Problem(where, what))

    def finish(self) -> None:
        """Says what the bounds have left out."""
        problems = self.anatomy.problems
        if self.left_out:
            what = f"{self.left_out:,} structures are left out: more than its size has room for"
            problems.append(Problem("the dump", what))
        if self._problems > _MOST_PROBLEMS:
            more = self._problems - _MOST_PROBLEMS
            problems.append(Problem("the dump", f"{more:,} more problems"))

    # --- what was found -----------------------------------------------------------------

    def spend(self, size: int) -> bool:
        """Whether one more structure of that size may be taken apart."""
        if self._nodes <= 0 or self._bytes < size:
            return False
        self._nodes -= 1
        self._bytes -= size
        return True

    def known(self, offset: int, size: int, type: str) -> Node | None:
        return self._found.get((offset, size, type))

    def add(self, node: Node, *, sized: bool = True) -> Node:
        """Takes a node that is nobody's child.

        It is `known` from now on; not `sized`, by a size of -1: what leads to it does not tell
        its size, or tells it wrong.
        """
        self._found[node.offset, node.size if sized else -1, node.type] = node
        self.nodes.append(node)
        return node

    def available(self, offset: int, size: int, where: str, field: int) -> int:
        """How many of these bytes the file has. It is the field's flaw if not all."""
        if offset + size <= self.size:
            return size
        have = max(self.size - offset, 0)
        claim = f"{size:,} bytes at 0x{offset:x}"
        if have:
            self.flaw(field, where, f"{claim}, of which the file has {have:,}")
        else:
            self.flaw(field, where, f"{claim} are beyond the file's end (0x{self.size:x})")
        return have

    def u32(self, offset: int) -> int:
        """The number at an offset that is known to lie in the file."""
        return int.from_bytes(self.buffer[offset : offset + 4], "little")

    def u64(self, offset: int) -> int:
        return int.from_bytes(self.buffer[offset : offset + 8], "little")

    def bytes(self, offset: int, size: int) -> bytes:
        return bytes(self.buffer[offset : offset + size])
