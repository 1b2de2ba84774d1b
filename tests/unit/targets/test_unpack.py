"""Unpacking: whole, in parts, damaged, cut anywhere, hostile; always in little memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import compressed
from tests.unit.targets.conftest import Opened
from unspool.errors import InputError, MissingDependency
from unspool.targets.input import unpack as unpack_module
from unspool.targets.input.source import open_source

KINDS = pytest.mark.parametrize("kind", compressed.KINDS)
BLOCK = 128 << 10


CONTENT = compressed.mixed(400_000)


@KINDS
def test_all_of_it(kind: str, opened: Opened) -> None:
    source = opened(compressed.compress(kind, CONTENT))
    assert bytes(source.buffer) == CONTENT
    assert (source.compression, source.truncated, source.notes) == (kind, "", [])


@KINDS
def test_several_members(kind: str, opened: Opened) -> None:
    parts = [CONTENT, b"", b"x", b"", CONTENT[:5000]]
    data = b"".join(compressed.compress(kind, part) for part in parts)
    source = opened(data)
    assert bytes(source.buffer) == b"".join(parts)
    assert (source.truncated, source.notes) == ("", [])


@pytest.mark.parametrize("kind", ["zstd", "lz4"])
def test_skippable_frames(kind: str, opened: Opened) -> None:
    skip = compressed.skippable(b"\x28\xb5\x2f\xfd" * 50_000, 15)
    half = len(CONTENT) // 2
    parts = [compressed.compress(kind, part) for part in (CONTENT[:half], CONTENT[half:])]
    source = opened(skip + compressed.skippable(b"") + parts[0] + skip + parts[1] + skip)
    assert bytes(source.buffer) == CONTENT
    assert (source.compression, source.truncated, source.notes) == (kind, "", [])


def test_a_skippable_frame_before_nothing_compressed(opened: Opened) -> None:
    data = compressed.skippable(b"abc") + b"plain"
    source = opened(data)
    assert (bytes(source.buffer), source.compression, source.kind) == (data, "", "unknown")


@KINDS
def test_padding_with_zeros_is_no_loss(kind: str, opened: Opened) -> None:
    packed = compressed.compress(kind, CONTENT)
    source = opened(packed + bytes(200_000) + packed + bytes(4))
    assert bytes(source.buffer) == CONTENT * 2
    assert (source.truncated, source.notes) == ("", [])


@KINDS
def test_other_data_behind_are_told_of(kind: str, opened: Opened) -> None:
    source = opened(compressed.compress(kind, CONTENT) + b"garbage")
    assert bytes(source.buffer) == CONTENT
    assert source.truncated == ""
    assert source.notes == [f"data other than {kind} follow the compressed data; ignored"]


@KINDS
def test_cut_at_every_length(kind: str, opened: Opened) -> None:
    packed = compressed.compress(kind, CONTENT)
    most = 0
    lengths = [*range(8, 80), *range(80, len(packed), 211), *range(len(packed) - 20, len(packed))]
    for length in lengths:
        try:
            source = opened(packed[:length])
        except InputError as error:
            assert "end early before the first byte" in str(error)
            continue
        assert bytes(source.buffer) == CONTENT[: source.size]
        assert source.truncated == f"compressed data end early after {source.size:,} bytes"
        assert source.size >= most
        most = source.size
        source.close()
    assert most > len(CONTENT) // 2, "what came before the cut is kept"


@KINDS
def test_damage_keeps_what_came_before(kind: str, opened: Opened) -> None:
    noise = os.urandom(1 << 20)  # blocks that do not compress, so that damage has a place
    packed = bytearray(compressed.compress(kind, noise))
    middle = len(packed) // 2
    packed[middle : middle + 3000] = bytes(byte ^ 0x5A for byte in packed[middle : middle + 3000])
    source = opened(bytes(packed))
    assert source.truncated.startswith("compressed data are damaged after ")
    assert source.size > 400_000
    same = 400_000
    assert bytes(source.buffer[:same]) == noise[:same]


@KINDS
def test_a_wrong_checksum_is_told_of(kind: str, opened: Opened) -> None:
    packed = bytearray(compressed.compress(kind, CONTENT))
    at = {"gzip": -8, "zstd": -4, "lz4": -4, "xz": -12 - 4 - 8 - 4}[kind]
    packed[at] ^= 1
    source = opened(bytes(packed))
    assert "are damaged after" in source.truncated
    assert bytes(source.buffer) == CONTENT[: source.size]


@KINDS
@given(data=st.data())
def test_any_damage_is_bearable(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    content = compressed.mixed(60_000)
    packed = bytearray(compressed.compress(kind, content) + compressed.compress(kind, b"second"))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(packed) - 1))
        what = data.draw(st.sampled_from(["flip", "insert", "delete", "cut", "repeat"]))
        if what == "flip":
            packed[at] ^= data.draw(st.integers(1, 255))
        elif what == "insert":
            packed[at:at] = data.draw(st.binary(min_size=1, max_size=20))
        elif what == "delete" and len(packed) > 40:
            del packed[at : at + data.draw(st.integers(1, 30))]
        elif what == "cut":
            del packed[max(at, 10) :]
        else:
            packed += packed[at:]
    path = tmp_path / "damaged"
    path.write_bytes(packed)
    try:
        source = open_source(str(path))
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert 0 < source.size <= unpack_module._MAX_OTHER
    source.close()


# Libraries that may be missing


@pytest.mark.parametrize(
    ("kind", "modules", "package"),
    [
        ("zstd", ["zstandard", "compression", "compression.zstd"], "zstandard"),
        ("lz4", ["lz4", "lz4.frame"], "lz4"),
    ],
)
def test_a_missing_library_is_named(
    kind: str, modules: list[str], package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "core.packed"
    path.write_bytes(compressed.compress(kind, CONTENT))
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency) as caught:
        open_source(str(path))
    assert str(caught.value) == (
        f"{path} is compressed with {kind}, which needs the '{package}' package; "
        f"pip install 'unspool[compression]', or decompress it first: {kind} -d {path}"
    )


def test_zstd_of_the_standard_library(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.14 brings zstd; `backports.zstd` is the same for older ones."""
    if sys.version_info < (3, 14):
        backport = pytest.importorskip("backports.zstd")
        package = type(sys)("compression")
        package.zstd = backport  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "compression", package)
        monkeypatch.setitem(sys.modules, "compression.zstd", backport)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    block = compressed.zstd_raw(CONTENT[:BLOCK])
    packed = compressed.zstd_frame([block, block])
    assert bytes(opened(packed * 2).buffer) == CONTENT[:BLOCK] * 4
    for bad, words in ((packed[:-1], "end early"), (packed[:140_000], "end early")):
        source = opened(bad)
        assert bytes(source.buffer) == CONTENT[:BLOCK]
        assert source.truncated == f"compressed data {words} after {BLOCK:,} bytes"
    nonsense = (100 << 3 | 2 << 1).to_bytes(3, "little") + b"\xff" * 100
    source = opened(compressed.zstd_frame([block, nonsense]))
    assert "are damaged after 131,072 bytes" in source.truncated
    with pytest.raises(InputError, match="window"):
        opened(compressed.zstd_frame([compressed.zstd_raw(b"x")], window=18 << 3))


def test_progress_is_told(tmp_path: Path) -> None:
    path = tmp_path / "core"
    size = 100 << 20
    blocks = [compressed.zstd_raw(compressed.core_of(size))] + [
        compressed.zstd_repeat(0, BLOCK)
    ] * 799
    path.write_bytes(compressed.zstd_frame(blocks))
    seen: list[int] = []
    open_source(str(path), seen.append).close()
    assert len(seen) == 24
    assert seen == sorted(seen)
    assert seen[-1] <= size


def test_an_interrupt_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    path = tmp_path / "core"
    blocks = [compressed.zstd_raw(compressed.core_of(1 << 30))] + [
        compressed.zstd_repeat(7, BLOCK)
    ] * 800
    path.write_bytes(compressed.zstd_frame(blocks))
    before = len(os.listdir("/proc/self/fd"))

    def interrupt(_done: int) -> None:
        assert list((tmp_path / "tmp").iterdir()) == []
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_source(str(path), interrupt)
    assert len(os.listdir("/proc/self/fd")) == before
