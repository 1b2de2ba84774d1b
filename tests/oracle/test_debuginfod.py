"""The real debuginfod (elfutils) and its own client: the same files, and one cache for both."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.programs.build import tool as tool_path
from tests.unit.symbols.conftest import SOURCES
from tests.unit.symbols.online.server import Server
from tests.unit.symbols.test_elsewhere import build_id_of, here, sent
from unspool import api
from unspool.model import Report

pytestmark = pytest.mark.oracle
pytest.importorskip("urllib3")
pytest.importorskip("symbolic")

PATIENCE = 60


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith("DEBUGINFOD_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("_NT_SYMBOL_PATH", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "debuginfod_client"


@pytest.fixture
def program(tool: Tool, tmp_path: Path) -> Path:
    """A stripped program in a folder `served`, with its debug file."""
    folder = tmp_path / "served"
    folder.mkdir()
    tool("gcc", "-g", "-O2", SOURCES / "inlined.c", "-o", tmp_path / "inlined")
    tool("objcopy", "--only-keep-debug", tmp_path / "inlined", folder / "inlined.debug")
    tool("strip", tmp_path / "inlined", "-o", folder / "inlined")
    return tmp_path / "inlined"


@pytest.fixture
def report(program: Path, tool: Tool) -> tuple[Report, Report, str]:
    """The report as it is sent, the same named, and the program's build id."""
    bare, expected = here(program, tool)
    identity = build_id_of(program)
    return sent(bare, program), expected, identity


@pytest.fixture
def debuginfod(program: Path, tmp_path: Path) -> Iterator[str]:
    """A debuginfod of what `program` put there; its URL."""
    command = tool_path("debuginfod")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    served = str(program.parent / "served")
    identity = build_id_of(program.parent / "served" / "inlined")
    process = subprocess.Popen(
        [command, "-F", "-d", ":memory:", "-p", str(port), "-t", "0", served],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/buildid/{identity}/debuginfo", process)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until the server has found the file."""
    end = time.monotonic() + PATIENCE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < end:
        if process.poll() is not None:
            pytest.skip(f"debuginfod ended with {process.returncode}")
        try:
            with opener.open(url, timeout=PATIENCE):
                return
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            pass
        time.sleep(0.05)
    pytest.fail("debuginfod did not find the file")


def find(*arguments: str, url: str) -> tuple[int, str]:
    """debuginfod-find: its exit code, and the path or complaint that it prints."""
    done = subprocess.run(
        [tool_path("debuginfod-find"), *arguments], env={**os.environ, "DEBUGINFOD_URLS": url},
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    return done.returncode, (done.stdout or done.stderr).strip()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def test_a_real_debuginfod(
    report: tuple[Report, Report, str], debuginfod: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    received, expected, _ = report
    monkeypatch.setenv("DEBUGINFOD_URLS", debuginfod)
    named, missing = api.symbolicate(received, online=True)
    assert missing == []
    assert named.locations == expected.locations
    assert [each.title for each in named.findings] == []


def test_the_client_reads_what_we_downloaded(
    report: tuple[Report, Report, str], debuginfod: str, cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    received, _, identity = report
    monkeypatch.setenv("DEBUGINFOD_URLS", debuginfod)
    api.symbolicate(received, online=True)
    nobody = "http://127.0.0.1:1"
    assert find("debuginfo", identity, url=nobody) == (0, str(cache / identity / "debuginfo"))


def test_we_read_what_the_client_downloaded(
    report: tuple[Report, Report, str], debuginfod: str
) -> None:
    received, expected, identity = report
    assert find("debuginfo", identity, url=debuginfod)[0] == 0
    named, missing = api.symbolicate(received)
    assert (named.locations, missing) == (expected.locations, [])


def test_the_client_believes_us_that_there_is_no_file(
    report: tuple[Report, Report, str], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    received, _, identity = report
    monkeypatch.setenv("DEBUGINFOD_URLS", server.url)
    api.symbolicate(received, online=True)
    asked = len(server.asked)
    assert asked == 2
    code, said = find("debuginfo", identity, url=server.url)
    assert code != 0
    assert "No such file" in said
    assert len(server.asked) == asked


def test_we_believe_the_client_that_there_is_no_file(
    report: tuple[Report, Report, str], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    received, _, identity = report
    assert find("debuginfo", identity, url=server.url)[0] != 0
    assert find("executable", identity, url=server.url)[0] != 0
    asked = len(server.asked)
    monkeypatch.setenv("DEBUGINFOD_URLS", server.url)
    api.symbolicate(received, online=True)
    assert len(server.asked) == asked
