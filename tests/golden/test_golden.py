"""Whole outputs, as files beside this one. UNSPOOL_UPDATE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import unspool
from tests import dumps, reports
from tests.build.seh import BASE, FINAL, GOOD, LIMIT, SehProcess
from unspool.analyses.anatomy import dissect, reach, select
from unspool.analyses.seh import seh
from unspool.render import (
    inspect_json,
    inspect_text,
    json,
    memfault,
    seh_text,
    stackwalk_json,
    text,
)
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
    for name in ("crash", "waiting", "signal_stack", "hostile"):
        report = reports.ALL[name]()
        yield f"{name}.memfault.json", "".join(memfault.chunks(report))
        yield f"{name}.stackwalk.json", "".join(stackwalk_json.chunks(report))
    for name in dumps.ALL:
        yield f"inspect.{name}.txt", _anatomy(name)
    yield "inspect.crash.hex.txt", _anatomy("crash", hexadecimal=True)
    yield "inspect.crash.color.txt", _anatomy("crash", style=Style(color=True), summary=True)
    yield "inspect.lying.ascii.txt", _anatomy("lying", style=Style(encoding="ascii"))
    yield "inspect.windows.exception.txt", _anatomy("windows", stream="exception")
    yield "inspect.lying.json", _anatomy_json("lying")
    yield "inspect.windows.module.json", _anatomy_json("windows", "modulelist")
    yield "seh.broken.txt", _broken_chain()


def _broken_chain() -> str:
    process = SehProcess()
    process.chain([(LIMIT + 0x200, GOOD), (LIMIT + 0x240, GOOD), (BASE - 0x20, FINAL)])
    process.write(LIMIT + 0x210, b"Host: a.name.that.is.longer.than.any.buffer.for.it.example")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.dmp"
        path.write_bytes(process.dump())
        with unspool.open(str(path)) as target:
            found = seh(target, unspool.unwind(target))
    return "".join(f"{line}\n" for line in seh_text.lines(found))


def _text(name: str, **options: object) -> str:
    lines = text.lines(reports.ALL[name](), facts=FACTS, **options)  # type: ignore[arg-type]
    return "".join(f"{line}\n" for line in lines)


def _anatomy(name: str, stream: str = "", **options: object) -> str:
    data = dumps.ALL[name]()
    anatomy = dissect(data)
    nodes = select(anatomy, stream) if stream else None
    lines = inspect_text.lines(anatomy, data, name="a.dmp", nodes=nodes, **options)  # type: ignore[arg-type]
    return "".join(f"{line}\n" for line in lines)


def _anatomy_json(name: str, stream: str = "") -> str:
    anatomy = dissect(dumps.ALL[name]())
    nodes = reach(anatomy, select(anatomy, stream) or []) if stream else None
    return "".join(inspect_json.chunks(anatomy, name="a.dmp", nodes=nodes))


@pytest.mark.parametrize(("name", "got"), list(outputs()), ids=lambda value: str(value)[:30])
def test_output_is_the_golden_one(name: str, got: str) -> None:
    path = HERE / name
    if os.environ.get("UNSPOOL_UPDATE_GOLDEN"):
        path.write_bytes(got.encode())
    assert got == path.read_bytes().decode()


def test_no_golden_file_is_left_over() -> None:
    expected = {name for name, _ in outputs()}
    assert {path.name for path in HERE.iterdir() if path.suffix in (".txt", ".json")} == expected
