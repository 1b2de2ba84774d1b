"""WebAssembly files: modules, components, and what is broken in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.wasm import IMPORT, MODULE, Function, Module, component, section, sized
from unspool.errors import FormatError
from unspool.formats.wasm_code import instructions
from unspool.formats.wasm_file import is_component, is_wasm, read_modules

# Instructions of every kind of operand, one each.
INSTRUCTIONS = [
    "00", "01", "0240", "037f", "0463 02", "05", "0664 70", "0700", "0801", "0900", "0a", "0b",
    "0c01", "0d8101", "0e 02 00 01 02", "0f", "1005", "11 01 8001", "1205", "1300 00", "1401",
    "1501", "1800", "19", "1a", "1b", "1c 02 7f 63 01", "1f40 02 00 01 00 02 00", "2000", "2580 01",
    "28 02 8010", "28 42 01 10", "3f00", "41 ff00", "42 8080808080808080807f", "43 00000b0b",
    "44 0b0b0b0b0b0b0b0b", "45", "c4", "d0 70", "d1", "d2 01", "d5 00", "fb00 01", "fb02 01 02",
    "fb0f", "fb14 6e", "fb18 03 00 01 02", "fb1c", "fc00", "fc08 01 02", "fc0b 00", "fd00 02 10",
    "fd0c 0b0b0b0b0b0b0b0b 0b0b0b0b0b0b0b0b", "fd0d 0b0b0b0b0b0b0b0b 0b0b0b0b0b0b0b0b", "fd15 0b",
    "fd54 00 10 0b", "fd5c 02 10", "fd6e", "fd 8102", "fe00 02 10", "fe03 00", "fe10 02 10",
]  # fmt: skip


def example() -> Module:
    return Module(
        [Function("first", b"\x01\x0b"), Function(None, b"\x0b"), Function("ünicode", b"\x0b")],
        ["memory", "function", "table", "global", "function", "tag"],
        custom={".debug_info": b"dwarf", "build_id": sized(b"\xab\xcd")},
    )


def test_a_module() -> None:
    made = example()
    data = made.build()
    assert is_wasm(data)
    assert not is_component(data)
    [module] = read_modules(data)
    assert module.imported == 2
    assert module.bodies == made.bodies
    assert module.code == (made.code, made.bodies[-1][1])
    assert module.names == {2: b"first", 4: "ünicode".encode()}
    assert (module.body(1), module.body(2), module.body(5)) == (None, made.bodies[0], None)
    assert module.bytes_of(".debug_info") == b"dwarf"
    assert module.bytes_of("absent") == b""
    assert module.build_id == "abcd"


def test_a_component_has_its_modules_in_their_order() -> None:
    first, second = Module([Function("a", b"\x0b")]), Module([Function("b", b"\x0b")] * 2)
    data = component(first.build(), second.build(), nested=2)
    assert is_component(data)
    modules = read_modules(data)
    assert [len(each.bodies) for each in modules] == [1, 2]
    for module, made in zip(modules, (first, second), strict=True):
        at = data.index(made.build())
        assert module.bodies == [(at + start, at + end) for start, end in made.bodies]
        assert module.code is not None
        assert module.code[0] == at + made.code


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0asm", b"\0asm\2\0\0\0", MODULE + b"\x0a", MODULE + section(10, b"\1\5\0"),
        MODULE + section(10, b"\xff\xff\xff\xff\x0f"), MODULE + section(2, b"\1\1a\1b\7\0"),
        MODULE + section(2, b"\xff\xff\xff\x0f"), component(b"\0asm\x0d\0\1"),
        component(example().build(), nested=20), MODULE + b"\0\0" * 10_001,
    ],
    ids=range(11),
)  # fmt: skip
def test_what_is_broken_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        read_modules(data)


def test_broken_names_cost_themselves() -> None:
    made = Module([Function("a", b"\x0b")], names=False, custom={"name": b"\1\x05\xff\xff"})
    [module] = read_modules(made.build())
    assert module.names == {}
    assert module.build_id is None


@pytest.mark.parametrize("text", INSTRUCTIONS)
def test_an_instruction_ends_where_the_next_begins(text: str) -> None:
    code = bytes.fromhex(text)
    body = Function("f", code + b"\x01\x0b", [(2, b"\x7f"), (1, b"\x63\x05")]).body
    start = len(body) - len(code) - 2
    assert instructions(body, 0, len(body)) == {0, 1, 3, start, start + len(code), len(body) - 1}


@pytest.mark.parametrize("text", ["16", "27", "c5", "ff", "fb1f", "fc17", "fd9402", "fe4f", "1020"])
def test_what_is_no_instruction_is_refused(text: str) -> None:
    body = b"\0" + bytes.fromhex(text)
    body = body[:-1] if text == "1020" else body
    with pytest.raises(FormatError):
        instructions(body, 0, len(body))


@given(st.lists(st.sampled_from(INSTRUCTIONS), max_size=30))
def test_any_sequence_is_taken_apart(texts: list[str]) -> None:
    body, places = b"\0", {0}
    for text in texts:
        places.add(len(body))
        body += bytes.fromhex(text)
    assert instructions(body, 0, len(body)) == places


@given(st.binary(max_size=80), st.sampled_from([*IMPORT]))
def test_no_bytes_break_the_readers(noise: bytes, kind: str) -> None:
    good = Module([Function("a", noise)], [kind], custom={"x": noise}).build()
    for data in (MODULE + noise, component(noise), good, good[: len(noise)], good + noise):
        try:
            for module in read_modules(data):
                assert all(start <= end <= len(data) for start, end in module.bodies)
                assert module.names is not None
                for body in module.bodies:
                    assert all(body[0] <= at < body[1] for at in instructions(data, *body))
        except FormatError:
            pass
