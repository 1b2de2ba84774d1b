"""How text is dressed: colours for a terminal, plain ASCII where nothing else is shown."""

from __future__ import annotations

_CODES = {
    "bad": "1;31",  # the crash, the crashed thread
    "title": "1",
    "name": "36",
    "warning": "33",
    "good": "32",
    "dim": "2",
}

_ASCII = {
    ord("…"): "...",
    ord("–"): "-",
    ord("─"): "-",
    ord("→"): "->",
    ord("·"): "-",
    ord("×"): "x",
}


class Style:
    """Colours and characters of one output. The default is plain text in Unicode."""

    def __init__(self, *, color: bool = False, encoding: str = "utf-8") -> None:
        self.color = color
        self.encoding = encoding
        self.ascii = False
        try:
            "".join(map(chr, _ASCII)).encode(encoding)
        except LookupError:
            self.encoding, self.ascii = "ascii", True
        except UnicodeEncodeError:
            self.ascii = True

    def paint(self, role: str, text: str) -> str:
        """`text` in the colour of its role: bad, title, name, warning, good or dim."""
        if not self.color or not text:
            return text
        return f"\x1b[{_CODES[role]}m{text}\x1b[0m"

    def fit(self, text: str) -> str:
        """`text` with nothing in it that the encoding cannot carry."""
        if not self.ascii or text.isascii():
            return text
        text = text.translate(_ASCII)
        return text.encode(self.encoding, "backslashreplace").decode(self.encoding)
