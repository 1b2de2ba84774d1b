from __future__ import annotations

from collections.abc import Iterator

import pytest

from .kernel import Handler, installed


@pytest.fixture
def handler(request: pytest.FixtureRequest) -> Iterator[Handler]:
    """Our handler as the kernel's; the parameter, if there is one, are its options."""
    with installed(getattr(request, "param", ())) as handler:
        yield handler
