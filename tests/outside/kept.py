"""A folder with programs of others: whole, or not there, with the command that brings it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.programs.build import Unavailable, locked


@dataclass(frozen=True)
class Kept:
    name: str  # for people
    folder: Path
    installer: str  # the module that brings it
    recipe: str  # changes when what is in the folder does

    @property
    def is_there(self) -> bool:
        stamp = self.folder / "complete"
        return stamp.is_file() and stamp.read_text() == self.recipe

    def need(self) -> Path:
        """The folder. Raises Unavailable with what to do when it is not there."""
        if not self.is_there:
            raise Unavailable(
                f"{self.name} is not in {self.folder}: run python -m {self.installer} as root"
            )
        return self.folder

    def have(self, make: Callable[[Path], None]) -> None:
        """Has `make` fill an empty folder unless it is there; what lies beside it is forgotten.

        Raises Unavailable with the reason if that fails.
        """
        home = self.folder.parent
        try:
            with locked(home / f"{self.folder.name}.lock"):
                if self.is_there:
                    return
                with tempfile.TemporaryDirectory(dir=home) as scratch:
                    made = Path(scratch) / "made"
                    made.mkdir()
                    make(made)
                    (made / "complete").write_text(self.recipe)
                    if self.folder.exists():
                        shutil.rmtree(self.folder)
                    made.chmod(0o755)
                    made.rename(self.folder)
        except (OSError, subprocess.SubprocessError) as error:
            raise Unavailable(f"{self.name} cannot be installed: {error}") from None


def install(*wanted: tuple[Kept, Callable[[Path], None]]) -> int:
    """What an installer does, each thing by itself; the status that it ends with."""
    status = 0
    for kept, make in wanted:
        start = time.monotonic()
        try:
            kept.have(make)
        except Unavailable as reason:
            print(f"{reason}; tests that need it are skipped", file=sys.stderr)
            status = 1
        else:
            print(f"{kept.name} is in {kept.folder} ({time.monotonic() - start:.0f} s)")
    return status
