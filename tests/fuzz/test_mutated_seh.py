"""Dumps with exception chains of which bytes were changed: TEB, stack, headers, tables."""

from __future__ import annotations

import json
import struct
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import unspool
from tests.build.seh import BASE, FINAL, GOOD, LIMIT, PROGRAM, TEB, SehProcess, safe_image
from tests.conftest import examples
from tests.fuzz.harness import within
from unspool.analyses.seh import seh
from unspool.errors import InputError
from unspool.render.seh_json import chunks
from unspool.render.seh_text import lines

SECONDS = 10


@cache
def seed() -> bytes:
    process = SehProcess(safe_image(managed=2))
    process.chain([(LIMIT + 0x200 + 32 * index, GOOD) for index in range(8)] + [(BASE - 32, FINAL)])
    return process.dump()


@cache
def places() -> tuple[int, ...]:
    """Where in the file a chain, its TEB, and what says of its handlers lie."""
    data = seed()
    wanted = (
        struct.pack("<III", LIMIT + 0x200, BASE, LIMIT),  # the TEB
        struct.pack("<II", LIMIT + 0x220, GOOD),  # the first record
        struct.pack("<I60xII", 0x48, PROGRAM + 0x2100, 1),  # the load configuration
    )
    found = [data.index(each) for each in wanted]
    assert data.index(struct.pack("<I", TEB), found[0]) == found[0] + 0x18
    first = data.index(b"MZ")
    return (*found, first, data.index(b"MZ", first + 1))  # the headers of both images


@settings(
    max_examples=examples(150), deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 0x200), st.binary(min_size=1, max_size=8)),
        min_size=1, max_size=6,
    )
)  # fmt: skip
def test_any_change_has_an_answer(changes: list[tuple[int, int, bytes]], tmp_path: Path) -> None:
    data = bytearray(seed())
    for place, offset, new in changes:
        at = places()[place] + offset
        data[at : at + len(new)] = new
    path = tmp_path / "a.dmp"
    path.write_bytes(data)
    with within(SECONDS):
        try:
            target = unspool.open(str(path))
        except InputError:
            return
        with target:
            found = seh(target, unspool.unwind(target))
        made = json.loads("".join(chunks(found)))
        text = "\n".join(lines(found))
    assert made["complete"] is found.complete
    assert "\x1b" not in text
