"""The streams of a minidump but for threads, modules and memory, unpacked by hand."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.build.core import Core
from tests.unit.targets.test_facts import ARGUMENTS, ENVIRON, linked_core, started_core, vdso
from unspool.model import Crash
from unspool.targets.facts import Facts
from unspool.write.draft import Draft
from unspool.write.streams.system_info import Processor

from .written import Written, draft_of, open_core, write_stream

AT_HWCAP, AT_SYSINFO_EHDR = 16, 33

TEXTS = {
    "auxv": "auxv", "maps": "maps", "cmd_line": "command_line", "environ": "environ",
    "proc_status": "status", "cpu_info": "cpu_info", "lsb_release": "lsb_release",
}  # fmt: skip


def threads(arch: str = "x86_64", *tids: int, signal: int = 0) -> Core:
    core = Core(arch)
    pc = {"x86_64": "rip", "i386": "eip", "aarch64": "pc", "arm": "pc"}[arch]
    for tid in tids or (77, 78):
        core.thread(tid, {pc: 0x1000 + tid}, signal=signal)
        signal = 0
    return core


# --- system info -------------------------------------------------------------------------------

CPUINFO = b"""processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 158
stepping\t: 10

processor\t: 1
vendor_id\t: AuthenticAMD
cpu family\t: 7
"""
ARM_CPUINFO = b"""processor\t: 0
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1
"""


def system_info(core: Core, folder: Path, **facts: object) -> tuple[Written, tuple[int, ...]]:
    with open_core(core, folder) as target:
        draft = draft_of(target)
        for name, value in facts.items():
            setattr(draft.facts, name, value)
        written = Written(draft, "system_info")
    assert len(written["system_info"]) == 56
    return written, struct.unpack_from("<3H2B5I2H", written["system_info"])


@pytest.mark.parametrize(
    ("arch", "number"), [("i386", 0), ("x86_64", 9), ("aarch64", 0x8003), ("arm", 5)]
)
def test_a_core_knows_the_kind_of_processor(arch: str, number: int, tmp_path: Path) -> None:
    written, fields = system_info(threads(arch), tmp_path)
    assert fields == (number, 0, 0, 0, 0, 0, 0, 0, 0x8201, fields[9], 0, 0)
    assert written.string(fields[9]) == "Linux"
    assert not any(written["system_info"][32:])


def test_a_core_with_the_vdso_knows_the_kernels_version(tmp_path: Path) -> None:
    core = threads()
    core.auxv({AT_SYSINFO_EHDR: 0x7FFF_0000_0000, AT_HWCAP: 0x1_178B_FBFF})
    core.load(0x7FFF_0000_0000, vdso(6 << 16 | 1 << 8 | 90), flags="rx")
    written, fields = system_info(core, tmp_path)
    assert fields[5:8] == (6, 1, 90)
    assert written.string(fields[9]) == "Linux 6.1.90"
    assert struct.unpack_from("<12s3I", written["system_info"], 32) == (
        bytes(12), 0, 0x178BFBFF, 0,
    )  # fmt: skip


def test_the_machine_of_a_live_process(tmp_path: Path) -> None:
    written, fields = system_info(
        threads(), tmp_path, cpu_info=CPUINFO, system="Linux 6.1.0-1 #1 SMP x86_64",
        version=(6, 1, 0),
    )  # fmt: skip
    assert fields[:5] == (9, 6, 158 << 8 | 10, 2, 0)
    assert written["system_info"][32:44] == b"GenuineIntel"
    assert written.string(fields[9]) == "Linux 6.1.0-1 #1 SMP x86_64"


def test_an_aarch64_machine(tmp_path: Path) -> None:
    core = threads("aarch64")
    core.auxv({AT_HWCAP: 0x1234})
    written, fields = system_info(core, tmp_path, cpu_info=ARM_CPUINFO)
    assert fields[:5] == (0x8003, 8, 0, 1, 0)
    assert struct.unpack_from("<II", written["system_info"], 32) == (0x4130D0C1, 0x1234)


def test_odd_descriptions_of_processors() -> None:
    cpu = Processor(b"cpu family: high\nmodel: 0xzz\n\xff: \xff\nprocessor" * 300)
    assert (cpu.number("cpu family"), cpu.number("model"), cpu.number("none")) == (0, 0, 0)
    assert (cpu.vendor, cpu.count) == (b"", 0)


# --- exception -----------------------------------------------------------------------------------


def exception(draft: Draft) -> tuple[Written, tuple[int, ...], bytes]:
    """Thread, then code, flags, record, address, parameters' number and first; the context."""
    written = Written(draft, "thread_list", "exception")
    body = written["exception"]
    assert len(body) == 168
    tid, code, flags, record, address, count, first = struct.unpack_from("<I4xIIQQI4xQ", body)
    assert not any(body[48:160])
    return written, (tid, code, flags, record, address, count, first), body[160:]


def test_a_fault(tmp_path: Path) -> None:
    core = threads(signal=11)
    core.signal_info(11, 2, 0x1234)
    with open_core(core, tmp_path) as target:
        written, fields, location = exception(draft_of(target))
    assert fields == (77, 11, 2, 0, 0x1234, 0, 0)
    first = written.entries("thread_list", 48)[0]
    assert location == first[40:]


def test_a_signal_from_a_process(tmp_path: Path) -> None:
    core = threads(signal=6)
    core.signal_info(6, -6, 4711)
    with open_core(core, tmp_path) as target:
        _, fields, _ = exception(draft_of(target))
    assert fields == (77, 6, 0xFFFFFFFA, 0, 0, 1, 4711)


def test_nothing_crashed(tmp_path: Path) -> None:
    with open_core(threads(), tmp_path) as target:
        written, fields, location = exception(draft_of(target))
    assert fields == (77, 0xFFFFFFFF, 0, 0, 0x1000 + 77, 0, 0)
    assert location == written.entries("thread_list", 48)[0][40:]


@pytest.mark.parametrize(("index", "tid"), [(1, 78), (None, 77), (9, 77)])
def test_the_thread_that_crashed(index: int | None, tid: int, tmp_path: Path) -> None:
    with open_core(threads(), tmp_path) as target:
        target.crash = Crash("SIGSEGV", 11, 1, None, index)
        _, fields, _ = exception(draft_of(target))
    assert fields == (tid, 11, 1, 0, 0, 0, 0)


def test_two_parameters_say_that_the_address_is_not_known(tmp_path: Path) -> None:
    with open_core(threads(signal=11), tmp_path) as target:
        _, fields, _ = exception(draft_of(target))
    assert fields == (77, 11, 0, 0, 0, 2, 0)


def test_an_exception_alone_has_its_context_too(tmp_path: Path) -> None:
    with open_core(threads(), tmp_path) as target:
        written = Written(draft_of(target), "exception")
    assert len(written.located(written["exception"][160:])) == 1232


def test_a_core_without_threads_has_no_exception(tmp_path: Path) -> None:
    with open_core(Core(), tmp_path) as target:
        assert write_stream(draft_of(target), "exception") is None
        assert write_stream(draft_of(target), "thread_list") == bytes(4)


# --- names, misc ---------------------------------------------------------------------------------


def test_names_of_threads(tmp_path: Path) -> None:
    core = threads("x86_64", 77, 78, 79, 77)
    core.process(77, "prog")
    with open_core(core, tmp_path) as target:
        target.threads[1].name = "wörker"
        written = Written(draft_of(target), "thread_names")
    entries = [struct.unpack("<IQ", entry) for entry in written.entries("thread_names", 12)]
    assert [(tid, written.string(rva)) for tid, rva in entries] == [
        (77, "prog"), (78, "wörker"), (77, "prog"),
    ]  # fmt: skip


def test_no_names(tmp_path: Path) -> None:
    with open_core(threads(), tmp_path) as target:
        assert write_stream(draft_of(target), "thread_names") is None


def test_misc_info(tmp_path: Path) -> None:
    core = threads()
    core.process(77, "prog")
    with open_core(core, tmp_path) as target:
        draft = draft_of(target)
        assert write_stream(draft, "misc_info") == struct.pack("<6I", 24, 1, 77, 0, 0, 0)
        draft.facts.times = (1_700_000_000, 5, 6)
        body = write_stream(draft, "misc_info")
        assert body == struct.pack("<6I", 24, 3, 77, 1_700_000_000, 5, 6)
        target.info.pid = draft.facts.times = None
        assert write_stream(draft, "misc_info") is None


# --- what Linux says -----------------------------------------------------------------------------


def test_texts_are_given_as_they_are(tmp_path: Path) -> None:
    with open_core(threads(), tmp_path) as target:
        facts = Facts(**{fact: fact.encode() for fact in TEXTS.values()})  # type: ignore[arg-type]
        full = Draft(target, {}, facts, with_environ=True)
        usual = Draft(target, {}, facts)
        clean = Draft(target, {}, facts, with_environ=True, keep_word=bool)
        nothing = Draft(target, {}, Facts(), with_environ=True)
        for name, fact in TEXTS.items():
            text = fact.encode()
            assert write_stream(full, name) == text
            assert write_stream(usual, name) == (None if name == "environ" else text)
            secret = name in ("environ", "cmd_line", "proc_status")
            assert write_stream(clean, name) == (None if secret else text)
            assert write_stream(nothing, name) is None


def test_arguments_of_a_core(tmp_path: Path) -> None:
    with open_core(started_core("i386"), tmp_path) as target:
        draft = draft_of(target, with_environ=True)
        assert write_stream(draft, "cmd_line") == b"".join(each + b"\0" for each in ARGUMENTS)
        assert write_stream(draft, "environ") == b"".join(each + b"\0" for each in ENVIRON)


@pytest.mark.parametrize(
    ("arch", "header", "entry"),
    [("x86_64", "<III4xQQQ", "<QI4xQ"), ("aarch64", "<III4xQQQ", "<QI4xQ"), ("i386", "<6I", "<3I")],
)
def test_what_the_dynamic_linker_loaded(
    arch: str, header: str, entry: str, tmp_path: Path
) -> None:
    with open_core(linked_core(arch), tmp_path) as target:
        draft = draft_of(target)
        written = Written(draft, "dso_debug")
    body = written["dso_debug"]
    version, rva, count, brk, base, dynamic = struct.unpack_from(header, body)
    assert (version, count, brk, base, dynamic) == (1, 2, 0x10123, 0x7F00_0000, 0x10200)
    assert draft.facts.linker is not None
    assert body[struct.calcsize(header) :] == draft.facts.linker.section
    size = struct.calcsize(entry)
    entries = [struct.unpack_from(entry, written.data, rva + size * i) for i in range(count)]
    assert [(addr, written.string(name), ld) for addr, name, ld in entries] == [
        (0x10000, "", 0x10200), (0x5000_0000, "/lib/a.so", 0x5000_1000),
    ]  # fmt: skip


def test_a_static_program_has_no_dynamic_linker(tmp_path: Path) -> None:
    with open_core(threads(), tmp_path) as target:
        assert write_stream(draft_of(target), "dso_debug") is None


# --- memory info ---------------------------------------------------------------------------------

MAPS = b"""\
00400000-00401000 r--p 00000000 08:01 5                                  /bin/prog
00401000-00402000 r-xp 00001000 08:01 5                                  /bin/prog
00402000-00404000 r-xp 00002000 08:01 5                                  /bin/prog
10000000-10001000 rw-p 00000000 00:00 0
10001000-10003000 rw-p 00000000 00:00 0                                  [heap]
10003000-10004000 ---p 00000000 00:00 0
20000000-20001000 r--p 00000000 08:01 6                                  /fonts/a
20001000-20002000 rw-s 00000000 00:05 7                                  /dev/shm/b
20002000-20003000 rw-s 00000000 00:00 0
20003000-20004000 rwxp 00000000 00:00 0
20004000-20005000 --xp 00000000 00:00 0
20005000-20006000 -w-p 00000000 00:00 0
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
"""


def memory_info(draft: Draft) -> list[tuple[int, ...]]:
    """Base, base of the allocation, protection then, size, state, protection, type."""
    written = Written(draft, "memory_info")
    assert struct.unpack_from("<II", written["memory_info"]) == (16, 48)
    entries = written.entries("memory_info", 48, header=16)
    return [struct.unpack("<QQI4xQIII4x", entry) for entry in entries]


def test_mappings_as_windows_words_them(tmp_path: Path) -> None:
    core = threads()
    core.files([(0x400000, 0x402000, 0, "/bin/prog")])
    core.load(0x400000, b"", memsz=0x2000, flags="rx")
    with open_core(core, tmp_path) as target:
        [module] = target.modules
        draft = draft_of(target)
        draft.facts.maps = MAPS
        entries = memory_info(draft)
    assert (module.base, module.end) == (0x400000, 0x402000)
    assert all(entry[2] == entry[5] and entry[4] == 0x1000 for entry in entries)
    image, mapped, private = 0x1000000, 0x40000, 0x20000
    assert [(at, base, size, protect, kind) for at, base, _, size, _, protect, kind in entries] == [
        (0x400000, 0x400000, 0x1000, 0x02, image),
        (0x401000, 0x400000, 0x1000, 0x20, image),
        (0x402000, 0x402000, 0x2000, 0x20, mapped),
        (0x10000000, 0x10000000, 0x3000, 0x04, private),
        (0x10003000, 0x10003000, 0x1000, 0x01, private),
        (0x20000000, 0x20000000, 0x1000, 0x02, mapped),
        (0x20001000, 0x20001000, 0x2000, 0x04, mapped),
        (0x20003000, 0x20003000, 0x1000, 0x40, private),
        (0x20004000, 0x20004000, 0x1000, 0x10, private),
        (0x20005000, 0x20005000, 0x1000, 0x04, private),
        (0xFFFFFFFFFF600000, 0xFFFFFFFFFF600000, 0x1000, 0x10, private),
    ]


def test_mappings_by_the_targets_memory(tmp_path: Path) -> None:
    core = threads()
    core.load(0x10000, b"x" * 0x800, memsz=0x3000, flags="rw")
    core.load(0x20000, b"x" * 0x1000, flags="rx")
    with open_core(core, tmp_path) as target:
        draft = draft_of(target)
        draft.facts.maps = None
        entries = memory_info(draft)
    assert [(each[0], each[3], each[5]) for each in entries] == [
        (0x10000, 0x3000, 0x04), (0x20000, 0x1000, 0x20),
    ]  # fmt: skip


def test_no_mappings(tmp_path: Path) -> None:
    with open_core(threads(), tmp_path) as target:
        assert write_stream(draft_of(target), "memory_info") is None
