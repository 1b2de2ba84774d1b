"""The directory of symcaches: whole entries or none, bounded, shared, never in the way."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from unspool.symbols import symcache_store
from unspool.symbols.symcache_store import DEFAULT_LIMIT, SymcacheStore, parse_limit

if TYPE_CHECKING:
    from unspool.symbols.symcache_store import Sink

TRAILER = 8


def put(store: SymcacheStore, key: str, data: bytes) -> None:
    def write(sink: Sink) -> None:
        for start in range(0, len(data), 1000):
            sink.write(data[start : start + 1000])

    store.put(key, write)


def content(store: SymcacheStore, key: str) -> bytes | None:
    path = store.get(key)
    return Path(path).read_bytes()[:-TRAILER] if path else None


def used(path: Path, seconds: int) -> None:
    os.utime(path, (1_000_000 + seconds, 1_000_000 + seconds))


def test_what_was_stored_comes_back(tmp_path: Path) -> None:
    store = SymcacheStore(str(tmp_path / "made" / "on demand"))
    assert store.get("key") is None
    data = os.urandom(5000)
    put(store, "key", data)
    assert content(store, "key") == data
    assert content(store, "other") is None
    put(store, "key", b"newer")
    assert content(store, "key") == b"newer"
    assert os.listdir(store.folder) == ["key.symcache"]
    assert os.stat(store.folder).st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["empty", "cut", "zeros", "flipped", "longer", "mark"])
def test_damaged_entries_are_removed(tmp_path: Path, damage: str) -> None:
    store = SymcacheStore(str(tmp_path))
    put(store, "key", bytes(range(256)) * 20)
    path = tmp_path / "key.symcache"
    data = bytearray(path.read_bytes())
    if damage == "empty":
        data.clear()
    elif damage == "cut":
        del data[3000:]
    elif damage == "zeros":
        data[:] = bytes(len(data))
    elif damage == "flipped":
        data[1234] ^= 1
    elif damage == "longer":
        data += b"x"
    else:
        data[-TRAILER] ^= 0xFF
    path.write_bytes(data)
    assert store.get("key") is None
    assert not path.exists()
    put(store, "key", b"rebuilt")
    assert content(store, "key") == b"rebuilt"


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    store = SymcacheStore(str(tmp_path), limit=3 * (1000 + TRAILER))
    for number, key in enumerate("abc"):
        put(store, key, bytes(1000))
        used(tmp_path / f"{key}.symcache", number)
    assert store.get("a") is not None  # now the last used
    put(store, "d", bytes(1000))
    assert sorted(os.listdir(tmp_path)) == ["a.symcache", "c.symcache", "d.symcache"]
    put(store, "e", bytes(2900))
    assert sorted(os.listdir(tmp_path)) == ["e.symcache"]


def test_what_is_larger_than_the_limit_is_not_kept(tmp_path: Path) -> None:
    store = SymcacheStore(str(tmp_path), limit=500)
    put(store, "small", bytes(100))
    put(store, "large", bytes(1000))
    assert os.listdir(tmp_path) == ["small.symcache"]
    put(SymcacheStore(str(tmp_path / "none"), limit=0), "key", b"x")
    assert not (tmp_path / "none").exists()


def test_other_files_are_left_alone_and_stale_ones_removed(tmp_path: Path) -> None:
    (tmp_path / "README").write_bytes(bytes(5000))
    (tmp_path / "fresh.tmp").write_bytes(b"another process is writing this")
    (tmp_path / "stale.tmp").write_bytes(b"it was killed")
    used(tmp_path / "stale.tmp", 0)
    store = SymcacheStore(str(tmp_path), limit=1000)
    put(store, "key", bytes(500))
    assert sorted(os.listdir(tmp_path)) == ["README", "fresh.tmp", "key.symcache"]


def test_a_failure_while_writing_leaves_nothing(tmp_path: Path) -> None:
    store = SymcacheStore(str(tmp_path))

    def full(sink: Sink) -> None:
        sink.write(b"some of it")
        raise OSError(28, "No space left on device")

    store.put("key", full)
    assert os.listdir(tmp_path) == []
    assert store.get("key") is None


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    store = SymcacheStore(str(tmp_path / "file" / "folder"))
    put(store, "key", b"x")
    assert store.get("key") is None


def test_an_entry_that_cannot_be_touched_is_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SymcacheStore(str(tmp_path))
    put(store, "key", b"x")

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(symcache_store.os, "utime", refuse)
    assert content(store, "key") == b"x"


def hammer(folder: str, seed: int, failures: multiprocessing.Queue[str]) -> None:
    store = SymcacheStore(folder, limit=30_000)
    for turn in range(60):
        key = f"key{(seed + turn) % 5}"
        wanted = key.encode() * 1500
        found = store.get(key)
        if found is not None:
            try:
                data = Path(found).read_bytes()[:-TRAILER]
            except FileNotFoundError:
                continue  # removed between the two, as a mapped one would outlive
            if data != wanted:
                failures.put(f"{key}: {len(data)} bytes")
        put(store, key, wanted)


def test_many_processes_at_once(tmp_path: Path) -> None:
    """Four processes store, use and evict the same five entries, of which three fit."""
    context = multiprocessing.get_context("spawn")
    failures = context.Queue()
    workers = [
        context.Process(target=hammer, args=(str(tmp_path), seed, failures)) for seed in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert failures.empty()
    names = os.listdir(tmp_path)
    assert names
    assert all(name.endswith(".symcache") for name in names)
    assert sum(os.path.getsize(tmp_path / name) for name in names) <= 30_000


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", DEFAULT_LIMIT), ("1000", 1000), ("10K", 10 << 10), ("500m", 500 << 20),
        ("3G", 3 << 30), (" 2 ", 2), ("1MB", 1 << 20), ("0", 0), ("lots", DEFAULT_LIMIT),
        ("-1", DEFAULT_LIMIT), ("G", DEFAULT_LIMIT), ("1.5G", DEFAULT_LIMIT),
    ],
)  # fmt: skip
def test_limits_as_text(text: str, size: int) -> None:
    assert parse_limit(text) == size


def test_where_the_store_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("UNSPOOL_CACHE_LIMIT", "1M")
    store = symcache_store.default_store()
    assert store is not None
    assert (store.folder, store.limit) == (f"{tmp_path}/unspool/symcache", 1 << 20)
    monkeypatch.setenv("HOME", "/home/somebody")
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        store = symcache_store.default_store()
        assert store is not None
        assert store.folder == "/home/somebody/.cache/unspool/symcache"
    monkeypatch.setenv("HOME", "nowhere")
    assert symcache_store.default_store() is None
