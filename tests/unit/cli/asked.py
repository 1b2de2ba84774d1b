"""Commands as a user calls them, in this process."""

from __future__ import annotations

import pytest

from unspool.cli import main


def ask(command: str, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """The exit code of `unspool COMMAND WORDS`, and what it says: output and errors."""
    code = main([command, *words])
    said = capsys.readouterr()
    return code, said.out, said.err
