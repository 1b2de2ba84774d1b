"""CONTEXT and EXCEPTION_RECORD: what is believed of them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.wine_eras import CONTEXT_32, CONTEXT_64
from unspool.arch.x86 import X86
from unspool.arch.x86_64 import X86_64
from unspool.memory import Memory, Region
from unspool.space import AddressSpace
from unspool.wine.exceptions import WindowsException, read_context, read_exception
from unspool.wine.layouts import CONTEXT_I386, CONTEXT_X86_64

STACK = 0x20_0000
every = pytest.mark.parametrize("bits", [32, 64])


def space_of(bits: int, data: bytes, *, writable: bool = True) -> AddressSpace:
    memory = Memory(
        [Region(STACK, STACK + len(data), lambda: (data, 0, len(data)), writable=writable)]
    )
    return AddressSpace(X86_64 if bits == 64 else X86, memory, [], lambda _: None)


def context(bits: int, **fields: int) -> bytes:
    offsets = CONTEXT_64 if bits == 64 else CONTEXT_32
    raw = bytearray(0x4D0 if bits == 64 else 0x2CC)
    flags, cs = (0x10001F, 0x33) if bits == 64 else (0x1003F, 0x23)
    values = {"flags": flags, "cs": cs, "rsp" if bits == 64 else "esp": STACK + 0x800} | fields
    for name, value in values.items():
        size = 4 if name == "flags" else 2 if name == "cs" else bits // 8
        raw[offsets[name] : offsets[name] + size] = value.to_bytes(size, "little")
    return bytes(raw).ljust(0x1000, b"\0")


def read(bits: int, raw: bytes) -> list[int | None] | None:
    layout = CONTEXT_X86_64 if bits == 64 else CONTEXT_I386
    return read_context(space_of(bits, raw), STACK, layout)


@every
def test_a_context(bits: int) -> None:
    offsets = CONTEXT_64 if bits == 64 else CONTEXT_32
    names = [name for name in offsets if name not in ("flags", "cs")]
    values = {name: STACK + 16 * at for at, name in enumerate(names)}
    found = read(bits, context(bits, **values))
    assert found is not None
    arch = X86_64 if bits == 64 else X86
    assert dict(zip(arch.register_names, found, strict=True)) == values


@every
@pytest.mark.parametrize("more", [0, 0x20, 0x40, 0x4000_0000, 0x0800_0000, 0x1000_0000])
def test_flags_that_contexts_have(bits: int, more: int) -> None:
    """Kinds of registers, and what Windows says of exceptions and system calls."""
    flags = (0x10000B if bits == 64 else 0x10007) | more
    assert read(bits, context(bits, flags=flags)) is not None


@every
@pytest.mark.parametrize(
    "lies",
    [
        {"flags": 0}, {"flags": 0x10_0000}, {"flags": 0x1_0000}, {"flags": 0xFFFF_FFFF},
        {"flags": 0x7F11_0001}, {"flags": 0x0011_1111}, {"cs": 0}, {"cs": 0x1234}, {"cs": 0x2B},
        {"sp": 0}, {"sp": 0x1234}, {"sp": STACK + 0x1000}, {"sp": STACK - 1},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_context(bits: int, lies: dict[str, int]) -> None:
    if "sp" in lies:
        lies = {"rsp" if bits == 64 else "esp": lies["sp"]}
    assert read(bits, context(bits, **lies)) is None


@every
def test_a_context_of_the_other_cpu(bits: int) -> None:
    assert read(bits, context(96 - bits)) is None


@every
def test_a_context_that_is_cut_off(bits: int) -> None:
    raw = context(bits)[: (0x4D0 if bits == 64 else 0x2CC) - 1]
    assert read(bits, raw) is None


@every
@given(data=st.binary(max_size=0x600))
def test_any_bytes_as_a_context(bits: int, data: bytes) -> None:
    layout = CONTEXT_X86_64 if bits == 64 else CONTEXT_I386
    space = space_of(bits, data)
    for address in (STACK, STACK + 8, STACK - 8, 0, (1 << 64) - 8):
        found = read_context(space, address, layout)
        if found is not None:
            sp = found[space.arch.sp]
            assert sp is not None
            assert space.memory.region(sp) is not None


@every
def test_words_that_look_like_a_context(bits: int) -> None:
    """Arguments of an APC: odd numbers whose bits are flags, and pointers to the stack."""
    for value in range(1, 1 << 22, 0x8421):
        raw = bytearray(context(bits))
        at = (CONTEXT_64 if bits == 64 else CONTEXT_32)["flags"]
        raw[at : at + 12] = struct.pack("<III", value | 0x110001, 7, value)
        assert read(bits, bytes(raw)) is None


# --- exception records ----------------------------------------------------------------


def record(bits: int, code: int, address: int, *parameters: int, count: int | None = None) -> bytes:
    count = len(parameters) if count is None else count
    form = "<IIQQI4x" if bits == 64 else "<IIIII"
    raw = struct.pack(form, code, 0, 0, address, count)
    return raw + b"".join(each.to_bytes(bits // 8, "little") for each in parameters)


@every
@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ((0, 8), "access violation, read from 0x8 (0xc0000005)"),
        ((1, 0x1234), "access violation, write to 0x1234 (0xc0000005)"),
        ((8, 0), "access violation, execution of 0x0 (0xc0000005)"),
        ((3, 0), "access violation, access to 0x0 (0xc0000005)"),
        ((), "access violation (0xc0000005)"),
        ((0,), "access violation (0xc0000005)"),
    ],
)
def test_access_violations(bits: int, parameters: tuple[int, ...], words: str) -> None:
    raw = record(bits, 0xC0000005, 0x401000, *parameters).ljust(0x100, b"\0")
    found = read_exception(space_of(bits, raw), STACK)
    assert found == WindowsException(0xC0000005, 0x401000, parameters)
    assert found.words() == words


@every
def test_other_exceptions(bits: int) -> None:
    raw = record(bits, 0xE0000001, 0x401000, 1, 2, 3).ljust(0x100, b"\0")
    found = read_exception(space_of(bits, raw), STACK)
    assert found is not None
    assert found.words() == "exception (0xe0000001)"


@every
def test_what_is_no_record(bits: int) -> None:
    for raw in (record(bits, 0, 1), record(bits, 0xC0000005, 1, count=16), b""):
        assert read_exception(space_of(bits, raw.ljust(0x100, b"\0")), STACK) is None
    short = record(bits, 0xC0000005, 1)
    assert read_exception(space_of(bits, short), STACK) is None


@every
@given(data=st.binary(min_size=0x40, max_size=0x80))
def test_any_bytes_as_a_record(bits: int, data: bytes) -> None:
    found = read_exception(space_of(bits, data), STACK)
    if found is not None:
        assert found.code
        assert len(found.parameters) <= 2
        assert "\n" not in found.words()
