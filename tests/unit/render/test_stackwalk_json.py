from __future__ import annotations

import json as standard
from typing import Any

import pytest
from hypothesis import given

from tests import reports, stackwalk
from tests.unit.render.test_json import made
from unspool.model import Module, Report
from unspool.render import json
from unspool.render.json_reader import loads
from unspool.render.stackwalk_json import chunks

BOOM, LIBC = reports.BOOM, reports.LIBC


def written(report: Report) -> dict[str, Any]:
    document: dict[str, Any] = standard.loads("".join(chunks(report)))
    return document


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
@pytest.mark.parametrize("name", ["crash", "waiting", "signal_stack"])
def test_it_follows_the_schema(name: str, arch: str) -> None:
    report = reports.ALL[name]()
    report.target.arch = arch
    stackwalk.check(written(report))


@pytest.mark.parametrize("arch", ["x86", "arm"])
def test_pointers_have_the_width_of_the_processor(arch: str) -> None:
    report = reports.crash()
    report.target.arch = arch
    for frame in report.stacks[0].frames:
        frame.pc, frame.sp = frame.pc & 0xFFFFFF, 0x1000
    report.modules = report.modules[:1]
    document = written(report)
    stackwalk.check(document)
    assert document["threads"][0]["frames"][0]["offset"] == "0x00400105"


@pytest.mark.parametrize(
    ("arch", "back", "registers"),
    [
        ("x86_64", 1, ("rip", "rsp")),
        ("aarch64", 4, ("pc", "sp")),
        ("x86", 1, ("eip", "esp")),
        ("arm", 2, ("pc", "sp")),
    ],
)
def test_offsets_are_of_the_call(arch: str, back: int, registers: tuple[str, str]) -> None:
    report = reports.crash()
    report.target.arch = arch
    crashed = written(report)["crashing_thread"]
    first, second = crashed["frames"][:2]
    assert int(first["offset"], 16) == BOOM + 0x105
    assert int(second["offset"], 16) == BOOM + 0x130 - back
    assert int(second["module_offset"], 16) == 0x130 - back
    assert int(second["function_offset"], 16) == 32 - back
    assert [int(first["registers"][name], 16) for name in registers] == [
        BOOM + 0x105, reports.STACK + 0x1000,
    ]  # fmt: skip
    assert "registers" not in second


def test_a_frame_that_a_signal_interrupted_is_exact() -> None:
    frames = written(reports.signal_stack())["threads"][0]["frames"]
    assert [int(frame["offset"], 16) for frame in frames] == [
        LIBC + 0xD3DF2, BOOM + 0x2FF, LIBC + 0x3C000, BOOM + 0x105, BOOM + 0x15F,
    ]  # fmt: skip
    assert [frame["trust"] for frame in frames] == ["context", "cfi", "cfi", "cfi", "cfi"]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("context", "context"), ("cfi", "cfi"), ("unwind_info", "cfi"), ("signal", "cfi"),
        ("segment_switch", "cfi"), ("wasm", "cfi"), ("leaf", "frame_pointer"),
        ("frame_pointer", "frame_pointer"), ("scan", "scan"), ("one that is new", "scan"),
    ],
)  # fmt: skip
def test_trust_is_in_the_words_that_there_are(ours: str, theirs: str) -> None:
    report = reports.crash()
    report.stacks[0].frames[1].trust = ours
    assert written(report)["threads"][0]["frames"][1]["trust"] == theirs


def test_names_lines_and_inlined_calls() -> None:
    frame = written(reports.crash())["threads"][0]["frames"][1]
    assert (frame["function"], frame["file"], frame["line"]) == ("bar", "/src/boom/boom.c", 7)
    assert frame["inlines"] == [
        {"function": "clamp(int)", "file": "/src/boom/util.h", "line": 44},
        {"function": "middle", "file": "/src/boom/boom.c", "line": 6},
    ]
    assert not frame["missing_symbols"]
    assert written(reports.waiting())["threads"][-1]["frames"][0]["missing_symbols"]


def test_modules_are_told_by_breakpad_s_ids() -> None:
    report = reports.crash()
    report.modules.append(
        Module(3, "[vdso]", 0x7FFF_0000_0000, 0x7FFF_0000_2000, kind="vdso", code_id="0123456789AB")
    )
    report.modules.append(
        Module(
            4, "Game.EXE", 0x1_4000_0000, 0x1_4001_0000, kind="pe", code_id="685CF02047000",
            debug_id="5a9832e5-2872-41c1-838e-d98914e9b7ff-1a", pdb_name="game.pdb",
        )
    )  # fmt: skip
    modules = {module["filename"]: module for module in written(report)["modules"]}
    ids = {
        name: (module["code_id"], module["debug_file"], module["debug_id"])
        for name, module in modules.items()
    }
    assert ids == {
        "boom": ("ab" * 20, "boom", "AB" * 16 + "0"),
        "libc.so.6": ("cd" * 20, "libc.so.6", "CD" * 16 + "0"),
        "libgame.so": (None, "libgame.so", None),
        "linux-gate.so": ("0123456789ab", "linux-gate.so", "67452301AB89" + "0" * 21),
        "Game.EXE": ("685cf02047000", "game.pdb", "5A9832E5287241C1838ED98914E9B7FF1a"),
    }
    symbols = {name: (m["loaded_symbols"], m["missing_symbols"]) for name, m in modules.items()}
    assert symbols["boom"] == (True, False)
    assert symbols["libgame.so"] == (False, False)


def test_symbols_are_missing_where_a_frame_has_no_name() -> None:
    modules = {module["filename"]: module for module in written(reports.waiting())["modules"]}
    assert modules["libgame.so"]["missing_symbols"]


def test_the_program_is_the_first_module() -> None:
    report = reports.crash()
    report.modules.insert(0, Module(7, "low.so", 0x1000, 0x2000, path="/srv/lib/low.so"))
    document = written(report)
    assert document["main_module"] == 0
    assert [module["filename"] for module in document["modules"]] == [
        "boom", "low.so", "libc.so.6", "libgame.so",
    ]  # fmt: skip
    report.target.executable = "boom"  # a core's name for it
    assert written(report)["modules"][0]["filename"] == "boom"
    report.modules = []
    assert written(report)["main_module"] is None


def test_the_crashed_thread_is_told_by_its_place() -> None:
    document = written(reports.waiting())
    assert document["crash_info"]["crashing_thread"] == 0
    assert document["crashing_thread"]["thread_name"] == "worker"
    report = reports.waiting()
    report.stacks.append(report.stacks.pop(0))
    document = written(report)
    assert document["crash_info"]["crashing_thread"] == len(report.stacks) - 1
    stackwalk.check(document)


def test_a_process_that_did_not_crash_has_none() -> None:
    report = reports.crash()
    report.crash = None
    document = written(report)
    stackwalk.check(document)
    assert "crashing_thread" not in document
    assert set(document["crash_info"].values()) == {None}


def test_a_crashed_thread_that_was_not_asked_for_is_not_there() -> None:
    document = written(reports.waiting().with_stacks({1, 2}))
    stackwalk.check(document)
    assert document["crash_info"]["crashing_thread"] is None
    assert "crashing_thread" not in document


def test_the_machine_is_there_where_the_report_knows_it() -> None:
    report = reports.crash()
    nothing = written(report)
    assert (nothing["lsb_release"], nothing["linux_memory_map_count"]) == (None, None)
    report.target.system = {
        "os_version": "6.1.0 #1 SMP", "cpu": "family 6 model 1 stepping 2", "cpu_count": 4,
        "memory_maps": 35, "distribution": {"id": "debian", "release": "12"},
    }  # fmt: skip
    document = written(loads(json.dumps(report)))
    stackwalk.check(document)
    assert document["system_info"] == {
        "os": "Linux", "os_ver": "6.1.0 #1 SMP", "cpu_arch": "amd64",
        "cpu_info": "family 6 model 1 stepping 2", "cpu_count": 4, "cpu_microcode_version": None,
    }  # fmt: skip
    assert document["linux_memory_map_count"] == 35
    assert document["lsb_release"] == {
        "id": "debian", "release": "12", "codename": None, "description": None,
    }  # fmt: skip


def test_pieces_are_small_however_many_frames_there_are() -> None:
    pieces = list(chunks(reports.overflow(50_000)))
    assert max(map(len, pieces)) < 400_000
    standard.loads("".join(pieces))
    stackwalk.check(written(reports.overflow(5000)))


@pytest.mark.parametrize("name", ["crash", "waiting", "signal_stack", "hostile"])
def test_a_saved_report_gives_the_same(name: str) -> None:
    report = reports.ALL[name]()
    assert "".join(chunks(loads(json.dumps(report)))) == "".join(chunks(report))


@given(made)
def test_any_report_can_be_written(report: Report) -> None:
    document = written(report)
    assert len(document["threads"]) == len(report.stacks)
    assert len(document["modules"]) == len(report.modules)
