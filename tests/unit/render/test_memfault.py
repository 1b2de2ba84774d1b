from __future__ import annotations

import json as standard

import pytest
from hypothesis import given

from tests import reports
from tests.memfault import HEX, StackTrace
from tests.unit.render.test_json import made
from unspool.model import Crash, Report
from unspool.render import json
from unspool.render.json_reader import loads
from unspool.render.memfault import chunks

BOOM, LIBC = reports.BOOM, reports.LIBC


def written(report: Report) -> StackTrace:
    return StackTrace("".join(chunks(report)))


@pytest.mark.parametrize("name", ["crash", "waiting", "overflow", "signal_stack"])
def test_a_strict_reader_takes_it(name: str) -> None:
    written(reports.ALL[name]())


def test_addresses_are_those_to_look_up() -> None:
    found = reports.signal_stack()
    assert [frame.exact for frame in found.stacks[0].frames] == [True, False, True, True, False]
    assert [int(pc, 16) for pc in written(found).active] == [
        LIBC + 0xD3DF2, BOOM + 0x2FF, LIBC + 0x3C000, BOOM + 0x105, BOOM + 0x15F,
    ]  # fmt: skip


def test_symbols_are_the_modules_with_a_build_id_that_a_frame_is_in() -> None:
    found = written(reports.waiting())
    assert [symbol["path"] for symbol in found.symbols] == [
        "/srv/bin/boom", "/lib/x86_64-linux-gnu/libc.so.6",
    ]  # fmt: skip
    assert [symbol["path"] for symbol in written(reports.report()).symbols] == []


def test_a_symbol_is_the_executable_segment() -> None:
    [_, libc] = written(reports.crash()).symbols
    assert libc == {
        "pc_range": {"start": f"{LIBC + 0x26000:#x}", "end": f"{LIBC + 0x17C000:#x}"},
        "build_id": "cd" * 20,
        "compiled_offset": "0x26000",
        "runtime_offset": f"{LIBC + 0x26000:#x}",
        "path": "/lib/x86_64-linux-gnu/libc.so.6",
    }


@pytest.mark.parametrize("known", [False, True])
def test_a_pc_outside_of_it_has_the_whole_module(known: bool) -> None:
    report = reports.crash()
    libc = report.modules[1]
    libc.code_base, libc.code_end = (LIBC + 0x60000, LIBC + 0x70000) if known else (None, None)
    found = written(report)
    assert found.symbols[1]["pc_range"] == {"start": f"{LIBC:#x}", "end": f"{LIBC + 0x200000:#x}"}
    place = found.place(found.active[-1])
    assert place is not None
    assert (place.path, place.address) == (libc.path, 0x5000F)


def test_offsets_are_right_for_segments_that_start_inside_a_page() -> None:
    # What lld writes: p_offset 0x640, p_vaddr 0x1640, mapped from 0x1000 on.
    report = reports.crash()
    boom = report.modules[0]
    boom.bias = BOOM - 0x1000
    found = written(report)
    assert found.symbols[0]["compiled_offset"] == "0x1000"
    place = found.place(found.active[0])
    assert place is not None
    assert place.address == 0x1105


def test_a_module_without_a_bias_is_left_out() -> None:
    report = reports.crash()
    report.modules[0].bias = None
    assert [symbol["build_id"] for symbol in written(report).symbols] == ["cd" * 20]


def test_a_pe_module_is_left_out() -> None:
    report = reports.crash()
    report.modules[0].kind, report.modules[0].code_id = "pe", "685CF02047000"
    assert [symbol["build_id"] for symbol in written(report).symbols] == ["cd" * 20]


@pytest.mark.parametrize("code_id", [None, "", "evil", "AB" * 20, "\n"])
def test_what_is_no_build_id_is_left_out(code_id: str | None) -> None:
    report = reports.crash()
    report.modules[0].code_id = code_id
    assert [symbol["build_id"] for symbol in written(report).symbols] == ["cd" * 20]


@pytest.mark.parametrize(("low", "high"), [(BOOM + 0x2000, BOOM), (0, 1), (0, 2**64 - 1)])
def test_bounds_of_code_that_lie_do_no_harm(low: int, high: int) -> None:
    report = reports.crash()
    report.modules[0].code_base, report.modules[0].code_end = low, high
    found = written(report)
    place = found.place(found.active[0])
    assert place is not None
    assert place.address == BOOM + 0x105


def test_the_command_line_is_as_proc_has_it() -> None:
    report = reports.crash()
    assert written(report).document["cmdline"] == "./boom\0--fast\0"
    report.target.command_line = None
    assert written(report).document["cmdline"] == "/srv/bin/boom\0"
    report.target.executable = None
    assert written(report).document["cmdline"] == ""


def test_a_process_that_did_not_crash_has_no_signal() -> None:
    report = reports.crash()
    assert written(report).document["signal"] == "SIGSEGV"
    report.crash = None
    assert written(report).document["signal"] == ""


def test_the_log_says_what_is_missing_and_is_left_out_where_nothing_is() -> None:
    assert "core_handler_logs" not in written(reports.crash()).document
    log = written(reports.waiting()).document["core_handler_logs"]
    assert "the core is truncated" in log
    assert "thread 31 (tid 4031): no unwind data for libgame.so" in log
    assert "thread 33 (tid 4033): before frame 1: the code of libgame.so is not at hand" in log


def test_the_log_is_bounded() -> None:
    report = reports.waiting()
    report.stacks = [report.stacks[31]] * 5000
    log = written(report).document["core_handler_logs"]
    assert len(log) == 65
    assert log[-1] == "and 4,938 lines more"


def test_pieces_are_small_however_many_frames_there_are() -> None:
    report = reports.overflow(50_000)
    pieces = list(chunks(report))
    assert max(map(len, pieces)) < 200_000
    threads = standard.loads("".join(pieces))["threads"]
    assert [len(thread["pcs"]) for thread in threads] == [
        len(stack.frames) for stack in report.stacks
    ]


@pytest.mark.parametrize("name", ["crash", "waiting", "signal_stack", "hostile"])
def test_a_saved_report_gives_the_same(name: str) -> None:
    report = reports.ALL[name]()
    assert "".join(chunks(loads(json.dumps(report)))) == "".join(chunks(report))


@given(made)
def test_any_report_can_be_written(report: Report) -> None:
    document = standard.loads("".join(chunks(report)))
    assert len(document["threads"]) == len(report.stacks)
    for thread, stack in zip(document["threads"], report.stacks, strict=True):
        assert len(thread["pcs"]) == len(stack.frames)


def test_an_address_is_never_negative() -> None:
    report = reports.crash()
    report.crash = Crash("SIGSEGV", 11)
    report.stacks[0].frames[1].pc = 0
    assert written(report).active[1] == "0xffffffffffffffff"
    assert HEX["pattern"]
