"""Values of a JSON document from anywhere, each checked before it is believed."""

from __future__ import annotations

from unspool.errors import InputError
from unspool.render.escape import well_formed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = (1 << 63) - 1


class JsonObject:
    """A JSON object with its place in the document, for errors that say where.

    Elements of lists know their list's place and their index: a place is put into words
    only for an error, not for each of half a million frames.
    """

    __slots__ = ("index", "values", "where")

    def __init__(self, values: object, where: str, index: int | None = None) -> None:
        self.where = where
        self.index = index
        if not isinstance(values, dict):
            raise wrong(self.here(), "an object")
        self.values = values

    def here(self) -> str:
        return self.where if self.index is None else f"{self.where}[{self.index}]"

    def place(self, key: str) -> str:
        here = self.here()
        return f"{here}.{key}" if here else key

    def child(self, key: str) -> JsonObject:
        return JsonObject(self.values.get(key), self.place(key))

    def children(self, key: str, *, required: bool = False) -> Iterator[JsonObject]:
        place = self.place(key)
        for index, value in enumerate(self.items(key, required=required)):
            yield JsonObject(value, place, index)

    def items(self, key: str, *, required: bool = False) -> list[object]:
        value = self.values.get(key)
        if value is None and not required:
            return []
        if not isinstance(value, list):
            raise wrong(self.place(key), "a list")
        return value

    def text(self, key: str) -> str:
        value = self.maybe_text(key)
        if value is None:
            raise wrong(self.place(key), "a string")
        return value

    def maybe_text(self, key: str) -> str | None:
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            raise wrong(self.place(key), "a string")
        return well_formed(value)

    def texts(self, key: str) -> list[str]:
        """A list of strings; empty if there is none."""
        values = self.items(key)
        if not all(isinstance(value, str) for value in values):
            raise wrong(self.place(key), "a list of strings")
        return [well_formed(str(value)) for value in values]

    def integer(self, key: str, low: int = 0) -> int:
        value = self.maybe_integer(key, low)
        if value is None:
            raise wrong(self.place(key), "a whole number")
        return value

    def maybe_integer(self, key: str, low: int = 0) -> int | None:
        value = self.values.get(key)
        if value is None:
            return None
        if type(value) is not int or not low <= value <= MOST:
            raise wrong(self.place(key), f"a whole number from {low} to {MOST}")
        return value

    def flag(self, key: str) -> bool | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise wrong(self.place(key), "true or false")
        return value

    def address(self, key: str) -> int:
        value = self.maybe_address(key)
        if value is None:
            raise wrong(self.place(key), "an address such as 0x401000")
        return value

    def maybe_address(self, key: str) -> int | None:
        value = self.values.get(key)
        if value is None:
            return None
        if type(value) is str and value[:2] == "0x" and 3 <= len(value) <= 18:
            digits = value[2:]
            # int() would take underscores, blanks, signs and other alphabets' digits.
            if digits.isascii() and digits.isalnum():
                try:
                    return int(digits, 16)
                except ValueError:
                    pass
        raise wrong(self.place(key), "an address such as 0x401000")


def numbers(values: object, place: str) -> list[int]:
    """A list of whole numbers. Raises `InputError` that names the place."""
    if not isinstance(values, list) or not all(
        type(each) is int and 0 <= each <= MOST for each in values
    ):
        raise wrong(place, "a list of whole numbers")
    return values


def wrong(place: str, expected: str) -> InputError:
    """The error that says what a value is not."""
    return InputError(f"not a report: {place} is not {expected}")
