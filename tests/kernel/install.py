"""Have Debian's kernel modules for the tests: ``python -m tests.kernel.install``.

The kernel for clouds is the smallest one, 27 MB; it is unpacked, not installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.outside.debian import apt_get, unpack
from tests.outside.kept import Kept, install
from tests.programs.build import Unavailable, tool

HOME = Path(os.environ.get("UNSPOOL_KERNEL", "/var/cache/unspool-kernel"))
META = "linux-image-cloud-amd64"
KEPT = Kept("Debian's kernel", HOME / "modules", "tests.kernel.install", recipe="1")
# They are 1,121 in the kernel 6.1, and each release has more.
FEWEST = 500


def kernel_modules() -> list[Path]:
    """All modules, by name. Raises Unavailable with the reason when they are not there."""
    return modules_in(KEPT.need())


def modules_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.ko*"), key=lambda path: (path.name, str(path)))


def image_of(depends: str) -> str:
    """The package with the kernel, by what `apt-cache depends` says of the one that follows it."""
    for line in depends.splitlines():
        kind, _, name = line.strip().partition("Depends: ")
        if not kind and name.startswith("linux-image-"):
            return name
    raise Unavailable(f"apt knows no {META}: run apt-get update")


def make(root: Path) -> None:
    """The modules of this machine's release, which are in /lib or in /usr/lib of the package."""
    query = [tool("apt-cache"), "depends", META]
    done = subprocess.run(query, capture_output=True, text=True, timeout=60, check=False)
    name = image_of(done.stdout)
    if problem := apt_get(["download", name], root.parent):
        raise Unavailable(f"{name} cannot be downloaded: {problem}")
    (package,) = root.parent.glob("*.deb")
    unpack(package, root, ["*.ko*"])
    if len(modules_in(root)) < FEWEST:
        raise Unavailable(f"{package.name} has but {len(modules_in(root))} modules")


if __name__ == "__main__":
    sys.exit(install((KEPT, make)))
