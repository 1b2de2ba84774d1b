from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.cli.options import Option, parse
from unspool.errors import UsageError

OPTIONS = (
    Option("--format", "", short="-f", value="FORMAT", choices=("text", "json")),
    Option("--symbols", "", value="PATH", many=True),
    Option("--max-frames", "", value="N", number=True),
    Option("--quiet", "", short="-q"),
    Option("--verbose", "", short="-v"),
)


def test_options_and_operands_in_any_order() -> None:
    read = parse(
        ["one", "--format", "json", "-q", "two", "--symbols=a=b", "--symbols", "-c"], OPTIONS, "x"
    )
    assert read.operands == ["one", "two"]
    assert read.text("--format") == "json"
    assert read.texts("--symbols") == ["a=b", "-c"]
    assert read.flag("--quiet")
    assert not read.flag("--verbose")
    assert read.number("--max-frames", 7) == 7


def test_nothing_given() -> None:
    read = parse([], OPTIONS, "x")
    assert (read.operands, read.text("--format"), read.texts("--symbols")) == ([], None, [])


def test_the_last_of_an_option_counts() -> None:
    assert (
        parse(["--max-frames=1", "--max-frames=20"], OPTIONS, "x").number("--max-frames", 0) == 20
    )


def test_two_dashes_end_the_options_and_one_is_an_operand() -> None:
    assert parse(["-", "--", "-q", "--", "--format"], OPTIONS, "x").operands == [
        "-", "-q", "--", "--format",
    ]  # fmt: skip


@pytest.mark.parametrize("words", [["-qv", "-fjson"], ["-vqf", "json"], ["-q", "-v", "-f", "json"]])
def test_short_options_may_be_joined(words: list[str]) -> None:
    read = parse(words, OPTIONS, "x")
    assert read.flag("--quiet")
    assert read.flag("--verbose")
    assert read.text("--format") == "json"


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--formt=json"], "unknown option --formt", "did you mean --format?"),
        (["--bananas"], "unknown option --bananas", "see x --help"),
        (["-z"], "unknown option -z", "see x --help"),
        (["-qz"], "unknown option -qz", "see x --help"),
        (["--symbols"], "--symbols needs a value: PATH", "see x --help"),
        (["-f"], "-f needs a value: FORMAT", "see x --help"),
        (["--format", "xml"], "--format xml: it is text or json", "see x --help"),
        (["--format="], "--format : it is text or json", "see x --help"),
        (["--quiet=1"], "--quiet takes no value", "see x --help"),
        (["--max-frames", "-1"], "--max-frames -1: a whole number", "see x --help"),
        (["--max-frames", "0x10"], "--max-frames 0x10: a whole number", "see x --help"),
        (["--max-frames", "٣"], "--max-frames ٣: a whole number", "see x --help"),
        (["--max-frames", "9" * 19], "a whole number was expected", "see x --help"),
    ],
)
def test_what_makes_no_sense_is_named(words: list[str], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(words, OPTIONS, "x")
    assert message in caught.value.message
    assert caught.value.hint == hint
    assert caught.value.exit_code == 64


@given(st.lists(st.sampled_from(["-", "--", "-q", "-f", "json", "--symbols", "--symbols=x", "a"])))
def test_any_line_is_read_or_refused(words: list[str]) -> None:
    try:
        read = parse(words, OPTIONS, "x")
    except UsageError:
        return
    assert set(read.operands) | set(read.texts("--symbols")) <= {*words, "x"}
