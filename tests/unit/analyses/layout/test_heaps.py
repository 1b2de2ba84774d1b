"""Heaps of other allocators: musl's by its records, others by what is loaded; generated code."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import unspool
from tests.build.core import Core
from unspool.analyses.layout import images, musl
from unspool.analyses.layout.allocators import allocator_rules
from unspool.analyses.layout.records import Kind
from unspool.analyses.layout.system import system_of
from unspool.analyses.layout.windows import asked
from unspool.memory import Memory
from unspool.model import Module

from .made_up import area, layout, mapping
from .test_cores import memory

SECRET = 0x1122334455667788
DATA, AREA, GROUP = 0x10000, 0x50000, 0x90000


def target_of(memory: Memory, word: int = 8) -> Any:
    header = SimpleNamespace(type=1, flags=6, vaddr=DATA, memsz=0x1000)
    elf = SimpleNamespace(program_headers=lambda: [header])
    module = Module(0, "ld-musl-x86_64.so.1", DATA, DATA + 0x1000, bias=0)
    return SimpleNamespace(
        arch=SimpleNamespace(pointer_size=word), modules=[module], elf=lambda _: elf,
        info=SimpleNamespace(executable=None),
    )  # fmt: skip


def records(word: int, *, check: int = SECRET, back: int | None = None) -> list[tuple[int, bytes]]:
    """`__malloc_context` in libc's data, a page of records, and a group of three pages."""
    data = bytearray(0x1000)
    struct.pack_into("<Q", data, 0x200, SECRET)
    pointer = "<Q" if word == 8 else "<I"
    struct.pack_into(pointer, data, 0x200 + (56 if word == 8 else 36), AREA)
    page = bytearray(0x1000)
    if word == 8:
        struct.pack_into("<QQi", page, 0, check, 0, 2)
        record = AREA + 24 + 40
        struct.pack_into("<QQQiiQ", page, 24 + 40, 0, 0, GROUP, 0, 0, 3 << 12 | 5)
    else:
        struct.pack_into("<QIi", page, 0, check, 0, 2)
        record = AREA + 16 + 24
        struct.pack_into("<IIIiiI", page, 16 + 24, 0, 0, GROUP, 0, 0, 3 << 12 | 5)
    group = struct.pack(pointer, record if back is None else back) + bytes(0x3000 - word)
    return [(DATA, bytes(data)), (AREA, bytes(page)), (GROUP, group)]


@pytest.mark.parametrize("word", [8, 4])
def test_musls_heap_by_its_records(word: int) -> None:
    made = memory(*records(word))
    found = {(each.start, each.end): each for each in musl.heaps(target_of(made, word), made)}
    assert set(found) == {(AREA, AREA + 0x1000), (GROUP, GROUP + 0x3000)}
    assert f"{SECRET:#x}" in found[AREA, AREA + 0x1000].evidence
    assert {each.kind for each in found.values()} == {Kind.HEAP}


def test_what_does_not_lead_back_is_no_heap() -> None:
    made = memory(*records(8, back=AREA + 24))
    found = [each.start for each in musl.heaps(target_of(made), made)]
    assert found == [AREA]
    made = memory(*records(8, check=SECRET + 1))
    assert list(musl.heaps(target_of(made), made)) == []


@given(st.binary(max_size=0x200), st.binary(max_size=0x100))
def test_no_records_are_too_strange(data: bytes, page: bytes) -> None:
    context = bytearray(data.ljust(0x1000, b"\0"))
    context[0x200:0x208] = struct.pack("<Q", SECRET)
    context[0x238:0x240] = struct.pack("<Q", AREA)
    records_page = struct.pack("<Q", SECRET) + page + bytes(0x1000 - 8 - len(page))
    made = memory((DATA, bytes(context)), (AREA, records_page))
    for label in musl.heaps(target_of(made), made):
        assert label.start < label.end


def test_another_allocator_is_said() -> None:
    jemalloc = Module(0, "libjemalloc.so.2", 0x1000, 0x2000, path="/usr/lib/libjemalloc.so.2")
    made = layout([area(0x10000, 0x20000), area(0x30000, 0x31000, Kind.STACK)], word=8)
    target: Any = SimpleNamespace(modules=[jemalloc])
    (rule,) = allocator_rules(made, target)
    assert (rule.id, rule.verdict) == ("allocator", "note")
    assert "jemalloc in place of the C library's malloc: of 64 KiB" in rule.says
    made.areas[0].path, made.areas[0].kind = "[anon:jemalloc_pg]", Kind.HEAP
    (rule,) = allocator_rules(made, target)
    assert (rule.verdict, "64 KiB are called its own" in rule.says) == ("ok", True)
    target.modules = []
    assert allocator_rules(made, target) == []


@pytest.mark.parametrize("kind", ["wasm", "jit"])
def test_code_that_was_made_at_run_time(kind: str) -> None:
    module = Module(3, "add.wasm", 0x7000, 0x9000, kind=kind)
    target: Any = SimpleNamespace(modules=[module])
    parts, wholes = images.images(target, set())
    assert [(each.start, each.end, each.kind, each.module) for each in parts] == [
        (0x7000, 0x9000, Kind.CODE, 3)
    ]
    assert "add.wasm" in parts[0].name
    assert wholes == []
    decide = parts[0].decide
    assert decide is not None
    assert decide(mapping(0x7000, 0x9000, "r-xp"), parts[0]) == (Kind.CODE, parts[0].name)
    assert decide(mapping(0x7000, 0x9000, "--xp", "[vsyscall]"), parts[0]) is None


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        (b"A=b\0WINEPRELOADRESERVE=70000000-70100000\0", [(0x70000000, 0x70100000)]),
        (b"WINEPRELOADRESERVE=000000400000-000000500000", [(0x400000, 0x500000)]),
        (b"WINEPRELOADRESERVE=70100000-70000000\0", []),
        (b"WINEPRELOADRESERVE=x-y\0", []),
        (b"WINEPRELOADRESERVE=\0", []),
        (b"XWINEPRELOADRESERVE=1-2\0", []),
        (b"", []),
    ],
)
def test_what_the_preloader_was_asked_to_hold(
    environ: bytes, wanted: list[tuple[int, int]]
) -> None:
    assert [(start, end) for _, start, end in asked(environ)] == wanted


def test_limits_that_were_kept(tmp_path: Path) -> None:
    core = Core("x86_64")
    core.thread(100, {"rip": 0x401000, "rsp": 0x7FFD00000800}, signal=11)
    core.load(0x7FFD00000000, bytes(0x1000), flags="rw")
    (tmp_path / "core").write_bytes(core.build())
    (tmp_path / "limits").write_text(
        "Limit   Soft Limit  Hard Limit  Units\nMax stack size   8388608   unlimited   bytes\n"
    )
    (tmp_path / "personality").write_text("00040000\n")
    with unspool.open(str(tmp_path / "core")) as target:
        assert system_of(target).stack_limit is None
    with unspool.api.open(str(tmp_path / "core"), procfs=str(tmp_path)) as target:
        found = system_of(target)
    assert (found.stack_limit, found.personality) == (8 << 20, 0x40000)
