"""What the kernel runs when a process crashes: a supervisor, whose child does the work.

Why two processes: reading a file or memory of a process can block for ever, in a system call
that no signal ends (a file server that is gone, memory that another program serves). Neither
SIGALRM nor a thread of the same interpreter runs then. This process never touches the crashed
one's files and can always end in time; when it does, the kernel goes on and the crashed process
ends, whatever the child does. See docs/decisions/0019-a-supervisor-and-a-worker.md.
"""

from __future__ import annotations

import os
import signal
import time

from unspool.errors import UnspoolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.capture.config import Config
    from unspool.capture.crash import KernelCrash
    from unspool.capture.spool import Spool

_CHUNK = 64 << 10
# A report of all frames that limits.max_frames can allow; more is no report of our child's.
_MOST = 256 << 20
# What is left of the time for writing when the child is given up.
_WRITING = 0.1


def handle(crash: KernelCrash, config: Config) -> int:
    """Makes the report of the process whose core comes from standard input. The exit code is 0
    if there is one, 1 if a part of it is missing, 2 if there is none."""
    begun = time.monotonic()
    _open_streams()
    try:
        return _handle(crash, config, begun)
    except Exception as error:
        _tell(config, f"crash of process {crash.pid} is not reported: {_words(error)}")
        return 2


def _handle(crash: KernelCrash, config: Config, begun: float) -> int:
    from unspool.capture.spool import NoRoom, Spool

    os.umask(0o077)
    spool = Spool(config)
    if not _admitted(crash, config, spool.path):
        _tell(config, f"{_name(crash, config)} crashes too often: no report of {crash.pid}")
        return 1
    path = spool.place(crash, _name(crash, config))
    deadline = begun + config.number("seconds")
    child = _start(crash, config, deadline, path + ".dmp")
    messages = child.receive(deadline - min(1, _WRITING * config.number("seconds")))
    code, problem = 0 if messages.complete else 1, messages.problem
    data = messages.document
    if data is None:
        code, data = 1, _failure(crash, config, problem)
    try:
        spool.save(path + ".json.gz", [data], crash)
        child.receive_rest(messages, deadline)
        messages.note = messages.note or _keep_dump(spool, path, crash)
    except NoRoom as error:
        code, problem = 2, str(error)
    finally:
        child.end()
    what = f"report {path}.json.gz" if code < 2 else "no report"
    note = problem or messages.note or config.problem
    _tell(config, f"{_name(crash, config)} crashed with signal {crash.signal}: {what}", note)
    return code


def _keep_dump(spool: Spool, path: str, crash: KernelCrash) -> str:
    """Makes room for the minidump that lies there, if one does; else says why it is gone."""
    from unspool.capture.spool import NoRoom

    dump = path + ".dmp"
    if not os.path.exists(dump):
        return ""
    try:
        with spool.lock():
            spool.make_room(0, keep=path)
        spool.give(dump, crash)
    except NoRoom as error:
        os.unlink(dump)
        return f"no minidump: {error}"
    return ""


def _admitted(crash: KernelCrash, config: Config, folder: str) -> bool:
    from unspool.capture.ratelimit import admit, identity

    count, seconds = config.number("rate_count"), config.number("rate_seconds")
    try:
        executable = identity(crash.pid)
    except OSError:
        executable = "unknown"
    try:
        return admit(os.path.join(folder, ".rate"), executable, count, seconds, time.time())
    except OSError:
        return True  # the spool says it if it cannot be written to


def _failure(crash: KernelCrash, config: Config, why: str) -> bytes:
    from unspool.capture.document import compressed, failure, render
    from unspool.capture.privacy import Policy

    policy = Policy(config, None)
    report = failure(crash, policy.sentence(why) or "the process could not be looked at")
    return compressed(render(report, crash, config, policy, None))


def _name(crash: KernelCrash, config: Config) -> str:
    """The program's name, if names are not to be hidden: it is in file names and in the log."""
    shown = config.text("module_names") == config.text("thread_names") == "in"
    return crash.name if shown and crash.name else "a process"


def _words(error: Exception) -> str:
    from unspool.capture.worker import words

    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error) if isinstance(error, UnspoolError) else words(error)


def _tell(config: Config, message: str, problem: str = "") -> None:
    from unspool.capture.journal import ERROR, NOTICE, tell

    level = ERROR if problem or "report of" in message or "not reported" in message else NOTICE
    tell(config.text("log"), level, f"{message}; {problem}" if problem else message)


def _open_streams() -> None:
    """The kernel opens standard input alone; a file opened next must not become another one."""
    for descriptor in (1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


# --- the child ---------------------------------------------------------------------------


def _start(crash: KernelCrash, config: Config, deadline: float, dump_path: str) -> _Child:
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(readable)
            from unspool.capture.worker import run

            run(
                crash, config,
                output=writable, seconds=deadline - time.monotonic(), dump_path=dump_path,
            )  # fmt: skip
            code = 0
        finally:
            os._exit(code)
    os.close(writable)
    return _Child(pid, readable)


class _Messages:
    """What came from the child: the best document, or the problem that there is none."""

    def __init__(self) -> None:
        self.document: bytes | None = None
        self.complete = False
        self.problem = ""
        self.note = ""
        self.data = bytearray()

    def take(self) -> None:
        """Takes whole messages out of the data."""
        from unspool.capture.worker import COMPLETE, ERROR, HEAD, NOTE, PARTIAL

        while len(self.data) >= HEAD.size:
            kind, size = HEAD.unpack_from(self.data)
            if len(self.data) < HEAD.size + size:
                return
            body = bytes(self.data[HEAD.size : HEAD.size + size])
            del self.data[: HEAD.size + size]
            if kind in (PARTIAL, COMPLETE):
                self.document = body
                self.complete = kind == COMPLETE
            elif kind == ERROR:
                self.problem = body.decode("utf-8", "replace")
            elif kind == NOTE:
                self.note = body.decode("utf-8", "replace")


class _Child:
    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self.descriptor = descriptor
        self._ended = False

    def receive(self, deadline: float) -> _Messages:
        """Its messages up to the complete document, or as many as come in time."""
        messages = _Messages()
        self._receive(messages, deadline, until_complete=True)
        if not messages.complete and not messages.problem:
            messages.problem = (
                "its process ended early" if self._ended else "the time was up"
            )  # fmt: skip
        return messages

    def receive_rest(self, messages: _Messages, deadline: float) -> None:
        """Waits for what it does after the complete document."""
        if messages.complete and not self._ended:
            self._receive(messages, deadline, until_complete=False)

    def _receive(self, messages: _Messages, deadline: float, *, until_complete: bool) -> None:
        from select import POLLIN, poll

        waiting = poll()
        waiting.register(self.descriptor, POLLIN)
        while not (until_complete and messages.complete) and len(messages.data) < _MOST:
            left = deadline - time.monotonic()
            if left <= 0 or not waiting.poll(left * 1000):
                return
            data = os.read(self.descriptor, _CHUNK)
            if not data:
                self._ended = True
                return
            messages.data += data
            messages.take()

    def end(self) -> None:
        """Ends it, but does not wait: it may be in a call that nothing interrupts."""
        if self._ended:
            os.waitpid(self.pid, 0)
            return
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, os.WNOHANG)
