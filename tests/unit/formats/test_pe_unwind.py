"""The function table and UNWIND_INFO of PE files, from a builder with encoders of its own."""

from __future__ import annotations

from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import unwind_info as b
from unspool.errors import FormatError
from unspool.formats import pe_unwind as u
from unspool.formats.pe_unwind import FunctionTable, UnwindInfo, parse_unwind_info

AT = 0x3000


def parse(raw: bytes) -> UnwindInfo:
    def read(rva: int, size: int) -> bytes:
        return raw[rva - AT : rva - AT + size]

    return parse_unwind_info(read, AT)


def table(*functions: tuple[int, int, int], lead: int = 8) -> FunctionTable:
    data = bytes(lead) + b.runtime_functions(functions)
    return FunctionTable(data, lead, len(data))


# --- the table ------------------------------------------------------------------------


def found(functions: FunctionTable, rva: int) -> int | None:
    function = functions.find(rva)
    return None if function is None else function.begin


def test_functions_are_found_by_any_address_in_them() -> None:
    functions = table((0x1000, 0x1010, AT), (0x1010, 0x1011, AT + 8), (0x1020, 0x1100, AT + 16))
    assert len(functions) == 3
    assert [found(functions, rva) for rva in (0x1000, 0x100F, 0x1010, 0x1020, 0x10FF)] == [
        0x1000, 0x1000, 0x1010, 0x1020, 0x1020,
    ]  # fmt: skip
    assert [found(functions, rva) for rva in (0, 0xFFF, 0x1011, 0x101F, 0x1100, -1, 1 << 40)] == [
        None
    ] * 7
    last = functions.find(0x1020)
    assert last is not None
    assert (last.begin, last.end, last.unwind) == (0x1020, 0x1100, AT + 16)
    assert [functions[index].begin for index in range(3)] == [0x1000, 0x1010, 0x1020]
    for index in (-1, 3):
        with pytest.raises(IndexError):
            functions[index]


@pytest.mark.parametrize("padding", [1, 2, 7])
def test_room_that_an_incremental_linker_left(padding: int) -> None:
    functions = table((0x1000, 0x1010, AT), (0x1010, 0x1020, AT), *[(0, 0, 0)] * padding)
    assert [found(functions, rva) for rva in (0, 0x1000, 0x1015, 0x1020)] == [
        None, 0x1000, 0x1010, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("start", "end"), [(0, 0), (5, 0), (-12, 24), (0, 11), (24, 24), (1 << 40, 1 << 41)]
)
def test_no_room_for_a_table(start: int, end: int) -> None:
    functions = FunctionTable(b.runtime_functions([(1, 2, 3), (4, 5, 6)]), start, end)
    assert len(functions) == 0
    assert functions.find(1) is None


def test_a_table_ends_with_its_buffer() -> None:
    functions = FunctionTable(b.runtime_functions([(1, 2, 3), (4, 5, 6)])[:-1], 0, 1000)
    assert len(functions) == 1


@given(st.lists(st.integers(1, 1000), unique=True, max_size=40), st.integers(0, 1100))
def test_the_search_is_a_bisection(begins: list[int], rva: int) -> None:
    begins.sort()
    functions = table(*[(begin, begin + 3, begin * 4) for begin in begins])
    index = bisect_right(begins, rva) - 1
    expected = begins[index] if index >= 0 and rva < begins[index] + 3 else None
    assert found(functions, rva) == expected


# --- unwind info ----------------------------------------------------------------------

OPERATIONS = [
    (b.push(1, b.RBX), (1, u.PUSH_NONVOL, 3, 0)),
    (b.push(255, b.R15), (255, u.PUSH_NONVOL, 15, 0)),
    (b.alloc(4, 8), (4, u.ALLOC_SMALL, 0, 8)),
    (b.alloc(4, 128), (4, u.ALLOC_SMALL, 15, 128)),
    (b.alloc(7, 136), (7, u.ALLOC_LARGE, 0, 136)),
    (b.alloc(7, 0x7FFF8), (7, u.ALLOC_LARGE, 0, 0x7FFF8)),
    (b.alloc(7, 0x80000), (7, u.ALLOC_LARGE, 1, 0x80000)),
    (b.alloc(7, 0xFFFFFFF8), (7, u.ALLOC_LARGE, 1, 0xFFFFFFF8)),
    (b.set_frame(9), (9, u.SET_FPREG, 0, 0)),
    (b.save(9, b.RDI, 0x7FFF8), (9, u.SAVE_NONVOL, 7, 0x7FFF8)),
    (b.save(9, b.R12, 0x80008), (9, u.SAVE_NONVOL_FAR, 12, 0x80008)),
    (b.save_xmm(9, 6, 0xFFFF0), (9, u.SAVE_XMM128, 6, 0xFFFF0)),
    (b.save_xmm(9, 15, 0x100010), (9, u.SAVE_XMM128_FAR, 15, 0x100010)),
    (b.machine_frame(0), (0, u.PUSH_MACHFRAME, 0, 0)),
    (b.machine_frame(0, error_code=True), (0, u.PUSH_MACHFRAME, 1, 0)),
]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("raw", "code"), OPERATIONS)
def test_each_operation(raw: bytes, code: tuple[int, int, int, int], version: int) -> None:
    # Others around it show that its size is right.
    info = parse(b.unwind_info([b.push(200, b.RSI), raw, b.push(0, b.RBP)], version=version))
    assert info.codes == [(200, 0, b.RSI, 0), code, (0, 0, b.RBP, 0)]
    assert (info.version, info.chained, info.parent) == (version, False, None)


def test_the_header() -> None:
    info = parse(b.unwind_info([b.set_frame(9)], prologue=77, frame=(b.RBP, 240)))
    assert (info.prologue, info.frame_register, info.frame_offset) == (77, b.RBP, 240)
    assert (info.flags, info.epilogues) == (0, None)


@pytest.mark.parametrize("codes", [[], [b.push(1, 3)], [b.push(2, 3), b.push(1, 5)]])
def test_what_follows_the_codes(codes: list[bytes]) -> None:
    """Codes are padded to an even number of slots."""
    info = parse(b.unwind_info(codes, handler=0x1234, handler_data=b"data"))
    assert (info.flags, info.parent, len(info.codes)) == (b.EHANDLER, None, len(codes))
    info = parse(b.unwind_info(codes, chained=(0x1000, 0x1040, 0x5000)))
    assert info.chained
    assert info.parent is not None
    assert (info.parent.begin, info.parent.end, info.parent.unwind) == (0x1000, 0x1040, 0x5000)
    assert len(info.codes) == len(codes)


def test_the_64_bit_saves_of_early_version_1() -> None:
    info = parse(b.unwind_info([b.code(9, 6, 7, 5), b.code(5, 7, 8, 0x10, 1), b.push(1, 3)]))
    assert info.codes == [(9, 6, 7, 40), (5, 7, 8, 0x10010), (1, 0, 3, 0)]
    assert info.epilogues is None


def test_the_spare_code_of_version_2() -> None:
    info = parse(b.unwind_info([b.code(5, 7, 0, 1, 2), b.push(1, 3)], version=2))
    assert info.codes[-1] == (1, 0, 3, 0)


@pytest.mark.parametrize(
    ("raw", "size", "distances"),
    [
        (b.epilogues(3, [0]), 3, [3]),  # MSVC's runtime, memcpy: 03 16 00 06
        (b.epilogues(1, [2], at_end=False), 1, [2]),  # 01 06 02 06: an int3 follows the ret
        (b.epilogues(4, [0x10, 0xFFF, 0x123]), 4, [4, 0x10, 0xFFF, 0x123]),
        (b.epilogues(4, [0x100, 0], at_end=False), 4, [0x100]),
        (b.epilogues(1, []), 1, [1]),
        (b.code(3, 6, 2) + b.code(8, 6, 0), 3, [8]),  # flags that nobody knows
        (b"", 0, []),
    ],
)
def test_epilogues_of_version_2(raw: bytes, size: int, distances: list[int]) -> None:
    info = parse(b.unwind_info([raw, b.alloc(4, 40), b.push(1, 3)], version=2))
    assert (info.epilogue_size, info.epilogues) == (size, distances)
    assert info.codes == [(4, u.ALLOC_SMALL, 4, 40), (1, 0, 3, 0)]


@pytest.mark.parametrize("version", [0, 3, 4, 7])
def test_versions_that_nobody_knows(version: int) -> None:
    with pytest.raises(FormatError, match=f"version {version} is not supported"):
        parse(b.unwind_info([b.push(1, 3)], version=version))


@pytest.mark.parametrize(
    "raw",
    [b.code(1, 11, 0), b.code(1, 15, 3), b.code(1, 1, 2, 5, 5), b.code(1, 1, 15, 5, 5)],
)
def test_codes_that_nobody_knows(raw: bytes) -> None:
    with pytest.raises(FormatError, match="unknown unwind code"):
        parse(b.unwind_info([raw]))


@pytest.mark.parametrize(
    "raw", [b.alloc(1, 0x1000), b.alloc(1, 1 << 20), b.save_xmm(1, 6, 1 << 20)]
)
def test_a_last_code_that_is_cut(raw: bytes) -> None:
    with pytest.raises(FormatError, match="cut short"):
        parse(b.unwind_info([raw], count=len(raw) // 2 - 1))


@pytest.mark.parametrize("size", range(24))
def test_data_that_is_cut(size: int) -> None:
    raw = b.unwind_info([b.push(2, 3), b.push(1, 5), b.alloc(9, 8)], chained=(1, 2, 3))
    assert len(raw) == 24
    with pytest.raises(FormatError):
        parse(raw[:size])


@given(st.binary(min_size=4, max_size=64))
def test_any_bytes(raw: bytes) -> None:
    try:
        info = parse(raw)
    except FormatError:
        return
    taken = sum(
        {u.ALLOC_LARGE: 2 + argument, **dict.fromkeys((4, 8), 2), **dict.fromkeys((5, 9), 3)}.get(
            operation, 1
        )
        for _, operation, argument, _ in info.codes
        if operation not in (6, 7)
    )
    assert taken <= raw[2]
    assert info.version == raw[0] & 7
    assert info.chained == (info.parent is not None)
