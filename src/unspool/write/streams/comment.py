"""CommentStreamA: what wrote the dump and of what; debuggers show it when they open one."""

from __future__ import annotations

from unspool.formats.minidump.streams import OWN_IDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.write.draft import Draft
    from unspool.write.output import Output


def write(draft: Draft, output: Output) -> bytes:
    """A text in ASCII with a NUL behind it."""
    from unspool import __version__

    target = draft.target
    parts = [f"Written by unspool {__version__} from a {_KINDS[target.info.kind]}"]
    wine = target.info.wine
    if wine and wine.get("build"):
        parts.append(f"of a process in Wine {wine['build']}")
    if draft.keep_word is not None:
        parts.append("with everything blanked but pointers into modules and stacks")
    text = " ".join(parts).encode("ascii", "replace")
    if draft.own_ids:
        text += OWN_IDS + " ".join(map(str, draft.own_ids)).encode()
    return text + b"\0"


_KINDS = {"core": "core", "live": "running process", "minidump": "minidump"}
