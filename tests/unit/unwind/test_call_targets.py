"""Which function the call before a return address led to."""

from __future__ import annotations

import pytest

from tests.unit.unwind.x86_functions import BASE, DATA, Code
from unspool.unwind.call_targets import CallTargets

IMPORT = DATA.to_bytes(4, "little")


def test_a_direct_call() -> None:
    code = Code()
    back = code.call(0x100, 0x200)
    assert CallTargets(code.space()).of(back) == BASE + 0x200


def test_a_call_of_an_imported_function() -> None:
    code = Code()
    end = code.put(0x100, b"\xff\x15" + IMPORT)
    targets = CallTargets(code.space(data={DATA: BASE + 0x300}))
    assert targets.of(BASE + end) == BASE + 0x300
    assert CallTargets(code.space()).of(BASE + end) is None  # of nothing


def test_jumps_are_followed() -> None:
    code = Code()
    back = code.call(0x100, 0x200)
    code.put(0x200, b"\xff\x25" + IMPORT)  # an import's stub
    code.jump(0x300, 0x400)  # as linkers make them, to exchange functions
    targets = CallTargets(code.space(data={DATA: BASE + 0x300}))
    assert targets.of(back) == BASE + 0x400


def test_jumps_in_a_circle() -> None:
    code = Code()
    back = code.call(0x100, 0x200)
    code.jump(0x200, 0x300)
    code.jump(0x300, 0x200)
    assert CallTargets(code.space()).of(back) in (BASE + 0x200, BASE + 0x300)


@pytest.mark.parametrize("call", ["ffd0", "ff5508", "ff1485", "e800000070"])
def test_an_open_question(call: str) -> None:
    code = Code()
    end = code.put(0x100, call)
    assert CallTargets(code.space()).of(BASE + end) is None
    assert CallTargets(code.space()).of(0x1234) is None
