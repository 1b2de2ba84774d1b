"""Symbol stores of this machine, as Microsoft's environment variables say, and our own.

Only directories are named here; what is in them is checked by whoever looks there, and nothing
is downloaded (`online` does that, into the same places).
"""

from __future__ import annotations

import os

from unspool.symbols.files import cache_home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_STORE_WORDS = ("srv", "symsrv")


def own_store() -> str | None:
    """The symbol store for what is downloaded or unpacked and has no other place."""
    base = cache_home()
    return os.path.join(base, "unspool", "symbols") if base else None


class SymbolServer:
    """An element of a symbol path: a server or store, and the stores that keep its files.

    `url` is None for a plain directory or store (then `stores` is it). Files go into all of
    `stores`, the nearest first.
    """

    __slots__ = ("stores", "url")

    def __init__(self, url: str | None, stores: tuple[str, ...]) -> None:
        self.url = url
        self.stores = stores


def symbol_path(text: str) -> list[SymbolServer]:
    """What a symbol path such as `cache*/sym;srv*/store*https://server/symbols;/more` names.

    `srv*a*b*c` is a chain: what is found in one store is kept in those before it; an empty
    one (`srv**url`) is our own store. `symsrv*symsrv.dll*a*b` is the same, and `cache*dir` puts
    itself before all elements after it. ("Use the Microsoft symbol servers" and "Symbol path",
    Windows debuggers' documentation.) Elements that are no absolute path of this machine,
    as `C:\\Symbols`, are left out.
    """
    found: list[SymbolServer] = []
    before: tuple[str, ...] = ()
    for element in filter(None, map(str.strip, text.split(";"))):
        words = element.split("*")
        kind = words[0].lower()
        if kind == "cache" and len(words) > 1:
            folders = tuple(filter(None, map(_folder, words[1:])))
            before += folders
            found.append(SymbolServer(None, folders))
            continue
        chain = words
        if kind in _STORE_WORDS:
            chain = words[2 if kind == "symsrv" else 1 :]
        url = next((word for word in chain if _is_url(word)), None)
        if kind not in _STORE_WORDS and url != chain[0]:
            chain = words[:1]
        stores = before + tuple(
            filter(None, (_folder(word) for word in chain if not _is_url(word)))
        )
        if url is not None and not stores:
            stores = tuple(filter(None, [own_store()]))
        if url is not None or stores != before:
            found.append(SymbolServer(url, stores))
    return found


def local_stores() -> Iterator[str]:
    """Directories with symbol stores that this machine has, each once."""
    named = [server.stores for server in symbol_path(os.environ.get("_NT_SYMBOL_PATH", ""))]
    own = own_store()
    for folder in dict.fromkeys([*(each for stores in named for each in stores), own]):
        if folder and os.path.isdir(folder):
            yield folder


def _is_url(word: str) -> bool:
    return word.lower().startswith(("http://", "https://"))


def _folder(word: str) -> str | None:
    """A directory of a symbol path; the empty word is our own."""
    if not word:
        return own_store()
    return word if word.startswith("/") and "\0" not in word else None
