"""Run programs/chains.c, a 32-bit program without unwind data, and have its core."""

from __future__ import annotations

from pathlib import Path

from tests.programs.build import Unavailable, check, run, tool
from tests.programs.cores import written_by_kernel

from .flavours import Flavour
from .prefixes import new_prefix
from .running import wait_until_settled
from .zoo import NO_TABLES, SOURCES

DEPTH = 8  # frames of `recurse`
FUNCTIONS = (
    "leaf", "plain", "popping", "fast", "variadic", *["recurse"] * DEPTH, "pointing", "growing",
    "aligning", "large", "start",
)  # fmt: skip

IMPORTS = "LIBRARY kernel32.dll\nEXPORTS\nGetStdHandle@4\nWriteFile@20\nSleep@4\nExitProcess@4\n"


def by_clang(folder: Path, *flags: str) -> Path:
    """The program as for MSVC: with FrameData in a PDB file, and no other unwind data."""
    source, made = SOURCES / "chains.c", folder / "chains.exe"
    clang, linker, importer = (tool(name) for name in ("clang", "lld-link", "llvm-dlltool"))
    (folder / "kernel32.def").write_text(IMPORTS)
    library, compiled = folder / "kernel32.lib", folder / "chains.obj"
    check(run([importer, "-m", "i386", "-k", "-d", folder / "kernel32.def", "-l", library]))
    target = ["--target=i686-pc-windows-msvc", "-g", "-gcodeview", "-mno-stack-arg-probe"]
    check(run([clang, *target, *flags, "-c", source, "-o", compiled]))
    link = ["/debug", "/nodefaultlib", "/entry:start", "/subsystem:console"]
    check(run([linker, *link, compiled, library, f"/out:{made}"]))
    return made


def by_gcc(folder: Path, *flags: str) -> Path:
    """The program by MinGW, without tables; its symbol table names the functions."""
    made = folder / "chains.exe"
    compiler = tool("i686-w64-mingw32-gcc")
    options = [*NO_TABLES, *flags, "-nostartfiles", "-e", "_start", "-fno-optimize-sibling-calls"]
    check(run([compiler, *options, SOURCES / "chains.c", "-o", made]))
    return made


def make_core(flavour: Flavour, program: Path, root: Path) -> Path:
    """A core of the program, waiting in `leaf`, beside the program.

    Raises Unavailable with the reason when this machine cannot make it.
    """
    with new_prefix(flavour, root) as prefix, prefix.start(program) as process:
        assert process.stdout
        if "placed" not in process.stdout.readline():
            raise Unavailable("the program does not run")
        wait_until_settled(prefix, process.pid)
        core = written_by_kernel(process.pid, prefix.folder)
        return core.rename(program.with_suffix(".core"))
