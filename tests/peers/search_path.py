"""Files that LLDB cannot find or read by itself, in a folder for its search path.

LLDB takes the modules of a minidump from the files that it names, or else from files of the same
base name on the search path. Three kinds need help:

- LLDB 14 loads no PE file for a process of Linux: objcopy makes ELF copies of them, with code,
  DWARF and CFI.
- A Windows path has no "/", so that all of it is the base name there.
- The vdso is in no file: it is copied out of the core.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from elftools.elf.elffile import ELFFile

from tests.programs.build import check, run, tool

VDSO = "linux-gate.so"
PE_FORMS = {"x86_64": ("pei-x86-64", "elf64-x86-64"), "i686": ("pei-i386", "elf32-i386")}
HEADERS = ".headers"


def add_windows_modules(
    folder: Path, names: Iterable[str], sources: Iterable[Path], machine: str
) -> None:
    """ELF copies of the files among `sources` that the modules `names` are of."""
    files = {source.name.lower(): source for source in sources}
    for name in names:
        source = files.get(name.replace("\\", "/").rpartition("/")[2].lower())
        if source is not None:
            elf_copy(source, folder / name.rpartition("/")[2], machine)


def elf_copy(source: Path, copy: Path, machine: str) -> None:
    """`source`, a PE file, as an ELF file whose first segment begins at the image's base."""
    pe_form, elf_form = PE_FORMS[machine]
    headers = copy.with_name(f"{source.name}{HEADERS}")
    headers.write_bytes(source.read_bytes()[:0x1000])
    done = run([tool("objdump"), "-p", source])
    base = next(line.split()[1] for line in done.stdout.splitlines() if "ImageBase" in line)
    options = ["-I", pe_form, "-O", elf_form, "--add-section", f"{HEADERS}={headers}"]
    options += ["--set-section-flags", f"{HEADERS}=alloc,load,readonly,contents"]
    # Without it LLDB takes the first section's address for the base.
    options += ["--change-section-address", f"{HEADERS}=0x{base}"]
    check(run([tool("objcopy"), *options, source, copy]))
    headers.unlink()


def add_vdso(folder: Path, core: Path, base: int) -> None:
    """The vdso, which the process has at `base`, if the core holds it."""
    with core.open("rb") as stream:
        for segment in ELFFile(stream).iter_segments("PT_LOAD"):
            header = segment.header
            if base == header.p_vaddr and header.p_filesz:
                (folder / VDSO).write_bytes(segment.data())
