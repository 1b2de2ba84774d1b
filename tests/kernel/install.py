"""Have Debian's kernel modules for the tests: ``python -m tests.kernel.install``.

The kernel for clouds is the smallest one, 27 MB. ``apt-get`` downloads it with this machine's
own lists and settings and checks its signature; it is unpacked, not installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.programs.build import Unavailable, locked, tool

HOME = Path(os.environ.get("UNSPOOL_KERNEL", "/var/cache/unspool-kernel"))
META = "linux-image-cloud-amd64"
MODULES = HOME / "modules"
# They are 1,121 in the kernel 6.1, and each release has more.
FEWEST = 500


def kernel_modules() -> list[Path]:
    """All modules, by name. Raises Unavailable with the reason when they are not there."""
    found = sorted(MODULES.rglob("*.ko*"), key=lambda path: (path.name, str(path)))
    if len(found) < FEWEST:
        raise Unavailable("kernel modules are absent: run python -m tests.kernel.install")
    return found


def install() -> str:
    """Unpack the modules unless they are there; gives the package's name."""
    try:
        with locked(HOME / "modules.lock"):
            stamp = HOME / "complete"
            if stamp.is_file():
                return stamp.read_text()
            with tempfile.TemporaryDirectory(dir=HOME) as folder:
                package = download(Path(folder))
                unpack(package, Path(folder) / "root")
                shutil.rmtree(MODULES, ignore_errors=True)
                (Path(folder) / "root").rename(MODULES)
            kernel_modules()
            stamp.write_text(package.name)
            return package.name
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"kernel modules cannot be unpacked: {error}") from None


def image_of(depends: str) -> str:
    """The package with the kernel, by what `apt-cache depends` says of the one that follows it."""
    for line in depends.splitlines():
        kind, _, name = line.strip().partition("Depends: ")
        if not kind and name.startswith("linux-image-"):
            return name
    raise Unavailable(f"apt knows no {META}: run apt-get update")


def download(folder: Path) -> Path:
    query = [tool("apt-cache"), "depends", META]
    done = subprocess.run(query, capture_output=True, text=True, timeout=60, check=False)
    name = image_of(done.stdout)
    # Its own user could not write here.
    command = [tool("apt-get"), "-q", "-o", "APT::Sandbox::User=root", "download", name]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    packages = list(folder.glob("*.deb"))
    if done.returncode or not packages:
        reason = (done.stderr or done.stdout).strip()[-300:]
        raise Unavailable(f"{name} cannot be downloaded: {reason}")
    return packages[0]


def unpack(package: Path, folder: Path) -> None:
    """The modules of a package, which are in /lib or in /usr/lib."""
    folder.mkdir(mode=0o755)
    with subprocess.Popen(
        [tool("dpkg-deb"), "--fsys-tarfile", package], stdout=subprocess.PIPE
    ) as archive:
        command = [tool("tar"), "-x", "-C", folder, "--no-same-owner", "--wildcards", "*.ko*"]
        done = subprocess.run(
            command, stdin=archive.stdout, stderr=subprocess.PIPE, text=True, check=False
        )
    if archive.returncode or done.returncode:
        raise Unavailable(f"{package.name} cannot be unpacked: {done.stderr.strip()[-300:]}")


def main() -> int:
    try:
        print(f"{install()} is in {MODULES}, {len(kernel_modules())} modules")
    except Unavailable as error:
        print(f"{error}; tests that need it are skipped", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
