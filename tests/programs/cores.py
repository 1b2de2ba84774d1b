"""Make a real core of a program.

``kernel``            the kernel writes it when the program crashes
``kernel-anonymous``  with a core filter that leaves out every page of files, ELF headers too
``kernel-everything`` with a core filter that keeps all pages of files
``kernel-truncated``  with a size limit that its stack does not fit in
``gdb``               gdb runs the program and writes the core (notes last) where it crashes
``gcore``             gcore copies the live program after it said "ready"
``qemu``              qemu-user writes it when the program it runs crashes
``qemu-sve``          the same with a CPU whose signal frames hold records of vector state too

What qemu 7.2 writes differs from a kernel's core: there is no NT_FILE and no NT_SIGINFO note;
the auxiliary vector is there without AT_SYSINFO_EHDR; every read-only and every executable
mapping has a file size of 0, so that not even ELF headers are in the core and the libraries are
known from the dynamic linker's list alone. Registers and ids of all threads are right. The
kernel also writes a core, of qemu itself, which is of no interest here.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .build import Unavailable, build, check, locked, run, tool
from .running import eventually, has_ended, running
from .table import Program

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
CORE_PATTERN_LOCK = Path(f"/tmp/unspool-core-pattern.{os.getuid()}.lock")  # of all test runs
FILTERS = {"kernel": "0x33", "kernel-anonymous": "0x1", "kernel-everything": "0x7f"}
STACK = 4 << 20  # bytes; more than 100,000 frames of overflow.c
TRUNCATED = 192 * 1024
QEMU_CPUS = {"qemu": "max,sve=off,sme=off", "qemu-sve": "max"}
# The emulator and the cross compiler's libraries, by how a compiler of the table begins.
EMULATORS = {
    "aarch64": ("qemu-aarch64", "/usr/aarch64-linux-gnu"),
    "arm": ("qemu-arm", "/usr/arm-linux-gnueabihf"),
}
PATIENCE = 60  # seconds until a program that should crash counts as hanging


@dataclass(frozen=True)
class Core:
    program: Program
    kind: str
    path: Path
    executable: Path

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def sysroot(self) -> str | None:
        return self.emulator[1] if self.kind.startswith("qemu") else None

    @property
    def emulator(self) -> tuple[str, str]:
        return EMULATORS[self.program.compiler.partition("-")[0]]


def make_core(program: Program, kind: str, root: Path) -> Core:
    """A core of `program` in a folder of its own below `root`, made once a session.

    Raises Unavailable with the reason when this machine cannot make it.
    """
    original = build(program, root)
    folder = root / f"{program.name}.{kind}"
    core = Core(program, kind, folder / "core", original)
    with locked(root / f"{program.name}.{kind}.lock"):
        if not core.path.exists():
            folder.mkdir(exist_ok=True)
            executable = original
            if program.name == "deleted":
                executable = Path(shutil.copy2(original, folder / "deleted"))
            command = [str(executable), *arguments(program, original)]
            MAKERS[kind.partition("-")[0]](core, command)
    return core


def arguments(program: Program, executable: Path) -> list[str]:
    folder = executable.parent
    plugin = [str(folder / "plugin.so")] if program.plugin is not None else []
    made = [str(folder / "made.o")] if program.made is not None else []
    return [*plugin, *made, *program.arguments]


def crash(core: Core, command: list[str], coredump_filter: str) -> int:
    """Run `command` in the core's folder until it dies; its process id."""

    def prepare() -> None:
        allow_cores(coredump_filter, TRUNCATED if core.kind == "kernel-truncated" else None)
        resource.setrlimit(resource.RLIMIT_STACK, (STACK, STACK))

    process = subprocess.Popen(
        command,
        cwd=core.folder,
        env=dict(core.program.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=prepare,  # noqa: PLW1509 - limits and filters can be set in no other way
    )
    try:
        status = process.wait(PATIENCE)
    finally:
        process.kill()
    expected = getattr(signal, core.program.signal)
    assert status == -expected, f"{command[0]} ended with {status}, not by {core.program.signal}"
    return process.pid


def allow_cores(coredump_filter: str = FILTERS["kernel"], size: int | None = None) -> None:
    """In a child that runs a program then: its core may have that many bytes, None for any."""
    hard = hard_core_limit()
    resource.setrlimit(resource.RLIMIT_CORE, (hard if size is None else size, hard))
    Path("/proc/self/coredump_filter").write_text(coredump_filter)


def hard_core_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_CORE)[1]


def made_by_kernel(core: Core, command: list[str]) -> None:
    if hard_core_limit() == 0:
        raise Unavailable("cores are forbidden here (hard RLIMIT_CORE is 0)")
    with usable_core_pattern():
        crash(core, command, FILTERS.get(core.kind, FILTERS["kernel"]))
        written_core(core.folder).rename(core.path)


@contextlib.contextmanager
def usable_core_pattern() -> Iterator[None]:
    """Let cores go to the working directory; put the pattern back afterwards if it is changed."""
    with locked(CORE_PATTERN_LOCK):
        before = CORE_PATTERN.read_text()
        if before.startswith("core") and "/" not in before:
            yield
            return
        try:
            CORE_PATTERN.write_text("core")
        except OSError:
            reason = f"core_pattern is {before.strip()!r} and only root may change it"
            raise Unavailable(reason) from None
        try:
            yield
        finally:
            CORE_PATTERN.write_text(before)


def made_by_gdb(core: Core, command: list[str]) -> None:
    signals = "handle all nostop noprint pass"
    stop = f"handle {core.program.signal} stop"
    script = [signals, stop, "run", f"generate-core-file {core.path}", "kill"]
    steps = [part for line in script for part in ("-ex", line)]
    options = ["-batch", "-nx", "-iex", "set debuginfod enabled off", *steps]
    done = run([tool("gdb"), *options, "--args", *command], cwd=core.folder)
    if not core.path.exists():
        raise Unavailable(f"gdb wrote no core: {done.stderr.strip()[-300:]}")


def made_by_gcore(core: Core, command: list[str]) -> None:
    tool("gcore")
    with waiting(core.program, command, core.folder) as pid:
        made = written_by_gcore(pid, core.folder)
    made.rename(core.path)


def written_by_gcore(pid: int, folder: Path) -> Path:
    """A core of any process, which goes on: `folder`/core.PID.

    gdb writes zeros for all address space that is only reserved, gigabytes of it in Wine, Java
    and Wasmtime: holes are made of them. Raises Unavailable when there is no gcore or no core.
    """
    done = run([tool("gcore"), "-o", folder / "core", str(pid)])
    made = folder / f"core.{pid}"
    if not made.exists():
        raise Unavailable(f"gcore wrote no core: {done.stderr.strip()[-300:]}")
    check(run([tool("fallocate"), "--dig-holes", made]))
    return made


def written_by_kernel(pid: int, folder: Path) -> Path:
    """The same of any process whose working directory `folder` is, by a signal that ends it.

    Of reserved address space the kernel writes nothing, so that it is quick where gcore is not.
    Raises Unavailable where the kernel writes none.
    """
    allow_core(pid)
    with usable_core_pattern():
        os.kill(pid, signal.SIGXCPU)
        assert eventually(lambda: has_ended(pid), PATIENCE), f"process {pid} has not ended"
    return written_core(folder)


def written_core(folder: Path) -> Path:
    """What the kernel wrote into a folder. Raises Unavailable if that is nothing."""
    found = [path for path in folder.glob("core*") if path.stat().st_size]
    if not found:
        raise Unavailable("the kernel wrote no core")
    return found[0]


def allow_core(pid: int) -> None:
    """Lets a process have a core of any size. Raises Unavailable where it may have none."""
    if hard_core_limit() == 0:
        raise Unavailable("cores are forbidden here (hard RLIMIT_CORE is 0)")
    hard = resource.prlimit(pid, resource.RLIMIT_CORE)[1]
    resource.prlimit(pid, resource.RLIMIT_CORE, (hard, hard))


@contextlib.contextmanager
def waiting(program: Program, command: list[str], folder: Path) -> Iterator[int]:
    """The process id of a program of the table that waits instead of crashing."""
    with running([*command, "wait"], cwd=folder, env=dict(program.environment)) as process:
        yield process.pid


def made_by_qemu(core: Core, command: list[str]) -> None:
    name, sysroot = core.emulator
    cpu = ["-cpu", QEMU_CPUS[core.kind]] if name == "qemu-aarch64" else []
    emulator = [tool(name), *cpu, "-L", sysroot]
    pid = crash(core, [*emulator, *command], FILTERS["kernel-anonymous"])
    found = list(core.folder.glob(f"qemu_*_{pid}.core"))
    if not found:
        raise Unavailable(f"{name} wrote no core")
    found[0].rename(core.path)


MAKERS = {
    "kernel": made_by_kernel,
    "gdb": made_by_gdb,
    "gcore": made_by_gcore,
    "qemu": made_by_qemu,
}
