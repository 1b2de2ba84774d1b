"""Waits of Proton and of Wines that do not ask wineserver: fsync, esync, ntsync.

fsync: an object is two words in shared memory, which threads wait for by futex or futex_waitv; a
mutant's first one is the Windows id of the thread that owns it (dlls/ntdll/unix/fsync.c). esync: an
object is an eventfd, which threads poll. ntsync: the kernel has the objects, and threads wait for
their descriptors by ioctl (linux/ntsync.h). Of these two only the owner's process could ask more.
"""

from __future__ import annotations

from struct import Struct

from unspool.analyses.locks.records import Holder, Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unspool.analyses.locks.records import ThreadKey
    from unspool.analyses.locks.syscalls import FutexWait, Syscall
    from unspool.memory import Memory

_MOST = 64 + 1
_POLL = Struct("<ihh")  # fd, events, revents
# timeout, objects, count, index, flags, owner, alert, padding
_NTSYNC = Struct("<QQIIIIII")
_WAIT_ANY, _WAIT_ALL = 0xC0284E82, 0xC0284E83  # NTSYNC_IOC_WAIT_ANY, NTSYNC_IOC_WAIT_ALL


def is_fsync_memory(path: str) -> bool:
    """Whether memory is that of fsync's objects: /dev/shm/wine-INODE-fsync."""
    name = path.removesuffix(" (deleted)").rpartition("/")[2]
    return name.startswith("wine-") and name.endswith("-fsync")


def fsync_object(
    wait: FutexWait, memory: Memory, party: int, owners: Mapping[int, Sequence[ThreadKey]]
) -> Lock:
    """The object that a word in fsync's memory is of. `owners` are threads by Windows ids.

    Events and semaphores are waited for while their word is 0: any other is a mutant's owner.
    """
    data = memory.read_available(wait.address, 8)
    if len(data) < 8:
        lock = Lock("handle", party, wait.address, name="fsync object")
        lock.unknown = "its words cannot be read"
        return lock
    word, second = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:], "little")
    state = f"the words at 0x{wait.address:x} are 0x{word:x}, 0x{second:x}"
    if word == 0 or wait.value == 0:
        lock = Lock("handle", party, wait.address, name="fsync object", state=state)
        lock.unknown = "an event, a semaphore, or a mutant that is just changing hands"
        return lock
    lock = Lock("mutant", party, wait.address, name="fsync object", state=state)
    found = owners.get(word, ())
    if len(found) == 1:
        how = f"the owner at 0x{wait.address:x} is Windows thread 0x{word:x}"
        lock.holders = [Holder(*found[0], how)]
    else:
        which = "several threads of the targets" if found else "no thread of the targets"
        lock.unknown = f"its owner is Windows thread 0x{word:x}, which is {which}"
    return lock


def descriptors_waited_for(call: Syscall | None, memory: Memory) -> tuple[str, list[int]] | None:
    """How a thread waits for descriptors, and for which: esync's eventfds, ntsync's objects."""
    if call is None:
        return None
    if call.name in ("poll", "ppoll"):
        address, count = call.arguments[:2]
        if not 0 < count <= _MOST:
            return None
        data = memory.read_available(address, count * _POLL.size)
        whole = data[: len(data) // _POLL.size * _POLL.size]
        return "esync", [each[0] for each in _POLL.iter_unpack(whole)]
    if call.name == "ioctl" and call.arguments[1] & 0xFFFFFFFF in (_WAIT_ANY, _WAIT_ALL):
        data = memory.read_available(call.arguments[2], _NTSYNC.size)
        if len(data) < _NTSYNC.size:
            return "ntsync", []
        _, at, count, *_ = _NTSYNC.unpack(data)
        data = memory.read_available(at, 4 * min(count, _MOST))
        return "ntsync", [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
    return None


def unknown(how: str, descriptors: Sequence[int]) -> str:
    """Why it is not known who holds what a thread waits for so."""
    names = ", ".join(map(str, descriptors[:8])) + (", …" if len(descriptors) > 8 else "")
    what = {
        "esync": "the wait is by poll, as esync does it: an eventfd does not say who owns it",
        "ntsync": "the wait is by ntsync: the kernel knows who owns it, and does not tell others",
    }[how]
    return f"{what} (descriptors {names})" if names else what
