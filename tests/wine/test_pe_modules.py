"""Every PE module of real Wine processes is found: alive, and in cores of the kernel and gcore.

What there must be is read from the process's mappings and from the headers of the mapped files.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

import unspool
from unspool.targets.pe.compare import relocated_bytes

from .conftest import Runner
from .cores import made_by_gcore, made_by_kernel
from .flavours import FLAVOURS, Flavour

SCENARIOS = ["wait_event:2", "sleep:1"]
Expected = dict[int, tuple[int, str]]  # base: (end, path)


def size_of_image(path: str) -> int:
    header = Path(path).read_bytes()[:4096]
    [at] = struct.unpack_from("<I", header, 60)
    assert header[:2] == b"MZ" and header[at : at + 4] == b"PE\0\0"
    [size] = struct.unpack_from("<I", header, at + 80)
    return int(size)


def expected_modules(pid: int) -> Expected:
    """Modules by the private mappings of the start of a PE file."""
    found: Expected = {}
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split(None, 5)
        if len(fields) < 6 or fields[1][3] == "s" or int(fields[2], 16):
            continue  # shared: a file that Wine reads, apisetschema.dll
        start, path = int(fields[0].split("-")[0], 16), fields[5]
        if path.endswith((".dll", ".exe", ".drv")):
            found[start] = start + size_of_image(f"/proc/{pid}/root{inside(path, pid)}"), path
    return found


def inside(path: str, pid: int) -> str:
    """A path of /proc/PID/maps, which we see from outside, as the process knows it."""
    root = os.readlink(f"/proc/{pid}/root")
    return path if root == "/" else path.removeprefix(root)


def check(target: unspool.Target, expected: Expected, *, from_inside: str = "") -> None:
    """`from_inside` is the root directory if the target names files as the process did."""
    found = {m.base: (m.end, m.path) for m in target.modules if m.kind == "pe"}
    assert found == {
        base: (end, path.removeprefix(from_inside)) for base, (end, path) in expected.items()
    }
    assert not [finding.title for finding in target.findings if finding.kind == "file_refused"]
    assert (target.info.executable or "").endswith("/zoo.exe")
    for module in target.modules:
        if module.kind == "pe":
            check_code(target, module)


def check_code(target: unspool.Target, module: unspool.Module) -> None:
    """All code is there, is known for code, and is the file's but for relocations."""
    image = target.pe(module)
    assert image is not None and image.file is not None, module.name
    pe = image.file
    assert module.bias == module.base - pe.image_base
    for section in pe.sections:
        start = module.base + section.rva
        assert target.space.is_code(start) == section.executable, (module.name, section.name)
        if not section.executable:
            continue
        size = min(section.virtual_size, section.raw_size)
        code = target.space.memory.read(start, size)
        if code == pe.read(section.rva, size):
            continue
        assert module.bias, f"{module.name} differs from its file"
        relocated = relocated_bytes(pe, set(range(section.rva, section.rva + size, 0x1000)))
        pairs = zip(code, pe.read(section.rva, size), strict=True)
        odd = [at for at, (mine, theirs) in enumerate(pairs, section.rva) if mine != theirs]
        assert set(odd) <= relocated, f"{module.name} differs from its file"


@pytest.mark.parametrize("flavour", FLAVOURS.values(), ids=lambda flavour: flavour.name)
def test_a_process_and_its_core_by_the_kernel(
    flavour: Flavour, zoo: Runner, tmp_path: Path
) -> None:
    with zoo(flavour.name, "O2", SCENARIOS) as running:
        expected = expected_modules(running.pid)
        assert len(expected) > 8
        with unspool.open(running.pid) as target:
            check(target, expected)
        made_by_kernel(running, tmp_path / "core")
    root = str(flavour.sysroot) if flavour.sysroot else None
    # The folder of this session is mounted inside while Wine runs, and gone by now.
    where = [str(running.zoo.folder)]
    with unspool.open(str(tmp_path / "core"), sysroot=root, symbols=where) as target:
        check(target, expected, from_inside=root or "")


@pytest.mark.parametrize("name", ["8.0-i386", "10.0-x86_64"])
def test_a_core_by_gcore(name: str, zoo: Runner, tmp_path: Path) -> None:
    """That of an i386 process does not say where the TEB is."""
    with zoo(name, "fp", SCENARIOS) as running:
        expected = expected_modules(running.pid)
        made_by_gcore(running, tmp_path / "core")
        with unspool.open(str(tmp_path / "core"), symbols=[str(running.zoo.folder)]) as target:
            check(target, expected)
