"""An HTTP server on loopback that serves files, and does wrong whatever a server can do wrong."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Fault = Callable[["Handler", bytes], None]


class Server:
    """`files` by path; `faults` by path in place of them, `fault` for all paths.

    `asked` are the paths of all requests in order, `ranges` those that had a Range, `clients`
    the connections' other ends.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, Fault] = {}
        self.fault: Fault | None = None
        self.validator: str | None = '"one"'
        self.asked: list[str] = []
        self.ranges: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.clients: set[object] = set()
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._server.owner = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    @property
    def owner(self) -> Server:
        return self.server.owner  # type: ignore[attr-defined, no-any-return]

    def do_GET(self) -> None:
        owner = self.owner
        owner.asked.append(self.path)
        owner.headers.append(dict(self.headers.items()))
        owner.clients.add(self.client_address)
        if "Range" in self.headers:
            owner.ranges.append(self.headers["Range"])
        fault = owner.faults.get(self.path, owner.fault)
        data = owner.files.get(self.path)
        with suppress(ConnectionError):
            if fault is not None:
                fault(self, data or b"")
            elif data is None:
                self.answer(404, b"no such file")
            else:
                self.give(data)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def give(self, data: bytes) -> None:
        """The file, or the part of it that is asked for."""
        owner = self.owner
        more = {"ETag": owner.validator} if owner.validator else {}
        wanted = self.headers.get("Range")
        if wanted and self.headers.get("If-Range") == owner.validator:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            whole = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.answer(206, data[start:], Content_Range=whole, **more)
        else:
            self.answer(200, data, **more)

    def hang(self) -> None:
        """Until the test is over, or the client has gone."""
        self.close_connection = True
        self.owner.released.wait(30)

    def cut(self) -> None:
        """Ends the connection by a reset."""
        self.close_connection = True
        linger = b"\1\0\0\0\0\0\0\0"
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()


# --- what can go wrong -----------------------------------------------------------------------


def hangs(handler: Handler, _: bytes) -> None:
    handler.hang()


def hangs_in_the_body(handler: Handler, data: bytes) -> None:
    handler.answer(200, data[: len(data) // 2], Content_Length=str(len(data)))
    handler.hang()


def drips_the_head(handler: Handler, _: bytes) -> None:
    """A byte now and then: every read of the client's is in time."""
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not handler.owner.released.wait(0.02):
        handler.wfile.write(b"x")
        handler.wfile.flush()


def drips_the_body(handler: Handler, data: bytes) -> None:
    handler.close_connection = True
    handler.answer(200, b"", Content_Length=str(len(data)))
    for at in range(len(data)):
        if handler.owner.released.wait(0.02):
            return
        handler.wfile.write(data[at : at + 1])
        handler.wfile.flush()


def drips_without_end(handler: Handler, _: bytes) -> None:
    """No length, no end."""
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
    while not handler.owner.released.wait(0.02):
        handler.wfile.write(b"x")
        handler.wfile.flush()


def resets(handler: Handler, _: bytes) -> None:
    handler.cut()


def resets_in_the_body(handler: Handler, data: bytes) -> None:
    handler.answer(200, data[: len(data) // 2], Content_Length=str(len(data)), ETag='"one"')
    handler.wfile.flush()
    handler.cut()


def ends_early(handler: Handler, data: bytes) -> None:
    handler.answer(200, data[: len(data) // 2], Content_Length=str(len(data)), ETag='"one"')
    handler.close_connection = True


def ends_early_and_claims_it_is_all(handler: Handler, data: bytes) -> None:
    handler.answer(200, data[: len(data) // 2])


def speaks_no_http(handler: Handler, _: bytes) -> None:
    handler.close_connection = True
    handler.wfile.write(b"\x16\x03\x01garbage\r\n\r\n" * 20)


def has_endless_headers(handler: Handler, _: bytes) -> None:
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 5000)
    handler.hang()


def lies_of_the_length(handler: Handler, data: bytes) -> None:
    handler.answer(200, data, Content_Length="-5")


def is_huge(handler: Handler, data: bytes) -> None:
    handler.answer(200, b"", Content_Length=str(1 << 50))
    handler.close_connection = True


def never_stops(handler: Handler, _: bytes) -> None:
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
    while not handler.owner.released.is_set():
        handler.wfile.write(bytes(1 << 16))


def redirects_for_ever(handler: Handler, _: bytes) -> None:
    handler.answer(302, Location=handler.path)


def redirects_to(target: str) -> Fault:
    def redirects(handler: Handler, _: bytes) -> None:
        handler.answer(302, Location=target)

    return redirects


def gives(data: bytes, **headers: str) -> Fault:
    def gives_it(handler: Handler, _: bytes) -> None:
        handler.answer(200, data, **headers)

    return gives_it


def answers(status: int) -> Fault:
    def says_so(handler: Handler, _: bytes) -> None:
        handler.answer(status, b"<html>no</html>")

    return says_so


def lies_of_the_range(handler: Handler, data: bytes) -> None:
    if "Range" in handler.headers:
        handler.answer(206, data[:100], Content_Range=f"bytes 0-99/{len(data)}")
    else:
        handler.give(data)
