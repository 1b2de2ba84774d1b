"""What is known of the machine and its system, for the report: `TargetInfo.system`.

The same words for a running process as for a minidump of it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from unspool.formats.cpuinfo import Processor

_LONGEST = 256
_LINES = 64
# The first processor's paragraph of /proc/cpuinfo. On big machines it takes the kernel long to
# write all of them: it asks each one for its frequency.
_PARAGRAPH = 4096

# By the names of lsb-release, and of os-release(5), which most systems have instead.
_DISTRIBUTION = {
    "DISTRIB_ID": "id", "DISTRIB_RELEASE": "release", "DISTRIB_CODENAME": "codename",
    "DISTRIB_DESCRIPTION": "description",
    "ID": "id", "VERSION_ID": "release", "VERSION_CODENAME": "codename",
    "PRETTY_NAME": "description",
}  # fmt: skip


def live_system(arch: str, maps: bytes, root: str) -> dict[str, object] | None:
    """This machine, for a process of architecture `arch`, its mappings, and its root directory.

    The kernel is the same for all containers, the distribution that of the root; "" is our own.
    """
    from unspool.targets.facts import lsb_release

    def find(path: str) -> str | None:
        if not root:
            return path
        from unspool.symbols.files import under_sysroot

        return under_sysroot(root, path)

    kernel = os.uname()
    text = lsb_release(find)
    return known(
        {
            "os_version": uname_words([kernel.release, *kernel.version.split()]),
            "cpu": _first_processor(arch),
            "cpu_count": os.cpu_count(),
            "memory_maps": maps.count(b"\n"),
            "distribution": distribution(text or b""),
        }
    )


def known(facts: Mapping[str, object]) -> dict[str, object] | None:
    """Those that are known; None if none is."""
    return {key: value for key, value in facts.items() if value} or None


def uname_words(words: list[str]) -> str:
    """The release and version, without lines' ends, and no longer than anybody makes them."""
    return " ".join(words)[:_LONGEST]


def x86_words(family: int, model: int, stepping: int, vendor: str = "") -> str:
    """`family 6 model 70 stepping 1`; "" where the family is not known."""
    if not family:
        return ""
    return f"{vendor} family {family} model {model} stepping {stepping}".strip()


def _first_processor(arch: str) -> str:
    from unspool.formats.cpuinfo import Processor

    try:
        with open("/proc/cpuinfo", "rb", buffering=0) as file:
            return processor_words(Processor(file.read(_PARAGRAPH) or b""), arch)
    except OSError:
        return ""


def processor_words(processor: Processor, arch: str) -> str:
    """What a process of architecture `arch` ran on; "" for other architectures than x86."""
    if arch not in ("x86", "x86_64"):
        return ""
    # Of x86-64 minidumps have no vendor.
    vendor = processor.vendor.decode("ascii") if arch == "x86" else ""
    family, model, stepping = map(processor.number, ("cpu family", "model", "stepping"))
    return x86_words(family, model, stepping, vendor)


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
