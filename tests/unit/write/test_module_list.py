"""Modules in a minidump: names, ids and versions by which debuggers find their files."""

from __future__ import annotations

import functools
import operator
import struct
from pathlib import Path

import pytest

from tests.build.core import AT_ENTRY, AT_SYSINFO_EHDR, Core
from tests.build.elf import EM_X86_64, Elf
from tests.build.pe import AMD64, CodeView, Section, image
from tests.build.process import Process, Program
from tests.build.windows_process import WindowsProcess
from unspool.symbols.elf.dynamic import soname
from unspool.symbols.ids import code_hash

from .written import Written, draft_of, open_core

DT_STRTAB, DT_SYMTAB, DT_SONAME = 5, 6, 14
BUILD_ID = bytes(range(20))


class Listed:
    """A MINIDUMP_MODULE."""

    def __init__(self, written: Written, entry: bytes) -> None:
        self.base, self.size, self.checksum, self.timestamp, name = struct.unpack_from(
            "<Q4I", entry
        )
        self.name = written.string(name)
        self.version = entry[24:76]
        self.codeview = written.located(entry[76:84])
        assert not any(entry[84:])


def modules_of(core: Core, folder: Path, **options: object) -> list[Listed]:
    with open_core(core, folder, **options) as target:
        written = Written(draft_of(target), "module_list")
    return [Listed(written, entry) for entry in written.entries("module_list", 108)]


def process(path: str = "/nonexistent/prog", **keywords: object) -> Process:
    made = Process(path=path, **keywords)  # type: ignore[arg-type]
    made.thread(1, ["inner", "_start"])
    return made


def test_a_program_by_its_build_id(tmp_path: Path) -> None:
    made = process()
    [module] = modules_of(made.core(), tmp_path)
    assert (module.name, module.base, module.size) == ("/nonexistent/prog", made.base, 0x4000)
    assert module.codeview == b"LEpB" + BUILD_ID
    assert (module.checksum, module.timestamp) == (0, 0)
    assert not any(module.version)


def test_no_modules(tmp_path: Path) -> None:
    core = Core()
    core.thread(1, {})
    assert modules_of(core, tmp_path) == []


def test_fonts_are_no_modules_and_the_program_comes_first(tmp_path: Path) -> None:
    core = Core()
    core.thread(1, {})
    library = Elf(64, EM_X86_64)
    library.segment(1, b"\x90" * 64, address=0, offset=0)
    data = library.build()
    for base in (0x10000, 0x20000):
        core.load(base, data, memsz=0x1000, flags="rx")
    core.load(0x30000, b"OTTO", memsz=0x1000, flags="r")
    core.auxv({AT_ENTRY: 0x20020})
    core.files(
        [(0x10000, 0x11000, 0, "/lib/a.so"), (0x20000, 0x21000, 0, "/bin/prog (deleted)"),
         (0x30000, 0x31000, 0, "/fonts/a.otf")]
    )  # fmt: skip
    assert [(each.name, each.base) for each in modules_of(core, tmp_path)] == [
        ("/bin/prog", 0x20000), ("/lib/a.so", 0x10000),
    ]  # fmt: skip


def named(name: bytes) -> Program:
    """A program whose file says what it is called."""
    program = Program(Process().machine)

    def add(elf: Elf) -> None:
        strings = elf.section(".dynstr", data=b"\0" + name + b"\0", address=0x3800, flags="a")
        elf.load([strings], flags="r")
        elf.dynamic([(DT_STRTAB, 0x3800), (DT_SYMTAB, 0x3800), (DT_SONAME, 1)], 0x3900)

    program.extra = add
    return program


@pytest.mark.parametrize(
    ("name", "expected"),
    [(b"libz.so.1", "libz.so.1"), (b"", "libz.so.1.2.13"), (b"../x", "libz.so.1.2.13")],
)
def test_libraries_are_called_by_their_own_name(
    name: bytes, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "libz.so.1.2.13"
    program = named(name)
    path.write_bytes(program.build())
    made = process(str(path), program=program)
    [module] = modules_of(made.core(), tmp_path)
    assert module.name == str(tmp_path / expected)


def test_a_name_outside_of_the_file() -> None:
    from unspool.formats.elf import Elf as Read

    assert soname(Read(named(b"libz.so.1").build())) == "libz.so.1"
    elf = Elf(64, EM_X86_64)
    elf.dynamic([(DT_STRTAB, 1 << 40), (DT_SYMTAB, 1), (DT_SONAME, 1 << 50)], 0x200)
    assert soname(Read(elf.build())) is None
    assert soname(Read(Elf(64, EM_X86_64).build())) is None


@pytest.mark.parametrize("size", [0x100, 0x111, 0x5000])
def test_an_image_without_a_build_id_has_a_hash_of_its_code(size: int) -> None:
    from unspool.formats.elf import Elf as Read

    code = bytes(i * 7 & 0xFF for i in range(size))
    elf = Elf(64, EM_X86_64)
    text = elf.section(".text", data=code, address=0x1000, flags="ax")
    elf.load([text], flags="rx")
    data = elf.build()
    # Up to 15 bytes behind a short section count as well.
    at = text.offset
    hashed = data[at : at + -(-min(size, 4096) // 16) * 16]
    blocks = [int.from_bytes(hashed[i : i + 16], "little") for i in range(0, len(hashed), 16)]
    expected = functools.reduce(operator.xor, blocks).to_bytes(16, "little")
    assert code_hash(Read(data)) == expected
    assert code_hash(Read(Elf(64, EM_X86_64).build())) == b""


def test_the_vdso(tmp_path: Path) -> None:
    image = Elf(64, EM_X86_64)
    image.build_id(b"\7" * 20, address=0x100)
    core = Core()
    core.thread(1, {})
    core.auxv({AT_SYSINFO_EHDR: 0x7FFF_0000_0000})
    core.load(0x7FFF_0000_0000, image.build(), memsz=0x1000, flags="rx")
    [module] = modules_of(core, tmp_path)
    assert (module.name, module.base) == ("linux-gate.so", 0x7FFF_0000_0000)
    assert module.codeview == b"LEpB" + b"\7" * 20


# --- PE ----------------------------------------------------------------------------------------


def version_resource(rva: int, *, signature: int = 0xFEEF04BD, kind: int = 16) -> bytes:
    """A .rsrc section of one version: type, name, language, data."""
    fixed = struct.pack("<13I", signature, 0x10000, 0x10002, 0x30004, *range(9))
    name = "VS_VERSION_INFO\0".encode("utf-16-le")
    block = struct.pack("<HHH", 92, 52, 0) + name + b"\0\0" + fixed
    raw = b""
    for number, target in ((kind, 24 | 1 << 31), (1, 48 | 1 << 31), (1033, 72)):
        raw += bytes(12) + struct.pack("<HHII", 0, 1, number, target)
    raw += struct.pack("<IIII", rva + 88, len(block), 0, 0)
    return raw + block


def windows_core(**keywords: object) -> WindowsProcess:
    resources = Section(".rsrc", version_resource(0x2000), "r")
    made = image(
        AMD64, [Section(".text", b"\xc3" * 64, "rx"), resources],
        directories={2: resources}, checksum=0x4711, timestamp=0x60000000,
        codeview=CodeView("C:\\build\\a.pdb", bytes(range(16, 32)), 3),
        **keywords,  # type: ignore[arg-type]
    )  # fmt: skip
    process = WindowsProcess()
    process.add(
        made, 0x1_8000_0000, "/wine/a.dll", hold_header=True, hold=made.memory(0x1_8000_0000),
        windows_path="C:\\windows\\system32\\a.dll",
    )  # fmt: skip
    return process


def test_a_pe_module_has_the_id_of_its_pdb_file(tmp_path: Path) -> None:
    [module] = modules_of(windows_core().core(), tmp_path)
    assert module.name == "/wine/a.dll"
    assert (module.checksum, module.timestamp) == (0x4711, 0x60000000)
    assert module.codeview[:24] == b"RSDS" + bytes(range(16, 32)) + struct.pack("<I", 3)
    assert module.codeview[24:] == b"C:\\build\\a.pdb\0"
    signature, structure, high, low = struct.unpack_from("<4I", module.version)
    assert (signature, structure, high, low) == (0xFEEF04BD, 0x10000, 0x10002, 0x30004)


def test_a_pe_module_of_which_only_the_loader_knows(tmp_path: Path) -> None:
    process = WindowsProcess()
    made = image(AMD64, [Section(".text", b"\xc3" * 64, "rx")])
    process.add(made, 0x1_8000_0000, "/nonexistent/a.dll", timestamp=0x61000000)
    [module] = modules_of(process.core(), tmp_path)
    assert (module.name, module.timestamp) == ("/nonexistent/a.dll", 0x61000000)
    assert (module.base, module.size) == (0x1_8000_0000, made.size_of_image)
    assert module.codeview == b""


def test_an_id_without_the_name_of_a_pdb_file(tmp_path: Path) -> None:
    made = image(AMD64, [Section(".text", b"\xc3" * 64, "rx")], codeview=CodeView(""))
    process = WindowsProcess()
    base = 0x1_8000_0000
    process.add(made, base, "/wine/b.dll", hold=made.memory(base), hold_header=True)
    [module] = modules_of(process.core(), tmp_path)
    assert module.codeview == b"RSDS" + bytes(range(16)) + b"\1\0\0\0" + b"b.dll\0"
