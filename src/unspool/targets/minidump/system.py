"""What a minidump says of the machine and its system, for the report."""

from __future__ import annotations

from unspool.formats.minidump import streams
from unspool.targets.system import distribution, known, uname_words, x86_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.formats.minidump.reader import Minidump
    from unspool.formats.minidump.records import System

_LONGEST = 512
_VENDOR = 12


def system_of(dump: Minidump) -> dict[str, object] | None:
    """`TargetInfo.system` of a dump; None if it says nothing."""
    described = dump.system()
    found: dict[str, object] = {}
    if described is not None:
        found["os_version"] = _version(described)
        found["cpu"] = _processor(described)
        found["cpu_count"] = described.cpu_count
    maps = dump.text(streams.LINUX_MAPS)
    found["memory_maps"] = len(maps.splitlines()) if maps else 0
    found["distribution"] = distribution(dump.text(streams.LINUX_LSB_RELEASE) or b"")
    return known(found)


def _version(system: System) -> str:
    words = system.csd[:_LONGEST].split()
    if system.os == "linux" and words[:1] == ["Linux"]:
        # What uname(1) prints: the system, its release and version, the machine.
        return uname_words(words[1:-1] if len(words) > 2 else words[1:])
    numbers = [".".join(map(str, system.version))] if any(system.version) else []
    return uname_words([*numbers, *words])


def _processor(system: System) -> str:
    if system.arch_name not in ("x86", "x86_64"):
        return ""
    vendor = ""
    if system.arch_name == "x86":  # of x86-64 Windows has something else here
        vendor = system.cpu[:_VENDOR].decode("ascii", "replace").strip("\0")
    revision = system.processor_revision
    return x86_words(system.processor_level, revision >> 8, revision & 0xFF, vendor)
