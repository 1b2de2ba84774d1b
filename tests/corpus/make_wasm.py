"""Makes the bundled cores of Wasmtime hosts anew, of several versions and two CPUs.

    python -m tests.corpus.make_wasm
    python -m tests.corpus.make_wasm stacks   # only what is recorded of their stacks

Each is of tests/programs/wasm_host.c with the library of a package `wasmtime` from PyPI. The
runtime itself said what Wasm frames there were; the walk of the whole core has to say the same
before it is reduced to what a walk reads (tests/corpus/reduce). Cores of aarch64 are from a
kernel of that CPU in qemu (`emulated`): that needs Debian's cross compiler, qemu-system-arm and
its package registry.
"""

from __future__ import annotations

import json
import lzma
import platform
import shutil
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import unspool
from tests.programs.build import check, run, tool
from tests.programs.cores import usable_core_pattern
from tests.programs.wasm_hosts import FLAGS, build_host, build_steps, crash, expected, told
from unspool.model import Report

from .emulated import root_of, run_emulated
from .make_wine import written
from .reduce.golden import summary_of
from .reduce.names import unpack
from .reduce.reduction import Reduced, reduce

HERE = Path(__file__).parent / "wasm"
ROOT = Path("/tmp/unspool-corpus")  # its name is in the cores
NEWEST = "50.0.1"
PLATFORMS = {"x86_64": "manylinux1_x86_64", "aarch64": "manylinux2014_aarch64"}
COMPILERS = {"x86_64": "gcc", "aarch64": "aarch64-linux-gnu-gcc"}


@dataclass(frozen=True)
class Run:
    """A host's arguments; `name` says what it is for."""

    name: str
    machine: str
    arguments: tuple[str, ...]
    version: str = NEWEST

    @property
    def stepped(self) -> bool:
        """Whether the host is run step by step, and each step in Wasm code is recorded."""
        return "end=tour" in self.arguments

    def command(self, host: str, steps: str) -> list[str]:
        first = [steps, f"{self.name}.steps"] if self.stepped else []
        return [*first, host, *self.arguments]

    @property
    def core(self) -> str:
        return f"wasmtime-{self.version.partition('.')[0]}-{self.machine}-{self.name}"


RUNS = (
    Run("levels", "aarch64", ("depth=3", "skip=2", "threads=2", "spin=1")),
    Run("signed", "aarch64", ("depth=2", "threads=1", "flags=sign")),
    Run("bare", "aarch64", ("depth=2", "skip=1", "flags=bare", "end=segv")),
    Run("trap", "aarch64", ("depth=1", "end=unreachable")),
    Run("bounds", "aarch64", ("depth=1", "end=bounds", "flags=bare")),
    Run("fiber", "aarch64", ("depth=1", "move=1")),
    Run("steps", "aarch64", ("depth=1", "end=tour")),
    Run("steps-signed", "aarch64", ("depth=1", "end=tour", "flags=sign")),
    Run("steps-bare", "aarch64", ("depth=1", "end=tour", "flags=bare")),
    Run("levels", "x86_64", ("depth=3", "skip=2", "threads=2", "spin=1")),
    Run("trap", "x86_64", ("depth=1", "end=division")),
    Run("fiber", "x86_64", ("depth=1", "move=1")),
    Run("steps", "x86_64", ("depth=1", "end=tour")),
    Run("steps-bare", "x86_64", ("depth=1", "end=tour", "flags=bare"), "24.0.0"),
    Run("levels", "x86_64", ("depth=3", "skip=2", "threads=2", "spin=1"), "36.0.0"),
    Run("bare", "x86_64", ("depth=1", "end=bounds", "flags=bare"), "36.0.0"),
    Run("levels", "x86_64", ("depth=3", "skip=2", "threads=2", "spin=1"), "24.0.0"),
    Run("levels", "x86_64", ("depth=3", "threads=2", "spin=1"), "20.0.0"),
)


def main() -> None:
    shutil.rmtree(ROOT, ignore_errors=True)
    shutil.rmtree(HERE, ignore_errors=True)
    ROOT.mkdir()
    HERE.mkdir()
    text = [HEADER]
    for version, machine in sorted({(each.version, each.machine) for each in RUNS}, reverse=True):
        runs = [each for each in RUNS if (each.version, each.machine) == (version, machine)]
        folder = ROOT / f"{version}-{machine}"
        folder.mkdir()
        library = library_of(version, machine, folder)
        make = emulated if machine == "aarch64" else native
        made, sysroot, system = make(folder, library, runs)
        text += [recorded(each, made, sysroot, system) for each in runs]
    (HERE / "PROVENANCE.toml").write_text("\n".join(text))
    shutil.rmtree(ROOT)


def library_of(version: str, machine: str, folder: Path) -> Path:
    """The library of the package for a machine."""
    options = ["--only-binary=:all:", "--no-deps", "--platform", PLATFORMS[machine]]
    command = [sys.executable, "-m", "pip", "download", *options, f"wasmtime=={version}"]
    check(run(command, cwd=folder))
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".so"))
        return Path(archive.extract(name, folder))


def emulated(folder: Path, library: Path, runs: list[Run]) -> tuple[Path, str | None, str]:
    """The folder with cores and what was said, the directory of their files, the system."""
    host = build_host(folder / "build", library, COMPILERS["aarch64"], "/lib")
    steps = build_steps(folder / "build", COMPILERS["aarch64"])
    root = root_of(folder, [host, steps], [library])
    commands = {each.name: each.command("/bin/wasm_host", "/bin/wasm_steps") for each in runs}
    made = run_emulated(folder, root, commands)
    version = run([tool("qemu-system-aarch64"), "--version"]).stdout.splitlines()[0]
    return made, str(root), f"{(made / 'uname').read_text().strip()} in {version}"


def native(folder: Path, library: Path, runs: list[Run]) -> tuple[Path, str | None, str]:
    host = str(build_host(folder / "build", library))
    steps = str(build_steps(folder / "build"))
    with usable_core_pattern():
        for each in runs:
            said = crash(each.command(host, steps), folder)
            (folder / f"{each.name}.said").write_text(said)
            (folder / "core").rename(folder / f"{each.name}.core")
    return folder, None, f"Linux {platform.release()}"


def recorded(each: Run, folder: Path, sysroot: str | None, system: str) -> str:
    """Writes a core, the names of its functions and its stacks; what PROVENANCE.toml says."""
    made = reduce(folder / f"{each.name}.core", [], sysroot)
    said = (folder / f"{each.name}.said").read_text()
    assert_as_told(each, made.report, said)
    (HERE / f"{each.core}.core.xz").write_bytes(made.core)
    (HERE / f"{each.core}.names.tar.xz").write_bytes(made.names)
    if each.stepped:
        steps = lzma.compress((folder / f"{each.name}.steps").read_bytes(), preset=9)
        (HERE / f"{each.core}.steps.xz").write_bytes(steps)
    lines = [json.loads(line) for line in said.splitlines() if line.startswith('{"tid"')]
    (HERE / f"{each.core}.json").write_text(written({"told": lines, **summary_of(made.report)}))
    return describe(each, made, system)


def renew_stacks() -> None:
    """Writes down the stacks of the cores as they are: for changes of words."""
    for core in sorted(HERE.glob("*.core.xz")):
        path = HERE / f"{core.name.removesuffix('.core.xz')}.json"
        lines = json.loads(path.read_text())["told"]
        with tempfile.TemporaryDirectory() as names:
            unpack(core.with_name(core.name.replace(".core.xz", ".names.tar.xz")), Path(names))
            with unspool.open(str(core), symbols=[names]) as target:
                path.write_text(written({"told": lines, **summary_of(unspool.unwind(target))}))


def assert_as_told(each: Run, report: Report, said: str) -> None:
    """The runtime's own list of each thread is the walk's, and what the source says."""
    stacks = {stack.tid: stack for stack in report.stacks}
    for tid, own in told(said).items():
        found = [
            (place.function, place.wasm_offset)
            for place in (report.location(stacks[tid], i) for i in range(len(stacks[tid].frames)))
            if place is not None and place.wasm_offset is not None
        ]
        names = [(f.function or f"<wasm function {f.index}>", f.offset) for f in own.frames]
        # A fiber that goes on in another thread was begun in the one that spoke.
        assert found == names or "move=1" in each.arguments, (each, found, names)
        activations = expected(own.depth, own.skip, begun="move=1" in each.arguments)
        functions = [function for group in activations for function in group]
        assert [f.function for f in own.frames if f.function[:4] != "fail"] == functions, each
    assert all(stack.stop.reason == "root" for stack in report.stacks), each


def describe(each: Run, made: Reduced, system: str) -> str:
    compiler = run([COMPILERS[each.machine], "--version"]).stdout.splitlines()[0]
    return made.entry(
        f'name = "{each.core}"',
        f'wasmtime = "{each.version}"',
        f'arguments = "{" ".join(each.arguments)}"',
        f'compiler = "{compiler}"',
        f'flags = "{" ".join(FLAGS[:-1])}"',
        f'machine = "{system}"',
    )


HEADER = """\
# Cores of Wasmtime hosts, reduced to what a walk reads, with the names of their functions.
# Made by `python -m tests.corpus.make_wasm`; their stacks are in the .json files, under "told"
# as the runtime itself said them: [module, function, its index, offset in the Wasm binary,
# offset in the function]. Files .steps.xz have states of the same process from before the core:
# at each instruction of Wasm code its registers, its stack and its callers (wasm_steps.c).
#
# size      bytes of the core, unpacked
# excerpts  how many bytes of each module's code, headers and tables it holds that are not zero
#
# The host is tests/programs/wasm_host.c, the code images are what Wasmtime has made of the Wasm
# in it. What is here of Wasmtime itself (https://github.com/bytecodealliance/wasmtime, Apache-2.0
# with the LLVM exception, as in the packages on PyPI) and of Debian's glibc and libgcc (bookworm;
# LGPL-2.1-or-later, and GPL-3 with the GCC runtime library exception) are headers, some
# instructions around return addresses and rows of unwind tables. The files of names hold no code.
"""

if __name__ == "__main__":
    if sys.argv[1:] == ["stacks"]:
        renew_stacks()
    else:
        main()
