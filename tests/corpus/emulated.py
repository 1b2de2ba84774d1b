"""Runs programs under a real kernel of another CPU, in qemu's whole machine, for its cores.

The emulator of single programs (qemu-aarch64) writes cores too, but without the code that a
program has made. A kernel's core has it, and its lists of files and of registers. Kernel and
shell are Debian's packages, which apt-get fetches into a folder: nothing of this is installed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.programs.build import check, run, tool

KERNEL = "linux-image-cloud-arm64"
SHELL = "busybox-static"
LIBRARIES = Path("/usr/aarch64-linux-gnu/lib")  # of Debian's cross compiler
NEEDED = ("ld-linux-aarch64.so.1", "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0",
          "libgcc_s.so.1")  # fmt: skip
# In the order in which they need each other.
DRIVERS = ("virtio_ring", "virtio", "virtio_mmio", "virtio_blk")
# Pointers are not signed as Arm proposes, which takes ten times as long to emulate.
CPU = "max,sve=off,sme=off,pauth-impdef=on"
DISK = 2 << 30  # bytes; sparse, and cores take a tenth
INIT = """\
#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t devtmpfs dev /dev
$B mount -t tmpfs -o size=1500m runs /runs
for driver in {drivers}; do $B insmod /drivers/$driver.ko; done
echo /runs/core > /proc/sys/kernel/core_pattern
echo 0 > /proc/sys/kernel/core_uses_pid
ulimit -c unlimited
cd /runs
{runs}
$B uname -srvm > uname
$B tar -cf /dev/vda *
$B sync
$B poweroff -f
"""
RUN = """\
{command} > {name}.said 2> {name}.errors
$B mv core {name}.core
"""


def root_of(folder: Path, programs: Sequence[Path], libraries: Sequence[Path]) -> Path:
    """What the machine has as /, and what its cores are read with: /bin and /lib."""
    root = folder / "root"
    for name in ("bin", "lib", "proc", "dev", "runs", "drivers"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for program in programs:
        shutil.copy(program, root / "bin")
    for library in [*(LIBRARIES / name for name in NEEDED), *libraries]:
        shutil.copy(library, root / "lib" / library.name)
    return root


def run_emulated(folder: Path, root: Path, runs: Mapping[str, Sequence[str]]) -> Path:
    """Runs commands in a folder, which is given back: with NAME.core, NAME.said and `uname`."""
    debian = fetched(folder)
    shutil.copy(debian / "bin" / "busybox", root / "bin")
    for name in DRIVERS:
        (driver,) = debian.rglob(f"{name}.ko")
        shutil.copy(driver, root / "drivers")
    lines = [RUN.format(name=name, command=shlex.join(words)) for name, words in runs.items()]
    init = root / "init"
    init.write_text(INIT.format(drivers=" ".join(DRIVERS), runs="".join(lines)))
    init.chmod(0o755)
    (folder / "initrd").write_bytes(cpio(root))
    (kernel,) = (debian / "boot").glob("vmlinuz-*")
    boot(folder, kernel)
    with tarfile.open(folder / "disk") as archive:
        archive.extractall(folder / "made", filter="data")
    return folder / "made"


def boot(folder: Path, kernel: Path) -> None:
    with (folder / "disk").open("wb") as disk:
        os.truncate(disk.fileno(), DISK)
    command = [
        tool("qemu-system-aarch64"), "-M", "virt", "-cpu", CPU, "-smp", "2",
        "-m", "3G", "-nographic", "-no-reboot", "-net", "none", "-kernel", kernel,
        "-initrd", folder / "initrd", "-append", "console=ttyAMA0 quiet panic=-1",
        "-drive", f"if=none,file={folder / 'disk'},format=raw,id=disk,cache=unsafe",
        "-device", "virtio-blk-device,drive=disk",
    ]  # fmt: skip
    with (folder / "console").open("w") as console:
        subprocess.run(command, stdout=console, stdin=subprocess.DEVNULL, timeout=1800, check=True)


def unpacked_packages(folder: Path, names: Sequence[str], root: Path) -> None:
    """Puts what is in Debian's packages into the machine's /."""
    cache = folder / "packages"
    cache.mkdir()
    check(run([tool("apt-get"), *registry(folder), "download", *names], cwd=cache))
    for package in cache.glob("*.deb"):
        check(run([tool("dpkg-deb"), "-x", package, root]))


def fetched(folder: Path) -> Path:
    """Kernel and shell, unpacked."""
    given = registry(folder)
    cache, unpacked = folder / "cache", folder / "debian"
    unpacked.mkdir()
    image = run([tool("apt-cache"), *given, "depends", KERNEL]).stdout
    names = [word for word in image.split() if word.startswith("linux-image-")]
    packages = [next(name for name in names if name != KERNEL), SHELL]
    check(run([tool("apt-get"), *given, "download", *packages], cwd=cache))
    for package in cache.glob("*.deb"):
        check(run([tool("dpkg-deb"), "-x", package, unpacked]))
    return unpacked


def registry(folder: Path) -> list[str]:
    """Options with which apt knows packages of arm64, and nothing that is installed here."""
    lists, cache = folder / "lists", folder / "cache"
    is_new = not lists.exists()
    for each in (lists / "partial", cache / "archives" / "partial"):
        each.mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    options = [
        "APT::Architecture=arm64", "APT::Architectures=arm64", f"Dir::State::Lists={lists}",
        f"Dir::Cache={cache}", f"Dir::State::status={folder / 'status'}",
    ]  # fmt: skip
    given = [part for option in options for part in ("-o", option)]
    if is_new:
        check(run([tool("apt-get"), *given, "update"]))
    return given


def cpio(root: Path) -> bytes:
    """A directory in the form in which a kernel takes its first file system."""
    found = bytearray()
    paths = sorted(root.rglob("*"))
    for number, path in enumerate([*paths, None]):
        name = path.relative_to(root).as_posix() if path is not None else "TRAILER!!!"
        mode = path.lstat().st_mode if path is not None else 0
        data = b""
        if path is not None and path.is_symlink():
            data = os.fsencode(path.readlink())
        elif path is not None and path.is_file():
            data = path.read_bytes()
        fields = (number + 1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        found += b"070701" + b"".join(b"%08X" % field for field in fields)
        found += name.encode() + b"\0"
        found += bytes(-len(found) % 4) + data
        found += bytes(-len(found) % 4)
    return bytes(found)
