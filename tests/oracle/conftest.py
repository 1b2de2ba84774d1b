from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs.cores import Core, make_core
from tests.programs.table import BY_NAME

from .unspool_command import Answer, ask_unspool


@pytest.fixture
def core(request: pytest.FixtureRequest, programs_root: Path) -> Core:
    """The core that the test's parameter "PROGRAM/KIND" names."""
    name, _, kind = request.param.partition("/")
    return make_core(BY_NAME[name], kind, programs_root)


@pytest.fixture
def answer(core: Core) -> Answer:
    """What unspool says about the core."""
    return ask_unspool(core)
