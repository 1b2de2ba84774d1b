"""A wineserver's threads, matched with those of targets.

All processes of a prefix may have their TEBs at the same addresses, and ids repeat between
containers. So a match is of both: the server notes a thread's TEB and its id, as the thread knows
that itself. Where in a thread it keeps them is found by this very match, which must hold for
all the threads that were found by their ids, and these must be of one process of the server.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from unspool.analyses.locks.records import ThreadKey
    from unspool.analyses.locks.wineserver.server import ServerThread, WineServer


class Clients:
    """A server, what to call it in texts, and which of its threads are whose.

    `source` is the index of the target that it is, None if it was found running.
    """

    def __init__(self, server: WineServer, name: str, source: int | None = None) -> None:
        self.server = server
        self.name = name
        self.source = source
        self.by_key: dict[ThreadKey, ServerThread] = {}
        self.keys: dict[int, ThreadKey] = {}
        self.parties: dict[int, int] = {}  # targets by their processes' addresses
        self._id_at: int | None = None

    def add(self, party: int, tebs: Mapping[int, int], tids: Mapping[int, int]) -> bool:
        """Finds a target's threads: their TEBs by their indexes, their indexes by their ids."""
        best: dict[int, int] = {}
        for at in range(self.server.objects.start, self._size - 3, 4):
            found = self._by_ids(at, tebs, tids)
            if len(found) > len(best) and self._agree(found, tebs):
                best, self._id_at = found, at
        for address, index in best.items():
            thread = self.server.threads[address]
            self.by_key[party, index] = thread
            self.keys[address] = party, index
            self.parties[thread.process] = party
        return bool(best)

    @property
    def _size(self) -> int:
        return min(len(each.data) for each in self.server.threads.values())

    def _by_ids(
        self, at: int, tebs: Mapping[int, int], tids: Mapping[int, int]
    ) -> dict[int, int]:
        """Threads that have one of the ids at this place, and their indexes in the target."""
        found: dict[int, int] = {}
        for address, thread in self.server.threads.items():
            index = tids.get(int.from_bytes(thread.data[at : at + 4], "little"))
            if index is not None and index in tebs:
                found[address] = index
        return found

    def _agree(self, found: Mapping[int, int], tebs: Mapping[int, int]) -> bool:
        """Whether these are of one process, and have their TEBs at one place."""
        threads = [(self.server.threads[address], index) for address, index in found.items()]
        if len({thread.process for thread, _ in threads}) != 1:
            return False
        if len(set(found.values())) != len(found):
            return False
        return any(
            all(
                int.from_bytes(thread.data[at : at + 8], "little") == tebs[index]
                for thread, index in threads
            )
            for at in range(self.server.objects.start, self._size - 7, 4)
        )

    def pid(self, process: int) -> int | None:
        """A process's id in the system, as it knows it itself: it is kept before a thread's."""
        if self._id_at is None:
            return None
        for thread in self.server.threads.values():
            if thread.process == process:
                pid = int.from_bytes(thread.data[self._id_at - 4 : self._id_at], "little")
                return pid if 0 < pid < 1 << 22 else None
        return None
