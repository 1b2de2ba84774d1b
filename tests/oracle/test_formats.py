"""Reports in other projects' formats, read as their readers do.

Of real cores, what pipelines behind memfaultd would look up is looked up with addr2line, and
compared with what unspool itself says. Of dumps that rust-minidump keeps what it prints for, what
it prints was noted here: its threads, frames, modules, and what it says of crash and machine
(minidump-stackwalk/tests/snapshots of version 0.26).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from tests import stackwalk
from tests.conftest import Corpus
from tests.memfault import Place, StackTrace
from tests.peers import breakpad
from tests.programs.build import run, tool
from tests.programs.cores import Core, make_core
from tests.programs.table import BY_NAME, Program

from .unspool_command import Answer, ask_unspool, options, run_unspool

pytestmark = pytest.mark.oracle

LLD = ("-fuse-ld=lld", "-Wl,--build-id")
GOLD = ("-fuse-ld=gold", "-Wl,--build-id")


def by(linker: tuple[str, ...], of: str, name: str) -> Program:
    """A program of the table, and its plugin, linked by another linker."""
    program = BY_NAME[of]
    plugin = None if program.plugin is None else (*program.plugin, *linker)
    return program.variant(name, flags=(*program.flags, *linker), plugin=plugin)


PROGRAMS = [
    *(
        BY_NAME[name]
        for name in (
            "chain-O2", "chain-no-pie", "chain-static-pie", "chain-big-pages", "chain-one-segment",
            "chain-text-moved", "threads", "altstack", "inline", "dlopen", "dlopen-moved",
            "chain-m32-O2", "threads-m32", "chain-aarch64-O2", "threads-aarch64", "chain-arm-O2",
        )
    ),
    by(LLD, "chain-O2", "chain-lld"),
    by(GOLD, "chain-O2", "chain-gold"),
    by(("-no-pie", *LLD), "chain-O2", "chain-no-pie-lld"),
    by(LLD, "dlopen", "dlopen-lld"),
    by(GOLD, "dlopen", "dlopen-gold"),
    by(LLD, "chain-m32-O2", "chain-m32-lld"),
]  # fmt: skip


@pytest.fixture(params=PROGRAMS, ids=lambda program: program.name)
def core(request: pytest.FixtureRequest, programs_root: Path) -> Core:
    tool("llvm-addr2line")
    for flag in request.param.flags:
        if flag.startswith("-fuse-ld="):
            tool(f"ld.{flag.partition('=')[2]}")
    return make_core(request.param, request.param.kinds[0], programs_root)


def in_format(form: str, target: Path, tmp_path: Path, *more: str) -> str:
    done = run_unspool("stack", target, "--format", form, *more, cache=tmp_path / "cache")
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def converted(form: str, answer: Answer, tmp_path: Path) -> str:
    """What the saved report becomes: the core is not looked at again."""
    saved = tmp_path / "report.json"
    saved.write_text(json.dumps(answer.report))
    return in_format(form, saved, tmp_path)


def named(place: Place, core: Core) -> list[str]:
    """The functions at a place, innermost first."""
    path = Path(place.path) if Path(place.path).exists() else Path(f"{core.sysroot}{place.path}")
    command = [tool("llvm-addr2line"), "-f", "-i", "-e", str(path), f"{place.address:#x}"]
    return run(command).stdout.splitlines()[::2]


def build_id(path: Path) -> str:
    with path.open("rb") as stream:
        section: Any = ELFFile(stream).get_section_by_name(".note.gnu.build-id")
        return str(next(iter(section.iter_notes()))["n_desc"])


def executable_pages(core: Core) -> list[tuple[int, int]]:
    """Executable mappings by the core's own program headers, those in a row as one."""
    with core.path.open("rb") as stream:
        return [
            (header["p_vaddr"], header["p_vaddr"] + header["p_memsz"])
            for header in ELFFile(stream).iter_segments("PT_LOAD")
            if header["p_flags"] & 1
        ]


def test_memfault_s_arithmetic_leads_to_the_right_functions(core: Core, tmp_path: Path) -> None:
    answer = ask_unspool(core)
    trace = StackTrace(converted("memfault", answer, tmp_path))
    frames = answer.crashed["frames"]
    assert len(trace.active) == len(frames)
    ours = {str(core.executable), str(core.folder / "plugin.so")}
    ours.add(str(core.executable.parent / "plugin.so"))
    looked_up = []
    for pc, frame in zip(trace.active, frames, strict=True):
        place = trace.place(pc)
        if place is None or place.path not in ours:
            continue
        assert place.build_id == build_id(Path(place.path))
        function = frame["function"].partition(".")[0]
        if function not in core.program.ours:
            continue  # the C library of a static program, which has many names for one function
        inlined = [call["function"] for call in frame.get("inlines") or ()]
        assert named(place, core) == [*inlined, frame["function"]]
        looked_up.append(function)
    assert looked_up == list(core.program.ours)


def test_memfault_s_ranges_are_executable_mappings(core: Core, tmp_path: Path) -> None:
    trace = StackTrace(converted("memfault", ask_unspool(core), tmp_path))
    pages = executable_pages(core)
    assert trace.symbols
    for symbol in trace.symbols:
        start, end = (int(symbol["pc_range"][key], 16) for key in ("start", "end"))
        assert symbol["runtime_offset"] == symbol["pc_range"]["start"]
        inside = [span for span in pages if start <= span[0] and span[1] <= end]
        # A program whose frames are in two such segments has the whole of its module.
        assert inside == [(start, end)] or len(inside) > 1


def test_a_saved_report_becomes_what_the_core_does(core: Core, tmp_path: Path) -> None:
    answer = ask_unspool(core)
    for form in ("memfault", "minidump-stackwalk"):
        direct = in_format(form, core.path, tmp_path, *options(core))
        assert converted(form, answer, tmp_path) == direct


def test_minidump_stackwalk_s_facts_are_the_report_s(core: Core, tmp_path: Path) -> None:
    answer = ask_unspool(core)
    document = json.loads(converted("minidump-stackwalk", answer, tmp_path))
    stackwalk.check(document)
    assert document["crash_info"]["type"].split(" / ")[0] == core.program.signal
    assert document["modules"][document["main_module"]]["filename"] == core.executable.name
    for thread, ours in zip(document["threads"], answer.threads, strict=True):
        assert thread["thread_id"] == ours["tid"]
        functions = [frame["function"] for frame in thread["frames"]]
        assert functions == [frame.get("function") for frame in ours["frames"]]
    for frame in document["crashing_thread"]["frames"]:
        if frame["module"] is not None:
            [base] = [
                module["base_addr"]
                for module in document["modules"]
                if module["filename"] == frame["module"]
            ]
            assert int(base, 16) + int(frame["module_offset"], 16) == int(frame["offset"], 16)


# --- what rust-minidump prints ----------------------------------------------------------


def facts(corpus: Corpus, tmp_path: Path, name: str) -> dict[str, Any]:
    dump = tmp_path / "crash.dmp"
    dump.write_bytes(corpus(name))
    document: dict[str, Any] = json.loads(in_format("minidump-stackwalk", dump, tmp_path))
    stackwalk.check(document)
    return document


def rows(records: list[dict[str, Any]], *keys: str) -> set[tuple[Any, ...]]:
    return {tuple(record[key] for key in keys) for record in records}


def test_a_linux_dump_is_as_rust_minidump_has_it(corpus: Corpus, tmp_path: Path) -> None:
    document = facts(corpus, tmp_path, "rust-minidump__linux-mini.dmp")
    assert document["crash_info"]["type"] == "SIGSEGV"
    assert document["crash_info"]["address"] == "0x0000000000000045"
    assert document["crash_info"]["crashing_thread"] == 0
    assert document["system_info"] == {
        "os": "Linux", "os_ver": "4.9.60-linuxkit-aufs #1 SMP Mon Nov 6 16:00:12 UTC 2017",
        "cpu_arch": "amd64", "cpu_info": "family 6 model 70 stepping 1", "cpu_count": 4,
        "cpu_microcode_version": None,
    }  # fmt: skip
    assert document["lsb_release"] == {
        "id": "Ubuntu", "release": "16.04", "codename": "xenial",
        "description": "Ubuntu 16.04.3 LTS",
    }  # fmt: skip
    assert (document["pid"], document["linux_memory_map_count"]) == (1304, 35)
    assert rows(document["modules"], "filename", "debug_file", "base_addr", "debug_id") == {
        (name, name, f"0x{base:016x}", debug_id)
        for name, base, debug_id in (
            ("crash", 0x400000, "C0BCC3F19827FE653058404B2831D9E60"),
            ("libm-2.23.so", 0x7F513FE54000, "E45DB8DFAF2D09FD640C8FE377D572DE0"),
            ("libc-2.23.so", 0x7F514015D000, "451A38B5067979D2073822A5CEB24C4B0"),
            ("libgcc_s.so.1", 0x7F5140527000, "E20A22685DC6C165B6AAA12FA6765A6E0"),
            ("libstdc++.so.6.0.21", 0x7F514073D000, "81C893CB9B923C5201ACEF171B52D5260"),
            ("libpthread-2.23.so", 0x7F5140ABF000, "23E017CE2254FC6511D9BC8F534BB4F00"),
            ("ld-2.23.so", 0x7F5140CDC000, "59627B5D2255A375C17BD4C3FD05F5A60"),
            ("linux-gate.so", 0x7FFF5AEF1000, "75185F6C04B9B48FB8DFD832E74AD31A0"),
        )
    }
    assert document["modules"][0]["code_id"] == "f1c3bcc0279865fe3058404b2831d9e64135386c"
    first = document["crashing_thread"]["frames"][0]
    assert first["registers"] == {"rip": "0x0000000000401d72", "rsp": "0x00007fff5ae4aa20"}
    # It scans the stack and takes 14 words for return addresses; unspool believes few of them.
    theirs = {
        ("crash", "0x0000000000001d72", "context"), ("crash", "0x0000000000001de8", "scan"),
        ("libc-2.23.so", "0x000000000002082f", "scan"),
    }  # fmt: skip
    assert rows(document["threads"][0]["frames"], "module", "module_offset", "trust") <= theirs


def test_a_windows_dump_is_as_rust_minidump_has_it(corpus: Corpus, tmp_path: Path) -> None:
    document = facts(corpus, tmp_path, "breakpad__minidump2.dmp")
    assert document["crash_info"]["type"] == "EXCEPTION_ACCESS_VIOLATION_WRITE"
    assert document["crash_info"]["address"] == "0x00000045"
    assert document["system_info"] == {
        "os": "Windows NT", "os_ver": "5.1.2600 Service Pack 2", "cpu_arch": "x86",
        "cpu_info": "GenuineIntel family 6 model 13 stepping 8", "cpu_count": 1,
        "cpu_microcode_version": None,
    }  # fmt: skip
    assert document["thread_count"] == 2
    assert document["main_module"] == 0
    modules = rows(document["modules"], "filename", "base_addr", "end_addr", "code_id", "debug_id")
    assert modules >= {
        (name, f"0x{base:08x}", f"0x{end:08x}", code_id, debug_id)
        for name, base, end, code_id, debug_id in (
            (
                "test_app.exe", 0x400000, 0x42D000, "45d35f6c2d000",
                "5A9832E5287241C1838ED98914E9B7FF1",
            ),
            (
                "ntdll.dll", 0x7C900000, 0x7C9B0000, "411096b4b0000",
                "36515FB5D04345E491F672FA2E2878C02",
            ),
            (
                "user32.dll", 0x77D40000, 0x77DD0000, "4226015990000",
                "EE2B714D83A34C9D88027621272F83262",
            ),
        )
    }  # fmt: skip
    assert all(
        module["debug_file"] == f"{Path(module['filename']).stem}.pdb"
        for module in document["modules"]
    )
    first = document["crashing_thread"]
    assert first["thread_id"] == 3060
    assert [
        (frame["module"], frame["module_offset"], frame["trust"]) for frame in first["frames"]
    ] == [
        ("test_app.exe", "0x0000429e", "context"),
        ("test_app.exe", "0x000041ff", "frame_pointer"),
        ("test_app.exe", "0x000053eb", "frame_pointer"),
        ("kernel32.dll", "0x00016fd6", "frame_pointer"),
    ]


# --- what Breakpad's minidump_stackwalk prints of our own dumps ---------------------------


@pytest.mark.parametrize(
    "name", ["threads", "chain-no-pie", "chain-m32-O0", "altstack", "chain-aarch64-O2"]
)
def test_our_own_dump_is_as_breakpad_has_it(name: str, programs_root: Path, tmp_path: Path) -> None:
    core = make_core(BY_NAME[name], BY_NAME[name].kinds[0], programs_root)
    dump = tmp_path / "crash.dmp"
    run_unspool("dump", core.path, "-o", dump, *options(core), cache=tmp_path / "cache")
    walked = breakpad.minidump_stackwalk(dump)
    more = [*options(core), "--symbols", str(core.executable.parent)]
    document = json.loads(in_format("minidump-stackwalk", dump, tmp_path, *more))
    stackwalk.check(document)
    crash = document["crash_info"]
    # Breakpad has "SIGSEGV /SEGV_MAPERR" for rust-minidump's "SIGSEGV / SEGV_MAPERR", and no
    # words for codes that any signal can have.
    words, address, thread = walked.crash
    signal, _, code = crash["type"].partition(" / ")
    assert words.partition(" /")[0] == signal
    assert words == f"{signal} /{code}" or not code or code.startswith("SI_")
    assert int(thread) == crash["crashing_thread"]
    if crash["address"] is not None:
        assert int(address, 16) == int(crash["address"], 16)
    theirs = {(m.name, m.debug_file, m.debug_id, m.start) for m in walked.modules}
    assert theirs == {
        (m["filename"], m["debug_file"], m["debug_id"], int(m["base_addr"], 16))
        for m in document["modules"]
    }
    first = [walked.stacks[index][0].pc for index in sorted(walked.stacks)]
    assert first == [int(thread["frames"][0]["offset"], 16) for thread in document["threads"]]
    direct = json.loads(in_format("minidump-stackwalk", core.path, tmp_path, *more))
    for key in ("thread_id", "frames"):
        assert [t[key] for t in document["threads"]] == [t[key] for t in direct["threads"]]
