"""Is there a call before this address? Held against disassemblers, instruction by instruction."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.arch.calls import (
    LOOK_BEHIND,
    aarch64_call_before,
    aarch64_call_target,
    x86_call_before,
    x86_call_target,
)

PAD = b"\xcc" * LOOK_BEHIND


def x86_calls() -> list[bytes]:
    """FF /2 with every ModRM and SIB byte that can follow, operands of zeros and of ones."""
    made = []
    for modrm in (m for m in range(256) if m >> 3 & 7 == 2):
        for sib, fill in itertools.product((0x00, 0x24, 0x25, 0x65, 0xE5, 0xA4), (b"\0", b"\x7f")):
            made.append(bytes([0xFF, modrm, sib]) + fill * 4)
    return made


@pytest.mark.parametrize("bits", [32, 64])
def test_every_indirect_call_of_x86_is_recognised(bits: int) -> None:
    capstone = pytest.importorskip("capstone")
    mode = capstone.CS_MODE_64 if bits == 64 else capstone.CS_MODE_32
    disassembler = capstone.Cs(capstone.CS_ARCH_X86, mode)
    seen = set()
    for code in x86_calls():
        for prefix in (b"", b"\x41") if bits == 64 else (b"",):
            [(_, size, name, _)] = disassembler.disasm_lite(prefix + code, 0x1000, 1)
            assert name == "call"
            whole = PAD + (prefix + code)[:size]
            assert x86_call_before(whole, len(whole)), (prefix + code)[:size].hex()
            seen.add(size - len(prefix))
    assert seen == {2, 3, 4, 6, 7}


def test_direct_calls_of_x86_and_their_targets() -> None:
    code = PAD + b"\xe8" + (-0x20).to_bytes(4, "little", signed=True)
    assert x86_call_before(code, len(code))
    assert x86_call_target(code, len(code), 0x1000) == 0xFE0
    assert x86_call_target(PAD, len(PAD), 0x1000) is None
    assert x86_call_target(b"\xe8\0\0", 3, 0x1000) is None


@pytest.mark.parametrize(
    "code",
    [
        b"\xe9\0\0\0\0",  # jmp
        b"\xff\xe0",  # jmp *%rax
        b"\xff\x30",  # push (%rax)
        b"\xff\xc0",  # inc %eax
        b"\xff\x18",  # lcall *(%rax)
        b"\xc3", b"\x90" * 8, b"\0" * 8,
        b"\xff\x50",  # call *disp8(%rax), cut
        b"\xff\x90\0\0",  # call *disp32(%rax), cut
        b"\xff\x14",  # call *(SIB), cut
    ],
    ids=bytes.hex,
)  # fmt: skip
def test_what_is_no_call_of_x86(code: bytes) -> None:
    whole = PAD + code
    assert not x86_call_before(whole, len(whole))


@given(st.binary(max_size=12), st.integers(0, 12))
def test_nothing_before_the_code_is_read(code: bytes, at: int) -> None:
    at = min(at, len(code))
    for check in (x86_call_before, aarch64_call_before):
        assert check(code, at) == check(b"\xcc\xcc" * 8 + code, at + 16) or at < LOOK_BEHIND
        if check(code, at):
            assert check(b"\0" * 16 + code, at + 16)


AARCH64_CALLS = {"bl", "blr", "blraa", "blrab", "blraaz", "blrabz"}
words = st.one_of(
    st.integers(0, (1 << 32) - 1),
    st.integers(0, (1 << 26) - 1).map(lambda low: 0x9400_0000 | low),
    st.integers(0, (1 << 26) - 1).map(lambda low: 0x1400_0000 | low),
    st.integers(0, (1 << 25) - 1).map(lambda low: 0xD600_0000 | low),
    st.builds(
        lambda rn, rm, a: 0xD63F_0000 | rn << 5 | rm | a,
        st.integers(0, 31),
        st.integers(0, 31),
        st.sampled_from([0, 0x800, 0xC00, 0x0100_0800, 0x0100_0C00]),
    ),
)


@given(words)
def test_calls_of_aarch64_are_those_of_the_disassembler(word: int) -> None:
    capstone = pytest.importorskip("capstone")
    disassembler = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    code = word.to_bytes(4, "little")
    decoded = list(disassembler.disasm_lite(code, 0x10_0000, 1))
    name, operands = (decoded[0][2], decoded[0][3]) if decoded else ("", "")
    found = aarch64_call_before(code, 4)
    # BLRAAZ and BLRABZ with a second register are unallocated; taking them does no harm.
    assert found == (name in AARCH64_CALLS) or (found and not name)
    target = aarch64_call_target(code, 4, 0x10_0004)
    if name == "bl":
        assert target is not None
        assert target & ((1 << 64) - 1) == int(operands.lstrip("#"), 16)
    else:
        assert target is None
