"""An address space as a picture (SVG): high addresses at the top, as memory is drawn.

Sizes go from a page to terabytes, so that heights are by the logarithm, and holes are breaks of
the axis. Of what 32-bit code can reach a narrow strip at the side shows the true proportions.
"""

from __future__ import annotations

from html import escape

from unspool.analyses.layout import Hole
from unspool.analyses.layout.records import Kind, Verdict
from unspool.analyses.layout.rules import size_of
from unspool.render.escape import printable
from unspool.render.layout_rows import WORDS, Row, rows, sums, with_holes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.analyses.layout import Layout, Rule
    from unspool.model import Module

_COLORS = {
    Kind.EXECUTABLE: "#c0392b", Kind.PROGRAM: "#e74c3c", Kind.LIBRARY: "#2980b9",
    Kind.BUILTIN: "#5dade2", Kind.NATIVE: "#1f618d", Kind.HEAP: "#27ae60",
    Kind.WINDOWS_HEAP: "#82c341", Kind.STACK: "#e67e22", Kind.WINDOWS_STACK: "#f5b041",
    Kind.WINE_STACK: "#ba4a00",
    Kind.GUARD: "#922b21", Kind.TLS: "#d35400", Kind.TEB: "#8e44ad", Kind.PEB: "#6c3483",
    Kind.KUSER: "#c2185b", Kind.DISPATCHER: "#ad1457", Kind.KERNEL: "#34495e",
    Kind.CODE: "#ff1744", Kind.FILE: "#95a5a6", Kind.LOCALE: "#bfc9ca", Kind.SHARED: "#16a085",
    Kind.DEVICE: "#7b7d7d", Kind.DOS: "#b7950b", Kind.RESERVED: "#e5e8e8",
    Kind.ANONYMOUS: "#a9cf9a",
}  # fmt: skip
_WIDTH = 1040
_LEFT, _BAR, _TEXT, _STRIP = 150, 150, 316, 930
_ROW, _TALL, _HOLE = 18, 64, 26
_GIB = 1 << 30
_BOLD = (
    Kind.STACK, Kind.WINDOWS_STACK, Kind.WINE_STACK, Kind.EXECUTABLE, Kind.PROGRAM,
)  # fmt: skip
_LEAST_HOLE = 1 << 16
# A picture of more rows is none: more is put together then.
_MOST_ROWS = 60
_LETTERS = 82


def picture(layout: Layout, modules: Sequence[Module]) -> Iterator[str]:
    """The picture in pieces."""
    names = {module.index: module.name for module in modules}
    placed = list(with_holes(rows(layout, names, _MOST_ROWS), layout.holes, _LEAST_HOLE))
    placed.reverse()
    legend = [(kind, size) for kind, _, size in sums(layout)]
    wrong = [rule for rule in layout.rules if rule.verdict == Verdict.WARNING]
    top = 74 + 20 * -(-len(legend) // 4) + 18 * len(wrong[:6])
    heights = [_height(each) for each in placed]
    strip = layout.pointer_size == 4 or layout.is_windows
    total = max(top + sum(heights) + 40, top + 560 if strip else 0)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{total}" '
        f'viewBox="0 0 {_WIDTH} {total}" font-family="DejaVu Sans, Arial, sans-serif" '
        f'font-size="12" fill="#212529">\n'
        f"<title>{_text(_title(layout))}</title>\n"
        f'<rect width="{_WIDTH}" height="{total}" fill="#ffffff"/>\n{_PATTERNS}'
    )
    yield from _head(layout, legend, wrong[:6])
    at = top
    for each, height in zip(placed, heights, strict=True):
        if isinstance(each, Hole):
            yield from _hole(each, at, layout.top)
        else:
            yield from _block(each, at, height)
        at += height
    if strip:
        yield from _proportions(layout, top)
    yield "</svg>\n"


_PATTERNS = (
    '<defs><pattern id="held" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="6" height="6" fill="#f4f6f6"/>'
    '<rect width="2" height="6" fill="#d0d3d4"/></pattern></defs>\n'
)


def _height(each: Row | Hole) -> int:
    if isinstance(each, Hole):
        return _HOLE
    return min(_ROW + 3 * max((each.size >> 16).bit_length() - 1, 0), _TALL)


def _title(layout: Layout) -> str:
    target = layout.target
    program = (target.executable or "").replace("\\", "/").rpartition("/")[2]
    wine = f", Wine {target.wine.get('version', '?')}" if target.wine else ""
    pid = f" (process {target.pid})" if target.pid is not None else ""
    return f"Address space of {program or 'a process'}{pid}: {target.arch}{wine}"


def _head(
    layout: Layout, legend: Sequence[tuple[str, int]], wrong: Sequence[Rule]
) -> Iterator[str]:
    yield (
        f'<text x="20" y="28" font-size="18" font-weight="bold">{_text(_title(layout))}</text>\n'
        f'<text x="20" y="48" fill="#6c757d">{_text(layout.source)}; high addresses at the top; '
        f"heights grow with the logarithm of sizes</text>\n"
    )
    for index, (kind, size) in enumerate(legend):
        x, y = 20 + index % 4 * 255, 62 + index // 4 * 20
        yield (
            f'<rect x="{x}" y="{y}" width="12" height="12" fill="{_fill(kind)}" stroke="#868e96" '
            f'stroke-width=".5"/><text x="{x + 18}" y="{y + 11}">{WORDS[kind]} '
            f'<tspan fill="#6c757d">{size_of(size)}</tspan></text>\n'
        )
    y = 62 + 20 * -(-len(legend) // 4) + 12
    for rule in wrong:
        says = f"{rule.id}: {rule.says}"
        yield f'<text x="20" y="{y}" fill="#c0392b">⚠ {_text(says, 150)}</text>\n'
        y += 18


def _block(row: Row, at: int, height: int) -> Iterator[str]:
    """A row: its bar with a stripe for each area, its bounds, what it is."""
    total = max(row.size, 1)
    y = float(at)
    # Of many small areas no stripe can be seen; of a heap only the room that it has.
    yield _bar(at, height, _fill(row.kind), ".35")
    for area in reversed(row.areas):
        part = height * area.size / total
        if part >= 0.4:
            fill, opacity = _fill(area.kind), "1" if area.permissions[2] == "x" else ".82"
            if area.accessible:
                yield _bar(y, part, fill, opacity)
            elif row.kind != Kind.HEAP:
                yield _bar(y, part, "url(#held)", "1")
        y += part
    bold = ' font-weight="bold"' if row.kind in _BOLD else ""
    middle = at + height / 2 + 4
    where = f"{row.start:#x} to {row.end:#x}"
    yield (
        f'<rect x="{_LEFT}" y="{at}" width="{_BAR}" height="{height}" fill="none" stroke="#495057" '
        f'stroke-width=".7"><title>{_text(f"{where}: {row.name}", 300)}</title></rect>\n'
        f'<text x="{_LEFT - 8}" y="{at + height - 3}" text-anchor="end" font-size="11" '
        f'font-family="DejaVu Sans Mono, monospace">{row.start:#x}</text>\n'
        f'<text x="{_TEXT - 8}" y="{middle:.0f}"{bold}>{_text(row.name)} '
        f'<tspan fill="#6c757d" font-weight="normal">{size_of(row.size)}</tspan></text>\n'
    )


def _bar(y: float, height: float, fill: str, opacity: str) -> str:
    return (
        f'<rect x="{_LEFT}" y="{y:.1f}" width="{_BAR}" height="{height:.1f}" '
        f'fill="{fill}" fill-opacity="{opacity}"/>\n'
    )


def _hole(hole: Hole, at: int, top: int) -> Iterator[str]:
    """A break of the axis. Above `top` are addresses that no program can have."""
    left, right, middle = _LEFT, _LEFT + _BAR, at + _HOLE / 2
    for y in (middle - 4, middle + 4):
        points = " ".join(
            f"{left + step * (right - left) / 10:.0f},{y + (3 if step % 2 else -3):.0f}"
            for step in range(11)
        )
        yield f'<polyline points="{points}" fill="none" stroke="#adb5bd"/>\n'
    yield (
        f'<text x="{_TEXT - 8}" y="{middle + 4:.0f}" fill="#868e96" font-style="italic">'
        f"nothing mapped: {size_of(hole.size)}{f', up to {top:#x}' * (hole.end == top)}</text>\n"
    )


def _proportions(layout: Layout, top: int) -> Iterator[str]:
    """What 32-bit code can reach, in true proportions."""
    height, x, width = 480, _STRIP, 46
    limit = 4 * _GIB
    low = top + 26 + height
    yield (
        f'<text x="{x + width / 2}" y="{top + 4}" text-anchor="middle" font-weight="bold">'
        f'0 to 4 GiB</text>\n<text x="{x + width / 2}" y="{top + 18}" text-anchor="middle" '
        f'font-size="10" fill="#6c757d">true proportions</text>\n'
        f'<rect x="{x}" y="{top + 26}" width="{width}" height="{height}" fill="#ffffff" '
        f'stroke="#495057" stroke-width=".7"/>\n'
    )
    for area in layout.areas:
        if area.start >= limit:
            break
        tall = max((min(area.end, limit) - area.start) * height / limit, 0.6)
        y = low - area.start * height / limit - tall
        fill = _fill(area.kind) if area.accessible else "url(#held)"
        yield (
            f'<rect x="{x}" y="{y:.1f}" width="{width}" height="{tall:.1f}" fill="{fill}"/>\n'
        )
    for gib in range(5):
        y = low - gib * height / 4
        yield (
            f'<line x1="{x - 5}" x2="{x}" y1="{y:.1f}" y2="{y:.1f}" stroke="#495057"/>'
            f'<text x="{x - 8}" y="{y + 4:.1f}" text-anchor="end" font-size="11">{gib}</text>\n'
        )
    caption = ("largest block below 2 GiB", "that can still be had")
    for line, words in enumerate(caption):
        yield (
            f'<text x="{x + width / 2}" y="{low + 18 + 13 * line}" text-anchor="middle" '
            f'font-size="10" fill="#1e8449">{words}</text>\n'
        )
    for block in layout.blocks[:1]:
        start, size = block.start, block.size
        if layout.is_windows and block.held_size > size:
            start, size = block.held_start, block.held_size
        y = low - (start + size) * height / limit
        tall = size * height / limit
        yield (
            f'<path d="M{x + width + 4},{y:.1f} h6 v{tall:.1f} h-6" fill="none" stroke="#27ae60" '
            f'stroke-width="2"/><text x="{x + width + 14}" y="{y + tall / 2 + 4:.1f}" '
            f'font-size="10" fill="#1e8449">{size_of(size)}</text>\n'
        )


def _fill(kind: str) -> str:
    return "url(#held)" if kind == Kind.RESERVED else _COLORS.get(kind, "#ced4da")


def _text(text: str, letters: int = _LETTERS) -> str:
    text = printable(text)
    if len(text) > letters:
        text = text[: letters - 1] + "…"
    return escape(text)
