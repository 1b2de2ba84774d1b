"""The spool: who may see files, what goes when there is no room, and how often one may crash."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from unspool.capture import ratelimit
from unspool.capture.config import Config, Value
from unspool.capture.crash import KernelCrash
from unspool.capture.spool import Lock, NoRoom, Spool
from unspool.errors import InputError, UsageError

CRASH = KernelCrash(["77", "78", "11", "1000", "1001", "1", "1700000000", "host", "a b"])
SETUID = KernelCrash(["77", "78", "11", "1000", "1001", "2", "1700000000", "host", "a"])


def spool_in(tmp_path: Path, **values: Value) -> Spool:
    return Spool(Config({"directory": str(tmp_path / "spool"), "free_mb": 0, **values}))


def test_what_the_kernel_says() -> None:
    assert (CRASH.pid, CRASH.tid, CRASH.signal, CRASH.uid, CRASH.gid) == (77, 78, 11, 1000, 1001)
    assert CRASH.name == "a b"
    assert CRASH.is_users_own
    assert not SETUID.is_users_own
    for wrong in ([], ["1"] * 6, [*["1"] * 6, "-1"], [*["1"] * 6, "%t"]):
        with pytest.raises(UsageError, match="no arguments of the kernel's"):
            KernelCrash(wrong)


def test_names_that_are_split_or_missing() -> None:
    numbers = ["1"] * 7
    assert KernelCrash([*numbers, "host", "two", "words"]).name == "two words"
    assert KernelCrash(numbers).name == ""


def test_only_the_owner_sees_anything(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    path = spool.place(CRASH, CRASH.name) + ".json.gz"
    spool.save(path, [b"x"], SETUID)
    status = os.stat(path)
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_uid == os.geteuid()
    assert stat.S_IMODE(os.stat(spool.path).st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_users_own_report_is_the_users(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, users_may_read=True)
    path = spool.place(CRASH, "a") + ".json.gz"
    spool.save(path, [b"x"], CRASH)
    assert (os.stat(path).st_uid, os.stat(path).st_gid) == (1000, 1001)
    # Users may open their files, and nobody else's are to be listed.
    assert stat.S_IMODE(os.stat(spool.path).st_mode) == 0o711


def test_a_directory_that_others_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool").chmod(0o777)
    with pytest.raises(InputError, match="can be written to by others"):
        spool_in(tmp_path)


def test_names_of_files_are_harmless(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    for name in ("../../etc/passwd", "", "\n\0", "-rf", "é" * 300, ".hidden"):
        path = spool.place(CRASH, name)
        assert os.path.dirname(path) == spool.path
        assert os.path.basename(path).startswith("1700000000-")
        assert len(os.path.basename(path)) < 80


def test_a_name_is_never_taken_twice(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    paths = set()
    for _ in range(3):
        path = spool.place(CRASH, "a")
        spool.save(path + ".json.gz", [b"x"], SETUID)
        paths.add(path)
    assert len(paths) == 3


def fill(spool: Spool, count: int, size: int) -> list[str]:
    paths = []
    for index in range(count):
        path = os.path.join(spool.path, f"{index}.json.gz")
        Path(path).write_bytes(bytes(size))
        os.utime(path, (index, index))
        paths.append(path)
    return paths


def test_the_oldest_go_first(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, quota_mb=1)
    paths = fill(spool, 4, 300_000)
    spool.save(os.path.join(spool.path, "new.json.gz"), [bytes(300_000)], SETUID)
    assert [os.path.exists(path) for path in paths] == [False, False, True, True]
    assert sum(size for _, _, size in spool.entries()) <= 1 << 20


def test_what_is_larger_than_the_quota_removes_nothing(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, quota_mb=1)
    paths = fill(spool, 2, 1000)
    with pytest.raises(NoRoom, match=r"spool\.quota_mb"):
        spool.save(os.path.join(spool.path, "new.json.gz"), [bytes(2 << 20)], SETUID)
    assert all(map(os.path.exists, paths))


def test_the_disk_is_not_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = spool_in(tmp_path, free_mb=10)
    paths = fill(spool, 3, 1000)
    free = iter([(10 << 20) - 1, (10 << 20) + 500])
    monkeypatch.setattr(spool, "free", lambda: next(free, (10 << 20) + 500))
    spool.make_room(500)
    assert [os.path.exists(path) for path in paths] == [False, True, True]
    monkeypatch.setattr(spool, "free", lambda: 0)
    with pytest.raises(NoRoom, match=r"spool\.free_mb"):
        spool.make_room(1)


def test_a_minidump_goes_before_the_report_it_belongs_to_only_if_that_is_old(
    tmp_path: Path,
) -> None:
    spool = spool_in(tmp_path, quota_mb=1)
    fill(spool, 1, 400_000)
    mine = os.path.join(spool.path, "mine")
    Path(mine + ".dmp").write_bytes(bytes(900_000))
    os.utime(mine + ".dmp", (0, 0))
    spool.make_room(0, keep=mine)
    assert os.path.exists(mine + ".dmp")
    assert len(spool.entries()) == 1


def test_a_lock_that_is_never_given_back_holds_up_only_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unspool.capture.spool._PATIENCE", 0.01)
    path = str(tmp_path / "lock")
    with Lock(path), Lock(path) as second:
        assert second.descriptor >= 0


def test_the_rate_of_one_executable(tmp_path: Path) -> None:
    folder = str(tmp_path / "rate")
    answers = [ratelimit.admit(folder, "a", 3, 60, 100.0 + each) for each in range(5)]
    assert answers == [True, True, True, False, False]
    assert ratelimit.admit(folder, "b", 3, 60, 101.0)
    assert ratelimit.admit(folder, "a", 3, 60, 160.5), "the first one is a minute ago"
    assert not ratelimit.admit(folder, "a", 3, 60, 160.6)
    assert ratelimit.admit(folder, "a", 0, 60, 160.6), "0 is any number"


def test_a_clock_that_was_set_back_stops_nobody(tmp_path: Path) -> None:
    folder = str(tmp_path / "rate")
    assert [ratelimit.admit(folder, "a", 1, 60, now) for now in (5000.0, 100.0)] == [True, True]


def test_a_broken_count_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff nonsense . 1e9 nan\n" * 100)
    assert ratelimit.admit(str(tmp_path), "a", 1, 60, 100.0)


def test_counts_of_old_executables_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ratelimit, "_MAX_FILES", 4)
    for index in range(12):
        ratelimit.admit(str(tmp_path), f"{index}", 1, 60, 100.0)
    assert len(os.listdir(tmp_path)) <= 4
    assert (tmp_path / "11").exists()


def test_identity_is_the_file() -> None:
    status = os.stat("/proc/self/exe")
    assert ratelimit.identity(os.getpid()) == f"{status.st_dev:x}-{status.st_ino:x}"
