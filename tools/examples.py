"""Runs the examples of the documentation and writes down what they print.

    python tools/examples.py            writes it anew
    python tools/examples.py --check    says what would change, and ends with 1 if anything does

An example is a fenced block after `<!-- run -->`. In a `console` block each `$ command` is
run by a shell in the top directory, and what follows is its output, standard error included.
All commands of a block have one home directory, empty at first, for files that they write; in
outputs it is `~`. A `python` block must run; what it prints is in the `text` block after it, if
there is one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = re.compile(
    r"<!-- run -->\n```(console|python)\n(.*?)```\n(?:(\n```text\n)(.*?)```\n)?", re.DOTALL
)
# What differs from run to run and from machine to machine.
VARYING = (
    (re.compile(r"\bread in [\d.,]+ s\b"), "read in 0.05 s"),
    (re.compile(r"\bwritten [\d-]+ [\d:]+ UTC\b"), "written 2026-11-21 18:00:00 UTC"),
)


def documents() -> Iterator[Path]:
    yield from sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def renewed(text: str) -> str:
    """A document with the output of its examples as it is now."""
    return EXAMPLE.sub(_renewed_block, text)


def _renewed_block(match: re.Match[str]) -> str:
    kind, body, fence, _ = match.groups()
    with tempfile.TemporaryDirectory() as home:
        if kind == "console":
            lines = [line for line in body.splitlines() if line.startswith("$ ")]
            body = "".join(f"{line}\n{printed(['sh', '-c', line[2:]], home)}" for line in lines)
            return f"<!-- run -->\n```console\n{body}```\n"
        output = printed([sys.executable, "-W", "error", "-c", body], home)
    shown = f"{fence}{output}```\n" if fence else ""
    if output and not fence:
        raise ValueError(f"an example prints, and nothing says what:\n{body}\n{output}")
    return f"<!-- run -->\n```python\n{body}```\n{shown}"


def printed(command: list[str], home: str) -> str:
    """What a command prints; `unspool` in it is this checkout's."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "unspool"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m unspool "$@"\n')
        script.chmod(0o755)
        environment = {
            "PATH": f"{folder}:{os.environ.get('PATH', os.defpath)}",
            "PYTHONPATH": str(ROOT / "src"),
            "HOME": home,
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
        }
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
    output = done.stdout.replace(home, "~")
    for pattern, replacement in VARYING:
        output = pattern.sub(replacement, output)
    return output


def main(arguments: list[str]) -> int:
    check = arguments == ["--check"]
    changed = 0
    for path in documents():
        old = path.read_text("utf-8")
        new = renewed(old)
        if new != old:
            changed += 1
            print(f"{path.relative_to(ROOT)} {'is out of step' if check else 'written'}")
            if not check:
                path.write_text(new, "utf-8")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
