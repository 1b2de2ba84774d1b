"""Coverage-guided fuzzing of minidumps: `make fuzz`, or

    python -m tests.fuzz.atheris_minidump [-max_total_time=600] [CORPUS_DIRECTORY...]

As `atheris_core.py` does for cores; make what it finds a named case of
test_hostile_minidumps.py.
"""

from __future__ import annotations

from tests.fuzz import coverage

with coverage.instrumented():
    from tests.fuzz.commands import look_into
    from tests.fuzz.harness import examine
    from tests.fuzz.minidump_values import read
    from tests.fuzz.test_mutated_minidumps import NAMES, made


def one_input(data: bytes) -> None:
    # The last byte chooses, so that what libFuzzer does to the rest keeps its meaning.
    choice = data[-1] if data else 0
    read(data)
    examine(data, explain=choice < 0x80)
    if choice % 8 == 0:
        look_into(data)


if __name__ == "__main__":
    coverage.fuzz(one_input, {name: made(name) for name in NAMES})
