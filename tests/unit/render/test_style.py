from __future__ import annotations

import pytest

from unspool.render.style import Style


def test_colours_are_off_unless_asked_for() -> None:
    assert Style().paint("bad", "x") == "x"
    assert Style(color=True).paint("bad", "x") == "\x1b[1;31mx\x1b[0m"
    assert Style(color=True).paint("bad", "") == ""


@pytest.mark.parametrize(
    ("encoding", "fitted"),
    [
        ("utf-8", "1–2 … ── ü 漢"),
        ("ascii", "1-2 ... -- \\xfc \\u6f22"),
        ("latin-1", "1-2 ... -- ü \\u6f22"),
        ("no-such-thing", "1-2 ... -- \\xfc \\u6f22"),
    ],
)
def test_text_is_made_to_fit_the_encoding(encoding: str, fitted: str) -> None:
    assert Style(encoding=encoding).fit("1–2 … ── ü 漢") == fitted
