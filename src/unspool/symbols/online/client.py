"""One download over HTTP, which ends in bounded time whatever the server does.

urllib3's timeouts are for each read of a socket: a server that sends a byte every minute meets
them all. So a thread watches over all downloads, and shuts the connection of the one that is
late; whoever reads from it is woken by that.
"""

from __future__ import annotations

import os
import socket
import threading
from http.client import HTTPException
from time import monotonic
from urllib.parse import unquote, urljoin, urlsplit

from unspool.errors import MissingDependency

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from unspool.symbols.online.partial import Partial
    from unspool.symbols.online.settings import Limits

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_CHUNK = 1 << 14
_WINDOW = 100 << 10
_ABSENT = (404, 410)
_TICK = 0.05
# A pool keeps one connection to each of 16 servers; older ones have long been closed.
_MOST_SOCKETS = 24


class Failed(Exception):
    """Why there is no file, in words. `kind` says what to think of the server.

    "absent": it has no such file; "refused": it does not give it to us; "slow", "unreachable"
    and "redirects": asking it again makes no sense; "server" and "broken": it may get better;
    "large": the file is larger than allowed; "disk": the fault is ours.
    """

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


class Watch:
    """Shuts the connections of sessions that are late, from a thread of its own."""

    def __init__(self) -> None:
        self._sessions: list[Session] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._tls: Any = None

    def tls(self) -> Any:
        """What all connections' TLS is checked by; it honours SSL_CERT_FILE and SSL_CERT_DIR."""
        with self._lock:
            if self._tls is None:
                import ssl

                self._tls = ssl.create_default_context()
            return self._tls

    def add(self, session: Session) -> None:
        with self._lock:
            self._sessions.append(session)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="unspool-watch", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Ends the thread and everything that is still being downloaded."""
        self._closed.set()
        with self._lock:
            for session in self._sessions:
                session.cut()
        if self._thread is not None:
            self._thread.join()
        for session in self._sessions:
            session.close()

    def _run(self) -> None:
        while not self._closed.wait(_TICK):
            now = monotonic()
            with self._lock:
                for session in self._sessions:
                    session.cut_if_late(now)


class Session:
    """Connections of one thread; each is used for several downloads, one after the other."""

    def __init__(self, watch: Watch) -> None:
        self.deadline: float | None = None
        self.late = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._managers: dict[str | None, Any] = {}
        self._library = library()
        self._watch = watch
        watch.add(self)

    def cut(self) -> None:
        """Ends what is being read or written, from another thread."""
        with self._lock:
            self._cut()

    def cut_if_late(self, now: float) -> None:
        """The same if the deadline has passed; not if another download has begun meanwhile."""
        with self._lock:
            deadline = self.deadline
            if deadline is not None and now > deadline:
                self._cut()

    def _cut(self) -> None:
        self.late = True
        self.deadline = None
        for each in self._sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has ended by itself

    def close(self) -> None:
        for manager in self._managers.values():
            manager.clear()
        self._forget_sockets()

    def download(
        self,
        url: str,
        to: Partial,
        limits: Limits,
        *,
        headers: dict[str, str] | None = None,
        on_bytes: Callable[[int], None] | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> None:
        """Fills `to` with the file at `url`, from where it is on. Raises `Failed`.

        `headers` are not sent to other servers that this one redirects to. `on_bytes` is told
        how many bytes came; when `stopped` says so, nothing more is read.
        """
        end = monotonic() + limits.total
        errors = self._library.exceptions
        try:
            response = self._ask(url, to, limits, headers or {}, end)
            try:
                self._read(response, to, limits, end, on_bytes, stopped)
            finally:
                # A connection of which not everything was read is of no use any more.
                response.close()
        except (errors.HTTPError, HTTPException, OSError, ValueError) as error:
            raise self._failure(error, limits) from None
        finally:
            self.deadline = None

    def _ask(
        self, url: str, to: Partial, limits: Limits, headers: dict[str, str], end: float
    ) -> Any:
        """The answer whose body is the file, or the rest of it."""
        origin = _origin(url)
        for _ in range(_MOST_REDIRECTS + 1):
            sent = {"Accept-Encoding": "identity", "User-Agent": "unspool", **to.range_headers()}
            if _origin(url) == origin:
                sent.update({**self._credentials(url), **headers})
            self.late = False
            self.deadline = min(monotonic() + limits.connect + limits.start, end)
            response = self._manager(url).urlopen(
                "GET", url, headers=sent, redirect=False, retries=False,
                preload_content=False, decode_content=False,
                timeout=self._library.Timeout(connect=limits.connect, read=limits.start),
            )  # fmt: skip
            if response.status not in _REDIRECTS:
                return self._checked(response, to)
            self._finish(response)
            url = _redirected(url, response.headers.get("Location", ""))
        raise Failed("redirects", "it redirects for ever")

    def _checked(self, response: Any, to: Partial) -> Any:
        status = response.status
        if status == 200:
            to.begin(response.headers)
            return response
        if status == 206 and to.continues(response.headers):
            return response
        self._finish(response)
        if status in (206, 416):
            to.discard()
            raise Failed("broken", f"it answered {status} for a part of the file")
        if status in _ABSENT:
            raise Failed("absent", f"it answered {status}")
        raise Failed("server" if status >= 500 else "refused", f"it answered {status}")

    def _credentials(self, url: str) -> dict[str, str]:
        """What a URL says of user and password, which urllib3 takes no notice of."""
        user = _user(url)
        return dict(self._library.make_headers(basic_auth=user)) if user else {}

    def _finish(self, response: Any) -> None:
        """Reads a short answer to its end, so that its connection can be used again."""
        if len(response.read(_CHUNK, decode_content=False)) < _CHUNK:
            response.release_conn()
        response.close()

    def _read(
        self, response: Any, to: Partial, limits: Limits, end: float,
        on_bytes: Callable[[int], None] | None, stopped: Callable[[], bool] | None,
    ) -> None:  # fmt: skip
        _check_size(to.size + _claimed(response.headers), limits)
        window = 0
        while piece := response.read(_CHUNK, decode_content=False):
            to.write(piece)
            window += len(piece)
            if on_bytes:
                on_bytes(len(piece))
            _check_size(to.size, limits)
            if window >= _WINDOW:
                window = 0
                self.deadline = min(monotonic() + limits.start, end)
            if stopped is not None and stopped():
                raise Failed("slow", "it was given up")
        if self.late:
            # A body of unknown length ends when the connection does, even if we ended it.
            raise Failed("slow", _slow(limits))

    def _failure(self, error: Exception, limits: Limits) -> Failed:
        errors = self._library.exceptions
        if self.late or isinstance(error, errors.ReadTimeoutError):
            return Failed("slow", _slow(limits))
        if isinstance(error, errors.SSLError):
            return Failed("unreachable", f"its certificate or TLS is refused: {_words(error)}")
        if isinstance(error, errors.NewConnectionError | errors.ProxyError):
            return Failed("unreachable", f"no connection: {_words(error)}")
        if isinstance(error, errors.ConnectTimeoutError):
            return Failed("unreachable", f"no connection within {limits.connect:g} s")
        if isinstance(error, errors.HTTPError):
            return Failed("broken", f"the connection broke: {_words(error)}")
        if isinstance(error, ConnectionError):
            return Failed("broken", f"the connection broke: {_words(error)}")
        if isinstance(error, OSError) and error.errno is not None:
            return Failed("disk", f"the file cannot be written: {error.strerror}")
        return Failed("broken", f"its answer makes no sense: {_words(error)}")

    # --- connections ------------------------------------------------------------------

    def _manager(self, url: str) -> Any:
        from urllib.request import getproxies, proxy_bypass

        parts = urlsplit(url)
        proxy = getproxies().get(parts.scheme)
        if proxy and parts.hostname and proxy_bypass(parts.hostname):
            proxy = None
        if proxy and "://" not in proxy:
            proxy = f"http://{proxy}"
        if proxy not in self._managers:
            self._managers[proxy] = self._new_manager(proxy)
        return self._managers[proxy]

    def _new_manager(self, proxy: str | None) -> Any:
        options = {"ssl_context": self._watch.tls(), "maxsize": 1, "num_pools": 16}
        make = self._library
        if proxy:
            user = _user(proxy)
            headers = make.make_headers(proxy_basic_auth=user) if user else None
            manager = make.ProxyManager(proxy, proxy_headers=headers, **options)
        else:
            manager = make.PoolManager(**options)
        manager.pool_classes_by_scheme = {
            scheme: self._watched_pool(pool)
            for scheme, pool in manager.pool_classes_by_scheme.items()
        }
        return manager

    def _watched_pool(self, pool: Any) -> Any:
        session = self

        class Connection(pool.ConnectionCls):  # type: ignore[misc]
            def _new_conn(self) -> socket.socket:
                made: socket.socket = super()._new_conn()
                session._remember(made)
                return made

        class Pool(pool):  # type: ignore[misc]
            ConnectionCls = Connection

        return Pool

    def _remember(self, made: socket.socket) -> None:
        """Keeps a socket to shut it down with; TLS takes the descriptor out of `made`."""
        other = made.dup()
        with self._lock:
            self._sockets.append(other)
            for old in self._sockets[:-_MOST_SOCKETS]:
                old.close()
            del self._sockets[:-_MOST_SOCKETS]
            if self.late:
                other.shutdown(socket.SHUT_RDWR)

    def _forget_sockets(self) -> None:
        with self._lock:
            for each in self._sockets:
                each.close()
            self._sockets.clear()


def library() -> Any:
    """urllib3. Raises `MissingDependency`."""
    try:
        import urllib3
    except ImportError:
        raise MissingDependency(
            "--online needs the library urllib3", "pip install 'unspool[online]'"
        ) from None
    return urllib3


def _redirected(url: str, location: str) -> str:
    target = urljoin(url, location.strip())
    before, after = urlsplit(url), urlsplit(target)
    if not location or after.scheme not in ("http", "https") or not after.hostname:
        raise Failed("redirects", f"it redirects to {location[:100]!r}, which is not followed")
    if before.scheme == "https" and after.scheme == "http":
        raise Failed("redirects", "it redirects to a connection without TLS, which is not followed")
    return target


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _user(url: str) -> str | None:
    """`user:password` of a URL, None without."""
    parts = urlsplit(url)
    if parts.username is None:
        return None
    return f"{unquote(parts.username)}:{unquote(parts.password or '')}"


def _claimed(headers: Any) -> int:
    text = headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def _check_size(size: int, limits: Limits) -> None:
    if size > limits.most_bytes:
        raise Failed("large", f"the file is larger than {limits.most_bytes:,} bytes")


def _slow(limits: Limits) -> str:
    return f"it sent less than 100 KB within {limits.start:g} s, or not all in {limits.total:g} s"


def _words(error: Exception) -> str:
    """The innermost cause: urllib3 wraps exceptions in exceptions."""
    reason: object = error
    for _ in range(5):
        inner = getattr(reason, "reason", None) or getattr(reason, "original_error", None)
        if inner is None:
            break
        reason = inner
    if isinstance(reason, OSError) and reason.strerror:
        return os.strerror(reason.errno) if reason.errno and reason.errno > 0 else reason.strerror
    text = str(reason)
    text = text.rpartition(">: ")[2] if text.startswith("<") else text
    return (text.splitlines() or [type(error).__name__])[0][:200]
