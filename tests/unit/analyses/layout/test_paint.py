"""Names upon mappings: nothing lost, nothing twice, the surest name wins."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from unspool.analyses.layout import names
from unspool.analyses.layout.mappings import permissions, tidy
from unspool.analyses.layout.paint import Label, apart, paint
from unspool.analyses.layout.records import Kind
from unspool.targets.live.procfs import Mapping

from .made_up import mapping

RANGES = st.lists(
    st.tuples(st.integers(-2, 60), st.integers(0, 24)).map(lambda each: (each[0], sum(each))),
    max_size=12,
)


def label(start: int, end: int, name: str) -> Label:
    return Label(start, end, "kind", name)


def rest(mapping: Mapping) -> Label:
    return label(mapping.start, mapping.end, "rest")


@given(RANGES, st.lists(RANGES, max_size=3))
def test_each_address_has_the_first_layers_name(
    maps: list[tuple[int, int]], layers: list[list[tuple[int, int]]]
) -> None:
    mappings = tidy(mapping(*each) for each in maps)
    made = [[label(*each, f"{at}") for each in layer] for at, layer in enumerate(layers)]
    areas = paint(mappings, made, rest)
    named = {at: area.name for area in areas for at in range(area.start, area.end)}
    assert sum(area.size for area in areas) == len(named)
    mapped = {at for low, high in maps if low >= 0 for at in range(low, high)}
    assert set(named) == mapped
    for at, name in named.items():
        wanted = (
            str(number)
            for number, layer in enumerate(layers)
            if any(low <= at < high for low, high in layer)
        )
        assert name == next(wanted, "rest")


@given(RANGES)
def test_tidy_mappings_are_apart(maps: list[tuple[int, int]]) -> None:
    found = tidy(mapping(*each) for each in maps)
    assert all(one.end <= two.start for one, two in pairwise(found))
    assert {at for each in found for at in range(each.start, each.end)} == {
        at for low, high in maps if low >= 0 for at in range(low, high)
    }


def test_what_wraps_around_is_left_out() -> None:
    top = 1 << 64
    wrong = [mapping(top - 4, top + 4), mapping(9, 5), mapping(7, 7), mapping(-4, 4)]
    assert not tidy(wrong)
    assert [(each.start, each.end) for each in tidy([mapping(top - 4, top)])] == [(top - 4, top)]


def test_a_cut_mapping_keeps_its_place_in_the_file() -> None:
    one, two = Mapping(0, 8, "r--p", 0, 0, 1, "/a"), Mapping(4, 12, "r-", 100, 0, 1, "/b")
    found = tidy([two, one])
    assert [(each.start, each.offset, each.permissions) for each in found] == [
        (0, 0, "r--p"), (8, 104, "r-??"),
    ]  # fmt: skip


def test_a_label_can_refuse() -> None:
    refused = Label(0, 8, "kind", "no", decide=lambda mapping, label: None)
    areas = paint([mapping(0, 4), mapping(4, 8)], [[refused], [label(2, 6, "yes")]], rest)
    assert [(area.start, area.end, area.name) for area in areas] == [
        (0, 2, "rest"), (2, 6, "yes"), (6, 8, "rest"),
    ]  # fmt: skip


def test_labels_apart_leave_theirs_alone() -> None:
    one, two = label(0, 10, "one"), label(5, 20, "two")
    found = apart([two, one])
    assert [(each.start, each.end) for each in found] == [(0, 10), (10, 20)]
    assert two.start == 5


def test_many_mappings_and_labels() -> None:
    count = 30_000
    mappings = [mapping(at * 8, at * 8 + 6) for at in range(count)]
    everything = [label(0, count * 8, "all")]
    odd = [label(at * 8 + 1, at * 8 + 3, "odd") for at in range(count)]
    areas = paint(mappings, [odd, everything, odd], rest)
    assert len(areas) == 3 * count
    assert sum(area.size for area in areas) == 6 * count


def test_names_by_path() -> None:
    cases = {
        "[heap]": Kind.HEAP, "[stack]": Kind.STACK, "[stack:12]": Kind.STACK, "[vdso]": Kind.KERNEL,
        "[vvar_vclock]": Kind.KERNEL, "[vsyscall]": Kind.KERNEL, "[anon:scudo]": Kind.HEAP,
        "[anon: glibc: malloc]": Kind.HEAP, "[anon:stack_and_tls:12]": Kind.STACK,
        "[anon:Go: heap]": Kind.HEAP, "[anon:mine]": Kind.ANONYMOUS,
        "/dev/shm/a": Kind.SHARED, "/memfd:x (deleted)": Kind.SHARED, "/SYSV00000000": Kind.SHARED,
        "/dev/zero (deleted)": Kind.SHARED, "/dev/nvidia0": Kind.DEVICE,
        "/usr/lib/locale/locale-archive": Kind.LOCALE, "/tmp/a b (deleted)": Kind.FILE,
        "/tmp/server-1/tmpmap-12 (deleted)": Kind.SHARED, "anon_inode:[perf_event]": Kind.DEVICE,
    }  # fmt: skip
    for path, kind in cases.items():
        assert names.label_of(mapping(0, 1, path=path)).kind == kind, path
    nameless = {
        "---p": Kind.RESERVED, "?--?": Kind.RESERVED, "r-xp": Kind.CODE, "rw-s": Kind.SHARED,
        "rw-p": Kind.ANONYMOUS, "????": Kind.ANONYMOUS,
    }  # fmt: skip
    for flags, kind in nameless.items():
        assert names.label_of(mapping(0, 1, flags)).kind == kind, flags
        assert names.label_of_unnamed(mapping(0, 1, flags)).kind == kind, flags
    zero = names.label_of(mapping(0, 0x1000, "r-xp"))
    assert (zero.kind, "MMAP_PAGE_ZERO" in zero.name) == (Kind.ANONYMOUS, True)


def test_permissions_as_virtual_query_says() -> None:
    assert permissions(0x1000, 0x20, 0x1000000) == "r-xp"
    assert permissions(0x1000, 0x04, 0x40000) == "rw-s"
    assert permissions(0x1000, 0x40, 0x20000) == "rwxp"
    assert permissions(0x1000, 0x104, 0x20000) == "---p"  # PAGE_GUARD
    assert permissions(0x2000, 0, 0x20000) == "---p"
    assert permissions(0x1000, 0x01, 0x20000) == "---p"
