"""Minidumps of Windows: modules' files by their ids, stacks and their bounds, protection."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

import unspool
from tests.build import minidump_records as records
from tests.build.minidump import Minidump
from tests.build.pe import AMD64, I386, CodeView, Image, Section, image
from tests.build.unwind_info import Xdata, alloc, unwind_info
from unspool.model import StopReason, Trust
from unspool.render.text import lines

from .opened import pcs, report_of, written

BASE, STACK, TEB = 0x7FF6_0000_0000, 0x14_E000, 0x31_9000
STAMP = 0x5F5E100F
GUID = bytes(range(16))
CALLS = (b"\xe8\0\0\0\0" * 0x40)[:0x100]
STARTS = (0x1000, 0x1100, 0x1200)
RETURNS = [BASE + start + 0x19 for start in STARTS]
PAGE_READWRITE, PAGE_EXECUTE_READ, PAGE_GUARD = 0x04, 0x20, 0x100


def program(machine: int = AMD64, **fields: object) -> Image:
    """Three functions with a frame of 0x28 bytes each."""
    xdata = Xdata(0x2000)
    info = xdata.add(unwind_info([alloc(4, 0x28)], prologue=4))
    functions = [(start, start + 0x100, info) for start in STARTS] if machine == AMD64 else None
    sections = [Section(".text", CALLS * 3, "rx"), xdata.section()]
    fields.setdefault("codeview", CodeView(r"C:\src\prog.pdb", GUID))
    return image(machine, sections, functions=functions, dll=False, **fields)  # type: ignore[arg-type]


def stack() -> bytes:
    """A frame of each function; nothing has called the last."""
    frame = bytes(0x28)
    return b"".join(frame + struct.pack("<Q", pc) for pc in (*RETURNS[1:], 0)).ljust(0x400, b"\0")


def dump_of(
    made: Image, *, timestamp: int = STAMP, codeview: bytes | None = None, base: int = BASE
) -> Minidump:
    dump = Minidump("amd64", "windows")
    dump.misc(4711)
    dump.thread(7, {"rip": RETURNS[0], "rsp": STACK}, stack=(STACK, stack()), Teb=TEB)
    view = records.rsds(r"C:\src\prog.pdb", GUID) if codeview is None else codeview
    dump.module(
        base, made.size_of_image, r"C:\game\Prog.exe", codeview=view, TimeDateStamp=timestamp
    )
    return dump


def files(tmp_path: Path, made: Image, name: str = "prog.exe") -> dict[str, list[str]]:
    written(tmp_path, made.file(), f"files/{name}")
    return {"symbols": [str(tmp_path / "files")]}


@pytest.mark.parametrize("name", ["prog.exe", "PROG.EXE", "store", "renamed.bin"])
def test_unwind_data_of_files_by_id(tmp_path: Path, name: str) -> None:
    made = program()
    place = f"prog.exe/{STAMP:08X}{made.size_of_image:x}/prog.exe" if name == "store" else name
    path = written(tmp_path, dump_of(made).build())
    report = report_of(path, **files(tmp_path, made, place))
    assert pcs(report) == RETURNS
    assert [frame.trust for frame in report.stacks[0].frames[1:]] == [Trust.UNWIND_INFO] * 2
    assert report.complete
    [module] = report.modules
    assert (module.name, module.kind, module.path) == ("Prog.exe", "pe", r"C:\game\Prog.exe")
    assert module.code_id == f"{STAMP:08X}{made.size_of_image:x}"
    assert module.debug_id == "03020100-0504-0706-0809-0a0b0c0d0e0f-1"
    target = report.target
    assert (target.os, target.pid, target.executable) == ("windows", 4711, r"C:\game\Prog.exe")
    assert target.wine is None
    assert report.findings == []


@pytest.mark.parametrize("what", ["link time", "size", "guid"])
def test_a_file_with_another_id_is_refused(tmp_path: Path, what: str) -> None:
    made = program()
    other = {
        "link time": program(timestamp=STAMP + 1),
        "size": program(SizeOfImage=made.size_of_image + 0x1000),
        "guid": program(codeview=CodeView("prog.pdb", bytes(16)[:-1] + b"1")),
    }[what]
    report = report_of(written(tmp_path, dump_of(made).build()), **files(tmp_path, other))
    assert len(pcs(report)) == 1
    assert "file_refused" in [finding.kind for finding in report.findings]


def test_the_guid_is_an_id_without_a_link_time(tmp_path: Path) -> None:
    made = program(timestamp=0)
    path = written(tmp_path, dump_of(made, timestamp=0).build())
    assert pcs(report_of(path, **files(tmp_path, made))) == RETURNS


@pytest.mark.parametrize("named", [True, False])
def test_a_module_without_id(tmp_path: Path, named: bool) -> None:
    """A file is taken if the user gives one of that name, not if it lies there by another."""
    made = program(timestamp=0, codeview=None)
    path = written(tmp_path, dump_of(made, timestamp=0, codeview=b"").build())
    report = report_of(path, **files(tmp_path, made, "prog.exe" if named else "other.exe"))
    assert (pcs(report) == RETURNS) is named


def test_code_of_files_is_relocated(tmp_path: Path) -> None:
    """32-bit code that is not where it was linked for: addresses in it differ from the file's."""
    base, preferred = 0x200_0000, 0x40_0000
    text = Section(".text", CALLS + struct.pack("<BI", 0xA1, preferred + 0x1234), "rx")
    block = struct.pack("<IIHH", 0x1000, 12, 3 << 12 | 0x101, 0)
    made = image(
        I386, [text, Section(".reloc", block, "r")], image_base=preferred,
        directories={5: (0x2000, 12)},
    )  # fmt: skip
    dump = Minidump("x86", "windows")
    dump.thread(7, {"eip": base + 0x1005, "esp": STACK}, stack=(STACK, bytes(64)))
    dump.module(base, made.size_of_image, r"C:\a.exe", TimeDateStamp=STAMP)
    options = files(tmp_path, made, "a.exe")
    with unspool.open(written(tmp_path, dump.build()), **options) as target:  # type: ignore[arg-type]
        assert target.space.memory.read(base + 0x1101, 4) == struct.pack("<I", base + 0x1234)
        assert target.space.is_code(base + 0x1005)
        assert not target.space.is_code(base + 0x2000)


# --- stacks ------------------------------------------------------------------------------


def teb(low: int, high: int) -> bytes:
    data = bytearray(0x2000)
    struct.pack_into("<QQ", data, 8, high, low + 0x3000)
    struct.pack_into("<Q", data, 0x30, TEB)
    struct.pack_into("<Q", data, 0x60, 0x31_8000)
    struct.pack_into("<Q", data, 0x1478, low)
    return bytes(data)


@pytest.mark.parametrize("source", ["teb", "regions", "record"])
def test_bounds_of_stacks(tmp_path: Path, source: str) -> None:
    low, high = 0x5_0000, 0x15_0000
    made = program()
    dump = dump_of(made)
    if source == "teb":
        dump.memory(TEB, teb(low, high))
    elif source == "regions":
        dump.region(low, 0x9_0000, AllocationBase=low, State=0x2000, Protect=0)
        dump.region(0xE_0000, 0x3000, PAGE_READWRITE | PAGE_GUARD, AllocationBase=low)
        dump.region(0xE_3000, high - 0xE_3000, PAGE_READWRITE, AllocationBase=low)
    report = report_of(written(tmp_path, dump.build()), **files(tmp_path, made))
    [segment] = report.stacks[0].segments
    expected = (STACK, STACK + 0x400) if source == "record" else (low, high)
    assert (segment.kind, segment.low, segment.high) == ("windows", *expected)
    assert pcs(report) == RETURNS
    shown = list(lines(report))
    assert not any("stack" in line for line in shown[3:])
    shown = list(lines(report, verbose=True))
    assert any("the thread's own stack" in line for line in shown)


def test_protection_comes_from_the_list_of_regions(tmp_path: Path) -> None:
    dump = Minidump("amd64", "windows")
    dump.thread(7, {"rip": 0x20_0010, "rsp": STACK}, stack=(STACK, bytes(64)))
    dump.memory(0x20_0000, CALLS)
    dump.memory(0x30_0000, CALLS)
    for base, protect in ((0x20_0000, PAGE_EXECUTE_READ), (0x30_0000, PAGE_READWRITE)):
        dump.region(base, 0x1000, protect)
    with unspool.open(written(tmp_path, dump.build())) as target:
        memory = target.space.memory
        for address, code in ((0x20_0000, True), (0x30_0000, False), (0x40_0000, False)):
            assert target.space.is_code(address) is code
        region = memory.region(0x30_0000)
        assert region is not None
        assert (region.writable, region.mapping) == (True, (0x30_0000, 0x30_1000))
        assert memory.read_available(0x20_00FE, 16) == CALLS[0xFE:]


def test_code_outside_of_modules_is_where_threads_are(tmp_path: Path) -> None:
    dump = Minidump("amd64", "windows")
    dump.thread(7, {"rip": 0x20_0010, "rsp": STACK}, stack=(STACK, bytes(64)))
    dump.memory(0x20_0000, CALLS)
    dump.memory(0x30_0000, CALLS)
    with unspool.open(written(tmp_path, dump.build())) as target:
        assert target.space.is_code(0x20_0000)
        assert not target.space.is_code(0x30_0000)
        assert not target.space.is_code(STACK)


def test_a_thread_in_a_system_call(tmp_path: Path) -> None:
    """No file, and of the code no more than the `ret` that it waits at: that is enough."""
    pc = BASE + 0x1014
    dump = Minidump("amd64", "windows")
    words = struct.pack("<3Q", RETURNS[1], 0, 0)
    dump.thread(7, {"rip": pc, "rsp": STACK}, stack=(STACK, words))
    dump.module(BASE, 0x4000, r"C:\ntdll.dll", TimeDateStamp=STAMP)
    dump.memory(pc - 4, b"\0\0\x0f\x05\xc3\xcd\x2e\xc3")
    report = report_of(written(tmp_path, dump.build()))
    assert pcs(report) == [pc, RETURNS[1]]
    assert report.stacks[0].frames[1].trust == Trust.LEAF
    assert report.stacks[0].stop.reason == StopReason.NO_STRATEGY
    assert report.target.wine is None  # Windows has an ntdll.dll, too


def test_a_jump_into_an_unloaded_module(tmp_path: Path) -> None:
    dump = dump_of(program())
    dump.thread(8, {"rip": 0x1_2345, "rsp": STACK})
    dump.unloaded_module(0x1_0000, 0x1_0000, r"C:\plugin.dll")
    report = report_of(written(tmp_path, dump.build()))
    [finding] = [each for each in report.findings if each.kind == "unloaded_module"]
    assert finding.title == (
        r"C:\plugin.dll was unloaded while its code at 0x12345 was needed"
    )
    assert finding.threads == (1,)


# --- the exception -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "parameters", "name", "words"),
    [
        (0xC0000005, [0, 0x45], "STATUS_ACCESS_VIOLATION",
         "access violation, read of 0x45, inside the null page (0xc0000005)"),
        (0xC0000005, [1, 0xFFFFFFFF00000045], "STATUS_ACCESS_VIOLATION",
         "access violation, write to 0xffffffff00000045, in the kernel's half of the address "
         "space (0xc0000005)"),
        (0xC0000005, [8, 0x20_0000], "STATUS_ACCESS_VIOLATION",
         "access violation, jump to 0x200000 (0xc0000005)"),
        (0xC0000094, [], "STATUS_INTEGER_DIVIDE_BY_ZERO", "integer division by zero (0xc0000094)"),
        (0xE0001234, [], "0xe0001234", "exception (0xe0001234)"),
    ],
)  # fmt: skip
def test_exceptions(
    tmp_path: Path, code: int, parameters: list[int], name: str, words: str
) -> None:
    dump = dump_of(program())
    dump.exception(
        7, code, RETURNS[1], parameters, registers={"rip": RETURNS[1], "rsp": STACK}
    )
    report = report_of(written(tmp_path, dump.build()))
    assert report.crash is not None
    assert (report.crash.signal, report.crash.number) == (name, code)
    assert report.stacks[0].crashed
    assert pcs(report) == [RETURNS[1]]
    first, second, *_ = lines(report)
    assert first == f"Prog.exe, Windows, x86_64: {words}"
    assert second == "pid 4711, 1 thread, minidump"


def test_a_dump_of_a_process_that_ran(tmp_path: Path) -> None:
    dump = dump_of(program())
    dump.exception(7, 0x0517A7ED, RETURNS[1])
    report = report_of(written(tmp_path, dump.build()))
    assert report.crash is None
    assert "no exception: taken from a running process" in list(lines(report))[1]
