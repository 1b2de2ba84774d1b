"""Real minidumps of other projects' tests: who is in them, and where their threads stand."""

from __future__ import annotations

import json
import ntpath
import posixpath
import re
from pathlib import Path
from typing import Any

import pytest

from tests import breakpad
from tests.conftest import CORPUS, Corpus
from unspool.arch.x86 import X86
from unspool.arch.x86_64 import X86_64
from unspool.formats.minidump.contexts import parse_context
from unspool.formats.minidump.reader import Minidump, ThreadRecord

SUFFIX = ".dmp.expected.json"
NAMES = sorted(path.name.removesuffix(".expected.json") for path in CORPUS.glob(f"*{SUFFIX}"))
PC = {"x86": 8, "x86_64": 16, "aarch64": 32}


def answer(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CORPUS / f"{name}.expected.json").read_text())
    return found


def base_name(path: str) -> str:
    return ntpath.basename(path) if "\\" in path else posixpath.basename(path)


@pytest.mark.parametrize("name", NAMES or [pytest.param("", marks=pytest.mark.skip("no corpus"))])
def test_threads_and_modules_are_found(name: str, corpus: Corpus) -> None:
    dump = Minidump(corpus(name))
    expected = answer(name)["threads"]
    breakpad = dump.breakpad()
    # Breakpad's own answers leave out the thread that wrote the dump.
    writer = breakpad.writer_tid if breakpad is not None else None
    tids = {thread["tid"] for thread in expected}
    assert {each.tid for each in dump.threads()} - {writer} == tids - {writer}
    modules = {base_name(each.name) for each in dump.modules()}
    for thread in expected:
        assert {f["module"] for f in thread["frames"] if f["module"]} <= modules
    assert dump.read_all() == []
    assert all(each.codeview is not None for each in dump.modules()[:1]) or "thread_name" in name


@pytest.mark.parametrize("name", NAMES or [pytest.param("", marks=pytest.mark.skip("no corpus"))])
def test_registers_and_stacks(name: str, corpus: Corpus) -> None:
    dump = Minidump(corpus(name))
    system, exception = dump.system(), dump.exception()
    assert system is not None
    assert system.arch_name is not None
    by_tid: dict[int, ThreadRecord] = {each.tid: each for each in dump.threads()}
    for thread in answer(name)["threads"]:
        record = by_tid[thread["tid"]]
        place = record.context
        if exception is not None and exception.tid == record.tid:
            place = exception.context
        if not thread["frames"]:
            continue
        assert place is not None
        data = dump.file.buffer[place[0] : place[0] + place[1]]
        context = parse_context(data, system.processor_architecture)
        assert hex(context.registers[PC[system.arch_name]] or 0) == thread["frames"][0]["pc"]
        assert record.stack is not None
        assert any(
            each.start <= record.stack.start and record.stack.end <= each.end
            for each in dump.memory()
        )


@pytest.mark.parametrize(
    "name", ["hostile__invalid-range.dmp", "hostile__invalid-record-count.dmp"]
)
def test_broken_ones_say_what_is_wrong(name: str, corpus: Corpus) -> None:
    dump = Minidump(corpus(name))
    assert dump.threads() == []
    assert dump.read_all() != []


def test_annotations_of_crashpad(corpus: Corpus) -> None:
    crashpad = Minidump(corpus("breakpad__minidump_crashpad_annotation.dmp")).crashpad()
    assert crashpad is not None
    assert crashpad.annotations == {
        "crashpad": "yes",
        "plat": "iOS",
        "prod": "xcuitest",
        "ver": "1",
    }
    objects = {name for each in crashpad.modules for name, _, _ in each.objects}
    assert "exceptionReason" in objects


def test_names_of_threads(corpus: Corpus) -> None:
    names = Minidump(corpus("breakpad__thread_name_list.dmp")).thread_names()
    assert names == {6564: "main thread", 8820: "sleep thread", 10976: "overflow thread"}


def test_the_dynamic_linkers_list(corpus: Corpus) -> None:
    debug = Minidump(corpus("rust-minidump__linux-mini.dmp")).dso_debug()
    assert debug is not None
    assert len(debug.links) == 8
    names = {posixpath.basename(each.name) for each in debug.links}
    assert {"libc.so.6", "ld-linux-x86-64.so.2"} <= names
    assert len(debug.section) % 16 == 0


def test_functions_made_at_run_time(corpus: Corpus) -> None:
    tables = Minidump(corpus("sentry-native__minidump.dmp")).function_tables()
    assert [each.count for each in tables] == [4, 1, 1]
    assert all(each.entry_size == 12 for each in tables)


@pytest.mark.parametrize("name", NAMES or [pytest.param("", marks=pytest.mark.skip("no corpus"))])
def test_the_package_minidump_finds_the_same(
    name: str, corpus: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    others = pytest.importorskip("minidump.minidumpfile").MinidumpFile
    data = corpus(name)
    dump, theirs = Minidump(data), others.parse_bytes(data)
    assert [each.tid for each in dump.threads()] == [t.ThreadId for t in theirs.threads.threads]
    assert [(each.base, each.size, each.name) for each in dump.modules()] == [
        (each.baseaddress, each.size, each.name) for each in theirs.modules.modules
    ]
    segments = (theirs.memory_segments or theirs.memory_segments_64).memory_segments
    assert [(each.start, each.size, each.rva) for each in dump.listed_memory()] == [
        (each.start_virtual_address, each.size, each.start_file_address) for each in segments
    ]


@pytest.mark.parametrize("name", NAMES or [pytest.param("", marks=pytest.mark.skip("no corpus"))])
def test_breakpad_finds_the_same_registers(name: str, corpus: Corpus, tmp_path: Path) -> None:
    data = corpus(name)
    (tmp_path / "dump").write_bytes(data)
    text, _ = breakpad.run("minidump_dump", tmp_path / "dump")
    found = re.findall(r"^  (r[a-z0-9]{1,2}|e[a-z]{2}) += (0x[0-9a-f]+)$", text, re.MULTILINE)
    dump = Minidump(data)
    system, exception = dump.system(), dump.exception()
    assert system is not None
    arch = {"x86": X86, "x86_64": X86_64}[system.arch_name or ""]
    places = [each.context for each in dump.threads() if each.context]
    if exception is not None and exception.context is not None:
        places.append(exception.context)
    ours = []
    for rva, size in places:
        context = parse_context(data[rva : rva + size], system.processor_architecture)
        ours.append(dict(zip(arch.register_names, context.registers, strict=True)))
    count = len(arch.register_names)
    rows = [(key, int(value, 16)) for key, value in found]
    assert [dict(rows[at : at + count]) for at in range(0, len(rows), count)] == ours
