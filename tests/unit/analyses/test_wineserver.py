"""Objects, waits and owners in the memory of made-up wineservers, and in bytes that lie."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.wineserver import HEAP, IMAGE, RELEASES, Release, Server
from unspool.analyses.locks.wineserver.clients import Clients
from unspool.analyses.locks.wineserver.objects import UnknownServerError
from unspool.analyses.locks.wineserver.server import WineServer
from unspool.memory import Memory, Region

EVENT_MODIFY, ALL = 2, 2


def memory(image: bytes, heap: bytes) -> Memory:
    return Memory(
        Region(start, start + len(data), lambda data=data: (data, 0, len(data)), writable=True)  # type: ignore[misc]
        for start, data in ((IMAGE, image), (HEAP, heap))
        if data
    )


class Made:
    """Two processes: `one` owns the mutant and waits for the event; `two` waits for both."""

    def __init__(self, release: Release) -> None:
        made = self.made = Server(release)
        self.a, self.b = made.process("a.exe"), made.process("b.exe")
        self.one = made.thread(self.a, 0x24, 1001, 0x7FFD0000)
        self.two = made.thread(self.b, 0x2C, 2001, 0x7FFD0000)
        self.idle = made.thread(self.b, 0x30, 2002, 0x7FFC0000)
        self.mutant, self.event = made.mutant(self.one, 3), made.event(1, 0)
        folder = made.object("Directory", 0x60)
        made.named(folder, "BaseNamedObjects")
        made.named(self.mutant, "lock", folder)
        made.handles(self.a, [(self.mutant, 1), (self.event, EVENT_MODIFY)])
        made.handles(self.b, [(self.event, 0), (0, 0), (self.mutant, 1)])
        self.first = made.wait(self.one, [self.event], timer=HEAP)
        self.second = made.wait(self.two, [self.mutant, self.event], select=ALL)

    def read(self) -> WineServer:
        image = bytes(self.made.image)
        held = memory(image, bytes(self.made.heap))
        return WineServer(held, self.made.word, (IMAGE, IMAGE + len(image)))


def release(name: str) -> Release:
    return next(each for each in RELEASES if each.name == name)


@pytest.fixture(params=[each.name for each in RELEASES])
def made(request: pytest.FixtureRequest) -> Made:
    return Made(release(request.param))


def test_threads_and_what_they_wait_for(made: Made) -> None:
    server = made.read()
    assert sorted(server.threads) == sorted((made.one, made.two, made.idle))
    assert server.threads[made.two].process == made.b
    assert server.threads[made.two].tid == 0x2C
    one, two, idle = (server.wait(server.threads[each]) for each in (made.one, made.two, made.idle))
    assert one is not None
    assert (one.objects, one.all, one.timed) == ([made.event], False, True)
    assert two is not None
    assert (two.objects, two.all, two.timed) == ([made.mutant, made.event], True, False)
    assert idle is None


def test_owners_names_programs_and_handles(made: Made) -> None:
    server = made.read()
    owned = server.owner(made.mutant)
    assert owned is not None
    assert (owned[0].address, owned[1]) == (made.one, 3)
    mutant, event = server.objects.describe(made.mutant), server.objects.describe(made.event)
    assert mutant is not None
    assert event is not None
    assert (mutant.type, mutant.name) == ("Mutant", "\\BaseNamedObjects\\lock")
    assert (event.type, event.name) == ("Event", None)
    assert [server.program(each) for each in (made.a, made.b)] == ["a.exe", "b.exe"]
    found = [(each.process, each.number, each.access) for each in server.handles(made.event)]
    assert found == [(made.a, 8, EVENT_MODIFY), (made.b, 4, 0)]


def test_a_process_that_is_stopped_for_its_debugger(made: Made) -> None:
    assert made.read().debug_event(made.b) is None
    debugger = made.made.debug(made.b, made.idle)
    found = made.read().debug_event(made.b)
    assert found is not None
    assert (found[0], found[1].address) == (debugger, made.idle)
    made.made.debug(made.b, made.one)
    assert made.read().debug_event(made.b) is None, "sent by another process's thread"


def test_a_wait_over_another_one_hides_nothing(made: Made) -> None:
    """A suspended thread: the wait for its resumption has no objects."""
    over = made.made.wait(made.one, [])
    made.made.put(over, made.made.pointers(made.first))
    server = made.read()
    found = server.wait(server.threads[made.one])
    assert found is not None
    assert found.objects == [made.event]


def test_a_mutant_that_its_owner_does_not_list_has_none(made: Made) -> None:
    head = made.one + made.made.release.thread["mutexes"]
    entry = made.mutant + (0x58 if made.made.word == 8 else 0x34)
    made.made.put(entry, made.made.pointers(entry, entry))
    made.made.put(head, made.made.pointers(head, head))
    assert made.read().owner(made.mutant) is None


def test_threads_are_matched_by_id_and_teb(made: Made) -> None:
    """Both processes have a TEB at one address, as all of a prefix may."""
    clients = Clients(made.read(), "wineserver")
    assert clients.add(0, {0: 0x7FFD0000}, {1001: 0})
    assert clients.add(1, {0: 0x7FFD0000, 1: 0x7FFC0000}, {2001: 0, 2002: 1})
    assert clients.keys == {made.one: (0, 0), made.two: (1, 0), made.idle: (1, 1)}
    assert clients.pid(made.a) == 1000 + (made.a & 0xFFFF)


@pytest.mark.parametrize(
    ("tebs", "tids"),
    [
        ({0: 0x7FFD0000}, {77: 0}),
        ({0: 0x12340000}, {1001: 0}),
        ({0: 0x7FFD0000, 1: 0x7FFD0000}, {1001: 0, 2001: 1}),
        ({}, {1001: 0}),
    ],
    ids=["another id", "another TEB", "of two processes", "no TEB"],
)
def test_whose_threads_are_not_there(
    tebs: dict[int, int], tids: dict[int, int], made: Made
) -> None:
    clients = Clients(made.read(), "wineserver")
    assert not clients.add(0, tebs, tids)
    assert not clients.keys


def test_servers_of_another_kind_are_refused(made: Made) -> None:
    made.made.type("Mutant", 0x60)
    with pytest.raises(UnknownServerError, match="types of its objects"):
        made.read()
    other = Server(made.made.release)
    size = other.pointers(other.release.word * 9)
    at = other.operations["Event"] - IMAGE
    other.image[at : at + len(size)] = size
    held = memory(bytes(other.image), b"\0")
    with pytest.raises(UnknownServerError, match="unknown way"):
        WineServer(held, other.word, (IMAGE, IMAGE + len(other.image)))


def test_a_program_that_is_full_of_names_ends() -> None:
    """Every name leads to a search for what points at it: all together are bounded."""
    image = "Mutant".encode("utf-16-le") * (1 << 16)
    with pytest.raises(UnknownServerError):
        WineServer(memory(image, b""), 8, (IMAGE, IMAGE + len(image)))


def test_nothing_at_all() -> None:
    with pytest.raises(UnknownServerError):
        WineServer(Memory(), 8, (IMAGE, IMAGE + 0x1000))


WHOLE = [Made(each) for each in RELEASES]


@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=16)), max_size=8),
    st.booleans(),
)
def test_any_damage(whole: Made, lies: list[tuple[int, bytes]], in_image: bool) -> None:
    """What is wrong is refused or missing; nothing else is raised, and it ends."""
    image, heap = bytearray(whole.made.image), bytearray(whole.made.heap)
    where = image if in_image else heap
    for at, data in lies:
        start = at % len(where)
        where[start : start + len(data)] = data[: len(where) - start]
    try:
        server = WineServer(
            memory(bytes(image), bytes(heap)), whole.made.word, (IMAGE, IMAGE + len(image))
        )
    except UnknownServerError:
        return
    for thread in server.threads.values():
        wait = server.wait(thread)
        for address in wait.objects if wait is not None else ():
            server.objects.describe(address)
            server.owner(address)
            server.handles(address)
    for process in server.processes:
        server.program(process)
    Clients(server, "wineserver").add(0, {0: 0x7FFD0000}, {1001: 0})
