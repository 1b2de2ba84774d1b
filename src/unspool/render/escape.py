"""Text from a dump is an attacker's: it must not drive the terminal it is shown on.

A module's path or a function's name may hold escape sequences (which can retitle a
window, or worse), line feeds that fake further output, or marks that reverse the
direction of writing. All of these are shown as escapes instead.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with everything that is no visible character or space shown as an escape.

    Bytes that were no UTF-8 (surrogates U+DC80 to U+DCFF, see `os.fsdecode`) come out as
    `\\x80` to `\\xff`. A backslash stays as it is: this is for reading, not for parsing.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in text)


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def well_formed(text: str) -> str:
    """`text` without surrogates, which no encoding can carry: as escapes, like `printable`."""
    if text.isascii():
        return text
    return "".join(
        char if not 0xD800 <= ord(char) <= 0xDFFF else _escape(ord(char)) for char in text
    )
