"""Who waits for whom as a picture: for Graphviz, and as SVG of our own.

Arrows go from a thread to the lock that it waits for, and from a lock to the thread that holds
it. In the SVG each deadlock is a chain of rows that closes at the top; everything else is a table
of waiters, lock, holder.
"""

from __future__ import annotations

from unspool.analyses.locks.verdicts import (
    ENDS,
    WORDS,
    gone_name,
    held_by,
    key_name,
    lock_name,
    place,
)
from unspool.render.escape import printable
from unspool.render.names import short_function
from unspool.render.words import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.analyses.locks.records import Deadlock, Lock, LockReport, ThreadKey, Wait

    Point = tuple[float, float]

_BOX, _HIGH, _ROW, _MARGIN = 250, 40, 56, 30
# What fits into a box of wide letters.
_MOST_LETTERS = 31
# Longer chains nobody could see at once.
_MOST_DRAWN = 400
_MOST_ROWS = 40
_DASHES = ' stroke-dasharray="5 4"'


def dot(report: LockReport) -> Iterator[str]:
    """The graph in Graphviz's language. Deadlocks are red, what is only possible is dashed."""
    chained, edges = _chained(report)
    yield "digraph locks {\n  rankdir=LR;\n  node [fontname=sans, fontsize=10];\n"
    names = _Names(report)
    keys: dict[ThreadKey, None] = {}
    for wait in report.waits:
        keys[wait.key] = None
    for lock in report.locks:
        keys.update((holder.key, None) for holder in lock.holders)
    for key in keys:
        color = ', color="#c0392b", penwidth=2' if key in chained else ""
        label = _quoted(names.thread(key))
        yield f"  {_node(key)} [shape=box, style=rounded, label={label}{color}];\n"
    for number in range(len(report.locks)):
        label = _quoted(_lock_label(report, number))
        yield f"  lock{number} [shape=ellipse, label={label}];\n"
    for index, wait in enumerate(report.waits):
        color = ' [color="#c0392b"]' if index in edges else ""
        yield f"  {_node(wait.key)} -> lock{wait.lock}{color};\n"
    for number, lock in enumerate(report.locks):
        for holder in lock.holders:
            style = "solid" if holder.certain else "dashed"
            yield f"  lock{number} -> {_node(holder.key)} [style={style}];\n"
        if lock.gone is not None:
            label = _quoted("\n".join(_gone(lock)))
            yield f"  gone{number} [shape=box, style=dotted, label={label}];\n"
            yield f"  lock{number} -> gone{number};\n"
    yield "}\n"


def svg(report: LockReport) -> Iterator[str]:
    """The picture as one SVG document, without scripts, fonts or links."""
    drawing = _Drawing(report)
    drawing.draw()
    width, height = drawing.width + _MARGIN, drawing.y + _MARGIN
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="12">\n'
        '<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>\n'
        '<rect width="100%" height="100%" fill="#fff"/>\n'
    )
    yield from drawing.arrows
    yield from drawing.shapes
    yield "</svg>\n"


class _Drawing:
    """Shapes above arrows, from the top down: `y` is where the next thing begins."""

    def __init__(self, report: LockReport) -> None:
        self.report = report
        self.names = _Names(report)
        self.arrows: list[str] = []
        self.shapes: list[str] = []
        self.y = float(_MARGIN)
        self.width = 3 * _BOX + 200.0

    def draw(self) -> None:
        report = self.report
        chained = [deadlock for deadlock in report.deadlocks if deadlock.chain]
        for number, deadlock in enumerate(chained, 1):
            word = "Deadlock" if deadlock.certain else "Possible deadlock"
            self.title(f"{word} {number}: {count(len(deadlock.chain), 'thread')}")
            if len(deadlock.chain) <= _MOST_DRAWN:
                self.chain(deadlock)
            if deadlock.behind:
                self.title("Behind it")
                self.table([report.waits[index] for index in deadlock.behind])
        stuck = {
            report.waits[index].key
            for each in report.deadlocks
            for index in (*each.chain, *each.behind)
        }
        free = [wait for wait in report.waits if wait.key not in stuck]
        if free:
            self.title("Waits that are in no deadlock")
            self.table(free)
        if not report.waits:
            self.title("No thread waits for a lock")

    def title(self, text: str) -> None:
        self.y += 22
        self.shapes.append(
            f'<text x="{_MARGIN}" y="{self.y:.0f}" font-size="15" font-weight="bold">'
            f"{_xml(text)}</text>\n"
        )
        self.y += 14

    def chain(self, deadlock: Deadlock) -> None:
        """A row for each thread and its lock, which the next row's thread holds; and back."""
        left, right = _MARGIN + _BOX / 2, _MARGIN + 1.5 * _BOX + 150
        top = self.y + _HIGH + 20
        chain = [self.report.waits[number] for number in deadlock.chain]
        words, dashes = "", ""
        for index, wait in enumerate(chain):
            y = top + index * _ROW * 1.5
            words, dashes = self.link(wait, chain[(index + 1) % len(chain)])
            self.arrow((left, y), (right, y), "waits for")
            if index + 1 < len(deadlock.chain):
                self.arrow((right, y), (left, y + _ROW * 1.5), words, dashes)
            self.thread((left, y), wait.key, "#fdecea", "#c0392b")
            self.lock((right, y), wait.lock)
        last = top + (len(deadlock.chain) - 1) * _ROW * 1.5
        edge, above = right + _BOX / 2, top - _HIGH
        self.arrows.append(
            f'<path d="M{edge:.0f} {last:.0f}h40V{above:.0f}H{left:.0f}V{top - _HIGH / 2:.0f}" '
            f'stroke="#c0392b" stroke-width="2" fill="none" marker-end="url(#a)"{dashes}/>\n'
            f'<text x="{(left + edge) / 2:.0f}" y="{above - 5:.0f}" text-anchor="middle" '
            f'fill="#c0392b" font-size="11">{words}</text>\n'
        )
        self.y = last + _HIGH
        self.width = max(self.width, edge + 60)

    def link(self, wait: Wait, after: Wait) -> tuple[str, str]:
        """How a thread's lock is up to the next one: in words, and in dashes if that may be."""
        lock = self.report.locks[wait.lock]
        certain = any(each.certain for each in lock.holders if each.key == after.key)
        return held_by(lock, certain=certain), "" if certain else _DASHES

    def table(self, waits: Sequence[Wait]) -> None:
        """A row for each lock: its waiters to the left, its holder to the right."""
        groups: dict[int, list[Wait]] = {}
        for wait in waits:
            groups.setdefault(wait.lock, []).append(wait)
        left, middle, right = (_MARGIN + _BOX / 2 + i * (_BOX + 90) for i in range(3))
        for number, group in groups.items():
            shown = group[:_MOST_ROWS]
            top = self.y + _HIGH
            center = (middle, top + (len(shown) - 1) * _ROW / 2)
            for index, wait in enumerate(shown):
                place = (left, top + index * _ROW)
                self.arrow(place, center, "")
                self.thread(place, wait.key, "#eef4fb", "#2c6fad")
            lock, beside = self.report.locks[number], (right, center[1])
            for holder in [each for each in lock.holders if each.certain or each.guess == 1][:1]:
                words = "" if lock.kind in ENDS else held_by(lock, certain=holder.certain)
                self.arrow(center, beside, words, "" if holder.certain else _DASHES)
                self.thread(beside, holder.key, "#eaf6ec", "#2e8b57")
            if lock.gone is not None:
                self.arrow(center, beside, held_by(lock, certain=True))
                self.box(beside, "#eee", "#888", 8, _gone(lock))
            self.lock(center, number)
            self.y = top + len(shown) * _ROW - _HIGH / 2
            if len(group) > len(shown):
                self.y += 16
                text = f"and {len(group) - len(shown):,} more threads"
                self.shapes.append(f'<text x="{_MARGIN}" y="{self.y:.0f}">{text}</text>\n')
        self.width = max(self.width, right + _BOX / 2)

    def thread(self, at: Point, key: ThreadKey, fill: str, line: str) -> None:
        self.box(at, fill, line, 8, self.names.thread(key).split("\n"))

    def lock(self, at: Point, number: int) -> None:
        self.box(at, "#fff8e1", "#b8860b", _HIGH / 2, _lock_label(self.report, number).split("\n"))

    def box(self, at: Point, fill: str, line: str, radius: float, texts: Sequence[str]) -> None:
        x, y = at[0] - _BOX / 2, at[1] - _HIGH / 2
        self.shapes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{_BOX}" height="{_HIGH}" rx="{radius:.0f}" '
            f'fill="{fill}" stroke="{line}" stroke-width="1.5"/>\n'
        )
        first = at[1] + 4 - 8 * (len(texts) - 1)
        for index, text in enumerate(texts):
            self.shapes.append(
                f'<text x="{at[0]:.1f}" y="{first + 16 * index:.1f}" text-anchor="middle">'
                f"{_label(text)}</text>\n"
            )

    def arrow(self, start: Point, end: Point, text: str, dashes: str = "") -> None:
        """From a box's border to another one's."""
        begin, tip = _border(start, end), _border(end, start)
        self.arrows.append(
            f'<path d="M{begin[0]:.1f} {begin[1]:.1f}L{tip[0]:.1f} {tip[1]:.1f}" stroke="#555" '
            f'stroke-width="1.5" fill="none" marker-end="url(#a)"{dashes}/>\n'
        )
        if text and abs(tip[0] - begin[0]) + abs(tip[1] - begin[1]) > 60:
            x, y = (begin[0] + tip[0]) / 2, (begin[1] + tip[1]) / 2
            self.arrows.append(
                f'<text x="{x:.1f}" y="{y - 5:.1f}" text-anchor="middle" fill="#555" '
                f'font-size="11">{text}</text>\n'
            )


def _gone(lock: Lock) -> list[str]:
    """A lock's owner that is not there, in two lines."""
    return [gone_name(lock), "is no thread of the process"]


def _border(center: Point, other: Point) -> Point:
    """Where the line from a box's centre to another point leaves the box."""
    x, y = other[0] - center[0], other[1] - center[1]
    if not x and not y:
        return center
    scale = min(_BOX / 2 / abs(x) if x else 1e9, _HIGH / 2 / abs(y) if y else 1e9)
    return center[0] + x * scale, center[1] + y * scale


def _chained(report: LockReport) -> tuple[set[ThreadKey], set[int]]:
    indexes = {index for each in report.deadlocks for index in each.chain}
    return {report.waits[index].key for index in indexes}, indexes


def _node(key: ThreadKey) -> str:
    return f"thread{key[0]}_{key[1]}"


class _Names:
    """Threads in two lines: the id, and the function of the program that waits."""

    def __init__(self, report: LockReport) -> None:
        self.report = report
        self.waits = {wait.key: wait for wait in report.waits}

    def thread(self, key: ThreadKey) -> str:
        party = self.report.parties[key[0]]
        stack = party.stack(key[1])
        where = stack.name or ""
        wait = self.waits.get(key)
        if wait is not None and wait.frame < len(stack.frames):
            known = party.report.location(stack, wait.frame)
            if known is not None and known.function:
                where = place(self.report, *key, wait.frame, short_function).partition(",")[0]
        name = printable(key_name(self.report, *key))
        return f"{name}\n{printable(where)}" if where else name


def _lock_label(report: LockReport, number: int) -> str:
    lock = report.locks[number]
    name = lock.shared or lock.name
    if lock.kind in ENDS or not name:
        return printable(lock_name(report, number))
    words = WORDS.get(lock.kind, lock.kind)
    if lock.address is not None:
        words += f" 0x{lock.address:x}"
    return f"{words}\n{printable(name)}"


def _label(text: str) -> str:
    """A text that fits into a box; what it is cut from is shown by pointing at it."""
    if len(text) <= _MOST_LETTERS:
        return _xml(text)
    head = _MOST_LETTERS * 3 // 5
    short = f"{text[:head]}…{text[head + 1 - _MOST_LETTERS :]}"
    return f"{_xml(short)}<title>{_xml(text)}</title>"


def _xml(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
