"""Minidumps as targets: threads, memory, modules, the crash, and what is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

import unspool
from tests.build import minidump_records as records
from tests.build.minidump import Minidump
from tests.build.process import IMAGE_SIZE, MACHINES, Program
from unspool.errors import InputError
from unspool.model import StopReason, Trust

from .minidumps import ARCHES, bounds_of, dump_of, maps_of, process_of
from .opened import pcs, report_of, written


def symbols(tmp_path: Path, program: Program, name: str = "prog") -> str:
    written(tmp_path, program.build(), f"files/{name}")
    return str(tmp_path / "files")


@pytest.mark.parametrize("memory", ["list", "64", "none"])
@pytest.mark.parametrize("maps", [True, False])
@pytest.mark.parametrize("arch", ARCHES)
def test_a_whole_dump(tmp_path: Path, arch: str, maps: bool, memory: str) -> None:
    made = process_of(arch)
    path = written(tmp_path, dump_of(made, maps=maps, memory=memory).build())
    report = report_of(path, symbols=[symbols(tmp_path, made.program)])
    assert [pcs(report, 0), pcs(report, 1)] == made.pcs
    assert report.complete
    assert [stack.tid for stack in report.stacks] == [4711, 4712]
    assert [stack.crashed for stack in report.stacks] == [True, False]
    assert [stack.name for stack in report.stacks] == ["name 4711", "name 4712"]
    assert (report.target.kind, report.target.os) == ("minidump", "linux")
    assert report.target.arch == {"i386": "x86"}.get(arch, arch)
    assert report.crash is not None
    assert (report.crash.signal, report.crash.number, report.crash.code) == ("SIGSEGV", 11, 1)
    assert (report.crash.address, report.crash.thread_index) == (8, 0)
    [module] = report.modules
    assert (module.name, module.base, module.bias) == ("prog", made.base, made.base)
    assert module.code_id == bytes(range(20)).hex()
    assert report.findings == []
    if maps:
        segments = [stack.segments[0] for stack in report.stacks]
        assert [(each.low, each.high) for each in segments] == [
            bounds_of(stack.base) for stack in made.stacks
        ]


def test_the_stacks_are_those_of_the_core(tmp_path: Path) -> None:
    made = process_of(path=written(tmp_path, process_of().program.build(), "prog"))
    core = report_of(written(tmp_path, made.core(hold_image=False).build(), "core"))
    dump = report_of(written(tmp_path, dump_of(made).build()))
    assert [stack.frames for stack in dump.stacks] == [stack.frames for stack in core.stacks]
    assert [stack.stop for stack in dump.stacks] == [stack.stop for stack in core.stacks]
    assert dump.locations == core.locations


# --- files -------------------------------------------------------------------------------


def test_a_file_of_another_build_is_refused(tmp_path: Path) -> None:
    made = process_of()
    other = Program(MACHINES["x86_64"], build_id=bytes(20))
    path = written(tmp_path, dump_of(made).build())
    report = report_of(path, symbols=[symbols(tmp_path, other)])
    assert [stack.stop.reason for stack in report.stacks] == [StopReason.NO_STRATEGY] * 2
    finding = report.findings[0]
    assert finding.kind == "file_refused"
    assert "build id" in finding.title


@pytest.mark.parametrize("where", ["host", "sysroot", "symbols", "executable", "renamed"])
def test_a_module_without_id(tmp_path: Path, where: str) -> None:
    """A file is taken only where the user says that it is."""
    program = Program(MACHINES["x86_64"])
    there = written(tmp_path, program.build(), "files/prog" + "2" * (where == "renamed"))
    made = process_of(path=there if where == "host" else "/prog")
    path = written(tmp_path, dump_of(made, codeview=b"").build())
    options: dict[str, object] = {"symbols": [str(tmp_path / "files")]}
    if where == "host":
        options = {}
    elif where == "executable":
        options = {"executable": there}
    elif where == "sysroot":
        options = {"sysroot": str(tmp_path / "files")}
    report = report_of(path, **options)
    found = where in ("sysroot", "symbols", "executable")
    assert report.complete is found
    assert (report.modules[0].file == there) is found


@pytest.mark.parametrize("form", ["guid", "code", "another"])
def test_ids_of_16_bytes(tmp_path: Path, form: str) -> None:
    """Old Breakpad's: the start of the build id, or what it makes of the code if there is none."""
    program = Program(MACHINES["x86_64"])
    image = program.build()
    text = image[0x1000 : 0x1000 + 4 * program.size]
    folded = bytearray(16)
    for at, byte in enumerate(text):
        folded[at % 16] ^= byte
    guid = {"guid": bytes(range(16)), "code": bytes(folded), "another": bytes(16)[:-1] + b"x"}[form]
    if form == "code":
        program.build_id = b""
        image = Program(MACHINES["x86_64"], build_id=b"").build()
    made = process_of(path="/elsewhere/prog")
    path = written(tmp_path, dump_of(made, codeview=records.rsds("prog", guid, 0)).build())
    written(tmp_path, image, "files/prog")
    report = report_of(path, symbols=[str(tmp_path / "files")])
    assert report.complete is (form != "another")


def test_data_that_the_dump_lacks_is_not_the_files(tmp_path: Path) -> None:
    """The file has it as it was before the program wrote to it."""
    made = process_of()
    data = made.base + IMAGE_SIZE
    dump = dump_of(made, maps=False)
    line = f"{data:x}-{data + 0x1000:x} rw-p 00000000 08:01 17 {made.path}\n"
    dump.stream(records.LINUX_MAPS, maps_of(made) + line.encode())
    options = {"symbols": [symbols(tmp_path, made.program)]}
    with unspool.open(written(tmp_path, dump.build()), **options) as target:  # type: ignore[arg-type]
        memory = target.space.memory
        assert memory.read(made.base, 4) == b"\x7fELF"
        assert memory.read_available(data, 4) == b""
        region = memory.region(data)
        assert region is not None
        assert region.writable
        assert not memory.is_executable(data)


# --- the crash ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        ((6, -6, 4711), ("SIGABRT", -6, None, 4711)),
        ((11, 0x80, 0), ("SIGSEGV", 0x80, None, None)),
        ((11, 0, 0x45), ("SIGSEGV", None, 0x45, None)),  # old Breakpad has no code
        ((0xFFFFFFFF, 0, 0), None),  # the program asked for a dump
        (None, None),
    ],
)
def test_crashes(
    tmp_path: Path, signal: tuple[int, int, int] | None, expected: tuple[object, ...] | None
) -> None:
    made = process_of()
    report = report_of(written(tmp_path, dump_of(made, signal=signal).build()))
    crash = report.crash
    assert (crash is None) is (expected is None)
    if crash is not None:
        assert (crash.signal, crash.code, crash.address, crash.sender_pid) == expected
    assert [stack.crashed for stack in report.stacks] == [expected is not None, False]
    assert pcs(report)[0] == made.pcs[0][0]


# --- Wine --------------------------------------------------------------------------------


@pytest.mark.parametrize(("arch", "base"), [("x86_64", "gs_base"), ("i386", "fs_base")])
def test_tebs_are_whose_the_dump_says(tmp_path: Path, arch: str, base: str) -> None:
    """Breakpad knows of none: only where some thread has one do the others have none."""
    for tebs in ((0x7FFD_0000, 0), (0, 0)):
        dump = Minidump(ARCHES[arch])
        for tid, teb in enumerate(tebs):
            dump.thread(tid, {}, Teb=teb)
        with unspool.open(written(tmp_path, dump.build())) as target:
            found = [thread.special.get(base) for thread in target.threads]
            assert found == (list(tebs) if any(tebs) else [None, None])
            assert [thread.special.get("teb") for thread in target.threads] == found


# --- what is lost ------------------------------------------------------------------------


def test_a_thread_without_registers(tmp_path: Path) -> None:
    dump = dump_of(process_of(), signal=None)
    dump.thread(9)
    report = report_of(written(tmp_path, dump.build()))
    assert report.stacks[2].stop.reason == StopReason.MISSING_CONTEXT


def test_truncated_files(tmp_path: Path) -> None:
    """Wherever the end is missing, what is there is walked, and the report says so."""
    made = process_of()
    dump = dump_of(made)
    data = dump.build()
    options = {"symbols": [symbols(tmp_path, made.program)]}
    for size in range(0, len(data), 97):
        path = written(tmp_path, data[:size])
        try:
            report = report_of(path, **options)
        except InputError as error:
            assert error.hint
            continue
        assert not report.complete
        assert report.target.truncated
        assert any(finding.incomplete for finding in report.findings)


@pytest.mark.parametrize("arch", ["ppc", "mips"])
def test_other_processors_are_named(tmp_path: Path, arch: str) -> None:
    dump = Minidump("arm", None)
    dump.system("linux", ProcessorArchitecture={"ppc": 3, "mips": 1}[arch])
    with pytest.raises(InputError, match={"ppc": "PowerPC", "mips": "MIPS"}[arch]):
        unspool.open(written(tmp_path, dump.build()))


def test_a_dump_without_system_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="SystemInfo"):
        unspool.open(written(tmp_path, Minidump("amd64", None).build()))


def test_trust_without_files(tmp_path: Path) -> None:
    """Nothing but the stack: the walk ends honestly, with the file that it wants."""
    report = report_of(written(tmp_path, dump_of(process_of()).build()))
    assert not report.complete
    for stack in report.stacks:
        assert stack.frames[0].trust == Trust.CONTEXT
        assert "prog" in stack.stop.detail
