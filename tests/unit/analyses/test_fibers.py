"""Where fibers wait: the words at the end of stacks, and words there that lie."""

from __future__ import annotations

import struct

from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.unwind.spaces import ARCHES, region
from unspool.analyses.fibers.contexts import Waiting, waiting
from unspool.memory import Memory
from unspool.space import AddressSpace

LOW, SIZE = 0x7F00_0000_0000, 0x4000
TOP = LOW + SIZE
CODE = 0x40_0000
CALL, BL = b"\xe8\0\0\0\0", (0x94000000).to_bytes(4, "little")
# Code with a return address 16 bytes behind its beginning.
TEXT = {"x86_64": bytes(11) + CALL, "aarch64": bytes(12) + BL}
RETURN = CODE + 16
SAVED = {"x86_64": TOP - 0x108, "aarch64": TOP - 0x120}


def stack_of(arch: str, words: dict[int, int], size: int = SIZE) -> bytes:
    """A stack with the words of a fiber that waits, and `words` over them, by address."""
    saved, data = SAVED[arch], bytearray(size)
    where = {TOP - 0x10: saved, TOP - 0x18: RETURN}
    if arch == "x86_64":
        where |= {saved + 8 * index: index for index in range(6)} | {saved + 48: RETURN}
    else:
        where |= {saved + 144: TOP - 0x40, saved + 152: RETURN}
    for address, word in (where | words).items():
        struct.pack_into("<Q", data, address - LOW, word)
    return bytes(data)


def found(arch: str, words: dict[int, int], size: int = SIZE, code: bytes = b"") -> list[Waiting]:
    memory = Memory(
        [
            region(CODE, (code or TEXT[arch]) + bytes(64), executable=True),
            region(LOW, stack_of(arch, words, size), writable=True),
        ]
    )
    return list(waiting(AddressSpace(ARCHES[arch], memory, [], lambda _: None), memory))


def test_registers_of_x86_64() -> None:
    (fiber,) = found("x86_64", {})
    assert (fiber.low, fiber.high, fiber.saved) == (LOW, TOP, SAVED["x86_64"])
    # r15, r14, r13, r12, rbx, rbp by their DWARF numbers, as they were pushed.
    assert [fiber.registers[n] for n in (15, 14, 13, 12, 3, 6)] == [0, 1, 2, 3, 4, 5]
    assert (fiber.registers[16], fiber.registers[7]) == (RETURN, SAVED["x86_64"] + 56)
    assert len(fiber.copy) == TOP - fiber.saved


def test_registers_of_aarch64_with_a_signed_return_address() -> None:
    signed = RETURN | 0x2A << 48
    (fiber,) = found("aarch64", {SAVED["aarch64"] + 152: signed})
    assert (fiber.registers[29], fiber.registers[32]) == (TOP - 0x40, RETURN)
    assert fiber.registers[31] == SAVED["aarch64"] + 160
    assert fiber.registers[19] is None


def test_a_stack_in_one_mapping_with_what_follows_it() -> None:
    """The kernel makes one of two that lie side by side: then the usual size tells."""
    size = 2 << 20
    data = bytearray(size + SIZE)
    saved = LOW + size - 0x108
    for address, word in (
        (LOW + size - 0x10, saved), (LOW + size - 0x18, RETURN), (saved + 48, RETURN),
    ):  # fmt: skip
        struct.pack_into("<Q", data, address - LOW, word)
    memory = Memory(
        [
            region(CODE, TEXT["x86_64"] + bytes(64), executable=True),
            region(LOW, bytes(data), writable=True),
        ]
    )
    space = AddressSpace(ARCHES["x86_64"], memory, [], lambda _: None)
    (fiber,) = waiting(space, memory)
    assert (fiber.low, fiber.high) == (LOW, LOW + size)


def test_a_fiber_that_runs_has_another_stack_pointer_stored() -> None:
    for elsewhere in (0, LOW - 0x108, TOP + 0x108, TOP - 8, TOP - 0x40):
        assert not found("x86_64", {TOP - 0x10: elsewhere})


def test_what_no_call_has_left() -> None:
    assert not found("x86_64", {TOP - 0x18: RETURN + 1})
    assert not found("x86_64", {SAVED["x86_64"] + 48: RETURN + 1})
    assert not found("x86_64", {SAVED["x86_64"] + 48: LOW})
    assert not found("x86_64", {}, code=bytes(16))
    assert not found("aarch64", {SAVED["aarch64"] + 152: LOW})


@given(
    st.sampled_from(("x86_64", "aarch64")),
    st.dictionaries(
        st.integers(0, SIZE // 8 - 1).map(lambda n: LOW + 8 * n),
        st.integers(0, (1 << 64) - 1) | st.integers(LOW, TOP),
        max_size=8,
    ),
)
@example("x86_64", {TOP - 0x10: (1 << 64) - 8})
@example("aarch64", {TOP - 0x10: TOP})
def test_no_word_brings_it_out_of_the_stack(arch: str, words: dict[int, int]) -> None:
    for fiber in found(arch, words):
        assert LOW <= fiber.saved < TOP
        sp = fiber.registers[ARCHES[arch].sp]
        assert sp is not None
        assert fiber.saved < sp <= TOP - 0x10
        assert fiber.registers[ARCHES[arch].pc] == RETURN
