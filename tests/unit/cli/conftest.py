from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from tests import reports
from unspool import api
from unspool.model import Report


class Fake:
    """Stands in for the layers below: remembers what it was asked, gives the report it has."""

    def __init__(self) -> None:
        self.report: Report | Callable[[], Report] = reports.crash()
        self.source: object = None
        self.opened: dict[str, Any] = {}
        self.unwound: dict[str, Any] = {}
        self.analysed: list[str] = []

    def open(self, source: object, **options: Any) -> Any:
        self.source = source
        self.opened = options

        @contextmanager
        def target() -> Iterator[Any]:
            yield SimpleNamespace(threads=[None] * 3)

        return target()

    def unwind(self, target: object, **options: Any) -> Report:
        self.unwound = options
        return self.report() if callable(self.report) else self.report

    def analyse(self, target: object, report: Report, names: list[str]) -> list[Any]:
        self.analysed = names
        return []


@pytest.fixture
def core(demo_core: str) -> str:
    return demo_core


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    monkeypatch.setattr(api, "open", made.open)
    monkeypatch.setattr(api, "unwind", made.unwind)
    monkeypatch.setattr(api, "analyse", made.analyse)
    monkeypatch.delenv("UNSPOOL_TRACEBACK", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return made
