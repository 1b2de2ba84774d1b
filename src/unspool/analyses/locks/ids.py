"""Threads' ids as locks have them: those that threads know themselves, in their own pid namespace.

A container's threads count from 1 on. Who looks from outside, and writes a core or a dump of them,
notes other ids than their mutexes have as owners.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.memory import Memory
    from unspool.model import Thread
    from unspool.targets.base import Target

_ENOUGH = 64
# PID_MAX_LIMIT of 64-bit kernels
_HIGHEST_ID = 1 << 22
# Where a thread's description has its own address again, and its id, from the thread pointer on:
# glibc's nptl/descr.h on x86; and musl's src/internal/pthread_impl.h, which has it first only.
DESCRIPTION = {8: (0x10, 0x2D0), 4: (8, 0x68)}
_MUSL_TID, _MUSL_NEXT = {8: 0x30, 4: 0x18}, {8: 0x18, 4: 0xC}


def own_ids(target: Target) -> dict[int, int]:
    """Threads' indexes by the ids that they know themselves."""
    noted = {thread.tid: thread.index for thread in reversed(target.threads) if thread.tid}
    live = target.live_process()
    if live is not None:
        from unspool.targets.live.waits import inner_tids

        own = inner_tids(live, noted)
        return {inner: noted[tid] for inner, tid in own.items()}
    found = target.noted_ids() or _described(target)
    return _by_id(found, target.threads) if found else noted


def pointer_of(target: Target, thread: Thread) -> int:
    """The thread pointer, 0 if it is not known: minidumps do not have those of x86-64."""
    return thread.special.get("gs_base" if target.arch.name == "i386" else "fs_base") or 0


def tid_at(memory: Memory, word: int, pointer: int) -> int:
    """The id in glibc's description of a thread, which points at itself; 0 if none is there."""
    itself, tid = DESCRIPTION[word]
    if memory.maybe_uint(pointer + itself, word) != pointer:
        return 0
    return memory.maybe_uint(pointer + tid, 4) or 0


def are_own(target: Target) -> bool:
    """Whether these are surely the ids that threads know themselves.

    Of a core they are if a thread's description is there. gcore's of 32-bit x86 have no thread
    pointers that lead to it; those of other processors are not looked for.
    """
    if target.info.kind != "core":
        return True
    return any(_described_id(target, thread) for thread in target.threads[:_ENOUGH])


def _described(target: Target) -> list[int]:
    """The ids that the C library's descriptions have, by thread; empty if they are the noted ones.

    gdb's gcore notes the ids that gdb sees; the kernel those of the process itself.
    """
    found: list[int] = []
    for thread in target.threads:
        tid = _described_id(target, thread)
        if tid == thread.tid and not any(found):
            return []
        found.append(tid if 0 < tid <= _HIGHEST_ID else 0)
    known = [tid for tid in found if tid]
    return found if known and len(set(known)) == len(known) else []


def _described_id(target: Target, thread: Thread) -> int:
    pointer, word = pointer_of(target, thread), target.arch.pointer_size
    memory = target.space.memory
    if not pointer or memory.maybe_uint(pointer, word) != pointer:
        return 0
    if memory.maybe_uint(pointer + _MUSL_NEXT[word], word) == pointer:
        return memory.maybe_uint(pointer + _MUSL_TID[word], 4) or 0  # its only thread
    return tid_at(memory, word, pointer) or memory.maybe_uint(pointer + _MUSL_TID[word], 4) or 0


def _by_id(ids: Sequence[int], threads: Sequence[Thread]) -> dict[int, int]:
    return {tid: thread.index for tid, thread in zip(ids, threads, strict=False) if tid}
