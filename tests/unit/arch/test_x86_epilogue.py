"""What the last instructions of i386 functions do to the stack."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.arch.x86 import EBP, EBX, ECX, EDI, ESI, ESP
from unspool.arch.x86_epilogue import epilogue

EPILOGUES = [
    ("c3", []),
    ("c20c00", []),
    ("f3c3", []),
    ("c9c3", [(EBP, 0), (EBP, None)]),
    ("83c41c 5b 5e 5f 5d c3", [(ESP, 0x1C), (EBX, None), (ESI, None), (EDI, None), (EBP, None)]),
    ("8be5 5d c20800", [(EBP, 0), (EBP, None)]),
    ("89ec 5d c3", [(EBP, 0), (EBP, None)]),
    ("81c400020000 c3", [(ESP, 0x200)]),
    ("8d65f4 5b 5e 5f 5d c3", [(EBP, -12), *((r, None) for r in (EBX, ESI, EDI, EBP))]),
    ("8d6424 10 c3", [(ESP, 16)]),
    # GCC's after a realignment: pop %ecx; pop %ebp; lea -4(%ecx),%esp; ret
    ("59 5d 8d61fc c3", [(ECX, None), (EBP, None), (ECX, -4)]),
]


@pytest.mark.parametrize(("code", "steps"), EPILOGUES)
def test_epilogues(code: str, steps: list[tuple[int, int | None]]) -> None:
    raw = bytes.fromhex(code.replace(" ", ""))
    assert epilogue(raw + b"\xcc" * 8) == steps
    for length in range(len(raw) - 1 - 2 * (b"\xc2" in raw)):
        assert epilogue(raw[:length]) is None


@pytest.mark.parametrize(
    "code", ["", "90", "31c0c3", "e800000000c3", "eb00", "5c c3", "83c4", "8d6500", "8d6425"]
)
def test_what_is_no_epilogue(code: str) -> None:
    assert epilogue(bytes.fromhex(code.replace(" ", ""))) is None


@given(st.binary(max_size=64))
def test_any_bytes_as_an_epilogue(code: bytes) -> None:
    steps = epilogue(code)
    assert steps is None or len(steps) <= 32
