"""Compile a program of the table, once a test session, safely under several workers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from .table import Program

HERE = Path(__file__).parent
X86_HEADERS = "/usr/include/x86_64-linux-gnu"  # gcc-multilib's link, absent beside cross compilers


class Unavailable(Exception):
    """This machine cannot do it; the text is the reason for skipping."""


def run(command: Sequence[str | Path], **more: object) -> subprocess.CompletedProcess[str]:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [str(part) for part in command],
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
        **more,
    )  # type: ignore[call-overload]
    return done


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Exclude other processes for the time being; the lock file stays behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def tool(name: str) -> str:
    path = shutil.which(name)
    if not path:
        raise Unavailable(f"{name} is not installed")
    return path


@cache
def compiler_command(key: str) -> tuple[str, ...]:
    """The command of a compiler of the table. Raises Unavailable when it is absent."""
    if key == "gcc-m32":
        for headers in ((), ("-isystem", X86_HEADERS)):
            command = (tool("gcc"), "-m32", *headers)
            if not probe(command):
                return command
        raise Unavailable(f"gcc -m32 makes no programs here: {probe((tool('gcc'), '-m32'))}")
    names = {
        "aarch64-gcc": "aarch64-linux-gnu-gcc", "aarch64-g++": "aarch64-linux-gnu-g++",
        "arm-gcc": "arm-linux-gnueabihf-gcc", "arm-g++": "arm-linux-gnueabihf-g++",
    }  # fmt: skip
    return (tool(names.get(key, key)),)


@cache
def probe(command: tuple[str, ...]) -> str | None:
    """Why this compiler with these flags makes no program of a source that is surely right."""
    source = "#include <sys/prctl.h>\nint main() { return prctl(0); }\n"
    language = ["-x", "c++" if "++" in command[0] else "c"]
    if "rustc" in command[0]:
        source, language = "fn main() {}\n", []
    done = run([*command, *language, "-", "-o", os.devnull], input=source)
    return done.stderr.strip()[-300:] if done.returncode else None


def check_needs(program: Program) -> None:
    for need in program.needs:
        if need == "avx":
            if " avx " not in Path("/proc/cpuinfo").read_text():
                raise Unavailable("this CPU has no AVX")
        else:
            tool(need)


def build(program: Program, root: Path) -> Path:
    """The executable of `program`, in a folder of its own below `root`.

    Raises Unavailable with the reason when this machine cannot build it.
    """
    folder = root / program.name
    executable = folder / program.name
    done = folder / "built"
    with locked(root / f"{program.name}.lock"):
        if not done.exists():
            check_needs(program)
            folder.mkdir(exist_ok=True)
            compile_program(program, folder, executable)
            for step in program.steps:
                STEPS[step](executable)
            done.touch()
    return executable


def compile_program(program: Program, folder: Path, executable: Path) -> None:
    command = compiler_command(program.compiler)
    sources = [str(HERE / name) for name in (program.source, *program.more)]
    if program.plugin is not None:
        library = folder / "plugin.so"
        flags = [*program.plugin, "-shared", "-fPIC", str(HERE / "plugin.c")]
        check(run([*command, *flags, "-o", library]))
    if program.made is not None:
        flags = [*program.made, *neutral_paths(program.compiler), str(HERE / "made.c")]
        check(run([*command, *flags, "-o", folder / "made.o"], cwd=folder))
    if program.compiler == "go":
        settings = {"CGO_ENABLED": "0", "GOCACHE": str(folder / "cache"), "GO111MODULE": "off"}
        done = run([*command, "build", "-o", executable, *sources], env={**os.environ, **settings})
    else:
        flags = [*program.flags, *neutral_paths(program.compiler)]
        done = run([*command, *flags, *sources, "-o", executable], cwd=folder)
        if done.returncode and (why := probe((*command, *system_flags(program.flags)))):
            raise Unavailable(f"{' '.join(command)} {' '.join(program.flags)}: {why}")
    check(done)


def build_wasm(source: Path, binary: Path, *options: str) -> Path:
    """A WebAssembly module with debug information, of C.

    Compiled and linked apart: clang optimises a binary that it links once more, by binaryen's
    wasm-opt, if it has -O and finds that program, and wasm-opt leaves debug information out.
    """
    tool("wasm-ld")
    common = [tool("clang"), "--target=wasm32", "-nostdlib"]
    with_object = binary.with_suffix(".o")
    linking = [option for option in options if option.startswith("-Wl,")]
    compiling = [option for option in options if option not in linking]
    check(run([*common, "-g", "-O1", *compiling, "-c", source, "-o", with_object]))
    check(run([*common, "-Wl,--no-entry", *linking, with_object, "-o", binary]))
    return binary


def neutral_paths(compiler: str) -> list[str]:
    """Debug information that does not say where this checkout is."""
    return [] if compiler == "rustc" else [f"-ffile-prefix-map={HERE}=tests/programs"]


def system_flags(flags: tuple[str, ...]) -> tuple[str, ...]:
    """The flags whose failure is the machine's fault: all but those about our own source."""
    return tuple(flag for flag in flags if not flag.startswith("-D"))


def check(done: subprocess.CompletedProcess[str]) -> None:
    """A source of ours that does not build is a failure of the test, not a reason to skip."""
    assert done.returncode == 0, f"{done.args} failed: {done.stderr.strip()[-2000:]}"


def build_id(executable: Path) -> str:
    notes = run([tool("readelf"), "-n", executable]).stdout
    return notes.partition("Build ID:")[2].split()[0]


def split_debug(executable: Path, debug: Path) -> None:
    check(run([tool("objcopy"), "--only-keep-debug", executable, debug]))
    check(run([tool("strip"), executable]))


def add_debuglink(executable: Path) -> None:
    """Leave names and unwind tables in .debug/NAME.debug, where a debug link leads."""
    folder = executable.parent / ".debug"
    folder.mkdir(exist_ok=True)
    debug = folder / f"{executable.name}.debug"
    split_debug(executable, debug)
    check(run([tool("objcopy"), f"--add-gnu-debuglink={debug}", executable]))


def add_build_id_folder(executable: Path) -> None:
    """Leave them in symbols/.build-id/aa/bbbb….debug, with nothing that leads there."""
    name = build_id(executable)
    folder = executable.parent / "symbols" / ".build-id" / name[:2]
    folder.mkdir(parents=True, exist_ok=True)
    split_debug(executable, folder / f"{name[2:]}.debug")


def add_minidebug(executable: Path) -> None:
    """Leave only a compressed symbol table inside, the way Fedora ships its programs."""
    mini = executable.parent / "mini"
    check(run([tool("objcopy"), "--only-keep-debug", executable, mini]))
    check(run([tool("objcopy"), "--strip-debug", "--remove-section", ".comment", mini]))
    check(run([tool("xz"), "--force", mini]))
    check(run([tool("strip"), executable]))
    section = f".gnu_debugdata={mini}.xz"
    check(run([tool("objcopy"), "--add-section", section, executable]))


STEPS = {
    "debuglink": add_debuglink,
    "buildid": add_build_id_folder,
    "minidebug": add_minidebug,
}
