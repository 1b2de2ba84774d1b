"""What leaves the machine of the crash: stacks, what is known of their addresses, findings."""

from __future__ import annotations

from unspool.model.stack import StopReason
from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.model.stack import Stack
    from unspool.model.target import Crash, Module, TargetInfo


class Inline(Record):
    """A call that the compiler expanded in place; innermost first in a location."""

    __slots__ = ("file", "function", "line")

    def __init__(self, function: str, file: str | None = None, line: int | None = None) -> None:
        self.function = function
        self.file = file
        self.line = line


class Location(Record):
    """What is known of one code address; shared by all frames with the same look-up pc.

    `wasm_offset` is where in the WebAssembly binary the code is from, in bytes; `wasm_function` is
    the function's number in its module, and `wasm_module` that module's number in the binary,
    which is 0 but for components.
    """

    __slots__ = (
        "file", "function", "function_offset", "inlines", "line", "module", "wasm_function",
        "wasm_module", "wasm_offset",
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
        wasm_function: int | None = None,
        wasm_module: int = 0,
    ) -> None:
        self.wasm_module = wasm_module
        self.wasm_function = wasm_function
        self.wasm_offset = wasm_offset
        self.module = module
        self.function = function
        self.function_offset = function_offset
        self.file = file
        self.line = line
        self.inlines = inlines

    @property
    def is_numbered(self) -> bool:
        """Whether the function is called by its number in WebAssembly, for want of a name."""
        return self.wasm_function is not None and self.function == wasm_number(self.wasm_function)


def wasm_number(function: int) -> str:
    """What a function of WebAssembly without a name is called: as the runtime itself does."""
    return f"<wasm function {function}>"


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
