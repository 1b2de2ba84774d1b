"""The forms in which programs can have a report."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.model import Report


def chunks(name: str, report: Report) -> Iterator[str]:
    """The report in one of `FORMS`, in pieces."""
    if name == "memfault":
        from unspool.render import memfault

        return memfault.chunks(report)
    if name == "minidump-stackwalk":
        from unspool.render import stackwalk_json

        return stackwalk_json.chunks(report)
    from unspool.render import json

    return json.chunks(report)
