from __future__ import annotations

from collections.abc import Iterator

import pytest

from .driver import Browser, Unavailable


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all tests of a worker: its start takes longer than any of them."""
    try:
        started = Browser(tmp_path_factory.mktemp("chromium"))
    except Unavailable as reason:
        pytest.skip(str(reason))
    with started:
        yield started
