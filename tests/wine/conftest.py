"""What tests with Wine share: cores and processes of the zoo, or the reason why there are none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from .cores import ZooCore, make_core
from .flavours import FLAVOURS
from .running import Running, run_zoo
from .zoo import VARIANTS, build

CoreMaker = Callable[[str, str, Sequence[str], str], ZooCore]
Runner = Callable[[str, str, Sequence[str]], contextlib.AbstractContextManager[Running]]


@pytest.fixture(scope="session")
def zoo_core(wine_root: Path) -> CoreMaker:
    """zoo_core(flavour, variant, scenarios, kind): a core; the same one for the same arguments."""

    def make(flavour: str, variant: str, scenarios: Sequence[str], kind: str) -> ZooCore:
        return make_core(FLAVOURS[flavour], VARIANTS[variant], scenarios, kind, wine_root)

    return make


@pytest.fixture(scope="session")
def zoo(wine_root: Path) -> Runner:
    """zoo(flavour, variant, scenarios): a context in which the program runs and waits."""

    @contextlib.contextmanager
    def start(flavour: str, variant: str, scenarios: Sequence[str]) -> Iterator[Running]:
        wine = FLAVOURS[flavour]
        program = build(wine, VARIANTS[variant], wine_root)
        with run_zoo(wine, program, scenarios, wine_root) as running:
            yield running

    return start
