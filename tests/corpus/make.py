"""Makes the bundled cores anew, with the compilers, kernel and emulator of this machine.

    python -m tests.corpus.make

Every core comes from a program of tests/programs that needs no C library. Before it is taken,
the source's list of functions and gdb's frames must agree; PROVENANCE.toml then records both.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
from pathlib import Path

import zstandard

from tests.oracle.names import plain
from tests.oracle.peers import Frames, Threads, ask_gdb
from tests.programs.build import run
from tests.programs.cores import Core, make_core
from tests.programs.table import BY_NAME, Program

HERE = Path(__file__).parent
ROOT = Path("/tmp/unspool-corpus")  # its name is in the cores
CHOSEN = (
    ("tiny-chain", "kernel"),
    ("tiny-chain", "kernel-anonymous"),
    ("tiny-minidebug", "kernel"),
    ("tiny-m32", "kernel"),
    ("tiny-threads", "kernel"),
    ("tiny-threads", "gcore"),
    ("tiny-signal", "kernel"),
    ("tiny-expression", "kernel"),
    ("tiny-deep", "kernel"),
    ("tiny-truncated", "kernel-truncated"),
    ("tiny-aarch64-pac", "qemu"),
    ("tiny-signal-aarch64", "qemu"),
    ("tiny-arm", "qemu"),
    ("tiny-signal-arm", "qemu"),
)
LONGEST = 8  # frames written down; of a deeper stack the first ones


def main() -> None:
    shutil.rmtree(ROOT, ignore_errors=True)
    ROOT.mkdir()
    text = [HEADER]
    for name, kind in CHOSEN:
        core = make_core(BY_NAME[name], kind, ROOT)
        pack(core.executable, HERE / f"{name}.exe.zst")
        pack(core.path, HERE / f"{name}.{kind}.core.zst")
        text.append(describe(core))
    (HERE / "PROVENANCE.toml").write_text("\n".join(text))
    shutil.rmtree(ROOT)


def pack(source: Path, target: Path) -> None:
    data = source.read_bytes()
    target.write_bytes(zstandard.ZstdCompressor(level=19, write_checksum=True).compress(data))


def describe(core: Core) -> str:
    program, threads = core.program, ask_gdb(core)
    flags = " ".join(program.flags)
    sources = ", ".join(f'"tests/programs/{s}"' for s in (program.source, *program.more))
    lines = [
        "[[core]]",
        f'name = "{program.name}.{core.kind}"',
        f'executable = "{program.name}"',
        f"sources = [{sources}]",
        f'compiler = "{version(program.compiler)}"',
        f'flags = "{flags}"',
        f'made = "{made(core)}"',
        f'machine = "{machine(core)}"',
        f'sha256 = "{hashlib.sha256(core.path.read_bytes()).hexdigest()}"',
        f'signal = "{program.signal if core.kind != "gcore" else ""}"',
        f"complete = {str(program.root).lower()}",
        f"count = {count(program, threads)}",
    ]
    for tid, frames in threads.items():
        lines += thread(core, tid, frames)
    return "\n".join([*lines, ""])


def count(program: Program, threads: Threads) -> int:
    """How many frames the crashed thread has; a signal trampoline need not be a function."""
    known = max(len(program.ours), program.repeats)
    # gdb need not get past a trampoline of the kernel's, which the source does not know.
    known += program.name == "tiny-signal-arm"
    return known if len(threads) > 1 else max(known, *(len(f) for f in threads.values()))


def thread(core: Core, tid: int, frames: Frames) -> list[str]:
    """One thread's frames: gdb's, which must have the functions that the source says."""
    frames = frames[:LONGEST]
    if core.program.name.endswith("pac"):
        # gdb 13 stops at the first authenticated return address of a core without a mask note:
        # the rest is as the source says, its addresses left open.
        frames += [(0, name) for name in core.program.ours[len(frames) :]]
    # A frame without a name is a signal frame, or made code.
    names = [plain(name) for _, name in frames if name]
    stacks = [core.program.ours, core.program.waiting, *core.program.others]
    known = [[name for name in stack if name != "__restore_rt"] for stack in stacks]
    if not core.program.repeats:
        assert names in [stack[: len(names)] for stack in known], (core, names)
    shown = [
        f'  ["{pc:#x}", "{name or ""}"],' if pc else f'  ["", "{name}"],' for pc, name in frames
    ]
    return ["", "[[core.thread]]", f"tid = {tid}", "frames = [", *shown, "]"]


def version(compiler: str) -> str:
    names = {
        "aarch64-gcc": "aarch64-linux-gnu-gcc", "arm-gcc": "arm-linux-gnueabihf-gcc",
        "gcc-m32": "gcc",
    }  # fmt: skip
    command = names.get(compiler, compiler)
    suffix = " -m32" if compiler == "gcc-m32" else ""
    return run([command, "--version"]).stdout.splitlines()[0] + suffix


def made(core: Core) -> str:
    if core.kind == "qemu" and core.emulator[0] == "qemu-arm":
        return "by qemu-arm when the program crashed"
    return MADE[core.kind]


def machine(core: Core) -> str:
    if core.kind == "qemu":
        return run([core.emulator[0], "--version"]).stdout.splitlines()[0]
    gdb = f", {run(['gdb', '--version']).stdout.splitlines()[0]}" if core.kind == "gcore" else ""
    return f"Linux {platform.release()}{gdb}"


MADE = {
    "kernel": "by the kernel when the program crashed",
    "kernel-anonymous": "by the kernel, coredump_filter 0x1: no page of any file, no ELF header",
    "kernel-truncated": "by the kernel, cut off by RLIMIT_CORE in the middle of the stack",
    "gcore": "by gcore from the waiting program",
    "qemu": "by qemu-aarch64 -cpu max,sve=off,sme=off when the program crashed",
}
HEADER = """\
# Real cores small enough to be kept here, each with its executable, and their stacks.
# Made by `python -m tests.corpus.make`: functions as the source has them, addresses as gdb says.
#
# complete  whether the stacks reach their roots; count  how many frames the crashed thread has
# (at least, if not complete); frames  [pc, function], the first eight, "" where it is left open
"""

if __name__ == "__main__":
    main()
