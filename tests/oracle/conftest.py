from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.programs.build import Unavailable
from tests.programs.cores import Core, make_core
from tests.programs.table import BY_NAME

from .unspool_command import Answer, ask_unspool


@pytest.fixture(scope="session")
def programs_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where programs and cores are made, one folder for all workers of a test session."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / "programs"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def core(request: pytest.FixtureRequest, programs_root: Path) -> Core:
    """The core that the test's parameter "PROGRAM/KIND" names."""
    name, _, kind = request.param.partition("/")
    try:
        return make_core(BY_NAME[name], kind, programs_root)
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def answer(core: Core) -> Answer:
    """What unspool says about the core."""
    return ask_unspool(core)
