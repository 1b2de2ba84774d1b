"""Unpacks Microsoft cabinets (`name.pd_`) by way of libarchive: MSZIP and LZX.

docs/decisions/0021-cabinets-by-libarchive.md says why. This is the one module that imports it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

MAGIC = b"MSCF"
# The largest PDB files that there are have 4 GB; LZX compresses zeros without bound.
MOST_BYTES = 8 << 30
_MAX_RATIO = 1100
_SMALL = 64 << 20


class Unusable(Exception):
    """Why a file of a symbol store cannot be used, in words."""


def unpack(path: str, to: str, most: int = MOST_BYTES) -> None:
    """Writes the first file in the cabinet at `path` to `to`, which must not be there.

    Raises `Unusable` for what is no cabinet or broken, if the library is missing, and for more
    than `most` bytes or 1100 times the cabinet's; `OSError` if `to` cannot be written.
    """
    libarchive = _library()
    with open(path, "rb", buffering=0) as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise Unusable("it is no cabinet")
        file.seek(0)
        most = min(most, max(_SMALL, os.fstat(file.fileno()).st_size * _MAX_RATIO))
        try:
            with (
                libarchive.fd_reader(file.fileno(), "cab", "none") as archive,
                open(to, "xb") as out,
            ):
                _write_first(archive, out, most)
        except libarchive.ArchiveError as error:
            raise Unusable(f"the cabinet is broken: {error.msg or error}") from None


def _write_first(archive: Any, out: BinaryIO, most: int) -> None:
    entry = next(iter(archive), None)
    if entry is None:
        raise Unusable("the cabinet is empty")
    size = 0
    for block in entry.get_blocks():
        size += len(block)
        if size > most:
            raise Unusable(f"the cabinet unpacks to more than {most:,} bytes")
        out.write(block)


def _library() -> Any:
    try:
        import libarchive
    except ImportError:
        hint = "pip install 'unspool[cabinets]'"
        raise Unusable(f"it is a cabinet; the library libarchive-c is missing ({hint})") from None
    except (OSError, TypeError, AttributeError):
        # The wheel brings no libarchive; without it loading None fails in one way or another.
        hint = "apt install libarchive13"
        raise Unusable(f"it is a cabinet; libarchive is not on this machine ({hint})") from None
    return libarchive
