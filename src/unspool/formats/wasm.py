"""WebAssembly binaries, as far as debug information needs them: custom sections, and no code."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_MAGIC = b"\0asm\1\0\0\0"
_CUSTOM = 0


def wasm_binary(custom: Mapping[str, bytes]) -> bytes:
    """A binary of custom sections (WebAssembly core specification, 5.5.2 and 5.5.3)."""
    out = bytearray(_MAGIC)
    for name, data in custom.items():
        text = name.encode()
        body = uleb(len(text)) + text + data
        out.append(_CUSTOM)
        out += uleb(len(body)) + body
    return bytes(out)


def uleb(value: int) -> bytes:
    """A number in LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
