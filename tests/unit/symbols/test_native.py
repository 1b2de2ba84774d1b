"""Lines and inlined calls out of DWARF: against other tools, and with a cache that fails."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.build.elf import Elf as Builder
from tests.conftest import Tool
from tests.unit.symbols.conftest import Compile, Run
from unspool.symbols import native
from unspool.symbols.files import open_elf
from unspool.symbols.native import NativeLines, open_lines
from unspool.symbols.symcache_store import SymcacheStore

pytest.importorskip("symbolic")

Places = list[tuple[str, int]]


def lines_of(path: Path, **keywords: object) -> NativeLines:
    elf = open_elf(str(path))
    assert elf is not None
    problems: list[str] = []
    found = open_lines(elf, str(path), problems=problems, **keywords)  # type: ignore[arg-type]
    assert problems == []
    assert found is not None
    return found


def places(found: NativeLines, address: int) -> Places:
    """File names without folders, and lines."""
    return [(os.path.basename(p.file or "?"), p.line or 0) for p in found.lookup(address)[0]]


def calls_in(path: Path, tool: Tool) -> list[int]:
    """The addresses of all call instructions."""
    rows = (line.split() for line in tool("objdump", "-d", "--no-show-raw-insn", path).splitlines())
    return [int(row[0][:-1], 16) for row in rows if len(row) > 2 and row[1] in ("call", "bl")]


def addr2line(tool: Tool, path: Path, address: int) -> Places:
    output = tool("addr2line", "-i", "-e", path, hex(address)).splitlines()
    result = []
    for line in output:
        file, _, number = line.split(" (")[0].rpartition(":")
        if number.isdecimal():
            result.append((os.path.basename(file), int(number)))
    return result


FORMS = {
    "dwarf 5": ["-gdwarf-5"],
    "dwarf 4": ["-gdwarf-4"],
    "compressed by zlib": ["-g", "-gz=zlib"],
    "with section groups": ["-g", "-ffunction-sections"],
    "not position-independent": ["-g", "-no-pie"],
    "static": ["-g", "-static"],
    "32-bit": ["-g", "-m32", "-isystem", "/usr/include/x86_64-linux-gnu"],
}


@pytest.mark.oracle
@pytest.mark.parametrize("form", FORMS)
def test_calls_are_in_the_lines_that_addr2line_says(
    form: str, compiled: Compile, tool: Tool
) -> None:
    program = compiled("inlined.c", "gcc", "-O2", *FORMS[form])
    found = lines_of(program)
    checked = inlined = 0
    for address in calls_in(program, tool):
        ours = places(found, address)
        if not ours:
            continue
        assert ours == addr2line(tool, program, address), hex(address)
        checked += 1
        inlined += len(ours) > 1
    assert checked >= 4
    assert inlined >= 1


@pytest.mark.oracle
def test_sections_compressed_by_zstd(inlined: Path, tmp_path: Path, run: Run, tool: Tool) -> None:
    packed = tmp_path / "packed"
    run("objcopy", "--compress-debug-sections=zstd", inlined, packed)
    plain, unpacked = lines_of(inlined), lines_of(packed)
    seen = [places(plain, address) for address in calls_in(inlined, tool)]
    assert any(seen)
    assert [places(unpacked, address) for address in calls_in(inlined, tool)] == seen


@pytest.mark.oracle
def test_inlined_calls_come_innermost_first(inlined: Path, tool: Tool) -> None:
    """deep() in middle() in outer(): abort is called in the innermost."""
    found = lines_of(inlined)
    chains = [
        [(p.function, p.line) for p in found.lookup(address)[0]]
        for address in calls_in(inlined, tool)
    ]
    source = (Path(__file__).parent / "programs" / "inlined.c").read_text().splitlines()
    line = {text.strip(): number for number, text in enumerate(source, 1)}
    aborting = [chain for chain in chains if [name for name, _ in chain][:2] == ["deep", "middle"]]
    assert aborting
    for chain in aborting:
        assert source[(chain[0][1] or 0) - 1].strip() == "abort();"
        assert chain[1] == ("middle", line["deep(x + 1);"])
        assert chain[2][1] in (line["middle(x);"], line["middle(x + 3);"])


@pytest.mark.oracle
def test_cpp_inlined_functions_have_mangled_names(classes: Path, tool: Tool) -> None:
    from unspool.symbols.demangle import demangle

    found = lines_of(classes)
    names = {p.function for at in calls_in(classes, tool) for p in found.lookup(at)[0]}
    assert any(demangle(name).startswith("std::") for name in names)


def test_functions_without_dwarf_have_no_places(inlined: Path, tool: Tool) -> None:
    starts = {
        row[-1]: int(row[0], 16)
        for row in (line.split() for line in tool("nm", "--defined-only", inlined).splitlines())
    }
    found = lines_of(inlined)
    assert found.lookup(starts["_start"]) == ([], None)
    assert found.lookup(starts["unsized"]) == ([], None)
    assert found.lookup(0) == ([], None)
    assert found.lookup(-5) == ([], None)
    assert found.lookup(1 << 40) == ([], None)
    _, start = found.lookup(starts["rare"] + 2)
    assert start == starts["rare"]


def test_a_path_need_not_be_utf_8(
    inlined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: Tool
) -> None:
    """The library takes paths in UTF-8 alone; folders of old disks are named in Latin-1."""
    folder = tmp_path / os.fsdecode(b"Pok\xe9mon")
    folder.mkdir()
    copy = shutil.copy(inlined, folder)
    expected = lines_of(inlined)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    calls = calls_in(inlined, tool)
    for found in (lines_of(copy), lines_of(copy)):  # the second one comes from the cache
        assert [places(found, at) for at in calls] == [places(expected, at) for at in calls]
    assert native.debug_id(str(copy)) == native.debug_id(str(inlined)) is not None


def test_split_dwarf_gives_no_lines_and_no_error(compiled: Compile, tool: Tool) -> None:
    """A known gap: the .dwo files beside the program are not read."""
    program = compiled("inlined.c", "gcc", "-O2", "-g", "-gsplit-dwarf")
    found = lines_of(program)
    assert all(found.lookup(address) == ([], None) for address in calls_in(program, tool))


# --- the cache ----------------------------------------------------------------------------


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*")) if folder.exists() else []


def test_the_second_time_comes_from_the_cache(inlined: Path, own_cache: Path, tool: Tool) -> None:
    first = lines_of(inlined)
    [entry] = entries(own_cache)
    made = entry.stat().st_ino
    os.utime(entry, (1_000_000, 1_000_000))
    second = lines_of(inlined)
    assert [path.stat().st_ino for path in entries(own_cache)] == [made]
    assert entry.stat().st_mtime > 2_000_000
    for address in calls_in(inlined, tool):
        assert places(first, address) == places(second, address)


@pytest.mark.parametrize("damage", [b"", b"junk" * 100, None], ids=["empty", "junk", "cut"])
def test_useless_entries_are_rebuilt(
    inlined: Path, own_cache: Path, tool: Tool, damage: bytes | None
) -> None:
    lines_of(inlined)
    [entry] = entries(own_cache)
    whole = entry.read_bytes()
    entry.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    found = lines_of(inlined)
    assert entry.read_bytes() == whole
    assert any(places(found, address) for address in calls_in(inlined, tool))


def test_an_entry_that_the_library_refuses_is_rebuilt(inlined: Path, own_cache: Path) -> None:
    """Its checksum is right, its content is of another format."""
    lines_of(inlined)
    [entry] = entries(own_cache)
    whole = entry.read_bytes()
    store = SymcacheStore(str(own_cache))
    store.put(
        entry.name.removesuffix(".symcache"), lambda sink: sink.write(b"of the future") and None
    )
    assert entry.read_bytes() != whole
    lines_of(inlined)
    assert entry.read_bytes() == whole


@pytest.mark.parametrize("limit", ["0", "100"])
def test_without_room_it_works_without(
    inlined: Path, own_cache: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setenv("UNSPOOL_CACHE_LIMIT", limit)
    found = lines_of(inlined)
    assert entries(own_cache) == []
    assert any(places(found, address) for address in calls_in(inlined, tool))


def test_a_cache_that_cannot_be_written_is_no_error(
    inlined: Path, tmp_path: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    found = lines_of(inlined)
    assert any(places(found, address) for address in calls_in(inlined, tool))


def test_another_build_has_another_entry(
    inlined: Path, compiled: Compile, own_cache: Path, tmp_path: Path
) -> None:
    lines_of(inlined)
    lines_of(compiled("inlined.c", "gcc", "-g", "-O1"))
    assert len(entries(own_cache)) == 2
    copy = tmp_path / "copy"
    copy.write_bytes(inlined.read_bytes())
    os.utime(copy, (2_000_000, 2_000_000))  # the same build id and size, but maybe not the same
    lines_of(copy)
    assert len(entries(own_cache)) == 3


def test_files_without_build_id_are_told_apart_by_path(
    compiled: Compile, own_cache: Path, tmp_path: Path
) -> None:
    program = compiled("inlined.c", "gcc", "-g", "-Wl,--build-id=none")
    for name in ("one", "other"):
        (tmp_path / name).write_bytes(program.read_bytes())
        os.utime(tmp_path / name, (3_000_000, 3_000_000))
        lines_of(tmp_path / name)
    assert len(entries(own_cache)) == 2


def look_up(path: str, addresses: list[int], answers: multiprocessing.Queue[str]) -> None:
    for _ in range(5):
        found = lines_of(Path(path))
        answers.put(repr([places(found, address) for address in addresses]))


def test_processes_that_start_together_agree(
    inlined: Path, own_cache: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three processes find no cache, and all build it."""
    addresses = calls_in(inlined, tool)
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    workers = [
        context.Process(target=look_up, args=(str(inlined), addresses, answers)) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    received = {answers.get(timeout=60) for _ in range(15)}
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    found = lines_of(inlined)
    assert received == {repr([places(found, address) for address in addresses])}
    assert len(entries(own_cache)) == 1


# --- files that are no good ---------------------------------------------------------------


def refused(data: bytes, path: Path) -> list[str]:
    path.write_bytes(data)
    elf = open_elf(str(path))
    assert elf is not None
    problems: list[str] = []
    assert open_lines(elf, str(path), problems=problems) is None
    return problems


def test_damaged_dwarf_is_a_problem_in_words(inlined: Path, tmp_path: Path) -> None:
    elf = open_elf(str(inlined))
    assert elf is not None
    data = bytearray(inlined.read_bytes())
    section = elf.section(".debug_abbrev")
    assert section is not None
    data[section.offset : section.offset + section.size] = b"\xff" * section.size
    [problem] = refused(bytes(data), tmp_path / "damaged")
    assert "its DWARF cannot be read" in problem
    assert "\n" not in problem


def test_a_section_that_claims_too_much_is_not_unpacked(tmp_path: Path) -> None:
    builder = Builder()
    builder.section(".debug_info", data=bytes(1 << 20), compress="zlib")
    data = bytearray(builder.build())
    at = data.index((1).to_bytes(8, "little") + (1 << 20).to_bytes(8, "little"))
    data[at + 8 : at + 16] = (1 << 40).to_bytes(8, "little")
    [problem] = refused(bytes(data), tmp_path / "bomb")
    assert "claims to unpack to 1099511627776" in problem


def test_progress_is_told_before_a_long_conversion(
    inlined: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    lines_of(inlined, progress=said.append)
    assert said == []
    for entry in entries(own_cache):
        entry.unlink()
    monkeypatch.setattr(native, "_LARGE", 1)
    lines_of(inlined, progress=said.append)
    assert said == ["reading the debug information of inlined (0 MB)"]


# --- the import ---------------------------------------------------------------------------


def python(code: str, **environment: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **environment})


def test_the_library_is_imported_in_part_and_nobody_notices(inlined: Path) -> None:
    python(
        "import os, sys\n"
        "os.environ.pop('RUST_BACKTRACE', None)\n"
        "from unspool.symbols.files import open_elf\n"
        "from unspool.symbols.native import open_lines, available\n"
        "assert available() and 'symbolic' not in sys.modules\n"
        f"path = {str(inlined)!r}\n"
        "for turn in range(2):\n"
        "    assert open_lines(open_elf(path), path)\n"
        "    assert 'symbolic.sourcemap' not in sys.modules\n"
        "assert 'RUST_BACKTRACE' not in os.environ\n"
        "import symbolic\n"
        "from symbolic import Archive, SymCache\n"
        "import symbolic.symcache\n"
        "assert symbolic.symcache.SymCache is SymCache\n"
        "assert 'symbolic.sourcemap' in sys.modules and type(symbolic).__name__ == 'module'\n"
        "assert not hasattr(symbolic, 'no_such_name')\n"
        "assert open_lines(open_elf(path), path)\n"
    )


def test_what_the_library_hardly_uses_is_not_imported_with_it(
    inlined: Path, own_cache: Path
) -> None:
    python(
        "import sys\n"
        "from unspool.symbols.files import open_elf\n"
        "from unspool.symbols.native import open_lines\n"
        f"path = {str(inlined)!r}\n"
        "before = {'shutil', 'uuid'} & set(sys.modules)\n"
        "assert open_lines(open_elf(path), path)\n"  # for the first time: with both
        "kept = sys.modules['symbolic.symcache'].shutil\n"
        "import shutil, uuid\n"
        "assert kept.which is shutil.which and shutil.__spec__ and uuid.UUID(int=1).int == 1\n"
        "assert not hasattr(kept, 'no_such_name')\n"
    )
    python(
        "import sys\n"
        "from unspool.symbols.files import open_elf\n"
        "from unspool.symbols.native import open_lines\n"
        "for name in ('shutil', 'uuid'):\n"
        "    sys.modules.pop(name, None)\n"
        f"path = {str(inlined)!r}\n"
        "assert open_lines(open_elf(path), path)\n"  # out of the cache: with none of them
        "assert not {'shutil', 'uuid'} & set(sys.modules)\n"
    )


def test_the_users_choice_of_backtraces_stays(inlined: Path) -> None:
    python(
        "import os\n"
        "from unspool.symbols.files import open_elf\n"
        "from unspool.symbols.native import open_lines\n"
        f"assert open_lines(open_elf({str(inlined)!r}), {str(inlined)!r})\n"
        "assert os.environ['RUST_BACKTRACE'] == 'full'\n",
        RUST_BACKTRACE="full",
    )


def test_without_the_library_there_are_no_lines(inlined: Path) -> None:
    python(
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "real = PathFinder.find_spec\n"
        "def find_spec(name, *rest):\n"
        "    return None if name == 'symbolic' else real(name, *rest)\n"
        "PathFinder.find_spec = find_spec\n"
        "from unspool.symbols.files import open_elf\n"
        "from unspool.symbols import native\n"
        "assert not native.available()\n"
        "problems = []\n"
        f"path = {str(inlined)!r}\n"
        "assert native.open_lines(open_elf(path), path, problems=problems) is None\n"
        "assert 'no lines' in problems[0], problems\n"
    )


@pytest.mark.parametrize(
    ("path", "once"),
    [
        ("nptl/nptl/pthread_kill.c", "nptl/pthread_kill.c"),
        ("a/b/a/b/c.c", "a/b/c.c"),
        ("a/b/c.c", "a/b/c.c"),
        ("/src/src/c.c", "/src/src/c.c"),
        ("c.c", "c.c"),
        (None, None),
    ],
)
def test_a_folder_that_is_joined_to_itself_is_shown_once(
    path: str | None, once: str | None
) -> None:
    assert native.folder_once(path) == once
