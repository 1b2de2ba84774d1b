"""What a dump without SystemInfo is of."""

from __future__ import annotations

import pytest

from tests.build import minidump_records as r
from tests.build.minidump import Minidump as Builder
from tests.conftest import Corpus
from unspool.formats.minidump.reader import Minidump
from unspool.formats.minidump.records import System

NAMES = {
    "x86": "x86", "amd64": "x86_64", "arm64": "aarch64", "arm64_old": "aarch64", "arm": "arm",
    "arm_windows": "arm",
}  # fmt: skip


def without_system(arch: str, *contexts: bytes) -> Builder:
    dump = Builder(arch, None)
    for tid, context in enumerate(contexts or (r.context(arch, {}),)):
        dump.thread(tid, context=context)
    return dump


def guessed(dump: Builder, length: int | None = None) -> System | None:
    return Minidump(dump.build(length)).system()


@pytest.mark.parametrize("arch", NAMES)
def test_contexts_tell_the_processor(arch: str) -> None:
    system = guessed(without_system(arch))
    assert system is not None
    assert system.arch_name == NAMES[arch]
    assert (system.cpu_count, system.version, system.csd) == (0, (0, 0, 0), "")


def test_registers_of_one_processor_are_no_flags_of_another() -> None:
    """r11 of 32-bit Arm is where AMD64 has its ContextFlags."""
    system = guessed(without_system("arm", r.context("arm", {"r11": 0x10001F})))
    assert system is not None
    assert system.arch_name == "arm"


def test_extended_state_may_follow() -> None:
    system = guessed(without_system("amd64", r.context("amd64", {}, size=2000)))
    assert system is not None
    assert system.arch_name == "x86_64"


def test_the_first_whole_context_tells() -> None:
    broken = [b"", bytes(1232), b"\xff" * 60, r.context("x86", {}, size=715)]
    system = guessed(without_system("arm64", *broken, r.context("arm64", {})))
    assert system is not None
    assert system.arch_name == "aarch64"


def test_nothing_is_told_without_contexts() -> None:
    assert guessed(Builder(system=None)) is None
    assert guessed(without_system("amd64", bytes(1232))) is None


def test_lost_streams_of_linux_and_names_tell_the_system() -> None:
    dump = without_system("amd64")
    dump.stream(r.LINUX_MAPS, b"x")
    dump.entries[r.LINUX_MAPS] = {"Rva": 1 << 31}
    assert os_of(dump) == "linux"
    dump = without_system("amd64")
    dump.module(0x1000, 0x1000, "/bin/x")
    assert os_of(dump) == "linux"
    dump = without_system("amd64")
    dump.module(0x1000, 0x1000, "C:\\x.exe")
    assert os_of(dump) == "windows"


def os_of(dump: Builder) -> str | None:
    system = guessed(dump)
    return None if system is None else system.os


def test_the_guess_is_a_problem_that_is_told() -> None:
    dump = Minidump(without_system("amd64").build())
    assert dump.system() is not None
    assert ["is missing" in each.what for each in dump.problems] == [True]


def test_an_upload_that_was_cut_short_has_its_threads(corpus: Corpus) -> None:
    """SystemInfo is at 15,880; before it are the threads, their stacks, and the modules."""
    dump = Minidump(corpus("symbolicator__fixtures__linux.dmp")[:15_800])
    system = dump.system()
    assert system is not None
    assert (system.arch_name, system.os) == ("x86_64", "linux")
    assert [thread.tid for thread in dump.threads()] == [0x518]
    assert dump.memory()
