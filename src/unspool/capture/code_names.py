"""Names of functions that a program made while it ran, if the settings want them in a report.

They lie in the process's memory alone and are gone with it, so this is the only place where a
report can have them. What is read there is whatever a program, or who attacks it, has put there:
few, short and printable texts are taken, and of frames' own functions alone.
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.memory import Fault
from unspool.model import Inline, Location
from unspool.render.escape import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from unspool.generated.code import GeneratedCode
    from unspool.model import Stack
    from unspool.targets.base import Target

    Text = Callable[[str | None], str | None]

MOST_NAMES, MOST_LETTERS, _MOST_INLINES = 10_000, 512, 64


def code_names(
    target: Target, stacks: Sequence[Stack], found: dict[int, Location], text: Text
) -> bool:
    """Adds to `found` what is known of generated code in the stacks, by look-up pc or subject.

    Every text of it passes `text`. False if there is more than may be in a report. It can be
    interrupted: what was found by then is there.
    """
    code = target.known_generated
    if code is None:
        return True
    for key, subject, pc in _keys(stacks):
        if key in found:
            continue
        location = _locate(target, code, subject, pc)
        if location is None or location.function is None:
            continue
        if len(found) >= MOST_NAMES:
            return False
        found[key] = _admitted(location, text)
    return True


def _keys(stacks: Sequence[Stack]) -> Iterator[tuple[int, int | None, int]]:
    """What locations go by, the frame's subject if it has one, and its look-up pc."""
    seen = set()
    for stack in stacks:
        for index, frame in enumerate(stack.frames):
            subject, pc = stack.subjects.get(index), frame.lookup_pc
            key = pc if subject is None else subject
            if key not in seen:
                seen.add(key)
                yield key, subject, pc


def _locate(
    target: Target, code: GeneratedCode, subject: int | None, pc: int
) -> Location | None:
    try:
        known = code.locate_subject(subject) if subject is not None else None
        found = code.at(pc) if known is None else None
        if found is None:
            return known
        names = target.code_names(found.module, lines=False)
        known = names.locate(pc if subject is None else subject) if names is not None else None
        if known is not None:
            known.module = found.module.index
    except (FormatError, Fault):
        return None
    return known


def _admitted(location: Location, text: Text) -> Location:
    """The location with its texts cut and seen to."""

    def admitted(value: str | None) -> str | None:
        return text(_short(value)) if value is not None else None

    inlines = [
        Inline(admitted(each.function) or "?", admitted(each.file), each.line)
        for each in location.inlines[:_MOST_INLINES]
    ]
    return Location(
        location.module, admitted(location.function), location.function_offset,
        admitted(location.file), location.line, inlines,
    )  # fmt: skip


def _short(text: str) -> str:
    text = printable(text[: MOST_LETTERS + 1])
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"
