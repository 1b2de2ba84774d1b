from __future__ import annotations

from collections.abc import Iterator

import pytest

from .driver import Browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all tests of a worker: its start takes longer than any of them."""
    started = Browser(tmp_path_factory.mktemp("chromium"))
    with started:
        yield started
