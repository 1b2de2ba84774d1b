"""Names of a package that are loaded from their modules when they are first used."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def load(package: str, homes: Mapping[str, Sequence[str]], name: str) -> object:
    """A package's attribute out of the module below it that has it; kept there from then on.

    `homes` are the names by their modules. Raises `AttributeError` if there is none.
    """
    for home, names in homes.items():
        if name in names:
            # `importlib` is not loaded by the interpreter, and takes longer than most modules here.
            __import__(f"{package}.{home}")
            value: object = getattr(sys.modules[f"{package}.{home}"], name)
            setattr(sys.modules[package], name, value)
            return value
    raise AttributeError(f"module {package!r} has no attribute {name!r}")
