"""What the library takes from those who call it."""

from __future__ import annotations

from pathlib import Path

import unspool
from tests.build.core import Core
from unspool import api


def test_paths_are_strings_or_path_objects(tmp_path: Path) -> None:
    core = tmp_path / "core"
    made = Core("x86_64")
    made.thread(7, {"rip": 0x1000, "rsp": 0x7000})
    core.write_bytes(made.build())
    (tmp_path / "symbols").mkdir()
    for symbols in (tmp_path / "symbols", str(tmp_path / "symbols"), [tmp_path / "symbols"]):
        with unspool.open(core, symbols=symbols, sysroot=tmp_path) as target:
            assert [thread.tid for thread in target.threads] == [7]
            assert target.options.symbols.paths == (str(tmp_path / "symbols"),)
            api.dump(target, tmp_path / "a.dmp")
    with unspool.open(tmp_path / "a.dmp") as target:
        assert [thread.tid for thread in target.threads] == [7]
