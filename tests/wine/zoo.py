"""Build the zoo, a Windows program with a thread for each scenario: programs/zoo.c."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.programs.build import check, locked, run, tool

from .flavours import Flavour

SOURCES = Path(__file__).parent / "programs"
C_SOURCES = ("zoo.c", "waits.c", "callbacks.c", "faults.c")
# Every call a frame: none of them jumps.
COMMON = ("-Wall", "-Wextra", "-Werror", "-fno-optimize-sibling-calls")
NO_TABLES = ("-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-exceptions")


@dataclass(frozen=True)
class Variant:
    """How the zoo is compiled."""

    name: str
    flags: tuple[str, ...]
    link: tuple[str, ...] = ()
    throws: bool = True  # C++ exceptions need tables
    machines: tuple[str, ...] = ("x86_64", "i686")


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("O0", ("-g", "-O0")),
        Variant("O2", ("-g", "-O2", "-fomit-frame-pointer")),
        # Sections that are aligned to pages are mapped from the file; others Wine copies.
        Variant("fp", ("-g", "-O2", "-fno-omit-frame-pointer"), ("-Wl,--file-alignment=4096",)),
        # Names are in a PDB file in another folder, or nowhere.
        # Split-off cold parts of functions would have no names there.
        Variant(
            "stripped",
            ("-O2", "-fomit-frame-pointer", "-fno-reorder-blocks-and-partition"),
            ("-s", "-Wl,--pdb=zoo.pdb"),
        ),
        # Neither .eh_frame nor .debug_frame: frame pointers alone, or not even those.
        Variant("bare-fp", ("-O2", "-fno-omit-frame-pointer", *NO_TABLES), (), False, ("i686",)),
        Variant("bare", ("-O2", "-fomit-frame-pointer", *NO_TABLES), (), False, ("i686",)),
    )
}


@dataclass(frozen=True)
class Zoo:
    """A program that was built."""

    variant: Variant
    machine: str
    folder: Path

    @property
    def executable(self) -> Path:
        return self.folder / "zoo.exe"

    @property
    def debugger(self) -> Path:
        return self.folder / "debugger.exe"

    @property
    def symbols(self) -> Path:
        """A folder with what names the program's functions, for the variant `stripped`."""
        return self.folder / "symbols"


def build(flavour: Flavour, variant: Variant, root: Path) -> Zoo:
    """The zoo for `flavour`, built once a session below `root`.

    Raises Unavailable with the reason when this machine cannot build it.
    """
    assert flavour.machine in variant.machines
    zoo = Zoo(variant, flavour.machine, root / f"{flavour.machine}-{variant.name}")
    with locked(root / f"{zoo.folder.name}.lock"):
        done = zoo.folder / "built"
        if not done.exists():
            zoo.folder.mkdir(exist_ok=True)
            compile_zoo(zoo)
            build_helpers(flavour, zoo.folder)
            done.touch()
    return zoo


def compile_zoo(zoo: Zoo) -> None:
    compiler = tool(f"{zoo.machine}-w64-mingw32-gcc")
    linker = tool(f"{zoo.machine}-w64-mingw32-g++")
    paths = f"-ffile-prefix-map={SOURCES}=tests/wine/programs"
    flags = [*COMMON, *zoo.variant.flags, paths]
    if not zoo.variant.throws:
        flags.append("-DNO_THROWS")
    sources = [SOURCES / name for name in C_SOURCES]
    check(run([compiler, *flags, "-c", *sources], cwd=zoo.folder))
    objects = sorted(zoo.folder.glob("*.o"))
    more = [SOURCES / "throws.cpp"] if zoo.variant.throws else []
    options = ["-static", *zoo.variant.link, "-o", zoo.executable]
    check(run([linker, *flags, *objects, *more, *options], cwd=zoo.folder))
    for path in objects:
        path.unlink()
    zoo.symbols.mkdir()
    for path in zoo.folder.glob("*.pdb"):
        path.rename(zoo.symbols / path.name)


def build_helpers(flavour: Flavour, folder: Path) -> None:
    """What some scenarios need: a library of the Unix side's width, and a debugger."""
    width = "-m32" if flavour.machine == "i686" else "-m64"
    flags = ["-shared", "-fPIC", "-O1", "-g", "-nostdlib", width]
    check(run([tool("gcc"), *flags, SOURCES / "blocker.c", "-o", folder / "blocker.so"]))
    compiler = tool(f"{flavour.machine}-w64-mingw32-gcc")
    source, program = SOURCES / "debugger.c", folder / "debugger.exe"
    check(run([compiler, *COMMON, "-O1", source, "-o", program]))
