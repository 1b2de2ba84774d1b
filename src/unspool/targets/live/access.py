"""Opens a process's directory in /proc, or says why the process cannot be read."""

from __future__ import annotations

import os

from unspool import arch as architectures
from unspool.errors import FormatError, InputError
from unspool.formats.elf import Elf
from unspool.targets.live.procfs import Process
from unspool.targets.live.ptrace import architectures_of, is_unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.arch.base import Arch

# States of threads that have ended: zombie, dead.
_ENDED = ("Z", "X")

_PTRACE_SCOPE = "/proc/sys/kernel/yama/ptrace_scope"


def open_process(pid: int) -> Process:
    """The process that `pid` is, or that the thread `pid` belongs to. Raises `InputError`."""
    if pid <= 0:
        raise InputError(f"{pid} is no process id", "ps -e lists the processes")
    try:
        process = Process(pid)
    except (OSError, OverflowError):
        if not os.path.exists("/proc/self/stat"):
            raise InputError("/proc is not mounted", "mount -t proc proc /proc") from None
        raise InputError(f"there is no process {pid}", "ps -e lists the processes") from None
    status = process.status()
    leader = status.get("Tgid", "")
    if leader.isdecimal() and int(leader) not in (0, pid):
        # Threads have directories too, which are not listed.
        process.close()
        return open_process(int(leader))
    try:
        if status.get("State", "").startswith(_ENDED):
            _look_through_a_living(process)
        _check(process, process.status())
    except InputError:
        process.close()
        raise
    return process


def _look_through_a_living(process: Process) -> None:
    for tid in process.tasks():
        if not (process.state(tid) or "X").startswith(_ENDED):
            try:
                process.look_through(tid)
                return
            except OSError:
                continue


def _check(process: Process, status: dict[str, str]) -> None:
    name = f"process {process.pid} ({status.get('Name', '?')})"
    if process.pid == os.getpid():
        raise InputError("a process cannot read its own stacks while it runs", "give another id")
    if status.get("State", "").startswith(_ENDED):
        raise InputError(
            f"{name} has ended; only its exit status is left",
            f"its parent, process {status.get('PPid')}, has not asked for it yet",
        )
    if status.get("Kthread") == "1" or ("VmSize" not in status and process.read("maps") == b""):
        raise InputError(
            f"{name} is a thread of the kernel, which has no stacks in user space",
            f"its kernel stack: cat /proc/{process.pid}/stack",
        )


def no_access(process: Process, error: int) -> InputError:
    """Why a process cannot be traced or its memory not be read; `error` is an errno."""
    status = process.status()
    if not status:
        return InputError(f"process {process.pid} has ended meanwhile", "ps -e lists the processes")
    name = f"process {process.pid} ({status.get('Name', '?')})"
    tracer = tracer_of(status)
    if tracer:
        return InputError(
            f"{name} is already traced by {tracer}",
            "a process can have one tracer at a time: let that one detach first",
        )
    if is_unsupported(error):
        return InputError(
            f"{name} cannot be traced: this system has no PTRACE_SEIZE ({os.strerror(error)})",
            "make a core of it with gcore and give that",
        )
    return InputError(f"no permission to read {name}, {_owner(status)}", _permission_hint(status))


def tracer_of(status: dict[str, str]) -> str | None:
    """Who traces a thread, by the lines of its `status`, as "gdb (process 123)"."""
    tid = status.get("TracerPid", "0")
    if tid in ("0", ""):
        return None
    try:
        process = Process(int(tid))
    except (OSError, ValueError):
        return f"process {tid}"
    tracer = process.status()
    process.close()
    return f"{tracer.get('Name', '?')} (process {tracer.get('Tgid', tid)})"


def _owner(status: dict[str, str]) -> str:
    uid = (status.get("Uid", "").split() or ["?"])[0]
    try:
        import pwd

        return f"of user {pwd.getpwuid(int(uid)).pw_name}"
    except (ImportError, KeyError, ValueError):
        return f"of user id {uid}"


def _permission_hint(status: dict[str, str]) -> str:
    if os.geteuid() == 0:
        return (
            "even root needs the capability CAP_SYS_PTRACE here; in a container: "
            "docker run --cap-add SYS_PTRACE"
        )
    uids = set(status.get("Uid", "").split())
    if uids != {str(os.geteuid())}:
        return "run as that user or with sudo"
    try:
        with open(_PTRACE_SCOPE, encoding="ascii") as file:
            scope = file.read().strip()
    except OSError:
        scope = "0"
    if scope == "1":
        return "run with sudo: kernel.yama.ptrace_scope is 1, so that users may trace children only"
    if scope in ("2", "3"):
        who = "root alone may trace" if scope == "2" else "nobody may trace until the next boot"
        return f"kernel.yama.ptrace_scope is {scope}: {who}"
    return "run with sudo: the process is protected (it changed its user, or asked for it)"


def open_memory(process: Process) -> int:
    """A descriptor of the process's memory. Raises `InputError`."""
    try:
        return process.open("mem")
    except OSError as error:
        raise no_access(process, error.errno or 0) from None


def architecture(process: Process) -> Arch:
    """The architecture of the program that a process runs. Raises `InputError`."""
    try:
        descriptor = process.open("exe")
    except OSError as error:
        raise no_access(process, error.errno or 0) from None
    try:
        elf = Elf(os.pread(descriptor, 64, 0))
    except (OSError, FormatError):
        raise InputError(f"process {process.pid} runs something that is no ELF program") from None
    finally:
        os.close(descriptor)
    arch = architectures.by_machine(elf.machine, elf.elf_class)
    host = os.uname().machine
    if arch is None or arch.name not in architectures_of(host):
        name = architectures.machine_name(elf.machine, elf.elf_class)
        raise InputError(
            f"process {process.pid} runs a {name} program, which cannot be read live on {host}",
            f"supported are {architectures.SUPPORTED}, each on its own hosts",
        )
    return arch
