"""Rows of fields and of bytes, for the text on what a minidump is made of."""

from __future__ import annotations

from unspool.render import words
from unspool.render.escape import printable
from unspool.render.names import clip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.analyses.anatomy import Anatomy, Node
    from unspool.cursor import Buffer
    from unspool.render.style import Style

# Shown by the field that leads to them.
STRINGS = ("MINIDUMP_STRING", "MinidumpUTF8String", "MinidumpByteArray")

# Bytes of a field in the annotated view: as many as leave room for its name in 80 columns.
BESIDE = 8
_ROW = 16
# How much of a long run of bytes or lines is shown if not all is asked for.
_FIRST_ROWS = 4
_FIRST_LINES = 12

# So many fields or structures in a row that are all zero share a line.
_RUN = 3

_NO_DIGITS = {ord(digit): None for digit in "0123456789"}

_NAME_WIDTH = 32
_TEXT_WIDTH = 120
_VALUE_WIDTH = 26


class Rows:
    """Makes lines of nodes. `whole` shows all bytes and lines of those that are long."""

    def __init__(self, anatomy: Anatomy, buffer: Buffer, style: Style, *, whole: bool) -> None:
        self.anatomy = anatomy
        self.buffer = buffer
        self.whole = whole
        self.paint = style.paint
        self.digits = max(4, len(f"{anatomy.size:x}"))
        # Ranges of a lying dump can share all its bytes.
        self._left = anatomy.size * 4 if whole else 0
        self._said: set[tuple[str, str]] = set()

    # --- fields in columns --------------------------------------------------------------

    def fields(self, nodes: Sequence[Node], parent: str, indent: str) -> Iterator[str]:
        """Fields as rows of offset, size, type, name, value and meaning.

        The meaning is said at the first structure of each kind: with a thousand threads, once.
        """
        types = max(len(node.type) for node in nodes)
        names = min(max(len(node.name) for node in nodes), _NAME_WIDTH)
        runs = list(self.runs(nodes))
        values = ["all zero" if len(run) > 1 else self.value(run[0]) for run in runs]
        width = min(max(map(len, values)), _VALUE_WIDTH)
        for run, value in zip(runs, values, strict=True):
            node, last = run[0], run[-1]
            size = last.end - node.offset
            place = f"{self.offset(node.offset)}  {size:>4}  {node.type:{types}}"
            name = printable(node.name) + (f" … {printable(last.name)}" if last is not node else "")
            name = self.paint("name", f"{name:{names}}")
            line = f"{indent}{self.paint('dim', place)}  {name}  {value}"
            meaning = self._meaning(node, parent)
            if meaning:
                line += " " * (width - len(value)) + "  " + self.paint("dim", meaning)
            yield line.rstrip() + self.problem(node)

    def runs(self, nodes: Sequence[Node]) -> Iterator[Sequence[Node]]:
        """Fields one by one, but for numbered ones that hold nothing, as Dr0 to Dr7: one row."""
        at = 0
        while at < len(nodes):
            end = at
            if not self.whole:
                while end < len(nodes) and self._is_empty(nodes[end], nodes[at]):
                    end += 1
            if end - at < _RUN:
                end = at + 1
            yield nodes[at:end]
            at = end

    def _is_empty(self, node: Node, first: Node) -> bool:
        return (
            node.type == first.type
            and node.problem is None
            and node.name.translate(_NO_DIGITS) == first.name.translate(_NO_DIGITS)
            and not self.has_content(node)
        )

    def has_content(self, node: Node) -> bool:
        """Whether there is anything but zeros."""
        return any(bytes(self.buffer[node.offset : node.end]))

    def value(self, node: Node) -> str:
        """A field's value for people, and where it leads."""
        value = self.short(node.value)
        if node.target is None:
            return value
        there = self.anatomy.at(node.target)
        if there is None:
            return value
        if there.type not in STRINGS:
            return f"{value} → {printable(there.name)}"
        return f"{value} → “{self.short(there.value)}”"

    def short(self, text: str) -> str:
        """A value of the dump in a line, cut if it is longer than any honest one."""
        return printable(text if self.whole else clip(text, _TEXT_WIDTH))

    def problem(self, node: Node) -> str:
        if node.problem is None:
            return ""
        return self.paint("warning", f"  ← {printable(node.problem)}")

    def offset(self, offset: int) -> str:
        return f"0x{offset:0{self.digits}x}"

    def _meaning(self, node: Node, parent: str) -> str:
        if node.has_children:
            return ""
        return self.once(parent, node.name, node.meaning)

    def once(self, type: str, name: str, meaning: str) -> str:
        """A meaning when it is first to be said of a type or of its field, else nothing."""
        if not meaning or (type, name) in self._said:
            return ""
        self._said.add((type, name))
        return printable(meaning)

    # --- lines of text --------------------------------------------------------------------

    def text(self, lines: Sequence[Node], indent: str) -> Iterator[str]:
        most = len(lines) if self.whole else _FIRST_LINES
        for line in lines[:most]:
            place = self.paint("dim", self.offset(line.offset))
            text = printable(line.value.expandtabs())
            yield f"{indent}{place}  {text}".rstrip() + self.problem(line)
        if len(lines) > most:
            more = words.count(len(lines) - most, "more line")
            yield indent + self.paint("dim", f"… {more}; --all shows them")

    # --- bytes ----------------------------------------------------------------------------

    def dump(self, node: Node, indent: str) -> Iterator[str]:
        """Bytes without fields, sixteen a row, with their addresses in the process if known."""
        rows = -(-node.size // _ROW)
        most = rows if self.whole and self._left > 0 else min(rows, _FIRST_ROWS)
        self._left -= node.size
        for start in range(node.offset, node.offset + most * _ROW, _ROW):
            data = bytes(self.buffer[start : min(start + _ROW, node.end)])
            place = self.offset(start)
            if node.address is not None:
                place += f"  {node.address + start - node.offset:016x}"
            yield f"{indent}{self.paint('dim', place)}  {data.hex(' '):47}  {_characters(data)}"
        yield from self._rest(node.size - most * _ROW, indent)

    def beside(self, node: Node, indent: str) -> Iterator[str]:
        """A field's bytes, eight a row, with its name and value beside the first row."""
        label = f"{self.paint('name', printable(node.name))}  {self.value(node)}".rstrip()
        label += self.problem(node)
        rows = -(-node.size // BESIDE)
        most = rows if self.whole else min(rows, _FIRST_ROWS)
        for start in range(node.offset, node.offset + most * BESIDE, BESIDE):
            data = bytes(self.buffer[start : min(start + BESIDE, node.end)])
            place = self.paint("dim", self.offset(start))
            yield f"{place}  {data.hex(' '):23}  {indent}{label}".rstrip()
            label = ""
        yield from self._rest(node.size - most * BESIDE, " " * (self.digits + 4))

    def zeros(self, run: Sequence[Node], indent: str) -> Iterator[str]:
        """Several fields or structures that hold nothing, in one row."""
        size = f"00 … ({words.count(run[-1].end - run[0].offset, 'byte')})"
        name = f"{printable(run[0].name)} … {printable(run[-1].name)}"
        place = self.paint("dim", self.offset(run[0].offset))
        yield f"{place}  {size:{3 * BESIDE - 1}}  {indent}{self.paint('name', name)}  all zero"

    @property
    def margin(self) -> str:
        """Room for an offset and the bytes beside a name."""
        return " " * (self.digits + 2 + 2 + 3 * BESIDE + 1)

    def _rest(self, size: int, indent: str) -> Iterator[str]:
        if size > 0:
            more = words.count(size, "more byte")
            yield indent + self.paint("dim", f"… {more}; --all shows them")


def _characters(data: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
