"""A report as the file that goes into the spool: compressed, with what the handler knows."""

from __future__ import annotations

import os
import time
import zlib

from unspool.model import Crash, Finding, Report, TargetInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from unspool.capture.config import Config
    from unspool.capture.crash import KernelCrash
    from unspool.capture.privacy import Policy

_GZIP = 31
_LEVEL = 6
_ARCHITECTURES = {"x86_64": "x86_64", "i686": "x86", "aarch64": "aarch64", "armv7l": "arm"}


def compressed(chunks: Iterable[str]) -> bytes:
    """The chunks as one gzip file."""
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    parts = [deflate.compress(chunk.encode()) for chunk in chunks]
    return b"".join([*parts, deflate.flush()])


def render(
    report: Report, crash: KernelCrash, config: Config, policy: Policy, environ: bytes | None
) -> Iterator[str]:
    """The report in the form that the settings want. Its privacy has been seen to."""
    from unspool.render.formats import chunks

    report.target.capture = capture(crash, policy, environ)
    return chunks(config.text("format"), report)


def capture(crash: KernelCrash, policy: Policy, environ: bytes | None) -> dict[str, object]:
    """What the kernel told, as the key `capture` of a report."""
    from unspool import __version__

    user = [policy.value("user", str(number)) for number in (crash.uid, crash.gid)]
    return {
        "version": __version__,
        "host_pid": crash.pid,
        "host_tid": crash.tid,
        "crashed_at": moment(crash.time),
        "dump_mode": crash.dump_mode,
        "uid": user[0],
        "gid": user[1],
        "host_name": policy.value("host_name", crash.host_name or None),
        "environment": policy.environment(environ),
    }


def moment(seconds: float) -> str:
    """A time as RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def failure(crash: KernelCrash, why: str) -> Report:
    """A report that says why there is none: of the handler's own errors."""
    from unspool.targets.signals import signal_name

    machine = os.uname().machine
    info = TargetInfo(
        "core", _ARCHITECTURES.get(machine, machine), pid=crash.pid, truncated=True,
        captured_at=moment(time.time()),
    )  # fmt: skip
    finding = Finding("handler_error", why, incomplete=True)
    return Report(
        info, [], [], crash=Crash(signal_name(crash.signal), crash.signal), findings=[finding]
    )
