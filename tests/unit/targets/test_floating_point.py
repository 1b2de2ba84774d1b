"""Floating point registers of threads: by a core's notes in any order, and of live ones."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

import unspool
from tests.build.core import NT_FPREGSET, NT_X86_XSTATE, Core
from tests.programs.cores import make_core
from tests.programs.running import running_program
from tests.programs.table import Program
from unspool.targets.base import Options
from unspool.targets.live.target import open_live

NT_PRXFPREG, NT_ARM_SVE = 0x46E62B7F, 0x405

REGISTERS = Program("registers", "registers.c", (), flags=("-O1", "-g", "-pthread"))
KINDS = {
    "x86_64-kernel": (REGISTERS, "kernel"),
    "x86_64-gcore": (REGISTERS, "gcore"),
    "i386-kernel": (REGISTERS.variant("registers-m32", compiler="gcc-m32"), "kernel"),
    "i386-gcore": (REGISTERS.variant("registers-m32", compiler="gcc-m32"), "gcore"),
}


def vector(image: bytes, number: int) -> bytes:
    """A vector register: FXSAVE has them from byte 160 on."""
    start = 160 + 16 * number
    return image[start : start + 16]


x86_only = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the program is for x86")


@x86_only
@pytest.mark.parametrize("name", KINDS)
def test_real_cores(name: str, programs_root: Path) -> None:
    core = make_core(*KINDS[name], programs_root)
    with unspool.open(str(core.path)) as target:
        images = [target.floating_point(thread) for thread in target.threads]
    assert [image and len(image) for image in images] == [512] * 4
    values = sorted(vector(image or b"", 7) for image in images)
    assert values == [bytes([index]) * 16 for index in (1, 2, 3, 4)]
    # The kernel's order is that of ids; who crashed or waits in main comes first.
    if name.endswith("kernel"):
        assert vector(images[0] or b"", 7) == b"\1" * 16


@x86_only
@pytest.mark.parametrize("compiler", ["gcc", "gcc-m32"])
def test_live_processes(compiler: str, programs_root: Path) -> None:
    program = REGISTERS.variant(f"registers-{compiler}", compiler=compiler)
    with running_program(program, programs_root, "wait") as process:
        with open_live(process.pid, Options(floating_point=True)) as target:
            images = [target.floating_point(thread) for thread in target.threads]
        with open_live(process.pid, Options()) as target:
            assert target.floating_point(target.threads[0]) is None
    assert [vector(image or b"", 7) for image in images] == [
        bytes([index]) * 16 for index in (1, 2, 3, 4)
    ]
    # The control words as the ABI has them at a program's start.
    for image in images:
        assert image is not None
        assert struct.unpack_from("<H", image)[0] == 0x37F
        assert struct.unpack_from("<I", image, 24)[0] == 0x1F80


def open_core(core: Core, folder: Path) -> unspool.Target:
    path = folder / "core"
    path.write_bytes(core.build())
    return unspool.open(str(path))


def images(core: Core, folder: Path) -> list[bytes | None]:
    with open_core(core, folder) as target:
        return [target.floating_point(thread) for thread in target.threads]


def test_notes_belong_to_the_thread_before_them(tmp_path: Path) -> None:
    core = Core("x86_64")
    core.thread(1, {})
    core.process(1)
    core.signal_info(11)
    core.note("CORE", NT_FPREGSET, b"\1" * 512)
    core.thread(2, {})
    core.thread(2, {})
    core.note("CORE", NT_FPREGSET, b"\3" * 512)
    made = images(core, tmp_path)
    assert made == [b"\1" * 464 + bytes(48), None, b"\3" * 464 + bytes(48)]


def test_a_thread_that_is_too_short_to_be_one_does_not_shift_the_others(tmp_path: Path) -> None:
    core = Core("x86_64")
    core.thread(1, {}, truncate=20)
    core.note("CORE", NT_FPREGSET, b"\1" * 512)
    core.thread(2, {})
    core.note("CORE", NT_FPREGSET, b"\2" * 512)
    assert images(core, tmp_path) == [b"\2" * 464 + bytes(48)]


def test_i386_has_its_vectors_in_a_note_of_their_own(tmp_path: Path) -> None:
    core = Core("i386")
    core.thread(1, {})
    core.note("CORE", NT_FPREGSET, b"\1" * 108)
    core.note("LINUX", NT_X86_XSTATE, b"\3" * 832)
    core.note("LINUX", NT_PRXFPREG, b"\2" * 512)
    core.thread(2, {})
    core.note("CORE", NT_FPREGSET, b"\1" * 108)
    core.note("LINUX", NT_X86_XSTATE, b"\3" * 832)
    core.thread(3, {})
    core.note("CORE", NT_FPREGSET, b"\1" * 108)
    made = images(core, tmp_path)
    assert made == [b"\2" * 464 + bytes(48), b"\3" * 464 + bytes(48), None]


def test_aarch64(tmp_path: Path) -> None:
    core = Core("aarch64")
    core.thread(1, {})
    core.note("LINUX", NT_ARM_SVE, b"\1" * 600)
    core.note("CORE", NT_FPREGSET, b"\2" * 528)
    assert images(core, tmp_path) == [b"\2" * 528]


def test_notes_that_are_cut_or_misplaced_count_for_nothing(tmp_path: Path) -> None:
    core = Core("x86_64")
    core.note("CORE", NT_FPREGSET, b"\1" * 512)
    core.thread(1, {})
    core.note("CORE", NT_FPREGSET, b"\1" * 511)
    assert images(core, tmp_path) == [None]


def test_registers_that_no_walk_needs_are_kept_by_name(tmp_path: Path) -> None:
    core = Core("x86_64")
    core.thread(1, {"eflags": 0x246, "ss": 0x2B, "ds": 1, "es": 2, "fs": 3, "gs": 4, "cs": 0x33})
    with open_core(core, tmp_path) as target:
        special = target.threads[0].special
    assert special == {
        "eflags": 0x246, "ss": 0x2B, "ds": 1, "es": 2, "fs": 3, "gs": 4, "cs": 0x33,
        "fs_base": 0, "gs_base": 0, "orig_rax": 0,
    }  # fmt: skip
