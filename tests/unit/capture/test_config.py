"""The settings: their defaults, files and what is wrong with them."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from unspool.capture.config import BY_KEY, SETTINGS, Config, example, from_text, load
from unspool.errors import InputError


def test_the_example_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "capture.toml"
    path.write_text(example())
    assert load(str(path)) == {setting.key: setting.default for setting in SETTINGS}


def test_without_a_file_there_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unspool.capture.config.PATH", "/nonexistent/capture.toml")
    assert load(None) == {}
    config = Config()
    assert config.text("arguments") == config.text("environment") == "out"
    assert config.number("seconds") == 10
    assert not config.flag("users_may_read")


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load(str(tmp_path / "none.toml"))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(InputError, match="is a pipe; give a TOML file"):
        load(str(tmp_path / "pipe.toml"))


def test_keys_are_unique_and_defaults_are_good() -> None:
    assert len(BY_KEY) == len(SETTINGS)
    for setting in SETTINGS:
        assert setting.check(setting.default) is None, setting.key


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[limits]\nsecond = 3", "there is no setting limits.'second'; did you mean limits.sec"),
        ("[limit]\nseconds = 3", "there is no section 'limit'"),
        ("seconds = 3", "there is no section 'seconds'"),
        ("[spool]\nseconds = 3", "there is no setting spool.'seconds'"),
        ("[limits]\nseconds = '3'", "limits.seconds is '3': it is a whole number"),
        ("[limits]\nseconds = true", "limits.seconds is True: it is a whole number"),
        ("[limits]\nseconds = 0", "limits.seconds is 0: it is at least 1"),
        ("[limits]\nseconds = -1", "limits.seconds is -1: it is at least 1"),
        ("[spool]\ndirectory = 'spool'", "it is an absolute path"),
        ("[spool]\nusers_may_read = 1", "it is true or false"),
        ("[privacy]\npaths = 'maybe'", "privacy.paths is 'maybe': it is in, hashed or out"),
        ("[privacy]\nfault_address = 'hashed'", "it is in or out"),
        ("[limits\n", "it is a TOML file"),
        ("\xff", "it is a TOML file"),
        ("a = " + "[" * 5000, "it is a TOML file"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "capture.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        load(str(path))
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_every_setting_is_an_option_too() -> None:
    from unspool.cli.capture import OPTIONS

    assert {setting.option for setting in SETTINGS} <= {option.name for option in OPTIONS}
    assert from_text(BY_KEY["seconds"], "7") == 7
    assert from_text(BY_KEY["users_may_read"], "true") is True
    for key, text in (("seconds", "x"), ("seconds", "0"), ("paths", "no"), ("directory", "a/b")):
        with pytest.raises(ValueError, match="it is"):
            from_text(BY_KEY[key], text)


def test_a_broken_file_lets_nothing_optional_in() -> None:
    config = Config(tomllib.loads("minidump = 'full'\narguments = 'in'\npaths = 'in'"))
    config.most_private("why")
    assert config.problem == "why"
    assert config.text("minidump") == "none"
    for setting in SETTINGS:
        if setting.section == "privacy" and setting.choices:
            assert config.text(setting.key) == "out"
