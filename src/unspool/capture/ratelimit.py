"""How often one executable may crash before its crashes are only counted.

A program that is started anew whenever it crashes would fill the spool and push out the
reports of all others, and keep the device busy.
"""

from __future__ import annotations

import os

from unspool.capture.spool import Lock

_MAX_FILES = 256
_MAX_COUNT = 1000


def admit(folder: str, executable: str, count: int, seconds: int, now: float) -> bool:
    """Whether there is to be a report of a crash of an executable; counts it if so.

    `executable` is `identity`'s. At most `count` are admitted in `seconds`; of a `count` of 0 all.
    Raises `OSError`.
    """
    if not count:
        return True
    os.makedirs(folder, 0o700, exist_ok=True)
    path = os.path.join(folder, executable)
    with Lock(path) as lock:
        data = os.pread(lock.descriptor, 32 * _MAX_COUNT, 0)
        times = [float(word) for word in data.split() if word.replace(b".", b"", 1).isdigit()]
        # Of the future are those from before somebody set the clock back.
        times = [each for each in times if now - seconds < each <= now]
        if len(times) >= min(count, _MAX_COUNT):
            return False
        times.append(now)
        text = "".join(f"{each:.3f}\n" for each in times).encode()
        os.ftruncate(lock.descriptor, 0)
        os.pwrite(lock.descriptor, text, 0)
    _forget_old(folder)
    return True


def identity(pid: int) -> str:
    """What stands for the executable of a process: its file's device and inode.

    Not its path, which every container has its own program at. All programs of an
    interpreter are one.
    """
    status = os.stat(f"/proc/{pid}/exe")
    return f"{status.st_dev:x}-{status.st_ino:x}"


def _forget_old(folder: str) -> None:
    names = os.listdir(folder)
    if len(names) <= _MAX_FILES:
        return
    paths = [os.path.join(folder, name) for name in names]
    by_age = sorted((os.stat(path).st_mtime, path) for path in paths if os.path.exists(path))
    for _, path in by_age[: len(names) // 2]:
        os.unlink(path)
