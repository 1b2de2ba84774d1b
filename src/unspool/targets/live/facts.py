"""What /proc tells of a running process beside its memory and threads, for a dump of it."""

from __future__ import annotations

import os

from unspool.formats.notes import parse_auxv
from unspool.symbols.files import under_sysroot
from unspool.targets.facts import Facts, find_linker, lsb_release, read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.memory import Memory
    from unspool.targets.live.target import LiveTarget
    from unspool.targets.stream.target import StreamTarget


def live_facts(target: LiveTarget | StreamTarget, now: Memory) -> Facts:
    """The facts as they are now, but for the mappings. `now` is the process's memory."""
    process = target.process
    auxv = process.read("auxv")
    system = os.uname()
    root = f"{process.path}/root"
    return Facts(
        auxv=auxv or None,
        maps=target.maps_text or None,
        command_line=process.read("cmdline") or None,
        environ=process.read("environ") or None,
        status=process.read("status") or None,
        cpu_info=read_text("/proc/cpuinfo") or None,
        lsb_release=lsb_release(lambda path: under_sysroot(root, path)),
        linker=find_linker(target, now, parse_auxv(target.arch, auxv or b"")),
        thread_names=process.names(),
        version=version_of(system.release),
        system=f"{system.sysname} {system.release} {system.version} {system.machine}",
        times=times_of(process.read("stat") or b"", read_text("/proc/stat") or b""),
    )


def version_of(release: str) -> tuple[int, int, int] | None:
    """The numbers at the start of what `uname -r` prints: "6.1.0-18-amd64", "5.4"."""
    numbers = []
    for part in release.split(".")[:3]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    if not numbers:
        return None
    major, minor, patch = (*numbers, 0, 0)[:3]
    return major, minor, patch


def times_of(stat: bytes, system: bytes) -> tuple[int, int, int] | None:
    """Start, user and system time in seconds, by /proc/PID/stat and /proc/stat's boot time."""
    # The name in parentheses may itself hold any, and spaces; fields count from 3 behind it.
    fields = stat.rpartition(b")")[2].split()
    boot = next((line.split()[1] for line in system.splitlines() if line[:6] == b"btime "), None)
    try:
        user, kernel, started = (int(fields[number - 3]) for number in (14, 15, 22))
        ticks = os.sysconf("SC_CLK_TCK")
        return int(boot or b"") + started // ticks, user // ticks, kernel // ticks
    except (IndexError, ValueError, OSError):
        return None
