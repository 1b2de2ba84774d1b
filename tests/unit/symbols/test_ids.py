"""Debug ids and checksums, against the libraries that others use."""

from __future__ import annotations

import zlib

import pytest

from unspool.symbols.ids import debug_id, link_checksum, store_id


def test_debug_id_is_the_guid_of_the_first_sixteen_bytes() -> None:
    # Bytes 0-3, 4-5 and 6-7 are little-endian numbers of the GUID; the rest is dropped.
    assert debug_id("000102030405060708090a0b0c0d0e0fffffffff") == (
        "03020100-0504-0706-0809-0a0b0c0d0e0f"
    )


def test_short_build_ids_are_filled_up() -> None:
    assert debug_id("0102") == "00000201-0000-0000-0000-000000000000"


@pytest.mark.parametrize("size", [1, 8, 16, 20, 32])
def test_debug_id_is_what_symbolic_makes_of_the_file(size: int, tmp_path: object) -> None:
    symbolic = pytest.importorskip("symbolic")
    from tests.build.elf import Elf as Builder

    identity = bytes(range(0x71, 0x71 + size))
    builder = Builder()
    builder.load(b"\x90" * 16, address=0x1000, flags="rx")
    builder.build_id(identity)
    path = f"{tmp_path}/file"
    with open(path, "wb") as file:
        file.write(builder.build())
    [thing] = symbolic.Archive.open(path).iter_objects()
    assert debug_id(identity.hex()) == thing.debug_id


@pytest.mark.parametrize(
    "identity",
    ["3249d99d-0c40-4931-8610-f4e4fb0b6936", "3249d99d-0c40-4931-8610-f4e4fb0b6936-1b"],
)
def test_store_id_is_what_symbolic_takes_for_breakpad_s(identity: str) -> None:
    symbolic = pytest.importorskip("symbolic")
    assert symbolic.normalize_debug_id(store_id(identity)) == identity
    assert store_id(store_id(identity)) == store_id(identity)
    assert store_id("") == ""


def test_debug_id_refuses_what_is_no_hex() -> None:
    with pytest.raises(ValueError, match="hex"):
        debug_id("../../etc")


def test_checksum_is_the_crc_of_the_whole_file_over_chunks() -> None:
    data = bytes(range(256)) * 5000 + b"end"
    assert link_checksum(data) == zlib.crc32(data)
    assert link_checksum(b"") == 0
