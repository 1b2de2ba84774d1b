"""Whole outputs, as files beside this one. UNSPOOL_UPDATE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import reports
from unspool.render import json, text
from unspool.render.style import Style

HERE = Path(__file__).parent
FACTS = text.Facts(1_717_000_000, 0.113, None)
PLAIN = ("crash", "waiting", "overflow", "signal_stack", "hostile")


def outputs() -> Iterator[tuple[str, str]]:
    for name in PLAIN:
        yield f"{name}.txt", _text(name)
    yield "crash.color.txt", _text("crash", style=Style(color=True))
    yield "crash.ascii.txt", _text("crash", style=Style(encoding="ascii"))
    yield "crash.verbose.txt", _text("crash", verbose=True)
    yield "overflow.ascii.txt", _text("overflow", style=Style(encoding="ascii"))
    yield "signal_stack.explain.txt", _text("signal_stack", explain=True)
    yield "waiting.quiet.txt", _text("waiting", quiet=True)
    for name in ("crash", "waiting", "signal_stack", "hostile"):
        yield f"{name}.json", json.dumps(reports.ALL[name]())


def _text(name: str, **options: object) -> str:
    lines = text.lines(reports.ALL[name](), facts=FACTS, **options)  # type: ignore[arg-type]
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize(("name", "got"), list(outputs()), ids=lambda value: str(value)[:30])
def test_output_is_the_golden_one(name: str, got: str) -> None:
    path = HERE / name
    if os.environ.get("UNSPOOL_UPDATE_GOLDEN"):
        path.write_bytes(got.encode())
    assert got == path.read_bytes().decode()


def test_no_golden_file_is_left_over() -> None:
    expected = {name for name, _ in outputs()}
    assert {path.name for path in HERE.iterdir() if path.suffix in (".txt", ".json")} == expected
