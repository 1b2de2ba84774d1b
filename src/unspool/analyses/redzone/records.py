"""Plain data of `unspool redzone`."""

from __future__ import annotations

from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.arch.x86_below import Below

    Place = tuple[str | None, int | None]

# The last is of functions that add an index to what is below: it may lead above.
WITHIN, BEYOND, FORBIDDEN, POSSIBLE = "within", "beyond", "forbidden", "possible"


class Zone(Record):
    """How many bytes below the stack pointer code may use, and by which rule."""

    __slots__ = ("rule", "size")

    def __init__(self, size: int, rule: str) -> None:
        self.size = size
        self.rule = rule

    def verdict(self, depth: int) -> str:
        """Of an operand so many bytes below: within the red zone, beyond it, or there is none."""
        if not self.size:
            return FORBIDDEN
        return WITHIN if depth <= self.size else BEYOND


# System V ABI, AMD64 supplement, 3.2.2: 128 bytes that signal handlers leave alone.
SYSTEM_V = Zone(128, "the System V ABI for x86-64 has a red zone of 128 bytes")
I386 = Zone(0, "the System V ABI for i386 has no red zone")
AAPCS64 = Zone(0, "Arm's procedure call standard (AAPCS64) has no red zone")
AAPCS32 = Zone(0, "Arm's procedure call standard (AAPCS32) has no red zone")
# Microsoft, "Overview of ARM64 ABI conventions": what analysis tools may use, and others do not.
WINDOWS_ARM64 = Zone(16, "Windows on ARM64 keeps 16 bytes, for analysis and patching")
WINDOWS = Zone(0, "Windows has no red zone: exceptions and debuggers write below the stack pointer")
KERNEL = Zone(0, "the kernel has no red zone: interrupts push onto the stack that they interrupt")
INTERRUPT = Zone(0, "it returns from an interrupt (iret): the next one pushes onto this stack")
ASKED = Zone(0, "--no-red-zone: nothing below the stack pointer may be used")


class FunctionUses(Record):
    """The operands of one function below the stack pointer, by address.

    `name` is None for code that no symbol names, `known` false for bytes between functions, which
    may be data. `section` is where it is in a relocatable object, by name and index. `places` are
    files and lines of the operands' instructions, as far as debug information knows them.
    """

    __slots__ = (
        "end", "known", "name", "places", "section", "section_index", "start", "uses", "zone",
    )  # fmt: skip

    def __init__(
        self,
        name: str | None,
        start: int,
        end: int,
        uses: list[Below],
        zone: Zone,
        *,
        section: str = "",
        section_index: int = 0,
        known: bool = True,
    ) -> None:
        self.name = name
        self.start = start
        self.end = end
        self.uses = uses
        self.zone = zone
        self.section = section
        self.section_index = section_index
        self.known = known
        self.places: dict[int, Place] = {}

    @property
    def depth(self) -> int:
        """How far the deepest operand reaches; indexed ones count only if there are no others."""
        return max(use.depth for use in (self.certain or self.uses))

    @property
    def certain(self) -> list[Below]:
        """The operands whose place is known."""
        return [use for use in self.uses if use.evidence != "indexed"]

    @property
    def verdict(self) -> str:
        return self.zone.verdict(self.depth) if self.certain else POSSIBLE


class FileUses(Record):
    """What was found in a file. `kind` is "ELF object", "kernel module", "PE file" and such.

    `looked_at` counts bytes of code, `functions_seen` functions, `skipped` bytes between them that
    are no code or padding, `barriers` instructions that add 0 below the stack pointer as a memory
    barrier or a stack probe, which are no use of it; `problems` say what was not
    looked at, and make the answer incomplete; `notes` do not.
    """

    __slots__ = (
        "arch", "barriers", "functions", "functions_seen", "kind", "looked_at", "notes", "path",
        "problems", "skipped", "zone",
    )  # fmt: skip

    def __init__(self, path: str, kind: str, arch: str, zone: Zone) -> None:
        self.path = path
        self.kind = kind
        self.arch = arch
        self.zone = zone
        self.functions: list[FunctionUses] = []
        self.functions_seen = 0
        self.looked_at = 0
        self.skipped = 0
        self.barriers = 0
        self.problems: list[str] = []
        self.notes: list[str] = []

    def count(self, verdict: str) -> int:
        """The number of functions with that verdict."""
        return sum(each.verdict == verdict for each in self.functions)


class ThreadZone(Record):
    """What lies below one thread's stack pointer.

    `beyond` is the range that holds nothing of the thread: from the stack's lower end to the
    stack pointer, less a red zone; `held` how many of its bytes the target has. `red_zone` is
    the range of that, None where the code at the pc has none. `uses` are the operands below the
    stack pointer of the function at the pc; None if its code was not looked at, for the reason
    in `unknown`.
    """

    __slots__ = (
        "beyond", "function", "held", "index", "name", "pc", "red_zone", "rule", "sp", "tid",
        "unknown", "uses",
    )  # fmt: skip

    def __init__(self, index: int, tid: int, name: str | None) -> None:
        self.index = index
        self.tid = tid
        self.name = name
        self.pc: int | None = None
        self.sp: int | None = None
        self.beyond: tuple[int, int] | None = None
        self.held = 0
        self.red_zone: tuple[int, int] | None = None
        self.rule = ""
        self.function: str | None = None
        self.uses: list[Below] | None = None
        self.unknown = ""
