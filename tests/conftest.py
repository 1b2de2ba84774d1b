"""What all tests share: how much the property tests do, and where outside material lies."""

from __future__ import annotations

import lzma
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.programs.build import Unavailable
from tests.programs.build import tool as tool_path

# A shell lets what it runs in the background ignore these (POSIX, shell, 2.11), and what tests
# start would inherit that.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _handler)

_COMMON = {
    "deadline": None,  # a shared machine pauses; time is bounded where it is the subject
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}
# A test run is the same every time; `make fuzz` looks for what is new.
settings.register_profile("test", derandomize=True, database=None, max_examples=100, **_COMMON)  # type: ignore[arg-type]
settings.register_profile("fuzz", max_examples=20_000, **_COMMON)  # type: ignore[arg-type]
PROFILE = os.environ.get("UNSPOOL_HYPOTHESIS", "test")
settings.load_profile(PROFILE)


def examples(count: int) -> int:
    """A number of examples for one property: that many in a test run, far more in `make fuzz`."""
    return count if PROFILE == "test" else 100 * count


ROOT = Path(__file__).parents[1]
BUNDLED = ROOT / "demo" / "bundled"
# Real dumps of public test suites, kept beside the repository; nothing depends on them alone.
CORPUS = Path(os.environ.get("UNSPOOL_CORPUS", ROOT.parent / "shared" / "corpus"))


def open_terminal() -> tuple[int, int]:
    """The two ends of a pseudo-terminal; skips the test where there are none (a bare chroot)."""
    try:
        return os.openpty()
    except OSError as error:
        pytest.skip(f"no pseudo-terminals here: {error}")


Tool = Callable[..., str]
Corpus = Callable[[str], bytes]


@pytest.fixture(scope="session")
def programs_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where programs and cores are made, one folder for all workers of a test session."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / "programs"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def demo_core(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The core that the documents show, of a program with five threads."""
    path = tmp_path_factory.mktemp("demo") / "crash.core"
    path.write_bytes(lzma.decompress((BUNDLED / "crash.core.xz").read_bytes()))
    return str(path)


@pytest.fixture(scope="session")
def wine_root(programs_root: Path) -> Path:
    """Where what runs under Wine is made; Wine in a root of its own sees this folder alone."""
    folder = programs_root / "wine"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def tool() -> Tool:
    """Runs another program for its standard output; skips the test where it is not installed."""

    def run(*command: str | Path) -> str:
        tool_path(str(command[0]))
        result = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            timeout=120,
            check=False,
            env={**os.environ, "LC_ALL": "C", "DEBUGINFOD_URLS": ""},
        )
        return result.stdout.decode("utf-8", "replace")

    return run


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """Reads a file of the corpus, decompressed; skips the test where it is absent."""
    zstandard = pytest.importorskip("zstandard")

    def read(name: str) -> bytes:
        path = CORPUS / f"{name}.zst"
        if not path.is_file():
            pytest.skip(f"no corpus file {name} (set UNSPOOL_CORPUS)")
        with path.open("rb") as stream:
            data: bytes = zstandard.ZstdDecompressor().stream_reader(stream).read()
        return data

    return read


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Iterator[None]:
    """What this machine cannot do skips the tests that need it, with its reason."""
    try:
        return (yield)
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Iterator[None]:
    try:
        return (yield)
    except Unavailable as reason:
        pytest.skip(str(reason))
