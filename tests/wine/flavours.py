"""The ways in which Wine runs a program: two releases, two widths, and 32-bit code in 64-bit Wine.

Wine 8.0 runs in the system as it is; 10.0 runs in a root directory and a mount namespace of its
own, as programs in containers do: paths that it knows do not lead to its files from outside.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.outside.debian import AMD64, I386
from tests.programs.build import Unavailable, run, tool

from .install import RELEASES, Release, link, windows

OVERRIDES = "mscoree,mshtml=;winemenubuilder.exe=d"
INSIDE = Path("/zoo")  # where the folder of a test session is seen inside a root directory
# $0 is the root directory, $1 the session's folder outside, $2 where to run; then the command.
# The mounts are seen by this process and its children alone, and end with them.
ENTER = """
set -e
mount -t proc proc "$0/proc"
mount -t tmpfs tmpfs "$0/tmp"
mount --bind "$1" "$0/zoo"
folder="$2"
shift 2
exec chroot "$0" /bin/sh -c 'cd "$0" && exec "$@"' "$folder" "$@"
"""


@dataclass(frozen=True)
class Flavour:
    name: str
    release: Release
    machine: str  # of the Windows program: x86_64 or i686
    loader: str
    architecture: str  # of the prefix: win64 or win32

    @property
    def version(self) -> str:
        return self.release.version

    @property
    def wow64(self) -> bool:
        """Whether the program is 32-bit and the process is not."""
        return self.machine == "i686" and self.architecture == "win64"

    @property
    def sysroot(self) -> Path | None:
        """The directory that the process takes for /, when it is not /."""
        return self.release.root if self.release.system else None

    def inside(self, path: Path, root: Path) -> Path:
        """The path by which the process knows `path`, which lies in the session's `root`."""
        return INSIDE / path.relative_to(root) if self.sysroot else path

    def wine(self, name: str) -> str:
        """The path by which the process knows a program of Wine's."""
        folder = Path("/") if self.sysroot else self.release.root
        return str(folder / "usr/lib/wine" / name)

    def environment(self, prefix: Path, root: Path) -> dict[str, str]:
        server = "wineserver64" if self.architecture == "win64" else "wineserver32"
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.inside(prefix, root)),
            "LC_ALL": "C",
            "WINEPREFIX": str(self.inside(prefix, root)),
            "WINEARCH": self.architecture,
            "WINESERVER": self.wine(server),
            "WINEDLLOVERRIDES": OVERRIDES,
            "WINEDEBUG": "fixme-all",
        }

    def command(self, folder: Path, root: Path, arguments: Sequence[str]) -> list[str]:
        """What runs Wine with `arguments` in `folder`, which lies in the session's `root`."""
        command = [self.wine(self.loader), *arguments]
        if not self.sysroot:
            return command
        places = [str(self.sysroot), str(root), str(self.inside(folder, root))]
        return [tool("unshare"), "--mount", "/bin/sh", "-c", ENTER, *places, *command]


@cache
def check(flavour: Flavour, root: Path) -> None:
    """Raises Unavailable when this machine cannot run it, with the reason."""
    wine = f"Wine {flavour.version}"
    flavour.release.kept.need()
    if flavour.sysroot and os.geteuid():
        raise Unavailable(f"only root can start {wine} in {flavour.sysroot}")
    command = flavour.command(root, root, ["--version"])
    done = run(command, cwd=root, env=flavour.environment(root, root))
    if not done.stdout.startswith(f"wine-{flavour.version}"):
        raise Unavailable(f"{flavour.name} does not start here: {done.stderr.strip()[-300:]}")


def make_prefix(flavour: Flavour, prefix: Path) -> None:
    """The smallest prefix there can be: links to the DLLs, no registry, no services.

    What ``wineboot`` makes takes ten seconds and a gigabyte of copies of DLLs. Nothing of that
    is on the stacks of a program that has only a message-only window.
    """
    drive = prefix / "drive_c" / "windows"
    native = AMD64 if flavour.architecture == "win64" else I386
    folders = {"system32": native}
    if flavour.architecture == "win64":
        folders["syswow64"] = I386
    for name, triplet in folders.items():
        folder = drive / name
        folder.mkdir(parents=True)
        inside = windows(Path("/") if flavour.sysroot else flavour.release.root, triplet)
        for module in windows(flavour.release.root, triplet).iterdir():
            link(folder / module.name, str(inside / module.name))
    devices = prefix / "dosdevices"
    devices.mkdir()
    link(devices / "c:", "../drive_c")
    link(devices / "z:", "/")
    (prefix / ".update-timestamp").write_text("disable\n")


WINE8, WINE10 = RELEASES
FLAVOURS = {
    flavour.name: flavour
    for flavour in (
        Flavour("8.0-x86_64", WINE8, "x86_64", "wine64", "win64"),
        Flavour("8.0-i386", WINE8, "i686", "wine", "win32"),
        Flavour("10.0-x86_64", WINE10, "x86_64", "wine64", "win64"),
        Flavour("10.0-i386", WINE10, "i686", "wine", "win32"),
        Flavour("10.0-wow64", WINE10, "i686", "wow", "win64"),
    )
}
