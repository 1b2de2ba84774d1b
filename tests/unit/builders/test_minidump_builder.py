"""The minidump builder against readers of others: skelsec's `minidump` and Breakpad's programs."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import breakpad
from tests.build import minidump_records as r
from tests.build.minidump import List, Minidump
from tests.conftest import Corpus
from tests.peers.breakpad import complaints

GUID = bytes.fromhex("67452301ab89efcd0123456789abcdef")
IDENTIFIER = bytes(range(0xA0, 0xB4))
PC_AND_SP = {
    "x86": ("eip", "esp"), "amd64": ("rip", "rsp"), "arm64": ("pc", "sp"),
    "arm64_old": ("pc", "sp"), "arm": ("pc", "sp"), "arm_windows": ("pc", "sp"),
}  # fmt: skip
# As minidump_dump names them.
REGISTER_LINES = {
    "x86": ("eip", "esp"), "amd64": ("rip", "rsp"), "arm": ("pc", "sp"),
    "arm64": ("iregs.32.", "iregs.31."), "arm64_old": ("iregs.32.", "iregs.31."),
}  # fmt: skip


def sample(arch: str = "amd64", system: str = "windows", memory: str = "list") -> Minidump:
    pc, sp = PC_AND_SP[arch]
    dump = Minidump(arch, system, memory=memory)
    dump.misc(4711, 0x6553_F000)
    dump.thread(100, {pc: 0x40_1234, sp: 0x7F_0010}, (0x7F_0000, b"stack" * 16), name="main")
    dump.thread(101, {pc: 0x40_2222, sp: 0x8F_0010}, (0x8F_0000, b"other" * 16), Teb=0x7FFD_E000)
    dump.module(
        0x40_0000, 0x8000, "C:\\game\\run.exe", codeview=r.rsds("run.pdb", GUID, 3),
        version=r.version_info((1, 2, 3, 4)), TimeDateStamp=0x5000_0000,
    )  # fmt: skip
    dump.module(0x50_0000, 0x3000, "/lib/libx.so", codeview=r.build_id(IDENTIFIER))
    dump.module(0x60_0000, 0x1000, "nothing")
    dump.unloaded_module(0x70_0000, 0x2000, "gone.dll", TimeDateStamp=7)
    dump.memory(0x40_1200, b"\xcc" * 64)
    dump.region(0x7F_0000, 0x1000)
    dump.region(0x40_0000, 0x8000, 0x20, Type=0x100_0000)
    dump.exception(100, 0xC0000005, 0x40_1234, [1, 0x28], registers={pc: 0x40_1234, sp: 0x7F_0010})
    return dump


@pytest.fixture
def skelsec() -> Any:
    return pytest.importorskip("minidump.minidumpfile").MinidumpFile


@pytest.mark.parametrize("memory", ["list", "64"])
@pytest.mark.parametrize("arch", ["x86", "amd64"])
def test_the_package_minidump_reads_what_was_built(skelsec: Any, arch: str, memory: str) -> None:
    read = skelsec.parse_bytes(sample(arch, "windows", memory).build())
    assert read.sysinfo.ProcessorArchitecture.name == {"x86": "INTEL", "amd64": "AMD64"}[arch]
    assert [(t.ThreadId, t.Teb) for t in read.threads.threads] == [(100, 0), (101, 0x7FFD_E000)]
    contexts = [thread.ContextObject for thread in read.threads.threads]
    pc, sp = ("Eip", "Esp") if arch == "x86" else ("Rip", "Rsp")
    assert [getattr(context, pc) for context in contexts] == [0x40_1234, 0x40_2222]
    assert [getattr(context, sp) for context in contexts] == [0x7F_0010, 0x8F_0010]
    modules = read.modules.modules
    assert [(m.baseaddress, m.size, m.name) for m in modules] == [
        (0x40_0000, 0x8000, "C:\\game\\run.exe"),
        (0x50_0000, 0x3000, "/lib/libx.so"),
        (0x60_0000, 0x1000, "nothing"),
    ]
    assert modules[0].versioninfo.dwFileVersionMS == 1 << 16 | 2
    [unloaded] = read.unloaded_modules.modules
    assert (unloaded.baseaddress, unloaded.size, unloaded.name) == (0x70_0000, 0x2000, "gone.dll")
    infos = [(info.BaseAddress, info.RegionSize) for info in read.memory_info.infos]
    assert infos == [(0x7F_0000, 0x1000), (0x40_0000, 0x8000)]
    [record] = read.exception.exception_records
    assert record.ThreadId == 100
    assert record.ExceptionRecord.ExceptionInformation[:2] == [1, 0x28]
    assert read.misc_info.ProcessId == 4711
    segments = read.memory_segments if memory == "list" else read.memory_segments_64
    assert [(s.start_virtual_address, s.size) for s in segments.memory_segments] == [
        (0x7F_0000, 80), (0x8F_0000, 80), (0x40_1200, 64),
    ]  # fmt: skip
    reader = read.get_reader()
    assert reader.read(0x7F_0003, 7) == b"ckstack"
    assert reader.read(0x40_1210, 4) == b"\xcc" * 4


@pytest.mark.parametrize("arch", PC_AND_SP)
def test_breakpad_reads_every_stream_without_a_complaint(tmp_path: Path, arch: str) -> None:
    system = "windows" if arch in ("arm_windows", "x86") else "linux"
    dump = sample(arch, system)
    dump.stream(r.LINUX_MAPS, b"00400000-00408000 r-xp 00000000 08:01 77  /bin/prog\n")
    dump.stream(r.LINUX_CMD_LINE, b"/bin/prog\0--flag\0")
    dump.breakpad_info(101)
    dump.crashpad({"key": "value"}, {0: {"inner": "thing"}}, size=52)
    dump.dso_debug([(0x40_0000, "/bin/prog", 0x40_4000)], bits=64 if "64" in arch else 32)
    out, complaints = breakpad_dump(dump.build(), tmp_path)
    if arch == "arm_windows":  # Breakpad knows its own CONTEXT of arm alone.
        complaints = [line for line in complaints if "ontext" not in line]
    assert not complaints
    for expected in (
        "thread_count = 2", "stack.start_of_memory_range = 0x7f0000", "module_count = 3",
        '(code_file)                     = "C:\\game\\run.exe"',
        '(debug_identifier)              = "0123456789ABCDEF0123456789ABCDEF3"',
        f"(cv_record).build_id            = {IDENTIFIER.hex()}",
        "region_count = 3", "info_count = 2", "requesting_thread_id = 0x65",
        'simple_annotations["key"] = value', 'module_list[0].simple_annotations["inner"] = thing',
    ):  # fmt: skip
        assert expected in out, expected
    if system == "windows":
        assert '(code_identifier)               = "500000008000"' in out
        assert '(version)                       = "1.2.3.4"' in out
    if arch != "arm_windows":
        pc, sp = REGISTER_LINES[arch]
        assert re.search(rf"{pc} += 0x401234\b", out)
        assert re.search(rf"{sp} += 0x8f0010\b", out)


@pytest.mark.parametrize("kind", [r.THREAD_LIST, r.MODULE_LIST, r.MEMORY_LIST])
def test_breakpad_reads_lists_that_are_padded(tmp_path: Path, kind: int) -> None:
    dump = sample()
    dump.lists[kind] = List(padding=4)
    out, complaints = breakpad_dump(dump.build(), tmp_path)
    assert not complaints
    assert "thread_count = 2" in out
    assert "module_count = 3" in out
    assert "region_count = 3" in out


LIES: dict[str, Callable[[Minidump], object]] = {
    "thread_list": lambda dump: dump.lists.update({r.THREAD_LIST: List(count=1 << 30)}),
    "module_list": lambda dump: dump.entries.update({r.MODULE_LIST: {"DataSize": 3}}),
    "memory_list": lambda dump: dump.entries.update({r.MEMORY_LIST: {"Rva": 1 << 31}}),
    "header": lambda dump: dump.lies.update(Signature=0x4D444D51),
    "directory": lambda dump: dump.lies.update(NumberOfStreams=1 << 31),
}


@pytest.mark.parametrize("lie", LIES)
def test_breakpad_complains_of_lies(tmp_path: Path, lie: str) -> None:
    dump = sample()
    LIES[lie](dump)
    _, complaints = breakpad_dump(dump.build(), tmp_path)
    assert complaints


# List, and the sizes of its head and of an entry, which real dumps show too.
SIZES = [
    ("breakpad__thread_name_list.dmp", r.THREAD_NAMES, 4, r.THREAD_NAME.size),
    ("breakpad__thread_name_list.dmp", r.THREAD_LIST, 4, r.THREAD.size),
    ("breakpad__minidump2.dmp", r.MODULE_LIST, 4, r.MODULE.size),
    ("breakpad__minidump2.dmp", r.MEMORY_LIST, 4, r.MEMORY.size),
    ("breakpad__minidump2.dmp", r.EXCEPTION, 0, r.EXCEPTION_STREAM.size),
    ("symbolicator__fixtures__windows.dmp", r.SYSTEM_INFO, 0, r.SYSTEM.size),
    ("breakpad__minidump_crashpad_annotation.dmp", r.THREAD_NAMES, 4, r.THREAD_NAME.size),
    ("breakpad__minidump2.dmp", r.MISC_INFO, 0, r.MISC.size),
    ("breakpad__minidump2.dmp", r.BREAKPAD_INFO, 0, r.BREAKPAD.size),
    # Behind it is the dynamic section: 27 entries.
    ("rust-minidump__linux-mini.dmp", r.LINUX_DSO_DEBUG, 27 * 16, r.DSO_DEBUG64.size),
]


@pytest.mark.parametrize(("name", "kind", "head", "entry"), SIZES)
def test_real_dumps_have_entries_of_the_same_size(
    corpus: Corpus, name: str, kind: int, head: int, entry: int
) -> None:
    data = corpus(name)
    count, directory = struct.unpack_from("<II", data, 8)
    entries = [struct.unpack_from("<III", data, directory + 12 * i) for i in range(count)]
    [(_, size, rva)] = [found for found in entries if found[0] == kind]
    number = struct.unpack_from("<I", data, rva)[0] if head == 4 else 1
    assert size == head + entry * number


def test_what_is_cut_is_cut() -> None:
    whole = sample().build()
    assert sample().build(1000) == whole[:1000]


def test_places_say_where_streams_are() -> None:
    dump = sample()
    data = dump.build()
    rva, size = dump.places[r.THREAD_LIST]
    assert data[rva : rva + 4] == b"\2\0\0\0"
    assert size == 4 + 2 * 48


def breakpad_dump(data: bytes, folder: Path) -> tuple[str, list[str]]:
    """What minidump_dump prints, and its warnings and errors."""
    path = folder / "a.dmp"
    path.write_bytes(data)
    out, errors = breakpad.run("minidump_dump", path)
    return out, list(complaints(errors))
