"""Which WebAssembly file a report's code is from: told by what the image in memory knows of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.build.source_map import source_map
from tests.build.wasm import Function, Module, component, sized
from tests.build.wasm_images import EACH, compiled
from tests.unit.unwind.spaces import region
from unspool import api
from unspool.formats.wasm_code import instructions
from unspool.generated.code import GeneratedCode, GeneratedModule
from unspool.generated.wasm_places import add_places, identity
from unspool.generated.wasmtime import WasmCode
from unspool.memory import Memory
from unspool.model import (
    Frame,
    Location,
    Report,
    Segment,
    Stack,
    Stop,
    TargetInfo,
    Trust,
    WasmIdentity,
)
from unspool.model import Module as Loaded
from unspool.render.json import dumps
from unspool.render.json_reader import loads
from unspool.symbols.wasm.files import WasmFiles

BASE = 0x4000_0000
# Ten instructions and an `end`, of different lengths; each function has its own numbers.
CODE = "41{0:02x} 1a 2000 41ff{0:02x} 6a 45 1a 01 4180{0:02x} 1a 0b"


def functions(count: int, prefix: str = "f") -> list[Function]:
    return [
        Function(f"{prefix}{index}", bytes.fromhex(CODE.format(index % 0x3F)), [(1, b"\x7f")])
        for index in range(count)
    ]


def starts(data: bytes, module: Module, at: int = 0) -> list[list[int]]:
    """Where the instructions of each function begin, in a file that has the module at an offset."""
    return [
        sorted(instructions(data, at + start, at + end))[2:] for start, end in module.bodies
    ]  # fmt: skip


def image_of(
    modules: Sequence[Module], places: Sequence[list[list[int]]], *, names: bool = True
) -> WasmCode:
    data = compiled(modules, places, names=names).build()
    return WasmCode(Memory([region(BASE, data)]), BASE)


def report_of(code: WasmCode, frames: Sequence[int] = (5, 17, 40)) -> Report:
    """A report without names with a frame at these instructions, as it is read elsewhere."""
    module = Loaded(0, code.name, code.base, code.end, kind="wasm", bias=code.base)
    known = GeneratedCode([GeneratedModule(module, runtime=code)], [])
    pcs = [code.text_start + EACH * each + 1 for each in frames]
    stack = Stack(
        0, 7, [Frame(pc + 1, None, Trust.WASM) for pc in pcs], [Segment("wasm")], Stop("root")
    )
    report = Report(TargetInfo("core", "x86_64"), [module], [stack])
    report.locations.update((pc, Location(0)) for pc in pcs)
    add_places(report.locations, pcs, known)
    return loads(dumps(report))


def one(count: int = 20, *, names: bool = True, **how: object) -> tuple[Module, bytes, Report]:
    """A module, its file, and a report of its code."""
    module = Module(functions(count), **how)  # type: ignore[arg-type]
    data = module.build()
    return module, data, report_of(image_of([module], [starts(data, module)], names=names))


def named(report: Report, *paths: Path) -> tuple[list[str | None], list[str], list[str]]:
    """The frames' functions, what is said of files, and the names of what is missing."""
    result, missing = api.symbolicate(report, symbols=[str(path) for path in paths])
    stack = result.stacks[0]
    found = [result.location(stack, index) for index in range(len(stack.frames))]
    told = [each.title for each in result.findings if each.kind == "wasm_file_refused"]
    return [each and each.function for each in found], told, [each.kind for each in missing]


def test_what_is_known_of_the_binary() -> None:
    module, data, report = one()
    known = report.modules[0].wasm
    assert known is not None
    assert known.functions == [20]
    assert known.names == hashlib.sha256("".join(f"f{n}" for n in range(20)).encode()).hexdigest()
    assert len(known.points) >= 48
    numbers = [number for _, number, _ in known.points]
    assert (numbers[0], numbers[-1]) == (1, 20)
    for _, number, offset in known.points:
        start, end = module.bodies[number - 1]
        assert offset in instructions(data, start, end)
    places = [report.locations[frame.lookup_pc] for frame in report.stacks[0].frames]
    assert [(each.wasm_module, each.wasm_function) for each in places] == [(0, 1), (0, 2), (0, 4)]
    assert places[0].wasm_offset == starts(data, module)[0][5]
    assert all(each.function is None for each in places)


def test_a_module_of_thousands_of_functions_has_few_points() -> None:
    known = one(3000)[2].modules[0].wasm
    assert known is not None
    assert 32 <= len(known.points) <= 96
    assert [known.points[0][1], known.points[-1][1]] == [1, 3000]


@pytest.mark.parametrize("names", [True, False])
def test_the_file_is_found_among_others(names: bool, tmp_path: Path) -> None:
    _, data, report = one(names=names)
    assert named(report, tmp_path) == ([None] * 3, [], ["wasm"])
    (tmp_path / "other.wasm").write_bytes(Module(functions(21)).build())
    (tmp_path / "broken.wasm").write_bytes(data[:100])
    (tmp_path / "any name").write_bytes(data)
    assert named(report, tmp_path) == (["f0", "f1", "f3"], [], [])


def changed(what: str) -> bytes:
    """The file of another build."""
    made = functions(20)
    if what == "a function more":
        made = functions(21)
    elif what == "an instruction more":
        made[9].code = b"\x01" + made[9].code
    elif what == "longer instructions":
        made[19].code = made[19].code.replace(b"\x6a\x45", b"\x41\x45", 1)
    elif what == "another name":
        made[12].name = "g12"
    elif what == "an import more":
        return Module(made, ["function", "function"]).build()
    return Module(made).build()


OTHERS = {
    "a function more": "21 functions, not 20 functions",
    "an instruction more": "has other code in it",
    "longer instructions": "has other code in it",
    "an import more": "no code of function",
    "another name": "other names",
}


@pytest.mark.parametrize(
    ("names", "what"),
    # Without names in memory another name is not seen: `test_two_files_that_fit_must_agree`.
    [*((True, what) for what in OTHERS), *((False, what) for what in list(OTHERS)[:-1])],
)
def test_another_build_is_refused(names: bool, what: str, tmp_path: Path) -> None:
    report = one(names=names)[2]
    path = tmp_path / "x.wasm"
    path.write_bytes(changed(what))
    found, told, missing = named(report, path)
    assert (found, missing) == ([None] * 3, ["wasm"])
    assert told[0].startswith(f"{path} is not what the code was compiled from: ")
    assert len(told) == 1
    assert OTHERS[what] in told[0]
    assert named(report, tmp_path) == ([None] * 3, [], ["wasm"])


def test_code_that_has_moved_as_a_whole(tmp_path: Path) -> None:
    module, _, report = one(names=False)
    other = Module(functions(20), pad=5)
    (tmp_path / "debug.wasm").write_bytes(other.build())
    assert named(report, tmp_path) == (["f0", "f1", "f3"], [], [])
    [file] = WasmFiles([str(tmp_path)]).find(report.modules[0], [])
    assert file.moved == {0: module.code - other.code}
    assert file.proved


def test_little_code_is_no_proof(tmp_path: Path) -> None:
    """Frames alone, of a function without a name: any file with such a function would do."""
    module = Module(functions(1))
    data = module.build()
    report = report_of(image_of([module], [starts(data, module)], names=False), (2,))
    (tmp_path / "x.wasm").write_bytes(data)
    assert named(report, tmp_path)[0] == [None]
    assert named(report, tmp_path / "x.wasm") == (["f0"], [], [])


def test_two_files_that_fit_must_agree(tmp_path: Path) -> None:
    _, data, report = one(names=False)
    (tmp_path / "a.wasm").write_bytes(data)
    (tmp_path / "copy.wasm").write_bytes(data)
    (tmp_path / "stripped.wasm").write_bytes(Module(functions(20), names=False).build())
    assert named(report, tmp_path)[0] == ["f0", "f1", "f3"]
    (tmp_path / "z.wasm").write_bytes(Module(functions(20, "g")).build())
    found, told, _ = named(report, tmp_path)
    assert found == [None] * 3
    assert "have the same code and different names" in told[0]
    assert named(report, tmp_path, tmp_path / "z.wasm") == (["g0", "g1", "g3"], [], [])


def test_several_files_by_their_own_paths(tmp_path: Path) -> None:
    """A file of a module without frames is no wrong file of the one that has some."""
    _, data, report = one()
    (tmp_path / "a.wasm").write_bytes(data)
    (tmp_path / "b.wasm").write_bytes(one(25)[1])
    paths = tmp_path / "a.wasm", tmp_path / "b.wasm"
    assert named(report, *paths) == (["f0", "f1", "f3"], [], [])


def test_a_component_and_what_the_runtime_adds_to_it(tmp_path: Path) -> None:
    modules = [Module(functions(12), name="first"), Module(functions(15, "g"), name="shim")]
    parts = [module.build() for module in modules]
    data = component(*parts)
    adapter = Module(functions(2, "a"))
    places = [
        starts(data, module, data.index(part)) for module, part in zip(modules, parts, strict=True)
    ]
    places.append(starts(adapter.build(), adapter))
    frames = (3, 12 * 11 + 25, 27 * 11 + 4)  # one in each of the modules
    report = report_of(image_of([*modules, adapter], places), frames)
    known = report.modules[0].wasm
    assert known is not None
    assert (known.functions, known.names) == ([12, 15, 2], None)
    assert {module for module, _, _ in known.points} == {0, 1}
    (tmp_path / "c.wasm").write_bytes(data)
    assert named(report, tmp_path)[0] == ["f0", "g2", None]
    assert known.part(1) == "[1]"
    made, _ = api.symbolicate(report, symbols=[str(tmp_path)])
    again = loads(dumps(made)).modules[0].wasm
    assert again is not None
    assert [again.part(number) for number in range(3)] == ["[first]", "[shim]", "[2]"]
    (tmp_path / "c.wasm").write_bytes(component(parts[1], parts[0]))
    assert named(report, tmp_path)[0] == [None] * 3
    (tmp_path / "c.wasm").write_bytes(parts[0])
    assert named(report, tmp_path)[0] == [None] * 3


@pytest.mark.parametrize(
    "known",
    [
        WasmIdentity([20], None, [(0, 1 << 62, 5)] * 40),
        WasmIdentity([20], None, [(1 << 62, 1, 5)] * 40),
        WasmIdentity([20], None, [(0, 1, 1 << 62), (0, 2, 3)]),
        WasmIdentity([], None, []),
        WasmIdentity([20], "nonsense", []),
        WasmIdentity([20], None, []),
    ],
    ids=range(6),
)
def test_a_report_that_lies_names_nothing(known: WasmIdentity, tmp_path: Path) -> None:
    _, data, report = one()
    report.modules[0].wasm = known
    (tmp_path / "x.wasm").write_bytes(data)
    for location in report.locations.values():
        location.wasm_offset = None
    assert named(report, tmp_path)[0] == [None] * 3


def test_an_image_without_a_map_is_named_by_the_hash_of_names(tmp_path: Path) -> None:
    module, data, _ = one()
    image = compiled([module], [starts(data, module)])
    image.address_map = b""
    code = WasmCode(Memory([region(BASE, image.build())]), BASE)
    known = identity(code)
    assert known is not None
    assert (known.points, known.names is None) == ([], False)
    report = report_of(code)
    (tmp_path / "x.wasm").write_bytes(data)
    assert named(report, tmp_path)[0] == ["f0", "f1", "f3"]


def test_debug_information_in_a_file_of_its_own(tmp_path: Path) -> None:
    """It has no code to hold against: the build id tells it, or the binary names it."""
    from unspool.symbols.wasm.names import WasmElsewhere

    build_id = {"build_id": sized(b"\1\2\3\4")}
    _, data, report = one(custom=build_id)
    dwarf = Module([], (), custom={**build_id, ".debug_info": b"x"}, names=False)
    (tmp_path / "x.wasm").write_bytes(data)

    def found(where: Path) -> bool:
        names = WasmElsewhere(report, [str(where)]).names(report.modules[0], True)
        assert names is not None
        return names.lines is not None

    assert not found(tmp_path)
    (tmp_path / "x.debug").write_bytes(dwarf.build())
    assert found(tmp_path)
    dwarf.custom["build_id"] = sized(b"\1\2\3\5")
    (tmp_path / "x.debug").write_bytes(dwarf.build())
    assert not found(tmp_path)
    # Named by the binary, and beside it.
    _, data, report = one(custom={"external_debug_info": sized(b"https://host/x.debug")})
    (tmp_path / "x.wasm").write_bytes(data)
    assert found(tmp_path / "x.wasm")
    (tmp_path / "x.debug").unlink()
    assert not found(tmp_path / "x.wasm")


def lines(report: Report, path: Path) -> list[tuple[str | None, int | None]]:
    result, _ = api.symbolicate(report, symbols=[str(path)])
    stack = result.stacks[0]
    found = [result.location(stack, index) for index in range(len(stack.frames))]
    return [(each.file, each.line) for each in found if each is not None]


def test_lines_by_the_source_map_beside_it(tmp_path: Path) -> None:
    """It must be of this code: each of its places is an instruction's."""
    module, data, report = one(custom={"sourceMappingURL": sized(b"./x.wasm.map")})
    path, beside = tmp_path / "x.wasm", tmp_path / "x.wasm.map"
    path.write_bytes(data)
    assert lines(report, path) == [(None, None)] * 3
    places = [
        (place, 0, number) for number, each in enumerate(starts(data, module)) for place in each
    ]
    beside.write_bytes(source_map(places))
    assert lines(report, path) == [("a.ts", 1), ("a.ts", 2), ("a.ts", 4)]
    # Another map of the third function, where the last frame is: of the others' lines it says all.
    beside.write_bytes(source_map([
        (place + (number == 3), file, number) for place, file, number in places
    ]))  # fmt: skip
    assert lines(report, path) == [("a.ts", 1), ("a.ts", 2), (None, None)]
    # Nothing of the second function: the place before it is of the first.
    beside.write_bytes(source_map([each for each in places if each[2] != 1]))
    assert lines(report, path) == [("a.ts", 1), (None, None), ("a.ts", 4)]
    beside.write_bytes(b"{")
    assert lines(report, path) == [(None, None)] * 3
