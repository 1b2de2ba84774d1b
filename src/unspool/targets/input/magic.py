"""What bytes are, told by the first few of them and never by a name."""

from __future__ import annotations

from unspool.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer

HEAD = 8  # as many bytes as `compression_of`, `is_skippable` and `refuse_foreign` look at

_COMPRESSIONS = (
    ("zstd", b"\x28\xb5\x2f\xfd"),
    ("lz4", b"\x04\x22\x4d\x18"),
    ("xz", b"\xfd7zXZ\0"),
    ("gzip", b"\x1f\x8b\x08"),
)

# Compression that is not read: first bytes, name, command to use instead.
_FOREIGN = (
    (b"BZh", "bzip2", "bzip2 -dk"),
    (b"PK\3\4", "zip", "unzip"),
    (b"7z\xbc\xaf\x27\x1c", "7z", "7z x"),
    (b"LZIP", "lzip", "lzip -dk"),
    (b"\x02\x21\x4c\x18", "the old format of lz4", "lz4 -d"),
)

# No encoding of text has other control characters than these.
_TEXT = bytes(range(32, 256)) + b"\b\t\n\v\f\r\x1b"


def sniff(buffer: Buffer) -> str:
    """What `buffer` holds: "elf", "minidump", "json", "text" or "unknown"."""
    head = bytes(buffer[:512])
    if head.startswith(b"\x7fELF"):
        return "elf"
    if head.startswith((b"MDMP", b"PMDM")):
        return "minidump"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return "json"
    return "text" if head and not head.translate(None, _TEXT) else "unknown"


def compression_of(head: bytes) -> str:
    """ "zstd", "lz4", "xz", "gzip" or "", from the first 8 bytes."""
    for name, magic in _COMPRESSIONS:
        if head.startswith(magic):
            return name
    return ""


def is_skippable(head: bytes) -> bool:
    """Whether a frame without content begins, which zstd and lz4 share (RFC 8878, 3.1.2)."""
    return len(head) >= 8 and head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5


def refuse_foreign(head: bytes, name: str) -> None:
    """Raises `InputError` if `head` begins a compression that is known but not read."""
    for magic, what, command in _FOREIGN:
        if head.startswith(magic):
            raise InputError(
                f"{name} is compressed with {what}, which is not read",
                f"decompress it first: {command} {name}",
            )
