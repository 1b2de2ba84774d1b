"""Paths of the target under --sysroot: `under_sysroot`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from unspool.symbols.files import under_sysroot


def test_a_path_and_links_in_it_stay_inside(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "lib").symlink_to("/usr/lib")
    (tmp_path / "up").symlink_to("../../../..")
    assert under_sysroot(str(tmp_path), "/lib/a.so") == str(tmp_path / "usr/lib/a.so")
    assert under_sysroot(str(tmp_path), "/up/etc/passwd") == str(tmp_path / "etc/passwd")
    assert under_sysroot(str(tmp_path), "/../x") == str(tmp_path / "x")


def test_a_path_as_it_is_outside_is_the_same_file(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    assert under_sysroot(str(root), f"{root}/usr/a.so") == str(root / "usr/a.so")
    assert under_sysroot(str(root), f"{root}/../x") == str(root / "x")
    assert under_sysroot(str(root), f"{root}s/a.so") == f"{root}{root}s/a.so"
    assert under_sysroot("/", "/usr/a.so") == "/usr/a.so"


def test_the_root_of_a_process_in_a_container(tmp_path: Path) -> None:
    if not shutil.which("unshare") or os.geteuid():
        pytest.skip("only root can give a process a root of its own")
    (tmp_path / "only-inside").write_text("yes")
    # A mount namespace of its own: what its root is, the text of the link does not say.
    script = 'mount --bind "$0" "$0" && cd "$0" && mkdir old && pivot_root . old && echo ready'
    process = subprocess.Popen(
        ["unshare", "--mount", "/bin/sh", "-c", f"{script}; read line", str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout
        if process.stdout.readline() != "ready\n":
            pytest.skip("no mount namespace here")
        found = under_sysroot(f"/proc/{process.pid}/root", "/only-inside")
        assert found is not None
        assert Path(found).read_text() == "yes"
        process.kill()
    assert under_sysroot(f"/proc/{process.pid}/root", "/only-inside") is not None  # it has ended
