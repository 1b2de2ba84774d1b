"""The spool: what goes in comes out, zeros take no room, and it never takes too much."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.errors import InputError, UsageError
from unspool.targets.input import spool as spool_module
from unspool.targets.input.spool import LIMIT_VARIABLE, Full, Spool

PAGE = 4096


def disk_bytes(spool: Spool) -> int:
    """What the spool's file takes on the disk."""
    os.fsync(spool._fd)
    return os.fstat(spool._fd).st_blocks * 512


def content(spool: Spool) -> bytes:
    with spool.map() as mapped:
        return bytes(mapped)


pieces = st.lists(
    st.one_of(
        st.integers(1, 3 * PAGE).map(bytes),
        st.integers(1, 200_000).map(bytes),
        st.binary(min_size=1, max_size=40),
        st.integers(1, 2 * PAGE).map(lambda size: b"\x41" * size),
        st.builds(
            lambda before, byte, after: bytes(before) + byte + bytes(after),
            st.integers(0, 2 * PAGE),
            st.binary(min_size=1, max_size=1),
            st.integers(0, 2 * PAGE),
        ),
    ),
    min_size=1,
    max_size=12,
)


@given(pieces)
def test_what_goes_in_comes_out(parts: list[bytes]) -> None:
    spool = Spool()
    for part in parts:
        spool.write(part)
    whole = b"".join(parts)
    assert spool.size == len(whole)
    assert spool.read(0, spool.size) == whole
    assert content(spool) == whole


@given(pieces)
def test_pages_of_zeros_are_not_stored(parts: list[bytes]) -> None:
    spool = Spool()
    for part in parts:
        spool.write(part)
    whole = b"".join(parts)
    filled = sum(any(whole[at : at + PAGE]) for at in range(0, len(whole), PAGE))
    spool.close()
    assert spool.stored <= filled * PAGE


def test_two_gigabytes_of_zeros_take_no_room() -> None:
    spool = Spool()
    zeros = bytes(128 << 10)
    spool.write(b"head")
    for _ in range(2 << 30 >> 17):
        spool.write(zeros)
    spool.write(b"tail")
    assert spool.stored == 8
    assert disk_bytes(spool) <= 4 * PAGE
    with spool.map() as mapped:
        assert len(mapped) == (2 << 30) + 8
        assert mapped[:4] == b"head"
        assert mapped[-4:] == b"tail"
        assert not any(mapped[1 << 30 : (1 << 30) + 100])


def test_a_limit_on_what_is_stored_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, str(10 * PAGE))
    spool = Spool()
    spool.write(bytes(100 * PAGE))
    for _ in range(10):
        spool.write(b"x" * PAGE)
    with pytest.raises(Full, match=rf"40,960.*{LIMIT_VARIABLE}"):
        spool.write(bytes(PAGE) + b"y")
    assert spool.size == 111 * PAGE, "the hole before the byte without room counts"
    assert content(spool) == bytes(100 * PAGE) + b"x" * (10 * PAGE) + bytes(PAGE)


@pytest.mark.parametrize("text", ["lots", "-1", "1e9", "9" * 30, "²"])
def test_a_limit_that_is_no_number_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, text)
    with pytest.raises(UsageError, match=LIMIT_VARIABLE):
        Spool()


def test_tmpdir_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    spool = Spool()
    assert spool.directory == str(tmp_path)
    spool.close()


def test_an_unusable_directory_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    spool = Spool()
    assert spool.directory in ("/var/tmp", "/tmp", "/dev/shm")
    spool.close()


def test_no_directory_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(spool_module, "_directories", lambda: [str(tmp_path / "absent")])
    with pytest.raises(InputError, match=r"absent.*TMPDIR"):
        Spool()


def test_the_file_has_no_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    spool = Spool()
    spool.write(b"something")
    assert list(tmp_path.iterdir()) == []
    assert content(spool) == b"something"


def test_file_systems_without_unnamed_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(os, "O_TMPFILE", 0)  # opening a directory for writing fails
    spool = Spool()
    assert spool.directory == str(tmp_path)
    assert list(tmp_path.iterdir()) == []
    spool.write(b"something")
    assert content(spool) == b"something"


def test_a_disk_that_fills_up_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool()
    spool.write(b"a" * PAGE)
    real = os.pwrite
    room = [2 * PAGE]

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = real(fd, data[: room[0]], offset)
        room[0] -= written
        return written

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(Full, match="No space left"):
        spool.write(b"b" * (5 * PAGE))
    monkeypatch.undo()
    assert content(spool) == b"a" * PAGE + b"b" * (2 * PAGE)


def test_some_of_the_disk_stays_free(monkeypatch: pytest.MonkeyPatch) -> None:
    free = 100 * PAGE

    class Info:
        f_blocks = 1000
        f_bavail = 100
        f_frsize = PAGE

    monkeypatch.setattr(spool_module, "_LEAST_ROOM", PAGE)
    monkeypatch.setattr(os, "fstatvfs", lambda fd: Info)
    spool = Spool()
    with pytest.raises(Full, match=r"no more room in .*TMPDIR"):
        for _ in range(100):
            spool.write(b"z" * PAGE)
    assert spool.stored == free * 3 // 4
    spool.close()
