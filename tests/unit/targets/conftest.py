"""Fixtures for the tests of targets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from unspool.targets.input.source import Source, open_source

Opened = Callable[[bytes], Source]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    def open_bytes(data: bytes) -> Source:
        path = tmp_path / "core.packed"
        path.write_bytes(data)
        return open_source(str(path))

    return open_bytes
