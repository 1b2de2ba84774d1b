"""Inside one process: microseconds for a frame of a known pc and of a new one.

usage: micro.py CORE, with the Python that unspool is installed for. Prints JSON. New pcs are
addresses in the C and C++ libraries or, for a core of a Wine process, in three of its modules.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from statistics import median
from time import process_time
from typing import Any

import unspool
from unspool.arch import by_machine
from unspool.formats.elf import PF_X, PT_LOAD, Elf
from unspool.formats.pe_unwind import FunctionTable
from unspool.image import Image
from unspool.memory import Memory, Region
from unspool.model import Module
from unspool.pe_image import PeImage
from unspool.space import AddressSpace
from unspool.symbols.files import open_elf
from unspool.targets.base import Target
from unspool.unwind.step import Query, Stepper
from unspool.unwind.strategies.order import default_stepper
from unspool.unwind.walk import walk

RUNS, SAMPLES = 30, 2000
BASE = 0x7F00_0000_0000


def main(core: str) -> None:
    with unspool.open(core) as target:
        what = f"{len(target.threads)} threads{' in Wine' if target.wine else ''} walked again"
        known = {what: known_pcs(target)}
        new = wine_pcs(target.space) if target.wine is not None else library_pcs()
    print(json.dumps({"known": known, "new": new}))


def known_pcs(target: Target) -> dict[str, float]:
    """A walk of all threads with every row cached, a frame of it."""
    stepper = default_stepper(target.space, target.wine)

    def walk_all() -> int:
        return sum(len(walk(stepper, thread).frames) for thread in target.threads)

    frames = walk_all()
    return timed(lambda: None, lambda _: walk_all(), frames)


def library_pcs() -> dict[str, dict[str, float]]:
    return {
        name: new_pcs(path)
        for name in ("libc.so.6", "libstdc++.so.6")
        if (path := library(name)) is not None
    }


def wine_pcs(space: AddressSpace) -> dict[str, dict[str, float]]:
    """Rows of return addresses in Windows modules; where the tables lie has been found before."""
    found = {}
    for module in space.modules:
        if module.name not in ("ntdll.dll", "kernelbase.dll", "zoo.exe"):
            continue
        image = space.image(module)
        assert isinstance(image, PeImage)
        table = image.function_table()
        assert table is not None
        random.seed(module.name)
        places = [pick(table, space, module.base) for _ in range(SAMPLES)]
        queries = [Query(pc, False, [], None) for pc in dict.fromkeys(places)]
        found[module.name] = look_ups(lambda: default_stepper(space), queries)
    return found


def pick(table: FunctionTable, space: AddressSpace, base: int) -> int:
    """A return address at a random place in a random function that has a row."""
    stepper = default_stepper(space)
    while True:
        function = table[random.randrange(len(table))]
        pc = base + random.randrange(function.begin, function.end) + 1
        if stepper.find_row(Query(pc, False, [], None), []):
            return pc


def new_pcs(path: str) -> dict[str, float]:
    """A row of an address that was never looked up, at random places of a library's code.

    The library's headers and search table are found before, as the first frame in it does.
    """
    elf = open_elf(path)
    assert elf is not None
    addresses = random_code(elf, path)
    queries = [Query(address + 1, False, [], None) for address in addresses]
    return look_ups(lambda: warm(fresh_stepper(elf)), queries)


def look_ups(prepare: Callable[[], Stepper], queries: list[Query]) -> dict[str, float]:
    def look_up(stepper: Stepper) -> None:
        for query in queries:
            assert stepper.find_row(query, [])

    return timed(prepare, look_up, len(queries))


def random_code(elf: Elf, path: str) -> list[int]:
    """Addresses of code that has a row, each once."""
    random.seed(path)
    stepper = fresh_stepper(elf)
    header = next(
        header for header in elf.program_headers() if header.type == PT_LOAD and header.flags & PF_X
    )
    found: set[int] = set()
    while len(found) < SAMPLES:
        address = BASE + header.vaddr + random.randrange(header.memsz - 1)
        if stepper.find_row(Query(address + 1, False, [], None), []):
            found.add(address)
    return list(found)


def fresh_stepper(elf: Elf) -> Stepper:
    """A stepper that knows nothing yet of a process with this one library."""
    arch = by_machine(elf.machine, elf.elf_class)
    assert arch is not None
    memory = Memory(
        Region(
            BASE + header.vaddr,
            BASE + header.vaddr + header.filesz,
            lambda header=header: (elf.buffer, header.offset, header.filesz),  # type: ignore[misc]
            executable=bool(header.flags & PF_X),
        )
        for header in elf.program_headers()
        if header.type == PT_LOAD
    )
    image = Image(memory, BASE, file=elf)
    module = Module(0, "library", BASE, BASE + (1 << 32), bias=BASE)
    return default_stepper(AddressSpace(arch, memory, [module], lambda _: image))


def warm(stepper: Stepper) -> Stepper:
    module = stepper.space.modules[0]
    image = stepper.space.image(module)
    assert image is not None
    image.eh_frame()
    return stepper


def timed(
    prepare: Callable[[], Any], work: Callable[[Any], object], count: int
) -> dict[str, float]:
    """Microseconds of CPU time for one of `count` pieces of work, which wait for nothing."""
    times = []
    for _ in range(RUNS):
        prepared = prepare()
        start = process_time()
        work(prepared)
        times.append((process_time() - start) / count * 1e6)
    return {"median": median(times), "best": min(times), "runs": RUNS}


def library(name: str) -> str | None:
    """Where the C compiler finds a shared library."""
    done = subprocess.run(
        ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=False
    )
    path = done.stdout.strip()
    return path if path.startswith("/") else None


if __name__ == "__main__":
    main(sys.argv[1])
