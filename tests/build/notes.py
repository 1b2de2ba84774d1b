"""ELF notes."""

from __future__ import annotations

import struct


def note(name: str | bytes, kind: int, desc: bytes, *, align: int = 4, **lies: int) -> bytes:
    """One ELF note; `namesz` and `descsz` can be lied about."""
    raw = name.encode() if isinstance(name, str) else name
    raw = raw + b"\0" if raw else b""
    head = struct.pack(
        "<III", lies.get("namesz", len(raw)), lies.get("descsz", len(desc)), lies.get("type", kind)
    )
    body = head + raw
    body += bytes(-len(body) % align) + desc
    return body + bytes(-len(body) % align)
