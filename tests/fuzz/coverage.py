"""What the coverage-guided fuzzers share. Needs the `atheris` package.

It is made for Linux; see its documentation for the Pythons that it supports.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

ROOT = Path(__file__).parents[2]
PARTS = ("formats", "targets", "unwind", "arch", "symbols", "wine", "analyses", "render")

try:
    import atheris
except ImportError:
    sys.exit("atheris is not installed: pip install atheris")


@contextmanager
def instrumented() -> Iterator[None]:
    """What is imported here is watched; so is the product, most of which is imported late."""
    with atheris.instrument_imports(include=["unspool"]):
        for module in walk_packages([str(ROOT / "src" / "unspool")], "unspool."):
            if module.name.split(".")[1] in PARTS:
                import_module(module.name)
        yield


def fuzz(one_input: Callable[[bytes], None], seeds: Mapping[str, bytes]) -> None:
    """Runs until the arguments say stop.

    The seeds are written to the first directory of the arguments if it is empty. An input that
    raises anything but our own errors, or takes too long, is left behind as `crash-…` or
    `timeout-…`.
    """
    directories = [Path(word) for word in sys.argv[1:] if not word.startswith("-")]
    for directory in directories[:1]:
        directory.mkdir(parents=True, exist_ok=True)
        if not any(directory.iterdir()):
            for name, data in seeds.items():
                (directory / name).write_bytes(data)
    atheris.Setup([*sys.argv, "-timeout=20", "-max_len=65536"], one_input)
    atheris.Fuzz()
