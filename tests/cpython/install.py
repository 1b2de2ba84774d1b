"""Have CPython 3.13 for the tests: ``python -m tests.cpython.install``, as root.

Debian 13's packages are unpacked, not installed, and run with their own C library; apt-get
downloads them as it does Wine's, see `tests.wine.install`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.programs.build import Unavailable, locked
from tests.wine.install import AMD64, Release, download, unpack

HOME = Path(os.environ.get("UNSPOOL_CPYTHON", "/var/cache/unspool-cpython"))
RECIPE = "2"  # changes when what is unpacked does


PYTHON = Release("3.13", "trixie")
PACKAGES = (
    *("python3.13-minimal:amd64", "libpython3.13-minimal:amd64", "libpython3.13-stdlib:amd64"),
    *("libc6:amd64", "libexpat1:amd64", "zlib1g:amd64"),
)
ROOT = HOME / PYTHON.version


def command() -> list[str]:
    """What runs it, but for its arguments. Raises Unavailable if it is not there."""
    if not installed():
        raise Unavailable("CPython 3.13 is absent: run python -m tests.cpython.install")
    linker = ROOT / "usr/lib64/ld-linux-x86-64.so.2"
    return [str(linker), "--library-path", str(ROOT / "usr/lib" / AMD64),
            str(ROOT / "usr/bin/python3.13")]  # fmt: skip


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONHOME": str(ROOT / "usr")}


def installed() -> bool:
    stamp = ROOT / "complete"
    return stamp.is_file() and stamp.read_text() == RECIPE


def install() -> None:
    """Unpack it unless it is there. Raises Unavailable with the reason if that fails."""
    try:
        with locked(HOME / "lock"):
            if installed():
                return
            with tempfile.TemporaryDirectory(dir=HOME) as folder:
                root = Path(folder) / "root"
                root.mkdir()
                for package in download(PYTHON, Path(folder), PACKAGES):
                    unpack(package, root)
                (root / "complete").write_text(RECIPE)
                if ROOT.exists():
                    shutil.rmtree(ROOT)
                root.chmod(0o755)
                root.rename(ROOT)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"CPython 3.13 cannot be unpacked: {error}") from None


def main() -> int:
    try:
        install()
    except Unavailable as error:
        print(f"{error}; tests that need it are skipped", file=sys.stderr)
        return 1
    print(f"CPython 3.13 is in {ROOT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
