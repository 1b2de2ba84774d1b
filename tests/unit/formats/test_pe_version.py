"""The fixed part of a PE image's version resource."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.write.test_module_list import version_resource
from unspool.formats.pe_version import fixed_file_info

RVA = 0x2000


def reader(data: bytes) -> Callable[[int, int], bytes]:
    def read(rva: int, size: int) -> bytes:
        return data[max(rva - RVA, 0) :][:size] if rva >= RVA else b""

    return read


def found(data: bytes) -> bytes | None:
    return fixed_file_info(reader(data), (RVA, len(data)))


def test_the_fixed_part() -> None:
    data = version_resource(RVA)
    assert found(data) == data[128:180]


def test_resources_without_a_version() -> None:
    assert found(version_resource(RVA, kind=3)) is None
    assert found(version_resource(RVA, signature=1)) is None
    assert found(b"") is None


def test_every_truncation() -> None:
    data = version_resource(RVA)
    for size in range(len(data)):
        assert found(data[:size]) is None


@given(data=st.data())
def test_any_change_is_survived(data: st.DataObject) -> None:
    raw = bytearray(version_resource(RVA))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    result = found(bytes(raw))
    assert result is None or len(result) == 52
