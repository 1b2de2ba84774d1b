"""Wineservers to read: among the targets, and those that run on this machine."""

from __future__ import annotations

import os

from unspool.analyses.locks.wineserver.objects import UnknownServerError
from unspool.analyses.locks.wineserver.server import WineServer
from unspool.errors import InputError
from unspool.memory import Memory, Region

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.targets.base import Target
    from unspool.targets.live.procfs import Mapping

NAME = "wineserver"
_MOST_SERVERS = 64
_MOST_MEMORY = 256 << 20
# What is written to while it is copied may be torn: a server works for milliseconds.
_ATTEMPTS = 3


def is_server(target: Target) -> bool:
    """Whether a target is a wineserver, by its program's name."""
    path = target.info.executable or ""
    return path.rpartition("/")[2].startswith(NAME)


def server_of(target: Target) -> WineServer:
    """Reads a target that is a server. Raises `UnknownServerError`."""
    live = target.live_process()
    if live is not None:
        return live_server(live.pid)
    modules = [each for each in target.modules if each.name.startswith(NAME)]
    if not modules:
        raise UnknownServerError("its program is not among its modules")
    image = modules[0].base, modules[0].end
    return WineServer(target.space.memory, target.arch.pointer_size, image)


def live_server(pid: int) -> WineServer:
    """Reads a running server; it is not stopped. Raises `UnknownServerError`."""
    from unspool.targets.live.access import architecture, open_memory, open_process

    problem = UnknownServerError("it has ended")
    try:
        process = open_process(pid)
        try:
            word = architecture(process).pointer_size
            memory = open_memory(process)
            try:
                for _ in range(_ATTEMPTS):
                    try:
                        return WineServer(*_copy(process.read("maps") or b"", memory, word))
                    except UnknownServerError as error:
                        problem = error
            finally:
                os.close(memory)
        finally:
            process.close()
    except InputError as error:
        raise UnknownServerError(error.message) from None
    raise problem


def _copy(text: bytes, memory: int, word: int) -> tuple[Memory, int, tuple[int, int]]:
    """The server's program and all that it may have its objects in, as it is at this moment."""
    from unspool.targets.live.procfs import parse_maps

    mappings = parse_maps(text).mappings
    program = next(
        (each.path for each in mappings if each.is_file and NAME in each.path.rpartition("/")[2]),
        None,
    )
    image = [each for each in mappings if program is not None and each.path == program]
    if not image:
        raise UnknownServerError("its program is not mapped")
    regions = []
    room = _MOST_MEMORY
    for each in mappings:
        if each.path == program or _has_objects(each):
            size = min(each.end - each.start, room)
            room -= size
            try:
                data = os.pread(memory, size, each.start)
            except OSError:
                continue
            regions.append(_region(each, data))
    return Memory(regions), word, (image[0].start, image[-1].end)


def _has_objects(mapping: Mapping) -> bool:
    private = mapping.writable and mapping.permissions[3:] == "p"
    return private and (mapping.path in ("", "[heap]") or mapping.path.startswith("[anon"))


def _region(mapping: Mapping, data: bytes) -> Region:
    return Region(
        mapping.start, mapping.start + len(data), lambda: (data, 0, len(data)),
        writable=mapping.writable,
    )  # fmt: skip


def running_servers() -> Iterator[int]:
    """The ids of processes on this machine that are called wineserver."""
    found = 0
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in names:
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/comm", "rb") as file:
                is_one = file.read(64).startswith(NAME.encode())
        except OSError:
            continue
        if is_one:
            found += 1
            yield int(name)
        if found >= _MOST_SERVERS:
            return
