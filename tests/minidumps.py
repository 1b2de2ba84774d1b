"""What tests of minidumps share: a dump made of a target, and both walked and compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import unspool
from unspool import api
from unspool.render.json import chunks
from unspool.write.minidump import Written

# What the walk says of a thread, and of the crash.
OF_THREAD = ("tid", "windows_tid", "crashed", "segments", "stop", "gaps")
OF_FRAME = ("pc", "sp", "trust", "segment", "module_offset", "function", "function_offset")
OF_CRASH = ("signal", "number", "code", "address", "thread_index")


@dataclass(frozen=True)
class Place:
    """A target, and where its files are."""

    source: str | int | Path
    symbols: Sequence[str | Path] = ()
    executable: str | Path | None = None
    sysroot: str | Path | None = None

    def options(self) -> dict[str, Any]:
        return {
            "symbols": [str(each) for each in self.symbols],
            "executable": str(self.executable) if self.executable else None,
            "sysroot": str(self.sysroot) if self.sysroot else None,
        }

    def report(self, *, names: bool = True) -> dict[str, Any]:
        """What unspool says of it, names by the symbol tables."""
        given = self.source if isinstance(self.source, int) else str(self.source)
        with unspool.open(given, **self.options()) as target:
            return as_json(unspool.unwind(target, symbols=names, lines=False))

    def walked(self) -> list[list[tuple[int, int | None, str, int]]]:
        """Each thread's frames as they were walked."""
        with unspool.open(str(self.source), **self.options()) as target:
            found = unspool.unwind(target, symbols=False).stacks
            return [[(f.pc, f.sp, f.trust, f.segment) for f in each.frames] for each in found]

    def dump(self, path: Path, **how: Any) -> tuple[Place, Written]:
        """A minidump of it, made as `how` says."""
        given = self.source if isinstance(self.source, int) else str(self.source)
        with unspool.open(given, floating_point=True, **self.options()) as target:
            _, written = api.dump(target, str(path), **how)
        return Place(path, self.symbols, self.executable, self.sysroot), written


def as_json(report: Any) -> dict[str, Any]:
    result: dict[str, Any] = json.loads("".join(chunks(report)))
    return result


def stacks(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The threads with what the walk says of them; modules by name and address."""
    modules = report["modules"]
    result = []
    for thread in report["threads"]:
        kept = {key: thread.get(key) for key in OF_THREAD}
        kept["frames"] = [
            {key: frame.get(key) for key in OF_FRAME} | {"module": module_of(modules, frame)}
            for frame in thread["frames"]
        ]
        result.append(kept)
    return result


def module_of(modules: list[dict[str, Any]], frame: dict[str, Any]) -> tuple[str, str] | None:
    index = frame.get("module")
    return None if index is None else (modules[index]["name"], modules[index]["base"])


def crash(report: dict[str, Any]) -> dict[str, Any] | None:
    found = report.get("crash")
    return found and {key: found.get(key) for key in OF_CRASH}


def check(original: dict[str, Any], dumped: dict[str, Any]) -> None:
    """Every thread has the same frames, segments and end, and the crash is the same."""
    theirs, ours = stacks(original), stacks(dumped)
    assert [each["tid"] for each in ours] == [each["tid"] for each in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["frames"] == other["frames"], mine["tid"]
        assert mine == other
    assert crash(dumped) == crash(original)
    assert dumped["target"].get("wine") == original["target"].get("wine")


def without_names(report: dict[str, Any]) -> dict[str, Any]:
    """The report as one made without symbols; changed in place."""
    for thread in report["threads"]:
        for frame in thread["frames"]:
            frame.pop("function", None)
            frame.pop("function_offset", None)
    return report
