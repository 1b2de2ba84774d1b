"""Which locks of several processes are one, and what their different words leave of a holder."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from unspool.analyses.locks.process import Examined
from unspool.analyses.locks.records import Holder, Lock
from unspool.analyses.locks.shared import SharedMemory, agree
from unspool.analyses.locks.words import UNREADABLE
from unspool.targets.live.procfs import parse_maps

MAPS = b"""7f0000000000-7f0000001000 rw-s 00000000 00:29 2 /dev/shm/app
7f0000002000-7f0000003000 rw-s 00000000 00:2a 2 /dev/shm/app
7f0000004000-7f0000005000 rw-s 00000000 00:29 2 /mnt/app
7f0000006000-7f0000007000 rw-p 00000000 00:29 2 /mnt/app
"""


def test_files_are_told_by_device_and_inode_and_not_by_name() -> None:
    """Each container's /dev/shm has an inode 2, and may be mounted elsewhere in another one."""
    first, second, third = [each[3] for each in parse_maps(MAPS).shared]
    memory = SharedMemory([])
    keys = [
        memory.key(("/dev/shm/app", first, 8), 0, 0x10),
        memory.key(("/dev/shm/app", second, 8), 0, 0x20),
        memory.key(("/mnt/app", third, 8), 0, 0x30),
    ]
    assert keys[0] != keys[1]
    assert keys[0] == keys[2]
    assert memory.key(("/dev/shm/app", first, 8), 8, 0x18) != keys[0]


def test_a_core_that_knows_names_alone_matches_the_first_file_of_that_name() -> None:
    for order in ((0, 5), (5, 0)):
        memory = SharedMemory([])
        one, other = (memory.key(("/dev/shm/app", number, 0), 0, 0x10) for number in order)
        assert one == other
        assert memory.key(("/dev/shm/app", 6, 0), 0, 0x10) != one


def test_memory_without_a_name_is_the_same_at_the_same_address_alone() -> None:
    memory, name = SharedMemory([]), "/dev/zero (deleted)"
    key = memory.key((name, 0, 0), 0, 0x10)
    assert memory.key((name, 0, 0), 0, 0x10) == key
    assert memory.key((name, 0, 0), 0, 0x20) != key


@pytest.mark.parametrize(
    ("sharing", "nested", "holders"),
    [
        ([0, 1], False, [(1, True)]), ([0], False, []), ([0, 2], False, [(2, True)]),
        ([0, 1, 2], True, [(1, False), (2, False)]),
    ],
)  # fmt: skip
def test_an_owner_is_of_a_process_that_shares_the_memory(
    sharing: list[int], nested: bool, holders: list[tuple[int, bool]]
) -> None:
    """Thread 7 of the others owns what thread 6 of the first one waits for."""
    processes = [
        SimpleNamespace(
            index=index, tids={tid: 0}, own_ids={0: tid}, nested=nested,
            address_of=lambda _, index=index: 0x10 if index in sharing else None,
        )
        for index, tid in enumerate((6, 7, 7))
    ]  # fmt: skip
    examined = cast("list[Examined]", processes)
    known = Lock("mutex", 0, 0x10, holders=[Holder(1, 0, "made up")])
    SharedMemory(examined).doubt(examined[0], 0, known, ("/dev/shm/app", 5, 0))
    assert [(each.party, each.certain) for each in known.holders] == holders
    assert bool(known.holders) != bool(known.unknown)


def lock(*threads: int, certain: bool = True, state: str = "") -> Lock:
    holders = [Holder(0, thread, "made up", certain=certain) for thread in threads]
    return Lock("mutex", 0, 0x10, holders=holders, state=state)


def test_holders_on_which_targets_do_not_agree_are_none() -> None:
    """As two cores of different moments have them."""
    known = lock(1)
    agree(known, lock(1))
    assert [each.thread for each in known.holders] == [1]
    agree(known, lock(2))
    assert not known.holders
    assert "different moments" in (known.unknown or "")


def test_possible_holders_are_those_that_all_targets_have() -> None:
    known = lock(1, 2, certain=False)
    agree(known, lock(2, 3, certain=False))
    assert [each.thread for each in known.holders] == [2]


def test_words_that_one_target_lacks_are_anothers() -> None:
    known = lock(state=UNREADABLE)
    agree(known, lock(1))
    agree(known, lock(state=UNREADABLE))
    assert [each.thread for each in known.holders] == [1]
