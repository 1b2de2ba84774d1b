"""Wine processes: recognised by their modules, their version by a string, threads by TEBs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.wine import WineProcess
from tests.build.wine_eras import ERAS, Era
from tests.fuzz.harness import examine, within
from tests.unit.wine.test_frames import space_of
from unspool.arch.aarch64 import AARCH64
from unspool.memory import Memory, Region
from unspool.model import Module, Report, Thread
from unspool.space import AddressSpace
from unspool.wine import process as wine
from unspool.wine.process import recognise

BASE = 0x7F00_0000_0000


def build_of(data: bytes) -> str | None:
    """What is found in the memory of an ntdll.so with these bytes."""
    module = Module(0, "ntdll.so", BASE, BASE + max(len(data), 1))
    memory = Memory([Region(BASE, BASE + len(data), lambda: (data, 0, len(data)))])
    space = space_of(WineProcess(Era("8.0")))
    return wine._build(AddressSpace(space.arch, memory, [module], lambda _: None), module)


@pytest.mark.parametrize(
    ("text", "build", "version"),
    [
        ("wine-8.0", "8.0", (8, 0)),
        ("wine-8.0 (Debian 8.0~repack-4)", "8.0 (Debian 8.0~repack-4)", (8, 0)),
        ("wine-10.0-rc1", "10.0-rc1", (10, 0)),
        ("wine-7.0.6", "7.0.6", (7, 0)),
        ("wine-9.22.r3.g1234 ( TkG Staging )", "9.22.r3.g1234 ( TkG Staging )", (9, 22)),
        ("wine-11.", "11.", None),
        ("wine-8.x", "8.x", None),
        ("wine-8", None, None),
        ("wine-", None, None),
        ("wine-preloader", None, None),
        ("wine-preloader\0wine-6.11", "6.11", (6, 11)),
        ("wine-wine-6.11", "6.11", (6, 11)),
        ("wine-8.0é", None, None),
        ("", None, None),
    ],
)
def test_versions(text: str, build: str | None, version: tuple[int, int] | None) -> None:
    data = b"\0lib\0" + text.encode() + b"\0more\0"
    assert build_of(data) == build
    assert (wine._numbers(build) if build else None) == version


@given(text=st.text(max_size=100))
def test_any_version(text: str) -> None:
    found = wine._numbers(text)
    assert found is None or (found[0] >= 0 and found[1] >= 0)


@given(data=st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    for prefix in (b"", b"wine-", b"wine-1."):
        build = build_of(prefix + data)
        if build is not None:
            assert build.isascii()
            assert build.isprintable(), "it is written to terminals"
            assert len(build) <= 80


def test_a_library_of_nothing_but_versions() -> None:
    for part in (b"wine-", b"wine-1", b"wine-1.\x80"):
        with within(10):
            build_of(part * ((8 << 20) // len(part)))


def test_a_version_that_writes_to_the_terminal() -> None:
    process = WineProcess(Era("8.0"), label="8.0\x1b[31m\x07 (\u202e)")
    process.thread().call("main").syscall()
    assert isinstance(examine(process.core().build()), Report)


# --- recognition ----------------------------------------------------------------------


def module(name: str, base: int, kind: str = "elf") -> Module:
    return Module(0, name, base, base + 0x1000, kind=kind)


def test_a_process_without_either_half_is_no_wine() -> None:
    empty = Memory([])
    arch = space_of(WineProcess(Era("8.0"))).arch
    for modules in ([], [module("libc.so.6", 0x1000)], [module("ntdll.dll", 0x1000)],
                    [module("my_ntdll.so", 0x1000)]):  # fmt: skip
        assert recognise(AddressSpace(arch, empty, modules, lambda _: None), []) is None


def test_one_half_is_enough() -> None:
    empty = Memory([])
    arch = space_of(WineProcess(Era("8.0"))).arch
    for each in (module("ntdll.so", 0x1000), module("NTDLL.DLL", 0x1000, "pe")):
        found = recognise(AddressSpace(arch, empty, [each], lambda _: None), [])
        assert found is not None
        assert found.version is None
        assert found.describe() == {"bitness": 64}


def test_other_cpus_are_not_looked_at() -> None:
    space = AddressSpace(AARCH64, Memory([]), [module("ntdll.so", 0x1000)], lambda _: None)
    assert recognise(space, []) is None


@pytest.mark.parametrize(("version", "bits"), ERAS)
def test_threads_and_their_stacks(version: str, bits: int) -> None:
    """Every stack is known by its bounds, and no address belongs to two."""
    process = WineProcess(Era(version, bits))
    for last in ("syscall", "windows", "signal"):
        thread = process.thread().call("main").syscall()
        if last == "windows":
            thread.go_back()
        elif last == "signal":
            thread.go_back().signal()
    space = space_of(process)
    threads = [_thread(space, each) for each in process.threads]
    found = recognise(space, threads)
    assert found is not None
    assert found.version == tuple(map(int, version.split(".")))
    assert found.bitness == bits
    for made, known in zip(process.threads, threads, strict=True):
        assert known.windows_tid == 0x24 + 4 * made.index
        for kind, (low, high) in (
            ("windows", made.stacks.windows), ("unix", made.stacks.unix),
            ("signal", made.stacks.signal),
        ):  # fmt: skip
            for address in (low + 0x1000, (low + high) // 2, high - 8):
                stack = space.stack_at(address)
                assert stack is not None, f"{kind} 0x{address:x}"
                assert (stack.kind, stack.thread) == (kind, made.index), f"{kind} 0x{address:x}"


def _thread(space: AddressSpace, made) -> Thread:  # type: ignore[no-untyped-def]
    registers: list[int | None] = [
        made.registers.get(name, 0) for name in space.arch.register_names
    ]
    name = "gs_base" if space.arch.pointer_size == 8 else "fs_base"
    return Thread(made.index, made.tid, registers, special={name: made.teb})
