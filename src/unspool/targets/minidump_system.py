"""What a minidump says of the machine and its system, for the report."""

from __future__ import annotations

from unspool.formats.minidump import streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.formats.minidump.reader import Minidump
    from unspool.formats.minidump.records import System

_LONGEST = 256
_LINES = 64
_VENDOR = 12

# By the names of lsb-release, and of os-release(5), which most systems have instead.
_DISTRIBUTION = {
    "DISTRIB_ID": "id", "DISTRIB_RELEASE": "release", "DISTRIB_CODENAME": "codename",
    "DISTRIB_DESCRIPTION": "description",
    "ID": "id", "VERSION_ID": "release", "VERSION_CODENAME": "codename",
    "PRETTY_NAME": "description",
}  # fmt: skip


def system_of(dump: Minidump) -> dict[str, object] | None:
    """`TargetInfo.system` of a dump; None if it says nothing."""
    found: dict[str, object] = {}
    described = dump.system()
    if described is not None:
        found["os_version"] = _version(described)
        found["cpu"] = _processor(described)
        found["cpu_count"] = described.cpu_count or None
    maps = dump.text(streams.LINUX_MAPS)
    if maps:
        found["memory_maps"] = len(maps.splitlines())
    found["distribution"] = distribution(dump.text(streams.LINUX_LSB_RELEASE) or b"")
    return {key: value for key, value in found.items() if value} or None


def _version(system: System) -> str:
    words = system.csd[:_LONGEST].split()
    if system.os == "linux" and words[:1] == ["Linux"]:
        # What uname(1) prints: the system, its release and version, the machine.
        return " ".join(words[1:-1] if len(words) > 2 else words[1:])
    numbers = ".".join(map(str, system.version)) if any(system.version) else ""
    return f"{numbers} {' '.join(words)}".strip()


def _processor(system: System) -> str:
    if system.arch_name not in ("x86", "x86_64") or not system.processor_level:
        return ""
    vendor = ""
    if system.arch_name == "x86":  # of x86-64 Windows has something else here
        vendor = system.cpu[:_VENDOR].decode("ascii", "replace").strip("\0") + " "
    model, stepping = system.processor_revision >> 8, system.processor_revision & 0xFF
    return f"{vendor.lstrip()}family {system.processor_level} model {model} stepping {stepping}"


def distribution(text: bytes) -> dict[str, str] | None:
    """The names of a Linux distribution, by its lsb-release or os-release; None without any."""
    found: dict[str, str] = {}
    for line in text.decode("utf-8", "replace").splitlines()[:_LINES]:
        name, _, value = line.partition("=")
        key = _DISTRIBUTION.get(name.strip())
        value = value.strip().strip("\"'")[:_LONGEST]
        if key is not None and value:
            found.setdefault(key, value)
    return found or None
