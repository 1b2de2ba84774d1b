"""Memory that processes share: which of their locks are the same, and whose ids its owners are.

An owner's id is one of its pid namespace. Containers that share memory may each have a thread 1.
"""

from __future__ import annotations

import os

from unspool.analyses.locks.records import Holder
from unspool.analyses.locks.words import STRANGER, UNREADABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.analyses.locks.process import Backing, Examined
    from unspool.analyses.locks.records import Lock

_DELETED = " (deleted)"
_OTHER_MOMENT = (
    "what the targets have of it differs, as it does at different moments: who holds it, none of "
    "them says for sure"
)
_ELSEWHERE = "of the targets only one that does not share this memory has a thread of that id"
_OWN_ID = "a thread of another pid namespace may have the same id, and this one waits itself"
_NOWHERE = f"{STRANGER}, nor one of any process here: it has ended, or is of a container"
# States of processes in /proc: zombie, dead.
_ENDED = ("Z", "X")
# Of one process at two moments first stacks are not further apart, in bytes.
_NEAR = 1 << 23


class SharedMemory:
    """Knows locks by the file that their memory is of, whatever it is called and where it lies."""

    def __init__(self, processes: Sequence[Examined]) -> None:
        self.processes = processes
        self._by_number: dict[tuple[int, int], tuple[object, ...]] = {}
        self._by_place: dict[tuple[object, ...], tuple[object, ...]] = {}
        self._numbered: set[tuple[object, ...]] = set()

    def key(self, backing: Backing, offset: int, address: int) -> tuple[object, ...]:
        """What stands for a lock. Cores know no numbers of files: theirs match any of that name.

        Where files have no names of their own, all are called "/dev/zero (deleted)" there; what a
        process and its children share is then at the same address.
        """
        path, number, _ = backing
        place = path, offset, address if path.endswith(_DELETED) else None
        known = self._by_number.get((number, offset)) if number else self._by_place.get(place)
        if known is None and number:
            known = self._by_place.get(place)
            if known in self._numbered:
                known = None  # that one's file is another
        if known is None:
            known = "shared", *place, number
        self._by_place.setdefault(place, known)
        if number:
            self._by_number[number, offset] = known
            self._numbered.add(known)
        return known

    def doubt(self, process: Examined, thread: int, lock: Lock, backing: Backing) -> None:
        """Takes back the holder of a lock whose id other threads have as well, in their namespaces.

        Only those of processes count that share the memory. `thread` waits for it, and so is no
        likely holder.
        """
        own = process.index, thread
        for holder in [each for each in lock.holders if each.certain]:
            tid = self.processes[holder.party].own_ids.get(holder.thread, 0)
            same = [
                (each.index, each.tids[tid])
                for each in self.processes
                if tid in each.tids and (each is process or each.address_of(backing) is not None)
            ]
            if not same:
                lock.holders = []
                lock.unknown = f"{holder.evidence}; {_ELSEWHERE}"
            elif len(same) > 1:
                how = f"{holder.evidence}, which {len(same)} of the targets have"
                lock.holders = [Holder(*key, how, certain=False) for key in same if key != own]
            elif same[0] == own and process.nested:
                lock.holders = []
                lock.unknown = f"{holder.evidence}; {_OWN_ID}"
            elif same[0] != holder.key:
                lock.holders = [Holder(*same[0], holder.evidence)]


def agree(known: Lock, other: Lock) -> None:
    """Takes back holders of a lock that another target, which shares it, does not have as well."""
    if UNREADABLE in (known.state, other.state):
        if known.state == UNREADABLE:
            known.holders, known.state, known.unknown = other.holders, other.state, other.unknown
        return
    keys = [holder.key for holder in other.holders]
    if sorted(holder.key for holder in known.holders) == sorted(keys):
        return
    certain = any(holder.certain for holder in (*known.holders, *other.holders))
    if certain:
        known.holders = []
        known.unknown = _OTHER_MOMENT
        return
    known.holders = [holder for holder in known.holders if holder.key in keys]


def stranger(process: Examined, owner: int, backing: Backing) -> str | None:
    """What the running system knows of an owner that is no thread of the targets.

    Only if its ids are those of this process's namespace, and its process shares that memory: an
    id of another namespace may be that of any process here.
    """
    live = process.target.live_process()
    if live is None:
        return None
    from contextlib import closing

    from unspool.targets.live.procfs import Process, parse_maps

    with closing(Process(os.getpid())) as own:
        if live.link("ns/pid") != own.link("ns/pid"):
            return None
    try:
        other = Process(owner)
    except OSError:
        return _NOWHERE
    with closing(other):
        status, maps = other.status(), parse_maps(other.read("maps") or b"")
    if status.get("State", "").startswith(_ENDED):
        return _NOWHERE
    if not any(number == backing[1] for *_, number, _ in maps.shared):
        return None
    who = f"{status.get('Tgid', owner)} ({status.get('Name', '?')})"
    return f"a thread of process {who}, which shares this memory and is none of the targets"


def same_processes(processes: Sequence[Examined]) -> list[list[Examined]]:
    """Groups of targets that are one process, of different moments, say."""
    groups: dict[tuple[int, int], list[list[Examined]]] = {}
    for each in processes:
        pid, start = each.target.info.pid, each.start
        if pid is None or start is None:
            continue
        alike = groups.setdefault((pid, each.base), [])
        # Stacks are somewhere else in each process: that tells pid 1 of two containers apart.
        group = next((group for group in alike if abs((group[0].start or 0) - start) < _NEAR), None)
        if group is None:
            alike.append([each])
        else:
            group.append(each)
    return [group for alike in groups.values() for group in alike if len(group) > 1]
