"""A file that appears whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from unspool.errors import InputError
from unspool.write import save as module
from unspool.write.save import save


def test_chunks_are_written_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.dmp"
    big = os.urandom(3 << 20)
    size = save(str(path), [b"one", memoryview(b"two"), big, b"", b"end"])
    assert path.read_bytes() == b"onetwo" + big + b"end"
    assert size == path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["a.dmp"]


def test_what_was_there_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.dmp"
    path.write_bytes(b"x" * 100)
    link = tmp_path / "link.dmp"
    link.symlink_to(path)
    save(str(link), [b"new"])
    assert link.is_symlink()
    assert path.read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["a.dmp", "link.dmp"]


def failing() -> Iterator[bytes]:
    yield b"x" * (2 << 20)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("named", [False, True])
def test_an_error_leaves_nothing_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    if named:
        without_unnamed_files(monkeypatch)
    path = tmp_path / "a.dmp"
    with pytest.raises(InputError, match="No space left") as caught:
        save(str(path), failing())
    assert "make room" in str(caught.value)
    assert os.listdir(tmp_path) == []
    path.write_bytes(b"before")
    with pytest.raises(InputError):
        save(str(path), failing())
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a.dmp"]


def without_unnamed_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on file systems that have no O_TMPFILE, NFS for example."""
    real = os.open

    def without(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, mode)

    monkeypatch.setattr(module.os, "open", without)


def test_file_systems_without_unnamed_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_unnamed_files(monkeypatch)
    path = tmp_path / "a.dmp"
    for content in (b"first", b"second"):
        save(str(path), [content])
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["a.dmp"]


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written: No such file"):
        save(str(tmp_path / "none" / "a.dmp"), [b"x"])


def test_a_full_device() -> None:
    with pytest.raises(InputError, match=r"/dev/full cannot be written: No space"):
        save("/dev/full", [b"x"])


def test_pipes_are_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read = []
    thread = threading.Thread(target=lambda: read.append(path.read_bytes()))
    thread.start()
    save(str(path), [b"a" * 10, b"b"])
    thread.join()
    assert read == [b"a" * 10 + b"b"]


def test_a_killed_run_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from unspool.write.save import save\n"
        "def chunks():\n"
        "    yield b'x' * (2 << 20)\n"
        "    print('written', flush=True)\n"
        "    time.sleep(60)\n"
        "save(sys.argv[1], chunks())\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.dmp")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert os.listdir(tmp_path) == []
