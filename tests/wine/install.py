"""Have Wine 8.0 and Wine 10.0 for the tests: ``python -m tests.wine.install``, as root.

Debian's packages are unpacked, not installed: only the hundred files that a program without
windows or sound needs, so that two versions fit beside each other and beside whatever Wine
the machine has, without hundreds of packages of another architecture.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.outside.debian import AMD64, FILES, I386, download, unpack
from tests.outside.kept import Kept, install

HOME = Path(os.environ.get("UNSPOOL_WINE", "/var/cache/unspool-wine"))
RECIPE = "5"  # changes when what is unpacked does

# The preloader holds the addresses of Windows code before libraries are mapped. Wine runs it if it
# lies beside its loader: these are in a place of their own, so that the others run without.
PRELOADERS = ("wine64-preloader:amd64", "wine32-preloader:i386")

# What a program maps that is linked to user32, without a display; and wineboot, which fills the
# page that all programs share: without it, 32-bit code in 64-bit Wine cannot handle exceptions;
# and winedbg, to compare with.
MODULES = (
    *("advapi32", "apisetschema", "gdi32", "imm32", "kernel32", "kernelbase", "msvcrt", "ntdll"),
    *("rpcrt4", "sechost", "ucrtbase", "user32", "uxtheme", "version", "win32u", "zlib1"),
    *("wow64", "wow64cpu", "wow64win", "wineboot", "ws2_32", "winedbg", "dbghelp"),
)
UNIX = ("ntdll.so", "win32u.so", "ws2_32.so", "libwine.so*")
WINE = ("libwine:amd64", "libwine:i386", "wine64:amd64", "wine32:i386", "libz-mingw-w64:all")


@dataclass(frozen=True)
class Release:
    """A version of Wine, and the Debian release that has it."""

    version: str
    suite: str
    system: tuple[str, ...] = ()  # packages of a system to run it in; else it runs in this one

    @property
    def root(self) -> Path:
        return HOME / self.version

    @property
    def kept(self) -> Kept:
        return Kept(f"Wine {self.version}", self.root, "tests.wine.install", RECIPE)


RELEASES = (
    Release("8.0", "bookworm"),
    Release(
        "10.0",
        "trixie",
        (
            *("libc6:amd64", "libc6:i386", "dash:amd64"),
            *("liblzma5:amd64", "libunwind8:amd64", "libgcc-s1:amd64", "libgcc-s1:i386"),
        ),
    ),
)
PRELOADED = Kept("Wine's preloader", HOME / "8.0-preloader", "tests.wine.install", RECIPE)


def make(release: Release, root: Path) -> None:
    for package in download(release.suite, root.parent, [*WINE, *release.system]):
        unpack(package, root, wanted(package.name.partition("_")[0]))
    for machine, triplet in (("x86_64", AMD64), ("i686", I386)):
        source = root / f"usr/{machine}-w64-mingw32/lib/zlib1.dll"
        mark_builtin(source, windows(root, triplet) / source.name)
    link(root / f"usr/lib/{AMD64}/wine/i386-windows", f"../../{I386}/wine/i386-windows")
    # Wine looks for its i386 loader by its own name without "64". Called otherwise it finds
    # none and keeps a 32-bit program in the 64-bit process: the new WoW64.
    link(root / "usr/lib/wine/wow", "wine64")
    if release.system:
        furnish(root)


def make_preloaded(root: Path) -> None:
    """Wine 8.0's loaders with their preloaders, which use the DLLs that are unpacked already."""
    release = RELEASES[0]
    release.kept.need()
    for package in download(release.suite, root.parent, PRELOADERS):
        unpack(package, root)
    loaders = root / "usr/lib/wine"
    for each in (release.root / "usr/lib/wine").iterdir():
        if not (loaders / each.name).exists():
            shutil.copy2(each, loaders / each.name, follow_symlinks=False)
    for triplet in (AMD64, I386):
        link(root / "usr/lib" / triplet, str(release.root / "usr/lib" / triplet))
    link(root / "usr/share", str(release.root / "usr/share"))


def libraries(machine: str) -> Path:
    """Where Wine 8.0 has DLLs for programs of x86_64 or i686. Raises Unavailable."""
    return windows(RELEASES[0].kept.need(), AMD64 if machine == "x86_64" else I386)


def windows(root: Path, triplet: str) -> Path:
    return root / f"usr/lib/{triplet}/wine/{triplet.partition('-')[0]}-windows"


def furnish(root: Path) -> None:
    """What a root directory needs besides packages; /proc is mounted when it is used."""
    for name in ("lib", "lib64", "bin"):
        link(root / name, f"usr/{name}")
    for name in ("proc", "tmp", "zoo", "dev/shm", "etc"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    for name, minor in (("null", 3), ("zero", 5), ("urandom", 9)):
        device = root / "dev" / name
        os.mknod(device, 0o20666, os.makedev(1, minor))
        device.chmod(0o666)


def link(path: Path, target: str) -> None:
    """A symbolic link, in place of an (empty) folder where there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    if not path.is_symlink():
        path.symlink_to(target)


def mark_builtin(source: Path, target: Path) -> None:
    """A copy of a DLL that Wine takes for one of its own (dlls/ntdll/unix/virtual.c)."""
    data = bytearray(source.read_bytes())
    signature = b"Wine builtin DLL\0"
    data[0x40 : 0x40 + len(signature)] = signature
    target.unlink(missing_ok=True)
    target.write_bytes(data)


def wanted(package: str) -> tuple[str, ...]:
    """Patterns for the files of a package; the two versions differ in a few.

    Of libwine not the script that chooses a wineserver: it would choose this machine's.
    """
    if package == "libz-mingw-w64":
        return ("./usr/*-w64-mingw32/lib/zlib1.dll",)
    if package != "libwine":
        return FILES
    modules = [f"./usr/lib/*/wine/*-windows/{name}.[de][lx][le]" for name in MODULES]
    unix = [f"./usr/lib/*/wine/*-unix/{name}" for name in UNIX]
    # Drivers are code like any other, for `unspool redzone`.
    return (*modules, *unix, "./usr/share/wine/nls/*", "./usr/lib/*/wine/*-windows/*.sys")


def main() -> int:
    releases = [(release.kept, partial(make, release)) for release in RELEASES]
    return install(*releases, (PRELOADED, make_preloaded))


if __name__ == "__main__":
    sys.exit(main())
