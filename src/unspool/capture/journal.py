"""Tells the system's log, which syslog and the journal read, and never waits for it."""

from __future__ import annotations

import os

ERROR, WARNING, NOTICE = 3, 4, 5

_DAEMON = 3 << 3  # syslog(3), LOG_DAEMON
_KERNEL_LOG = "/dev/kmsg"
_MOST = 900


def tell(socket_path: str, level: int, message: str) -> bool:
    """One line. False if nobody took it.

    Not syslog(3): that waits while the log is not read. Situation: it is the log's own daemon
    that crashed; it is read again when that was started anew, and for that its crash must have
    been handled. The kernel's own log is there always, and is read by the same daemons.
    """
    text = "".join(letter if letter.isprintable() else "?" for letter in message)[:_MOST]
    line = f"<{_DAEMON | level}>unspool[{os.getpid()}]: {text}".encode("utf-8", "replace")
    return _send(socket_path, line) or _write(line)


def _send(path: str, line: bytes) -> bool:
    import socket

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
            connection.setblocking(False)
            connection.sendto(line, path)
    except OSError:
        return False
    return True


def _write(line: bytes) -> bool:
    try:
        descriptor = os.open(_KERNEL_LOG, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(descriptor, line)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
