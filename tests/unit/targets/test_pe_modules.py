"""PE modules of cores: found by mappings, the loader's list, and headers in memory."""

from __future__ import annotations

import itertools
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import unspool
from tests.build.core import Core
from tests.build.elf import EM_X86_64, PT_LOAD, Elf
from tests.build.pe import AMD64, I386, CodeView, Image, Section, image
from tests.build.process import Process
from tests.build.windows_process import LDR, Entry, WindowsProcess
from unspool.model import Module
from unspool.pe_image import PeImage

CODE = b"\xe8\0\0\0\0" * 0x333 + b"\xcc"
BASE64, BASE32 = 0x1_8000_0000, 0x1000_0000
BASES = {8: BASE64, 4: BASE32}
ARCHES = [(8, AMD64), (4, I386)]


def sample(machine: int = AMD64, *, aligned: bool = True, **fields: object) -> Image:
    """A DLL with code, constants, data and some that the file does not have."""
    sections = [
        Section(".text", CODE, "rx"),
        Section(".rdata", b"constants".ljust(0x300, b"."), "r"),
        Section(".data", b"data" * 0x80, "rw"),
        Section(".bss", b"", "rwb", virtual_size=0x2345),
    ]
    fields.setdefault("checksum", 0x1234)
    fields.setdefault("entry", 0x1010)
    alignment = 0x1000 if aligned else 0x200
    return image(machine, sections, file_alignment=alignment, **fields)  # type: ignore[arg-type]


class Opened:
    """A target, and what there is of its PE modules."""

    def __init__(self, target: unspool.Target) -> None:
        self.target = target
        self.modules = [module for module in target.modules if module.kind == "pe"]

    @property
    def refused(self) -> list[str]:
        return [each.title for each in self.target.findings if each.kind == "file_refused"]

    def pe(self, module: Module) -> PeImage:
        found = self.target.pe(module)
        assert found is not None
        return found

    def read(self, address: int, size: int = 16) -> bytes:
        return self.target.space.memory.read_available(address, size)


def opened(folder: Path, core: Core | WindowsProcess, **options: object) -> Opened:
    path = folder / "core"
    path.write_bytes((core.core() if isinstance(core, WindowsProcess) else core).build())
    return Opened(unspool.open(str(path), **options))  # type: ignore[arg-type]


def add_ntdll(process: WindowsProcess) -> None:
    """Wine's Unix half, by which a Wine process is known."""
    start = 0x7F00_0000_0000
    process.files.append((start, start + 0x1000, 0, "/wine/ntdll.so"))
    process.loads.append((start, Elf(64, EM_X86_64).build(), 0x1000, "r"))


def written(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


# --- mapped from files -------------------------------------------------------------------


@pytest.mark.parametrize(("word", "machine"), ARCHES)
def test_a_dll_mapped_from_its_file(tmp_path: Path, word: int, machine: int) -> None:
    """The kernel leaves out what is mapped and unchanged, the header as well."""
    made, base = sample(machine), BASES[word]
    path = written(tmp_path, "a.dll", made.file())
    process = WindowsProcess(word)
    process.add(made, base, path, entry_point=base + 0x1010)
    found = opened(tmp_path, process)
    [module] = found.modules
    assert (module.name, module.path, module.kind) == ("a.dll", path, "pe")
    assert (module.base, module.end) == (base, base + made.size_of_image)
    assert module.code_id == f"5F5E100F{made.size_of_image:x}"
    assert module.file is None  # nobody has asked
    image = found.pe(module)
    assert image.file is not None and image.headers is image.file
    assert (module.file, module.bias, found.refused) == (path, 0, [])
    assert found.target.elf(module) is None
    for section in made.sections[:2]:
        assert found.read(base + section.rva) == section.data[:16]
        assert found.target.space.is_code(base + section.rva) == (section.name == ".text")


@pytest.mark.parametrize(("word", "machine"), ARCHES)
def test_sections_copied_into_anonymous_memory(tmp_path: Path, word: int, machine: int) -> None:
    made, base = sample(machine, aligned=False), BASES[word]
    process = WindowsProcess(word)
    process.add(made, base, "/gone/a.dll", copied=True, hold_header=True)
    found = opened(tmp_path, process)
    [module] = found.modules
    assert (module.base, module.end) == (base, base + made.size_of_image)
    assert found.target.space.module_at(base + made[".bss"].rva) is module
    image = found.pe(module)
    assert image.file is None and image.headers.mapped
    assert image.read(made[".text"].rva, 16) == CODE[:16]
    assert found.target.space.is_code(base + 0x1000)


def test_what_gcore_does_not_list(tmp_path: Path) -> None:
    """No segment, and so no protection: that of the section, when it is asked for."""
    made = sample()
    path = written(tmp_path, "a.dll", made.file())
    process = WindowsProcess(unlisted=True)
    process.add(made, BASE64, path)
    found = opened(tmp_path, process)
    [module] = found.modules
    assert module.file is None
    assert found.target.space.is_code(BASE64 + made[".text"].rva)
    assert module.file == path
    assert not found.target.space.is_code(BASE64 + made[".rdata"].rva)
    assert found.read(BASE64 + made[".rdata"].rva, 9) == b"constants"


def test_the_program_is_the_windows_one(tmp_path: Path) -> None:
    made = sample(dll=False)
    process = WindowsProcess()
    process.add(made, 0x1_4000_0000, "/games/Boom.exe")
    process.add(sample(), BASE64, "/games/a.dll")
    assert opened(tmp_path, process).target.info.executable == "/games/Boom.exe"


def test_the_program_without_the_loaders_list(tmp_path: Path) -> None:
    process = WindowsProcess(lists=False)
    process.add(sample(dll=False), 0x1_4000_0000, "/games/Boom.exe", hold_header=True)
    process.add(sample(), BASE64, "/games/a.dll", hold_header=True)
    assert opened(tmp_path, process).target.info.executable == "/games/Boom.exe"


def test_both_kinds_of_code_in_a_wow64_process(tmp_path: Path) -> None:
    process = WindowsProcess()
    exe = sample(I386, dll=False, image_base=0x40_0000)
    process.add(exe, 0x40_0000, "/g/a.exe")
    process.add(sample(), 0x1_7000_0000, "/w/x86_64-windows/ntdll.dll")
    process.entries32.append(Entry(0x40_0000, exe.size_of_image, "Z:\\g\\a.exe", "a.exe"))
    process.add(sample(I386), 0x7BC0_0000, "/w/i386-windows/ntdll.dll", wow64=True)
    found = opened(tmp_path, process)
    assert [(module.base, module.path) for module in found.modules] == [
        (0x40_0000, "/g/a.exe"), (0x7BC0_0000, "/w/i386-windows/ntdll.dll"),
        (0x1_7000_0000, "/w/x86_64-windows/ntdll.dll"),
    ]  # fmt: skip
    assert found.target.info.executable == "/g/a.exe"
    assert all(module.code_id for module in found.modules)


@pytest.mark.parametrize("word", [8, 4])
def test_a_teb_that_no_register_points_at(tmp_path: Path, word: int) -> None:
    """gcore's cores of i386 processes do not say where the segments start."""
    process = WindowsProcess(word, registers=False)
    process.add(sample(dict(ARCHES)[word]), BASES[word], "/a.dll", listed=True)
    assert [module.code_id for module in opened(tmp_path, process).modules] != [None]


# --- what only the list, or only the header, knows ---------------------------------------


def test_a_module_that_only_the_list_has(tmp_path: Path) -> None:
    process = WindowsProcess()
    add_ntdll(process)
    process.entries.append(Entry(BASE64, 0x8000, r"C:\x\Lost.DLL", "Lost.DLL", timestamp=0xABC))
    [module] = opened(tmp_path, process).modules
    assert (module.name, module.path, module.bias) == ("Lost.DLL", r"C:\x\Lost.DLL", None)
    assert (module.base, module.end, module.code_id) == (BASE64, BASE64 + 0x8000, "00000ABC8000")


@pytest.mark.parametrize("writable", [True, False])
def test_a_module_that_nothing_names(tmp_path: Path, writable: bool) -> None:
    made = sample(codeview=CodeView("a.pdb"))
    process = WindowsProcess(lists=False)
    add_ntdll(process)
    process.add(made, BASE64, "", listed=False)
    if writable:
        process.loads = [(s, d, n, "rwx" if "x" in f else "rw") for s, d, n, f in process.loads]
    found = opened(tmp_path, process)
    [module] = found.modules
    assert (module.name, module.path) == (f"image at 0x{BASE64:x}", None)
    assert module.end == BASE64 + made.size_of_image
    assert found.pe(module).headers.machine == AMD64
    assert module.debug_id == "03020100-0504-0706-0809-0a0b0c0d0e0f-1"


def test_a_file_read_into_memory_is_no_module(tmp_path: Path) -> None:
    process = WindowsProcess()
    process.add(sample(), BASE64, "/a.dll")
    process.loads.append((0x2_0000_0000, sample().file(), 0x10000, "rw"))
    assert [module.base for module in opened(tmp_path, process).modules] == [BASE64]


@pytest.mark.parametrize("flags", ["r", "rx"])
@pytest.mark.parametrize("hold", [True, False])
def test_a_file_mapped_as_data_is_no_module(tmp_path: Path, flags: str, hold: bool) -> None:
    """Wine maps apisetschema.dll so, and 32-bit Wine a 64-bit DLL that it only looks at."""
    process = WindowsProcess()
    process.add(sample(), BASE64, "/a.dll")
    data = sample(aligned=False).file()
    process.map_data(data, 0x25_0000, "/w/x86_64-windows/apisetschema.dll", flags, hold=hold)
    assert [module.name for module in opened(tmp_path, process).modules] == ["a.dll"]


PAGES = [("r", 0), ("rx", 0x1000), ("r", 0x2000), ("rw", 0x3000)]


@pytest.mark.parametrize(
    ("pages", "is_module"),
    [
        (PAGES, True),
        ([("rx", 0), *PAGES[1:]], False),  # headers of an image are not executable
        ([("r", 0), ("r", 0x1000), *PAGES[2:]], False),  # its code is
        ([("r", 0), ("rx", 0x2000), *PAGES[2:]], False),  # and is where the header says
        ([("r", 0x1000), ("rx", 0x2000)], False),
        ([*PAGES, *(("r", n << 12) for n in range(4, 9))], True),
    ],
    ids=["image", "executable header", "no code", "other offset", "no start", "longer"],
)
@pytest.mark.parametrize("hold", [True, False])
def test_images_and_data(
    tmp_path: Path, pages: list[tuple[str, int]], is_module: bool, hold: bool
) -> None:
    """What nothing lists is told by how it is mapped; without its header not as much."""
    process = WindowsProcess(lists=False)
    header = sample().memory()[:0x1000]
    for index, (flags, offset) in enumerate(pages):
        start = BASE64 + 0x1000 * index
        process.files.append((start, start + 0x1000, offset, "/x.dll"))
        process.loads.append((start, header if hold and not index else b"", 0x1000, flags))
    process.add(sample(), 0x2_0000_0000, "/a.dll", listed=False)
    expected = is_module or (not hold and pages[1] == ("rx", 0x2000) and not pages[0][1])
    names = [module.name for module in opened(tmp_path, process).modules]
    assert names == ["x.dll"] * expected + ["a.dll"]


def test_a_mapping_that_goes_on_behind_the_image_is_data(tmp_path: Path) -> None:
    process = WindowsProcess(lists=False)
    made = sample()
    header, size = made.memory()[:0x1000], made.size_of_image + 0x4000
    for start, end, data, flags in ((0, 0x1000, header, "r"), (0x1000, size, b"", "rx")):
        process.files.append((BASE64 + start, BASE64 + end, start, "/x.dll"))
        process.loads.append((BASE64 + start, data, end - start, flags))
    assert opened(tmp_path, process).modules == []


def test_a_64_bit_image_is_no_module_of_a_32_bit_process(tmp_path: Path) -> None:
    process = WindowsProcess(4)
    process.add(sample(), BASE32, "/a.dll", listed=False, hold_header=True)
    process.add(sample(I386), 0x2000_0000, "/b.dll", listed=False, hold_header=True)
    assert [module.name for module in opened(tmp_path, process).modules] == ["b.dll"]


def test_resources_are_no_module(tmp_path: Path) -> None:
    made = image(AMD64, [Section(".rsrc", b"icons", "r")], file_alignment=0x1000)
    process = WindowsProcess()
    process.add(made, BASE64, "/a.dll", listed=False, hold_header=True)
    assert opened(tmp_path, process).modules == []


@pytest.mark.parametrize("lists", [True, False])
def test_what_gcore_does_not_list_and_nothing_names(tmp_path: Path, lists: bool) -> None:
    """Several mappings of a PE file can be an image, if the loader does not know better."""
    process = WindowsProcess(lists=lists, unlisted=True)
    process.add(sample(), BASE64, "/a.dll", listed=lists)
    process.add(sample(), 0x2_0000_0000, "/b.dll", listed=False)
    process.map_data(sample().file(), 0x3_0000_0000, "/c.dll", hold=False)
    names = [module.name for module in opened(tmp_path, process).modules]
    assert names == ["a.dll"] + ["b.dll"] * (not lists)


def test_fonts_are_no_modules(tmp_path: Path) -> None:
    process = WindowsProcess()
    process.add(sample(), BASE64, "/a.dll")
    process.map_data(b"\0\1\0\0 a font", 0x2_0000_0000, "/fonts/a.ttf", hold=False)
    process.map_data(b"MZ but no more", 0x3_0000_0000, "/fonts/b.fon", hold=True)
    assert [module.name for module in opened(tmp_path, process).modules] == ["a.dll"]


def test_an_unusual_name_that_the_list_knows(tmp_path: Path) -> None:
    made = sample()
    path = written(tmp_path, "engine.bin", made.file())
    process = WindowsProcess()
    process.add(made, BASE64, path)
    add_ntdll(process)
    found = opened(tmp_path, process)
    assert [(module.kind, module.name) for module in found.target.modules] == [
        ("pe", "engine.bin"), ("elf", "ntdll.so"),
    ]  # fmt: skip


def test_an_image_that_was_not_yet_listed(tmp_path: Path) -> None:
    process = WindowsProcess(lists=False)
    process.add(sample(), BASE64, "/a.dll", listed=False)
    process.add(sample(), 0x2_0000_0000, "/b.dll", listed=False, hold_header=True)
    assert [module.name for module in opened(tmp_path, process).modules] == ["a.dll", "b.dll"]


def test_a_dll_that_is_an_elf_file(tmp_path: Path) -> None:
    """Wine up to 8.20 could have its own DLLs as ELF files, and its loader lists them."""
    made = Elf(64, EM_X86_64)
    made.segment(PT_LOAD, b"", address=0, offset=0, filesz=0x1000, memsz=0x3000, flags="rx")
    process = WindowsProcess()
    process.files.append((BASE64, BASE64 + 0x1000, 0, "/wine/a.dll.so"))
    process.loads.append((BASE64, made.build().ljust(0x1000, b"\0"), 0x1000, "rx"))
    process.entries.append(Entry(BASE64, 0x3000, "C:\\a.dll", "a.dll"))
    process.add(sample(), 0x2_0000_0000, "/b.dll")
    found = opened(tmp_path, process)
    assert [(m.name, m.kind) for m in found.target.modules] == [
        ("a.dll.so", "elf"), ("b.dll", "pe"),
    ]  # fmt: skip


# --- the preferred base ------------------------------------------------------------------


@pytest.mark.parametrize("rebased", [True, False])
def test_the_bias_of_a_moved_image(tmp_path: Path, rebased: bool) -> None:
    """Wine 10 writes the real base into the header, Wine 8 leaves it: the file has the other."""
    made = sample()
    base = 0x6FFF_F000_0000
    path = written(tmp_path, "a.dll", made.file())
    process = WindowsProcess()
    process.add(made, base, path, hold=made.memory(base, rebased=rebased), hold_header=True)
    found = opened(tmp_path, process)
    [module] = found.modules
    assert module.bias == (None if rebased else base - BASE64)
    assert found.pe(module).bias == module.bias == base - BASE64


def test_without_its_file_a_moved_image_has_no_bias(tmp_path: Path) -> None:
    made = sample()
    process = WindowsProcess()
    process.add(made, 0x6FFF_F000_0000, "/gone/a.dll", hold=made.memory(0x6FFF_F000_0000,
                rebased=True), hold_header=True)  # fmt: skip
    found = opened(tmp_path, process)
    assert found.pe(found.modules[0]).file is None
    assert found.modules[0].bias is None


# --- cut cores ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "base", "has_code"),
    [
        (AMD64, BASE64, True), (AMD64, 0x2_0000_0000, True), (I386, BASE32, True),
        (I386, 0x2000_0000, False),  # full of relocated addresses
    ],
)  # fmt: skip
def test_copied_code_that_a_cut_core_has_lost(
    tmp_path: Path, machine: int, base: int, has_code: bool
) -> None:
    made = sample(machine, aligned=False)
    path = written(tmp_path, "a.dll", made.file())
    process = WindowsProcess()
    process.add(made, base, path, copied=True, hold_header=True)
    process.loads = [
        (start, b"" if start > base else data, size, flags)
        for start, data, size, flags in process.loads
    ]
    found = opened(tmp_path, process)
    assert found.read(base + made[".text"].rva) == (CODE[:16] if has_code else b"")
    # The loader writes addresses of functions into constants, the program into data.
    assert found.read(base + made[".rdata"].rva) == b""
    assert found.read(base + made[".data"].rva) == b""


# --- hostile -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        {"e_lfanew": 0xFFFF_FFFF}, {"Magic": 7}, {"SizeOfImage": 0}, {"SizeOfImage": 0xFFFF_FFFF},
        {"NumberOfSections": 0}, {"SizeOfHeaders": 0}, {"SizeOfOptionalHeader": 0xFFFF},
    ],
    ids=str,
)  # fmt: skip
def test_a_broken_header_costs_its_module_alone(tmp_path: Path, broken: dict[str, int]) -> None:
    bad = sample(aligned=False, **broken)
    process = WindowsProcess(lists=False)
    process.add(bad, BASE64, "/bad.dll", copied=True, hold_header=True, listed=False)
    process.add(sample(), 0x2_0000_0000, "/good.dll", hold_header=True, listed=False)
    found = opened(tmp_path, process)
    [good] = found.modules
    assert good.name == "good.dll"
    assert found.pe(good).headers.machine == AMD64
    unspool.unwind(found.target)


def test_an_image_that_claims_everything_ends_where_the_next_begins(tmp_path: Path) -> None:
    process = WindowsProcess()
    process.entries.append(Entry(0x1_0000_0000, 0xFFFF_F000, "C:\\all.dll", "all.dll"))
    process.add(sample(), 0x1_4000_0000, "/a.dll")
    process.entries.append(Entry(0x1_4000_1000, 0x1000, "C:\\in.dll", "in.dll"))
    found = opened(tmp_path, process)
    spans = [(module.base, module.end) for module in found.modules]
    assert spans[0] == (0x1_0000_0000, 0x1_4000_0000)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_one_header_in_many_places(tmp_path: Path) -> None:
    sections = [Section(f"s{n}", b"x", "rx") for n in range(200)]
    header = image(AMD64, sections, file_alignment=0x1000).memory()[:0x4000]
    process = WindowsProcess()
    process.add(sample(), BASE64, "/a.dll")
    core = process.core()
    core.load(0x10_0000_0000, header, flags="rwx")
    for n in range(1, 20_000):
        place = 0x10_0000_0000 + n * 0x10_0000
        core.load(place, offset=0, filesz=0x4000, memsz=0x4000, flags="rwx")
    data = core.build()
    assert core.image is not None
    # Every segment's bytes are those of the first.
    at = data.index(header)
    table = bytearray(data)
    start = struct.unpack_from("<Q", table, 32)[0]
    for index in range(struct.unpack_from("<H", table, 56)[0]):
        entry = start + 56 * index
        if struct.unpack_from("<Q", table, entry + 16)[0] > 0x10_0000_0000:
            struct.pack_into("<Q", table, entry + 8, at)
    path = tmp_path / "core"
    path.write_bytes(table)
    with unspool.open(str(path)) as target:
        assert 1 < sum(module.kind == "pe" for module in target.modules) <= 1600


@pytest.mark.parametrize("count", [96, 300])
def test_an_image_of_too_many_sections(tmp_path: Path, count: int) -> None:
    sections = [Section(f"s{n}", b"x", "rx") for n in range(count)]
    process = WindowsProcess()
    process.add(image(AMD64, sections), BASE64, "", listed=False)
    process.loads = [(s, d, n, f) for s, d, n, f in process.loads if s >= BASE64 + 0x4000]
    data = image(AMD64, sections).memory()[:0x4000]
    process.loads.append((BASE64, data, 0x4000, "rwx"))
    process.add(sample(), 0x2_0000_0000, "/a.dll")
    assert len(opened(tmp_path, process).modules) == 1 + (count < 256)


@pytest.mark.parametrize("last", [0, LDR + 0x10 + 0x60, 0x5000_0000, (1 << 64) - 8])
def test_a_list_that_leads_nowhere(tmp_path: Path, last: int) -> None:
    process = WindowsProcess(lies={"last": last})
    process.add(sample(), BASE64, "/a.dll")
    assert "a.dll" in [module.name for module in opened(tmp_path, process).modules]


# --- the others do not pay ---------------------------------------------------------------


def test_a_plain_core_loads_nothing_of_this(tmp_path: Path) -> None:
    made = Process("x86_64")
    made.thread(1, ["inner", "main", "_start"], signal=11)
    path = tmp_path / "core"
    path.write_bytes(made.core().build())
    script = (
        "import sys, unspool\n"
        "with unspool.open(sys.argv[1]) as target: unspool.unwind(target)\n"
        "print(*(name for name in sys.modules if name.startswith('unspool')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    ours = set(done.stdout.split())
    assert "unspool.targets.core.target" in ours
    assert not {name for name in ours if ".pe_" in name or name.endswith(".pe") or "wine" in name}
