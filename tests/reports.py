"""Reports made by hand, for the tests of what prints and stores them."""

from __future__ import annotations

from unspool.model import (
    Attempt,
    Crash,
    Finding,
    Frame,
    Gap,
    Inline,
    Location,
    Module,
    Report,
    Segment,
    Stack,
    Stop,
    StopReason,
    TargetInfo,
    Trust,
)

BOOM, LIBC, STRIPPED = 0x40_0000, 0x7F00_0000_0000, 0x7F00_1000_0000
STACK = 0x7FFC_0000_0000


def modules() -> list[Module]:
    return [
        Module(
            0, "boom", BOOM, BOOM + 0x5000, path="/srv/bin/boom", bias=0, code_id="ab" * 20,
            debug_id="abababab-abab-abab-abab-abababababab",
            code_base=BOOM, code_end=BOOM + 0x2000,
        ),
        Module(1, "libc.so.6", LIBC, LIBC + 0x20_0000, path="/lib/x86_64-linux-gnu/libc.so.6",
               bias=LIBC, code_base=LIBC + 0x2_6000, code_end=LIBC + 0x17_C000,
               code_id="cd" * 20, debug_file="/usr/lib/debug/libc.debug"),
        Module(2, "libgame.so", STRIPPED, STRIPPED + 0x9000, path="/srv/lib/libgame.so"),
    ]  # fmt: skip


def locations() -> dict[int, Location]:
    """What is known of look-up pcs: exact ones, and return addresses less one."""
    return {
        BOOM + 0x105: Location(0, "foo_segfault", 5, "/src/boom/boom.c", 5),
        BOOM + 0x12F: Location(
            0, "bar", 31, "/src/boom/boom.c", 7,
            (Inline("clamp(int)", "/src/boom/util.h", 44), Inline("middle", "/src/boom/boom.c", 6)),
        ),
        BOOM + 0x15F: Location(0, "main", 15, "/src/boom/boom.c", 8),
        BOOM + 0x1FF: Location(0, "down", 31, "/src/boom/deep.c", 12),
        BOOM + 0x23F: Location(0, "ping", 15, "/src/boom/deep.c", 20),
        BOOM + 0x27F: Location(0, "pong", 15, "/src/boom/deep.c", 24),
        BOOM + 0x2FF: Location(0, "on_signal", 47, "/src/boom/signals.c", 9),
        LIBC + 0x3BFFF: Location(1, "__restore_rt", 0),
        LIBC + 0x3C000: Location(1, "__restore_rt", 0),
        LIBC + 0x5000F: Location(1, "__libc_start_main", 0x84),
        LIBC + 0x6000F: Location(1, "start_thread", 0x2D0),
        LIBC + 0x7000F: Location(1, "__clone3", 0x2B),
        LIBC + 0xD3DF1: Location(1, "read", 0x11),
        LIBC + 0xD3DF2: Location(1, "read", 0x12),
    }  # fmt: skip


def frames(*pcs: int, sp: int = STACK + 0x1000, trust: str = Trust.CFI) -> list[Frame]:
    """Frames at these pcs, 48 bytes of stack each; the first one is the context's."""
    return [
        Frame(pc, sp + 48 * index, trust if index else Trust.CONTEXT, exact=index == 0)
        for index, pc in enumerate(pcs)
    ]


def stack(index: int, stack_frames: list[Frame], stop: Stop | None = None, **more: object) -> Stack:
    return Stack(
        index,
        4000 + index,
        stack_frames,
        [Segment("unix", STACK, STACK + 0x80_0000)],
        stop or Stop(StopReason.ROOT, "the program's entry point"),
        **more,  # type: ignore[arg-type]
    )


def report(*stacks: Stack, **more: object) -> Report:
    target = TargetInfo(
        "core", "x86_64", path="core.4000", pid=4000, executable="/srv/bin/boom",
        command_line=["./boom", "--fast"],
    )  # fmt: skip
    return Report(target, modules(), list(stacks), locations=locations(), **more)  # type: ignore[arg-type]


START = (LIBC + 0x50010,)
THREAD_START = (LIBC + 0x60010, LIBC + 0x70010)
WAITING = (LIBC + 0xD3DF2, *THREAD_START)


def crash() -> Report:
    """One thread: a null write below an inlined call."""
    crashed = frames(BOOM + 0x105, BOOM + 0x130, BOOM + 0x160, *START)
    return report(
        stack(0, crashed, crashed=True), crash=Crash("SIGSEGV", 11, 1, 8, 0, access="write")
    )


def waiting() -> Report:
    """A crash, thirty threads that wait in the same place, and one that does not end well."""
    crashed = frames(BOOM + 0x105, BOOM + 0x130, *THREAD_START)
    lost = frames(STRIPPED + 0x123, STRIPPED + 0x456, BOOM + 0x160)
    lost[1].trust, lost[2].trust = Trust.FRAME_POINTER, Trust.SCAN
    stacks = [stack(7, crashed, crashed=True, name="worker")]
    stacks += [
        stack(index, frames(*WAITING, sp=STACK + 0x100_0000 * index), name=f"pool-{index % 7}")
        for index in (*range(7), *range(8, 31))
    ]
    stop = Stop(StopReason.NO_STRATEGY, "no unwind data for libgame.so")
    stacks.append(stack(31, lost[:2], stop))
    stacks.append(stack(32, lost, Stop(StopReason.FAULT, "memory at 0x10 cannot be read")))
    passed = stack(33, [*lost[:1], *lost[2:]])
    passed.gaps = (Gap(1, "the code of libgame.so is not at hand"),)
    stacks.append(passed)
    findings = [
        Finding(
            "file_refused",
            "/srv/lib/libgame.so is not the file that crashed: its build id is another",
            detail="give the right libgame.so with --symbols or --sysroot",
        ),
        Finding("truncated", "the core is truncated", threads=(31, 32), incomplete=True),
    ]
    return report(*stacks, crash=Crash("SIGABRT", 6, -6, None, 7, 4000), findings=findings)


def overflow(depth: int = 74_221) -> Report:
    """A stack overflow by recursion, and mutual recursion in another thread."""
    deep = frames(BOOM + 0x1FF, *[BOOM + 0x200] * depth, BOOM + 0x160, *START)
    both = [BOOM + 0x240, BOOM + 0x280] * (depth // 2)
    mutual = frames(LIBC + 0xD3DF2, *both, BOOM + 0x160, *THREAD_START, sp=STACK + 0x900_0000)
    return report(
        stack(0, deep, crashed=True),
        stack(1, mutual),
        crash=Crash("SIGSEGV", 11, 1, STACK - 8, 0),
    )


def signal_stack() -> Report:
    """A handler on an alternate stack, with the trail of every frame."""
    walked = frames(LIBC + 0xD3DF2, BOOM + 0x300, LIBC + 0x3C000, BOOM + 0x105, BOOM + 0x160)
    walked[2].exact = walked[3].exact = True
    walked[3].trust = Trust.SIGNAL
    for frame in walked[3:]:
        frame.segment = 1
    for frame in walked:
        frame.trail = [
            Attempt("signal_frame", "no signal trampoline at the pc"),
            Attempt("dwarf_cfi", "CFA = rsp+16, return address at CFA-8"),
        ]
    walked[-1].trail = []
    found = stack(0, walked, crashed=True)
    found.segments = [
        Segment("signal", 0x9000, 0xB000),
        Segment("unix", STACK, STACK + 0x80_0000, "signal frame at 0xaf00"),
    ]
    return report(found, crash=Crash("SIGSEGV", 11, 128, None, 0))


def hostile() -> Report:
    """Everything that a dump can name, with terminal control sequences in it."""
    evil = "\x1b]0;owned\x07\x1b[2J\r\nThread 9 \u202e\udcff"
    module = Module(0, evil, BOOM, BOOM + 0x1000, path=evil, kind=evil, code_id=evil)
    walked = [
        Frame(BOOM + 1, None, evil, True, 0, [Attempt(evil, evil)]),
        Frame(BOOM + 9, 0, Trust.CFI, False, 0),
        Frame(BOOM + 17, 0, Trust.CFI, False, 1),
    ]
    found = Stack(
        0, 1, walked, [Segment(evil), Segment(evil, 1, 2, evil)], Stop(evil, evil),
        name=evil, crashed=True,
    )  # fmt: skip
    return Report(
        TargetInfo(evil, evil, evil, path=evil, executable=evil, command_line=[evil], wine={
            "version": evil}, captured_at=evil),
        [module],
        [found],
        crash=Crash(evil, 11, 2, 8, 0, access=evil),
        locations={BOOM + 8: Location(0, evil, 3, evil, 7, (Inline(evil, evil, 1),))},
        findings=[Finding(evil, evil, detail=evil, threads=(0,), incomplete=True)],
    )  # fmt: skip


ALL = {
    "crash": crash,
    "waiting": waiting,
    "overflow": overflow,
    "signal_stack": signal_stack,
    "hostile": hostile,
}
