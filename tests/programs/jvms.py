"""Java programs for tests, and the JVMs of this machine that they run in."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from .build import Unavailable, locked, run, tool
from .running import running

HERE = Path(__file__).parent / "java"
HOMES = Path("/usr/lib/jvm")

_NEWER = ("Virtual",)
# Some of their threads never sleep.
_RESTLESS = ("Busy", "Virtual")
# Little address space to reserve, so that cores are small.
SMALL = (
    "-Xmx64m", "-XX:ReservedCodeCacheSize=32m", "-XX:CompressedClassSpaceSize=16m", "-Xshare:auto",
)  # fmt: skip


@dataclass(frozen=True)
class Jdk:
    """A JDK: its directory and its version, 17."""

    home: Path
    version: int

    def tool(self, name: str) -> Path:
        return self.home / "bin" / name


@cache
def jdks() -> tuple[Jdk, ...]:
    """The JDKs of this machine with a compiler and a JVM of HotSpot, the oldest first."""
    found = {}
    for home in sorted(HOMES.glob("*")) if HOMES.is_dir() else ():
        about = home / "release"
        parts = ("bin/javac", "bin/jstack", "lib/server/libjvm.so", "include/jni.h")
        if not about.is_file() or not all((home / part).exists() for part in parts):
            continue
        match = re.search(r'JAVA_VERSION="(\d+)', about.read_text())
        if match:
            found[int(match[1])] = Jdk(home.resolve(), int(match[1]))
    return tuple(found[version] for version in sorted(found))


def oldest_jdk() -> Jdk:
    """Raises `Unavailable`."""
    if not jdks():
        raise Unavailable("no JDK is installed")
    return jdks()[0]


def newest_jdk(at_least: int) -> Jdk:
    """Raises `Unavailable` if it is older than that."""
    if not jdks() or jdks()[-1].version < at_least:
        raise Unavailable(f"no JDK of version {at_least} or newer is installed")
    return jdks()[-1]


def classes(root: Path) -> Path:
    """The directory with the compiled programs, for every version. Raises `Unavailable`."""
    made = root / "java"
    with locked(root / "java.lock"):
        if not (made / "done").exists():
            oldest = oldest_jdk()
            made.mkdir(exist_ok=True)
            sources = sorted(HERE.glob("*.java"))
            done = run([oldest.tool("javac"), "-g", "-d", made, *sources])
            if done.returncode:
                raise AssertionError(done.stderr)
            native = [tool("gcc"), "-O2", "-g", "-shared", "-fPIC", "-fomit-frame-pointer"]
            native += [f"-I{oldest.home}/include", f"-I{oldest.home}/include/linux"]
            done = run([*native, HERE / "stacks.c", "-o", made / "libstacks.so"])
            if done.returncode:
                raise AssertionError(done.stderr)
            (made / "done").touch()
    return made


def newer_classes(root: Path, made: Jdk) -> Path:
    """The directory with the compiled programs that need JDK 22 or newer."""
    classes(root)
    home = root / f"java-{made.version}"
    with locked(root / "java.lock"):
        if not home.exists():
            sources = sorted((HERE.parent / "java22").glob("*.java"))
            done = run([made.tool("javac"), "-g", "-d", home, *sources])
            if done.returncode:
                raise AssertionError(done.stderr)
    return home


EACH_JDK = pytest.mark.parametrize(
    "jdk",
    jdks() or [pytest.param(None, marks=pytest.mark.skip(reason="no JDK is installed"))],
    ids=lambda jdk: f"jdk{jdk.version}" if jdk else "",
)


@dataclass
class Said:
    """What Java said of its own threads: for each name its frames, innermost first.

    A frame is (method, file, line); the line is None for native methods.
    """

    threads: dict[str, list[tuple[str, str | None, int | None]]] = field(default_factory=dict)

    def read(self, lines: Sequence[str]) -> None:
        frames: list[tuple[str, str | None, int | None]] = []
        for text in lines:
            kind, _, rest = text.partition(" ")
            if kind == "thread":
                frames = self.threads.setdefault(rest, [])
            elif kind == "at":
                method, file, line = rest.split(" ")
                number = int(line)
                frames.append((method, None if file == "null" else file,
                               number if number > 0 else None))  # fmt: skip


@contextlib.contextmanager
def running_java(
    made: Jdk,
    root: Path,
    program: str,
    *arguments: object,
    options: Sequence[str] = (),
    cwd: Path | None = None,
) -> Iterator[tuple[subprocess.Popen[str], Said]]:
    """A program that has printed its threads and "ready". Raises `Unavailable`."""
    home = newer_classes(root, made) if program in _NEWER else classes(root)
    words = [str(each) for each in arguments]
    more = ["--enable-native-access=ALL-UNNAMED"] if made.version >= 22 else []
    command = [made.tool("java"), *SMALL, *options, *more, "-cp", home, program, *words]
    said: list[str] = []
    with running(
        command, before_ready=said, runs_on=program in _RESTLESS, stderr=subprocess.DEVNULL, cwd=cwd
    ) as process:
        found = Said()
        found.read(said)
        yield process, found


def thread_named(pid: int, name: str) -> int:
    """The id of the thread with a name, as the kernel has it: 15 letters."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            if (task / "comm").read_text().rstrip("\n") == name[:15]:
                return int(task.name)
    raise AssertionError(f"no thread {name}")
