"""What lies at a futex: made-up locks of glibc and musl, and any bytes at all."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.analyses.locks.syscalls import FutexWait, futex_wait, syscall_of
from unspool.analyses.locks.words import PARKED, UNREADABLE, Words
from unspool.arch import x86, x86_64
from unspool.arch.aarch64 import AARCH64
from unspool.arch.base import Arch
from unspool.memory import Memory, Region
from unspool.model import Thread
from unspool.space import AddressSpace

BASE = 0x10000
TID = 4711


def words(data: bytes, word: int = 8) -> Words:
    region = Region(BASE, BASE + len(data), lambda: (data, 0, len(data)), writable=True)
    return Words(Memory([region]), word, 0, lambda tid: (0, 3) if tid == TID else None)


def wait(at: int = 0, operation: int = 0, value: int = 2) -> FutexWait:
    return FutexWait(BASE + at, operation, value, True, False, "made up")


MUTEX = struct.pack("<IIIIIIQQ", 2, 0, TID, 1, 0, 0, 0, 0)
MUTEX32 = struct.pack("<IIIIII", 2, 0, TID, 0x81, 1, 0)
INHERITING = struct.pack("<IIIIIIQQ", 0x80000000 | TID, 1, TID, 1, 0x20, 0, 0, 0)


@pytest.mark.parametrize("kind", ["mutex", None], ids=["named", "nameless"])
@pytest.mark.parametrize(
    ("data", "word", "operation"), [(MUTEX, 8, 0), (MUTEX32, 4, 0), (INHERITING, 8, 6)]
)
def test_a_mutex_with_its_owner(data: bytes, word: int, operation: int, kind: str | None) -> None:
    lock = words(data, word).lock(wait(operation=operation), kind)
    assert lock.kind == "mutex"
    assert [holder.thread for holder in lock.holders] == [3]
    assert f"thread id {TID}" in lock.holders[0].evidence


def test_an_owner_that_is_no_thread_is_said_if_it_is_a_mutex_and_else_no_mutex() -> None:
    data = MUTEX.replace(struct.pack("<I", TID), struct.pack("<I", 12))
    assert "12, which is no thread" in (words(data).lock(wait(), "mutex").unknown or "")
    assert words(data).lock(wait(), None).kind == "futex"


# What a program gets that asks for PTHREAD_MUTEX_NORMAL itself.
ASKED_FOR = struct.pack("<IIIIIIQQ", 2, 0, TID, 1, 0x200, 0, 0, 0)


def test_a_mutex_whose_type_the_program_has_set() -> None:
    for kind in ("mutex", None):
        (holder,) = words(ASKED_FOR).lock(wait(), kind).holders
        assert holder.thread == 3


@pytest.mark.parametrize(("data", "word"), [(MUTEX, 8), (MUTEX32, 4)], ids=["64", "32"])
def test_a_mutex_that_is_taken_again_behind_a_condition(data: bytes, word: int) -> None:
    """No exported function of glibc says so: pthread_cond_wait is the innermost one."""
    lock = words(data, word).lock(wait(), "condition")
    assert lock.kind == "mutex"
    assert [holder.thread for holder in lock.holders] == [3]
    # A wait for a signal is for a word that was 0, whatever lies behind it.
    assert words(data, word).lock(wait(value=0), "condition").kind == "condition"


def test_a_mutex_that_changes_hands() -> None:
    lock = words(struct.pack("<IIIIIIQQ", 2, 0, 0, 1, 0, 0, 0, 0)).lock(wait(), "mutex")
    assert not lock.holders
    assert "changing hands" in (lock.unknown or "")


@pytest.mark.parametrize("offset", [8, 12])
@pytest.mark.parametrize(("word", "at"), [(8, 24), (4, 28)])
def test_a_writer_of_a_rwlock(offset: int, word: int, at: int) -> None:
    data = bytearray(struct.pack("<IIII", 0x2 | 1 << 3, 0, 2, 2) + bytes(40))
    data[at : at + 4] = struct.pack("<I", TID)
    for kind in ("rwlock", None):
        lock = words(bytes(data), word).lock(wait(offset), kind)
        assert (lock.kind, lock.address) == ("rwlock", BASE)
        assert [holder.thread for holder in lock.holders] == [3]


def test_readers_of_a_rwlock_are_counted() -> None:
    data = struct.pack("<IIII", 0xA | 2 << 3, 0, 2, 2) + bytes(40)
    lock = words(data).lock(wait(8), "rwlock")
    assert "3 threads hold it for reading" in (lock.unknown or "")
    assert not lock.holders


def test_musl() -> None:
    data = struct.pack("<III", 1, 0x80000000 | TID, 1) + bytes(28)
    lock = words(data).lock(wait(4), "mutex")
    assert (lock.kind, lock.address) == ("mutex", BASE)
    assert [holder.thread for holder in lock.holders] == [3]
    data = struct.pack("<III", 0, 0x80000010, 2) + bytes(28)
    assert "musl" in (words(data).lock(wait(4), "mutex").unknown or "")
    data = struct.pack("<II", 0xFFFFFFFF, 1) + bytes(48)
    assert "a writer" in words(data).lock(wait(), "rwlock").state


def test_musls_condition_variables_say_who_was_signalled() -> None:
    for state, words_of in ((0, "any thread may signal"), (1, "it was signalled")):
        lock = words(struct.pack("<IIQ", state, 2, 0)).lock(wait(4), "condition")
        assert (lock.kind, words_of in (lock.unknown or "")) == ("condition", True)
    lock = words(struct.pack("<IIQ", 1, 2, 0)).lock(wait(4), "rust condition")
    assert (lock.kind, "any thread may signal" in (lock.unknown or "")) == ("condition", True)


@pytest.mark.parametrize(
    ("kind", "noted", "state", "at"),
    [("mutex", 40, 3, 40), ("rwlock", 41, 0xB, 40), ("once", 40, 0xC, 40), ("mutex", 40, 1, 32)],
)
def test_a_lock_of_parking_lot_is_noted_beside_the_word(
    kind: str, noted: int, state: int, at: int
) -> None:
    """Unless the lock there does not say that threads are parked."""
    data = struct.pack("<QQQQQQ", BASE + noted, 0, 0, 0, 1, state)
    lock = words(data).lock(wait(32, value=1), f"{PARKED}{kind}")
    assert (lock.kind, lock.address) == (kind, BASE + at)
    assert not lock.holders
    assert "do not know who holds them" in (lock.unknown or "")


def test_what_cannot_be_read_is_said() -> None:
    for kind in ("mutex", "rwlock", "barrier", None):
        assert words(b"").lock(wait(), kind).state == UNREADABLE


@given(
    st.binary(max_size=64), st.integers(0, 72), st.sampled_from([4, 8]),
    st.sampled_from([0, 6, 9, 11, 13]),
    st.sampled_from(["mutex", "rwlock", "barrier", "condition", "once", "parked mutex", None]),
)  # fmt: skip
def test_any_bytes_are_some_lock(
    data: bytes, at: int, word: int, operation: int, kind: str | None
) -> None:
    lock = words(data, word).lock(wait(at, operation), kind)
    assert lock.holders or lock.unknown
    words(data, word).inheriting(BASE + at)


CODE = 0x400000


def thread(
    arch: Arch, code: bytes, pc: int, values: dict[int, int], **special: int
) -> FutexWait | None:
    """The futex wait of a thread that is stopped in the code."""
    registers: list[int | None] = [0] * len(arch.register_names)
    for number, value in values.items():
        registers[number] = value
    registers[arch.pc] = pc
    region = Region(CODE, CODE + len(code), lambda: (code, 0, len(code)), executable=True)
    space = AddressSpace(arch, Memory([region]), [], lambda _: None)
    call = syscall_of(space, Thread(0, 1, registers, special=special))
    return futex_wait(call) if call is not None else None


SYSCALL = bytes(20) + b"\xb8\xca\0\0\0\x0f\x05"
FUTEX = {x86_64.RDI: 0x1234, x86_64.RSI: 0x80, x86_64.RDX: 2, x86_64.R10: 0}


@pytest.mark.parametrize("special", [{"orig_rax": 202}, {"orig_rax": 219}, {}])
def test_a_futex_wait_by_registers(special: dict[str, int]) -> None:
    found = thread(x86_64.X86_64, SYSCALL, CODE + len(SYSCALL), FUTEX, **special)
    assert isinstance(found, FutexWait)
    assert (found.address, found.value, found.private, found.timed) == (0x1234, 2, True, False)


def test_a_futex_wait_of_other_processors() -> None:
    code = bytes(20) + b"\xcd\x80"
    values = {x86.EBX: 0x1234, x86.ECX: 0, x86.EDX: 1, x86.ESI: 8}
    found = thread(x86.X86, code, CODE + len(code), values, orig_eax=240)
    assert isinstance(found, FutexWait)
    assert (found.private, found.timed) == (False, True)
    code = bytes(36) + b"\x01\0\0\xd4" + bytes(8)
    for pc in (CODE + 36, CODE + 40):
        found = thread(AARCH64, code, pc, {0: 0x1234, 1: 0x80, 8: 98})
        assert isinstance(found, FutexWait)


@pytest.mark.parametrize(
    ("code", "values", "special"),
    [
        (SYSCALL, FUTEX, {"orig_rax": 0xFFFFFFFFFFFFFFFF}),
        (SYSCALL, FUTEX, {"orig_rax": 1}),
        (SYSCALL, {**FUTEX, x86_64.RSI: 0x81}, {"orig_rax": 202}),
        (SYSCALL, {**FUTEX, x86_64.RSI: 0x7FFF12345678}, {"orig_rax": 219}),
        (SYSCALL, {**FUTEX, x86_64.RDI: 0}, {"orig_rax": 202}),
        (bytes(27), FUTEX, {"orig_rax": 202}),
        (bytes(25) + b"\x0f\x05", FUTEX, {}),
    ],
    ids=["none", "write", "wake", "nanosleep", "null", "no call", "number unknown"],
)
def test_what_is_no_futex_wait(
    code: bytes, values: dict[int, int], special: dict[str, int]
) -> None:
    assert thread(x86_64.X86_64, code, CODE + len(code), values, **special) is None
