"""Numbers as HotSpot packs them into bytes: UNSIGNED5, of Pack200 (JSR 200)."""

from __future__ import annotations

from unspool.errors import FormatError


class Packed:
    """Reads numbers from bytes. `excluded` is 1 where no byte is zero (from JDK 20 on), else 0.

    A byte below 192 ends a number, others have six bits more: five bytes at most.
    """

    __slots__ = ("at", "data", "excluded")

    def __init__(self, data: bytes, excluded: int, at: int = 0) -> None:
        self.data = data
        self.excluded = excluded
        self.at = at

    def byte(self) -> int:
        if self.at >= len(self.data):
            raise FormatError("a packed number is cut off", "HotSpot's debug information")
        value = self.data[self.at]
        self.at += 1
        return value

    def unsigned(self) -> int:
        """A number of 32 bits."""
        total = shift = 0
        for _ in range(5):
            byte = self.byte()
            if byte < self.excluded:
                raise FormatError("a packed number has a zero", "HotSpot's debug information")
            total += byte - self.excluded << shift
            shift += 6
            if byte < 192:
                break
        return total & 0xFFFF_FFFF

    def signed(self) -> int:
        """One whose lowest bit is its sign."""
        value = self.unsigned()
        return value >> 1 ^ -(value & 1)
