"""What is taken from Debian's packages: checked on a package made here."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.outside import debian
from tests.programs.build import Unavailable, check, run, tool

from . import install

FILES = (
    "usr/lib/x86_64-linux-gnu/wine/x86_64-windows/ntdll.dll",
    "usr/lib/x86_64-linux-gnu/wine/x86_64-windows/d3d9.dll",
    "usr/lib/x86_64-linux-gnu/wine/x86_64-windows/wineboot.exe",
    "usr/lib/x86_64-linux-gnu/wine/x86_64-unix/ntdll.so",
    "usr/lib/x86_64-linux-gnu/wine/x86_64-unix/winegstreamer.so",
    "usr/lib/wine/wineserver",
    "usr/share/wine/nls/locale.nls",
    "usr/share/doc/libwine/copyright",
)
UNWANTED = {"d3d9.dll", "winegstreamer.so", "copyright", "wineserver"}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "libwine"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    control = folder / "DEBIAN" / "control"
    control.parent.mkdir()
    control.write_text(
        "Package: libwine\nVersion: 1\nArchitecture: amd64\n"
        "Maintainer: nobody <nobody@example.org>\nDescription: for a test\n"
    )
    path = tmp_path / "libwine_1_amd64.deb"
    check(run([tool("dpkg-deb"), "--build", "--root-owner-group", folder, path]))
    return path


def files(root: Path) -> Iterator[str]:
    yield from (path.name for path in root.rglob("*") if path.is_file())


def test_wanted_files_are_unpacked_and_no_others(package: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    debian.unpack(package, root, install.wanted("libwine"))
    assert set(files(root)) == {Path(name).name for name in FILES} - UNWANTED


def test_a_broken_package_is_an_error(package: Path, tmp_path: Path) -> None:
    package.write_bytes(package.read_bytes()[:-100])
    with pytest.raises(Unavailable, match="cannot be unpacked"):
        debian.unpack(package, tmp_path)


def test_what_cannot_be_downloaded_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "HOME", tmp_path)
    monkeypatch.setattr(debian, "mirrors", lambda: iter(["file:/nowhere"]))
    monkeypatch.setattr(debian, "keyrings", lambda folder: iter([debian.KEYRING]))
    monkeypatch.setattr(debian.time, "sleep", lambda seconds: None)
    tool("apt-get")
    release = install.RELEASES[0]
    with pytest.raises(Unavailable, match=r"bookworm cannot be downloaded: .*nowhere"):
        release.kept.have(partial(install.make, release))
    assert [path.name for path in tmp_path.iterdir()] == ["8.0.lock"]
