from __future__ import annotations

from pathlib import Path

import pytest

from tests.oracle.locks.answers import Live


@pytest.fixture(scope="module")
def live(programs_root: Path) -> Live:
    return Live(programs_root)
