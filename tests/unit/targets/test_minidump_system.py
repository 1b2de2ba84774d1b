"""What a minidump says of the machine."""

from __future__ import annotations

import pytest

from tests.build import minidump_records as records
from tests.build.minidump import Minidump
from unspool.formats.minidump import reader
from unspool.targets.minidump.system import distribution, system_of

LSB_RELEASE = b"""DISTRIB_ID=Ubuntu
DISTRIB_RELEASE=16.04
DISTRIB_CODENAME=xenial
DISTRIB_DESCRIPTION="Ubuntu 16.04.3 LTS"
"""
OS_RELEASE = b"""PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION_CODENAME=bookworm
ID=debian
"""
INTEL = b"GenuineIntel".ljust(24, b"\0")


def said(
    arch: str, system: str, csd: str = "", more: dict[int, bytes] | None = None, **fields: object
) -> dict[str, object] | None:
    dump = Minidump(arch, None)
    dump.system(system, csd, **fields)  # type: ignore[arg-type]
    for kind, data in (more or {}).items():
        dump.stream(kind, data)
    return system_of(reader.Minidump(dump.build()))


def test_a_linux_dump() -> None:
    uname = "Linux 4.9.60-aufs #1 SMP Mon Nov 6 16:00:12 UTC 2017 x86_64"
    maps = b"1000-2000 r-xp 0 0:0 0\n3000-4000 rw-p 0 0:0 0\n"
    more = {records.LINUX_MAPS: maps, records.LINUX_LSB_RELEASE: LSB_RELEASE}
    found = said("amd64", "linux", uname, more, ProcessorLevel=6, ProcessorRevision=0x4601)
    assert found == {
        "os_version": "4.9.60-aufs #1 SMP Mon Nov 6 16:00:12 UTC 2017",
        "cpu": "family 6 model 70 stepping 1",
        "cpu_count": 4,
        "memory_maps": 2,
        "distribution": {
            "id": "Ubuntu", "release": "16.04", "codename": "xenial",
            "description": "Ubuntu 16.04.3 LTS",
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("csd", "expected"),
    [("", "6.0.0"), ("Linux", ""), ("Linux 5.4", "5.4"), ("strange", "6.0.0 strange")],
)
def test_versions_of_linux(csd: str, expected: str) -> None:
    found = said("amd64", "linux", csd)
    assert found is not None
    assert found.get("os_version", "") == expected


def test_a_windows_dump() -> None:
    found = said(
        "x86", "windows", "Service Pack 2", ProcessorLevel=6, ProcessorRevision=0x0D08, Cpu=INTEL
    )
    assert found == {
        "os_version": "10.0.19045 Service Pack 2",
        "cpu": "GenuineIntel family 6 model 13 stepping 8",
        "cpu_count": 4,
    }


def test_an_arm_dump_has_no_words_for_its_processor() -> None:
    found = said("arm64", "linux", "Linux 6.1 x", ProcessorLevel=8, NumberOfProcessors=0)
    assert found == {"os_version": "6.1"}


def test_os_release() -> None:
    assert distribution(OS_RELEASE) == {
        "id": "debian", "release": "12", "codename": "bookworm",
        "description": "Debian GNU/Linux 12 (bookworm)",
    }  # fmt: skip


@pytest.mark.parametrize("text", [b"", b"\xff\xfe=\n\n===", b"HOME_URL=x\n", b"ID=\n"])
def test_no_distribution(text: bytes) -> None:
    assert distribution(text) is None


def test_a_long_text_is_cut() -> None:
    assert distribution(b"ID=" + b"x" * 100_000) == {"id": "x" * 256}
    assert distribution(b"#\n" * 100 + b"ID=far\n") is None
