"""Servers of symbol files: what each calls a file, and where it is kept when it has come."""

from __future__ import annotations

import os
from threading import Lock
from urllib.parse import quote, urlsplit

from unspool.symbols.files import debuginfod_cache
from unspool.symbols.finders import checked_build_id
from unspool.symbols.pe.files import base_name, sym_name
from unspool.symbols.places import own_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.symbols.online.settings import Limits, Settings

_HEX = "0123456789abcdef"
# What makes no sense to ask again; of other faults a server may have a few.
_FATAL = ("slow", "unreachable", "redirects")
_PATIENCE = 3
_MISS_SECONDS = 600


class Offer:
    """A file as one server calls it. `packed` is how it may come: "" as it is, "cabinet", or
    "pointer" for a `file.ptr`."""

    __slots__ = ("packed", "url")

    def __init__(self, url: str, packed: str = "") -> None:
        self.url = url
        self.packed = packed


class Server:
    """A server, and what became of asking it.

    `down` is why it is asked no more. `faults` are what it did wrong, each with how often.
    """

    # Of the files that are kept: a store may be a team's.
    file_mode = 0o644

    def __init__(self, url: str, limits: Limits, headers: dict[str, str] | None = None) -> None:
        self.url = url.rstrip("/")
        self.limits = limits
        self.headers = headers or {}
        self.down: str | None = None
        self.faults: dict[str, int] = {}
        self.skipped = 0
        self._in_a_row = 0
        self._lock = Lock()

    @property
    def name(self) -> str:
        """The URL without what may be a password in it."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def worked(self) -> None:
        with self._lock:
            self._in_a_row = 0

    def failed(self, kind: str, why: str) -> None:
        """Remembers a fault; after a grave one, or some in a row, the server counts as down."""
        with self._lock:
            self.faults[why] = self.faults.get(why, 0) + 1
            if kind == "refused":
                return  # some servers answer 403 for what they do not have
            self._in_a_row += 1
            if self.down is None and (kind in _FATAL or self._in_a_row >= _PATIENCE):
                self.down = why

    def is_down(self) -> bool:
        return self.down is not None

    def skip(self) -> None:
        with self._lock:
            self.skipped += 1

    def offers(self, kind: str, name: str, identity: str) -> list[Offer]:
        """What to ask for, one after the other; nothing if it has no such files."""
        raise NotImplementedError

    def places(self, kind: str, name: str, identity: str) -> list[str]:
        """Where the file is to be kept, the nearest first; the others get copies."""
        raise NotImplementedError


class DebuginfodServer(Server):
    """Serves ELF files by build id (debuginfod(8), "Webapi")."""

    file_mode = 0o400  # as debuginfod's own client does

    def offers(self, kind: str, name: str, identity: str) -> list[Offer]:
        if kind not in ("debuginfo", "executable") or not _is_build_id(identity):
            return []
        start = self.url if self.url.endswith("/buildid") else f"{self.url}/buildid"
        return [Offer(f"{start}/{identity}/{kind}")]

    def places(self, kind: str, name: str, identity: str) -> list[str]:
        cache = debuginfod_cache()
        return [os.path.join(cache, identity, kind)] if cache else []


class SymbolStoreServer(Server):
    """Serves PE and PDB files as symbol stores keep them ("SymStore HTTP", Windows debuggers)."""

    def __init__(self, url: str, limits: Limits, stores: Sequence[str]) -> None:
        super().__init__(url, limits)
        self._stores = stores

    def offers(self, kind: str, name: str, identity: str) -> list[Offer]:
        name = base_name(name)
        if kind not in ("image", "pdb") or not name or identity.lower().strip(_HEX):
            return []
        start = f"{self.url}/{quote(name)}/{identity}"
        return [
            Offer(f"{start}/{quote(name)}"),
            Offer(f"{start}/{quote(name[:-1])}_", "cabinet"),
            Offer(f"{start}/file.ptr", "pointer"),
        ]

    def places(self, kind: str, name: str, identity: str) -> list[str]:
        name = base_name(name)
        return [os.path.join(store, name, identity, name) for store in self._stores]


class BreakpadServer(Server):
    """Serves Breakpad's symbol files, as Mozilla's and Chromium's do: `name/ID/name.sym`."""

    def offers(self, kind: str, name: str, identity: str) -> list[Offer]:
        name = base_name(name)
        if kind != "sym" or not name or not identity or identity.lower().strip(_HEX):
            return []
        return [Offer(f"{self.url}/{quote(name)}/{identity}/{quote(sym_name(name))}")]

    def places(self, kind: str, name: str, identity: str) -> list[str]:
        name, store = base_name(name), own_store()
        return [os.path.join(store, name, identity, sym_name(name))] if store else []


def servers_of(settings: Settings) -> list[Server]:
    """All servers, in the order in which they are asked. Those of no known scheme are left out."""
    made: list[Server] = [
        DebuginfodServer(url, settings.debuginfod_limits, settings.headers)
        for url in settings.debuginfod
        if _is_http(url)
    ]
    for server in settings.symbol_servers:
        if server.url is not None and _is_http(server.url):
            made.append(SymbolStoreServer(server.url, settings.symbol_limits, server.stores))
    made += [
        BreakpadServer(url, settings.symbol_limits) for url in settings.breakpad if _is_http(url)
    ]
    return made


class Absences:
    """Files that no server has, remembered for some minutes.

    Of debuginfod's files that is the empty file that its own client makes, believed for as long
    as the client's `cache_miss_s` says; of others one in a directory of ours.
    """

    def known(self, kind: str, name: str, identity: str) -> bool:
        from time import time

        place = _mark(kind, name, identity)
        try:
            status = os.stat(place) if place else None
            if status is None or status.st_size:
                return False
            if time() - status.st_mtime <= self._lifetime(place):
                return True
            os.unlink(place)
        except OSError:
            return False
        return False

    def remember(self, kind: str, name: str, identity: str) -> None:
        place = _mark(kind, name, identity)
        try:
            os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
        except OSError:
            return  # what cannot be remembered is asked again

    def _lifetime(self, place: str) -> float:
        folder = os.path.dirname(os.path.dirname(place))
        try:
            with open(os.path.join(folder, "cache_miss_s"), encoding="ascii") as file:
                return float(int(file.read(32)))
        except (OSError, ValueError):
            return _MISS_SECONDS


def _mark(kind: str, name: str, identity: str) -> str:
    """The file whose presence says that there is no such file; empty if there is no place."""
    if kind in ("debuginfo", "executable"):
        cache = debuginfod_cache()
        return os.path.join(cache, identity, kind) if cache and _is_build_id(identity) else ""
    store = own_store()
    if store is None:
        return ""
    from hashlib import sha256

    what = sha256(f"{kind}/{name.lower()}/{identity.lower()}".encode()).hexdigest()[:32]
    return os.path.join(os.path.dirname(store), "absent", what, kind)


def _is_build_id(identity: str) -> bool:
    return len(identity) > 2 and checked_build_id(identity) is not None


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False
