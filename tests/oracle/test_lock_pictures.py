"""Pictures of who waits for whom: what Graphviz makes of the graph, and the SVG of our own."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.browser.conftest import browser as browser  # noqa: PLC0414 - a fixture
from tests.browser.driver import Browser
from tests.conftest import Tool
from tests.unit.render.lock_reports import ring
from unspool.analyses.locks.records import LockReport
from unspool.render import locks_graph

pytestmark = pytest.mark.oracle

REPORTS = {
    "two": ring(2),
    "three, with others": ring(3, behind=4, queue=3),
    "only possible": ring(2, behind=1, certain=False),
    "ten": ring(10, queue=12),
    "none": LockReport(ring(1).parties, [], [], [], []),
}
# What two boxes of text may share: rounding.
SLACK = 0.5


@pytest.mark.parametrize("name", REPORTS)
def test_graphviz_draws_every_thread_and_lock(name: str, tmp_path: Path, tool: Tool) -> None:
    report = REPORTS[name]
    source = tmp_path / "locks.dot"
    source.write_text("".join(locks_graph.dot(report)))
    drawn = ElementTree.fromstring(tool("dot", "-Tsvg", source))
    groups = [each.get("class") for each in drawn.iter("{http://www.w3.org/2000/svg}g")]
    holders = sum(len(lock.holders) for lock in report.locks)
    keys = {wait.key for wait in report.waits}
    keys |= {holder.key for lock in report.locks for holder in lock.holders}
    assert groups.count("node") == len(keys) + len(report.locks)
    assert groups.count("edge") == len(report.waits) + holders
    text = " ".join(drawn.itertext())
    assert all(f"thread {4000 + thread}" in text for _, thread in keys)


def test_graphviz_lays_out_without_overlaps(tmp_path: Path, tool: Tool) -> None:
    """Names are long, and have what means something in its language."""
    source = tmp_path / "locks.dot"
    source.write_text("".join(locks_graph.dot(REPORTS["ten"])))
    objects = json.loads(tool("dot", "-Tjson", source))["objects"]
    boxes = []
    for each in objects:
        x, y = (float(word) for word in each["pos"].split(","))
        width, height = (72 * float(each[key]) for key in ("width", "height"))
        boxes.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    assert len(boxes) == len(objects) > 20
    assert not overlaps(boxes)


def overlaps(boxes: list[tuple[float, float, float, float]]) -> list[object]:
    return [
        (one, other)
        for index, one in enumerate(boxes)
        for other in boxes[index + 1 :]
        if one[0] < other[2] - SLACK and other[0] < one[2] - SLACK
        and one[1] < other[3] - SLACK and other[1] < one[3] - SLACK
    ]  # fmt: skip


MEASURE = """
const box = (e) => { const b = e.getBBox(); return [b.x, b.y, b.x + b.width, b.y + b.height]; };
const all = (name) => [...document.querySelectorAll(name)].map(box);
const own = document.documentElement;
return {rects: all("rect").slice(1), texts: all("text"),
        size: [own.viewBox.baseVal.width, own.viewBox.baseVal.height]};
"""


@pytest.mark.parametrize("name", REPORTS)
def test_a_browser_shows_it_readably(name: str, tmp_path: Path, browser: Browser) -> None:
    """No text lies over another one or leaves its box, and nothing is outside of the picture."""
    path = tmp_path / "locks.svg"
    path.write_text("".join(locks_graph.svg(REPORTS[name])))
    browser.open(path.as_uri())
    browser.frame()
    found = browser.run(MEASURE)
    rects = [tuple(each) for each in found["rects"]]
    texts = [tuple(each) for each in found["texts"]]
    assert len(texts) > len(rects)
    assert not overlaps(rects)
    assert not overlaps(texts)
    for text in texts:
        inside = [each for each in rects if overlaps([each, text])]
        assert len(inside) <= 1
        for left, top, right, bottom in inside:
            assert left <= text[0] + SLACK
            assert text[2] <= right + SLACK
            assert top <= text[1] + SLACK
            assert text[3] <= bottom + SLACK
    width, height = found["size"]
    assert all(each[0] >= 0 and each[2] <= width for each in (*rects, *texts))
    assert all(each[1] >= 0 and each[3] <= height for each in (*rects, *texts))
