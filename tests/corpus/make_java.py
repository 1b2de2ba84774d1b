"""Makes the bundled recordings of Java on aarch64 anew.

    python -m tests.corpus.make_java

Java programs are run by Debian's OpenJDK under an arm64 kernel in qemu (`emulated`), recorded by
tests/programs/java_recorder.py, and reduced to what a walk reads. What Java said of its own threads
has to be what the walk says; and who had called whom at each single step.
"""

from __future__ import annotations

import lzma
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import unspool
from tests.oracle.test_java import compare
from tests.programs.build import check, run, tool
from tests.programs.java_steps import (
    Calls,
    Process,
    State,
    packed,
    read_states,
    told,
    unpacked,
)
from tests.programs.jvms import HERE as SOURCES
from tests.programs.jvms import oldest_jdk
from unspool.model import Stack
from unspool.targets.base import Target

from .emulated import root_of, run_emulated, unpacked_packages
from .reduce.names import unpack
from .reduce.reduction import Reduced, reduce

HERE = Path(__file__).parent / "java"
ROOT = Path("/var/tmp/unspool-java")
COMPILER = "aarch64-linux-gnu-gcc"
JVM = "usr/lib/jvm/java-17-openjdk-arm64"
# What the JVM and Python load. Debian's names.
PACKAGES = (
    "openjdk-17-jre-headless", "libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libffi8",
    "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libexpat1",
)  # fmt: skip
RECORDER = ("python3.11", "/java/java_recorder.py", f"/{JVM}/bin/java", "/java", "/runs")
# A state is kept for each place in the JVM's code; of places that many kinds of callers go
# through a few.
PER_PLACE, KINDS = 2, 3
# The tables that libjvm.so exports are found by these symbols.
DATA = {"libjvm.so": "gHotSpotVM"}


def main() -> None:
    shutil.rmtree(ROOT, ignore_errors=True)
    shutil.rmtree(HERE, ignore_errors=True)
    ROOT.mkdir()
    HERE.mkdir()
    root = root_of(ROOT, [], [])
    unpacked_packages(ROOT, PACKAGES, root)
    built(root / "java")
    made = run_emulated(ROOT, root, {"java": RECORDER})
    write(made, str(root))
    shutil.rmtree(ROOT)


def built(folder: Path) -> None:
    """The programs, compiled here, and what records them."""
    folder.mkdir()
    home = oldest_jdk().home
    sources = [SOURCES / f"{name}.java" for name in ("Stacks", "Mixed")]
    check(run([home / "bin" / "javac", "-g", "--release", "17", "-d", folder, *sources]))
    native = ["-O2", "-g", "-shared", "-fPIC", "-fomit-frame-pointer"]
    includes = [f"-I{home}/include", f"-I{home}/include/linux"]
    check(run([tool(COMPILER), *native, *includes, SOURCES / "stacks.c",
               "-o", folder / "libstacks.so"]))  # fmt: skip
    shutil.copy(SOURCES.parent / "java_recorder.py", folder)


def write(made: Path, sysroot: str) -> None:
    """Reduces and checks what was recorded."""
    core, text = made / "java.core", (made / "java.said").read_text()
    said, tids = told(text)
    with unspool.open(str(core), sysroot=sysroot) as target:
        states = list(chosen(target, read_states((made / "java.steps").read_bytes())))
    each = reduce(core, [], sysroot, more=lambda target: walks(target, states), data=DATA)
    assert compare(each.report, said, tids) > 250
    (HERE / "java.core.xz").write_bytes(each.core)
    (HERE / "java.names.tar.xz").write_bytes(each.names)
    steps = lzma.compress(packed(states), preset=9 | lzma.PRESET_EXTREME)
    (HERE / "java.steps.xz").write_bytes(steps)
    (HERE / "java.said").write_text(text)
    system = f"{(made / 'uname').read_text().strip()} in {emulator()}"
    (HERE / "PROVENANCE.toml").write_text(f"{HEADER}\n{describe(each, system)}")
    check_steps()


def chosen(target: Target, states: Iterator[State]) -> Iterator[State]:
    """A few states of each place in the JVM's code, with their callers."""
    process = Process(target)
    before = next(states)
    calls = Calls(process, tuple(frame.pc for frame in process.walk(before).frames[1:]))
    seen: dict[int, set[tuple[int, ...]]] = {}
    for state in states:
        calls.after(before, state)
        before = state
        kinds = seen.setdefault(state.pc, set())
        kind = calls.callers[:KINDS]
        if process.jvm(state.pc) is not None and kind not in kinds and len(kinds) < PER_PLACE:
            kinds.add(kind)
            yield State(state.registers, state.low, state.stack, calls.callers)
    # Not before all that the walk has said of the first state was returned to, or most of it.
    assert min(calls.kinds[each] for each in ("call", "return", "entry", "adapter")) > 10


def walks(target: Target, states: list[State]) -> list[Stack]:
    process = Process(target)
    memory = target.space.memory
    found = [process.walk(state) for state in states]
    target.space.memory = memory
    return found


def check_steps() -> None:
    """What is written tells the callers at each step."""
    states = list(unpacked(lzma.decompress((HERE / "java.steps.xz").read_bytes())))
    with (
        tempfile.TemporaryDirectory() as names,
        unspool.open(str(HERE / "java.core.xz"), symbols=[names]) as target,
    ):
        unpack(HERE / "java.names.tar.xz", Path(names))
        process = Process(target)
        for state in states:
            stack = process.walk(state)
            assert tuple(frame.pc for frame in stack.frames[1:]) == state.callers, hex(state.pc)


def emulator() -> str:
    return run([tool("qemu-system-aarch64"), "--version"]).stdout.splitlines()[0]


def describe(made: Reduced, system: str) -> str:
    return made.entry(
        'name = "java"',
        f'machine = "{system}"',
    )


HEADER = """\
# A core of Debian's OpenJDK 17 on aarch64 (bookworm), reduced to what a walk reads, with the names
# of native functions. Made by `python -m tests.corpus.make_java`.
#
# The program is tests/programs/java/Mixed.java, which starts the threads of Stacks.java: they wait
# in code of the interpreter, of C1 and C2, and in native methods. java.said is what Java itself
# said of them. java.steps.xz has states of the thread "mixed" from before the core, at single
# instructions, and who had called whom in each (tests/programs/java_steps.py).
#
# size      bytes of the core, unpacked
# excerpts  how many bytes of each module's code, headers and tables it holds that are not zero
#
# What is here of OpenJDK (https://openjdk.org, GPL-2 with the Classpath exception) and of Debian's
# glibc and libgcc (LGPL-2.1-or-later, and GPL-3 with the GCC runtime library exception) are
# headers, tables that describe code, names, some instructions around return addresses and rows of
# unwind tables.
"""

if __name__ == "__main__":
    main()
