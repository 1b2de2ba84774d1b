"""What the report says of the machine, of processes and cores: against the system's own files."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from pathlib import Path

import pytest

from tests.build.core import AT_SYSINFO_EHDR, Core
from tests.build.elf import EM_X86_64, PT_NOTE, Elf
from tests.build.notes import note
from tests.programs.cores import make_core
from tests.programs.running import LIVE, LIVE_32, running_program
from tests.programs.table import Program
from unspool import api
from unspool.formats.cpuinfo import Processor
from unspool.targets.system import distribution, processor_words

AT_PLATFORM = 15
BASE = 0x7FFD_0000_0000
REGISTERS = Program("registers", "registers.c", (), flags=("-O1", "-g", "-pthread"))
x86_only = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the programs are for x86")

INTEL = b"""processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
model name\t: Intel(R) Xeon(R) Processor @ 2.60GHz
stepping\t: 7

processor\t: 1
vendor_id\t: GenuineIntel
cpu family\t: 6
"""


def own_processor() -> str:
    """The first processor in the words of `target.system.cpu`."""
    text = Path("/proc/cpuinfo").read_text()
    numbers = [
        re.search(rf"^{name}\s*: (\d+)$", text, re.MULTILINE)
        for name in ("cpu family", "model", "stepping")
    ]
    family, model, stepping = (found.group(1) for found in numbers if found)
    return f"family {family} model {model} stepping {stepping}"


def system_of(target: str | int, **options: str) -> dict[str, object]:
    with api.open(target, **options) as opened:  # type: ignore[arg-type]
        return opened.info.system or {}


# --- running processes ---------------------------------------------------------------------


@x86_only
@pytest.mark.parametrize("program", [LIVE, LIVE_32], ids=["64", "32"])
def test_a_process_and_the_minidump_of_it(
    program: Program, programs_root: Path, tmp_path: Path
) -> None:
    """The same words of both, and those that the system's own tools have."""
    from unspool.cli import main

    dump = str(tmp_path / "dump.dmp")
    context = running_program(program, programs_root, "park")
    process = context.__enter__()
    try:
        found = system_of(process.pid)
        assert main(["dump", str(process.pid), "-o", dump]) == 0
        maps = Path(f"/proc/{process.pid}/maps").read_text()
    finally:
        context.__exit__(None, None, None)
    assert found == system_of(dump)
    uname = subprocess.run(["uname", "-rv"], capture_output=True, text=True, check=True)
    assert found["os_version"] == uname.stdout.rstrip("\n")
    nproc = subprocess.run(["nproc", "--all"], capture_output=True, text=True, check=True)
    assert found["cpu_count"] == int(nproc.stdout)
    assert str(found["cpu"]).endswith(own_processor())
    assert str(found["cpu"]).startswith("family") == (program is LIVE)
    assert found["memory_maps"] == len(maps.splitlines())
    release = Path("/etc/os-release")
    if release.exists() and not os.path.exists("/etc/lsb-release"):
        names = found["distribution"]
        assert isinstance(names, dict)
        assert f'PRETTY_NAME="{names["description"]}"' in release.read_text()


def test_the_first_processor_s_paragraph_is_enough() -> None:
    assert processor_words(Processor(INTEL), "x86_64") == "family 6 model 85 stepping 7"
    assert processor_words(Processor(INTEL), "x86") == (
        "GenuineIntel family 6 model 85 stepping 7"
    )
    assert Processor(INTEL).count == 2
    for text, arch in ((b"", "x86_64"), (INTEL, "aarch64"), (b"cpu family: x\n", "x86_64")):
        assert processor_words(Processor(text), arch) == ""


def test_a_system_without_names() -> None:
    assert distribution(b"") is None
    assert distribution(b"=\nID=\nNAME=x\n\xff\xfe") is None


# --- cores -----------------------------------------------------------------------------------


def written(core: Core, folder: Path) -> str:
    path = folder / "core"
    path.write_bytes(core.build())
    return str(path)


def core_with(auxv: dict[int, int], data: bytes, arch: str = "x86_64") -> Core:
    core = Core(arch)
    core.thread(7, {})
    core.auxv(auxv)
    core.load(BASE, data.ljust(0x1000, b"\0"))
    return core


def vdso() -> bytes:
    image = Elf(64, EM_X86_64)
    image.segment(PT_NOTE, note("Linux", 0, struct.pack("<I", 0x060109)), address=0x200, align=4)
    return image.build()


@x86_only
@pytest.mark.parametrize("maker", ["kernel", "gcore"])
@pytest.mark.parametrize("compiler", ["gcc", "gcc-m32"])
def test_a_real_core_tells_the_kernel_s_version(
    compiler: str, maker: str, programs_root: Path
) -> None:
    program = REGISTERS.variant(f"registers-{compiler}", compiler=compiler)
    core = make_core(program, maker, programs_root)
    found = system_of(str(core.path))
    numbers = re.findall(r"\d+", os.uname().release)[:3]
    # The kernel's third number stops at 255 there.
    assert found.pop("os_version") == ".".join(
        str(min(int(number), 255)) if index == 2 else number
        for index, number in enumerate(numbers)
    )
    assert found == ({"cpu": "i686"} if compiler == "gcc-m32" else {})


def test_a_core_says_nothing_that_it_does_not_know(tmp_path: Path) -> None:
    core = Core("x86_64")
    core.thread(7, {})
    with api.open(written(core, tmp_path)) as target:
        assert target.info.system is None


@pytest.mark.parametrize(
    ("auxv", "data"),
    [
        ({AT_SYSINFO_EHDR: BASE, AT_PLATFORM: BASE}, b"\x7fELF"),
        ({AT_SYSINFO_EHDR: BASE + 0xFFF, AT_PLATFORM: BASE + 0xFFF}, b""),
        ({AT_SYSINFO_EHDR: (1 << 64) - 1, AT_PLATFORM: (1 << 64) - 1}, b""),
        ({AT_SYSINFO_EHDR: 8, AT_PLATFORM: 8}, b""),
        ({AT_PLATFORM: BASE}, b"evil\x1b[2J\0"),
        ({AT_PLATFORM: BASE}, b"\xff\xff\0"),
        ({AT_PLATFORM: BASE}, b"x86_64\0"),
    ],
)
def test_lies_of_a_core_are_no_facts(auxv: dict[int, int], data: bytes, tmp_path: Path) -> None:
    assert system_of(written(core_with(auxv, data), tmp_path)) == {}


def test_the_kernel_s_name_of_the_processor(tmp_path: Path) -> None:
    core = core_with({AT_PLATFORM: BASE}, b"haswell\0more")
    assert system_of(written(core, tmp_path)) == {"cpu": "haswell"}


def test_a_directory_that_was_kept(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "cpuinfo").write_bytes(INTEL)
    (kept / "os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    (kept / "maps").write_text("1000-2000 r-xp 00000000 00:00 0 /bin/a\n")
    core = core_with({AT_SYSINFO_EHDR: BASE, AT_PLATFORM: BASE + 0xF00}, vdso())
    assert system_of(written(core, tmp_path), procfs=str(kept)) == {
        "os_version": "6.1.9",
        "cpu": "family 6 model 85 stepping 7",
        "cpu_count": 2,
        "memory_maps": 1,
        "distribution": {"id": "debian", "release": "12"},
    }
