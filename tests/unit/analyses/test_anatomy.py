from __future__ import annotations

import struct

import pytest

from tests import dumps
from tests.build import minidump_records as r
from tests.build.minidump import Minidump
from tests.unit.analyses.trees import check, child, everything, find
from unspool.analyses.anatomy import Anatomy, Node, dissect, reach, select
from unspool.errors import FormatError


@pytest.fixture(scope="module")
def crash() -> Anatomy:
    return dissect(dumps.crash())


@pytest.fixture(scope="module")
def windows() -> Anatomy:
    return dissect(dumps.windows())


def what(anatomy: Anatomy) -> dict[str, str]:
    """What the streams hold, by their names."""
    return {entry.name: entry.holds for entry in anatomy.streams}


@pytest.mark.parametrize("name", dumps.ALL)
def test_every_byte_is_somebodys(name: str) -> None:
    check(dissect(dumps.ALL[name]()))


def test_an_honest_dump_has_no_problems(crash: Anatomy, windows: Anatomy) -> None:
    for anatomy in (crash, windows):
        assert anatomy.problems == []
        assert anatomy.complete
        assert not [node for node in everything(anatomy.nodes) if node.problem]
        assert not [node for node in anatomy.nodes if node.type == "gap"]


def test_streams_say_what_they_hold(crash: Anatomy, windows: Anatomy) -> None:
    assert what(crash) == {
        "SystemInfoStream": "linux 6.0.0, x86_64",
        "ExceptionStream": "SIGSEGV (SEGV_MAPERR) at 0x8 in thread 4711",
        "LinuxCmdLine": "2 strings",
        "LinuxLsbRelease": "2 lines",
        "LinuxAuxv": "3 values",
        "LinuxDsoDebug": "2 modules",
        "0xabcd": "6e 6f 62 6f 64 79 20 6b 6e 6f 77 73 20 77 68 61 …",
        "ThreadListStream": "2 threads",
        "ThreadNamesStream": "1 thread name",
        "ModuleListStream": "2 modules",
        "MemoryListStream": "3 memory ranges, 176 bytes",
    }
    assert what(windows) == {
        "SystemInfoStream": "windows 10.0.19045, x86",
        "MiscInfoStream": "process 99",
        "ExceptionStream": "STATUS_ACCESS_VIOLATION (write to 0x10) at 0x401000 in thread 1",
        "HandleDataStream": "2 handles",
        "CrashpadInfoStream": "1 annotation, 1 module",
        "BreakpadInfoStream": "asked for by thread 1",
        "ThreadListStream": "1 thread",
        "ThreadNamesStream": "1 thread name",
        "ModuleListStream": "2 modules",
        "UnloadedModuleListStream": "1 unloaded module",
        "MemoryInfoListStream": "2 regions",
        "Memory64ListStream": "1 memory range, 100 bytes",
    }


def test_the_header_leads_to_the_directory_and_that_to_the_streams(crash: Anatomy) -> None:
    directory = find(crash, "directory")
    assert child(find(crash, "header"), "StreamDirectoryRva").target == (
        directory.offset, directory.size,
    )  # fmt: skip
    for entry, node in zip(crash.streams, directory.children, strict=True):
        assert node.value == entry.name
        assert child(node, "StreamType").raw == entry.number
        assert child(node, "Location.Rva").raw == entry.offset
        assert crash.at(child(node, "Location.Rva").target) is entry.node


def test_a_thread_leads_to_its_stack_and_its_registers(crash: Anatomy) -> None:
    thread = child(find(crash, "ThreadListStream"), "Threads[0]")
    assert thread.value == "tid 4711 “main”"
    assert child(thread, "ThreadId").value == "4711"
    stack = crash.at(child(thread, "Stack.Memory.Rva").target)
    assert stack is find(crash, "stack of thread 0")
    assert stack.address == dumps.STACK
    assert stack.value == f"0x{dumps.STACK:x}–0x{dumps.STACK + 128:x}"
    assert stack.meaning == "also memory range 0"
    context = crash.at(child(thread, "ThreadContext.Rva").target)
    assert context is find(crash, "context of thread 0")
    assert child(context, "Rip").raw == dumps.CODE + 0x1139
    assert child(context, "FltSave", "Xmm0").value == " ".join(["01"] * 16)


def test_modules_have_names_and_ids(crash: Anatomy, windows: Anatomy) -> None:
    module = child(find(crash, "ModuleListStream"), "Modules[0]")
    assert module.value == "/srv/bin/boom"
    record = crash.at(child(module, "CvRecord.Rva").target)
    assert record is not None
    assert record.type == "CV_INFO_ELF"
    assert child(record, "BuildId").value == bytes(range(20)).hex()
    exe, old = (find(windows, f"CodeView record of module {n}") for n in range(2))
    assert exe.value == "C:\\build\\game.pdb 13121110-1514-1716-1819-1a1b1c1d1e1f"
    assert child(exe, "Age").raw == 3
    assert (old.type, old.value) == ("CV_INFO_PDB20", "old.pdb")
    version = child(find(windows, "ModuleListStream"), "Modules[0]", "VersionInfo")
    assert child(version, "dwFileVersionMS").value == "1.2"


def test_what_lies_behind_several_fields(windows: Anatomy) -> None:
    info = find(windows, "CrashpadInfoStream")
    modules = windows.at(child(info, "module_list.Rva").target)
    assert modules is not None
    own = windows.at(child(modules, "[0]", "location.Rva").target)
    assert own is not None
    pairs = windows.at(child(own, "simple_annotations.Rva").target)
    assert pairs is not None
    key, value = (windows.at(child(pairs, "[0]", name).target) for name in ("key", "value"))
    assert key is not None
    assert value is not None
    assert (key.value, value.value) == ("plugin", "yes")


def test_linux_streams(crash: Anatomy) -> None:
    lines = find(crash, "LinuxLsbRelease").children
    assert [line.value for line in lines] == ["DISTRIB_ID=Debian", "DISTRIB_RELEASE=12"]
    assert [each.value for each in find(crash, "LinuxCmdLine").children] == [
        "/srv/bin/boom", "--now",
    ]  # fmt: skip
    assert [each.value for each in find(crash, "LinuxAuxv").children] == [
        "3 AT_PHDR = 0x400040", "6 AT_PAGESZ = 0x1000", "0 AT_NULL = 0x0",
    ]  # fmt: skip
    maps = crash.at(child(find(crash, "LinuxDsoDebug"), "map").target)
    assert maps is not None
    assert [each.value for each in maps.children] == ["", "/lib/libc.so.6"]


def test_other_streams_of_windows(windows: Anatomy) -> None:
    regions = find(windows, "MemoryInfoListStream").children[3:]
    assert [each.value for each in regions] == [
        "0x400000–0x401000 COMMIT EXECUTE_READ PRIVATE",
        "0x500000–0x503000 COMMIT READWRITE PRIVATE",
    ]
    handle = child(find(windows, "HandleDataStream"), "Handles[0]")
    assert handle.value == "0x4 File \\Device\\Null"
    misc = find(windows, "MiscInfoStream")
    assert child(misc, "ProcessCreateTime").value == "0x6553f000 2023-11-14 22:09:04 UTC"
    assert child(misc, "TimeZone", "Bias").value == "0 minutes"


def test_an_unknown_stream_is_bytes(crash: Anatomy) -> None:
    node = find(crash, "0xabcd")
    assert (node.type, node.children) == ("bytes", [])
    assert "unknown" in node.meaning


def test_old_and_new_forms_of_a_structure() -> None:
    for size, last in ((24, "ProcessKernelTime"), (44, "ProcessorCurrentIdleState"),
                       (232, "DaylightBias"), (1364, "ProcessCookie")):  # fmt: skip
        dump = Minidump()
        dump.misc(5, size=size)
        anatomy = dissect(dump.build())
        check(anatomy)
        assert anatomy.complete
        node = find(anatomy, "MiscInfoStream")
        leaves = [each for each in everything([node]) if not each.has_children]
        assert leaves[-1].name == last
    dump.misc(5, size=1364, more=bytes(2000))
    assert dissect(dump.build()).problems[0].what.startswith("is there more than once")


@pytest.mark.parametrize("arch", ["x86", "amd64", "arm64", "arm64_old", "arm"])
def test_registers_of_each_processor(arch: str) -> None:
    dump = Minidump(arch)
    names = {"x86": ("eip", "esp"), "amd64": ("rip", "rsp")}.get(arch, ("pc", "sp"))
    dump.thread(1, dict(zip(names, (0x1234, 0x5678), strict=True)))
    anatomy = dissect(dump.build())
    check(anatomy)
    assert anatomy.complete
    value = find(anatomy, "context of thread 0").value
    assert value == f"{names[0]} 0x1234, {names[1]} 0x5678"


def test_extended_state_lies_behind_a_context() -> None:
    dump = Minidump()
    dump.thread(1, context=r.context("amd64", {"rip": 1}) + b"\7" * 64)
    anatomy = dissect(dump.build())
    check(anatomy)
    assert find(anatomy, "context of thread 0").children[-1].size == 64


def test_packed_link_maps_are_told_from_aligned_ones() -> None:
    dump = Minidump()
    dump.dso_debug([(1, "/x", 2)], dynamic=bytes(32))
    assert find(dissect(dump.build()), "link maps").type == "MDRawLinkMap64[1]"
    # As Rust's minidump-writer has them.
    dump = Minidump()
    dump.stream(1, struct.pack("<QIQ", 1, 0, 2))
    dump.build()
    rva, _ = dump.places[1]
    head = struct.pack("<IIIQQQ", 1, rva + 12, 1, 0, 0, 0)
    dump.stream(r.LINUX_DSO_DEBUG, head + bytes(32))
    anatomy = dissect(dump.build())
    check(anatomy)
    assert find(anatomy, "LinuxDsoDebug").type == "DSO_DEBUG_64"


# --- selection ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word",
    ["ThreadListStream", "threadlist", "ThreadLi", "3", "0x3", "#7"],
)
def test_a_stream_is_chosen_by_name_type_or_place(crash: Anatomy, word: str) -> None:
    found = select(crash, word)
    assert found is not None
    assert [node.name for node in found] == ["ThreadListStream"]


def test_other_parts_are_chosen_by_name(crash: Anatomy) -> None:
    assert [node.name for node in select(crash, "header") or []] == ["header"]
    assert [node.name for node in select(crash, "Directory") or []] == ["directory"]
    assert select(crash, "gaps") == []
    linux = select(crash, "linux") or []
    assert len(linux) == 4
    for word in ("nothing", "", "99", "#99", "?"):
        assert select(crash, word) is None


def test_what_a_stream_reaches(crash: Anatomy) -> None:
    found = reach(crash, select(crash, "Exception") or [])
    assert [node.name for node in found] == ["context of ExceptionStream", "ExceptionStream"]
    names = {node.name for node in reach(crash, select(crash, "LinuxDsoDebug") or [])}
    assert names == {"LinuxDsoDebug", "link maps", "name of link map 0", "name of link map 1"}


# --- what is no minidump --------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"MDMP", b"ELF" + bytes(40), bytes(32)])
def test_what_is_no_minidump_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        dissect(data)


def test_nodes_are_readable_in_a_debugger() -> None:
    assert repr(Node("Rva", "u32", 16, 4, value="5")) == "Node('Rva', 'u32', 0x10+0x4, '5')"


def test_gaps_are_what_nothing_refers_to() -> None:
    dump = Minidump()
    dump.stream(1, b"lost" + bytes(100))
    dump.stream(2, bytes(100))
    dump.entries = {1: {"StreamType": 0}, 2: {"StreamType": 0}}
    anatomy = dissect(dump.build())
    check(anatomy)
    assert anatomy.complete
    gaps = select(anatomy, "gaps") or []
    assert [(node.name, node.value) for node in gaps] == [("gap", "")]
    assert sum(node.size for node in gaps) >= 204
