"""Debian's packages, of other releases and architectures too: downloaded and unpacked.

Nothing is installed. ``apt-get`` downloads them with lists of its own and this machine's settings
(proxies) and checks their signatures; the machine's own package state is not touched.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.programs.build import Unavailable, tool

MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
AMD64, I386 = "x86_64-linux-gnu", "i386-linux-gnu"
# Of most packages, programs and libraries.
FILES = ("./usr/lib/*", "./usr/lib64/*", "./usr/bin/*", "--exclude=*/gconv/*")


def download(suite: str, folder: Path, names: Sequence[str]) -> list[Path]:
    """A release's packages, in `folder`. Raises Unavailable with the reason."""
    problem = ""
    for mirror in mirrors():
        for keyring in keyrings(folder):
            options = prepare_apt(suite, folder, mirror, keyring)
            for attempt in range(2):
                time.sleep(5 * attempt)
                problem = apt_get([*options, "update", "--error-on=any"], folder)
                problem = problem or apt_get([*options, "download", *names], folder)
                if not problem:
                    return sorted(folder.glob("*.deb"))
                if "NO_PUBKEY" in problem:
                    break
    raise Unavailable(f"{names[0]} of {suite} cannot be downloaded: {problem}")


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


def prepare_apt(suite: str, folder: Path, mirror: str, keyring: Path) -> list[str]:
    """Options with which apt-get has lists of its own, below `folder`."""
    state = folder / "apt"
    for name in ("lists/partial", "archives/partial"):
        (state / name).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    sources = state / "sources.list"
    sources.write_text(f"deb [arch=amd64,i386 signed-by={keyring}] {mirror} {suite} main\n")
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
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
    }
    return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]


def apt_get(arguments: Sequence[str], folder: Path) -> str:
    """Run apt-get in `folder`; why it failed, or nothing."""
    done = subprocess.run(
        # Its own user could not write here.
        [tool("apt-get"), "-q", "-o", "APT::Sandbox::User=root", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    return (done.stderr or done.stdout).strip()[-400:] if done.returncode else ""


def unpack(package: Path, root: Path, patterns: Sequence[str] = FILES) -> None:
    """The files of `package` that match, as far as there are any. Raises Unavailable."""
    with subprocess.Popen(
        [tool("dpkg-deb"), "--fsys-tarfile", package], stdout=subprocess.PIPE
    ) as archive:
        command = [tool("tar"), "-x", "-C", str(root), "--no-same-owner", "--wildcards", *patterns]
        done = subprocess.run(
            command, stdin=archive.stdout, stderr=subprocess.PIPE, text=True, check=False
        )
    # A pattern that matches nothing is an error to tar.
    problems = [line for line in done.stderr.splitlines() if "Not found in archive" not in line]
    if archive.returncode or (done.returncode and len(problems) > 1):
        raise Unavailable(f"{package.name} cannot be unpacked: {' '.join(problems)[-300:]}")
