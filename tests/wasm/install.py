"""Have older versions of Wasmtime for the tests: ``python -m tests.wasm.install``.

The newest comes with requirements-dev.txt. The others are the packages that PyPI has, unpacked by
pip with this machine's own settings, each in a folder of its own.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.programs.build import Unavailable, locked

HOME = Path(os.environ.get("UNSPOOL_WASMTIME", "/var/cache/unspool-wasmtime"))
NEWEST = "newest"
# Each is of another time: trampolines in the runtime itself (8), for native calls (15), without
# unwind tables of many of its functions (up to 36), the flat address map (up to 48).
OLDER = ("8.0.1", "15.0.0", "24.0.0", "36.0.0")
VERSIONS = (NEWEST, *OLDER)


def folder(version: str) -> Path | None:
    """Where a version's package is, None if Python finds it anyway. Raises Unavailable."""
    if version == NEWEST:
        if importlib.util.find_spec("wasmtime") is None:
            raise Unavailable("the package wasmtime is not installed (requirements-dev.txt)")
        return None
    path = HOME / version
    if not (path / "wasmtime").is_dir():
        raise Unavailable(f"Wasmtime {version} is absent: run python -m tests.wasm.install")
    return path


def install() -> None:
    """Unpacks the versions that are not there. Raises Unavailable with the reason."""
    try:
        with locked(HOME / "install.lock"):
            for version in OLDER:
                if not (HOME / version / "wasmtime").is_dir():
                    unpack(version)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"Wasmtime cannot be installed: {error}") from None


def unpack(version: str) -> None:
    with tempfile.TemporaryDirectory(dir=HOME) as made:
        target = Path(made) / "package"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-warn-script-location"]
        command += ["--only-binary", ":all:", "--target", str(target), f"wasmtime=={version}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise Unavailable(
                f"pip cannot install wasmtime {version}: {done.stderr.strip()[-300:]}"
            )
        target.chmod(0o755)
        target.rename(HOME / version)


def main() -> int:
    try:
        install()
    except Unavailable as reason:
        print(f"{reason}; tests that need it are skipped", file=sys.stderr)
        return 1
    print(f"Older versions of Wasmtime are in {HOME}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
