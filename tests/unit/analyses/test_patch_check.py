"""Functions that are on a stack, are not, or only seem to be: in processes and cores of ours."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.programs.running import is_parked, running_program
from tests.programs.table import Program
from tests.unit.unwind.spaces import ARCHES, CODE, STACK, call_at, region, space, words
from unspool import api
from unspool.analyses.patch import PatchCheck, patch_check
from unspool.analyses.patch.functions import resolve
from unspool.analyses.patch.records import NOT_PROVEN, SAFE, UNSAFE, Checked, CodeRange
from unspool.analyses.patch.sure import Certainty
from unspool.errors import UsageError
from unspool.model import (
    Finding,
    Frame,
    Gap,
    Report,
    Segment,
    Stack,
    Stop,
    StopReason,
    TargetInfo,
    Thread,
    Trust,
)  # fmt: skip
from unspool.symbols.functions import is_part_of
from unspool.targets.base import Target

PATCH = Program(name="patch", source="patch.c", flags=("-O2", "-g", "-pthread"))
PATCH_32 = PATCH.variant("patch-m32", compiler="gcc-m32")
NO_CFI = PATCH.variant(
    "patch-no-cfi",
    flags=("-O2", "-pthread", "-fomit-frame-pointer", "-fno-asynchronous-unwind-tables"),
)


@contextlib.contextmanager
def process(program: Program, root: Path, *arguments: str) -> Iterator[int]:
    runs_on = "threads" in arguments
    with running_program(program, root, *arguments, runs_on=runs_on) as running:
        yield running.pid


def checked(source: int | str, *wanted: str, **options: bool) -> PatchCheck:
    with api.open(source) as target:
        functions = resolve(target, wanted, **options)
        return patch_check(target, api.unwind(target, symbols=False), functions)


def verdicts(check: PatchCheck) -> dict[str, tuple[str, str]]:
    """By function: what scanning says, what unwinding says."""
    return {
        each.wanted: (each.conservative.verdict, each.unwinding.verdict)
        for each in check.functions
    }


@pytest.mark.parametrize("program", [PATCH, PATCH_32], ids=lambda each: each.name)
def test_a_process(program: Program, programs_root: Path) -> None:
    with process(program, programs_root) as pid:
        check = checked(pid, "never", "outer", "covers", "rest", "jumps", "stale")
    found = verdicts(check)
    assert found["never"] == (SAFE, SAFE)
    for name in ("outer", "covers", "rest"):
        assert found[name] == (UNSAFE, UNSAFE)
    # It ended in a jump: its frame is gone, and nothing will return to it.
    assert found["jumps"][1] == SAFE
    # It returned; the address that `touch` was to return to is still in a later frame.
    assert found["stale"] == (UNSAFE, SAFE)
    assert (check.conservative, check.unwinding, check.complete) == (UNSAFE, UNSAFE, True)
    assert check.held_seconds is not None


def test_every_piece_of_evidence_is_there(programs_root: Path) -> None:
    with process(PATCH, programs_root) as pid:
        with api.open(pid) as target:
            functions = resolve(target, ["outer", "stale"])
            report = api.unwind(target, symbols=False)
            check = patch_check(target, report, functions)
            for each in check.functions:
                (code,) = each.ranges
                for hit in each.conservative.hits:
                    assert hit.address is not None
                    assert target.space.memory.read_uint(hit.address, 8) == hit.value
                    assert code.start <= hit.value <= code.end
                for hit in each.unwinding.hits:
                    assert hit.frame is not None
                    assert report.stacks[hit.thread].frames[hit.frame].pc == hit.value
        outer, stale = check.functions
    (hit,) = outer.unwinding.hits
    assert (hit.kind, hit.tid, hit.name) == ("return address", pid, "outer")
    assert {hit.value for hit in outer.conservative.hits} >= {hit.value}
    assert [hit.after_call for hit in stale.conservative.hits] == [True]
    assert [each.kind for each in check.findings()] == ["patch_check"] * 2


def test_a_signal_handlers_stack_and_the_one_that_it_interrupted(programs_root: Path) -> None:
    with process(PATCH, programs_root, "signal") as pid:
        check = checked(pid, "interrupted", "rest", "never")
    found = verdicts(check)
    assert found == {
        "interrupted": (UNSAFE, UNSAFE), "rest": (UNSAFE, UNSAFE), "never": (SAFE, SAFE),
    }  # fmt: skip
    assert {each.kind for each in check.stacks} == {"signal", "unix"}


def test_threads_that_come_and_go(programs_root: Path) -> None:
    with process(PATCH, programs_root, "threads") as pid:
        for _ in range(10):
            check = checked(pid, "never", "spawner", "outer", inlined=False)
            found = verdicts(check)
            assert found["never"][1] in (SAFE, NOT_PROVEN)  # a thread that begins has no end yet
            assert found["spawner"][0] == found["outer"][0] == UNSAFE
            assert found["outer"][1] == UNSAFE
            if found["never"][1] == NOT_PROVEN:
                assert any("incomplete" in text or "guessed" in text
                           for text in check.functions[0].unwinding.reasons)  # fmt: skip


def test_stacks_that_cannot_be_unwound_prove_nothing(programs_root: Path) -> None:
    with process(NO_CFI, programs_root) as pid:
        check = checked(pid, "never", "rest")
    found = verdicts(check)
    assert found["never"][1] == NOT_PROVEN
    assert not check.complete
    assert any("guessed" in text or "incomplete" in text
               for text in check.functions[0].unwinding.reasons)  # fmt: skip
    # Scanning needs no unwind data to find an address.
    assert found["rest"][0] == UNSAFE


def test_a_core_says_what_the_process_said(programs_root: Path, tool: Tool, tmp_path: Path) -> None:
    names = ("never", "outer", "covers", "rest", "jumps", "stale")
    with process(PATCH, programs_root) as pid:
        live = verdicts(checked(pid, *names))
        tool("gcore", "-o", tmp_path / "core", str(pid))
    core = tmp_path / f"core.{pid}"
    if not core.exists():
        pytest.skip("gcore makes no core here")
    assert verdicts(checked(str(core), *names)) == live


def test_inlined_copies_are_named(programs_root: Path) -> None:
    pytest.importorskip("symbolic")
    with process(PATCH, programs_root) as pid:
        check = checked(pid, "copied", "never")
    copied, never = check.functions
    assert copied.unknown
    assert copied.unwinding.verdict == NOT_PROVEN
    assert len(copied.notes) == 2
    assert "inlined in patch!has_copy" in copied.notes[0]
    assert "inlined in patch!main" in copied.notes[1]
    assert never.notes == []


def test_names_modules_and_ranges(programs_root: Path) -> None:
    with process(PATCH, programs_root) as pid, api.open(pid) as target:
        def one(text: str) -> Checked:
            return resolve(target, [text], inlined=False)[0]

        outer = one("outer").ranges[0]
        assert one("patch!outer").ranges == [outer]
        assert one(f"0x{outer.start:x}-0x{outer.end:x}").ranges[0].module == outer.module
        assert one("libc!pause").ranges
        assert one("libc.so.6!pause").ranges
        assert one("no_such!pause").unknown == ["there is no module no_such in the target"]
        assert "no function never_heard_of" in one("never_heard_of").unknown[0]
        assert any("STT_GNU_IFUNC" in text for text in one("libc!memcpy").unknown)
        for text in ("0x10-0x5", "0xz-0x5", "libc!", "0x1000-0x11111111111111111"):
            with pytest.raises(UsageError):
                one(text)


@pytest.mark.parametrize(
    ("name", "is_part"),
    [
        ("work", True), ("work@@V_1", True), ("work.cold", True), ("work.part.0", True),
        ("work.isra.0.cold", True), ("work.constprop.3", True), ("work.2", False),
        ("worker", False), ("work_all", False), ("awork", False),
    ],
)  # fmt: skip
def test_parts_of_a_function(name: str, is_part: bool) -> None:
    assert is_part_of(name, "work") is is_part


# --- made-up threads: what each doubt does ------------------------------------------------


class Made(Target):
    """A target of one thread, with a stack of given words."""

    def __init__(self, stack: bytes, registers: list[int | None]) -> None:
        self.space = space("x86_64", stack)
        self.arch = ARCHES["x86_64"]
        self.threads = [Thread(0, 77, registers)]
        self.findings = []
        self.info = TargetInfo("core", "x86_64")
        self._wine_known = True


def made(
    *values: int,
    frames: list[Frame] | None = None,
    stop: str = StopReason.ROOT,
    gaps: tuple[Gap, ...] = (),
    code: tuple[int, int] = (CODE + 0x100, CODE + 0x140),
    finding: Finding | None = None,
    high: int | None = None,
) -> Checked:
    stack = words(ARCHES["x86_64"], *values)
    registers: list[int | None] = [0] * 17
    registers[16], registers[7] = CODE, STACK
    target = Made(stack, registers)
    target.findings += [finding] if finding else []
    frames = [Frame(CODE, STACK, Trust.CONTEXT, exact=True)] if frames is None else frames
    segments = [Segment("unix", STACK, high or STACK + len(stack))]
    report = Report(
        target.info, [], [Stack(0, 77, frames, segments, Stop(stop), gaps=gaps)]
    )
    function = Checked("f", [CodeRange("f", *code)])
    return patch_check(target, report, [function]).functions[0]


def both(checked: Checked) -> tuple[str, str]:
    return checked.conservative.verdict, checked.unwinding.verdict


def test_each_doubt_alone_is_enough() -> None:
    assert both(made(0, 1, 2)) == (SAFE, SAFE)
    guessed = [Frame(CODE, STACK, Trust.CONTEXT, exact=True)]
    for trust in (Trust.SCAN, Trust.FRAME_POINTER, Trust.LEAF):
        other = Frame(CODE + 0x20, STACK + 8, trust)
        assert both(made(0, 1, 2, frames=[*guessed, other])) == (SAFE, NOT_PROVEN)
    for stop in (StopReason.NO_STRATEGY, StopReason.FAULT, StopReason.DEPTH, StopReason.CYCLE):
        assert both(made(0, 1, 2, stop=stop)) == (NOT_PROVEN, NOT_PROVEN)
    assert both(made(0, 1, 2, gaps=(Gap(1, "why"),))) == (SAFE, NOT_PROVEN)
    truncated = Finding("truncated", "the core is cut", incomplete=True)
    assert both(made(0, 1, 2, finding=truncated)) == (NOT_PROVEN, NOT_PROVEN)
    assert both(made(0, frames=[], stop=StopReason.MISSING_CONTEXT)) == (NOT_PROVEN, NOT_PROVEN)


STUB = 0x50_0000


@pytest.mark.parametrize(
    ("code", "callee", "values", "sure"),
    [
        (b"\xc2\x0c\x00", Trust.SEGMENT_SWITCH, ("to", 1, 2, 3), True),  # ret $12
        (b"\xc3", Trust.CONTEXT, ("to",), True),
        (b"\x5b\x5e\xc3", Trust.SIGNAL, (1, 2, "to"), True),  # pop %ebx, pop %esi, ret
        (b"\x83\xc4\x08\xc3", Trust.CONTEXT, (1, 2, "to"), True),  # add $8,%esp; ret
        (b"\xc3", Trust.CONTEXT, (5, "to"), False),  # another word is there
        (b"\xc3", Trust.CFI, ("to",), False),  # the callee may have been of stdcall
        (b"\xc9\xc3", Trust.CONTEXT, (1, "to"), False),  # leave: by ebp, which is not kept
        (b"\x74\x02\xc3", Trust.CONTEXT, ("to",), False),  # a jump may come before
        (b"", Trust.CONTEXT, ("to",), False),
    ],
)
def test_a_leaf_that_can_only_return_is_sure(
    code: bytes, callee: str, values: tuple[int | str, ...], sure: bool
) -> None:
    caller = call_at("i386", 60)
    stack = words(ARCHES["i386"], *(caller if each == "to" else int(each) for each in values))
    target = Made(stack, [0] * 17)
    target.space = space("i386", stack, *([region(STUB, code, executable=True)] if code else []))
    frames = [
        Frame(STUB, STACK, callee, exact=True), Frame(caller, STACK + len(stack), Trust.LEAF)
    ]  # fmt: skip
    walked = Stack(0, 77, frames, [Segment("unix", STACK, STACK + 64)], Stop(StopReason.ROOT))
    certainty = Certainty(target)
    assert certainty.is_sure(walked, 1) == sure
    # On x86-64 the walk knows leaves by unwind data, and what is left is a guess.
    target.space.arch = ARCHES["x86_64"]
    assert not Certainty(target).is_sure(walked, 1)


def test_memory_that_is_missing_proves_nothing() -> None:
    far = Frame(CODE + 0x20, STACK + 0x80, Trust.CFI)
    first = Frame(CODE, STACK, Trust.CONTEXT, exact=True)
    checked = made(0, 1, 2, frames=[first, far], high=STACK + 0x100)
    assert checked.conservative.verdict == NOT_PROVEN
    assert checked.conservative.reasons == [
        f"thread 77: its stack at 0x{STACK + 24:x} is not in the target"
    ]
    # Above the outermost frame there is nothing to return to, if that is sure to be one.
    assert made(0, 1, 2, high=STACK + 0x100).conservative.verdict == SAFE
    guessed = Frame(CODE + 0x20, STACK + 8, Trust.SCAN)
    checked = made(0, 1, 2, frames=[first, guessed], high=STACK + 0x100)
    assert checked.conservative.verdict == NOT_PROVEN


def test_a_guessed_frame_in_the_function_is_no_proof() -> None:
    first = Frame(CODE, STACK, Trust.CONTEXT, exact=True)
    inside = Frame(CODE + 0x120, STACK + 8, Trust.SCAN)
    checked = made(0, frames=[first, inside])
    assert checked.unwinding.verdict == NOT_PROVEN
    assert [hit.frame for hit in checked.unwinding.maybe] == [1]


def test_a_return_address_behind_the_last_instruction() -> None:
    # Code here is nothing but calls of five bytes: a word at their ends is a return address.
    end = call_at("x86_64", 60)
    start = call_at("x86_64", 50)
    assert both(made(0, end, code=(start, end)))[0] == UNSAFE
    assert both(made(0, end + 2, code=(start, end + 2)))[0] == SAFE  # in the middle of a call
    assert both(made(0, start, code=(start, end)))[0] == UNSAFE
    assert both(made(0, start - 1, end + 1, code=(start, end)))[0] == SAFE
    frame = Frame(end, STACK + 8, Trust.CFI)
    first = Frame(CODE, STACK, Trust.CONTEXT, exact=True)
    assert both(made(0, frames=[first, frame], code=(start, end)))[1] == UNSAFE
    assert both(made(0, frames=[first, frame], code=(end, end + 8)))[1] == SAFE


def test_words_are_aligned_and_registers_count() -> None:
    inside = CODE + 0x110
    raw = (inside << 32) & (1 << 64) - 1
    assert made(raw, inside >> 32, 0).conservative.verdict == SAFE
    frames = [Frame(CODE + 0x104, STACK, Trust.CONTEXT, exact=True)]
    assert made(0, frames=frames).unwinding.verdict == UNSAFE
    target = Made(words(ARCHES["x86_64"], 0), [inside, *[0] * 6, STACK, *[0] * 8, CODE])
    stack = Stack(0, 77, [Frame(CODE, STACK, Trust.CONTEXT, exact=True)],
                  [Segment("unix", STACK, STACK + 8)], Stop(StopReason.ROOT))  # fmt: skip
    function = Checked("f", [CodeRange("f", CODE + 0x100, CODE + 0x140)])
    (done,) = patch_check(target, Report(target.info, [], [stack]), [function]).functions
    assert [(hit.kind, hit.register) for hit in done.conservative.hits] == [("register", "rax")]


def test_stacks_of_a_thread_that_is_held_are_of_one_moment(programs_root: Path) -> None:
    """Nothing waits longer than a moment: the process runs on right after."""
    with process(PATCH, programs_root) as pid:
        check = checked(pid, "never", inlined=False)
        assert check.held_seconds is not None
        os.kill(pid, signal.SIGCONT)
        assert is_parked(pid)


def test_functions_of_the_kernel(programs_root: Path, tool: Tool, tmp_path: Path) -> None:
    """As /proc/PID/stack says, which root can read; never safe, since others may be in them."""
    with process(PATCH, programs_root) as pid:
        check = checked(pid, "kernel!do_exit", "kernel!there_is_none_such")
        try:
            lines = Path(f"/proc/{pid}/stack").read_text().splitlines()
        except OSError:
            lines = []
        names = [line.partition("] ")[2].partition("+")[0] for line in lines]
        inside = checked(pid, *(f"kernel!{name}" for name in names))
        tool("gcore", "-o", tmp_path / "core", str(pid))
        dumps = [checked(str(path), "kernel!do_exit") for path in tmp_path.glob("core*")]
    assert set(verdicts(check).values()) == {(NOT_PROVEN, NOT_PROVEN)}
    assert "no function there_is_none_such" in check.functions[1].unknown[0]
    for dump in dumps:
        assert dump.functions[0].unknown == ["a dump holds no kernel stacks"]
    if not names or any("addresses are hidden" in text for text in inside.functions[0].unknown):
        pytest.skip("the kernel's stacks cannot be read here")
    for number, each in enumerate(inside.functions):
        assert (each.conservative.verdict, each.unwinding.verdict) == (NOT_PROVEN, UNSAFE)
        hits = [hit for hit in each.unwinding.hits if hit.frame == number]
        assert [hit.kind for hit in hits] == ["kernel"]
        assert f"is in {names[number]}+0x" in hits[0].words()


HANDOVER = Program(name="handover", source="handover.c", flags=("-O2", "-g", "-pthread"))


def test_all_threads_are_looked_at_in_one_moment(programs_root: Path) -> None:
    """At each moment one thread or both are in hold(): never none, whenever that is."""
    with running_program(HANDOVER, programs_root, runs_on=True) as running:
        seen = []
        for _ in range(16):
            check = checked(running.pid, "hold", inlined=False)
            (function,) = check.functions
            by_unwinding = {hit.thread for hit in function.unwinding.hits}
            assert by_unwinding, "no thread held it: the threads' stacks are of different moments"
            assert by_unwinding <= {hit.thread for hit in function.conservative.hits}
            seen.append(by_unwinding)
    # The threads go on between: it is not the same moment again and again.
    assert len({frozenset(each) for each in seen}) > 1
