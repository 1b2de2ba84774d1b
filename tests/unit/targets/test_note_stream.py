"""The notes of a core that comes down a pipe: what is read of it, and of broken ones."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.core import NT_FPREGSET, NT_X86_XSTATE, REGISTERS, Core
from unspool import arch as architectures
from unspool.errors import InputError
from unspool.formats.elf import Elf
from unspool.targets.core.target import WALK_NOTES, CoreNotes, core_elf
from unspool.targets.stream import notes as note_stream
from unspool.targets.stream.notes import NoteStream


def core(name: str = "x86_64", threads: int = 3, memory: int = 1 << 20) -> bytes:
    made = Core(name)
    pc = {"x86_64": "rip", "i386": "eip"}.get(name, "pc")
    assert pc in REGISTERS[name]
    for index in range(threads):
        made.thread(100 + index, {pc: 0x1000 + index}, signal=11 if index == 0 else 0)
        made.note("CORE", NT_FPREGSET, bytes(512))
        made.note("LINUX", NT_X86_XSTATE, b"\x5a" * 2700)
        if index == 0:
            made.process(100, "prog", "prog --flag")
            made.signal_info(11, 1, 0x8)
            made.auxv({3: 0x40})
    made.load(0x10000, b"\xaa" * memory)
    for index in range(50):
        made.load((1 << 30) + index * 0x2000, bytes(4096))
    return made.build()


def read(data: bytes, *, piece: int = 1 << 16, wanted: set[int] | None = None) -> NoteStream:
    """What is made of a stream that comes in pieces; it may stay unread in part."""
    readable, writable = os.pipe()

    def write() -> None:
        try:
            for start in range(0, len(data), piece):
                os.write(writable, data[start : start + piece])
        except BrokenPipeError:
            pass  # as the kernel sees it
        finally:
            os.close(writable)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        return NoteStream(readable, wanted or WALK_NOTES, "core")
    finally:
        os.close(readable)
        thread.join()


def statuses(buffer: bytes, name: str = "x86_64") -> list[tuple[int, int | None]]:
    elf = Elf(buffer)
    arch = architectures.by_machine(elf.machine, elf.elf_class)
    assert arch is not None
    assert arch.report_name == {"i386": "x86"}.get(name, name)
    found = CoreNotes(elf, arch).statuses
    return [(each.tid, (each.registers or [])[arch.pc]) for each in found]


@pytest.mark.parametrize("piece", [1, 7, 4096, 1 << 16])
@pytest.mark.parametrize("name", ["x86_64", "i386", "aarch64"])
def test_the_notes_are_those_of_the_file(
    name: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However fast the other end writes.
    monkeypatch.setattr(note_stream, "_CHUNK", piece)
    data = core(name, memory=4096)
    stream = read(data, piece=piece)
    assert statuses(stream.buffer, name) == statuses(data, name)
    assert stream.truncated == ""


def test_memory_is_never_read() -> None:
    data = core(memory=8 << 20)
    readable, writable = os.pipe()
    written = 0

    def write() -> None:
        nonlocal written
        try:
            while written < len(data):
                written += os.write(writable, data[written : written + 4096])
        except BrokenPipeError:
            pass
        finally:
            os.close(writable)

    thread = threading.Thread(target=write)
    thread.start()
    NoteStream(readable, WALK_NOTES, "core")
    os.close(readable)
    thread.join()
    # A pipe holds 64 kB, and it is read in pieces as large.
    assert written < data.index(b"\xaa" * 4096) + (256 << 10)


def test_vector_registers_are_not_kept_unless_wanted() -> None:
    data = core(threads=50)
    assert b"\x5a" * 100 not in read(data).buffer
    kept = read(data, wanted=WALK_NOTES | {NT_X86_XSTATE})
    assert kept.buffer.count(b"\x5a" * 2700) == 50


def test_a_stream_that_ends_early_has_the_threads_before() -> None:
    data = core(threads=5)
    whole = statuses(read(data).buffer)
    end = data.index(b"\x5a" * 2700)
    cut = read(data[:end])
    assert statuses(cut.buffer) == whole[:1]
    assert "ends inside its notes" in cut.truncated


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no core comes there"),
        (b"\x7fELF", "no core comes there"),
        (b"#!/bin/sh\n" * 20, "no core comes there"),
        (b"\x7fELF\x07" + bytes(100), "no core comes there"),
        (Core(notes="last").build(), "notes do not come first"),
    ],
)
def test_what_is_no_core_of_the_kernels(data: bytes, words: str) -> None:
    made = Core(notes="last")
    made.load(0x1000, bytes(4096))
    made.thread(1, {})
    for each in {data, made.build() if "first" in words else data}:
        if each != Core(notes="last").build():
            with pytest.raises(InputError, match=words):
                read(each)


@given(st.binary(max_size=400), st.integers(0, 700), st.integers(0, 700))
def test_whatever_comes_is_refused_or_read(noise: bytes, at: int, length: int) -> None:
    data = bytearray(core(threads=2, memory=64))
    data[at : at + len(noise)] = noise
    data = data[: len(data) - length]
    try:
        elf = core_elf(read(bytes(data)))
    except InputError:
        return
    arch = architectures.by_machine(elf.machine, elf.elf_class)
    assert arch is not None
    assert len(CoreNotes(elf, arch).statuses) <= 2
