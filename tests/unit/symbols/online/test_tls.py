"""HTTPS: certificates are checked, by the authorities that SSL_CERT_FILE names."""

from __future__ import annotations

import socket
import ssl
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.unit.symbols.online import server as faults
from tests.unit.symbols.online.conftest import Serve
from tests.unit.symbols.online.server import Server
from tests.unit.symbols.online.test_debuginfod import Case, ask, case, limited, name

__all__ = ["case"]


@pytest.fixture
def certificate(tool: Tool, tmp_path: Path) -> Path:
    """Of 127.0.0.1, signed by nobody else, with its key in the same file."""
    path = tmp_path / "certificate.pem"
    tool(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
        "-addext", "keyUsage=critical,digitalSignature,keyCertSign",
        "-keyout", tmp_path / "key.pem", "-out", path,
    )  # fmt: skip
    return path


def secure(server: Server, certificate: Path) -> str:
    """Has the server speak TLS; its URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    listener: ThreadingHTTPServer = server._server
    # Handshakes are made by the threads that answer, so that one that never ends is no harm.
    listener.socket = context.wrap_socket(
        listener.socket, server_side=True, do_handshake_on_connect=False
    )
    listener.handle_error = lambda *_: None  # type: ignore[method-assign]
    return server.url.replace("http:", "https:")


def test_a_certificate_that_is_known(
    case: Case, server: Server, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files[case.path] = case.data
    monkeypatch.setenv("DEBUGINFOD_URLS", secure(server, certificate))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    named, told, missing = name(case.report)
    assert (named.locations, told, missing) == (case.expected.locations, [], 0)


def test_a_certificate_that_nobody_knows(
    case: Case, server: Server, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files[case.path] = case.data
    url = secure(server, certificate)
    monkeypatch.setenv("DEBUGINFOD_URLS", url)
    _, [told, *_more], missing = name(case.report)
    assert missing == 1
    assert told.startswith(f"{url}: its certificate or TLS is refused: ")
    assert "verify failed" in told
    assert server.asked == []


def test_a_handshake_that_never_ends(
    case: Case, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listener that takes connections and says nothing."""
    server.files[case.path] = case.data
    ask(monkeypatch, server)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("DEBUGINFOD_URLS", f"https://127.0.0.1:{port} {server.url}")
        limited(monkeypatch, f"https://127.0.0.1:{port}", connect=0.3, start=0.3)
        named, [told], missing = name(case.report)
    assert (named.locations, missing) == (case.expected.locations, 0)
    assert told.startswith(f"https://127.0.0.1:{port}: ")


def test_no_way_back_to_plain_http(
    case: Case, serve: Serve, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    safe, plain = serve(), serve()
    plain.files["/x"] = case.data
    safe.fault = faults.redirects_to(f"{plain.url}/x")
    monkeypatch.setenv("DEBUGINFOD_URLS", secure(safe, certificate))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    _, [told, *_more], missing = name(case.report)
    assert missing == 1
    assert "without TLS" in told
    assert plain.asked == []
