"""Unpacking takes little memory, little disk and an end, whatever the data say."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import unspool
from tests.build import compressed
from tests.build.elf import Elf
from tests.unit.targets.conftest import Opened
from unspool.errors import InputError
from unspool.targets.input import unpack as unpack_module
from unspool.targets.input.spool import LIMIT_VARIABLE

BLOCK = 128 << 10
CONTENT = compressed.mixed(400_000)


# What is asked of memory


def test_a_window_of_128_mebibytes_is_taken_and_a_larger_one_is_not(opened: Opened) -> None:
    blocks = [compressed.zstd_raw(b"content")]
    assert bytes(opened(compressed.zstd_frame(blocks)).buffer) == b"content"
    with pytest.raises(InputError, match=r"window of 144 MiB, more than 128 MiB.*--long=31"):
        opened(compressed.zstd_frame(blocks, window=17 << 3 | 1))
    with pytest.raises(InputError, match=r"window of 3,932,160 MiB"):
        opened(compressed.zstd_frame(blocks, window=255))


def test_a_window_too_large_in_the_second_frame(opened: Opened) -> None:
    first = compressed.zstd_frame([compressed.zstd_raw(b"content")])
    second = compressed.zstd_frame([compressed.zstd_raw(b"more")], window=255)
    source = opened(first + second)
    assert bytes(source.buffer) == b"content"
    assert source.truncated == (
        "unpacking stopped after 7 bytes (compressed data need a window of 3,932,160 MiB,"
        " more than 128 MiB); decompress the file first: zstd -d --long=31"
    )


def test_an_xz_dictionary_too_large(opened: Opened) -> None:
    assert bytes(opened(compressed.xz_dictionary(CONTENT, 30)).buffer) == CONTENT  # 128 MiB
    with pytest.raises(InputError, match=r"more than 160 MiB of memory to unpack.*xz -d"):
        opened(compressed.xz_dictionary(CONTENT, 38))


def measured(path: Path, **environment: str) -> tuple[int, int, int, str]:
    """Opens `path` in a process of its own: (size, disk bytes, peak KiB of memory, truncated).

    Not `ru_maxrss`, which starts at the memory of the process that forked this one.
    """
    code = (
        "import os, sys\n"
        "from unspool.targets.input.source import open_source\n"
        "s = open_source(sys.argv[1])\n"
        "links = [f'/proc/self/fd/{fd}' for fd in range(3, 20)]\n"
        "files = [l for l in links if os.path.lexists(l) and 'deleted' in os.readlink(l)]\n"
        "disk = sum(os.stat(file).st_blocks * 512 for file in files)\n"
        "assert len(files) == 1, files\n"
        "status = open('/proc/self/status').read()\n"
        "peak = status.split('VmHWM:')[1].split()[0]\n"
        "print(s.size, disk, peak, s.truncated)\n"
    )
    root = Path(unspool.__file__).parents[1]
    out = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    ).stdout.decode()
    size, disk, peak, truncated = out.rstrip("\n").split(" ", 3)
    return int(size), int(disk), int(peak), truncated


def test_a_core_of_two_gigabytes_takes_neither_memory_nor_disk(tmp_path: Path) -> None:
    size = 2 << 30
    page = compressed.zstd_raw(compressed.mixed(BLOCK))
    blocks = [compressed.zstd_raw(compressed.core_of(size).ljust(BLOCK, b"\0"))]
    count = size // BLOCK - 1
    blocks += [
        page if index % 1000 == 0 else compressed.zstd_repeat(0, BLOCK) for index in range(count)
    ]
    path = tmp_path / "core.zst"
    path.write_bytes(compressed.zstd_frame(blocks, window=11 << 3))
    got, disk, peak, truncated = measured(path)
    assert (got, truncated) == (size, "")
    assert disk < 18 * BLOCK
    assert peak < 30_000, "KiB"


def test_thousands_of_bytes_for_one_do_not_pile_up(tmp_path: Path) -> None:
    # One read of 64 KiB that unpacks to 2 GiB: a decoder that answers all that its input
    # gives would need that much memory.
    blocks = [compressed.zstd_repeat(0, BLOCK)] * (2 << 30 >> 17)
    blocks[0] = compressed.zstd_raw(compressed.core_of(2 << 30).ljust(BLOCK, b"\0"))
    path = tmp_path / "core.zst"
    path.write_bytes(compressed.zstd_frame(blocks, window=7 << 3))
    got, disk, peak, _truncated = measured(path)
    assert got == 2 << 30
    assert disk <= 16384
    assert peak < 30_000


@pytest.mark.parametrize("kind", ["lz4", "xz", "gzip"])
def test_zeros_take_no_memory_in_any_format(kind: str, tmp_path: Path) -> None:
    size = 64 << 20
    path = tmp_path / "core"
    path.write_bytes(compressed.compress(kind, compressed.core_of(size).ljust(size, b"\0")))
    got, disk, peak, truncated = measured(path)
    assert (got, truncated) == (size, "")
    assert disk <= 16384
    assert peak < 30_000


# What is asked of the disk


def test_pages_that_are_not_zero_are_bounded(
    tmp_path: Path,
    opened: Opened,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, str(1 << 20))
    blocks = [compressed.zstd_repeat(0x41, BLOCK)] * 1000
    source = opened(compressed.zstd_frame(blocks))
    assert source.size == 1 << 20
    assert source.truncated == (
        "unpacking stopped after 1,048,576 bytes "
        "(1,048,576 bytes are stored, as many as UNSPOOL_SPOOL_LIMIT allows)"
    )


def test_no_room_at_all_is_not_the_files_fault(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "1000")
    with pytest.raises(InputError, match=r"UNSPOOL_SPOOL_LIMIT allows\); give it more room"):
        opened(compressed.zstd_frame([compressed.zstd_repeat(0x41, BLOCK)]))


def test_a_file_size_limit_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "core.zst"
    path.write_bytes(compressed.zstd_frame([compressed.zstd_repeat(0x41, BLOCK)] * 100))
    code = (
        "import resource, sys\n"
        "from unspool.targets.input.source import open_source\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "s = open_source(sys.argv[1])\n"
        "print(s.size, s.truncated)\n"
    )
    root = Path(unspool.__file__).parents[1]
    out = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    ).stdout.decode()
    assert out.startswith("1048576 unpacking stopped after 1,048,576 bytes (")
    assert "File too large" in out
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1 << 20


def test_a_bomb_ends_where_the_program_headers_end(opened: Opened) -> None:
    blocks = [compressed.zstd_raw(compressed.core_of(300_000))] + [
        compressed.zstd_repeat(0, BLOCK)
    ] * 16_000
    source = opened(compressed.zstd_frame(blocks))
    assert source.size == 300_000 + unpack_module._SLACK
    assert source.truncated == ""
    assert source.notes == ["data after the end that the ELF headers tell are ignored"]


def test_sections_count_as_well_as_segments(opened: Opened) -> None:
    image = Elf()
    image.section(".comment", data=bytes(5 << 20) + b"end")
    data = image.build()
    source = opened(compressed.compress("zstd", data))
    assert bytes(source.buffer) == data
    assert source.notes == []


def test_program_headers_that_come_late(opened: Opened) -> None:
    image = bytearray(compressed.core_of(4 << 20).ljust(4 << 20, b"\0"))
    table = bytes(image[64:400])
    image[64:400] = bytes(336)
    image[3 << 20 : (3 << 20) + 336] = table
    image[32:40] = (3 << 20).to_bytes(8, "little")
    source = opened(compressed.compress("gzip", bytes(image) + bytes(8 << 20)))
    assert source.size == (4 << 20) + unpack_module._SLACK
    assert source.notes


@pytest.mark.parametrize(
    ("head", "limit"),
    [
        (b"MDMP", "_MAX_MINIDUMP"),
        (b"{", "_MAX_OTHER"),
        (b"\x7fELF\2\2", "_MAX_OTHER"),  # big-endian
        (b"\x7fELF\2\1\1", "_MAX_ELF"),  # a header table at offset 2**60
    ],
)
def test_what_tells_no_size_ends_at_a_fixed_one(
    head: bytes,
    limit: str,
    opened: Opened,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("_MAX_MINIDUMP", "_MAX_OTHER", "_MAX_ELF"):
        monkeypatch.setattr(unpack_module, name, 100_000 if name == limit else 1 << 50)
    start = bytearray(head.ljust(64, b"\0"))
    start[32:40] = (1 << 60).to_bytes(8, "little")
    source = opened(compressed.compress("gzip", bytes(start) + bytes(200_000)))
    assert source.size == 100_000


def test_thousands_of_empty_members_end_it(opened: Opened) -> None:
    one = compressed.compress("gzip", b"x")
    source = opened(one + compressed.compress("gzip", b"") * 5000 + one)
    assert bytes(source.buffer) == b"x"
    assert "nothing but empty members" in source.truncated
