"""Windows DLLs for the tests of names, made on the spot: by MinGW with DWARF, by clang with PDB."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import Tool
from tests.unit.symbols.conftest import SOURCES, Run
from unspool.model import Module
from unspool.symbols.finders import DebugFiles
from unspool.symbols.pe.files import open_pe
from unspool.symbols.pe.module import PeModuleSymbols

BITS = {"x86_64": "entry", "i686": "_entry@12"}
BASE = 0x7B00_0000
SOURCE = SOURCES / "windows.cpp"
_FLAGS = ("-O2", "-fno-exceptions", "-fno-rtti", "-fno-stack-protector")


class Programs:
    """Makes each DLL once a session; a test that changes one takes a copy."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder = folder
        self.run = run

    def mingw(self, bits: str, *flags: str) -> Path:
        """`windows.cpp` by MinGW, not stripped."""
        out = self.folder / "-".join(("mingw", bits, *flags)) / "windows.dll"
        if not out.exists():
            out.parent.mkdir()
            self.run(
                f"{bits}-w64-mingw32-g++", *_FLAGS, "-shared", "-nostdlib", *flags,
                f"-Wl,-e,{BITS[bits]}", SOURCE, "-o", out,
            )  # fmt: skip
        return out

    def msvc(self, bits: str, *flags: str) -> Path:
        """`windows.cpp` by clang and lld, with windows.pdb beside it."""
        out = self.folder / "-".join(("msvc", bits, *flags)) / "windows.dll"
        if not out.exists():
            out.parent.mkdir()
            object_file = out.with_suffix(".obj")
            self.run(
                "clang", f"--target={bits}-pc-windows-msvc", "-g", "-gcodeview", *_FLAGS,
                "-c", SOURCE, "-o", object_file,
            )  # fmt: skip
            self.run(
                "lld-link", "/debug", "/dll", "/nodefaultlib", "/entry:entry", *flags,
                object_file, f"/out:{out}", f"/pdb:{out.with_suffix('.pdb')}",
            )  # fmt: skip
        return out

    def split(self, bits: str, folder: Path, *, link: bool = True) -> tuple[Path, Path]:
        """A stripped copy in `folder`, and its debug file beside it."""
        whole = self.mingw(bits, "-g")
        program, debug = folder / "windows.dll", folder / "windows.debug"
        folder.mkdir(parents=True, exist_ok=True)
        objcopy = f"{bits}-w64-mingw32-objcopy"
        self.run(objcopy, "--only-keep-debug", whole, debug)
        self.run(objcopy, "--strip-all", whole, program)
        if link:
            self.run(objcopy, f"--add-gnu-debuglink={debug}", program)
        return program, debug


def module_of(path: Path, base: int = BASE) -> Module:
    """A module as a target makes it of a file mapped at `base`."""
    pe = open_pe(str(path))
    assert pe is not None
    codeview = pe.codeview()
    return Module(
        0, path.name, base, base + pe.size_of_image, kind="pe", bias=base - pe.image_base,
        path=str(path), file=str(path), code_id=pe.code_id,
        debug_id=codeview.debug_id if codeview else None,
    )  # fmt: skip


def symbols_of(
    path: Path, symbols: tuple[Path, ...] = (), *, lines: bool = True, module: Module | None = None
) -> PeModuleSymbols:
    files = DebugFiles([str(each) for each in symbols], system_root=str(path.parent / "nowhere"))
    return PeModuleSymbols(module or module_of(path), None, files, lines=lines)


def calls_in(path: Path, bits: str, tool: Tool) -> list[int]:
    """The RVAs of all call instructions."""
    pe = open_pe(str(path))
    assert pe is not None
    listing = tool(f"{bits}-w64-mingw32-objdump", "-d", "--no-show-raw-insn", path)
    found = re.findall(r"^\s*([0-9a-f]+):\s+call", listing, re.MULTILINE)
    return [int(each, 16) - pe.image_base for each in found]


def function_at(symbols: PeModuleSymbols, rva: int) -> str | None:
    """The function as a report names it."""
    from unspool.symbols.demangle import function_name

    found = symbols.lookup(BASE + rva)
    return function_name(found[0]) if found else None
