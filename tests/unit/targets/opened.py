"""Targets that are made up and opened as files."""

from __future__ import annotations

from pathlib import Path

import unspool


def written(tmp_path: Path, data: bytes, name: str = "crash") -> str:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def report_of(path: str, **keywords: object) -> unspool.Report:
    with unspool.open(path, **keywords) as target:  # type: ignore[arg-type]
        return unspool.unwind(target)


def pcs(report: unspool.Report, index: int = 0) -> list[int]:
    return [frame.pc for frame in report.stacks[index].frames]
