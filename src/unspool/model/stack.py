"""What walking makes of a thread: frames in segments, and why they end."""

from __future__ import annotations

from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SUBJECT = 1 << 96  # set in every subject of a frame: no address has it


class Trust:
    """How a frame was found, from the surest to the least sure."""

    CONTEXT = "context"  # the thread's saved registers
    CFI = "cfi"  # DWARF call frame information
    UNWIND_INFO = "unwind_info"  # PE unwind codes, Arm's exception index
    SIGNAL = "signal"  # registers saved by the kernel in a signal frame
    SEGMENT_SWITCH = "segment_switch"  # registers saved where a thread changes stacks
    WASM = "wasm"
    LEAF = "leaf"  # a return address at the stack pointer, checked
    FRAME_POINTER = "frame_pointer"
    SCAN = "scan"  # a word of the stack that looks like a return address


class StopReason:
    """Why a walk ended."""

    ROOT = "root"
    NO_STRATEGY = "no_strategy"
    FAULT = "fault"
    NO_PROGRESS = "no_progress"
    DEPTH = "depth"
    CYCLE = "cycle"
    MISSING_CONTEXT = "missing_context"


class Attempt(Record):
    """One strategy that was asked for a frame's caller, and its answer in words."""

    __slots__ = ("answer", "strategy")

    def __init__(self, strategy: str, answer: str) -> None:
        self.strategy = strategy
        self.answer = answer


class Frame(Record):
    """One activation. `exact` is true if `pc` was executing, false if it is a return address.

    `trail` is what was tried to find this frame's *caller*; kept only if asked for.
    """

    __slots__ = ("exact", "pc", "segment", "sp", "trail", "trust")

    def __init__(
        self,
        pc: int,
        sp: int | None,
        trust: str,
        exact: bool = False,
        segment: int = 0,
        trail: list[Attempt] | None = None,
    ) -> None:
        self.pc = pc
        self.sp = sp
        self.trust = trust
        self.exact = exact
        self.segment = segment
        self.trail = trail

    @property
    def lookup_pc(self) -> int:
        """The address that belongs to the call: the return address can be past the function.

        A call of a function that never returns may be the last instruction of its caller,
        so that the return address already lies in the next function.
        """
        return self.pc if self.exact else self.pc - 1


class Segment(Record):
    """One contiguous stack that a thread uses. `low`/`high` are its bounds where known.

    `switch` says in words how the walk came here from the segment before.
    """

    __slots__ = ("high", "kind", "low", "switch")

    def __init__(
        self, kind: str, low: int | None = None, high: int | None = None, switch: str | None = None
    ) -> None:
        self.kind = kind
        self.low = low
        self.high = high
        self.switch = switch


class Stop(Record):
    """Why a stack ends: a `StopReason` and the details in words."""

    __slots__ = ("detail", "reason")

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail


class Gap(Record):
    """A place where frames may be missing: before frame number `before`, and why in words."""

    __slots__ = ("before", "detail")

    def __init__(self, before: int, detail: str) -> None:
        self.before = before
        self.detail = detail


class Stack(Record):
    """A thread's whole call stack: innermost frame first, over all segments.

    `subjects` are what the code of frames works on, by index: an interpreter works on a method,
    and its frame is named by that. These numbers are no addresses, see `SUBJECT`.
    """

    __slots__ = (
        "crashed", "frames", "gaps", "index", "name", "segments", "stop", "subjects", "tid",
        "windows_tid",
    )  # fmt: skip

    def __init__(
        self,
        index: int,
        tid: int,
        frames: list[Frame],
        segments: list[Segment],
        stop: Stop,
        *,
        name: str | None = None,
        crashed: bool = False,
        gaps: Sequence[Gap] = (),
        windows_tid: int | None = None,
        subjects: dict[int, int] | None = None,
    ) -> None:
        self.subjects = subjects or {}
        self.gaps = gaps
        self.windows_tid = windows_tid
        self.index = index
        self.tid = tid
        self.name = name
        self.crashed = crashed
        self.frames = frames
        self.segments = segments
        self.stop = stop
