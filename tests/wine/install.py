"""Have Wine 8.0 and Wine 10.0 for the tests: ``python -m tests.wine.install``, as root.

Debian's packages are unpacked, not installed: only the hundred files that a program without
windows or sound needs, so that two versions fit beside each other and beside whatever Wine
the machine has, without hundreds of packages of another architecture. ``apt-get`` downloads
them with its own lists and its own settings of this machine (proxies) and checks their
signatures; nothing of the machine's own package state is touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.programs.build import Unavailable, locked, tool

HOME = Path(os.environ.get("UNSPOOL_WINE", "/var/cache/unspool-wine"))
MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
RECIPE = "5"  # changes when what is unpacked does

# The preloader holds the addresses of Windows code before libraries are mapped. Wine runs it if it
# lies beside its loader: these are in a place of their own, so that the others run without.
PRELOADED = HOME / "8.0-preloader"
PRELOADERS = ("wine64-preloader:amd64", "wine32-preloader:i386")

AMD64, I386 = "x86_64-linux-gnu", "i386-linux-gnu"
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


def installed(release: Release) -> bool:
    stamp = release.root / "complete"
    return stamp.is_file() and stamp.read_text() == RECIPE


def install(release: Release) -> None:
    """Unpack `release` unless it is there. Raises Unavailable with the reason if that fails."""
    try:
        with locked(HOME / f"{release.version}.lock"):
            if installed(release):
                return
            with tempfile.TemporaryDirectory(dir=HOME) as folder:
                make(release, Path(folder))
    except OSError as error:
        raise Unavailable(f"Wine {release.version} cannot be unpacked: {error}") from None


def install_preloader() -> None:
    """Wine 8.0's loaders with their preloaders, which use the DLLs that are unpacked already.

    Raises Unavailable with the reason if that fails.
    """
    release = RELEASES[0]
    if PRELOADED.is_dir():
        return
    try:
        with locked(HOME / "8.0-preloader.lock"), tempfile.TemporaryDirectory(dir=HOME) as name:
            folder = Path(name)
            root = folder / "root"
            root.mkdir(mode=0o755)
            for package in download(release, folder, PRELOADERS):
                unpack(package, root)
            loaders = root / "usr/lib/wine"
            for each in (release.root / "usr/lib/wine").iterdir():
                if not (loaders / each.name).exists():
                    shutil.copy2(each, loaders / each.name, follow_symlinks=False)
            for triplet in (AMD64, I386):
                link(root / "usr/lib" / triplet, str(release.root / "usr/lib" / triplet))
            link(root / "usr/share", str(release.root / "usr/share"))
            if not PRELOADED.is_dir():
                root.rename(PRELOADED)
    except OSError as error:
        raise Unavailable(f"Wine's preloader cannot be unpacked: {error}") from None


def make(release: Release, folder: Path) -> None:
    root = folder / "root"
    root.mkdir()
    for package in download(release, folder):
        unpack(package, root)
    for machine, triplet in (("x86_64", AMD64), ("i686", I386)):
        source = root / f"usr/{machine}-w64-mingw32/lib/zlib1.dll"
        mark_builtin(source, windows(root, triplet) / source.name)
    link(root / f"usr/lib/{AMD64}/wine/i386-windows", f"../../{I386}/wine/i386-windows")
    # Wine looks for its i386 loader by its own name without "64". Called otherwise it finds
    # none and keeps a 32-bit program in the 64-bit process: the new WoW64.
    link(root / "usr/lib/wine/wow", "wine64")
    if release.system:
        furnish(root)
    (root / "complete").write_text(RECIPE)
    if release.root.exists():
        shutil.rmtree(release.root)
    root.chmod(0o755)
    root.rename(release.root)


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


def unpack(package: Path, root: Path) -> None:
    """The files of `package` that are wanted."""
    with subprocess.Popen(
        [tool("dpkg-deb"), "--fsys-tarfile", package], stdout=subprocess.PIPE
    ) as archive:
        patterns = wanted(package.name.partition("_")[0])
        command = [tool("tar"), "-x", "-C", str(root), "--no-same-owner", "--wildcards", *patterns]
        done = subprocess.run(
            command, stdin=archive.stdout, stderr=subprocess.PIPE, text=True, check=False
        )
    # A pattern that matches nothing is an error to tar: the two versions differ in a few files.
    problems = [line for line in done.stderr.splitlines() if "Not found in archive" not in line]
    if archive.returncode or (done.returncode and len(problems) > 1):
        raise Unavailable(f"{package.name} cannot be unpacked: {' '.join(problems)[-300:]}")


def wanted(package: str) -> list[str]:
    """Patterns for the files of a package; of most packages, its programs and libraries.

    Of libwine not the script that chooses a wineserver: it would choose this machine's.
    """
    if package == "libz-mingw-w64":
        return ["./usr/*-w64-mingw32/lib/zlib1.dll"]
    if package != "libwine":
        return ["./usr/lib/*", "./usr/lib64/*", "./usr/bin/*", "--exclude=*/gconv/*"]
    modules = [f"./usr/lib/*/wine/*-windows/{name}.[de][lx][le]" for name in MODULES]
    unix = [f"./usr/lib/*/wine/*-unix/{name}" for name in UNIX]
    # Drivers are code like any other, for `unspool redzone`.
    return [*modules, *unix, "./usr/share/wine/nls/*", "./usr/lib/*/wine/*-windows/*.sys"]


def download(release: Release, folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """The release's packages, or those named, in `folder`. Raises Unavailable with the reason."""
    problem = ""
    for mirror in mirrors():
        for keyring in keyrings(folder):
            options = prepare_apt(release, folder, mirror, keyring)
            for attempt in range(2):
                time.sleep(5 * attempt)
                problem = apt_get([*options, "update", "--error-on=any"], folder)
                if not problem:
                    wanted = names or [*WINE, *release.system]
                    problem = apt_get([*options, "download", *wanted], folder)
                if not problem:
                    return sorted(folder.glob("*.deb"))
                if "NO_PUBKEY" in problem:
                    break
    raise Unavailable(f"Wine {release.version} cannot be downloaded: {problem}")


def mirrors() -> Iterator[str]:
    """Debian's own address, then those that this machine's own lists of packages name."""
    yield MIRROR
    query = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    for line in dict.fromkeys(done.stdout.split()):
        if line.rstrip("/") != MIRROR and "security" not in line:
            yield line


def keyrings(folder: Path) -> Iterator[Path]:
    """This machine's, then the current one: an old one lacks the keys of a newer release."""
    yield KEYRING
    if not apt_get(["download", "debian-archive-keyring"], folder):
        package = next(folder.glob("debian-archive-keyring_*.deb"))
        subprocess.run([tool("dpkg-deb"), "-x", package, folder / "keyring"], check=True)
        package.unlink()
        yield folder / "keyring" / KEYRING.relative_to("/")


def prepare_apt(release: Release, folder: Path, mirror: str, keyring: Path) -> list[str]:
    """Options with which apt-get has lists of its own, below `folder`."""
    state = folder / "apt"
    for name in ("lists/partial", "archives/partial"):
        (state / name).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    sources = state / "sources.list"
    source = f"deb [arch=amd64,i386 signed-by={keyring}] {mirror} {release.suite} main\n"
    sources.write_text(source)
    settings = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "-",
        "Dir::Etc::Preferences": "-",
        "Dir::Etc::PreferencesParts": "-",
        "Dir::State": state,
        "Dir::State::Status": state / "status",
        "Dir::Cache": state,
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64,i386",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
    }
    return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]


def apt_get(arguments: list[str], folder: Path) -> str:
    """Run apt-get in `folder`; why it failed, or nothing."""
    done = subprocess.run(
        [tool("apt-get"), "-q", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    return (done.stderr or done.stdout).strip()[-400:] if done.returncode else ""


def main() -> int:
    status = 0
    for release in RELEASES:
        start = time.monotonic()
        try:
            install(release)
        except (Unavailable, subprocess.SubprocessError) as error:
            print(f"{error}; tests that need it are skipped", file=sys.stderr)
            status = 1
        else:
            seconds = time.monotonic() - start
            print(f"Wine {release.version} is in {release.root} ({seconds:.0f} s)")
    try:
        install_preloader()
    except (Unavailable, subprocess.SubprocessError) as error:
        print(f"{error}; tests that need it are skipped", file=sys.stderr)
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
