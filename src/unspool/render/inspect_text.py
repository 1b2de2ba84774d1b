"""What a minidump is made of, as text for people.

    name: minidump of 27,549 bytes, …
    a table of its streams: number, type, place, size, what each holds
    what is wrong with it

    then stream by stream its structures, field by field, and what they point to; or, as an
    annotated hex view, the whole file by offset with the fields' names beside their bytes

Everything that comes from the dump goes through `printable`.
"""

from __future__ import annotations

from unspool.render import words
from unspool.render.escape import printable
from unspool.render.inspect_rows import STRINGS, Rows
from unspool.render.style import Style

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.analyses.anatomy import Anatomy, Node, StreamEntry
    from unspool.cursor import Buffer

# Of a long list of simple structures so many are shown field by field, if not all is asked for.
_FIRST_ENTRIES = 16
# Structures that are one thing to people: a line of name and value.
_COMPACT = ("Elf32_auxv_t", "Elf64_auxv_t")
_UNEXPLAINED = ("gap", "omitted")


def lines(
    anatomy: Anatomy,
    buffer: Buffer,
    *,
    name: str,
    nodes: Sequence[Node] | None = None,
    style: Style | None = None,
    hexadecimal: bool = False,
    whole: bool = False,
    summary: bool = False,
) -> Iterator[str]:
    """The lines, without line ends.

    `nodes` are those to show, without the overview; None is the whole dump. `hexadecimal`
    shows bytes with the fields beside them, by offset. `whole` shows all of what is long:
    memory, text. `summary` is the overview alone.
    """
    style = style or Style()
    text = _Text(anatomy, buffer, style, whole)
    if nodes is not None and not nodes:
        parts = iter(["nothing: the dump has no bytes of that"])
    elif nodes is not None:
        parts = text.by_offset(nodes) if hexadecimal else text.sections(nodes)
    else:
        parts = text.everything(name, hexadecimal, summary)
    return map(style.fit, parts) if style.ascii else parts


class _Text:
    """One rendering of an anatomy."""

    def __init__(self, anatomy: Anatomy, buffer: Buffer, style: Style, whole: bool) -> None:
        self.anatomy = anatomy
        self.paint = style.paint
        self.rows = Rows(anatomy, buffer, style, whole=whole)
        self._shown: set[int] = set()
        # They have sections of their own.
        self._bodies = {id(entry.node) for entry in anatomy.streams}

    def everything(self, name: str, hexadecimal: bool, summary: bool) -> Iterator[str]:
        yield from self.overview(name)
        if summary:
            return
        yield ""
        nodes = self.anatomy.nodes
        if hexadecimal:
            yield from self.by_offset(nodes)
            return
        bodies = [entry.node for entry in self.anatomy.streams if entry.node is not None]
        # The directory is the table above.
        first = [node for node in nodes if node.name == "header"]
        rest = [node for node in nodes if node.type in _UNEXPLAINED]
        yield from self.sections([*first, *bodies, *rest])

    # --- the overview -----------------------------------------------------------------

    def overview(self, name: str) -> Iterator[str]:
        anatomy = self.anatomy
        size = words.count(anatomy.size, "byte")
        streams = words.count(len(anatomy.streams), "stream")
        yield f"{self.paint('title', printable(name))}: minidump of {size}, {streams}"
        if anatomy.facts:
            yield ", ".join(map(printable, anatomy.facts))
        yield ""
        yield from self.streams()
        yield from self.problems()

    def streams(self) -> Iterator[str]:
        entries = self.anatomy.streams
        width = max((len(printable(entry.name)) for entry in entries), default=0)
        places = max((len(self.rows.offset(entry.offset)) for entry in entries), default=0)
        head = f"{'#':>3}  {'stream':{width}}  {'type':>10}  {'offset':>{places}}  {'size':>9}"
        yield self.paint("dim", f"{head}  holds")
        for entry in entries:
            yield self.stream(entry, width, places)

    def stream(self, entry: StreamEntry, width: int, places: int) -> str:
        number = f"0x{entry.number:x}" if entry.number > 0xFFFF else str(entry.number)
        name = self.paint("name", f"{printable(entry.name):{width}}")
        place = self.rows.offset(entry.offset) if entry.size else ""
        size = f"{entry.size:,}" if entry.size else ""
        line = f"{entry.index:>3}  {name}  {number:>10}  {place:>{places}}  {size:>9}"
        return f"{line}  {printable(entry.holds)}".rstrip()

    def problems(self) -> Iterator[str]:
        problems = self.anatomy.problems
        if not problems:
            return
        yield ""
        yield self.paint("warning", f"{words.count(len(problems), 'problem')}:")
        for problem in problems:
            yield f"  {printable(problem.where)}: {printable(problem.what)}"

    # --- by structure -----------------------------------------------------------------

    def sections(self, nodes: Sequence[Node]) -> Iterator[str]:
        """Nodes and, after each structure in them, what it points to."""
        first = True
        for node in nodes:
            if id(node) in self._shown:
                continue
            if not first:
                yield ""
            first = False
            yield from self.section(node, "", [])

    def section(self, node: Node, indent: str, waiting: list[Node]) -> Iterator[str]:
        """A node of the anatomy; what it points to follows, and what that points to."""
        self._shown.add(id(node))
        yield self.title(node, indent, top=True)
        yield from self.body(node, indent + "  ", waiting)
        yield from self.referenced(waiting, indent + "  ")

    def referenced(self, waiting: list[Node], indent: str) -> Iterator[str]:
        for node in waiting:  # which what they point to is added to
            if id(node) not in self._shown:
                self._shown.add(id(node))
                yield self.title(node, indent, top=True)
                yield from self.body(node, indent + "  ", waiting)
        waiting.clear()

    def title(self, node: Node, indent: str, *, top: bool = False) -> str:
        place = f"at {self.rows.offset(node.offset)}, " if top else ""
        size = words.count(node.size, "byte")
        line = f"{indent}{self.paint('title', printable(node.name))}  "
        kind = f"{node.type}, " if node.type != node.name else ""
        line += self.paint("dim", f"{kind}{place}{size}")
        if node.value:
            line += f": {self.rows.short(node.value)}"
        # What memory is shared with differs from range to range.
        word = node.name if node.type == "memory" else ""
        meaning = self.rows.once(node.type, word, node.meaning) if top else ""
        if meaning:
            line += self.paint("dim", f"  ({meaning})")
        return line + self.rows.problem(node)

    def body(self, node: Node, indent: str, waiting: list[Node]) -> Iterator[str]:
        if not node.has_children:
            yield from self.rows.dump(node, indent)
            return
        children = node.children
        if node.type == "text":
            yield from self.rows.text(children, indent)
            return
        at = 0
        while at < len(children):
            end = self.leaves_end(children, at)
            if end > at:
                yield from self.rows.fields(children[at:end], node.type, indent)
                self.wait_for(children[at:end], waiting)
            elif children[at].type in _COMPACT:
                end = self.end_of(children, at)
                yield from self.rows.fields(children[at:end], node.type, indent)
            elif at > _FIRST_ENTRIES and self.is_entry(children[at]):
                end = at + 1
                yield self.entry(children[at], indent)
            else:
                end = self.end_of(children, at)
                yield from self.structures(children[at:end], indent, waiting)
            at = end

    def leaves_end(self, nodes: Sequence[Node], start: int) -> int:
        """The end of a run of fields."""
        end = start
        while end < len(nodes) and not nodes[end].has_children:
            end += 1
        return end

    def is_entry(self, node: Node) -> bool:
        """Whether an entry of a long list is told in a line: its value says what it is."""
        if self.rows.whole or not node.value or node.problem is not None:
            return False
        return not any(child.target or child.has_children for child in node.children)

    def entry(self, node: Node, indent: str) -> str:
        place = self.paint("dim", self.rows.offset(node.offset))
        name = self.paint("title", printable(node.name))
        return f"{indent}{place}  {name}  {self.rows.short(node.value)}"

    def end_of(self, nodes: Sequence[Node], start: int) -> int:
        """The end of a run that is shown alike: of compact nodes, or of those without content."""
        end = start + 1
        first = nodes[start]
        compact = first.type in _COMPACT
        if compact or (not self.rows.whole and not self.rows.has_content(first)):
            while end < len(nodes) and nodes[end].type == first.type:
                if not compact and self.rows.has_content(nodes[end]):
                    break
                end += 1
        return end

    def structures(self, nodes: Sequence[Node], indent: str, waiting: list[Node]) -> Iterator[str]:
        first = nodes[0]
        if len(nodes) == 1 and (self.rows.whole or self.rows.has_content(first)):
            yield from self.structure(first, indent, waiting)
            return
        name = printable(first.name) + (f" … {printable(nodes[-1].name)}" if nodes[1:] else "")
        size = words.count(nodes[-1].end - first.offset, "byte")
        place = self.paint("dim", f"{first.type}, {size}")
        yield f"{indent}{self.paint('title', name)}  {place}: all zero"

    def structure(self, node: Node, indent: str, waiting: list[Node]) -> Iterator[str]:
        yield self.title(node, indent)
        if not node.name.endswith("]"):
            yield from self.body(node, indent + "  ", waiting)
            return
        # What an entry of a list points to is shown below the entry.
        own: list[Node] = []
        yield from self.body(node, indent + "  ", own)
        yield from self.referenced(own, indent + "  ")

    def wait_for(self, fields: Sequence[Node], waiting: list[Node]) -> None:
        for field in fields:
            node = self.anatomy.at(field.target)
            if node is not None and self.is_below(node):
                waiting.append(node)

    def is_below(self, node: Node) -> bool:
        """Whether a node is shown below a field that leads to it."""
        return (
            node.type not in STRINGS
            and node.name != "directory"
            and id(node) not in self._bodies
            and id(node) not in self._shown
        )

    # --- by offset --------------------------------------------------------------------

    def by_offset(self, nodes: Sequence[Node]) -> Iterator[str]:
        """The annotated hex view."""
        for number, node in enumerate(nodes):
            if number:
                yield ""
            yield self.title(node, "", top=True)
            if node.has_children:
                yield from self.annotated(node, "")
            else:
                yield from self.rows.dump(node, "")

    def annotated(self, node: Node, indent: str) -> Iterator[str]:
        children = node.children
        at = 0
        while at < len(children):
            end = self.leaves_end(children, at)
            for run in self.rows.runs(children[at:end]):
                if len(run) > 1:
                    yield from self.rows.zeros(run, indent)
                else:
                    yield from self.rows.beside(run[0], indent)
            if end == at:
                end = at + 1 if children[at].value else self.end_of(children, at)
                if end - at > 1:
                    yield from self.rows.zeros(children[at:end], indent)
                else:
                    yield from self.annotated_structure(children[at], indent)
            at = end

    def annotated_structure(self, node: Node, indent: str) -> Iterator[str]:
        value = f"  {self.rows.short(node.value)}" if node.value else ""
        name = self.paint("title", printable(node.name))
        yield f"{self.rows.margin}{indent}{name}{value}{self.rows.problem(node)}"
        yield from self.annotated(node, indent + "  ")
