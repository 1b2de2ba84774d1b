"""What of a process's memory gets into its minidump, and what does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.minidumps import Place, crash, stacks
from tests.programs.build import build
from tests.programs.cores import make_core
from tests.programs.running import running
from tests.programs.table import Program

pytestmark = pytest.mark.oracle

ON_STACK, IN_VECTORS, ON_HEAP = b"SecretONstack", b"VectorSecret", b"HeapSecr"
ENVIRONMENT, ARGUMENT = b"value-of-a-variable", b"--token=hunter2"
MEMORY = (ON_STACK, IN_VECTORS, ON_HEAP)
EVERYTHING = (*MEMORY, ENVIRONMENT, ARGUMENT)
SECRETS = Program(
    name="secrets", source="secrets.c", flags=("-O1", "-g"), ours=("inner", "outer", "main"),
    arguments=("crash", ARGUMENT.decode()), environment=(("SECRET", ENVIRONMENT.decode()),),
)  # fmt: skip
SECRETS_32 = SECRETS.variant("secrets-m32", compiler="gcc-m32")


@pytest.fixture(params=["core", "core-m32", "gcore", "live"])
def place(request: pytest.FixtureRequest, programs_root: Path) -> Iterator[Place]:
    """A process with secrets: its core, or itself."""
    program = SECRETS_32 if request.param.endswith("m32") else SECRETS
    if request.param == "live":
        command = [build(program, programs_root), "wait", ARGUMENT.decode()]
        with running(command, env=dict(program.environment)) as process:
            yield Place(process.pid)
    else:
        kind = "gcore" if request.param == "gcore" else "kernel"
        waiting = program.variant(f"{program.name}-waits", arguments=("", ARGUMENT.decode()))
        yield Place(make_core(waiting if kind == "gcore" else program, kind, programs_root).path)


def found(path: Path) -> set[bytes]:
    data = path.read_bytes()
    # Half a secret is one as well.
    return {each for each in EVERYTHING if each in data or each[: len(each) // 2] in data}


def test_the_environment_is_kept_only_if_asked_for(place: Place, tmp_path: Path) -> None:
    plain, asked = tmp_path / "plain.dmp", tmp_path / "asked.dmp"
    place.dump(plain)
    # The stack is what a dump is for; the test below would find nothing if this did not.
    assert {ON_STACK, ARGUMENT} <= found(plain)
    assert ENVIRONMENT not in found(plain)
    place.dump(asked, environ=True)
    assert ENVIRONMENT in found(asked)


def test_vector_registers_are_kept(place: Place, tmp_path: Path) -> None:
    place.dump(tmp_path / "a.dmp")
    assert IN_VECTORS in found(tmp_path / "a.dmp")


def test_nothing_is_left_in_a_sanitized_dump(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "a.dmp"
    dumped, _ = place.dump(path, sanitize=True)
    assert not found(path)
    original, mine = place.report(), dumped.report()
    assert stacks(mine) == stacks(original)
    assert crash(mine) == crash(original)
    frames = [frame.get("function") for frame in mine["threads"][0]["frames"]]
    assert [name for name in frames if name in SECRETS.ours] == list(SECRETS.ours)


def test_a_report_holds_none_of_it(place: Place, tmp_path: Path) -> None:
    import json

    path = tmp_path / "a.json"
    path.write_text(json.dumps(place.report()))
    assert found(path) <= {ARGUMENT}


def test_nobody_else_may_read_a_dump(place: Place, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        place.dump(tmp_path / "a.dmp")
    finally:
        os.umask(old)
    assert (tmp_path / "a.dmp").stat().st_mode & 0o777 == 0o600
