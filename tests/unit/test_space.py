"""The address space: which module an address is in, and whose unwind data is loaded when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.unwind.spaces import ARCHES
from unspool.image import Image
from unspool.memory import Memory, Region
from unspool.model import Module
from unspool.space import AddressSpace

X86 = ARCHES["x86_64"]


def module(base: int, end: int) -> Module:
    return Module(99, f"m{base}", base, end)


def space(*modules: Module) -> AddressSpace:
    return AddressSpace(X86, Memory(), modules, lambda _: None)


def test_modules_are_sorted_and_numbered() -> None:
    made = space(module(300, 400), module(100, 200))
    assert [(m.index, m.base) for m in made.modules] == [(0, 100), (1, 300)]
    for address, base in ((99, None), (100, 100), (199, 100), (200, None), (300, 300), (400, None)):
        found = made.module_at(address)
        assert (found.base if found else None) == base
    assert made.module_at(-1) is None


def test_an_image_is_asked_for_once() -> None:
    asked: list[str] = []

    def load(wanted: Module) -> Image | None:
        asked.append(wanted.name)
        return None if wanted.base == 100 else Image(Memory(), 0)

    made = AddressSpace(X86, Memory(), [module(100, 200), module(300, 400)], load, [7])
    for _ in range(3):
        assert made.image(made.modules[0]) is None
        assert made.image(made.modules[1]) is made.image(made.modules[1])
    assert asked == ["m100", "m300"]
    assert made.entry_points == (7,)


def test_code_is_what_is_mapped_executable() -> None:
    memory = Memory([Region(16, 32, None, executable=True), Region(32, 48, None)])
    made = AddressSpace(X86, memory, [], lambda _: None)
    assert [made.is_code(address) for address in (15, 16, 31, 32, 48)] == [
        False, True, True, False, False,
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(1, 40)), max_size=10))
def test_any_modules(spans: list[tuple[int, int]]) -> None:
    """Also those that overlap: the answer always contains the address."""
    made = space(*(module(base, base + size) for base, size in spans))
    assert [m.index for m in made.modules] == list(range(len(spans)))
    for address in range(250):
        found = made.module_at(address)
        covering = [base for base, size in spans if base <= address < base + size]
        assert found is None or found.base <= address < found.end
        if not covering:
            assert found is None


def test_modules_that_are_found_later_come_last_and_leave_the_others_alone() -> None:
    made = space(module(300, 400), module(100, 200))
    narrow = made.in_mode(ARCHES["i386"])
    image = Image(Memory(), 0)
    later = [module(250, 300), module(390, 450), module(200, 210), module(0, 50), module(60, 60)]
    added = made.add_modules(later, {id(later[0]): image})
    assert [(each.index, each.base) for each in added] == [(2, 0), (3, 200), (4, 250)]
    assert [(each.index, each.base) for each in made.modules] == [
        (0, 100), (1, 300), (2, 0), (3, 200), (4, 250),
    ]  # fmt: skip
    for one in (made, narrow):
        for address, base in ((0, 0), (49, 0), (50, None), (205, 200), (299, 250), (395, 300)):
            found = one.module_at(address)
            assert (found.base if found else None) == base
        assert one.module_at(420) is None
    assert made.image(later[0]) is image
    assert made.image(later[2]) is None


def test_holes_of_a_module_are_not_its_own() -> None:
    modules = [module(100, 500), module(600, 700), module(640, 660)]
    holes = [(200, 220), (300, 310), (490, 500), (100, 110), (500, 520), (630, 650)]
    made = AddressSpace(X86, Memory(), modules, lambda _: None, holes=holes)
    narrow = made.in_mode(ARCHES["i386"])
    expected = [
        (100, 100), (199, 100), (200, None), (219, None), (220, 100), (305, None), (310, 100),
        (489, 100), (490, None), (500, None), (635, 600), (645, 640), (670, None),
    ]  # fmt: skip
    for address, base in expected:
        found = made.module_at(address)
        assert (found.base if found else None) == base, address
    assert made.taken()[:4] == [(100, 200), (220, 300), (310, 490), (600, 700)]
    later = [module(200, 220), module(295, 305), module(495, 499), module(210, 215)]
    assert [each.base for each in made.add_modules(later, {})] == [200, 495]
    for one in (made, narrow):
        for address, base in ((199, 100), (200, 200), (220, 100), (497, 495), (499, None)):
            found = one.module_at(address)
            assert (found.base if found else None) == base, address
