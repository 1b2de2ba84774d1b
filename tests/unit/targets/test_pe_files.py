"""The files of PE modules: where they are looked for, and which are refused."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.pe import (
    AMD64,
    BASERELOC,
    I386,
    WINE_BUILTIN,
    WINE_PLACEHOLDER,
    Image,
    Section,
    image,
)
from tests.build.windows_process import Entry, WindowsProcess
from unspool.formats.pe import Pe
from unspool.targets.pe.compare import relocated_bytes
from unspool.targets.pe.files import any_case, linux_path, prefix_of

from .test_pe_modules import BASE32, BASE64, CODE, Opened, add_ntdll, opened, sample, written

STAMP = 0x5F5E100F


def found_in(opened: Opened) -> str | None:
    """The file of the first PE module."""
    opened.target.pe(opened.modules[0])
    return opened.modules[0].file


def process_of(made: Image, path: str, base: int = BASE64, **how: object) -> WindowsProcess:
    process = WindowsProcess(8 if base != BASE32 else 4)
    process.add(made, base, path, **how)  # type: ignore[arg-type]
    return process


# --- where -------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["sysroot", "symbols", "symbols-case", "store", "executable"])
def test_files_in_other_places(tmp_path: Path, where: str) -> None:
    made = sample(dll=False)
    process = process_of(made, "/opt/deep/Prog.exe")
    name = f"files/prog.exe/{STAMP:08X}{made.size_of_image:x}/prog.exe"
    if where == "sysroot":
        path = written(tmp_path, "files/opt/deep/Prog.exe", made.file())
        found = opened(tmp_path, process, sysroot=str(tmp_path / "files"))
    elif where == "executable":
        path = written(tmp_path, "files/renamed", made.file())
        found = opened(tmp_path, process, executable=path)
    else:
        names = {"symbols": "files/Prog.exe", "symbols-case": "files/PROG.EXE", "store": name}
        path = written(tmp_path, names[where], made.file())
        found = opened(tmp_path, process, symbols=[str(tmp_path / "files")])
    assert found_in(found) == path
    assert found.refused == []


def test_the_windows_path_leads_to_the_prefix(tmp_path: Path) -> None:
    """No mapping names the file, another one's path says where drive C is."""
    made = sample()
    path = written(tmp_path, "pfx/drive_c/Program Files/Game/engine.dll", made.file())
    process = WindowsProcess()
    other = written(tmp_path, "pfx/drive_c/other.dll", made.file())
    process.add(made, BASE64, other)
    process.entries.append(
        Entry(0x2_0000_0000, made.size_of_image, r"C:\program files\game\ENGINE.dll",
              "ENGINE.dll", timestamp=STAMP),
    )  # fmt: skip
    found = opened(tmp_path, process)
    found.pe(found.modules[1])
    assert found.modules[1].file == path
    assert found.modules[1].path == r"C:\program files\game\ENGINE.dll"


def test_a_windows_path_does_not_leave_the_sysroot(tmp_path: Path) -> None:
    made = sample()
    written(tmp_path, "outside/a.dll", made.file())
    (tmp_path / "root").mkdir()
    (tmp_path / "root/OPT").symlink_to(tmp_path / "outside")
    process = WindowsProcess()
    add_ntdll(process)
    process.entries.append(
        Entry(BASE64, made.size_of_image, r"Z:\opt\a.dll", "a.dll", timestamp=STAMP)
    )
    found = opened(tmp_path, process, sysroot=str(tmp_path / "root"))
    assert found_in(found) is None


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        (r"C:\windows\a.dll", "/p/drive_c/windows/a.dll"),
        (r"c:\windows\a.dll", "/p/drive_c/windows/a.dll"),
        (r"Z:\opt\a.dll", "/opt/a.dll"),
        (r"\??\Z:\opt\a.dll", "/opt/a.dll"),
        (r"\\?\unix\opt\a.dll", "/opt/a.dll"),
        (r"\??\unix\opt\a.dll", "/opt/a.dll"),
        (r"D:\a.dll", None),
        (r"\\server\share\a.dll", None),
        ("a.dll", None),
        ("", None),
        ("C:a.dll", None),
        ("C:\\a\0b.dll", None),
    ],
)
def test_windows_paths(windows: str, expected: str | None) -> None:
    assert linux_path(windows, "/p") == expected


def test_windows_paths_without_a_prefix() -> None:
    assert linux_path(r"Z:\opt\a.dll", None) == "/opt/a.dll"
    assert linux_path(r"C:\opt\a.dll", None) is None


def test_other_drives_are_links_in_the_prefix(tmp_path: Path) -> None:
    (tmp_path / "dosdevices").mkdir()
    (tmp_path / "dosdevices/d:").symlink_to("/games")
    (tmp_path / "dosdevices/e:").symlink_to("../drive_e")
    assert linux_path(r"D:\a.dll", str(tmp_path)) == "/games/a.dll"
    relative = linux_path(r"E:\a.dll", str(tmp_path))
    assert relative is not None
    assert os.path.normpath(relative) == f"{tmp_path}/drive_e/a.dll"


@given(st.text(max_size=20))
def test_any_windows_path(text: str) -> None:
    path = linux_path(text, "/p")
    assert path is None or path.startswith("/")


def test_the_prefix_is_what_drive_c_lies_in() -> None:
    assert prefix_of(["/usr/lib/a.dll", "/home/u/.wine/drive_c/a.dll"]) == "/home/u/.wine"
    assert prefix_of(["/usr/lib/drive_cx"]) is None


def test_paths_in_any_case(tmp_path: Path) -> None:
    path = written(tmp_path, "Some/File.Dll", b"x")
    assert any_case(path) == path
    assert any_case(f"{tmp_path}/sOmE/fIlE.dLL") == path
    assert any_case(f"{tmp_path}/some/other") is None
    assert any_case(f"{tmp_path}/some") is None


# --- refused -----------------------------------------------------------------------------


def other_sections() -> Image:
    sections = [Section(".text", CODE, "rx"), Section(".rdata", bytes(0x1400), "r")]
    return image(
        AMD64, sections, file_alignment=0x1000, checksum=0x1234, entry=0x1010, SizeOfImage=0x7000,
    )  # fmt: skip


DIFFERENT = {
    "link time": (lambda: sample(timestamp=STAMP + 1), "link time is 0x5f5e1010"),
    "size": (lambda: sample(SizeOfImage=0x9000), "size in memory"),
    "checksum": (lambda: sample(checksum=5), "checksum is 0x5"),
    "entry": (lambda: sample(entry=0x1020), "entry point"),
    "machine": (lambda: sample(I386), "CPU"),
    "sections": (other_sections, "sections"),
    "placeholder": (lambda: sample(stub=WINE_PLACEHOLDER), "placeholder"),
}


@pytest.mark.parametrize("what", list(DIFFERENT))
def test_a_file_that_differs_from_the_header_in_memory(tmp_path: Path, what: str) -> None:
    make, words = DIFFERENT[what]
    path = written(tmp_path, "a.dll", make().file())
    found = opened(tmp_path, process_of(sample(), path, hold_header=True))
    assert found_in(found) is None
    [title] = found.refused
    assert title.startswith(f"{path} is not the file that crashed: ")
    assert words in title
    assert found.pe(found.modules[0]).headers.mapped


@pytest.mark.parametrize("what", ["link time", "size", "entry", "placeholder"])
def test_a_file_that_differs_from_what_the_loader_says(tmp_path: Path, what: str) -> None:
    make, words = DIFFERENT[what]
    path = written(tmp_path, "a.dll", make().file())
    found = opened(tmp_path, process_of(sample(), path, entry_point=BASE64 + 0x1010))
    assert found_in(found) is None
    assert words in found.refused[0]
    assert found.read(BASE64 + 0x1000) == b""


def test_a_file_whose_sections_are_mapped_from_elsewhere(tmp_path: Path) -> None:
    path = written(tmp_path, "a.dll", sample(aligned=False).file())
    process = process_of(sample(), path, timestamp=0)
    found = opened(tmp_path, process)
    assert found_in(found) is None
    assert "are not at offset" in found.refused[0]


def test_a_part_of_wine_is_no_placeholder(tmp_path: Path) -> None:
    made = sample(stub=WINE_BUILTIN)
    path = written(tmp_path, "a.dll", made.file())
    assert found_in(opened(tmp_path, process_of(made, path))) == path


def test_debug_information_alone_is_not_the_file(tmp_path: Path) -> None:
    """`objcopy --only-keep-debug` keeps the header and says that sections have no bytes."""
    made = sample()
    stripped = sample()
    debug = stripped.file().replace(
        struct.pack("<II", made[".text"].raw_size, made[".text"].offset), bytes(8)
    )
    path = written(tmp_path, "a.dll", debug)
    found = opened(tmp_path, process_of(made, path, timestamp=0))
    assert found_in(found) is None
    assert "debug information alone" in found.refused[0]


def test_the_right_file_after_a_wrong_one(tmp_path: Path) -> None:
    wrong = written(tmp_path, "a.dll", sample(timestamp=1).file())
    right = written(tmp_path, "symbols/a.dll", sample().file())
    process = process_of(sample(), wrong)
    found = opened(tmp_path, process, symbols=[str(tmp_path / "symbols")])
    assert found_in(found) == right
    assert found.refused == []


@pytest.mark.parametrize("name", ["fifo", "directory", "text", "cut"])
def test_what_is_no_pe_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.dll"
    if name == "fifo":
        os.mkfifo(path)
    elif name == "directory":
        path.mkdir()
    else:
        path.write_bytes(b"no program" if name == "text" else sample().file()[:0x90])
    found = opened(tmp_path, process_of(sample(), str(path), hold_header=True))
    assert found_in(found) is None


# --- by its code -------------------------------------------------------------------------


def relocated(made: Image, delta: int, places: list[int], size: int) -> bytes:
    memory = bytearray(made.memory())
    for rva in places:
        value = int.from_bytes(memory[rva : rva + size], "little") + delta
        memory[rva : rva + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    return bytes(memory)


def with_relocations(machine: int, places: list[int], kind: int) -> Image:
    """A DLL without link time and checksum, whose code has addresses at `places`."""
    code = Section(".text", (CODE * 5)[:0x3000], "rx")
    pages = sorted({place & -0x1000 for place in places})
    table = b""
    for page in pages:
        entries = [kind << 12 | place - page for place in places if place & -0x1000 == page]
        entries += [0] * (len(entries) % 2)
        table += struct.pack(f"<II{len(entries)}H", page, 8 + 2 * len(entries), *entries)
    relocations = Section(".reloc", table, "r")
    return image(
        machine, [code, relocations], file_alignment=0x1000, timestamp=0,
        directories={BASERELOC: relocations},
    )  # fmt: skip


# All of the first page, and an address that lies on two.
PLACES = [*range(0x1000, 0x1FF8, 8), 0x2FFE, 0x3FF0]


@pytest.mark.parametrize(
    ("machine", "kind", "size", "base"),
    [(I386, 3, 4, 0x6123_4000), (AMD64, 10, 8, 0x6FFF_0000_0000)],
    ids=["i386", "x86_64"],
)
def test_relocated_code_is_the_files(
    tmp_path: Path, machine: int, kind: int, size: int, base: int
) -> None:
    made = with_relocations(machine, PLACES, kind)
    path = written(tmp_path, "a.dll", made.file())
    memory = relocated(made, base - (BASE64 if size == 8 else BASE32), PLACES, size)
    process = WindowsProcess(8)
    process.add(made, base, path, hold=memory, timestamp=0)
    found = opened(tmp_path, process)
    assert found_in(found) == path
    changed = {at for at, (a, b) in enumerate(zip(memory, made.memory(), strict=True)) if a != b}
    pages = set(range(0x1000, 0x4000, 0x1000))
    explained = relocated_bytes(Pe(made.file()), pages)
    assert changed and changed <= explained
    assert explained == {place + n for place in PLACES for n in range(size)}
    assert 0x3001 in relocated_bytes(Pe(made.file()), {0x3000})


def test_code_is_not_relocated_at_the_preferred_base(tmp_path: Path) -> None:
    made = with_relocations(AMD64, PLACES, 10)
    path = written(tmp_path, "a.dll", made.file())
    memory = relocated(made, 0x123456789, PLACES, 8)
    found = opened(tmp_path, process_of(made, path, hold=memory, timestamp=0))
    assert found_in(found) is None


@pytest.mark.parametrize("hold_header", [True, False])
def test_another_programs_code_is_refused(tmp_path: Path, hold_header: bool) -> None:
    """A header without link time and checksum identifies nothing."""
    made = with_relocations(AMD64, PLACES, 10)
    path = written(tmp_path, "a.dll", made.file())
    memory = bytearray(made.memory())
    memory[0x1000:0x4000] = bytes(range(256)) * 48
    process = process_of(
        made, path, hold=bytes(memory), timestamp=0, hold_header=hold_header
    )
    found = opened(tmp_path, process)
    assert found_in(found) is None
    assert "code differs" in found.refused[0]


def test_hooked_functions_are_no_other_program(tmp_path: Path) -> None:
    """Overlays write jumps over the first bytes of functions."""
    made = with_relocations(AMD64, PLACES, 10)
    path = written(tmp_path, "a.dll", made.file())
    memory = bytearray(made.memory())
    memory[0x1200:0x120E] = b"\xff\x25\0\0\0\0" + bytes(range(8))
    found = opened(tmp_path, process_of(made, path, hold=bytes(memory), timestamp=0))
    assert found_in(found) == path


@given(st.binary(max_size=300), st.sets(st.integers(0, 16).map(lambda n: n << 12), max_size=4))
def test_any_relocations(table: bytes, pages: set[int]) -> None:
    relocations = Section(".reloc", table + b"\0", "r")
    code = Section(".text", CODE, "rx")
    made = image(
        I386, [code, relocations], directories={BASERELOC: relocations}, timestamp=0
    )
    assert len(relocated_bytes(Pe(made.file()), pages)) <= 8 * 4096 * 2 * len(pages or {0}) + 8
