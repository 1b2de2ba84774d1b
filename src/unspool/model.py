"""What unspool learns of a target, as plain data: modules, threads, frames, the report.

Nothing here reads, finds or prints anything. A `Report` is everything that leaves the
machine of the crash: it can be made there and named elsewhere, since frames hold
addresses, and what is known *about* an address is kept apart in `Report.locations`.

Why these are no dataclasses is in docs/decisions/0002-no-dataclasses-on-the-hot-path.md.
"""

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


class Module(Record):
    """An image mapped in the target. `bias` is its addresses' distance from the file's.

    `code_id` is the ELF build id in lower-case hex; `debug_id` as `CodeView.debug_id`;
    `pdb_name` what the linker called a PE module's PDB file. `code_base` and `code_end` bound
    its first executable segment, by whole pages. `file` is where the target found the
    module's own bytes outside of the dump, if it did.
    """

    __slots__ = (
        "base", "bias", "code_base", "code_end", "code_id", "debug_file", "debug_id", "end", "file",
        "index", "kind", "name", "path", "pdb_name",
    )  # fmt: skip

    def __init__(
        self, index: int, name: str, base: int, end: int, *,
        path: str | None = None, kind: str = "elf", bias: int | None = None,
        code_base: int | None = None, code_end: int | None = None, code_id: str | None = None,
        debug_id: str | None = None, debug_file: str | None = None,
        pdb_name: str | None = None, file: str | None = None,
    ) -> None:  # fmt: skip
        self.index = index
        self.name = name
        self.path = path
        self.kind = kind
        self.base = base
        self.end = end
        self.bias = bias
        self.code_base = code_base
        self.code_end = code_end
        self.code_id = code_id
        self.debug_id = debug_id
        self.debug_file = debug_file
        self.pdb_name = pdb_name
        self.file = file


class Thread(Record):
    """A thread as the target found it. Its identity is `index`: ids can repeat.

    `registers` are indexed by DWARF number, None where unknown; the whole list is None
    if the target holds no context for the thread. `special` are registers that no unwinding
    needs, by name: segments, their bases, flags ("cs", "fs_base", "eflags", "pstate").
    `windows_tid` is its id in Windows, under Wine.
    """

    __slots__ = ("crashed", "index", "name", "registers", "special", "tid", "windows_tid")

    def __init__(
        self,
        index: int,
        tid: int,
        registers: list[int | None] | None,
        *,
        name: str | None = None,
        crashed: bool = False,
        special: dict[str, int] | None = None,
    ) -> None:
        self.index = index
        self.tid = tid
        self.registers = registers
        self.name = name
        self.crashed = crashed
        self.special = special or {}
        self.windows_tid: int | None = None


class Crash(Record):
    """The signal that ended the process. `address` is the fault address if it has one.

    `sender_pid` is who sent it, for codes that have a sender (kill, tgkill, sigqueue).
    `access` is "read", "write" or "execute", if the faulting instruction tells.
    """

    __slots__ = ("access", "address", "code", "number", "sender_pid", "signal", "thread_index")

    def __init__(
        self, signal: str, number: int, code: int | None = None, address: int | None = None,
        thread_index: int | None = None, sender_pid: int | None = None, access: str | None = None,
    ) -> None:  # fmt: skip
        self.signal = signal
        self.number = number
        self.code = code
        self.address = address
        self.thread_index = thread_index
        self.sender_pid = sender_pid
        self.access = access


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


class Inline(Record):
    """A call that the compiler expanded in place; innermost first in a location."""

    __slots__ = ("file", "function", "line")

    def __init__(self, function: str, file: str | None = None, line: int | None = None) -> None:
        self.function = function
        self.file = file
        self.line = line


class Location(Record):
    """What is known of one code address; shared by all frames with the same look-up pc.

    `wasm_offset` is where in the WebAssembly binary the code is from, in bytes.
    """

    __slots__ = (
        "file", "function", "function_offset", "inlines", "line", "module", "wasm_offset",
    )  # fmt: skip

    def __init__(
        self,
        module: int | None = None,
        function: str | None = None,
        function_offset: int | None = None,
        file: str | None = None,
        line: int | None = None,
        inlines: Sequence[Inline] = (),
        wasm_offset: int | None = None,
    ) -> None:
        self.wasm_offset = wasm_offset
        self.module = module
        self.function = function
        self.function_offset = function_offset
        self.file = file
        self.line = line
        self.inlines = inlines


class Finding(Record):
    """Something that a person should know: an analysis' verdict, or a part that is missing.

    `incomplete` marks the latter: part of the answer is missing, and the command says so
    with exit code 1.
    """

    __slots__ = ("detail", "incomplete", "kind", "threads", "title")

    def __init__(
        self,
        kind: str,
        title: str,
        *,
        detail: str | None = None,
        threads: Sequence[int] = (),
        incomplete: bool = False,
    ) -> None:
        self.kind = kind
        self.title = title
        self.detail = detail
        self.threads = threads
        self.incomplete = incomplete


class TargetInfo(Record):
    """The facts that a report carries: `arch` by its name there, the dicts by their keys."""

    __slots__ = (
        "arch", "capture", "captured_at", "command_line", "executable", "kind", "os", "path", "pid",
        "system", "truncated", "wine",
    )  # fmt: skip

    def __init__(
        self, kind: str, arch: str, os: str = "linux", *,
        path: str | None = None, pid: int | None = None, executable: str | None = None,
        command_line: Sequence[str] | None = None, wine: dict[str, object] | None = None,
        captured_at: str | None = None, truncated: bool | None = None,
        system: dict[str, object] | None = None,
    ) -> None:  # fmt: skip
        self.kind = kind
        self.arch = arch
        self.os = os
        self.path = path
        self.pid = pid
        self.executable = executable
        self.command_line = command_line
        self.wine = wine
        self.captured_at = captured_at
        self.truncated = truncated
        self.system = system
        self.capture: dict[str, object] | None = None


class Report(Record):
    """Everything learned about one target; holds no byte of its memory.

    `locations` maps a frame's look-up pc, or its subject, to what is known of it.
    """

    __slots__ = ("crash", "findings", "locations", "modules", "stacks", "target")

    def __init__(
        self,
        target: TargetInfo,
        modules: list[Module],
        stacks: list[Stack],
        *,
        crash: Crash | None = None,
        locations: dict[int, Location] | None = None,
        findings: list[Finding] | None = None,
    ) -> None:
        self.target = target
        self.crash = crash
        self.modules = modules
        self.stacks = stacks
        self.locations = locations if locations is not None else {}
        self.findings = findings if findings is not None else []

    def location(self, stack: Stack, index: int) -> Location | None:
        """What is known of a frame."""
        subject = stack.subjects.get(index)
        return self.locations.get(stack.frames[index].lookup_pc if subject is None else subject)

    def with_stacks(self, indexes: set[int]) -> Report:
        """The same report with the stacks of these threads alone."""
        stacks = [stack for stack in self.stacks if stack.index in indexes]
        return Report(
            self.target, self.modules, stacks,
            crash=self.crash, locations=self.locations, findings=self.findings,
        )  # fmt: skip

    @property
    def complete(self) -> bool:
        """Whether every stack reaches its root, whole, and nothing of the target is missing."""
        return all(
            stack.stop.reason == StopReason.ROOT and not stack.gaps for stack in self.stacks
        ) and not any(finding.incomplete for finding in self.findings)
