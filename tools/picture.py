"""Draws docs/stack.svg, the picture in the README: a terminal with the demo's stacks.

    python tools/picture.py

Turns the colours of the command's own output into SVG; needs the extra `symbols`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "stack.svg"
COMMAND = ["unspool", "demo/bundled/crash.core.xz", "--symbols", "demo/bundled"]

# SGR codes as `unspool.render.style` uses them, in colours that can be read on dark ground.
COLOURS = {"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "36": "#79c0ff"}
GROUND, TEXT, DIM = "#0d1117", "#e6edf3", "#8b949e"
SIZE, LINE, WIDTH, MARGIN = 14, 19, 8.43, 18
STYLED = re.compile(r"\x1b\[([\d;]*)m")


def spans(line: str) -> str:
    """A line's text, with a `tspan` for each part that has a style."""
    result = []
    style = ""
    for index, part in enumerate(STYLED.split(line)):
        if index % 2:
            style = "" if part == "0" else attributes(part.split(";"))
        elif part:
            text = escape(part)
            result.append(f"<tspan {style}>{text}</tspan>" if style else text)
    return "".join(result)


def attributes(codes: list[str]) -> str:
    found = [f'fill="{COLOURS[code]}"' for code in codes if code in COLOURS]
    if "1" in codes:
        found.append('font-weight="bold"')
    if "2" in codes:
        found.append(f'fill="{DIM}"')
    return " ".join(found)


def svg(lines: list[str]) -> str:
    longest = max(len(STYLED.sub("", line)) for line in lines)
    width, height = longest * WIDTH + 2 * MARGIN, len(lines) * LINE + 2 * MARGIN
    rows = "\n".join(
        f'<text x="{MARGIN}" y="{MARGIN + SIZE + index * LINE}">{spans(line)}</text>'
        for index, line in enumerate(lines)
        if line
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" font-size="{SIZE}" fill="{TEXT}" '
        'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" '
        'xml:space="preserve" style="white-space: pre">\n'
        "<title>A terminal with the stacks that unspool prints of a crashed program</title>\n"
        f'<rect width="100%" height="100%" rx="8" fill="{GROUND}"/>\n{rows}\n</svg>\n'
    )


def main() -> None:
    done = subprocess.run(
        [sys.executable, "-m", *COMMAND, "--color", "always"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "src"), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    prompt = f"\x1b[2m$\x1b[0m {' '.join(COMMAND)}"
    PICTURE.write_text(svg([prompt, "", *done.stdout.splitlines()]), "utf-8")


if __name__ == "__main__":
    main()
