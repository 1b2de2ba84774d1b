"""Minidumps that we write, as Breakpad, LLDB and the Python package `minidump` read them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import pytest

from tests.minidumps import Place
from tests.peers import breakpad, lldb, python_minidump, search_path
from tests.peers.memory import core_bytes
from tests.programs.build import run, tool
from tests.programs.cores import Core, make_core
from tests.programs.table import BY_NAME
from unspool.write.minidump import Written

from .test_dump_stacks import options

pytestmark = pytest.mark.oracle

X86_64 = (
    *("chain-O0/kernel", "chain-O0/gdb", "chain-O0/kernel-anonymous", "chain-O2/kernel"),
    *("chain-static-pie/kernel", "chain-musl/kernel", "chain-no-pie/kernel", "deleted/kernel"),
    *("dlopen-moved/kernel", "threads/kernel", "threads/gcore", "threads-200/kernel"),
    *("altstack/kernel", "signal/kernel", "nested/kernel", "vdso/kernel", "jit/kernel"),
    *("exception-noexcept/kernel", "rust/kernel", "tiny-deep/kernel"),
)
X86 = (
    *("chain-m32-O0/kernel", "chain-m32-static/kernel", "threads-m32/kernel"),
    *("altstack-m32/kernel", "vdso-m32/kernel"),
)
AARCH64 = (
    *("chain-aarch64-O0/qemu", "chain-aarch64-O2/qemu", "threads-aarch64/qemu"),
    *("leaf-aarch64/qemu", "altstack-aarch64/qemu", "chain-aarch64-pac/qemu"),
)
ARM = ("chain-arm-O2/qemu", "chain-arm-bare/qemu", "threads-arm/qemu", "altstack-arm/qemu")
NATIVE = (*X86_64, *X86, *AARCH64, *ARM)

REQUIRED = {3, 4, 5, 6, 7, 15, 16}  # what minidump_dump insists on, and the exception
LINUX = {0x47670004, 0x47670008, 0x47670009}  # process status, auxiliary vector, maps
PC = {"x86_64": "rip", "x86": "eip", "aarch64": "iregs[32]", "arm": "pc"}
DUMP_REQUESTED = 0xFFFFFFFF
WITHOUT_IDS = ("chain-musl", "tiny-deep")  # programs, that of their C library included
# Where a thread runs on another stack, its frame records lead out of the only range of memory
# that Breakpad's walker looks at; on aarch64 it says so.
ANOTHER_STACK = re.compile(r"ERROR: Unable to read (caller_fp|last_fp) from ")


@dataclass(frozen=True)
class Subject:
    core: Core
    path: Path
    written: Written
    report: dict[str, Any]  # what we say of the core

    @property
    def arch(self) -> str:
        return str(self.report["target"]["arch"])

    @property
    def threads(self) -> list[dict[str, Any]]:
        return list(self.report["threads"])


@pytest.fixture(scope="module")
def subjects(
    programs_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Subject]:
    """subjects("PROGRAM/KIND"): a core and a minidump of it, made once."""
    made: dict[str, Subject] = {}
    folder = tmp_path_factory.mktemp("peers")

    def subject(name: str) -> Subject:
        if name not in made:
            program, _, kind = name.partition("/")
            core = make_core(BY_NAME[program], kind, programs_root)
            path = folder / f"{name.replace('/', '.')}.dmp"
            place = Place(core.path, **options(core))
            _, written = place.dump(path)
            made[name] = Subject(core, path, written, place.report())
        return made[name]

    return subject


@pytest.fixture
def subject(request: pytest.FixtureRequest, subjects: Callable[[str], Subject]) -> Subject:
    return subjects(request.param)


def asked(peer: Callable[..., Any], *arguments: Any) -> Any:
    """The peer's answer; skips the test where it is not installed."""
    return peer(*arguments)


def pcs(thread: Mapping[str, Any]) -> list[int]:
    return [int(frame["pc"], 16) for frame in thread["frames"]]


def bases(report: Mapping[str, Any]) -> dict[int, str]:
    return {int(module["base"], 16): module["name"] for module in report["modules"]}


def overlapping(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    ordered = sorted(ranges)
    return [after for before, after in pairwise(ordered) if after[0] < before[0] + before[1]]


@pytest.mark.parametrize("subject", NATIVE, indirect=True)
def test_breakpad_reads_every_stream(subject: Subject) -> None:
    dumped = asked(breakpad.minidump_dump, subject.path)
    assert dumped.complaints == []
    assert dumped.code == 0
    assert set(dumped.streams) >= REQUIRED
    assert set(dumped.streams) - {0} == set(subject.written.streams) - {0}
    tids = [breakpad.number(thread, "thread_id") for thread in dumped.threads]
    assert tids == [thread["tid"] for thread in subject.threads]
    first = [pcs(thread)[0] for thread in subject.threads]
    assert dumped.contexts(PC[subject.arch])[: len(first)] == first
    assert len(dumped.memory) == subject.written.ranges
    assert sum(size for _, size in dumped.memory) == subject.written.memory
    assert not overlapping(dumped.memory)


@pytest.mark.parametrize("subject", NATIVE, indirect=True)
def test_the_exception_is_as_breakpad_writes_it(subject: Subject) -> None:
    dumped = asked(breakpad.minidump_dump, subject.path)
    (exception,) = dumped.all("MDException")
    crash = subject.report.get("crash") or {}
    code = crash.get("number") or DUMP_REQUESTED
    assert breakpad.number(exception, "exception_record.exception_code") == code
    tid = subject.threads[crash.get("thread_index") or 0]["tid"]
    assert breakpad.number(exception, "thread_id") == tid


def own_build_id(file: Path) -> str | None:
    """What readelf says."""
    done = run([tool("readelf"), "-n", file])
    match = re.search(r"Build ID: ([0-9a-f]+)", done.stdout)
    return match[1] if match else None


def debug_id(build_id: str) -> str:
    """A GUID of the first 16 bytes and an age of 0, as symbol servers write them."""
    data = bytes.fromhex(build_id).ljust(16, b"\0")[:16]
    return (data[3::-1] + data[5:3:-1] + data[7:5:-1] + data[8:]).hex().upper() + "0"


def module_files(subject: Subject) -> Iterator[tuple[int, Path]]:
    for module in subject.report["modules"]:
        path = Path(module.get("path") or "")
        if module["name"] == subject.core.executable.name:
            path = subject.core.executable
        elif subject.core.sysroot:
            path = Path(subject.core.sysroot, *path.parts[1:])
        if path.is_absolute() and path.is_file():
            yield int(module["base"], 16), path


@pytest.mark.parametrize("subject", NATIVE, indirect=True)
def test_modules_have_the_ids_of_their_files(subject: Subject) -> None:
    dumped = asked(breakpad.minidump_dump, subject.path)
    walked = asked(breakpad.minidump_stackwalk, subject.path)
    modules = {breakpad.number(module, "base_of_image"): module for module in dumped.modules}
    assert set(modules) == set(bases(subject.report))
    found = {module.start: module for module in walked.modules}
    assert set(found) == set(modules)
    seen = 0
    for base, file in module_files(subject):
        build_id = own_build_id(file)
        if build_id is None:
            continue
        seen += 1
        assert breakpad.text(modules[base], "(code_identifier)") == build_id
        assert found[base].debug_id == debug_id(build_id)
    assert seen or subject.core.program.name in WITHOUT_IDS


@pytest.mark.parametrize("subject", NATIVE, indirect=True)
def test_breakpad_walks_from_the_right_place(subject: Subject) -> None:
    walked = asked(breakpad.minidump_stackwalk, subject.path)
    assert walked.code == 0
    assert not [each for each in walked.complaints if not ANOTHER_STACK.match(each)]
    assert walked.system[0] == "Linux"
    for index, thread in enumerate(subject.threads):
        first = walked.stacks[index][0]
        assert first.trust == "given as instruction pointer in context"
        assert first.pc == pcs(thread)[0]


@pytest.mark.parametrize(
    "subject",
    ["chain-O2/kernel", "threads/gcore", "chain-m32-O0/kernel", "chain-aarch64-O2/qemu"],
    indirect=True,
)
def test_breakpad_walks_by_its_symbol_files(subject: Subject, tmp_path: Path) -> None:
    """dump_syms keeps CFI by the file's id, and minidump_stackwalk finds it by the dump's."""
    for _, file in module_files(subject):
        asked(breakpad.write_symbols, file, tmp_path)
    walked = asked(breakpad.minidump_stackwalk, subject.path, tmp_path)
    for index, thread in enumerate(subject.threads):
        theirs = [frame for frame in walked.stacks[index] if frame.pc is not None]
        sure = [frame.pc for frame in takewhile(by_tables, theirs)]
        ours = pcs(thread)
        assert sure[: len(ours)] == ours[: len(sure)]
        functions = [frame.get("function") for frame in thread["frames"]]
        known = set(subject.core.program.ours)
        assert not known.intersection(functions[len(sure) :])


def by_tables(frame: breakpad.WalkedFrame) -> bool:
    """Not scanned for, as Breakpad does where the stack has come to its end."""
    return frame.trust in {"given as instruction pointer in context", "call frame info"}


def prepare_search_path(subject: Subject, folder: Path) -> list[Path]:
    for module in subject.report["modules"]:
        if "vdso" in module["name"]:
            search_path.add_vdso(folder, subject.core.path, int(module["base"], 16))
    folders = [folder, subject.core.executable.parent]
    if subject.core.sysroot:
        folders.append(Path(subject.core.sysroot, "lib"))
    return folders


@pytest.mark.parametrize("subject", NATIVE, indirect=True)
def test_lldb_walks_the_same_stacks(subject: Subject, tmp_path: Path) -> None:
    seen = asked(lldb.lldb, subject.path, prepare_search_path(subject, tmp_path))
    assert seen.loaded, seen.text
    assert list(seen.stacks) == [thread["tid"] for thread in subject.threads]
    for thread in subject.threads:
        ours, theirs = pcs(thread), without_inlined(seen.stacks[thread["tid"]], pcs(thread))
        limit = limited(subject, thread)
        assert [hex(pc) for pc in theirs[:limit]] == [hex(pc) for pc in ours[:limit]], thread["tid"]


def limited(subject: Subject, thread: Mapping[str, Any]) -> int | None:
    """How many frames LLDB 14 can show, in whatever form it gets the process."""
    functions = [frame.get("function") for frame in thread["frames"]]
    match subject.core.program.name:
        case "chain-aarch64-pac":  # it takes signed return addresses as they are
            return 1
        case "chain-m32-static":  # nothing says where _start's caller would be
            return functions.index("_start")
        case "altstack-aarch64":  # qemu's page of signal code has no name, nor symbols
            return functions.index("handler") + 1
        case "altstack-arm":  # abort() has no entry in the exception index
            return functions.index("abort") + 1
        case "threads-arm":  # functions have neither an entry nor a name
            nameless = [index for index, name in enumerate(functions) if index and name is None]
            return nameless[0]
    return None


def without_inlined(frames: list[lldb.Frame], ours: list[int]) -> list[int]:
    """The pcs, without frames of inlined calls: they have their caller's stack pointer."""
    return [
        frame.pc
        for before, frame in zip([None, *frames], frames, strict=False)
        if before is None or frame.sp != before.sp or frame.pc in ours
    ]


@pytest.mark.parametrize(
    "subject", ["threads/kernel", "threads-m32/kernel", "chain-aarch64-O2/qemu"], indirect=True
)
def test_sanitized_minidumps_too(subject: Subject, tmp_path: Path) -> None:
    """LLDB walks them by frame pointers, return addresses and CFI, all of which stay."""
    path = tmp_path / "sanitized.dmp"
    Place(subject.core.path, **options(subject.core)).dump(path, sanitize=True)
    dumped = asked(breakpad.minidump_dump, path)
    assert (dumped.code, dumped.complaints) == (0, [])
    whole = lldb.lldb(subject.path, prepare_search_path(subject, tmp_path))
    seen = lldb.lldb(path, prepare_search_path(subject, tmp_path))
    assert list(seen.stacks) == list(whole.stacks)
    for tid, frames in seen.stacks.items():
        assert [frame.pc for frame in frames] == [frame.pc for frame in whole.stacks[tid]]


@pytest.mark.parametrize("subject", NATIVE, indirect=True)
def test_lldb_knows_the_modules(subject: Subject) -> None:
    seen = asked(lldb.lldb, subject.path)
    found = {image.base: image for image in seen.images}
    assert set(found) >= set(bases(subject.report))
    for base, file in module_files(subject):
        build_id = own_build_id(file)
        assert build_id is None or found[base].uuid == build_id


@pytest.mark.parametrize("subject", NATIVE, indirect=True)
def test_the_python_package_lists_what_we_wrote(subject: Subject) -> None:
    listed = python_minidump.parse(subject.path)
    written = subject.written
    assert listed.threads == [thread["tid"] for thread in subject.threads]
    assert {base for base, _, _ in listed.modules} == set(bases(subject.report))
    assert len(listed.modules) == written.modules
    assert len(listed.memory) == written.ranges
    assert sum(size for _, size in listed.memory) == written.memory
    for (start, size), thread in zip(listed.stacks, subject.threads, strict=True):
        assert start <= int(thread["frames"][0]["sp"], 16) < start + size


@pytest.mark.parametrize("subject", NATIVE, indirect=True)
def test_memory_is_the_cores(subject: Subject) -> None:
    listed = python_minidump.parse(subject.path)
    compared = 0
    for start, data in core_bytes(subject.core.path, listed.memory):
        assert listed.read(start, len(data)) == data, hex(start)
        compared += len(data)
    stacks = sum(size for _, size in listed.stacks)
    assert compared >= stacks // 2
