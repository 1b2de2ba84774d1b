"""Makes the kernel run the handler, puts back what was before, and says how things are."""

from __future__ import annotations

import os
import stat
import sys

from unspool.capture.crash import SPECIFIERS
from unspool.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unspool.capture.config import Config

# Tests put other directories here.
SYSCTLS = "/proc/sys/kernel"
STATE = "/var/lib/unspool/capture.json"
SYSCTL_FILE = "/etc/sysctl.d/99-unspool-capture.conf"
MOUNTS = "/proc/self/mountinfo"
INIT_ROOT = "/proc/1/root"

# CORENAME_MAX_SIZE of the kernel with the NUL, from include/linux/binfmts.h; what is longer is
# cut off without a word.
MOST_PATTERN = 127

# Where there may be nothing yet, or nothing any more, when a program crashes.
_HOMES = ("/home/", "/root/", "/run/", "/tmp/", "/var/tmp/", "/media/", "/mnt/")
_FAR = ("nfs", "nfs4", "cifs", "smb3", "fuse", "autofs", "9p", "ceph", "afs")
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class Step:
    """Something to do, and the words for it."""

    __slots__ = ("do", "words")

    def __init__(self, words: str, do: Callable[[], None]) -> None:
        self.words = words
        self.do = do


def plan_install(
    program: str | None,
    config: Config,
    *,
    options: Sequence[str] = (),
    sysctl: bool = False,
    force: bool = False,
) -> list[Step]:
    """What is to be done. Raises `InputError` if that would not work, without having done it.

    `force` goes on in spite of a place that may be out of the kernel's reach.
    """
    path = program or _this_program()
    check_program(path, force=force)
    pattern = " ".join([f"|{path}", "capture", "handle", *options, SPECIFIERS])
    check_pattern(pattern, [path, *options])
    before, limit = _read("core_pattern"), _read("core_pipe_limit")
    _check_may_write()
    limit_wanted = str(config.number("at_once"))
    steps = []
    if before == pattern and limit == limit_wanted:
        steps.append(Step("it is installed already", _nothing))
    else:
        if not _is_ours(before):
            state = {"core_pattern": before, "core_pipe_limit": limit}
            steps.append(Step(f"keep the former setting in {STATE}: {before}", _keeper(state)))
        steps.append(
            Step(f"core_pipe_limit = {limit_wanted}", _writer("core_pipe_limit", limit_wanted))
        )
        steps.append(Step(f"core_pattern = {pattern}", _writer("core_pattern", pattern)))
    if sysctl:
        text = (
            "# Written by unspool capture install, removed by unspool capture uninstall.\n"
            f"kernel.core_pipe_limit = {limit_wanted}\nkernel.core_pattern = {pattern}\n"
        )
        steps.append(Step(f"write {SYSCTL_FILE}, for the next boot", lambda: _save(text)))
    return steps


def plan_uninstall(*, force: bool = False) -> list[Step]:
    """What is to be done to put back the former setting. Raises `InputError`."""
    now = _read("core_pattern")
    steps = []
    state = _state()
    if _is_ours(now) or force:
        _check_may_write()
        before = state or {"core_pattern": "core", "core_pipe_limit": "0"}
        for name in ("core_pattern", "core_pipe_limit"):
            steps.append(Step(f"{name} = {before[name]}", _writer(name, before[name])))
    elif state is not None or os.path.exists(SYSCTL_FILE):
        steps.append(Step(f"core_pattern is not ours and stays: {now}", _nothing))
    if os.path.exists(SYSCTL_FILE):
        steps.append(Step(f"remove {SYSCTL_FILE}", lambda: os.unlink(SYSCTL_FILE)))
    if os.path.exists(STATE):
        steps.append(Step(f"remove {STATE}", lambda: os.unlink(STATE)))
    return steps or [Step("it is not installed", _nothing)]


def status(config: Config) -> tuple[bool, list[str]]:
    """Whether it is installed, and lines that say how things are."""
    pattern, limit = _read("core_pattern"), _read("core_pipe_limit")
    installed = _is_ours(pattern)
    lines = ["installed" if installed else "not installed", f"  core_pattern     {pattern}"]
    lines.append(f"  core_pipe_limit  {limit}")
    if installed:
        program = pattern[1:].split(" ")[0]
        try:
            check_program(program, force=True)
        except InputError as error:
            lines.append(f"  it cannot run: {error}")
        if limit == "0":
            lines.append("  with core_pipe_limit 0 the kernel does not wait: set it to 1 or more")
    state = _state()
    if state is not None:
        lines.append(f"  former setting   {state['core_pattern']}")
    boot = SYSCTL_FILE if os.path.exists(SYSCTL_FILE) else "as before"
    lines.append(f"  next boot        {boot}")
    suid = _suid_dumpable()
    told = {"0": "no reports (fs.suid_dumpable is 0)", "2": "reports, for root alone"}
    lines.append(f"  setuid programs  {told.get(suid, f'fs.suid_dumpable is {suid}')}")
    lines.append(f"  spool            {_spool(config)}")
    return installed, lines


def installed_options() -> list[str]:
    """The options that the kernel gives to the handler, none if it is not installed."""
    pattern = _read("core_pattern")
    words = pattern.split() if _is_ours(pattern) else []
    given = words[words.index("handle") + 1 :] if "handle" in words else []
    return [word for word in given if not word.startswith("%")]


def _spool(config: Config) -> str:
    from unspool.capture.spool import SUFFIXES
    from unspool.render.words import count

    folder = config.text("directory")
    try:
        with os.scandir(folder) as entries:
            sizes = [each.stat().st_size for each in entries if each.name.endswith(SUFFIXES)]
    except FileNotFoundError:
        return f"{folder}, which the first crash makes"
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return f"{folder}, {count(len(sizes), 'file')}, {sum(sizes):,} bytes"


def _suid_dumpable() -> str:
    try:
        with open(os.path.join(os.path.dirname(SYSCTLS), "fs/suid_dumpable"), "rb") as file:
            return file.read().decode().strip()
    except OSError:
        return "unknown"


# --- what would not work ------------------------------------------------------------------


def check_pattern(pattern: str, words: Sequence[str]) -> None:
    """Raises `InputError` if the kernel would read the pattern as another one."""
    if len(os.fsencode(pattern)) > MOST_PATTERN:
        raise InputError(
            f"core_pattern would have {len(os.fsencode(pattern))} bytes, and the kernel takes "
            f"{MOST_PATTERN}",
            "put settings into the file instead of options, or install in a shorter path",
        )
    for word in words:
        if any(letter.isspace() for letter in word) or "%" in word:
            raise InputError(
                f"{word!r}: the kernel splits core_pattern at spaces, and % means something",
                "give another path",
            )


def check_program(path: str, *, force: bool = False) -> None:
    """Raises `InputError` if the kernel could not run a program, or others could change it."""
    _check_file(path, "the handler", force=force)
    with open(path, "rb") as file:
        first = file.readline(4096)
    if first.startswith(b"#!"):
        words = first[2:].split()
        interpreter = os.fsdecode(words[0]) if words else ""
        if not os.path.isabs(interpreter):
            raise InputError(f"{path}: its interpreter {interpreter!r} is no absolute path")
        if os.path.basename(interpreter) == "env":
            raise InputError(
                f"{path}: its interpreter is looked for by env, and the kernel sets no PATH",
                "name the interpreter by its absolute path in the first line",
            )
        # What is linked there can be a chain of links: /usr/bin/python3.
        _check_file(os.path.realpath(interpreter), f"the interpreter of {path}", force=force)
    elif not first.startswith(b"\x7fELF"):
        raise InputError(f"{path}: neither an ELF program nor a script", "give another --program")


def _check_file(path: str, what: str, *, force: bool) -> None:
    if not os.path.isabs(path):
        raise InputError(f"{path}: {what} has no absolute path", "give it with --program")
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: {what}: {error.strerror}", "give it with --program") from None
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: {what} is no regular file")
    if not status.st_mode & stat.S_IXUSR or not os.access(path, os.X_OK):
        raise InputError(f"{path}: {what} is not executable", f"chmod +x {path}")
    _check_only_root_writes(os.path.realpath(path), what)
    if not force:
        _check_reachable(os.path.realpath(path), what, status)


def _check_only_root_writes(path: str, what: str) -> None:
    """Who can change a program that the kernel runs as root is root."""
    current = path
    while True:
        status = os.stat(current)
        # In a folder like /tmp only the owner can rename what is in it.
        sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        if status.st_uid not in (0, os.geteuid()) or (
            status.st_mode & _WRITABLE_BY_OTHERS and not sticky
        ):
            whose = "belongs to another user" if status.st_uid else "can be written to by others"
            raise InputError(
                f"{current} {whose}, and {what} is run by root",
                "install it where root alone may write, below /usr/local or /opt",
            )
        if current == "/":
            return
        current = os.path.dirname(current)


def _check_reachable(path: str, what: str, status: os.stat_result) -> None:
    """The kernel runs it among the mounts of the first process, whenever there is a crash."""
    try:
        other = os.stat(INIT_ROOT + path)
        same = (other.st_dev, other.st_ino) == (status.st_dev, status.st_ino)
    except PermissionError:
        same = True
    except OSError:
        same = False
    if not same:
        raise InputError(
            f"{path}: {what} is not there outside of this container, where the kernel runs it",
            "install it on the host itself",
        )
    if path.startswith(_HOMES):
        raise InputError(
            f"{path}: {what} is in a place that comes and goes",
            "install it below /usr/local or /opt, or say --force",
        )
    kind = _file_system(path)
    if kind.partition(".")[0] in _FAR:
        raise InputError(
            f"{path}: {what} is on a file system of the kind {kind}, which may not be there",
            "install it on a disk of this machine, or say --force",
        )


def _file_system(path: str) -> str:
    """The kind of the file system that a path is on: proc_pid_mountinfo(5)."""
    best, kind = "", ""
    try:
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    for line in lines:
        fields, _, more = line.partition(" - ")
        point = fields.split(" ")[4] if fields.count(" ") >= 4 else ""
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, more.split(" ")[0]
    return kind


def _this_program() -> str:
    """The command that runs now, as an absolute path."""
    from shutil import which

    started = sys.argv[0] if sys.argv else ""
    if os.path.basename(started) != "unspool":
        started = which("unspool") or ""
    if not started:
        raise InputError("the command unspool is in no folder of PATH", "give it with --program")
    return os.path.abspath(started)


def _check_may_write() -> None:
    path = os.path.join(SYSCTLS, "core_pattern")
    if not os.access(path, os.W_OK):
        raise InputError(
            f"{path} cannot be written to",
            "run as root, and outside of containers: the setting is the whole machine's",
        )


# --- reading and writing ------------------------------------------------------------------


def _is_ours(pattern: str) -> bool:
    return pattern.startswith("|") and " capture handle " in pattern


def _read(name: str) -> str:
    try:
        with open(os.path.join(SYSCTLS, name), "rb") as file:
            return os.fsdecode(file.read()).strip("\n")
    except OSError as error:
        raise InputError(f"{SYSCTLS}/{name} cannot be read: {error.strerror}") from None


def _writer(name: str, value: str) -> Callable[[], None]:
    def write() -> None:
        try:
            with open(os.path.join(SYSCTLS, name), "wb", buffering=0) as file:
                file.write(os.fsencode(value))
        except OSError as error:
            raise InputError(
                f"{SYSCTLS}/{name} cannot be written: {error.strerror}", "run as root"
            ) from None
        if _read(name) != value:
            raise InputError(f"{SYSCTLS}/{name}: the kernel made {_read(name)!r} of {value!r}")

    return write


def _keeper(state: dict[str, str]) -> Callable[[], None]:
    def keep() -> None:
        import json

        from unspool.write.save import save

        os.makedirs(os.path.dirname(STATE), 0o755, exist_ok=True)
        save(STATE, [json.dumps(state).encode() + b"\n"])

    return keep


def _state() -> dict[str, str] | None:
    """The setting before ours; None if none was kept."""
    import json

    try:
        with open(STATE, "rb") as file:
            found = json.loads(file.read(4096))
        return {name: str(found[name]) for name in ("core_pattern", "core_pipe_limit")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{STATE} is broken: it does not say what core_pattern was before",
            "remove it; uninstall then sets core_pattern to core",
        ) from None


def _save(text: str) -> None:
    from unspool.write.save import save

    save(SYSCTL_FILE, [text.encode()])
    os.chmod(SYSCTL_FILE, 0o644)


def _nothing() -> None:
    """There is nothing to do."""
