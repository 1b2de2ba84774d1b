"""Have CPython 3.13 for the tests: ``python -m tests.cpython.install``, as root.

Debian 13's packages are unpacked, not installed, and run with their own C library.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.outside.debian import AMD64, download, unpack
from tests.outside.kept import Kept, install

HOME = Path(os.environ.get("UNSPOOL_CPYTHON", "/var/cache/unspool-cpython"))
PACKAGES = (
    *("python3.13-minimal:amd64", "libpython3.13-minimal:amd64", "libpython3.13-stdlib:amd64"),
    *("libc6:amd64", "libexpat1:amd64", "zlib1g:amd64"),
)
KEPT = Kept("CPython 3.13", HOME / "3.13", "tests.cpython.install", recipe="2")


def command() -> list[str]:
    """What runs it, but for its arguments. Raises Unavailable if it is not there."""
    usr = KEPT.need() / "usr"
    linker = str(usr / "lib64/ld-linux-x86-64.so.2")
    return [linker, "--library-path", str(usr / "lib" / AMD64), str(usr / "bin/python3.13")]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONHOME": str(KEPT.folder / "usr")}


def make(root: Path) -> None:
    for package in download("trixie", root.parent, PACKAGES):
        unpack(package, root)


if __name__ == "__main__":
    sys.exit(install((KEPT, make)))
