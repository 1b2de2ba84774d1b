"""Looks at the crashed process and sends documents to its supervisor, each better than the last.

A child process: whatever happens to it, the supervisor goes on. It can be killed at any
moment (`handle`), so a first document goes out before anything slow is done, others while that
lasts, each with all threads that were walked by then; the last one says that it is the last.
"""

from __future__ import annotations

import os
import signal
import time
from struct import Struct

from unspool.errors import UnspoolError
from unspool.model import Finding, Frame, Report, Segment, Stack, Stop, StopReason, Trust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

    from unspool.capture.config import Config
    from unspool.capture.crash import KernelCrash
    from unspool.model import Location, Thread
    from unspool.targets.base import Target

# A message: its kind and the size of what follows.
HEAD = Struct("<cI")
PARTIAL, COMPLETE, ERROR, NOTE = b"P", b"C", b"E", b"N"

# When the time is up for walking, as a part of all the time; the rest is for writing.
_WALKING = 0.6
# Documents of what is known so far: when it took so long, and each time twice as long.
_FIRST_PAUSE = 0.2
# Frames of a thread if there was no time for all of them, and how many it takes for that.
_INNERMOST = 1000
_MANY = 20_000
_MB = 1 << 20


class OutOfTime(BaseException):
    """No `Exception`: nothing on the way shall take it for an error of its own."""


def run(
    crash: KernelCrash, config: Config, *, output: int, seconds: float, dump_path: str
) -> None:
    """Reads the core on standard input; `seconds` are left. Does not raise."""
    sender = Sender(output)
    try:
        limit_memory(config)
        signal.signal(signal.SIGALRM, _out_of_time)
        signal.setitimer(signal.ITIMER_REAL, max(seconds * _WALKING, 1e-3))
        _capture(crash, config, sender, dump_path)
    except OutOfTime:
        sender.send(ERROR, b"the time was up before the process could be looked at")
    except UnspoolError as error:
        sender.send(ERROR, str(error).encode("utf-8", "replace"))
    except MemoryError:
        sender.send(ERROR, b"limits.memory_mb is not enough to look at the process")
    except Exception as error:
        sender.send(ERROR, words(error).encode("utf-8", "replace"))


def words(error: BaseException) -> str:
    """An error that nobody expected, and where it came from. It holds no text of its own.

    The message of an exception may quote what could not be read: bytes of the process.
    """
    trace, where = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        where = f" in {os.path.basename(code.co_filename)}:{trace.tb_lineno}"
        trace = trace.tb_next
    number = f" {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    return f"internal error{where}: {type(error).__name__}{number}"


def limit_memory(config: Config) -> None:
    """Limits what this process can write to.

    Not RLIMIT_AS: libraries and programs are mapped as whole files, a browser's is larger than
    any limit, and mapping costs nothing.
    """
    import resource

    limit = config.number("memory_mb") * _MB
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _out_of_time(number: int, frame: FrameType | None) -> None:
    raise OutOfTime


class Sender:
    """Writes messages to the supervisor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def send(self, kind: bytes, data: bytes) -> None:
        view = memoryview(HEAD.pack(kind, len(data)) + data)
        while view:
            view = view[os.write(self.descriptor, view) :]


def _capture(crash: KernelCrash, config: Config, sender: Sender, dump_path: str) -> None:
    from unspool import api
    from unspool.capture.config import IN

    minidump = config.text("minidump")
    # The supervisor keeps the pipe open. If this process hangs, it must not be what the kernel
    # waits for.
    stream = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(nothing, 0)
    with api.open_stream(
        stream, crash.pid, floating_point=minidump != "none", release=True,
        system=config.text("system") == IN,
    ) as target:  # fmt: skip
        target.info.captured_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        maker = _Maker(target, crash, config, sender)
        maker.walk()
        # From here on nothing is interrupted: the supervisor ends what takes too long.
        signal.setitimer(signal.ITIMER_REAL, 0)
        maker.send(COMPLETE)
        if minidump != "none":
            _dump(target, config, sender, dump_path)


class _Maker:
    """Walks threads, and makes documents of those that have been walked."""

    def __init__(
        self, target: Target, crash: KernelCrash, config: Config, sender: Sender
    ) -> None:
        from unspool.capture.privacy import Policy

        self.target = target
        self.crash = crash
        self.config = config
        self.sender = sender
        self.policy = Policy(config, target.space.memory)
        self.stacks: list[Stack] = []
        self.missing: list[Finding] = []
        self.names: dict[int, Location] = {}
        self.environ: bytes | None = None
        if config.text("environment") != "out":
            with open(f"/proc/{crash.pid}/environ", "rb") as file:
                self.environ = file.read(1 << 20)
        if config.problem:
            self._lack("configuration", f"everything optional is left out: {config.problem}")

    def walk(self) -> None:
        """As many threads as time and memory allow."""

        self.send(PARTIAL)
        most = self.config.number("max_frames")
        try:
            self._walk(self.target.threads, most)
            if self.policy.has_code_names:
                self._name()
        except OutOfTime:
            self._stop("time_limit", "the time was up")
        except MemoryError:
            self._stop("memory_limit", "limits.memory_mb was reached")

    def _walk(self, threads: Sequence[Thread], most: int) -> None:
        from unspool import api

        room = most
        begun, pause = time.monotonic(), _FIRST_PAUSE
        for stack in api.stacks(self.target, threads, max_frames=most):
            self.stacks.append(self.policy.stack(stack))
            room -= len(stack.frames)
            if room <= 0 and len(self.stacks) < len(self.target.threads):
                self._lack("frames_limit", f"limits.max_frames was reached: {self._progress()}")
                return
            if time.monotonic() - begun > pause and len(self.stacks) < len(self.target.threads):
                self.send(PARTIAL)
                pause = 2 * (time.monotonic() - begun)

    def _name(self) -> None:
        """Names generated code. Until that is done there is a document without names."""
        from unspool.capture.code_names import code_names

        self.send(PARTIAL)
        title = "not all functions of generated code have their names"
        try:
            if code_names(self.target, self.stacks, self.names, self.policy.code_name):
                return
        except (OutOfTime, MemoryError):
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Exception as error:
            # What a process has made of its memory is no reason to lose its stacks.
            title += f": {words(error)}"
        self._lack("code_names", title)

    def _stop(self, kind: str, title: str) -> None:
        """Says how far the walk came. If not over the crashed thread, that has a second one.

        Situation: endless recursion, on a slow device. Its innermost frames tell all.
        """
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._lack(kind, f"{title}: {self._progress()}")
        if not self.stacks:
            self._walk(self.target.threads[:1], _INNERMOST)

    def _not_walked(self) -> Iterator[Stack]:
        """The other threads' stacks: what their registers tell."""
        arch, walked = self.target.arch, {stack.index for stack in self.stacks}
        stop = Stop(StopReason.DEPTH, "it has not been walked")
        for thread in self.target.threads:
            registers = thread.registers
            pc = registers[arch.pc] if registers is not None else None
            if thread.index not in walked and registers is not None and pc is not None:
                frame = Frame(pc, registers[arch.sp], Trust.CONTEXT, exact=True)
                yield self.policy.stack(
                    Stack(
                        thread.index, thread.tid, [frame], [Segment("unix")], stop,
                        name=thread.name, crashed=thread.crashed,
                    )
                )  # fmt: skip

    def _progress(self) -> str:
        return f"{len(self.stacks):,} of {len(self.target.threads):,} threads have been walked"

    def _lack(self, kind: str, title: str) -> None:
        self.missing.append(Finding(kind, title, incomplete=True))

    def send(self, kind: bytes) -> None:
        """Sends a document of what is known. Of one that is not the last a finding says so."""
        findings = self.policy.findings(self.target.findings) + self.missing
        if kind == PARTIAL:
            title = f"the handler ended before its work did: {self._progress()}"
            findings.append(Finding("unfinished", title, incomplete=True))
        stacks = sorted([*self.stacks, *self._not_walked()], key=lambda stack: stack.index)
        if sum([len(stack.frames) for stack in stacks]) > _MANY:
            # To write them takes as long as to walk them, and there may be no time left.
            self._send_report(PARTIAL, [_cut(stack) for stack in stacks], [*findings, _CUT])
            if kind == PARTIAL:
                return
        self._send_report(kind, stacks, findings)

    def _send_report(
        self, kind: bytes, stacks: list[Stack], findings: list[Finding]
    ) -> None:
        from unspool.capture.document import compressed, render

        target, policy = self.target, self.policy
        report = Report(
            policy.target(target.info), [], stacks,
            crash=policy.crash(target.crash), locations=dict(self.names), findings=findings,
        )  # fmt: skip
        target.add_places(report)
        report.modules = policy.modules(target.modules)
        chunks = render(report, self.crash, self.config, policy, self.environ)
        self.sender.send(kind, compressed(chunks))


_CUT = Finding(
    "frames_left_out", f"of each thread there are the innermost {_INNERMOST:,} frames at most",
    incomplete=True,
)  # fmt: skip


def _cut(stack: Stack) -> Stack:
    """A stack without its outer frames."""
    if len(stack.frames) <= _INNERMOST:
        return stack
    frames = stack.frames[:_INNERMOST]
    segments = stack.segments[: frames[-1].segment + 1]
    return Stack(
        stack.index, stack.tid, frames, segments, Stop(StopReason.DEPTH, _CUT.title),
        name=stack.name, crashed=stack.crashed,
        gaps=[gap for gap in stack.gaps if gap.before <= _INNERMOST],
        windows_tid=stack.windows_tid,
    )  # fmt: skip


def _dump(target: Target, config: Config, sender: Sender, path: str) -> None:
    """Writes the minidump; what goes wrong with it is told, and costs nothing else."""
    from unspool import api
    from unspool.capture.spool import Spool

    spool = Spool(config)
    if spool.free() < spool.floor:
        sender.send(NOTE, b"no minidump: less than spool.free_mb is free")
        return
    try:
        api.dump(
            target, path,
            sanitize=config.text("minidump") == "sanitized",
            environ=config.text("environment") == config.text("arguments") == "in",
        )  # fmt: skip
    except UnspoolError as error:
        sender.send(NOTE, f"no minidump: {error}".encode("utf-8", "replace"))
    except Exception as error:
        sender.send(NOTE, f"no minidump: {words(error)}".encode("utf-8", "replace"))
