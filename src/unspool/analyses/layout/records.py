"""A layout as plain data: areas with their names, holes, rules and their verdicts."""

from __future__ import annotations

from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.analyses.layout.system import System
    from unspool.model import Finding, TargetInfo


class Kind:
    """What an area is used for."""

    EXECUTABLE = "executable"
    PROGRAM = "windows_program"
    LIBRARY = "library"
    BUILTIN = "builtin_dll"  # a PE module that is a part of Wine
    NATIVE = "native_dll"  # any other PE module but the program
    HEAP = "heap"
    WINDOWS_HEAP = "windows_heap"
    STACK = "stack"
    WINDOWS_STACK = "windows_stack"
    WINE_STACK = "wine_stack"  # of Wine's Unix code, and for signals
    GUARD = "guard"
    TLS = "thread_data"
    TEB = "teb"
    PEB = "peb"
    KUSER = "kuser_shared_data"
    DISPATCHER = "dispatcher"
    KERNEL = "kernel"  # vdso, vvar, vsyscall
    CODE = "anonymous_code"
    FILE = "file"
    LOCALE = "locale"
    SHARED = "shared_memory"
    DEVICE = "device"
    DOS = "dos_area"
    RESERVED = "reserved"  # no access: held, but not used
    ANONYMOUS = "anonymous"


# What only Windows code, or Wine on its behalf, has put there.
WINDOWS_KINDS = {
    Kind.PROGRAM, Kind.BUILTIN, Kind.NATIVE, Kind.WINDOWS_HEAP, Kind.WINDOWS_STACK, Kind.WINE_STACK,
    Kind.TEB, Kind.PEB, Kind.KUSER, Kind.DISPATCHER, Kind.DOS,
}  # fmt: skip


class Area(Record):
    """`[start, end)` of one mapping, with one use.

    `permissions` are as in /proc/PID/maps, "?" where the target does not say. `evidence` is
    how the name is known. `threads` are indexes of threads, `module` is the index of the
    module. `path` and `offset` are those of the mapped file.
    """

    __slots__ = (
        "end", "evidence", "kind", "module", "name", "offset", "path", "permissions", "start",
        "threads",
    )  # fmt: skip

    def __init__(
        self,
        start: int,
        end: int,
        kind: str,
        name: str,
        *,
        permissions: str = "????",
        evidence: str = "",
        threads: Sequence[int] = (),
        module: int | None = None,
        path: str = "",
        offset: int = 0,
    ) -> None:
        self.start = start
        self.end = end
        self.kind = kind
        self.name = name
        self.permissions = permissions
        self.evidence = evidence
        self.threads = threads
        self.module = module
        self.path = path
        self.offset = offset

    @property
    def size(self) -> int:
        return self.end - self.start

    @property
    def accessible(self) -> bool:
        """Whether it can be read, written or executed, as far as the target tells."""
        return self.permissions[:3] not in ("---", "?--")


class Hole(Record):
    """`[start, end)` where nothing is mapped."""

    __slots__ = ("end", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end

    @property
    def size(self) -> int:
        return self.end - self.start


class Verdict:
    """What a rule says: kept, worth a look, broken, not known, does not concern this process."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not_applicable"


class Rule(Record):
    """A rule that was checked: its verdict in a word and a sentence, and the facts behind it."""

    __slots__ = ("evidence", "id", "says", "verdict")

    def __init__(self, id: str, verdict: str, says: str, evidence: Sequence[str] = ()) -> None:
        self.id = id
        self.verdict = verdict
        self.says = says
        self.evidence = evidence


class Block(Record):
    """The largest free block below `limit`, at addresses that are multiples of 64 KiB.

    `start` and `size` are of what nothing is mapped in; `held_start` and `held_size` of what
    may also be held without access, as Wine holds what it gives to Windows programs.
    """

    __slots__ = ("held_size", "held_start", "limit", "size", "start")

    def __init__(
        self, limit: int, start: int, size: int, held_start: int, held_size: int
    ) -> None:
        self.limit = limit
        self.start = start
        self.size = size
        self.held_start = held_start
        self.held_size = held_size


class Step(Record):
    """A part of a plan: reserve `[start, end)`, or leave it because of what is there.

    `action` is "reserve", "held" (by a reservation already), "windows" (used by what belongs
    there), "foreign" (used by what does not), "unknown" (memory that tells not whose it is) or
    "granule" (free, but less than 64 KiB).
    """

    __slots__ = ("action", "end", "range", "start", "what")

    def __init__(self, start: int, end: int, action: str, range: str, what: str = "") -> None:
        self.start = start
        self.end = end
        self.action = action
        self.range = range
        self.what = what


class Plan(Record):
    """What would keep foreign mappings out of the Windows ranges; `attempts` calls of mmap."""

    __slots__ = ("attempts", "ranges", "steps")

    def __init__(
        self, ranges: Sequence[tuple[str, int, int]], steps: Sequence[Step], attempts: int
    ) -> None:
        self.ranges = ranges
        self.steps = steps
        self.attempts = attempts


class Layout(Record):
    """The address space of one process. `areas` are by address and do not overlap.

    `source` says where the mappings come from. `is_windows` is true of Wine's processes and
    of Windows' own. `mappings` is how many there are. `top` is the end of what a process can map,
    as far as it is known. `findings` are the target's and `own_findings`, those of this analysis.
    """

    __slots__ = (
        "areas", "blocks", "findings", "holes", "is_windows", "labels", "mappings", "own_findings",
        "plan", "pointer_size", "rules", "source", "system", "target", "top",
    )  # fmt: skip

    def __init__(
        self,
        target: TargetInfo,
        pointer_size: int,
        areas: list[Area],
        *,
        source: str = "",
        is_windows: bool = False,
        top: int = 1 << 64,
        system: System | None = None,
        labels: dict[int, str] | None = None,
        mappings: int = 0,
    ) -> None:
        self.mappings = mappings
        self.target = target
        self.pointer_size = pointer_size
        self.areas = areas
        self.source = source
        self.is_windows = is_windows
        self.top = top
        self.system = system
        # What each thread is called, by its index.
        self.labels = labels or {}
        self.holes: list[Hole] = []
        self.blocks: list[Block] = []
        self.rules: list[Rule] = []
        self.findings: list[Finding] = []
        self.own_findings: list[Finding] = []
        self.plan: Plan | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing of the answer is missing."""
        return not any(finding.incomplete for finding in self.findings)
