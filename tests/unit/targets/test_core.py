"""Cores as targets: threads, memory, modules, the crash, and what is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

import unspool
from tests.build.core import Core, Stack
from tests.build.elf import EM_AARCH64, Elf
from tests.build.process import IMAGE_SIZE, MACHINES, Process, Program
from unspool.model import StopReason, Trust

from .opened import pcs, report_of, written

FUNCTIONS = ["inner", "middle", "main", "_start"]
ARCHES = tuple(MACHINES)


def process(arch: str = "x86_64", **keywords: object) -> Process:
    made = Process(arch, **keywords)  # type: ignore[arg-type]
    made.thread(4711, FUNCTIONS, signal=11)
    made.thread(4712, FUNCTIONS[1:])
    return made


@pytest.mark.parametrize("notes", ["first", "last"])
@pytest.mark.parametrize("arch", ARCHES)
def test_a_whole_core(tmp_path: Path, arch: str, notes: str) -> None:
    made = process(arch, notes=notes)
    report = report_of(written(tmp_path, made.core().build()))
    assert report.complete
    assert [pcs(report, 0), pcs(report, 1)] == made.pcs
    assert [stack.tid for stack in report.stacks] == [4711, 4712]
    assert [stack.crashed for stack in report.stacks] == [True, False]
    assert report.target.arch == {"i386": "x86"}.get(arch, arch)
    assert (report.target.pid, report.target.command_line) == (4711, ["prog", "--flag"])
    assert report.crash is not None
    assert (report.crash.signal, report.crash.number, report.crash.code) == ("SIGSEGV", 11, 1)
    assert (report.crash.address, report.crash.thread_index) == (8, 0)
    [module] = report.modules
    assert (module.name, module.base, module.bias) == ("prog", made.base, made.base)
    assert module.code_id == bytes(range(20)).hex()
    assert report.findings == []


def test_threads_with_one_id_are_all_kept(tmp_path: Path) -> None:
    made = process()
    for i in range(5):
        made.thread(0, FUNCTIONS[i % 3 :])
    report = report_of(written(tmp_path, made.core().build()))
    assert [stack.index for stack in report.stacks] == list(range(7))
    assert [stack.tid for stack in report.stacks] == [4711, 4712, 0, 0, 0, 0, 0]
    assert [pcs(report, i) for i in range(7)] == made.pcs


def test_more_segments_than_the_header_can_count(tmp_path: Path) -> None:
    made = process()
    core = made.core()
    for i in range(66_000):
        core.load(0x1_0000_0000 + (i << 13), b"", memsz=0x1000)
    extra = Stack(0x7FFE_0000_0000)
    extra.push(1, made.at("main"), 1, made.at("_start"), 0, 0)
    core.load(extra.base, extra.build())
    core.thread(9, {"rip": made.at("middle", 2), "rsp": extra.base})
    report = report_of(written(tmp_path, core.build()))
    assert report.complete
    assert len(pcs(report, 2)) == 3


@pytest.mark.parametrize("arch", ARCHES)
def test_registers_whose_bytes_are_cut_are_a_missing_context(tmp_path: Path, arch: str) -> None:
    core = process(arch).core()
    core.thread(9, {}, truncate=60)
    report = report_of(written(tmp_path, core.build()))
    assert report.stacks[2].stop.reason == StopReason.MISSING_CONTEXT
    assert report.stacks[2].frames == []
    assert not report.complete


# --- bytes from files -----------------------------------------------------------------


@pytest.mark.parametrize("arch", ARCHES)
def test_bytes_that_the_core_leaves_out_come_from_the_file(tmp_path: Path, arch: str) -> None:
    made = process(arch, path=str(tmp_path / "prog"))
    written(tmp_path, made.program.build(), "prog")
    report = report_of(written(tmp_path, made.core(hold_image=False).build()))
    assert [pcs(report, 0), pcs(report, 1)] == made.pcs
    assert report.complete
    assert report.modules[0].file == str(tmp_path / "prog")
    [name, *_] = [report.locations[frame.lookup_pc].function for frame in report.stacks[0].frames]
    assert name == "inner"


@pytest.mark.parametrize("where", ["sysroot", "symbols", "executable", "build-id"])
def test_files_in_other_places(tmp_path: Path, where: str) -> None:
    made = process(path="/opt/deep/prog")
    data = made.program.build()
    core = made.core(hold_image=False)
    # The first page, as the kernel dumps it of every mapped ELF file.
    core._loads[0] = (made.base, data[:0x1000], {"memsz": IMAGE_SIZE, "flags": "rx"})
    path = written(tmp_path, core.build())
    files = tmp_path / "files"
    if where == "sysroot":
        (files / "opt/deep").mkdir(parents=True)
        written(files / "opt/deep", data, "prog")
        report = report_of(path, sysroot=str(files))
    elif where == "executable":
        files.mkdir()
        report = report_of(path, executable=written(files, data, "renamed"))
    elif where == "symbols":
        files.mkdir()
        written(files, data, "prog")
        report = report_of(path, symbols=[str(files)])
    else:
        identity = bytes(range(20)).hex()
        folder = files / ".build-id" / identity[:2]
        folder.mkdir(parents=True)
        written(folder, data, identity[2:])
        report = report_of(path, symbols=[str(files)])
    assert [pcs(report, 0), pcs(report, 1)] == made.pcs
    assert report.complete


def test_without_the_file_the_report_says_what_is_missing(tmp_path: Path) -> None:
    made = process()
    report = report_of(written(tmp_path, made.core(hold_image=False).build()))
    assert not report.complete
    assert pcs(report)[0] == made.pcs[0][0]
    assert all(stack.stop.reason != StopReason.ROOT for stack in report.stacks)
    assert all(stack.stop.detail for stack in report.stacks)


def held_first_page(made: Process, data: bytes) -> bytes:
    core = made.core(hold_image=False)
    core._loads[0] = (made.base, data[:0x1000], {"memsz": IMAGE_SIZE, "flags": "rx"})
    return core.build()


def test_a_file_whose_bytes_differ_from_the_cores_is_refused(tmp_path: Path) -> None:
    made = process(path=str(tmp_path / "prog"), program=Program(MACHINES["x86_64"], build_id=b""))
    data = made.program.build()
    path = written(tmp_path, held_first_page(made, data))
    other = bytearray(data)
    other[0x800] ^= 1
    written(tmp_path, bytes(other), "prog")
    report = report_of(path)
    assert any("is not the file that crashed" in finding.title for finding in report.findings)
    assert report.modules[0].file is None
    written(tmp_path, data, "prog")
    assert report_of(path).complete


def test_a_file_with_another_build_id_is_refused(tmp_path: Path) -> None:
    made = process(path=str(tmp_path / "prog"))
    path = written(tmp_path, held_first_page(made, made.program.build()))
    other = Program(MACHINES["x86_64"], build_id=b"\xee" * 20).build()
    written(tmp_path, other, "prog")
    report = report_of(path)
    [refused] = [finding for finding in report.findings if finding.kind == "file_refused"]
    assert str(tmp_path / "prog") in refused.title
    assert "ee" * 20 in refused.title
    assert report.modules[0].file is None
    assert report.modules[0].code_id == bytes(range(20)).hex()
    assert not report.complete


def test_a_file_for_another_cpu_is_refused(tmp_path: Path) -> None:
    made = process(path=str(tmp_path / "prog"))
    written(tmp_path, Elf(64, EM_AARCH64).build(), "prog")
    report = report_of(written(tmp_path, made.core(hold_image=False).build()))
    assert report.modules == [] or report.modules[0].file is None
    assert not report.complete


@pytest.mark.parametrize("name", ["fifo", "directory", "device", "loop"])
def test_what_is_no_file_is_never_opened_for_long(tmp_path: Path, name: str) -> None:
    import os

    path = tmp_path / "prog"
    if name == "fifo":
        os.mkfifo(path)
    elif name == "directory":
        path.mkdir()
    elif name == "loop":
        path.symlink_to(path)
    made = process(path="/dev/zero" if name == "device" else str(path))
    report = report_of(written(tmp_path, made.core(hold_image=False).build()))
    assert len(report.stacks) == 2


# --- pointer authentication -----------------------------------------------------------


@pytest.mark.parametrize("with_note", [True, False])
def test_authentication_codes_are_stripped(tmp_path: Path, with_note: bool) -> None:
    made = Process("aarch64")
    stack = made.thread(4711, FUNCTIONS, signal=11)
    code = 0x2A << 48 if with_note else 0x25 << 48
    stack._items = [
        item | code if isinstance(item, int) and item > 0x10000 else item for item in stack._items
    ]
    core = made.core()
    if not with_note:
        core.notes = [note for note in core.notes if note[0] != "LINUX"]
    report = report_of(written(tmp_path, core.build()))
    assert pcs(report) == made.pcs[0]
    assert report.complete


# --- signals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signal", "code", "word", "address", "sender"),
    [
        (11, 1, 8, 8, None),
        (11, 128, 0, None, None),
        (6, -6, 4711, None, 4711),
        (11, 0, 99, None, 99),
        (7, 2, 0x1000, 0x1000, None),
        (8, 1, 0x40, 0x40, None),
    ],
)
def test_what_the_signal_says(
    tmp_path: Path, signal: int, code: int, word: int, address: int | None, sender: int | None
) -> None:
    core = Core()
    core.thread(1, {"rip": 0x1000, "rsp": 0x2000}, signal=signal)
    core.signal_info(signal, code, word)
    report = report_of(written(tmp_path, core.build()))
    assert report.crash is not None
    assert (report.crash.number, report.crash.code) == (signal, code)
    assert (report.crash.address, report.crash.sender_pid) == (address, sender)


@pytest.mark.parametrize("signal", [0, 5, 18, 19, 20])
def test_a_core_of_a_process_that_ran_has_no_crash(tmp_path: Path, signal: int) -> None:
    core = Core(notes="last")
    core.thread(1, {"rip": 0x1000, "rsp": 0x2000}, signal=signal)
    report = report_of(written(tmp_path, core.build()))
    assert report.crash is None
    assert not report.stacks[0].crashed


# --- roles of memory ------------------------------------------------------------------


def test_a_jump_to_null_has_a_leaf_caller(tmp_path: Path) -> None:
    made = Process()
    stack = made.thread(1, ["middle", "main", "_start"], signal=11)
    stack._items.insert(0, made.at("inner"))
    made.threads[0] = (1, {"rip": 0, "rsp": stack["sp"]}, 11)
    report = report_of(written(tmp_path, made.core().build()))
    assert pcs(report)[:2] == [0, made.at("inner")]
    assert report.stacks[0].frames[1].trust == Trust.LEAF


def test_a_segment_whose_address_differs_from_its_offset(tmp_path: Path) -> None:
    # lld starts segments in the middle of pages: vaddr 0x2345 at offset 0x1345.
    made = process()
    core = made.core()
    core.load(0x6000_0345, b"abc")
    with unspool.open(written(tmp_path, core.build())) as target:
        assert target.space.memory.read(0x6000_0345, 3) == b"abc"


def test_memory_of_a_core(tmp_path: Path) -> None:
    made = process()
    with unspool.open(written(tmp_path, made.core().build())) as target:
        memory = target.space.memory
        assert memory.read(made.base, 4) == b"\x7fELF"
        assert memory.is_executable(made.base)
        region = memory.region(made.stacks[0].base)
        assert region is not None
        assert (region.writable, region.executable) == (True, False)


# --- what is no core ------------------------------------------------------------------


def refusal(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(unspool.InputError) as caught:
        unspool.open(written(tmp_path, data))
    assert caught.value.hint
    return caught.value.message


def test_other_elf_files(tmp_path: Path) -> None:
    assert "executable" in refusal(tmp_path, Program(MACHINES["x86_64"]).build())
    assert "object file" in refusal(tmp_path, Elf(64, kind=1).build())
    assert "RISC-V" in refusal(tmp_path, Elf(64, 243, kind=4).build())
    assert "x32" in refusal(tmp_path, Elf(32, 62, kind=4).build())
    big_endian = bytearray(Elf(64, kind=4).build())
    big_endian[5] = 2
    assert "big-endian" in refusal(tmp_path, bytes(big_endian))
    assert "broken" in refusal(tmp_path, b"\x7fELF")
