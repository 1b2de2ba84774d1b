"""Build programs/records.c, a program with good and bad exception records, with SafeSEH or not."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.programs.build import check, locked, run, tool

from .zoo import COMMON, SOURCES, Variant, Zoo

# Without optimisation locals stay where the source has them; -Wno: the bugs are meant.
FLAGS = ("-g", "-O0", "-fno-stack-protector", "-Wno-array-bounds", "-Wno-stringop-overflow")
LOAD_CONFIG = 10


def build_records(root: Path, *, safe_seh: bool) -> Zoo:
    """The program, built once a session below `root`; started with `run_zoo` like the zoo.

    Raises Unavailable with the reason when this machine cannot build it.
    """
    variant = Variant("safe-seh" if safe_seh else "no-table", FLAGS)
    zoo = Zoo(variant, "i686", root / f"records-{variant.name}")
    with locked(root / f"{zoo.folder.name}.lock"):
        if not zoo.executable.exists():
            zoo.folder.mkdir(exist_ok=True)
            new = zoo.folder / "new.exe"
            paths = f"-ffile-prefix-map={SOURCES}=tests/wine/programs"
            source = SOURCES / "records.c"
            compiler = tool("i686-w64-mingw32-gcc")
            check(run([compiler, *COMMON, *FLAGS, paths, "-static", source, "-o", new]))
            if safe_seh:
                add_load_config(new)
            new.rename(zoo.executable)
    return zoo


def add_load_config(path: Path) -> None:
    """Leads the header to `load_config`, which the linker does not know."""
    listed = run([tool("i686-w64-mingw32-nm"), path]).stdout.splitlines()
    address = next(int(line.split()[0], 16) for line in listed if line.endswith(" _load_config"))
    data = bytearray(path.read_bytes())
    optional = struct.unpack_from("<I", data, 60)[0] + 24
    image_base = struct.unpack_from("<I", data, optional + 28)[0]
    # 64 is what Windows XP wants to see there, whatever size the structure has.
    struct.pack_into("<II", data, optional + 96 + 8 * LOAD_CONFIG, address - image_base, 64)
    path.write_bytes(data)
