"""Minidumps of real Wine processes, as Breakpad, LLDB and the package `minidump` read them."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.minidumps import Place
from tests.oracle.test_minidump_peers import (
    PC,
    REQUIRED,
    asked,
    bases,
    debug_id,
    overlapping,
    own_build_id,
    pcs,
    without_inlined,
)
from tests.outside.debian import AMD64, I386
from tests.peers import breakpad, lldb, python_minidump, search_path
from tests.peers.memory import core_bytes
from tests.programs.build import run, tool
from unspool.write.minidump import Written

from .conftest import CoreMaker
from .cores import ZooCore
from .flavours import FLAVOURS
from .install import windows

pytestmark = pytest.mark.oracle

SCENARIOS = ["@sleep:2", "qsort:3", "suspended_wait:1"]  # as other tests have them
KERNEL = tuple(f"{name}/O0/kernel" for name in FLAVOURS)
GCORE = ("8.0-x86_64/O0/gcore", "8.0-i386/O0/gcore")
STRIPPED = ("8.0-x86_64/stripped/kernel", "8.0-i386/stripped/kernel")  # with PDB files
REDUCED = sorted((Path(__file__).parents[1] / "corpus" / "wine").glob("*.core.xz"))
# The Windows side of the thread @sleep:2, and what 32-bit names are decorated with.
WANTED = ["NtDelayExecution", "Sleep", "sleep_leaf", "recurse", "recurse", "main"]
DECORATION = re.compile(r"^_(?=.*@)|@\d+$")
DISPATCHER = "__wine_syscall_dispatcher"


@dataclass(frozen=True)
class Subject:
    core: ZooCore
    path: Path
    written: Written
    report: dict[str, Any]  # what we say of the core

    @property
    def threads(self) -> list[dict[str, Any]]:
        return list(self.report["threads"])

    @property
    def triplet(self) -> str:
        """Of the process: in WoW64 not of the Windows program."""
        return AMD64 if self.core.flavour.architecture == "win64" else I386

    @property
    def arch(self) -> str:
        return str(self.report["target"]["arch"])

    def files(self, kind: str) -> Iterator[tuple[int, Path]]:
        """Base and file of each module of a kind, as seen from outside."""
        for module in self.report["modules"]:
            if module["kind"] == kind:
                path = self.file(module)
                if path is not None:
                    yield int(module["base"], 16), path

    def file(self, module: dict[str, Any]) -> Path | None:
        zoo = self.core.zoo.executable
        if module["name"].lower() == zoo.name:
            return zoo
        if module["kind"] == "pe":
            for triplet in (I386, AMD64):
                folder = windows(self.core.flavour.release.root, triplet)
                path = folder / module["name"].lower()
                if self.belongs(module, triplet) and path.is_file():
                    return path
            return None
        path = Path(module.get("path") or "")
        if self.core.sysroot:
            path = Path(self.core.sysroot, *path.parts[1:])
        return path if path.is_file() else None

    def belongs(self, module: dict[str, Any], triplet: str) -> bool:
        """Whether a module is of a machine; under WoW64 both have a ntdll.dll."""
        machine = I386 if self.core.flavour.machine == "i686" else AMD64
        if self.core.flavour.wow64 and int(module["base"], 16) >> 32:
            machine = AMD64
        return machine == triplet


@pytest.fixture
def subject(
    request: pytest.FixtureRequest, zoo_core: CoreMaker, subjects: dict[str, Subject]
) -> Subject:
    """The core "FLAVOUR/VARIANT/KIND" and a minidump of it, made once."""
    name: str = request.param
    if name not in subjects:
        flavour, variant, kind = name.split("/")
        core = zoo_core(flavour, variant, SCENARIOS, kind)
        path = subjects["folder"] / f"{name.replace('/', '.')}.dmp"  # type: ignore[operator]
        place = Place(core.path, [core.zoo.folder], sysroot=core.sysroot)
        _, written = place.dump(path)
        subjects[name] = Subject(core, path, written, place.report())
    return subjects[name]


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"folder": tmp_path_factory.mktemp("peers")}


@pytest.mark.parametrize("subject", [*KERNEL, *GCORE], indirect=True)
def test_breakpad_reads_every_stream(subject: Subject) -> None:
    check_structure(subject.path, subject.report, subject.written)


def check_structure(path: Path, report: dict[str, Any], written: Written) -> None:
    dumped = asked(breakpad.minidump_dump, path)
    assert (dumped.code, dumped.complaints) == (0, [])
    assert set(dumped.streams) >= REQUIRED
    threads = report["threads"]
    tids = [breakpad.number(thread, "thread_id") for thread in dumped.threads]
    assert tids == [thread["tid"] for thread in threads]
    first = [pcs(thread)[0] for thread in threads]
    assert dumped.contexts(PC[report["target"]["arch"]])[: len(first)] == first
    assert {breakpad.number(m, "base_of_image") for m in dumped.modules} == set(bases(report))
    assert len(dumped.memory) == written.ranges
    assert not overlapping(dumped.memory)
    # Both halves of every stack.
    for thread in threads:
        for frame in thread["frames"]:
            assert holds(dumped.memory, int(frame["sp"], 16)), (thread["tid"], frame)
    listed = python_minidump.parse(path)
    assert listed.threads == tids
    assert listed.memory == dumped.memory
    assert sum(size for _, size in listed.memory) == written.memory
    assert [base for base, _, _ in listed.modules] == [
        breakpad.number(module, "base_of_image") for module in dumped.modules
    ]


def holds(memory: list[tuple[int, int]], sp: int) -> bool:
    """The word below a stack pointer was read, or it is where the stack begins."""
    return any(start <= sp <= start + size for start, size in memory)


@pytest.mark.parametrize("core", REDUCED, ids=lambda path: path.name)
def test_reduced_cores(core: Path, tmp_path: Path) -> None:
    """Cores of Wine processes on machines without Wine."""
    place = Place(core)
    path = tmp_path / "a.dmp"
    _, written = place.dump(path)
    report = place.report(names=False)
    check_structure(path, report, written)
    plain = tmp_path / "core"
    plain.write_bytes(lzma.decompress(core.read_bytes()))
    listed = python_minidump.parse(path)
    for start, data in core_bytes(plain, listed.memory):
        assert listed.read(start, len(data)) == data
    seen = asked(lldb.lldb, path)
    assert list(seen.stacks) == listed.threads
    if "wow64" not in core.name:
        for thread in report["threads"]:
            assert seen.stacks[thread["tid"]][0].pc == pcs(thread)[0]


@pytest.mark.parametrize("subject", [*KERNEL, *GCORE], indirect=True)
def test_breakpad_shows_the_unix_half(subject: Subject) -> None:
    """Its first frame, and every Unix library by the id of its file."""
    walked = asked(breakpad.minidump_stackwalk, subject.path)
    assert (walked.code, walked.complaints) == (0, [])
    for index, thread in enumerate(subject.threads):
        assert walked.stacks[index][0].pc == pcs(thread)[0]
    found = {module.start: module for module in walked.modules}
    assert set(found) == set(bases(subject.report))
    ids = {base: own_build_id(file) for base, file in subject.files("elf")}
    assert sum(1 for each in ids.values() if each) >= 3
    for base, build_id in ids.items():
        assert build_id is None or found[base].debug_id == debug_id(build_id)


@pytest.mark.parametrize(
    "subject", ["8.0-x86_64/O0/kernel", "10.0-x86_64/O0/kernel"], indirect=True
)
def test_breakpad_walks_the_unix_half_by_its_symbol_files(subject: Subject, tmp_path: Path) -> None:
    for _, file in subject.files("elf"):
        asked(breakpad.write_symbols, file, tmp_path)
    walked = asked(breakpad.minidump_stackwalk, subject.path, tmp_path)
    for index, thread in enumerate(subject.threads):
        theirs = [frame.pc for frame in walked.stacks[index] if frame.pc is not None]
        functions = [frame.get("function") for frame in thread["frames"]]
        # Neither the dispatcher's rules nor a signal frame's are in symbol files: expressions.
        half = next(
            index
            for index, frame in enumerate(thread["frames"])
            if frame["trust"] == "signal" or functions[index - 1] == DISPATCHER
        )
        assert theirs[:half] == pcs(thread)[:half]


@pytest.mark.parametrize("subject", STRIPPED, indirect=True)
def test_windows_modules_have_the_ids_of_their_pdb_files(subject: Subject) -> None:
    walked = asked(breakpad.minidump_stackwalk, subject.path)
    found = {module.start: module for module in walked.modules}
    ids = {base: own_pdb_id(file) for base, file in subject.files("pe")}
    assert any(ids.values())
    for base, pdb_id in ids.items():
        if pdb_id is None:
            assert found[base].debug_id == ""
        else:
            assert (found[base].debug_id, found[base].debug_file) == pdb_id


def own_pdb_id(file: Path) -> tuple[str, str] | None:
    """What objdump says: GUID and age as in a symbol store, and the PDB's name."""
    done = run([tool("objdump"), "-p", file])
    match = re.search(r"RSDS signature ([0-9a-f]{32}) age (\d+) pdb (.*)\)", done.stdout)
    return match and (f"{match[1].upper()}{int(match[2]):x}", match[3])


def prepare_search_path(subject: Subject, folder: Path) -> list[Path]:
    """Folders where LLDB finds the modules of the dump."""
    flavour = subject.core.flavour
    for module in subject.report["modules"]:
        if module["kind"] == "vdso":
            search_path.add_vdso(folder, subject.core.path, int(module["base"], 16))
    names = [module.get("path") or module["name"] for module in subject.report["modules"]]
    sources = [file for _, file in subject.files("pe")]
    search_path.add_windows_modules(folder, names, sources, flavour.machine)
    return [folder, *unix_folders(subject)]


def unix_folders(subject: Subject) -> list[Path]:
    root = Path(subject.core.sysroot or "/")
    unix = windows(subject.core.flavour.release.root, subject.triplet).parent
    unix /= f"{subject.triplet.partition('-')[0]}-unix"
    return [unix, root / "usr/lib/wine", root / "usr/lib" / subject.triplet]


@pytest.mark.parametrize("subject", [*KERNEL, *GCORE], indirect=True)
def test_lldb_shows_the_windows_functions(subject: Subject, tmp_path: Path) -> None:
    seen = asked(lldb_with_copies, subject, tmp_path)
    assert seen.loaded, seen.text
    assert list(seen.stacks) == [thread["tid"] for thread in subject.threads]
    if subject.core.flavour.wow64:
        # LLDB takes a module of the name wow64.dll for Windows' own WoW64 and looks for 32-bit
        # registers as Windows keeps them; with Linux' 64-bit modules it shows no frames then.
        return
    for thread in subject.threads:
        ours, theirs = pcs(thread), seen.stacks[thread["tid"]]
        if subject.core.flavour.version == "10.0":
            # Its CFI leads from the dispatcher to the Unix code that started the thread.
            functions = [frame.get("function") for frame in thread["frames"]]
            ours = ours[: functions.index(DISPATCHER) + 1]
            theirs = theirs[: len(ours)]
        assert [hex(pc) for pc in without_inlined(theirs, ours)] == [hex(pc) for pc in ours]
    if subject.core.flavour.version == "8.0":
        main = seen.stacks[subject.core.threads[0].tid]
        names = [
            DECORATION.sub("", f.function) for f in main if f.module.endswith((".dll", ".exe"))
        ]
        assert names[:6] == WANTED


@pytest.mark.parametrize(
    "subject",
    ["8.0-x86_64/O0/kernel", "8.0-i386/O0/kernel", "10.0-x86_64/O0/kernel"],
    indirect=True,
)
def test_lldb_takes_windows_files_from_our_script(subject: Subject) -> None:
    """No copies: the files as they are, and the vdso out of the dump."""
    if not asked(lldb.has_python):
        pytest.skip("this LLDB has no Python")
    pe = sorted({file.parent for _, file in subject.files("pe")})
    seen = lldb.lldb(subject.path, unix_folders(subject), pe)
    assert list(seen.stacks) == [thread["tid"] for thread in subject.threads]
    bare = lldb.lldb(subject.path, unix_folders(subject))
    named = 0
    for thread in subject.threads:
        ours, theirs = pcs(thread), seen.stacks[thread["tid"]]
        if subject.core.flavour.version == "10.0":
            functions = [frame.get("function") for frame in thread["frames"]]
            ours = ours[: functions.index(DISPATCHER) + 1]
            theirs = theirs[: len(ours)]
        else:
            assert len(bare.stacks[thread["tid"]]) < len(ours)
            names = [DECORATION.sub("", each.function) for each in theirs]
            named += "BaseThreadInitThunk" in names
        assert [hex(pc) for pc in without_inlined(theirs, ours)] == [hex(pc) for pc in ours]
    assert named or subject.core.flavour.version == "10.0"
    images = {image.base: image.path for image in seen.images}
    for base, file in subject.files("pe"):
        assert images[base] == str(file)


def lldb_with_copies(subject: Subject, folder: Path) -> lldb.Seen:
    return lldb.lldb(subject.path, prepare_search_path(subject, folder))


@pytest.mark.parametrize("subject", ["8.0-x86_64/O0/kernel", "8.0-i386/O0/kernel"], indirect=True)
def test_lldb_knows_the_memory(subject: Subject) -> None:
    """From the lines of Maps: code can be executed, stacks can be written."""
    frames = subject.threads[0]["frames"]
    code = [int(frame["pc"], 16) for frame in frames[:3]]
    stack = [int(frame["sp"], 16) for frame in frames]
    seen: dict[int, str] = asked(lldb.region, subject.path, [*code, *stack])
    assert all(") r-x" in seen[address] for address in code)
    assert all(") rw" in seen[address] for address in stack)
