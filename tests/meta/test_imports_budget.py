"""How much the way to a stack may load: a core with one thread takes less time than the imports.

`test_imports.py` forbids what is slow; here is everything that is allowed, and how much of ours.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import BUNDLED, ROOT

# All that the interpreter does not load itself. Each is small, and most are written in C.
STANDARD = {"__future__", "_bisect", "_struct", "bisect", "gc", "itertools", "mmap", "struct"}

# Tried, and absent without site-packages: it decodes the instruction that faulted.
OPTIONAL = {"iced_x86"}

# A module costs 0.15 ms (Python 3.11, 2.6 GHz), whatever is in it.
MOST_OF_OURS = 82

# Only frames without a row need them.
GUESSES = {
    f"unspool.unwind.strategies.{name}" for name in ("frame_pointer", "leaf", "root", "scan")
}


@pytest.fixture(scope="module")
def loaded(demo_core: str) -> set[str]:
    """What the command loads, started as it is when it is installed, for a plain core."""
    launcher = str(ROOT / "tools" / "unspool")
    # An interpreter with site-packages has loaded `os`, as every installation's has.
    return imports(launcher, demo_core, "--symbols", str(BUNDLED)) - imports("-c", "import os")


def imports(*arguments: str) -> set[str]:
    """The modules that an interpreter without site-packages loads."""
    done = subprocess.run(
        [sys.executable, "-S", "-X", "importtime", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines[1:]}


def test_nothing_but_the_smallest_of_the_standard_library(loaded: set[str]) -> None:
    foreign = {name for name in loaded if name.partition(".")[0] != "unspool"}
    assert foreign <= STANDARD | OPTIONAL


def test_the_number_of_our_own_modules_is_bounded(loaded: set[str]) -> None:
    ours = {name for name in loaded if name.partition(".")[0] == "unspool"}
    assert "unspool.unwind.walk" in ours
    assert len(ours) <= MOST_OF_OURS


def test_strategies_that_guess_wait_for_a_frame_without_a_row() -> None:
    script = (
        "from unspool.unwind.strategies.order import default_stepper\n"
        "from unspool.arch.x86_64 import X86_64\n"
        "from unspool.memory import Memory\n"
        "from unspool.space import AddressSpace\n"
        "stepper = default_stepper(AddressSpace(X86_64, Memory(), [], None))\n"
    )
    assert not imports("-c", script) & GUESSES
    assert imports("-c", script + "list(stepper.dynamic)") >= GUESSES
