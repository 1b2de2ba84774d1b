"""`unspool redzone` on real kernel modules and drivers, clean ones and broken ones."""

from __future__ import annotations

import gzip
import lzma
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.programs.build import Unavailable
from tests.wine.install import RELEASES
from unspool.analyses.redzone import FileUses, file_uses
from unspool.analyses.redzone.records import AAPCS64, KERNEL, WINDOWS
from unspool.cli import main
from unspool.formats.elf import Elf
from unspool.symbols.native import available
from unspool.targets.base import Options
from unspool.targets.input.source import open_source

from .install import image_of, kernel_modules

pytest.importorskip("iced_x86")

# `python -m tests.kernel.install` brings 1,121; these are the same ones each time.
EVERY = 12
# An array on the stack, and an index that begins at 1: nothing tells that.
WITH_AN_INDEX = {
    "enter_smm.constprop.0", "em_rsm", "comp_algorithm_store", "picolcd_debug_reset_write",
    "vhost_scsi_tpg_nexus_store", "scsiback_tpg_nexus_store", "pgctrl_write",
    "__ip_tunnel_create", "nf_ct_expect_related_report", "tipc_enable_l2_media",
}  # fmt: skip
STORE = bytes.fromhex("48894424f8")  # mov %rax,-8(%rsp)


@pytest.fixture(scope="module")
def modules() -> list[Path]:
    return kernel_modules()


def looked(path: Path) -> FileUses:
    with open_source(str(path)) as source:
        return file_uses(source.buffer, str(path), Options(), lines=False)


def test_modules_of_a_kernel_use_no_red_zone(modules: list[Path]) -> None:
    sample = modules[::EVERY]
    assert len(sample) > 40
    functions, barriers = 0, 0
    for path in sample:
        result = looked(path)
        assert (result.kind, result.zone) == ("kernel module", KERNEL), path
        assert result.problems == []
        assert result.count("forbidden") == 0, path
        assert {each.name for each in result.functions} <= WITH_AN_INDEX
        functions += result.functions_seen
        barriers += result.barriers
    assert functions > 2_000
    assert barriers > 0  # smp_mb() is below the stack pointer, and no use of it


@pytest.mark.parametrize("suffix", ["xz", "gz"])
def test_a_compressed_module(
    modules: list[Path], tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As other distributions have them."""
    smallest = min(modules, key=lambda path: path.stat().st_size)
    packed = tmp_path / f"{smallest.name}.{suffix}"
    compress = lzma.compress if suffix == "xz" else gzip.compress
    packed.write_bytes(compress(smallest.read_bytes()))
    assert main(["redzone", str(packed)]) == 0
    text = capsys.readouterr().out
    assert main(["redzone", str(smallest)]) == 0
    assert text.splitlines()[1:] == capsys.readouterr().out.splitlines()[1:]
    assert "kernel module, x86-64" in text


def entries(elf: Elf, data: bytes) -> Iterator[int]:
    """Where functions call __fentry__ first, in the file: five bytes that can be another's."""
    symbols = next(each for each in elf.sections() if each.name == ".symtab")
    for at in range(symbols.offset, symbols.offset + symbols.size, 24):
        _, info, _, section, value, size = struct.unpack_from("<IBBHQQ", data, at)
        if info & 15 == 2 and size >= 5 and 0 < section < len(elf.sections()):
            start = elf.sections()[section].offset + value
            if data[start : start + 5] == b"\xe8\0\0\0\0":
                yield start


@pytest.mark.parametrize("name", ["kvm", "xfs", "nf_tables"])
def test_one_instruction_in_each_function_is_found(modules: list[Path], name: str) -> None:
    """The store takes the place of the call that every function of a kernel begins with."""
    path = next((each for each in modules if each.name.partition(".")[0] == name), None)
    if path is None:
        pytest.skip(f"this kernel has no module {name}")
    with open_source(str(path)) as source:
        data = bytearray(source.buffer[:])
    places = set(entries(Elf(data), bytes(data)))
    assert len(places) > 100
    for place in places:
        data[place : place + 5] = STORE
    result = file_uses(bytes(data), str(path), Options(), lines=False)
    bases = {each.name: each.offset for each in Elf(data).sections()}
    found = {
        bases[each.section] + use.address
        for each in result.functions
        for use in each.uses
        if each.verdict == "forbidden" and use.depth == 8
    }
    assert found == places


SOURCE = """
long leaf(long a, long b) { volatile long x[3]; x[0] = a; x[2] = b; return x[0] + x[2]; }
static inline long expanded(long a) { volatile long y = a; return y; }
__attribute__((section(".init.text"))) long outer(long a) { return expanded(a) + 3; }
char info[] __attribute__((section(".modinfo"))) = "license=GPL";
"""


@pytest.mark.parametrize(
    "flags", [("-O2",), ("-O0",), ("-O2", "-gz"), ("-O2", "-fno-asynchronous-unwind-tables"),
              ("-O2", "-ffunction-sections"), ("-O1", "-gdwarf-4")],
    ids=" ".join,
)  # fmt: skip
def test_a_module_that_was_made_as_programs_are(
    tool: Tool, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """With lines, though they are relocatable; and those operands that the compiler lists."""
    pytest.importorskip("symbolic")
    source, path = tmp_path / "a.c", tmp_path / "a.ko"
    source.write_text(SOURCE)
    tool("gcc", "-g", *flags, "-c", source, "-o", path)
    result = file_uses(path.read_bytes(), str(path), Options())
    assert (result.zone, result.notes, result.problems) == (KERNEL, [], [])
    functions = {each.name: each for each in result.functions}
    assert functions["leaf"].verdict == "forbidden"
    assert {line for _, line in functions["leaf"].places.values()} == {2}
    inner = functions["expanded" if flags == ("-O0",) else "outer"]
    assert {line for _, line in inner.places.values()} == {3}
    if flags != ("-O0",):
        listing = tool("gcc", *flags, "-S", source, "-o", "-")
        operands = len(re.findall(r"\t[a-z]\S+\t.*-\d+\(%rsp", listing))
        assert sum(len(each.uses) for each in result.functions) == operands
    tool("gcc", "-g", *flags, "-mno-red-zone", "-c", source, "-o", path)
    assert file_uses(path.read_bytes(), str(path), Options()).functions == []


def test_lines_of_a_module_from_its_debug_file(tool: Tool, tmp_path: Path) -> None:
    """As Debian has them: the module stripped, its debug data elsewhere, relocatable as well."""
    pytest.importorskip("symbolic")
    source, path, debug = tmp_path / "a.c", tmp_path / "a.ko", tmp_path / "a.ko.debug"
    source.write_text(SOURCE)
    tool("gcc", "-g", "-O2", "-c", source, "-o", path)
    tool("objcopy", "--only-keep-debug", path, debug)
    tool("strip", "--strip-debug", path)
    tool("objcopy", f"--add-gnu-debuglink={debug}", path)
    result = file_uses(path.read_bytes(), str(path), Options(symbols=[str(tmp_path)]))
    functions = {each.name: each for each in result.functions}
    assert {line for _, line in functions["leaf"].places.values()} == {2}
    assert {line for _, line in functions["outer"].places.values()} == {3}


HANDLERS = """
struct frame;
volatile long counter;
__attribute__((interrupt)) void tick(struct frame *f) { counter++; }
__attribute__((interrupt)) void broken(struct frame *f) {
    long a = counter;
    __asm__ volatile("movq %0, -16(%%rsp)\\n movq -16(%%rsp), %0" : "+r"(a));
    counter = a;
}
long leaf(long a, long b) { volatile long x[3]; x[0] = a; x[2] = b; return x[0] + x[2]; }
"""


@pytest.mark.parametrize("level", ["-O2", "-O0"])
def test_interrupt_handlers(tool: Tool, tmp_path: Path, level: str) -> None:
    """What returns by iret has no red zone, in whatever file it is."""
    source, path = tmp_path / "a.c", tmp_path / "a.o"
    source.write_text(HANDLERS)
    tool("gcc", level, "-mgeneral-regs-only", "-c", source, "-o", path)
    found = {each.name: each for each in looked(path).functions}
    assert found["broken"].verdict == "forbidden"
    assert "iret" in found["broken"].zone.rule
    assert found["leaf"].verdict == "within"
    # Without optimisation GCC gives a handler a red zone like any other function.
    assert ("tick" in found) == (level == "-O0")
    tool("gcc", level, "-mgeneral-regs-only", "-mno-red-zone", "-c", source, "-o", path)
    assert {each.name for each in looked(path).functions} == {"broken"}


# --- aarch64 --------------------------------------------------------------------------------

ARM_SOURCE = """
long leaf(long a, long b) { volatile long x[3]; x[0] = a; x[2] = b; return x[0] + x[2]; }
long below(long a) {
    __asm__ volatile("str %0, [sp, #-16]\\n ldp %0, x9, [sp, #-32]" : "+r"(a) : : "x9");
    return a;
}
"""


@pytest.mark.parametrize("module", [False, True])
def test_an_aarch64_object(tool: Tool, tmp_path: Path, module: bool) -> None:
    source, path = tmp_path / "a.c", tmp_path / "a.o"
    more = '__attribute__((section(".modinfo"))) char info[] = "license=GPL";\n' * module
    source.write_text(ARM_SOURCE + more)
    tool("aarch64-linux-gnu-gcc", "-g", "-O2", "-c", source, "-o", path)
    result = file_uses(path.read_bytes(), str(path), Options())
    assert (result.arch, result.zone) == ("aarch64", KERNEL if module else AAPCS64)
    (function,) = result.functions
    assert (function.name, function.verdict, function.depth) == ("below", "forbidden", 32)
    assert [use.text for use in function.uses] == [
        "stur x0, [sp, #-16]", "ldp x0, x9, [sp, #-32]"
    ]  # fmt: skip
    if available():
        assert {line for _, line in function.places.values()} == {4}


def test_libraries_of_aarch64_are_clean() -> None:
    """Debian's own, which cross compilers bring."""
    folder = Path("/usr/aarch64-linux-gnu/lib")
    files = [each for each in sorted(folder.glob("lib*.so.*")) if not each.is_symlink()]
    if not files:
        pytest.skip("no libraries for aarch64 are here")
    for path in files[:40]:
        result = looked(path)
        assert (result.zone, result.functions, result.problems) == (AAPCS64, [], []), path
        assert result.functions_seen > 0


# --- drivers of Windows ---------------------------------------------------------------------

DRIVER = """
__attribute__((noinline)) long long deep(long long a) {
    __asm__ volatile("movq %0, -200(%%rsp)\\n movq -200(%%rsp), %0" : "+r"(a));
    return a;
}
__attribute__((noinline)) long long leaf(long long a, long long b) {
    volatile long long x[3]; x[0] = a; x[2] = b; return x[0] + x[2];
}
long DriverEntry(void *driver, void *path) { return (long)(deep((long long)driver) + leaf(1, 2)); }
"""
DRIVER_32 = DRIVER.replace("rsp", "esp").replace("movq", "movl").replace("long long", "long")


@pytest.mark.parametrize("compiler", ["x86_64-w64-mingw32-gcc", "i686-w64-mingw32-gcc"])
def test_a_driver(tool: Tool, tmp_path: Path, compiler: str) -> None:
    pytest.importorskip("symbolic")
    source, path = tmp_path / "a.c", tmp_path / "a.sys"
    wide = compiler.startswith("x86_64")
    source.write_text(DRIVER if wide else DRIVER_32)
    entry = "DriverEntry" if wide else "_DriverEntry"
    linking = ("-shared", "-nostdlib", "-Wl,--subsystem,native", f"-Wl,--entry,{entry}")
    tool(compiler, "-g", "-O2", *linking, source, "-o", path)
    result = file_uses(path.read_bytes(), str(path), Options())
    assert (result.kind, result.zone) == ("PE driver", WINDOWS)
    (function,) = result.functions
    assert (function.name, function.verdict, function.depth) == ("deep", "forbidden", 200)
    assert {line for _, line in function.places.values()} == {3}


def test_a_driver_with_a_pdb_file(tool: Tool, tmp_path: Path) -> None:
    """Its leaf functions have no unwind data and no symbols: the PDB file names them."""
    pytest.importorskip("symbolic")
    source, made, path = tmp_path / "a.c", tmp_path / "a.obj", tmp_path / "a.sys"
    source.write_text(DRIVER)
    target = "--target=x86_64-pc-windows-msvc"
    tool("clang", target, "-g", "-O2", "-gcodeview", "-c", source, "-o", made)
    tool("lld-link", "/debug", "/driver", "/subsystem:native", "/entry:DriverEntry",
         "/nodefaultlib", f"/out:{path}", made)  # fmt: skip
    result = file_uses(path.read_bytes(), str(path), Options())
    (function,) = result.functions
    assert (function.name, function.verdict, function.known) == ("deep", "forbidden", True)
    assert {line for _, line in function.places.values()} == {3}


def test_drivers_and_libraries_of_wine_are_clean() -> None:
    """They are made by MinGW for Windows, drivers too, if a Wine is here that has any."""
    roots = [each.root / "usr/lib" for each in RELEASES] + [Path("/usr/lib")]
    files = sorted(path for root in roots for path in root.glob("*/wine/*-windows/*.sys"))
    libraries = sorted(path for root in roots for path in root.glob("*/wine/*-windows/ntdll.dll"))
    if not libraries:
        RELEASES[0].kept.need()
    for path in files[:60] + libraries:
        result = looked(path)
        assert result.zone is WINDOWS
        assert result.problems == []
        assert [each.name for each in result.functions if each.verdict == "forbidden"] == [], path


# --- the package ----------------------------------------------------------------------------


def test_which_package_has_the_kernel() -> None:
    text = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-50-cloud-amd64\n  Depends: x\n"
    assert image_of(text) == "linux-image-6.1.0-50-cloud-amd64"
    with pytest.raises(Unavailable, match="apt-get update"):
        image_of("")
