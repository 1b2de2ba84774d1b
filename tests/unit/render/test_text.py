from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import reports
from tests.reports import BOOM, LIBC, STACK, frames, report, stack
from tests.unit.render.test_json import made
from unspool.model import (
    Attempt,
    Finding,
    Frame,
    Location,
    Report,
    Segment,
    Stop,
    StopReason,
    TargetInfo,
    Trust,
)
from unspool.render.style import Style
from unspool.render.text import Facts, lines


def text(found: object, **options: object) -> str:
    return "\n".join(lines(found, **options))  # type: ignore[arg-type]


def line_of(output: str, word: str) -> str:
    (found,) = [line for line in output.splitlines() if word in line]
    return found


@pytest.mark.parametrize("name", reports.ALL)
@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("explain", [False, True])
def test_every_line_is_printable_and_not_padded(name: str, verbose: bool, explain: bool) -> None:
    for line in lines(reports.ALL[name](), verbose=verbose, explain=explain):
        assert line.isprintable()
        assert line == line.rstrip()


@given(made, st.booleans(), st.booleans())
def test_any_report_can_be_printed(found: Report, verbose: bool, explain: bool) -> None:
    for number, each in enumerate(found.stacks):
        for frame in each.frames:
            frame.segment = number
    for line in lines(found, verbose=verbose, explain=explain):
        assert line.isprintable()


@pytest.mark.parametrize("name", reports.ALL)
def test_colours_change_nothing_but_colour(name: str) -> None:
    def plain(line: str) -> str:
        for code in ("0", "1", "2", "36", "32", "33", "1;31"):
            line = line.replace(f"\x1b[{code}m", "")
        return line

    painted = list(lines(reports.ALL[name](), style=Style(color=True)))
    assert [plain(line) for line in painted] == list(lines(reports.ALL[name]()))
    assert any("\x1b" in line for line in painted)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "no such encoding"])
@pytest.mark.parametrize("name", reports.ALL)
def test_any_encoding_can_carry_it(encoding: str, name: str) -> None:
    style = Style(encoding=encoding)
    for line in lines(reports.ALL[name](), style=style):
        line.encode(style.encoding)
    if encoding == "ascii":
        assert "..." in text(reports.overflow(), style=style)


def test_a_name_that_the_encoding_lacks_is_escaped() -> None:
    found = reports.crash()
    found.locations[BOOM + 0x105].function = "größe_漢字"
    assert "gr\\xf6\\xdfe_\\u6f22\\u5b57" in text(found, style=Style(encoding="ascii"))


def test_the_number_of_lines_of_an_overflow_does_not_depend_on_its_depth() -> None:
    assert len(list(lines(reports.overflow(1000)))) == len(list(lines(reports.overflow(50_000))))


def test_alike_threads_are_printed_once() -> None:
    output = text(reports.waiting())
    assert output.count("read+0x12") == 1
    assert "Threads 0–6, 8–30 (30 alike)" in output
    assert "tid 4000–4006, 4008–4030" in output


def test_the_crashed_thread_comes_first() -> None:
    titles = [line for line in lines(reports.waiting()) if line.startswith("Thread")]
    assert titles[0].startswith("Thread 7  worker  tid 4007  crashed")
    assert not any("crashed" in title for title in titles[1:])


def test_facts_are_told_as_far_as_they_are_known() -> None:
    found = reports.waiting()
    assert list(lines(found))[1] == "pid 4000, 34 threads, core"
    facts = Facts(1_717_000_000, 0.113, 40)
    assert list(lines(found, facts=facts))[1] == (
        "pid 4000, 40 threads (34 shown), core of 1.7 GB read in 0.11 s"
    )
    found.target.truncated = True
    assert "core, cut short" in list(lines(found))[1]


def test_a_report_is_told_from_what_it_reports_on() -> None:
    facts = Facts(12_345, 0.01, is_report=True)
    assert list(lines(reports.crash(), facts=facts))[1] == (
        "pid 4000, 1 thread, core, report of 12 kB read in 0.01 s"
    )


def test_a_live_process_is_no_core_and_did_not_crash() -> None:
    found = reports.crash()
    found.target = TargetInfo("live", "aarch64", pid=7, executable="/bin/sleep")
    found.crash = None
    assert list(lines(found, facts=Facts(seconds=0.02)))[:2] == [
        "sleep, aarch64",
        "pid 7, 1 thread, live process read in 0.02 s",
    ]


def test_a_core_without_a_crash_says_so() -> None:
    found = reports.crash()
    found.crash = None
    assert list(lines(found))[1].endswith("no signal: taken from a running process")


def test_a_cut_core_does_not_say_what_was_in_the_rest() -> None:
    found = reports.crash()
    found.crash = None
    found.target.truncated = True
    found_lines = list(lines(found, facts=Facts(size=3000, seconds=0.02)))
    assert found_lines[1] == "pid 4000, 1 thread, core of 3.0 kB, cut short, read in 0.02 s"


def test_a_program_without_a_name_and_without_threads() -> None:
    found = report()
    found.target = TargetInfo("core", "x86_64")
    assert list(lines(found)) == [
        "a program without a name, x86_64",
        "0 threads, core",
        "",
    ]


def test_wine_is_named() -> None:
    found = reports.crash()
    found.target.wine = {"version": "8.0", "bitness": 64}
    assert next(iter(lines(found))).startswith("boom, Wine 8.0, x86_64: SIGSEGV")
    found.target.wine = {"version": "10.0", "bitness": 32, "wow64": True}
    assert next(iter(lines(found))).startswith("boom, Wine 10.0 (WoW64), x86_64: SIGSEGV")


@pytest.mark.parametrize(
    ("reason", "detail", "line"),
    [
        ("root", "x", "  complete: reached the start of the thread"),
        ("no_strategy", "no unwind data for boom",
         "  stopped: no unwind data for boom; give its file with --symbols or --sysroot"),
        ("no_strategy", "", "  stopped: no way to find the caller; give boom's file with --symbols "
         "or --sysroot"),
        ("fault", "memory at 0x1 cannot be read", "  stopped: memory at 0x1 cannot be read; the "
         "dump was cut short, or its filter (coredump_filter) left this out"),
        ("depth", "the limit of 5 frames",
         "  stopped: the limit of 5 frames; --max-frames 0 shows all"),
        ("missing_context", "", "  stopped: no registers for this thread; the dump was cut short"),
        ("a new one", "", "  stopped: a new one"),
    ],
)  # fmt: skip
def test_how_a_stack_ends(reason: str, detail: str, line: str) -> None:
    found = report(stack(0, frames(BOOM + 0x105), Stop(reason, detail)))
    assert list(lines(found))[-1] == line


def test_the_file_of_a_windows_module_is_asked_for() -> None:
    found = report(stack(0, frames(BOOM + 0x105), Stop(StopReason.NO_STRATEGY, "no data")))
    found.modules[0].kind = "pe"
    end = "  stopped: no data; give boom's file with --symbols or --sysroot"
    assert list(lines(found))[-1] == end


def test_a_file_that_was_found_is_not_asked_for() -> None:
    found = report(stack(0, frames(BOOM + 0x105), Stop(StopReason.NO_STRATEGY, "no data")))
    found.modules[0].file = "/srv/bin/boom"
    assert list(lines(found))[-1] == "  stopped: no data; --explain shows what was tried"
    assert list(lines(found, explain=True))[-1] == "  stopped: no data"


def test_memory_of_a_live_process_is_not_cut_short() -> None:
    found = report(stack(0, frames(BOOM + 0x105), Stop(StopReason.FAULT, "no memory at 0x1")))
    found.target.kind = "live"
    assert list(lines(found))[-1] == "  stopped: no memory at 0x1"


def test_frames_that_are_less_sure_say_so() -> None:
    walked = frames(BOOM + 0x105, BOOM + 0x160, BOOM + 0x160, BOOM + 0x160)
    for frame, trust in zip(walked[1:], (Trust.LEAF, Trust.SCAN, "tarot"), strict=True):
        frame.trust = trust
    ends = [line.rpartition("  ")[2] for line in lines(report(stack(0, walked)), quiet=True)]
    assert ends[1:5] == ["boom", "(leaf)", "(scan)", "(tarot)"]


def test_columns_are_aligned() -> None:
    output = [line for line in lines(reports.crash()) if "boom.c" in line or "util.h" in line]
    assert len({line.index("boom/") for line in output}) == 1
    assert len({line.rindex("boom") for line in output if "(" not in line}) == 1


def test_one_long_name_does_not_widen_the_columns() -> None:
    found = reports.crash()
    found.locations[BOOM + 0x105].function = "a_name_of_ninety_letters" * 4
    wide = line_of(text(found), " main ").index("boom/boom.c")
    found.locations[BOOM + 0x105].function = "short"
    assert line_of(text(found), " main ").index("boom/boom.c") == wide


def test_names_are_whole_only_in_verbose_output() -> None:
    found = reports.crash()
    name = "std::map<" + "int, " * 50 + "int>::find(int const&)"
    found.locations[BOOM + 0x105].function = name
    assert "std::map<…>::find(…)" in text(found)
    assert name in text(found, verbose=True)
    assert "/src/boom/boom.c:5" not in text(found)
    assert "/src/boom/boom.c:5" in text(found, verbose=True)


def test_an_address_without_a_name_is_shown_with_its_module() -> None:
    walked = frames(BOOM + 0x4001, 0x1234)
    found = report(stack(0, walked))
    assert line_of(text(found), "0x0000000000404001").endswith("boom+0x4001")
    assert line_of(text(found), "0x0000000000001234").endswith("in no module")
    found.target.arch = "x86"
    assert "  0x00404001  " in text(found)


def test_a_trampoline_without_a_name_is_still_known_for_one() -> None:
    found = reports.signal_stack()
    del found.locations[LIBC + 0x3C000]
    assert line_of(text(found), "trampoline").endswith("libc.so.6+0x3c000")
    found.modules = []
    assert line_of(text(found), "trampoline").endswith("(signal trampoline)")


def test_a_module_known_only_from_a_location_is_used() -> None:
    found = report(stack(0, frames(0x99, 0x77)))
    found.locations = {0x99: Location(1), 0x76: Location(55)}
    assert line_of(text(found), "0x0000000000000099").split()[-1].startswith("libc.so.6")
    assert line_of(text(found), "0x0000000000000077").endswith("in no module")


def test_offsets_are_shown_where_there_is_no_line_and_count_from_the_pc() -> None:
    # The return address, as every debugger shows it, not the look-up pc before it.
    assert "__libc_start_main+0x85" in text(reports.crash())
    assert "foo_segfault  " in text(reports.crash())


def test_recursion_is_not_folded_across_segments() -> None:
    walked = frames(BOOM + 0x1FF, *[BOOM + 0x200] * 100)
    for frame in walked[50:]:
        frame.segment = 1
    one = stack(0, walked)
    one.segments = [Segment("signal"), Segment("unix", switch="signal frame at 0x10")]
    output = text(report(one))
    assert output.count("more frames of down()") == 2
    assert "  ── signal stack\n" in output
    assert "  ── signal frame at 0x10 ── the thread's own stack\n" in output


def test_functions_without_names_are_folded_by_their_address() -> None:
    found = report(stack(0, frames(BOOM + 0x4010, *[BOOM + 0x4020] * 100, 0x1234)))
    assert "more frames of 0x404020 in boom" in text(found)


def test_recursion_in_a_named_lambda_gets_no_second_brackets() -> None:
    found = report(stack(0, frames(BOOM + 0x4010, *[BOOM + 0x4020] * 100)))
    found.locations[BOOM + 0x401F] = Location(0, "fib(int)", 3)
    assert "more frames of fib(int)" in text(found)


def test_one_segment_of_the_usual_kind_needs_no_heading() -> None:
    assert "──" not in text(reports.crash())
    assert f"── the thread's own stack 0x{STACK:x}" in text(reports.crash(), verbose=True)


def test_bounds_of_segments_are_not_shown_for_many_threads() -> None:
    def on_signal_stack(index: int) -> object:
        one = stack(index, frames(BOOM + 0x300, BOOM + 0x160))
        interrupted = Segment("unix", 64, 128, "call, frame at 0x1")
        one.segments = [Segment("signal", 16 + index, 32), interrupted]
        one.frames[1].segment = 1
        return one

    one, two = on_signal_stack(0), on_signal_stack(1)
    assert "── signal stack 0x10–0x20" in text(report(one))  # type: ignore[arg-type]
    both = text(report(one, two))  # type: ignore[arg-type]
    assert "(2 alike)" in both
    assert "0x10–" not in both
    assert "── call ── the thread's own stack\n" in both


def test_windows_and_unix_stacks_are_told_apart() -> None:
    walked = frames(LIBC + 0xD3DF2, BOOM + 0x160)
    walked[1].segment = 1
    one = stack(0, walked)
    one.segments = [Segment("unix", 16, 32), Segment("windows", 64, 128, "system call frame")]
    output = text(report(one))
    assert "── Unix stack 0x10–0x20" in output
    assert "── system call frame ── Windows stack 0x40–0x80" in output


def test_a_thread_has_its_windows_id_beside_its_own() -> None:
    one = stack(0, frames(BOOM + 0x160))
    one.windows_tid = 0x15C
    assert "tid 4000  Windows 0x15c" in text(report(one))


def test_quiet_prints_the_stacks_alone() -> None:
    output = text(reports.waiting(), quiet=True)
    assert output.startswith("Thread 7")
    assert "Missing" not in output
    assert "Notes" not in output


def test_what_is_missing_is_told_before_notes() -> None:
    output = text(reports.waiting())
    assert output.index("\nMissing\n") < output.index("\nNotes\n")
    assert "  the core is truncated (threads 31, 32)\n" in output


def test_a_finding_about_one_thread() -> None:
    found = report(findings=[Finding("x", "odd", threads=(3,), detail="two\nlines")])
    assert list(lines(found))[-3:] == ["  odd (thread 3)", "    two", "    lines"]


def test_explain_prints_the_trail_under_each_frame() -> None:
    output = text(reports.signal_stack(), explain=True)
    assert output.count("     by dwarf_cfi: CFA = rsp+16") == 4
    assert output.count(" not by signal_frame: no signal trampoline") == 4
    assert "dwarf_cfi" not in text(reports.signal_stack())


@pytest.mark.parametrize("reason", [StopReason.NO_STRATEGY, StopReason.FAULT])
def test_explain_tells_an_answer_from_attempts_in_vain(reason: str) -> None:
    found = reports.signal_stack()
    found.stacks[0].frames[-1].trail = [Attempt("cfi", "no"), Attempt("scan", "nothing")]
    assert "     by scan: nothing" in text(found, explain=True)
    found.stacks[0].stop = Stop(reason)
    assert " not by scan: nothing" in text(found, explain=True)


def test_a_frame_in_a_segment_that_is_not_there_is_printed_all_the_same() -> None:
    one = stack(0, [Frame(BOOM + 0x105, None, Trust.CONTEXT, True, 7)])
    assert "foo_segfault" in text(report(one))


def test_frame_numbers_take_the_room_that_they_need() -> None:
    pcs = [BOOM + 0x4000 + index % 500 for index in range(1, 12_000)]
    output = list(lines(report(stack(0, frames(*pcs))), quiet=True))[1:]
    assert output[0].startswith("      0  ")
    assert output[9_999].startswith("   9999  ")
    assert output[11_000].startswith("  11000  ")
