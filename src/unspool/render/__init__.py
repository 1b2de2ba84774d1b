"""How answers are shown, to people and to programs."""

from __future__ import annotations

# The forms in which programs can have a report, and what they are called in words.
FORMS = {
    "json": "unspool's own JSON",
    "memfault": "memfaultd's stack trace",
    "minidump-stackwalk": "the JSON of rust-minidump's minidump-stackwalk",
}


def any_of(words: list[str]) -> str:
    """A list in words: "a, b, or c"."""
    return f"{', '.join(words[:-1])}, or {words[-1]}"
