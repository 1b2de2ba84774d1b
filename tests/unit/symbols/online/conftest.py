from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.unit.symbols.online.server import Server

pytest.importorskip("urllib3")

Serve = Callable[[], Server]


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the machine that runs the tests."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers, which end with the test."""
    made: list[Server] = []

    def start() -> Server:
        made.append(Server())
        return made[-1]

    yield start
    for server in made:
        server.close()


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve()
