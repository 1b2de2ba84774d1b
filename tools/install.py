"""Makes the virtual environment of `make`: `install.py demo VENV` or `install.py dev VENV`.

`demo` installs the package as a user gets it, with as many of its extras as can be had; it
works without a registry and without pip, by copying the package, which needs nothing but
Python. `dev` installs it editable, with what the tests and linters need.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "requirements-dev.txt"
EXTRAS = ("symbols", "compression", "x86", "online", "cabinets")
# Without these not one test runs.
NEEDED = ("pytest", "xdist", "hypothesis")
# A registry that does not answer should cost a minute, not ten.
PIP_OPTIONS = ["--quiet", "--disable-pip-version-check", "--timeout", "60", "--retries", "1"]
UNREACHABLE = ("connection", "Max retries", "timed out", "name resolution", "Network is unreach")
# The command, with a first line that installers replace.
LAUNCHER = ROOT / "tools" / "unspool"


def main() -> int:
    mode, folder = sys.argv[1], Path(sys.argv[2]).absolute()
    has_pip = make_venv(folder)
    if mode == "demo":
        install_for_demo(folder, has_pip)
        return 0
    if not has_pip:
        say("the tests need pip in a virtual environment: apt-get install python3-venv")
        return 1
    return install_for_development(folder)


def say(text: str) -> None:
    print(f"make: {text}", file=sys.stderr)


def make_venv(folder: Path) -> bool:
    """Makes or keeps the environment; whether there is a pip in it."""
    python = folder / "bin" / "python"
    if works(python, "pip"):
        return True
    # Debian has ensurepip in a package of its own, python3-venv.
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        has_pip = False
    else:
        has_pip = True
    if has_pip or not works(python, "sys"):
        venv.create(folder, clear=True, symlinks=True, with_pip=has_pip)
    return has_pip


def works(python: Path, module: str) -> bool:
    command = [str(python), "-c", f"import {module}"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def pip(folder: Path, *arguments: str) -> str | None:
    """Runs pip; None if it went well, else the last of what it said."""
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", *PIP_OPTIONS, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    return "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-8:])


def install_for_demo(folder: Path, has_pip: bool) -> None:
    if not has_pip:
        say("no pip here (apt-get install python3-venv); the package is copied, without extras")
        copy_package(folder)
        return
    say("installing unspool with its extras into .venv")
    problem = pip(folder, "--force-reinstall", ".[all]")
    if problem is None:
        return
    if any(sign in problem for sign in UNREACHABLE):
        say("the package registry cannot be reached; the package is copied, without extras")
        copy_package(folder)
        return
    if pip(folder, "--force-reinstall", ".") is not None:
        say(f"pip cannot install the package; it is copied, without extras. pip said:\n{problem}")
        copy_package(folder)
        return
    for extra in EXTRAS:
        if pip(folder, f".[{extra}]") is not None:
            say(f"the extra '{extra}' cannot be had for this Python; it is left out")


def copy_package(folder: Path) -> None:
    """What an installation of a package in pure Python without dependencies comes to."""
    command = [
        str(folder / "bin" / "python"),
        "-c",
        "import sysconfig; print(sysconfig.get_path('purelib'))",
    ]
    site = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    shutil.rmtree(site / "unspool", ignore_errors=True)
    shutil.copytree(
        ROOT / "src" / "unspool", site / "unspool", ignore=shutil.ignore_patterns("__pycache__")
    )
    compile_all(folder, site / "unspool")
    script = folder / "bin" / "unspool"
    python = folder / "bin" / "python"
    script.write_text(LAUNCHER.read_text().replace("#!python", f"#!{python}", 1))
    script.chmod(0o755)


def install_for_development(folder: Path) -> int:
    say("installing unspool, editable, and what tests and linters need into .venv")
    problem = pip(folder, "--editable", ".[all]", "--requirement", str(REQUIREMENTS))
    if problem is not None:
        say(f"not everything can be installed, trying one by one. pip said:\n{problem}")
        problem = install_one_by_one(folder)
    if problem is not None:
        say(f"the tests need a package registry. pip said:\n{problem}")
        return 1
    # With PYTHONDONTWRITEBYTECODE set, each command that a test starts would compile the
    # whole package anew.
    compile_all(folder, ROOT / "src")
    return 0


def install_one_by_one(folder: Path) -> str | None:
    """Leaves out what cannot be had; None if the tests can run without that."""
    problem = pip(folder, "--editable", ".")
    if problem is not None:
        return problem
    lines = (line.partition("#")[0].strip() for line in REQUIREMENTS.read_text().splitlines())
    for wanted in (*(f".[{extra}]" for extra in EXTRAS), *filter(None, lines)):
        editable = ("--editable",) if wanted.startswith(".") else ()
        problem = pip(folder, *editable, wanted)
        if problem is not None:
            say(f"{wanted} cannot be had; what needs it is skipped")
    return None if all(works(folder / "bin" / "python", name) for name in NEEDED) else problem


def compile_all(folder: Path, path: Path) -> None:
    command = [str(folder / "bin" / "python"), "-m", "compileall", "-q", str(path)]
    subprocess.run(command, check=False)


if __name__ == "__main__":
    sys.exit(main())
