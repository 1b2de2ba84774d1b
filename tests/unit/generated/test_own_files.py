"""Which files count as the process's own: anybody may put anything into /tmp."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.generated.surroundings import surroundings
from unspool.generated import own_files
from unspool.generated.code import Process
from unspool.generated.own_files import OwnFile, Refused
from unspool.targets.live import procfs

LIMIT = 1 << 20


@pytest.fixture
def process() -> Process:
    return surroundings("x86_64", [])


@pytest.fixture
def live(process: Process) -> Iterator[Process]:
    """This very process."""
    running = procfs.Process(os.getpid())
    process.live = running
    process.info.pid = os.getpid()
    yield process
    running.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    written = Path(os.path.realpath(tmp_path), "perf-7.map")
    written.write_bytes(b"1000 10 f\n")
    return str(written)


def own(process: Process, path: str) -> OwnFile | None:
    return own_files.own_file(process, path, LIMIT, certain=True)


def test_a_file_of_a_process_that_runs(live: Process, path: str) -> None:
    file = own(live, path)
    assert file is not None
    assert (file.path, file.certain) == (path, True)
    assert (file.read(), file.read()) == (b"1000 10 f\n", b"")
    other = own_files.own_file(live, path, LIMIT, certain=False)
    assert other is not None
    assert not other.certain


def test_nothing_of_a_core_is_certain(process: Process, path: str) -> None:
    file = own(process, path)
    assert file is not None
    assert not file.certain


def test_no_more_than_the_limit_is_read(process: Process, path: str) -> None:
    file = own_files.own_file(process, path, 4, certain=True)
    assert file is not None
    assert file.read() == b"1000"


def test_files_that_are_not_there(process: Process, tmp_path: Path) -> None:
    assert own(process, str(tmp_path / "none")) is None
    assert own(process, str(tmp_path / "none" / "none")) is None
    assert own(process, "/tmp/\0") is None


def test_no_link_is_followed(process: Process, path: str) -> None:
    folder = Path(path).parent
    (folder / "link").symlink_to(path)
    (folder / "sub").symlink_to(folder)
    assert own(process, str(folder / "link")) is None
    assert own(process, str(folder / "sub" / "perf-7.map")) is None


def test_only_regular_files(process: Process, tmp_path: Path) -> None:
    fifo = Path(os.path.realpath(tmp_path), "fifo")
    os.mkfifo(fifo, 0o600)
    with pytest.raises(Refused, match="no regular file"):
        own(process, str(fifo))
    with pytest.raises(Refused, match="no regular file"):
        own(process, str(fifo.parent))


def test_files_that_everybody_may_write(process: Process, path: str) -> None:
    Path(path).chmod(0o666)
    with pytest.raises(Refused, match="everybody"):
        own(process, path)
    Path(path).chmod(0o664)
    assert own(process, path) is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_files_of_others(process: Process, live: Process, path: str) -> None:
    os.chown(path, 12345, -1)
    with pytest.raises(Refused, match="user 12345"):
        own(live, path)
    process.live = None
    process.owners = {12346}
    with pytest.raises(Refused, match="user 12345"):
        own(process, path)
    process.owners = {12345, 12346}
    assert own(process, path) is not None
    os.chown(path, 0, -1)
    assert own(process, path) is not None


def test_files_of_an_earlier_process_with_the_same_id(live: Process, path: str) -> None:
    started = Path(f"/proc/{os.getpid()}").stat().st_mtime
    os.utime(path, (started - 3600, started - 3600))
    with pytest.raises(Refused, match="older than the process"):
        own(live, path)
    os.utime(path, (time.time(), time.time()))
    assert own(live, path) is not None


def test_files_of_a_later_process_with_the_same_id(
    process: Process, path: str, tmp_path: Path
) -> None:
    core = tmp_path / "core"
    core.write_bytes(b"")
    process.info.path = str(core)
    now = time.time()
    os.utime(core, (now - 3600, now - 3600))
    with pytest.raises(Refused, match=r"newer than .*core"):
        own(process, path)
    os.utime(path, (now - 7200, now - 7200))
    assert own(process, path) is not None


def test_a_sysroot_is_another_machine(process: Process, path: str, tmp_path: Path) -> None:
    process.sysroot = str(tmp_path / "root")
    assert own(process, path) is None
    inside = tmp_path / "root" / "tmp" / "perf-7.map"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(b"there")
    os.utime(inside, (0, 0))
    inside.chmod(0o666)
    found = list(own_files.given_files(process, "perf-7.map", "/tmp", LIMIT))
    assert [(each.path, each.read(), each.certain) for each in found] == [
        (str(inside), b"there", False)
    ]


def test_what_the_user_gives(process: Process, path: str, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    (folder / "tmp").mkdir(parents=True)
    (folder / "tmp" / "perf-7.map").write_bytes(b"copied")
    (folder / "perf-8.map").write_bytes(b"other")
    process.symbols = [path, str(Path(path).parent), str(folder), str(folder / "perf-8.map")]
    found = own_files.given_files(process, "perf-7.map", "tmp", LIMIT)
    assert [each.read() for each in found] == [b"1000 10 f\n", b"1000 10 f\n", b"copied"]


def test_ids_inside_and_outside_of_a_container(process: Process) -> None:
    class Contained(procfs.Process):
        def __init__(self) -> None:
            pass

        def status(self, tid: int | None = None) -> dict[str, str]:
            return {"NSpid": "4711\t12\t7"}

    process.info.pid = 4711
    assert own_files.pids_of(process) == [4711]
    process.live = Contained()
    assert own_files.pids_of(process) == [7, 12, 4711]
