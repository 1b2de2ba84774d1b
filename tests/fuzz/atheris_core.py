"""Coverage-guided fuzzing of cores: `make fuzz`, or

    python tests/fuzz/atheris_core.py [-max_total_time=600] [CORPUS_DIRECTORY...]

Needs the `atheris` package (Linux; see its documentation for the Pythons that it supports).
The seeds are written to the first directory if it is empty. An input that raises anything
but our own errors, or takes too long, is left behind as `crash-…` or `timeout-…`; make it
a named case of test_hostile_cores.py.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
unspool_path = [str(ROOT / "src" / "unspool")]

try:
    import atheris
except ImportError:
    sys.exit("atheris is not installed: pip install atheris")

with atheris.instrument_imports(include=["unspool"]):
    # Most modules are imported when they are first needed, which would be too late here.
    for module in walk_packages(unspool_path, "unspool."):
        if module.name.split(".")[1] in ("formats", "targets", "unwind", "arch", "symbols"):
            import_module(module.name)
    from tests.fuzz.harness import examine
    from tests.fuzz.seeds import ARCHES, seed


def one_input(data: bytes) -> None:
    # The last byte chooses, so that what libFuzzer does to the rest keeps its meaning.
    examine(data, explain=bool(data[-1:] < b"\x80"))


def main() -> None:
    directories = [Path(word) for word in sys.argv[1:] if not word.startswith("-")]
    for directory in directories[:1]:
        directory.mkdir(parents=True, exist_ok=True)
        if not any(directory.iterdir()):
            for arch in ARCHES:
                for notes in ("first", "last"):
                    (directory / f"{arch}-{notes}").write_bytes(seed(arch, notes))
    atheris.Setup([*sys.argv, "-timeout=20", "-max_len=65536"], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
