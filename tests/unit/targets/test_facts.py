"""What cores and live processes tell of themselves beside memory and threads."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.core import (
    AT_ENTRY,
    AT_EXECFN,
    AT_PHDR,
    AT_PHNUM,
    AT_SYSINFO_EHDR,
    NT_AUXV,
    Core,
)  # fmt: skip
from tests.build.elf import EM_X86_64, PT_NOTE, Elf
from tests.build.notes import note
from tests.programs.running import running
from unspool.formats.notes import vdso_version
from unspool.targets.base import Options
from unspool.targets.core.target import CoreTarget
from unspool.targets.facts import Facts
from unspool.targets.input.source import open_source
from unspool.targets.live.facts import times_of, version_of
from unspool.targets.live.target import open_live

AT_RANDOM = 25
WORDS = {"x86_64": 8, "i386": 4, "aarch64": 8}
BASE = {8: 0x7FFD_0000_0000, 4: 0xFFF0_0000}
ARGUMENTS = [b"/bin/prog", b"--flag", b"", b"two words"]
ENVIRON = [b"HOME=/root", b"EMPTY=", b"\xff=1"]


def first_stack(
    word: int, arguments: Sequence[bytes], environ: Sequence[bytes], *, count: int | None = None
) -> tuple[bytes, list[tuple[int, int]]]:
    """The bytes at BASE as execve leaves them, and the auxiliary vector in it."""
    strings = b"".join(text + b"\0" for text in [*arguments, *environ])
    pointers = 1 + len(arguments) + 1 + len(environ) + 1
    # Below the number of arguments is what the program has pushed since.
    pushed, vector, random = 256, 5 * 2 * word, 32
    texts = BASE[word] + pushed + pointers * word + vector + random
    random_at = texts - random + 16
    auxv = [(6, 4096), (17, 100), (AT_RANDOM, random_at), (AT_EXECFN, texts + len(strings))]
    addresses = []
    at = texts
    for text in [*arguments, *environ]:
        addresses.append(at)
        at += len(text) + 1
    given_count = len(arguments) if count is None else count
    words = [given_count, *addresses[: len(arguments)], 0, *addresses[len(arguments) :], 0]
    words += [value for pair in [*auxv, (0, 0)] for value in pair]
    code = "<Q" if word == 8 else "<I"
    data = b"\x55" * pushed + b"".join(struct.pack(code, value) for value in words)
    data += b"r" * random + strings + b"/bin/prog\0"
    return data.ljust(0x3000, b"\0"), auxv


def started_core(arch: str, **keywords: object) -> Core:
    word = WORDS[arch]
    core = Core(arch)
    core.thread(7, {})
    core.process(7, "prog", "/bin/prog --flag  two words")
    data, auxv = first_stack(word, ARGUMENTS, ENVIRON, **keywords)  # type: ignore[arg-type]
    core.auxv(auxv)
    core.load(BASE[word], data)
    return core


def facts_of(core: Core, folder: Path, **options: object) -> Facts:
    path = folder / "core"
    path.write_bytes(core.build())
    target = CoreTarget(open_source(str(path)), Options(**options))  # type: ignore[arg-type]
    with target:
        return target.facts()


def maps_of(core: Core, folder: Path, **options: object) -> list[str]:
    maps = facts_of(core, folder, **options).maps or b""
    return os.fsdecode(maps).splitlines()


# --- cores -----------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", WORDS)
def test_arguments_and_environment_are_in_the_first_stack(arch: str, tmp_path: Path) -> None:
    facts = facts_of(started_core(arch), tmp_path)
    assert facts.command_line == b"".join(each + b"\0" for each in ARGUMENTS)
    assert facts.environ == b"".join(each + b"\0" for each in ENVIRON)


@pytest.mark.parametrize("count", [0, 3, 5, 1 << 31])
def test_a_number_of_arguments_that_does_not_fit_is_not_believed(
    count: int, tmp_path: Path
) -> None:
    facts = facts_of(started_core("x86_64", count=count), tmp_path)
    assert facts.command_line == b"/bin/prog --flag  two words\0"
    assert facts.environ is None


def test_a_core_without_its_first_stack(tmp_path: Path) -> None:
    core = Core("x86_64")
    core.thread(7, {})
    core.thread(8, {})
    core.process(7, "a\nb\\", "/bin/prog --flag")
    facts = facts_of(core, tmp_path)
    assert facts.command_line == b"/bin/prog --flag\0"
    assert facts.status == b"Name:\ta\\nb\\\\\nTgid:\t7\nPid:\t7\nThreads:\t2\n"
    assert facts.thread_names == {7: "a\nb\\"}
    unknown = (facts.environ, facts.auxv, facts.maps, facts.cpu_info, facts.lsb_release)
    assert unknown == (None,) * 5
    assert (facts.linker, facts.system, facts.version, facts.times) == (None,) * 4


def test_a_core_without_anything(tmp_path: Path) -> None:
    core = Core("x86_64")
    core.thread(7, {})
    assert facts_of(core, tmp_path) == Facts()


def test_the_auxiliary_vector_is_given_as_it_is(tmp_path: Path) -> None:
    core = started_core("i386")
    [raw] = [data for _, kind, data in core.notes if kind == NT_AUXV]
    assert facts_of(core, tmp_path).auxv == raw


def test_maps_are_written_as_the_kernel_does(tmp_path: Path) -> None:
    core = started_core("x86_64")
    core.load(0x400000, b"x", memsz=0x3000, flags="rx")
    core.load(0x403000, b"x" * 16, memsz=0x1000, flags="rw")
    core.load(0x404000, b"", memsz=0x1000, flags="")
    core.load(0xFFFF_FFFF_FF60_0000, b"", memsz=0x1000, flags="x")
    core.files([(0x400000, 0x402000, 0x1000, "/a\nb"), (0x7000_0000, 0x7000_1000, 0, "/font")])
    blanks = " " * 25
    assert maps_of(core, tmp_path) == [
        "00400000-00402000 r-xp 00001000 00:00 0" + " " * 34 + r"/a\012b",
        "00402000-00403000 r-xp 00000000 00:00 0",
        "00403000-00404000 rw-p 00000000 00:00 0",
        "00404000-00405000 ---p 00000000 00:00 0",
        "70000000-70001000 ---p 00000000 00:00 0" + " " * 34 + "/font",
        "7ffd00000000-7ffd00003000 rw-p 00000000 00:00 0" + blanks + " [stack]",
        "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0" + " " * 18 + "[vsyscall]",
    ]


def test_mappings_that_overlap_are_told_apart(tmp_path: Path) -> None:
    core = Core("x86_64")
    core.thread(7, {})
    core.load(0x1000, b"", memsz=0x3000, flags="r")
    core.load(0x2000, b"", memsz=0x4000, flags="rw")
    core.files([(0x3000, 0x5000, 0, "/a"), (0x4000, 0x7000, 0, "/b")])
    assert [line.split() for line in maps_of(core, tmp_path)] == [
        ["00001000-00003000", "r--p", "00000000", "00:00", "0"],
        ["00003000-00004000", "r--p", "00000000", "00:00", "0", "/a"],
        ["00004000-00005000", "rw-p", "00001000", "00:00", "0", "/a"],
        ["00005000-00006000", "rw-p", "00001000", "00:00", "0", "/b"],
        ["00006000-00007000", "---p", "00002000", "00:00", "0", "/b"],
    ]


def vdso(version: int, name: str = "Linux") -> bytes:
    image = Elf(64, EM_X86_64)
    image.segment(PT_NOTE, note(name, 0, struct.pack("<I", version)), address=0x200, align=4)
    return image.build()


def test_the_kernels_version_is_in_its_vdso(tmp_path: Path) -> None:
    core = Core("x86_64")
    core.thread(7, {})
    core.auxv({AT_SYSINFO_EHDR: 0x7FFF_0000_0000})
    core.load(0x7FFF_0000_0000, vdso(6 << 16 | 1 << 8 | 255), flags="rx")
    facts = facts_of(core, tmp_path)
    assert facts.version == (6, 1, 255)
    assert facts.maps is not None
    assert facts.maps.endswith(b" [vdso]\n")


def test_a_vdso_without_that_note() -> None:
    assert vdso_version(vdso(1, "Minux")) is None
    assert vdso_version(b"") is None


# --- the dynamic linker ------------------------------------------------------------------------


def linked_core(arch: str, *, loop: bool = False) -> Core:
    """A program with a dynamic section, r_debug and two entries; all of it in one segment."""
    word = WORDS[arch]
    code = "Q" if word == 8 else "I"
    base = 0x10000
    data = bytearray(0x1000)

    def put(offset: int, *values: int) -> None:
        struct.pack_into(f"<{len(values)}{code}", data, offset, *values)

    if word == 8:  # PT_PHDR, PT_DYNAMIC
        struct.pack_into("<IIQQ", data, 0x40, 6, 4, 0x40, 0x40)
        struct.pack_into("<IIQQ", data, 0x40 + 56, 2, 4, 0x200, 0x200)
    else:
        struct.pack_into("<IIII", data, 0x40, 6, 0x40, 0x40, 0)
        struct.pack_into("<IIII", data, 0x40 + 32, 2, 0x200, 0x200, 0)
    put(0x200, 1, 0x11, 21, base + 0x300, 0, 0, 99, 99)  # DT_NEEDED, DT_DEBUG, DT_NULL
    put(0x300, 1, base + 0x400, base + 0x123, 0, 0x7F00_0000)
    put(0x400, base, base + 0x600, base + 0x200, base + 0x480)
    put(0x480, 0x5000_0000, base + 0x601, 0x5000_1000, base + 0x400 if loop else 0)
    data[0x600:0x60A] = b"\0/lib/a.so"
    core = Core(arch)
    core.thread(7, {})
    core.auxv({AT_PHDR: base + 0x40, AT_PHNUM: 2, AT_ENTRY: base})
    core.load(base, bytes(data))
    return core


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("arch", WORDS)
def test_the_dynamic_linkers_structure(arch: str, loop: bool, tmp_path: Path) -> None:
    linker = facts_of(linked_core(arch, loop=loop), tmp_path).linker
    assert linker is not None
    assert (linker.version, linker.breakpoint, linker.base) == (1, 0x10123, 0x7F00_0000)
    assert linker.dynamic == 0x10200
    assert len(linker.section) == 6 * WORDS[arch]
    assert [(entry.bias, entry.name, entry.dynamic) for entry in linker.entries] == [
        (0x10000, "", 0x10200), (0x5000_0000, "/lib/a.so", 0x5000_1000),
    ]  # fmt: skip


# --- a kept directory --------------------------------------------------------------------------


def test_a_kept_directory_is_asked_first(tmp_path: Path) -> None:
    folder = tmp_path / "proc"
    for name in ("task/7", "task/8", "task/x"):
        (folder / name).mkdir(parents=True)
    for name in ("auxv", "maps", "cmdline", "environ", "status", "cpuinfo", "lsb-release"):
        (folder / name).write_text(f"kept {name}")
    (folder / "task/7/comm").write_text("first\n")
    (folder / "task/8/comm").write_text("second\n")
    facts = facts_of(started_core("x86_64"), tmp_path, procfs=str(folder))
    assert facts.thread_names == {7: "first", 8: "second"}
    assert (facts.auxv, facts.maps) == (b"kept auxv", b"kept maps")
    assert (facts.command_line, facts.environ) == (b"kept cmdline", b"kept environ")
    assert (facts.status, facts.cpu_info) == (b"kept status", b"kept cpuinfo")
    assert facts.lsb_release == b"kept lsb-release"


def test_what_a_kept_directory_does_not_have(tmp_path: Path) -> None:
    folder = tmp_path / "proc"
    folder.mkdir()
    (folder / "status").write_text("")
    os.mkfifo(folder / "maps")
    (folder / "environ").symlink_to("/dev/zero")
    core = started_core("x86_64")
    assert facts_of(core, tmp_path, procfs=str(folder)) == facts_of(core, tmp_path)
    assert facts_of(core, tmp_path, procfs=str(folder / "no")) == facts_of(core, tmp_path)


def test_mappings_of_a_kept_directory_name_the_modules(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(Elf(64, EM_X86_64).build())
    core = Core("x86_64")
    core.thread(7, {})
    image = Elf(64, EM_X86_64)
    image.segment(1, b"\x90" * 64, address=0, offset=0)
    core.load(0x400000, image.build(), memsz=0x1000, flags="rx")
    folder = tmp_path / "proc"
    folder.mkdir()
    (folder / "maps").write_text("00400000-00401000 r-xp 00000000 08:01 77 /opt/prog\n")
    word = struct.pack("<4Q", AT_ENTRY, 0x400040, 0, 0)
    (folder / "auxv").write_bytes(word)
    path = tmp_path / "core"
    path.write_bytes(core.build())
    with CoreTarget(open_source(str(path)), Options(procfs=str(folder))) as target:
        assert [module.path for module in target.modules] == ["/opt/prog"]
        assert target.info.executable == "/opt/prog"


# --- live --------------------------------------------------------------------------------------

SLEEPER = """
import threading, time
started = threading.Barrier(3)
def wait():
    started.wait()
    time.sleep(1000)
for _ in range(2): threading.Thread(target=wait, daemon=True).start()
started.wait()
print("ready", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "UNSPOOL_TEST": "a b"}
    with running([sys.executable, "-c", SLEEPER], env=environment) as process:
        yield process


@pytest.mark.skipif(
    os.uname().machine not in ("x86_64", "aarch64"), reason="live processes of other hosts"
)
def test_a_live_process(sleeper: subprocess.Popen[str]) -> None:
    pid = sleeper.pid
    folder = Path(f"/proc/{pid}")
    with open_live(pid, Options()) as target:
        facts = target.facts()
    assert facts.command_line == (folder / "cmdline").read_bytes()
    assert facts.environ is not None
    assert b"UNSPOOL_TEST=a b\0" in facts.environ
    assert facts.auxv == (folder / "auxv").read_bytes()
    assert facts.maps == (folder / "maps").read_bytes()
    assert f"\nPid:\t{pid}\n".encode() in (facts.status or b"")
    assert list(facts.thread_names) == [int(name) for name in os.listdir(folder / "task")]
    assert facts.cpu_info is not None
    assert b"processor" in facts.cpu_info
    uname = os.uname()
    assert facts.system == " ".join(
        (uname.sysname, uname.release, uname.version, uname.machine)
    )
    assert facts.version is not None
    assert uname.release.startswith("{}.{}".format(*facts.version))
    assert facts.times is not None
    assert 0 <= time.time() - facts.times[0] < 1000
    paths = {line.split()[-1] for line in (facts.maps or b"").decode().splitlines()}
    assert facts.linker is not None
    loaded = [os.path.realpath(entry.name) for entry in facts.linker.entries[2:]]
    assert loaded
    assert set(loaded) <= paths


def test_the_start_of_what_uname_says() -> None:
    assert version_of("6.1.0-18-amd64") == (6, 1, 0)
    assert version_of("5.4") == (5, 4, 0)
    assert version_of("4.19-rc3.2") == (4, 19, 0)
    assert version_of("next") is None


def test_times_of_a_process_with_a_difficult_name() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    fields = ["S", *["0"] * 10, str(3 * ticks), str(5 * ticks), *["0"] * 6, str(100 * ticks), "0"]
    line = f"7 (a) S 9 (b) {' '.join(fields)}\n".encode()
    assert times_of(line, b"cpu 1\nbtime 1000\n") == (1100, 3, 5)
    assert times_of(line, b"") is None
    assert times_of(line[:20], b"btime 1000\n") is None


@given(raw=st.binary(max_size=300))
def test_any_bytes_of_stat(raw: bytes) -> None:
    times_of(raw, b"btime 1\n")
    times_of(b"1 (x) S 1", raw)
    vdso_version(raw)
