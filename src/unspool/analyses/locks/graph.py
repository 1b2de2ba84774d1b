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
    does not say who holds it, and one of the threads may: the likelier ones first. A thread waits
    for all holders of a lock, so that any cycle is one; but one that waits for any of several
    locks goes on with the first that it gets, so that all of them must lead into cycles.
    """
    found: list[Deadlock] = []
    taken: set[ThreadKey] = set()
    guesses = {each.guess for lock in locks for each in lock.holders if not each.certain}
    for guess in (0, *sorted(guesses)):
        graph = _Graph(waits, locks, guess, taken)
        for group in _components(graph.edges):
            chain = _cycle(group, graph.edges)
            following = [*chain[1:], chain[0]]
            indexes = [graph.between[pair] for pair in zip(chain, following, strict=True)]
            timed = any(waits[index].timed for index in indexes)
            found.append(Deadlock(indexes, certain=not guess, timed=timed))
            taken.update(chain)
    found.sort(key=lambda each: min(waits[index].key for index in each.chain))
    _add_behind(found, waits, locks)
    return found


class _Graph:
    """Who waits for whom, of the threads that cannot go on; and by which wait."""

    def __init__(
        self, waits: Sequence[Wait], locks: Sequence[Lock], guess: int, without: set[ThreadKey]
    ) -> None:
        self.guess = guess  # how likely a holder must be that is not known
        self.edges: dict[ThreadKey, list[ThreadKey]] = {}
        self.between: dict[tuple[ThreadKey, ThreadKey], int] = {}
        self.choices: dict[ThreadKey, list[int]] = {}  # of those that need one of several
        stuck = {wait.key for wait in waits} - without
        for index, wait in enumerate(waits):
            if wait.key not in stuck:
                continue
            edges = self.edges.setdefault(wait.key, [])
            if wait.any:
                self.choices.setdefault(wait.key, []).append(index)
            for holder in locks[wait.lock].holders:
                if holder.key in stuck and (holder.certain or holder.guess <= guess):
                    edges.append(holder.key)
                    self.between.setdefault((wait.key, holder.key), index)
        if self.choices:
            self.leave_out_free(waits, locks)

    def leave_out_free(self, waits: Sequence[Wait], locks: Sequence[Lock]) -> None:
        """Takes out the threads that may go on: one of their choices is held by none of these.

        And then those that wait for nobody but these, until what is left is stuck for ever.
        """
        needs: dict[ThreadKey, list[list[ThreadKey]]] = {}
        waiters: dict[ThreadKey, set[ThreadKey]] = {}
        for key, edges in self.edges.items():
            groups = [
                [
                    each.key
                    for each in locks[waits[index].lock].holders
                    if each.certain or each.guess <= self.guess
                ]
                for index in self.choices.get(key, ())
            ]
            needs[key] = groups or [edges]
            for each in edges:
                waiters.setdefault(each, set()).add(key)
        work = deque(self.edges)
        while work:
            key = work.popleft()
            if key not in self.edges:
                continue
            if not all(any(each in self.edges for each in group) for group in needs[key]):
                del self.edges[key]
                work.extend(waiters.get(key, ()))
        for key, edges in self.edges.items():
            self.edges[key] = [each for each in edges if each in self.edges]


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


def _add_behind(found: Iterable[Deadlock], waits: Sequence[Wait], locks: Sequence[Lock]) -> None:
    """Gives each chain the waits that lead to it. A wait belongs to the first that it leads to.

    A thread that needs any of several locks is behind once all of them lead there.
    """
    waiters: dict[ThreadKey, list[int]] = {}
    missing: dict[ThreadKey, set[int]] = {}  # choices of a thread that lead nowhere yet
    for index, wait in enumerate(waits):
        if wait.any:
            missing.setdefault(wait.key, set()).add(index)
        for holder in locks[wait.lock].holders:
            if holder.certain:
                waiters.setdefault(holder.key, []).append(index)
    taken = {waits[index].key for deadlock in found for index in deadlock.chain}
    for deadlock in found:
        queue = deque(waits[index].key for index in deadlock.chain)
        while queue:
            for index in waiters.get(queue.popleft(), ()):
                key = waits[index].key
                choices = missing.get(key, set())
                choices.discard(index)
                if key not in taken and not choices:
                    taken.add(key)
                    deadlock.behind.append(index)
                    queue.append(key)
        deadlock.behind.sort()
