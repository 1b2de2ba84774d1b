"""Code images of Wasmtime: their parts, functions, and the two encodings of the address map."""

from __future__ import annotations

import struct
from bisect import bisect_right
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.build.wasmtime import Function, Image, block_map, flat_map
from unspool.errors import FormatError
from unspool.formats.wasmtime import (
    ENTRY,
    EXIT,
    OTHER,
    WASM,
    AddressMap,
    is_image,
    kind_of,
    read_functions,
    read_image,
)

SYMBOLS = {
    "wasm[0]::function[1]::inner": (WASM, 0, 1, "inner"),
    "wasm[3]::function[12]": (WASM, 3, 12, None),
    "wasm[0]::function[3]::weird<T>::x": (WASM, 0, 3, "weird<T>::x"),
    "wasm[0]::function[4]::a]::function[9]::b": (WASM, 0, 4, "a]::function[9]::b"),
    "_wasm_function_7": (WASM, 0, 7, None),
    "wasm[0]::array_to_wasm_trampoline[2]": (ENTRY, None, None, None),
    "wasm[0]::native_to_wasm_trampoline[2]": (ENTRY, None, None, None),
    "_trampoline_0": (ENTRY, None, None, None),
    "module_start[0]::Array": (ENTRY, None, None, None),
    "component-trampolines[1]-array-call-resource_new32": (ENTRY, None, None, None),
    "component-trampolines[1]-wasm-call-resource_new32": (EXIT, None, None, None),
    "signatures[0]::wasm_to_array_trampoline": (EXIT, None, None, None),
    "signatures[0]::wasm_to_native_trampoline": (EXIT, None, None, None),
    "wasmtime_builtin_memory_grow": (EXIT, None, None, None),
    "resource_drop_trampoline": (EXIT, None, None, None),
    "wasm[0]::function[x]": (OTHER, None, None, None),
    "wasm[0]::function[99999999999999999999]": (OTHER, None, None, None),
    "main": (OTHER, None, None, None),
    "": (OTHER, None, None, None),
}


def reader(data: bytes):  # type: ignore[no-untyped-def]
    def read(offset: int, size: int) -> bytes:
        found = data[offset : offset + size]
        if len(found) < size:
            raise FormatError("image", "cut short")
        return found

    return read


def functions_in(data: bytes, text_size: int = 1 << 20):  # type: ignore[no-untyped-def]
    image, read = read_image(reader(data)), reader(data)
    return read_functions(
        read(*image.sections[".symtab"]), read(*image.sections[".strtab"]), text_size
    )


def test_the_parts_of_an_image() -> None:
    data = Image(code=b"\xc3" * 300, names=b"innergo", version="36.0.1").build()
    image, read = read_image(reader(data)), reader(data)
    assert read(*image.text) == b"\xc3" * 300
    assert image.text[0] == 0x1000
    assert read(*image.sections[".name.wasm"]) == b"innergo"
    assert image.end == len(data)
    assert (image.machine, image.flags) == (62, 1)
    assert image.table[0] == (0, 64)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_what_functions_are_by_their_symbols(symbol: str) -> None:
    kind, module, index, name = SYMBOLS[symbol]
    assert kind_of(symbol) == kind
    [found] = functions_in(Image([Function(symbol, 16, 8)]).build()).all
    assert (found.kind, found.module, found.index, found.name) == (kind, module, index, name)


def test_functions_by_address() -> None:
    wasm = [Function(f"wasm[0]::function[{index}]", 64 * index, 40) for index in range(9)]
    others = [Function("data", 0, 4096, kind=1), Function("none", 8, 0), Function("far", 600, 9)]
    found = functions_in(Image([*reversed(wasm), *others]).build(), 9 * 64)
    assert len(found.all) == 9
    for offset in range(-1, 9 * 64 + 20):
        inside = 0 <= offset < 9 * 64 and offset % 64 < 40
        function = found.at(offset)
        assert (function.index if function else None) == (offset // 64 if inside else None)


def test_headers_that_are_none() -> None:
    good = Image().build()[:64]
    assert is_image(good)
    for at, byte in ((0, 0), (4, 1), (5, 2), (7, 3), (16, 3)):
        assert not is_image(good[:at] + bytes([byte]) + good[at + 1 :])
    assert not is_image(good[:63])


@pytest.mark.parametrize("lies", [
    {"e_shnum": 60_000}, {"e_shnum": 0}, {"e_shentsize": 1}, {"e_shoff": 1 << 63},
    {"e_shstrndx": 400}, {"e_shnum": 201},
])  # fmt: skip
def test_headers_that_lie(lies: dict[str, int]) -> None:
    with pytest.raises(FormatError):
        read_image(reader(Image(**lies).build()))


@given(st.binary(max_size=200), st.data())
def test_damaged_images_raise_nothing_else(noise: bytes, data: st.DataObject) -> None:
    image = bytearray(Image([Function("wasm[0]::function[0]", 0, 64)]).build())
    at = data.draw(st.one_of(st.integers(0, 64), st.integers(0, len(image))))
    image[at : at + len(noise)] = noise
    with suppress(FormatError):
        functions_in(bytes(image))


positions = st.lists(
    st.tuples(st.integers(0, 400), st.one_of(st.none(), st.integers(0, 1 << 20))), max_size=400
).map(lambda steps: [(sum(step for step, _ in steps[: index + 1]), place) for index, (_, place)
                     in enumerate(steps)])  # fmt: skip


@pytest.mark.parametrize("encode", [flat_map, block_map])
@given(positions, st.lists(st.integers(0, 1 << 17), max_size=40))
@example([], [0])
@example([(0, 1)] * 129, [0, 1])
def test_positions_in_the_wasm_binary(encode, known, asked: list[int]) -> None:  # type: ignore[no-untyped-def]
    found = AddressMap(encode(known))
    offsets = [offset for offset, _ in known]
    for offset in [*asked, *(offset + more for offset in offsets[:60] for more in (-1, 0, 1))]:
        if offset < 0:
            continue
        index = bisect_right(offsets, offset) - 1
        # Of several entries for one place the last one counts, in a list and in a block.
        assert found.position(offset) == (known[index][1] if index >= 0 else None)


@given(st.binary(max_size=400), st.lists(st.integers(0, 1 << 33), min_size=1, max_size=9))
def test_address_maps_of_noise_raise_nothing_else(noise: bytes, offsets: list[int]) -> None:
    for data in (noise, struct.pack("<II", 130, 2) + noise, block_map([(1, 2)] * 300)[:20] + noise):
        with suppress(FormatError):
            found = AddressMap(data)
            for offset in offsets:
                found.position(offset)


def test_an_address_map_that_claims_more_than_it_has() -> None:
    for data in (b"", b"\1\0", struct.pack("<I", 1 << 30), struct.pack("<II", 1 << 30, 1 << 23)):
        with pytest.raises(FormatError):
            AddressMap(data)
