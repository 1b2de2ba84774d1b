"""/proc/cpuinfo: what Linux says of the processors, a paragraph for each."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Fields that make up the main ID register: how far to the left, how many bits.
_ID_PARTS = (
    ("CPU implementer", 24, 8), ("CPU variant", 20, 4), ("CPU part", 4, 12), ("CPU revision", 0, 4),
)  # fmt: skip


class Processor:
    """The first processor's fields. `count` is how many processors the text describes."""

    def __init__(self, text: bytes) -> None:
        self.fields: dict[str, str] = {}
        self.count = 0
        for line in text.decode("utf-8", "replace").splitlines():
            name, colon, value = line.partition(":")
            if colon:
                self.fields.setdefault(name.strip(), value.strip())
                self.count += name.strip() == "processor"

    @property
    def vendor(self) -> bytes:
        return self.fields.get("vendor_id", "").encode("ascii", "replace")[:12]

    def number(self, name: str) -> int:
        """A field's number, decimal or hexadecimal; 0 if there is none."""
        return _number(self.fields.get(name, ""))

    def main_id(self) -> int:
        """MIDR_EL1 out of its parts."""
        parts: Sequence[int] = [
            (self.number(name) & (1 << bits) - 1) << shift for name, shift, bits in _ID_PARTS
        ]
        return sum(parts)


def _number(text: str) -> int:
    try:
        return int(text, 16 if text.startswith("0x") else 10)
    except ValueError:
        return 0
