"""Have older versions of Wasmtime for the tests: ``python -m tests.wasm.install``.

The newest comes with requirements-dev.txt. The others are the packages that PyPI has, unpacked by
pip with this machine's own settings, each in a folder of its own.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from tests.outside.kept import Kept, install
from tests.programs.build import Unavailable

HOME = Path(os.environ.get("UNSPOOL_WASMTIME", "/var/cache/unspool-wasmtime"))
NEWEST = "newest"
# Each is of another time: trampolines in the runtime itself (8), for native calls (15), without
# unwind tables of many of its functions (up to 36), the flat address map (up to 48).
OLDER = ("8.0.1", "15.0.0", "24.0.0", "36.0.0")
VERSIONS = (NEWEST, *OLDER)


def kept(version: str) -> Kept:
    return Kept(f"Wasmtime {version}", HOME / version, "tests.wasm.install", recipe="1")


def folder(version: str) -> Path | None:
    """Where a version's package is, None if Python finds it anyway. Raises Unavailable."""
    if version != NEWEST:
        return kept(version).need()
    if importlib.util.find_spec("wasmtime") is None:
        raise Unavailable("the package wasmtime is not installed (requirements-dev.txt)")
    return None


def make(version: str, root: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-warn-script-location"]
    command += ["--only-binary", ":all:", "--target", str(root), f"wasmtime=={version}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise Unavailable(f"pip cannot install wasmtime {version}: {done.stderr.strip()[-300:]}")


if __name__ == "__main__":
    sys.exit(install(*((kept(version), partial(make, version)) for version in OLDER)))
