"""The wait-for graph: threads, each of which waits for what another one holds; its cycles."""

from __future__ import annotations

from collections import deque

from unspool.analyses.locks.records import Deadlock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from unspool.analyses.locks.records import Lock, ThreadKey, Wait

    Edges = Mapping[ThreadKey, Sequence[ThreadKey]]


def deadlocks(waits: Sequence[Wait], locks: Sequence[Lock]) -> list[Deadlock]:
    """Every group of threads that wait for each other, as one closed chain each.

    First those where every holder is known; then, among the other threads, those where a lock
    does not say who holds it, and one of the threads may. A thread waits for all holders of a
    lock, so that any cycle is one.
    """
    by_thread = {wait.key: index for index, wait in enumerate(waits)}
    found: list[Deadlock] = []
    taken: set[ThreadKey] = set()
    for certain in (True, False):
        edges = _edges(waits, locks, certain, taken)
        for group in _components(edges):
            chain = _cycle(group, edges)
            indexes = [by_thread[key] for key in chain]
            timed = any(waits[index].timed for index in indexes)
            found.append(Deadlock(indexes, certain=certain, timed=timed))
            taken.update(chain)
    found.sort(key=lambda each: min(waits[index].key for index in each.chain))
    _add_behind(found, waits, locks)
    return found


def _edges(
    waits: Sequence[Wait], locks: Sequence[Lock], certain: bool, without: set[ThreadKey]
) -> dict[ThreadKey, list[ThreadKey]]:
    waiting = {wait.key for wait in waits} - without
    return {
        wait.key: [
            holder.key
            for holder in locks[wait.lock].holders
            if holder.key in waiting and (holder.certain or not certain)
        ]
        for wait in waits
        if wait.key in waiting
    }


def _components(edges: Edges) -> list[list[ThreadKey]]:
    """Tarjan's strongly connected components that hold a cycle, without recursion."""
    index: dict[ThreadKey, int] = {}
    low: dict[ThreadKey, int] = {}
    stack: list[ThreadKey] = []
    on_stack: set[ThreadKey] = set()
    found = []
    for start in edges:
        if start in index:
            continue
        work = [(start, 0)]
        while work:
            node, at = work.pop()
            if at == 0:
                index[node] = low[node] = len(index)
                stack.append(node)
                on_stack.add(node)
            elif (before := edges[node][at - 1]) in on_stack:
                low[node] = min(low[node], low[before])
            if at < len(edges[node]):
                work.append((node, at + 1))
                if edges[node][at] not in index:
                    work.append((edges[node][at], 0))
            elif low[node] == index[node]:
                group: list[ThreadKey] = []
                while not group or group[-1] != node:
                    group.append(stack.pop())
                    on_stack.discard(group[-1])
                if len(group) > 1 or node in edges[node]:
                    found.append(group)
    return found


def _cycle(group: Sequence[ThreadKey], edges: Edges) -> list[ThreadKey]:
    """A shortest closed chain through the first thread of a component: one is through each."""
    start, members = min(group), set(group)
    came: dict[ThreadKey, ThreadKey] = {}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for following in edges[node]:
            if following == start:
                chain = [node]
                while chain[-1] != start:
                    chain.append(came[chain[-1]])
                return chain[::-1]
            if following in members and following not in came:
                came[following] = node
                queue.append(following)
    return [start]


def _add_behind(
    found: Iterable[Deadlock], waits: Sequence[Wait], locks: Sequence[Lock]
) -> None:
    """Gives each chain the waits that lead to it. A wait belongs to the first that it leads to."""
    waiters: dict[ThreadKey, list[int]] = {}
    for index, wait in enumerate(waits):
        for holder in locks[wait.lock].holders:
            if holder.certain:
                waiters.setdefault(holder.key, []).append(index)
    taken = {index for deadlock in found for index in deadlock.chain}
    for deadlock in found:
        queue = deque(waits[index].key for index in deadlock.chain)
        while queue:
            for index in waiters.get(queue.popleft(), ()):
                if index not in taken:
                    taken.add(index)
                    deadlock.behind.append(index)
                    queue.append(waits[index].key)
        deadlock.behind.sort()
