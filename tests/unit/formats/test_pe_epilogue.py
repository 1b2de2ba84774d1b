"""Epilogues of x64 Windows code, by their bytes, and code that only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.unwind_info import R12, R13, R15, RAX, RBP, RBX, RCX, RSI, RSP
from unspool.formats.pe_epilogue import JUMP, MAX_SIZE, RETURN, TAIL_CALL, Epilogue, epilogue_at

AT = 0x1000
REST = b"\xcc" * 16


def at(code: str) -> Epilogue | None:
    return epilogue_at(bytes.fromhex(code) + REST, AT)


RELEASES = [
    ("", RSP, 0),
    ("4883c428", RSP, 0x28),  # add $0x28, %rsp
    ("4883c480", RSP, -0x80),
    ("4881c488000000", RSP, 0x88),
    ("4881c478563412", RSP, 0x12345678),
    ("488d6500", RBP, 0),  # lea 0(%rbp), %rsp
    ("488d65e8", RBP, -0x18),
    ("488da510010000", RBP, 0x110),
    ("498d6548", R13, 0x48),
    ("498da7f0feffff", R15, -0x110),
    ("488d6008", RAX, 8),
]
POPS = [
    ("", []),
    ("5b", [RBX]),
    ("5e5d", [RSI, RBP]),
    ("415c", [R12]),
    ("415f415d5b59", [R15, R13, RBX, RCX]),
    ("485b", [RBX]),  # REX.W that changes nothing
]
ENDS = [
    ("c3", RETURN, 0),
    ("f3c3", RETURN, 0),
    ("f2c3", RETURN, 0),
    ("c21800", RETURN, 24),
    ("c2ffff", RETURN, 0xFFFF),
    ("ff2512345678", TAIL_CALL, 0),
    ("48ff2512345678", TAIL_CALL, 0),
    ("48ffe0", TAIL_CALL, 0),  # rex.W jmp *%rax
    ("49ffe2", TAIL_CALL, 0),
    ("48ff6020", TAIL_CALL, 0),
    ("49ff23", TAIL_CALL, 0),
    ("f2ff2512345678", TAIL_CALL, 0),
]


@pytest.mark.parametrize(("end", "kind", "released"), ENDS)
@pytest.mark.parametrize(("pops", "registers"), POPS)
@pytest.mark.parametrize(("release", "base", "offset"), RELEASES)
def test_every_form(
    release: str, base: int, offset: int, pops: str, registers: list[int], end: str, kind: int,
    released: int,
) -> None:  # fmt: skip
    found = at(release + pops + end)
    assert found is not None
    assert (found.register, found.offset, found.pops) == (base, offset, registers)
    assert (found.kind, found.release) == (kind, released)


@pytest.mark.parametrize("before", ["", "5b", "4883c4285b"])
@pytest.mark.parametrize(
    ("jump", "distance"),
    [("eb00", 2), ("eb7f", 0x81), ("eb80", -0x7E), ("e900000000", 5), ("e9fbffffff", 0),
     ("e978563412", 0x1234567D), ("e900000080", 5 - (1 << 31)), ("f2e900000000", 6)],
)  # fmt: skip
def test_where_jumps_lead(before: str, jump: str, distance: int) -> None:
    found = at(before + jump)
    assert found is not None
    assert (found.kind, found.target) == (JUMP, AT + len(before) // 2 + distance)


@pytest.mark.parametrize(
    "code",
    [
        "90c3",  # a nop before
        "4883c428 90 c3",  # and between
        "4883c428 4883c428 c3",  # two releases
        "5b 4883c428 c3",  # a release after a pop
        "4983c428 c3",  # add $0x28, %r12
        "83c428 c3",  # add $0x28, %esp
        "4883c528 c3",  # add $0x28, %rbp
        "4883ec80 c3",  # sub $-0x80, %rsp
        "488d642408 c3",  # lea 8(%rsp), %rsp
        "488d64245b c3",  # the same, with a displacement that could be a pop
        "488d20 c3",  # lea (%rax), %rsp: no displacement
        "4c8d6500 c3",  # lea 0(%rbp), %r12
        "8d6500 c3",  # lea 0(%rbp), %esp
        "488d6d00 c3",  # lea 0(%rbp), %rbp
        "5c c3",  # pop %rsp
        "4889ec 5d c3",  # mov %rbp, %rsp
        "c9 c3",  # leave
        "e800000000",  # call
        "ffe0",  # jmp *%rax: a switch
        "41ffe2",
        "ff24c500000000",  # jmp *table(, %rax, 8)
        "ff15 00000000",  # call *(%rip)
        "48ff1500000000",  # rex.W call *(%rip)
        "48ffd0",
        "7400",  # je
        "f35b c3",
        "f3c21000",
        "cb",  # a far return
        "48cf",  # iretq
        "cc",
        "0000",
    ],
)
def test_what_is_none(code: str) -> None:
    assert at(code) is None


def test_more_pops_than_there_are_registers() -> None:
    assert at("5b" * 15 + "c3") is not None
    assert at("5b" * 1000 + "c3") is None


@pytest.mark.parametrize(
    "code",
    ["4881c488000000 5b 415c c3", "498da7f0feffff 415f 5b e978563412", "5b c21000", "f3c3",
     "5b 48ffe0", "415c ff2500000000"],
)  # fmt: skip
def test_code_that_is_cut(code: str) -> None:
    whole = bytes.fromhex(code)
    assert epilogue_at(whole, AT) is not None
    for size in range(len(whole)):
        assert epilogue_at(whole[:size], AT) is None


def test_the_longest() -> None:
    longest = bytes.fromhex("498da7f0feffff" + "415f" * 15 + "f248ff2500000000")
    assert epilogue_at(longest[:MAX_SIZE], AT) is not None
    assert len(longest) <= MAX_SIZE


@given(st.binary(max_size=60))
def test_any_bytes(code: bytes) -> None:
    found = epilogue_at(code, AT)
    if found is not None:
        assert RSP not in found.pops
        assert found.register != RSP or len(code) > len(found.pops)


# Bytes of epilogues, in any order.
PIECES = st.sampled_from(
    [bytes.fromhex(each) for each, *_ in (*RELEASES, *POPS, *ENDS)] + [b"\xe9", b"\xeb", b"\xf2"]
)


@given(st.lists(PIECES, max_size=12))
def test_what_follows_changes_nothing(pieces: list[bytes]) -> None:
    code = b"".join(pieces)
    found, longer = epilogue_at(code, AT), epilogue_at(code + b"\xcc\x5b\xc3", AT)
    if found is not None:
        assert longer is not None
        for name in Epilogue.__slots__:
            assert getattr(found, name) == getattr(longer, name)
