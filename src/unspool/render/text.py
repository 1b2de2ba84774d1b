"""A report as text for people: the crash in words, then every thread's stack.

    program, arch: what happened
    pid, threads, what was read

    Thread 0  name  tid 18196  crashed
       0  function             file:line           module      (how sure, if not quite)
       1  …
      complete: reached the start of the thread

Everything that comes from the dump goes through `printable` or the helpers that do.
"""

from __future__ import annotations

from unspool.model import StopReason, Trust
from unspool.render import words
from unspool.render.escape import printable
from unspool.render.fold import fold_frames, group_stacks, location_keys
from unspool.render.names import base_name, clip
from unspool.render.rows import Rows
from unspool.render.signals import crash_words
from unspool.render.style import Style

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from unspool.model import Finding, Frame, Report, Segment, Stack

_SEGMENT_WORDS = {
    "windows": "Windows stack",
    "signal": "signal stack",
    "wasm": "WebAssembly stack",
    "other": "another stack",
}

# Reasons to stop that mean that nobody knew the caller.
_NO_ANSWER = (StopReason.NO_STRATEGY, StopReason.FAULT)


class Facts:
    """What the command knows and the report does not: shown in the second line.

    `size` is the bytes that were read, `seconds` how long the work took, `threads` how many
    threads the target has, of which the report may hold a selection. `is_report` says that
    what was read is a report, made of the target before.
    """

    __slots__ = ("is_report", "seconds", "size", "threads")

    def __init__(
        self,
        size: int | None = None,
        seconds: float | None = None,
        threads: int | None = None,
        is_report: bool = False,
    ) -> None:
        self.is_report = is_report
        self.size = size
        self.seconds = seconds
        self.threads = threads


def lines(
    report: Report,
    *,
    style: Style | None = None,
    facts: Facts | None = None,
    explain: bool = False,
    quiet: bool = False,
    verbose: bool = False,
) -> Iterator[str]:
    """The report's lines, without line ends.

    `explain` prints frames' trails, `quiet` leaves out everything but the stacks, `verbose`
    adds addresses, whole names and paths, and the modules.
    """
    style = style or Style()
    text = _Text(report, style, facts or Facts(), explain, verbose)
    parts = text.stacks() if quiet else text.everything()
    return map(style.fit, parts) if style.ascii else parts


def around(report: Report, *, style: Style | None = None, facts: Facts | None = None) -> _Text:
    """What the answers of other commands have in common with this one: use its `header`, the
    `title` of threads and `findings`."""
    return _Text(report, style or Style(), facts or Facts(), explain=False, verbose=False)


class _Text:
    """One rendering of a report."""

    def __init__(
        self, report: Report, style: Style, facts: Facts, explain: bool, verbose: bool
    ) -> None:
        self.report = report
        self.style = style
        self.facts = facts
        self.explain = explain
        self.verbose = verbose
        self.rows = Rows(report, style, verbose=verbose)
        self.known: dict[tuple[int, int, str], list[str]] = {}
        self.gaps: dict[int, str] = {}
        self.notes = {
            trust: style.paint("warning", f"  ({note})") if note else ""
            for trust, note in words.TRUST_WORDS.items()
        }
        self.notes[Trust.SIGNAL] = style.paint("dim", f"  ({words.TRUST_WORDS[Trust.SIGNAL]})")
        kinds = (segment.kind for stack in report.stacks for segment in stack.segments)
        is_windows = report.target.os == "windows"
        self.own_kind = "windows" if is_windows else "unix"
        self.is_wine = report.target.wine is not None or ("windows" in kinds and not is_windows)

    def everything(self) -> Iterator[str]:
        yield from self.header()
        yield ""
        yield from self.stacks()
        yield from self.findings()
        if self.verbose:
            yield from self.modules()

    # --- the first lines --------------------------------------------------------------

    def header(self) -> Iterator[str]:
        target = self.report.target
        program = printable(base_name(target.executable or "")) or "a program without a name"
        wine = " ".join(("Wine", *_version(target.wine))) + ", " if target.wine else ""
        crash = crash_words(self.report)
        paint = self.style.paint
        system = "" if target.os == "linux" else f"{_system_name(target.os)}, "
        name = paint("title", program) + f", {wine}{system}{printable(target.arch)}"
        yield f"{name}: {paint('bad', crash)}" if crash else name
        yield ", ".join(self.facts_words())
        if self.verbose and target.command_line:
            yield "command line: " + " ".join(map(printable, target.command_line))

    def facts_words(self) -> Iterator[str]:
        target, facts = self.report.target, self.facts
        if target.pid is not None:
            yield f"pid {target.pid}"
        shown = len(self.report.stacks)
        total = facts.threads if facts.threads is not None else shown
        yield words.count(total, "thread") + (f" ({shown:,} shown)" if shown != total else "")
        size = f" of {words.size(facts.size)}" if facts.size is not None else ""
        cut = ", cut short," if target.truncated else ""
        what = "live process" if target.kind == "live" else printable(target.kind)
        what += ", report" + size if facts.is_report else size
        time = f" read in {words.seconds(facts.seconds)}" if facts.seconds is not None else ""
        yield (what + cut + time).removesuffix(",")
        # What was cut off may have told of one.
        whole = total and not target.truncated
        if self.report.crash is None and whole and target.kind in ("core", "minidump"):
            what = "signal" if target.os == "linux" else "exception"
            yield f"no {what}: taken from a running process"

    # --- stacks -----------------------------------------------------------------------

    def stacks(self) -> Iterator[str]:
        for number, group in enumerate(group_stacks(self.report.stacks)):
            if number:
                yield ""
            yield self.title(group)
            yield from self.stack(group[0], alone=len(group) == 1)

    def title(self, group: Sequence[Stack]) -> str:
        first = group[0]
        names = _distinct(stack.name for stack in group if stack.name)
        most = len(group) if self.verbose else 8
        tids = "tid " + words.ranges(sorted({stack.tid for stack in group}), most)
        if len(group) == 1:
            title = f"Thread {first.index}"
        else:
            numbers = words.ranges(sorted(stack.index for stack in group), most)
            title = f"Threads {numbers} ({len(group):,} alike)"
        parts = [self.style.paint("title", title)]
        if names:
            shown = [printable(clip(name)) for name in names]
            parts.append(words.listing(shown, len(names) if self.verbose else 4))
        parts.append(tids)
        windows = sorted({stack.windows_tid for stack in group if stack.windows_tid is not None})
        if windows:
            parts.append("Windows " + words.listing([f"0x{tid:x}" for tid in windows], most))
        if first.crashed:
            parts.append(self.style.paint("bad", "crashed"))
        return "  ".join(parts)

    def stack(self, stack: Stack, alone: bool) -> Iterator[str]:
        frames = stack.frames
        pcs = self.keys = location_keys(stack)
        self.gaps = {gap.before: gap.detail for gap in stack.gaps}
        width = max(4, len(str(len(frames) - 1)) + 2)
        start = 0
        while start < len(frames):
            number = frames[start].segment
            end = _segment_end(frames, start)
            if 0 <= number < len(stack.segments):
                yield from self.segment_line(stack, number, alone)
            at = start
            for fold in fold_frames(pcs, start, end, self.rows.function_of):
                yield from self.frames(stack, at, fold.start, width)
                yield self.fold_line(pcs, fold.start, fold.end, width)
                at = fold.end
            yield from self.frames(stack, at, end, width)
            start = end
        yield self.stop_line(stack)

    def gap_line(self, detail: str, width: int) -> str:
        line = f"… frames may be missing here: {printable(detail)}"
        return " " * width + self.style.paint("warning", line)

    def frames(self, stack: Stack, start: int, end: int, width: int) -> Iterator[str]:
        frames, known, gaps = stack.frames, self.known, self.gaps
        for index in range(start, end):
            frame = frames[index]
            key = self.keys[index]
            rows = known.get((frame.pc, key, frame.trust)) or self.noted_rows(frame, key)
            if index in gaps:
                yield self.gap_line(gaps[index], width)
            yield str(index).rjust(width) + rows[0]
            if len(rows) > 1:
                for row in rows[1:]:
                    yield " " * width + row
            if self.explain:
                is_last = index + 1 == len(frames)
                yield from self.trail(frame, width, is_last and stack.stop.reason in _NO_ANSWER)

    def noted_rows(self, frame: Frame, key: int) -> list[str]:
        """A frame's rows, with how sure it is behind the last; the same for all frames there."""
        note = self.notes.get(frame.trust)
        if note is None:
            note = f"  ({printable(frame.trust)})"
        rows = [f"  {row}" for row in self.rows.row(frame, key)]
        rows[-1] += note
        if not self.verbose:
            self.known[frame.pc, key, frame.trust] = rows
        return rows

    def trail(self, frame: Frame, width: int, in_vain: bool) -> Iterator[str]:
        """What was tried; the last strategy answered, unless it was all `in_vain`."""
        attempts = frame.trail or ()
        for number, attempt in enumerate(attempts, 1):
            by = "by" if number == len(attempts) and not in_vain else "not by"
            text = f"{by} {printable(attempt.strategy)}: {printable(attempt.answer)}"
            yield f"{'':{width}}    " + self.style.paint("dim", text)

    def fold_line(self, pcs: Sequence[int], start: int, end: int, width: int) -> str:
        functions = _distinct(map(self.rows.call_name, dict.fromkeys(pcs[start:end])))
        number = f"{end - start:,}"
        text = f"… {number} more frames of {words.listing(functions)}"
        return f"{'':{width}}  " + self.style.paint("dim", text)

    def segment_line(self, stack: Stack, number: int, alone: bool) -> Iterator[str]:
        segment = stack.segments[number]
        if len(stack.segments) == 1 and segment.kind == self.own_kind and not self.verbose:
            return
        text = self.segment_words(stack, segment) + _bounds(segment, alone)
        if segment.switch:
            # Each thread has addresses of its own.
            switch = segment.switch if alone else _without_address(segment.switch)
            text = f"{printable(switch)} ── {text}"
        yield self.style.paint("dim", f"  ── {text}")

    def segment_words(self, stack: Stack, segment: Segment) -> str:
        if segment.kind == self.own_kind and not self.is_wine:
            # Where code switches stacks by itself, nothing says which of them the thread began on.
            switched = any(each.kind == "other" for each in stack.segments)
            return "stack" if switched else "the thread's own stack"
        if segment.kind == "unix":
            return "Unix stack"
        return _SEGMENT_WORDS.get(segment.kind) or printable(segment.kind)

    def stop_line(self, stack: Stack) -> str:
        stop = stack.stop
        detail = printable(stop.detail)
        if stop.reason == StopReason.ROOT:
            why = f" ({detail})" if detail and (self.verbose or self.explain) else ""
            if stack.gaps:
                some = "  incomplete: reached the start of the thread, past places where frames"
                return self.style.paint("warning", some + " may be missing") + why
            return self.style.paint("good", "  complete:") + f" {words.STOP_WORDS['root']}{why}"
        reason = detail or words.STOP_WORDS.get(stop.reason) or printable(stop.reason)
        hint = self.stop_hint(stack)
        return self.style.paint("warning", "  stopped:") + f" {reason}" + (hint and f"; {hint}")

    def stop_hint(self, stack: Stack) -> str:
        reason = stack.stop.reason
        if reason == StopReason.NO_STRATEGY and stack.frames:
            module = self.rows.module_of(stack.frames[-1])
            if module is not None and module.file is None and module.kind in ("elf", "pe"):
                its = "its" if module.name in stack.stop.detail else f"{printable(module.name)}'s"
                return f"give {its} file with --symbols or --sysroot"
        if reason == StopReason.FAULT and self.report.target.kind == "live":
            return ""
        if reason == StopReason.FAULT and self.report.target.kind == "minidump":
            return "the minidump does not hold it"
        return "" if self.explain and "--explain" in words.STOP_HINTS.get(reason, "") else (
            words.STOP_HINTS.get(reason, "")
        )  # fmt: skip

    # --- after the stacks -------------------------------------------------------------

    def findings(self) -> Iterator[str]:
        missing = [finding for finding in self.report.findings if finding.incomplete]
        notes = [finding for finding in self.report.findings if not finding.incomplete]
        for title, findings in (("Missing", missing), ("Notes", notes)):
            if findings:
                yield ""
                yield self.style.paint("title", title)
                for finding in findings:
                    yield from self.finding(finding)

    def finding(self, finding: Finding) -> Iterator[str]:
        threads = ""
        if finding.threads:
            noun = "threads" if len(finding.threads) > 1 else "thread"
            threads = f" ({noun} {words.ranges(sorted(set(finding.threads)))})"
        role = "warning" if finding.incomplete else "dim"
        yield "  " + self.style.paint(role, printable(finding.title)) + threads
        for line in (finding.detail or "").splitlines():
            yield f"    {printable(line)}"

    def modules(self) -> Iterator[str]:
        yield ""
        yield self.style.paint("title", "Modules")
        for module in self.report.modules:
            ids = f"  {module.code_id}" if module.code_id else ""
            span = f"0x{module.base:x}–0x{module.end:x}"
            yield f"  {span}  {printable(module.path or module.name)}{printable(ids)}"


def _segment_end(frames: Sequence[Frame], start: int) -> int:
    """The index after the last frame that lies in the segment of frame `start`."""
    segment = frames[start].segment
    if frames[-1].segment == segment:
        return len(frames)  # true of nearly every stack, and segments never come back
    end = start
    while end < len(frames) and frames[end].segment == segment:
        end += 1
    return end


def _bounds(segment: Segment, shown: bool) -> str:
    if not shown or segment.low is None or segment.high is None:
        return ""
    return f" 0x{segment.low:x}–0x{segment.high:x}"


def _without_address(switch: str) -> str:
    """ "signal frame at 0x10" without " at 0x10"; all that is no place is kept."""
    words = switch.rpartition(" at 0x")[0] or switch
    return words.removesuffix(", frame").removesuffix(", context")


def _system_name(system: str) -> str:
    names = {"windows": "Windows", "macos": "macOS", "ios": "iOS"}
    return names.get(system) or printable(system)


def _version(wine: dict[str, object]) -> Iterator[str]:
    if wine.get("version"):
        yield printable(str(wine["version"]))
    if wine.get("wow64"):
        yield "(WoW64)"


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
