"""The file in the making, read back by hand."""

from __future__ import annotations

from struct import unpack_from

import pytest

from unspool.errors import InputError
from unspool.write.output import Output


def test_header_directory_and_chunks() -> None:
    output = Output(3)
    first = output.add(b"abc", 16)
    second = output.add(b"defg")
    name = output.string("né")
    assert (first % 16, second % 4) == (0, 0)
    late = bytearray(4)
    output.stream(7, late)
    output.stream(3, b"")
    late[:] = b"body"
    data = b"".join(bytes(chunk) for chunk in output.finish(1234))
    signature, version, count, directory, checksum, time, flags = unpack_from("<4sIIIIIQ", data)
    assert signature == b"MDMP"
    assert version & 0xFFFF == 42899
    assert (count, directory, checksum, time, flags) == (3, 32, 0, 1234, 0)
    kind, size, rva = unpack_from("<III", data, 32)
    assert (kind, data[rva : rva + size]) == (7, b"body")
    assert unpack_from("<II", data, 44) == (3, 0)
    assert unpack_from("<III", data, 56) == (0, 0, 0)
    assert data[first : first + 3] == b"abc"
    assert data[second : second + 4] == b"defg"
    (length,) = unpack_from("<I", data, name)
    assert data[name + 4 : name + 4 + length].decode("utf-16-le") == "né"
    assert data[name + 4 + length : name + 6 + length] == b"\0\0"


def test_a_location_is_a_size_and_an_rva() -> None:
    output = Output(1)
    size, rva = unpack_from("<II", output.location(b"12345", 8))
    assert (size, rva % 8) == (5, 0)


class Huge(bytes):
    """Claims to be larger than it is: nobody has that much memory to spare."""

    def __len__(self) -> int:
        return (1 << 32) - 16


def test_what_an_rva_cannot_tell() -> None:
    with pytest.raises(InputError, match="larger than 4 GB") as caught:
        Output(1).add(Huge(b""))
    assert "--stack-bytes" in str(caught.value)


def test_surrogates_are_kept() -> None:
    output = Output(0)
    output.string("a\udc80")
    data = b"".join(bytes(chunk) for chunk in output.finish(0))
    assert b"a\0\x80\xdc\0\0" in data
