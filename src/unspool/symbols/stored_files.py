"""What lies in a symbol store in place of a file: a cabinet with it, or a note where it is.

`symstore add /compress` stores `name.pdb` as the cabinet `name.pd_`, and `symstore add /p`
leaves the file where it is and writes its path into `file.ptr`.
"""

from __future__ import annotations

import os

from unspool.symbols.cabinet import Unusable, unpack
from unspool.symbols.files import map_file
from unspool.symbols.places import own_store

__all__ = ["Unusable", "behind", "pointed_to"]

_MAX_POINTER = 4096


def behind(path: str, name: str, identifier: str) -> str:
    """The file that `path`, a cabinet or a `file.ptr`, stands for. Raises `Unusable`.

    A cabinet is unpacked once, into our own symbol store. Nothing is checked of what it holds.
    """
    buffer = map_file(path)
    if buffer is None:
        raise Unusable("it is empty or no regular file")
    if os.path.basename(path).lower() != "file.ptr":
        return _unpacked(path, name, identifier)
    target = pointed_to(buffer[:_MAX_POINTER])
    if not target.startswith("/"):
        target = target.replace("\\", "/")
        raise Unusable(f"it points to {target}, which is no path of this machine")
    if not os.path.isfile(target):
        raise Unusable(f"it points to {target}, which is not there")
    return target


def pointed_to(content: bytes) -> str:
    """What a `file.ptr` names: a path, or a URL of a server. Raises `Unusable`.

    `PATH:` may be left out; `MSG: ` says why there is none.
    """
    text = content.decode("utf-8", "replace").strip("\0 \r\n\t")
    if text[:4].upper() == "MSG:":
        raise Unusable(f"there is no such file, it says: {text[4:].strip()[:200]}")
    if text[:5].upper() == "PATH:":
        text = text[5:].strip()
    if not text or "\n" in text or "\0" in text:
        raise Unusable("it points nowhere")
    return text


def _unpacked(path: str, name: str, identifier: str) -> str:
    store = own_store()
    if store is None:
        raise Unusable("there is no directory to unpack it to: HOME is not set")
    folder = os.path.join(store, name, identifier)
    place = os.path.join(folder, name)
    if not os.path.exists(place):
        temporary = f"{place}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
        try:
            os.makedirs(folder, exist_ok=True)
            try:
                unpack(path, temporary)
                os.replace(temporary, place)
            finally:
                if os.path.exists(temporary):
                    os.unlink(temporary)
        except OSError as error:
            raise Unusable(f"it cannot be unpacked: {error.strerror}") from None
    return place
