"""The bundled cores, each walked by the command and compared with what PROVENANCE.toml says.

They need nothing of the machine but zstandard, so they test every capability anywhere.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.oracle.names import plain
from tests.oracle.unspool_command import run_unspool

zstandard = pytest.importorskip("zstandard")

HERE = Path(__file__).parent
CORES: list[dict[str, Any]] = tomllib.loads((HERE / "PROVENANCE.toml").read_text())["core"]
LARGEST = 100_000  # bytes of a bundled file

every_core = pytest.mark.parametrize("core", CORES, ids=lambda core: core["name"])


def unpack(name: str, target: Path) -> bytes:
    data: bytes = zstandard.ZstdDecompressor().decompress((HERE / f"{name}.zst").read_bytes())
    target.write_bytes(data)
    return data


def ask(core: dict[str, Any], folder: Path, target: Path, *options: str) -> tuple[int, Any]:
    """The exit code and report of `unspool stack`, the core's executable in `folder`."""
    unpack(f"{core['executable']}.exe", folder / core["executable"])
    done = run_unspool("stack", target, "--format", "json", *options, cache=folder / "cache")
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def place(core: dict[str, Any], folder: Path) -> list[str]:
    """How the executable is to be found: by its build id, which some cores do not hold."""
    if core["name"].endswith(("anonymous", "qemu")):
        return ["--executable", str(folder / core["executable"])]
    return ["--symbols", str(folder)]


@every_core
def test_every_thread_is_as_recorded(core: dict[str, Any], tmp_path: Path) -> None:
    target = tmp_path / "core"
    unpack(f"{core['name']}.core", target)
    code, report = ask(core, tmp_path, target, *place(core, tmp_path))
    assert code == (0 if core["complete"] else 1)
    assert (report.get("crash") or {}).get("signal", "") == core["signal"]
    threads = {thread["tid"]: thread for thread in report["threads"]}
    assert set(threads) == {thread["tid"] for thread in core["thread"]}
    for thread in core["thread"]:
        frames = threads[thread["tid"]]["frames"][: len(thread["frames"])]
        assert [recorded(f, e) for f, e in zip(frames, thread["frames"], strict=True)] == [
            tuple(expected) for expected in thread["frames"]
        ]


def recorded(frame: dict[str, Any], expected: list[str]) -> tuple[str, str]:
    """A frame as PROVENANCE.toml has it, with the fields that are open there left out."""
    pc, function = expected
    return pc and hex(int(frame["pc"], 16)), function and plain(frame.get("function") or "?")


@every_core
def test_stacks_end_where_they_should(core: dict[str, Any], tmp_path: Path) -> None:
    target = tmp_path / "core"
    unpack(f"{core['name']}.core", target)
    _, report = ask(core, tmp_path, target, *place(core, tmp_path))
    reasons = {thread["stop"]["reason"] for thread in report["threads"]}
    crashed = [thread for thread in report["threads"] if thread["crashed"]]
    assert bool(report["target"].get("truncated")) == core["name"].endswith("truncated")
    if core["complete"]:
        assert reasons == {"root"}
        assert all(len(thread["frames"]) == core["count"] for thread in crashed)
    else:
        assert reasons == {"fault"}
        assert all(len(thread["frames"]) >= core["count"] for thread in crashed)


@every_core
def test_compressed_core_gives_the_same_report(core: dict[str, Any], tmp_path: Path) -> None:
    plain_core = tmp_path / "core"
    unpack(f"{core['name']}.core", plain_core)
    compressed = tmp_path / "core.zst"
    compressed.write_bytes((HERE / f"{core['name']}.core.zst").read_bytes())
    where = place(core, tmp_path)
    first, second = (ask(core, tmp_path, target, *where) for target in (plain_core, compressed))
    for _, report in (first, second):
        report["target"].pop("path")
    assert first == second


@every_core
def test_files_are_what_provenance_says(core: dict[str, Any], tmp_path: Path) -> None:
    data = unpack(f"{core['name']}.core", tmp_path / "core")
    assert hashlib.sha256(data).hexdigest() == core["sha256"]
    for name in (f"{core['name']}.core", f"{core['executable']}.exe"):
        assert (HERE / f"{name}.zst").stat().st_size <= LARGEST


def test_every_file_has_a_provenance() -> None:
    known = {f"{core['name']}.core" for core in CORES} | {f"{c['executable']}.exe" for c in CORES}
    assert {path.name.removesuffix(".zst") for path in HERE.glob("*.zst")} == known
