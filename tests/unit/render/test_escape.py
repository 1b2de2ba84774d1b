from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.render.escape import printable, well_formed


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ünïcödé — 漢字", "plain text, ünïcödé — 漢字"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("line\r\nbreak\ttab", "line\\x0d\\x0abreak\\x09tab"),
        ("\x7f\x85\x9b", "\\x7f\\x85\\x9b"),
        ("\u202ereversed\u2028", "\\u202ereversed\\u2028"),
        ("undecodable \udcff\udc80", "undecodable \\xff\\x80"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        ("back\\slash", "back\\slash"),
        ("", ""),
    ],
)
def test_what_drives_a_terminal_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(categories=["Cc", "Cs", "Cf", "Zl", "Zp", "L", "Zs", "Co", "Cn"])))
def test_the_result_is_always_printable(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert all(char in shown for char in text if char.isprintable())


@given(st.text(st.characters(categories=["Cs", "Cc", "L"])))
def test_well_formed_text_can_be_encoded_and_keeps_all_but_surrogates(text: str) -> None:
    result = well_formed(text)
    result.encode()
    if not any(0xD800 <= ord(char) < 0xE000 for char in text):
        assert result == text
    assert well_formed(result) == result
