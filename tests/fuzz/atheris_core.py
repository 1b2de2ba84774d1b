"""Coverage-guided fuzzing of cores: `make fuzz`, or

    python -m tests.fuzz.atheris_core [-max_total_time=600] [CORPUS_DIRECTORY...]

Make what it finds a named case of test_hostile_cores.py.
"""

from __future__ import annotations

from tests.fuzz import coverage

with coverage.instrumented():
    from tests.fuzz.harness import examine
    from tests.fuzz.seeds import ARCHES, seed


def one_input(data: bytes) -> None:
    # The last byte chooses, so that what libFuzzer does to the rest keeps its meaning.
    examine(data, explain=bool(data[-1:] < b"\x80"))


if __name__ == "__main__":
    coverage.fuzz(
        one_input,
        {f"{arch}-{notes}": seed(arch, notes) for arch in ARCHES for notes in ("first", "last")},
    )
