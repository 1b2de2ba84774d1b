"""Separate debug files: every place they are looked for, and every reason to refuse one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.build.elf import EM_AARCH64, EM_X86_64
from tests.build.elf import Elf as Builder
from tests.build.elf import Symbol as Entry
from tests.unit.symbols.conftest import Run, module_of
from unspool.formats.elf import Elf
from unspool.memory import Memory
from unspool.model import Module
from unspool.symbols.files import open_elf
from unspool.symbols.finders import (
    DebugFiles,
    alternate_debug_file,
    has_dwarf,
    has_symbols,
)
from unspool.targets.base import Options
from unspool.targets.module_files import ModuleFiles, Wanted

ID = bytes(range(0xA0, 0xB4))


def debug_file(identity: bytes | None = ID, machine: int = EM_X86_64, mark: bytes = b"") -> bytes:
    builder = Builder(machine=machine)
    builder.load(b"\x90" * 16, address=0x1000, flags="rx")
    if identity:
        builder.build_id(identity)
    builder.section(".comment", data=mark)
    builder.symbols([Entry("f", 0x1000, 8)])
    return builder.build()


def stripped_file(identity: bytes | None = ID, link: tuple[str, bytes] | None = None) -> bytes:
    builder = Builder()
    builder.load(b"\x90" * 16, address=0x1000, flags="rx")
    if identity:
        builder.build_id(identity)
    if link:
        builder.debug_link(*link)
    return builder.build()


class Place:
    """A machine: a stripped module in /app, a system debug root, a sysroot, a symbols folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.app = root / "app"
        self.app.mkdir()
        self.usr_lib_debug = root / "system"
        self.symbols = root / "symbols"
        self.symbols.mkdir()
        self.sysroot = root / "sysroot"

    def module(self, data: bytes) -> tuple[Module, Elf]:
        path = self.app / "prog"
        path.write_bytes(data)
        elf = Elf(data)
        return module_of(elf, path), elf

    def put(self, where: str, data: bytes) -> Path:
        path = self.root / where
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def files(self, symbols: bool = True) -> DebugFiles:
        return DebugFiles(
            (str(self.symbols),) if symbols else (), str(self.sysroot), str(self.usr_lib_debug)
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


TREE = f".build-id/{ID.hex()[:2]}/{ID.hex()[2:]}.debug"


@pytest.mark.parametrize(
    ("where", "finder"),
    [
        (f"symbols/{TREE}", "by build id in symbols"),
        (f"symbols/{TREE.removeprefix('.build-id/')}", "by build id in symbols"),
        ("symbols/deep/inside/anything", "by build id in symbols"),
        (f"sysroot/usr/lib/debug/{TREE}", "by build id in roots"),
        (f"system/{TREE}", "by build id in roots"),
    ],
)
def test_found_by_build_id(place: Place, where: str, finder: str) -> None:
    path = place.put(where, debug_file())
    module, elf = place.module(stripped_file())
    files = place.files()
    found = files.find(module, elf)
    assert found is not None
    assert (found.path, found.finder) == (str(path), finder)
    assert files.problems == []
    # The module's file is not needed where its id is known.
    again = place.files().find(module, None)
    assert again is not None
    assert again.path == str(path)


@pytest.mark.parametrize(
    "where", ["app/prog.dbg", "app/.debug/prog.dbg", "system{app}/prog.dbg", "symbols/x/prog.dbg"]
)
@pytest.mark.parametrize("identity", [ID, None])
def test_found_by_debug_link(place: Place, where: str, identity: bytes | None) -> None:
    debug = debug_file(identity)
    path = place.put(where.format(app=place.app), debug)
    module, elf = place.module(stripped_file(identity, ("prog.dbg", debug)))
    found = place.files().find(module, elf)
    assert found is not None
    assert found.path == str(path)


def test_found_by_debug_link_under_the_sysroot(place: Place) -> None:
    debug = debug_file(None)
    path = place.put("sysroot/usr/lib/debug/opt/bin/prog.dbg", debug)
    module, elf = place.module(stripped_file(None, ("prog.dbg", debug)))
    module.path = "/opt/bin/prog"
    found = place.files().find(module, elf)
    assert found is not None
    assert found.path == str(path)


def test_the_users_files_come_first(place: Place) -> None:
    first = place.put(f"symbols/{TREE}", debug_file(mark=b"user's"))
    place.put(f"system/{TREE}", debug_file(mark=b"system's"))
    module, elf = place.module(stripped_file())
    found = place.files().find(module, elf)
    assert found is not None
    assert found.path == str(first)
    found = place.files(symbols=False).find(module, elf)
    assert found is not None
    assert found.path.endswith(f"system/{TREE}")


def test_another_build_id_is_refused_and_the_search_goes_on(place: Place) -> None:
    other = debug_file(ID[::-1])
    wrong = place.put("app/prog.dbg", other)
    right = place.put("app/.debug/prog.dbg", debug_file())
    module, elf = place.module(stripped_file(ID, ("prog.dbg", other)))
    files = place.files()
    found = files.find(module, elf)
    assert found is not None
    assert found.path == str(right)
    assert files.problems == [
        (str(wrong), f"its build id is {ID[::-1].hex()}, the module's {ID.hex()}")
    ]


def test_a_missing_build_id_is_made_up_for_by_the_checksum(place: Place) -> None:
    debug = debug_file(None)
    place.put("app/prog.dbg", debug)
    module, elf = place.module(stripped_file(ID, ("prog.dbg", debug)))
    assert place.files().find(module, elf) is not None


def test_a_wrong_checksum_is_refused(place: Place) -> None:
    path = place.put("app/prog.dbg", debug_file(None, mark=b"rebuilt"))
    module, elf = place.module(stripped_file(None, ("prog.dbg", debug_file(None))))
    files = place.files()
    assert files.find(module, elf) is None
    [(refused, why)] = files.problems
    assert refused == str(path)
    assert why.startswith("its checksum is ")


def test_a_file_of_the_same_name_alone_is_refused(place: Place) -> None:
    place.put("symbols/prog", debug_file(None))
    module, elf = place.module(stripped_file(None))
    files = place.files()
    assert files.find(module, elf) is None
    [(_, why)] = files.problems
    assert why == "neither a build id nor a debug link says that it belongs to the module"


def test_another_cpu_is_refused(place: Place) -> None:
    place.put(f"symbols/{TREE}", debug_file(machine=EM_AARCH64))
    module, elf = place.module(stripped_file())
    files = place.files()
    assert files.find(module, elf) is None
    assert [why for _, why in files.problems] == ["it is for another CPU"]


def test_the_module_itself_stripped_files_and_other_files_are_no_debug_files(place: Place) -> None:
    place.put(f"symbols/{TREE}", stripped_file())
    place.put(f"system/{TREE}", b"\x7fELF, no")
    (place.root / "sysroot/usr/lib/debug/.build-id/a0").mkdir(parents=True)
    module, elf = place.module(debug_file())
    files = DebugFiles((str(place.symbols), str(place.app)), str(place.sysroot))
    assert files.find(module, elf) is None
    assert files.problems == []


def test_ids_from_elsewhere_do_not_become_paths(place: Place) -> None:
    (place.symbols / "..").mkdir(exist_ok=True)
    place.put("secret", debug_file())
    module, _ = place.module(stripped_file())
    module.code_id = "../secret"
    assert place.files().find(module, None) is None


def test_an_absolute_sysroot_link_stays_inside(place: Place) -> None:
    outside = place.put("outside/file.debug", debug_file())
    tree = place.sysroot / "usr/lib/debug"
    tree.parent.mkdir(parents=True)
    tree.symlink_to(outside.parent)  # absolute: starts at the sysroot, where there is nothing
    module, elf = place.module(stripped_file())
    assert place.files().find(module, elf) is None


def test_modules_files_find_debug_files_by_the_users_options(place: Place) -> None:
    place.put(f"symbols/{TREE}", debug_file())
    module, elf = place.module(stripped_file())
    with_symbols = ModuleFiles(Options(symbols=[str(place.symbols)]), Memory())
    assert with_symbols.debug_file(module, elf) is not None
    assert ModuleFiles(Options(), Memory()).debug_file(module, elf) is None


def test_a_debug_file_is_no_program_and_no_reason_to_complain(
    inlined: Path, tmp_path: Path, run: Run
) -> None:
    """Where `--symbols` has the right debug file, nobody is told that it is a wrong program."""
    elf = open_elf(str(inlined))
    assert elf is not None
    (tmp_path / "symbols").mkdir()
    debug = tmp_path / "symbols" / inlined.name
    run("objcopy", "--only-keep-debug", inlined, debug)
    files = ModuleFiles(Options(symbols=[str(debug.parent)]), Memory())
    wanted = Wanted(f"/elsewhere/{inlined.name}", elf.machine, build_id=elf.build_id())
    assert files.find(wanted) == []
    assert files.debug_file(module_of(elf, inlined), elf) is not None


def test_what_a_file_offers(inlined: Path, tmp_path: Path, run: Run) -> None:
    elf = open_elf(str(inlined))
    assert elf is not None
    assert has_dwarf(elf)
    assert has_symbols(elf)
    run("strip", "-g", inlined, "-o", tmp_path / "symbols")
    run("strip", inlined, "-o", tmp_path / "nothing")
    for name, dwarf, symbols in (("symbols", False, True), ("nothing", False, False)):
        part = open_elf(str(tmp_path / name))
        assert part is not None
        assert (has_dwarf(part), has_symbols(part)) == (dwarf, symbols)


def test_a_real_split_file_is_found_by_its_link_and_by_its_id(
    inlined: Path, tmp_path: Path, run: Run
) -> None:
    program, debug = tmp_path / "prog", tmp_path / "prog.debug"
    run("objcopy", "--only-keep-debug", inlined, debug)
    run("strip", inlined, "-o", program)
    run("objcopy", f"--add-gnu-debuglink={debug}", program)
    elf = open_elf(str(program))
    assert elf is not None
    found = DebugFiles().find(module_of(elf, program), elf)
    assert found is not None
    assert (found.path, found.finder) == (str(debug), "by debug link")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    shutil.move(debug, folder / "renamed")
    found = DebugFiles([str(folder)]).find(module_of(elf, program), elf)
    assert found is not None
    assert found.finder == "by build id in symbols"


def test_the_link_to_a_shared_part_is_noted() -> None:
    builder = Builder()
    builder.section(".gnu_debugaltlink", data=b"/usr/lib/debug/.dwz/x\0" + ID)
    assert alternate_debug_file(Elf(builder.build())) == "/usr/lib/debug/.dwz/x"
    builder = Builder()
    builder.section(".gnu_debugaltlink", data=b"x", sh_size=1 << 40)
    assert alternate_debug_file(Elf(builder.build())) is None
    assert alternate_debug_file(Elf(stripped_file())) is None
