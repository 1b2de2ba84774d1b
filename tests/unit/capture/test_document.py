"""The file that goes into the spool: read back it is the same, and its size is bounded."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.unit.capture.test_spool import CRASH
from unspool.capture.config import Config
from unspool.capture.document import compressed, failure, render
from unspool.capture.privacy import Policy
from unspool.errors import InputError
from unspool.render.json import dumps
from unspool.render.json_reader import loads

ENVIRON = b"A=1\0B=\xff=\0nonsense\0"


def document(environ: bytes | None = None, **values: str) -> bytes:
    config = Config(values)
    policy = Policy(config, None)
    return gzip.decompress(
        compressed(render(failure(CRASH, "why"), CRASH, config, policy, environ))
    )


def test_what_the_kernel_told_is_read_back() -> None:
    data = document(ENVIRON, environment="in", host_name="in")
    report = json.loads(data)
    assert report["capture"] == {
        "version": report["capture"]["version"], "host_pid": 77, "host_tid": 78,
        "crashed_at": "2023-11-14T22:13:20Z", "dump_mode": 1, "uid": "1000", "gid": "1001",
        "host_name": "host", "environment": {"A": "1", "B": "\ufffd="},
    }  # fmt: skip
    assert json.loads(dumps(loads(data)))["capture"] == report["capture"]


def test_absent_is_what_is_out() -> None:
    report = json.loads(document(ENVIRON, user="out"))
    assert not {"environment", "host_name", "uid", "gid"} & set(report["capture"])


@pytest.mark.parametrize(
    ("key", "value"),
    [("host_pid", "1"), ("uid", 1), ("environment", []), ("environment", {"A": 1})],
)
def test_wrong_values_are_named(key: str, value: object) -> None:
    report = json.loads(document())
    report["capture"][key] = value
    with pytest.raises(InputError, match=f"capture.{key}"):
        loads(json.dumps(report))


@pytest.mark.parametrize("form", ["json", "memfault", "minidump-stackwalk"])
def test_a_failure_has_every_form(form: str) -> None:
    assert isinstance(json.loads(document(format=form)), dict)
