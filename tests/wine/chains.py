"""Run programs/chains.c, a 32-bit program without unwind data, and have its core."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.programs.build import Unavailable, check, run, tool

from .cores import made_by_kernel
from .flavours import Flavour, make_prefix
from .flavours import check as check_flavour
from .running import (
    Running,
    Thread,
    end_all,
    prepare,
    remove_server_folder,
    wait_until_settled,
)
from .zoo import NO_TABLES, SOURCES, VARIANTS, Zoo

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
    check_flavour(flavour, root)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=root))
    prefix, core = folder / "prefix", program.with_suffix(".core")
    inside = str(flavour.inside(prefix, root))
    try:
        make_prefix(flavour, prefix)
        with subprocess.Popen(
            flavour.command(folder, root, [str(flavour.inside(program, root))]),
            cwd=folder,
            env=flavour.environment(prefix, root),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509 - limits can be set in no other way
        ) as process:
            try:
                assert process.stdout
                if b"placed" not in process.stdout.readline():
                    raise Unavailable("the program does not run")
                zoo = Zoo(VARIANTS["bare"], flavour.machine, program.parent)
                threads = (Thread(process.pid, 0, "main", DEPTH, 0, True),)
                running = Running(flavour, zoo, threads, folder, inside)
                wait_until_settled(running, ())
                made_by_kernel(running, core)
            finally:
                process.kill()
    finally:
        end_all(inside)
        remove_server_folder(prefix)
        shutil.rmtree(folder)
    return core
