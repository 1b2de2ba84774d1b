"""One question: who called this frame? Strategies answer it, in order.

*Which rule applies* is kept apart from *applying it*. A table strategy gives a `Row` for
a pc, whatever the thread; a dynamic strategy looks at one frame's registers and memory.
`Stepper` asks the tables first, remembers their rows by pc, and checks every answer.
"""

from __future__ import annotations

from unspool.memory import Fault
from unspool.model import Attempt, Trust
from unspool.unwind.rows import Row, Unusable, apply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from unspool.memory import Window
    from unspool.space import AddressSpace

    Answer = "Found | Missed | Ended"


class Query:
    """A frame whose caller is wanted. `exact`: `pc` was executing; else a return address.

    `planted`: the pc is exact because no call left it on the stack, see `Stepper`.
    `above` is the stack pointer, or a lower bound where it is not known. `thread` is the index
    of the thread.
    """

    __slots__ = ("above", "exact", "pc", "planted", "registers", "stack", "thread")

    def __init__(
        self,
        pc: int,
        exact: bool,
        registers: list[int | None],
        stack: Window | None,
        planted: bool = False,
        above: int | None = None,
        thread: int | None = None,
    ) -> None:
        self.thread = thread
        self.above = above
        self.planted = planted
        self.pc = pc
        self.exact = exact
        self.registers = registers
        self.stack = stack

    @property
    def lookup_pc(self) -> int:
        """The one place that decides which address a frame is looked up by."""
        return self.pc if self.exact else self.pc - 1


class Found:
    """The caller's registers, how surely they were found, and the row if there was one.

    `above` is a lower bound of the caller's stack pointer, for answers that leave it
    unknown: where a frame record or a saved link register lies says where the frame that
    holds it is, but not where it ends. `gap` says in words why frames may be missing before
    this one. `switch` says that the caller is on another stack, and how the walk gets there.

    `subject` is what the code of the frame that was asked about works on, see `Stack.subjects`.

    `run` are frames that the strategy has walked by itself and checked, as (pc, sp): the frame's
    callers up to the one that `registers` are of, in the segment that `switch` opens.

    `begins` is a segment whose first frame is the one that was asked about.

    `stepper` is who knows the caller's code and registers, where these are of another
    architecture. `resume` is the caller of the code that started that part of the stack: the
    walk goes on there when the part has come to its own root.
    """

    __slots__ = (
        "above", "begins", "exact", "gap", "registers", "resume", "row", "run", "stepper",
        "subject", "switch", "trust",
    )  # fmt: skip

    def __init__(
        self,
        registers: list[int | None],
        trust: str,
        exact: bool = False,
        row: Row | None = None,
        above: int | None = None,
        gap: str | None = None,
        switch: Switch | None = None,
        stepper: Stepper | None = None,
        resume: Found | None = None,
        run: Sequence[tuple[int, int]] = (),
        begins: Switch | None = None,
        subject: int | None = None,
    ) -> None:
        self.run = run
        self.begins = begins
        self.subject = subject
        self.stepper = stepper
        self.resume = resume
        self.switch = switch
        self.gap = gap
        self.above = above
        self.registers = registers
        self.trust = trust
        self.exact = exact
        self.row = row


class Switch:
    """How a thread goes on on another stack: the kind of its segment, and what did that, in words.

    `found_by` is for the trail: by which evidence. `bounds` are (low, high) of the segment, where
    it is not the whole of a stack that the mappings or the target know.
    """

    __slots__ = ("bounds", "found_by", "kind", "words")

    def __init__(
        self,
        kind: str,
        words: str,
        found_by: str = "",
        bounds: tuple[int, int] | None = None,
    ) -> None:
        self.bounds = bounds
        self.found_by = found_by
        self.kind = kind
        self.words = words


class Missed:
    """No answer, and why. `fault` is set if it was memory that could not be read.

    `final` forbids to ask anybody else: what would answer is known to be wrong there.
    """

    __slots__ = ("fault", "final", "why")

    def __init__(self, why: str, fault: bool = False, final: bool = False) -> None:
        self.why = why
        self.fault = fault
        self.final = final


class Ended:
    """The frame is the root of its stack, and how that is known.

    `of_a_part`: of a part of a stack that other code has started, see `Found.resume`.
    """

    __slots__ = ("of_a_part", "why")

    def __init__(self, why: str, of_a_part: bool = False) -> None:
        self.why = why
        self.of_a_part = of_a_part


class TableStrategy:
    """Turns a pc into a row. The row must depend on nothing but the pc."""

    name = "table"

    def row(self, pc: int, lookup_pc: int) -> Row | Missed:
        """The row for a frame at `pc`, looked up by `lookup_pc`."""
        raise NotImplementedError


class DynamicStrategy:
    """Answers from a frame's registers and memory where no table has a row."""

    name = "dynamic"

    def answer(self, query: Query) -> Found | Missed | Ended:
        raise NotImplementedError


class EarlyStrategy(DynamicStrategy):
    """Answers for certain frames before any table is asked.

    The tables have rows for such code, and these are wrong, or skip frames. No row of code
    that a strategy claims is ever remembered.
    """

    def named_code(self) -> list[tuple[int, int, str]]:
        """Code that the strategy knows by name, as (start, end, name): what it has met."""
        return []

    def claims(self, query: Query) -> bool:
        """Whether the frame is this strategy's. Asked at a return address until a row is known
        for it, and of code that was executing always."""
        raise NotImplementedError


class Reviewer:
    """Knows where no caller can be, however sure a strategy is of it."""

    def review(self, query: Query, answer: Found | Ended) -> Found | Ended | Missed:
        """The answer, or why it cannot be."""
        raise NotImplementedError


class Stepper:
    """Asks strategies for callers; one for a whole target, since rows are shared by threads."""

    def __init__(
        self,
        space: AddressSpace,
        tables: Sequence[TableStrategy],
        dynamic: Iterable[DynamicStrategy],
    ) -> None:
        self.space = space
        self.tables = tables
        self.dynamic = dynamic
        self.early: list[EarlyStrategy] = []
        # Is shown every address of code that has no row yet, and may register strategies for it.
        self.look_at_new_code: Callable[[int], None] | None = None
        # The same for code that no table knows, of files too.
        self.look_at_code_without_row: Callable[[int], None] | None = None
        self.reviewers: list[Reviewer] = []
        self.rows: dict[int, Row] = {}
        self._missed: dict[int, list[Attempt]] = {}

    def step(self, query: Query, trail: list[Attempt]) -> Found | Missed | Ended:
        """The first good answer; `trail` gets every attempt, the answering one last."""
        missed = Missed("no strategy answered")
        early = None
        if self.look_at_new_code is not None and query.lookup_pc not in self.rows:
            self.look_at_new_code(query.lookup_pc)
        if self.early and (query.exact or query.lookup_pc not in self.rows):
            early = self._ask_early(query, trail)
            if early is not None and (not isinstance(early, Missed) or early.final):
                return early
        row = self.find_row(query, trail, remember=early is None)
        if row is not None:
            answer = self._reviewed(self.apply_row(row, query), query)
            trail.append(Attempt(row.strategy, self._words(answer, row)))
            if not isinstance(answer, Missed):
                return answer
            missed = answer
        elif trail:
            # What the last table says is what a user can do something about: whose unwind
            # data is missing. That the guesses failed too is in the trail.
            missed = Missed(trail[-1].answer)
        if row is None and self.look_at_code_without_row is not None:
            self.look_at_code_without_row(query.lookup_pc)
        for strategy in self.dynamic:
            try:
                answer = self._checked(strategy.answer(query), query)
                if self.look_at_new_code is not None and isinstance(answer, Found):
                    self.look_at_new_code((answer.registers[self.space.arch.pc] or 1) - 1)
                answer = self._reviewed(answer, query)
            except Fault as fault:
                answer = Missed(f"memory at {fault} cannot be read", fault=True)
            trail.append(Attempt(strategy.name, self._words(answer)))
            if not isinstance(answer, Missed):
                return answer
        return missed

    def _reviewed(self, answer: Found | Missed | Ended, query: Query) -> Found | Missed | Ended:
        """What the first reviewer makes of an answer that has anything against it."""
        if not isinstance(answer, Missed):
            for reviewer in self.reviewers:
                reviewed = reviewer.review(query, answer)
                if reviewed is not answer:
                    return reviewed
        return answer

    def _ask_early(self, query: Query, trail: list[Attempt]) -> Found | Missed | Ended | None:
        """The answer of those who claim the frame; None if nobody does."""
        missed = None
        for strategy in self.early:
            try:
                if not strategy.claims(query):
                    continue
                answer = strategy.answer(query)
            except Fault as fault:
                answer = Missed(f"memory at {fault} cannot be read", fault=True)
            # Registers of another architecture are for another stepper to check.
            if not (isinstance(answer, Found) and answer.stepper):
                answer = self._checked(answer, query)
            trail.append(Attempt(strategy.name, self._words(answer)))
            if not isinstance(answer, Missed) or answer.final:
                return answer
            missed = answer
        return missed

    def find_row(self, query: Query, trail: list[Attempt], *, remember: bool = True) -> Row | None:
        """The cached or new row for a frame; the tables' whys go to the trail if none has it."""
        lookup = query.lookup_pc
        row = self.rows.get(lookup)
        if row is not None:
            return row
        attempts = self._missed.get(lookup)
        if attempts is None:
            attempts = []
            for table in self.tables:
                answer = table.row(query.pc, lookup)
                if isinstance(answer, Row):
                    trail.extend(attempts)
                    if remember:
                        self.rows[lookup] = answer
                    return answer
                attempts.append(Attempt(table.name, answer.why))
            self._missed[lookup] = attempts
        trail.extend(attempts)
        return None

    def apply_row(self, row: Row, query: Query) -> Found | Missed | Ended:
        if row.root:
            return Ended("the unwind data marks the function as outermost")
        space = self.space
        try:
            registers = apply(row, query.registers, query.stack, space.memory, space.arch)
        except Fault as fault:
            return Missed(f"memory at {fault} cannot be read", fault=True)
        except Unusable as reason:
            return Missed(str(reason))
        exact = row.interrupted or row.signal is not None
        return self._checked(Found(registers, row.trust, exact, row), query)

    def _checked(self, answer: Found | Missed | Ended, query: Query) -> Found | Missed | Ended:
        """Turns an answer that leads nowhere into a miss: a wrong frame is worse than none."""
        if not isinstance(answer, Found):
            return answer
        arch = self.space.arch
        pc = answer.registers[arch.pc]
        assert pc is not None
        # A signal can interrupt anything, a jump through a wild pointer included.
        if answer.exact:
            return answer
        # A signal trampoline may be the first code of its page (qemu-user's is).
        if self.space.is_code(pc - 1) or self.space.is_code(pc):
            # An address that no call left there was planted, and belongs to itself, not to the
            # instruction before: a signal trampoline, a context's first function (glibc's
            # `__start_context`, Go's `goexit`), or the faulting instruction under Go's
            # `runtime.sigpanic`, which the runtime makes look as if it had called.
            answer.exact = self.space.after_call(pc, self._word_of(pc, answer)) is False
            return answer
        # A null return address alone may be an overwritten stack. It ends a chain where the
        # frame pointer is null as well, as the ABI asks, or under a function that nothing
        # called (Go's goexit, whose address the runtime plants).
        if pc == 0 and (query.planted or not answer.registers[arch.fp]):
            return Ended("the return address is zero")
        if query.planted and answer.row is not None and answer.row.function == query.pc:
            return Ended("a context begins here: the function was never called")
        return Missed(f"the return address 0x{pc:x} is not in executable memory")

    def _word_of(self, pc: int, answer: Found) -> int | None:
        """The return address as the call left it, if the link register still has it."""
        arch = self.space.arch
        word = answer.registers[arch.link] if arch.link is not None else None
        return word if word is not None and word & arch.code_address_mask == pc else None

    def _words(self, answer: Found | Missed | Ended, row: Row | None = None) -> str:
        if not isinstance(answer, Found):
            return answer.why
        pc = answer.registers[(answer.stepper or self).space.arch.pc]
        rule = f"{row.describe(self.space.arch)}; " if row else ""
        if answer.switch:
            by = f", found by {answer.switch.found_by}" if answer.switch.found_by else ""
            rule = f"{answer.switch.words}{by}; "
        certainty = "" if answer.trust != Trust.SCAN else ", a guess"
        return f"{rule}caller at 0x{pc:x}{certainty}"
