"""What the environment says of servers: debuginfod's variables, and Microsoft's symbol path.

debuginfod's are those of its own client (debuginfod-client-config(7), elfutils 0.188).
"""

from __future__ import annotations

import os
from glob import glob

from unspool.symbols.places import symbol_path

URL_FILES = "/etc/debuginfod/*.urls"
# Beyond these nobody waits, whatever a server claims.
_MOST_BYTES = 8 << 30
_MOST_SECONDS = 900.0
_CONNECT = 10.0
_MOST_SERVERS = 16


class Limits:
    """What one download may cost.

    `connect` and `start` are seconds: until a connection is there, and until 100 KB of the
    file are; each further 100 KB may take as long. `total` is for the whole file, `most_bytes`
    its size. `attempts` is how often a connection that breaks is tried.
    """

    __slots__ = ("attempts", "connect", "most_bytes", "start", "total")

    def __init__(
        self, *, connect: float = _CONNECT, start: float = 90.0, total: float = _MOST_SECONDS,
        most_bytes: int = _MOST_BYTES, attempts: int = 2,
    ) -> None:  # fmt: skip
        self.connect = connect
        self.start = start
        self.total = total
        self.most_bytes = most_bytes
        self.attempts = attempts


class Settings:
    """`debuginfod` are URLs of servers, `symbol_servers` those of the symbol path, `breakpad`
    those of Breakpad's symbol files, of `UNSPOOL_BREAKPAD_URLS`.

    `headers` go to debuginfod servers alone. `tell_requests` asks for a line about each request,
    `tell_files` for one about each file that came.
    """

    def __init__(self) -> None:
        environment = os.environ
        self.debuginfod = debuginfod_urls()
        self.symbol_servers = [
            server
            for server in symbol_path(environment.get("_NT_SYMBOL_PATH", ""))
            if server.url is not None
        ][:_MOST_SERVERS]
        self.breakpad = environment.get("UNSPOOL_BREAKPAD_URLS", "").split()[:_MOST_SERVERS]
        self.debuginfod_limits = debuginfod_limits()
        self.symbol_limits = Limits(start=30.0)
        self.headers, self.problem = _headers(environment.get("DEBUGINFOD_HEADERS_FILE", ""))
        largest = _number("DEBUGINFOD_MAXSIZE")
        if largest:
            self.headers["X-DEBUGINFOD-MAXSIZE"] = str(int(largest))
        self.tell_requests = bool(environment.get("DEBUGINFOD_VERBOSE"))
        self.tell_files = self.tell_requests or bool(environment.get("DEBUGINFOD_PROGRESS"))


def debuginfod_urls(pattern: str = URL_FILES) -> list[str]:
    """The servers of `DEBUGINFOD_URLS`; if it is not set, of the files that set it for shells.

    Words like `ima:enforcing` say which signatures to check and name no server.
    """
    words = os.environ.get("DEBUGINFOD_URLS")
    if words is None:
        words = "\n".join(map(_content, sorted(glob(pattern))))
    found = [word for word in words.split() if not word.startswith("ima:")]
    return list(dict.fromkeys(found))[:_MOST_SERVERS]


def debuginfod_limits() -> Limits:
    """`DEBUGINFOD_TIMEOUT`, `_MAXTIME`, `_MAXSIZE` and `_RETRY_LIMIT`.

    0 means no limit there; here it is then ours, since nobody shall wait for ever.
    """
    limits = Limits()
    limits.start = _number("DEBUGINFOD_TIMEOUT") or (
        limits.total if _number("DEBUGINFOD_TIMEOUT") == 0 else limits.start
    )
    limits.connect = min(limits.connect, limits.start)
    limits.total = _number("DEBUGINFOD_MAXTIME") or limits.total
    limits.most_bytes = int(_number("DEBUGINFOD_MAXSIZE") or limits.most_bytes)
    limits.attempts = int(min(_number("DEBUGINFOD_RETRY_LIMIT") or limits.attempts, 10))
    return limits


def _number(name: str) -> float | None:
    text = os.environ.get(name, "").strip()
    if not text.isascii() or not text.isdecimal() or len(text) > 15:
        return None
    return float(text)


def _headers(path: str) -> tuple[dict[str, str], str | None]:
    """The headers in a file, as `Name: value` on each line, and what is wrong with it."""
    found: dict[str, str] = {}
    if not path:
        return found, None
    try:
        with open(path, encoding="latin-1") as file:
            text = file.read(1 << 16)
    except OSError as error:
        return found, f"DEBUGINFOD_HEADERS_FILE {path}: {error.strerror}"
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() and name.isascii() and " " not in name.strip():
            found[name.strip()] = value.strip()
    return found, None


def _content(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 16)
    except OSError:
        return ""
