"""Naming a report that somebody made up: an answer or one error in words, in bounded time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import examples
from tests.unit.symbols.test_elsewhere import BASE
from unspool import api
from unspool.errors import InputError
from unspool.render.json import dumps
from unspool.render.json_reader import loads

BUNDLED = Path(__file__).parents[2] / "demo" / "bundled"

WORDS = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.sampled_from([
        "dc5a59c10b36bd851d432afcfcb6f436bcb8d0b8", "../../../etc/passwd", "/dev/zero",
        "/proc/self/mem", "ntdll.dll", "a\0b", "63F14E2B361000", "..", "/", "crash", "crash.pdb",
        "\ud800", "x" * 5000, "3249d99d-0c40-4931-8610-f4e4fb0b6936-1", "-", "0" * 33,
    ]),
)  # fmt: skip
ADDRESSES = st.one_of(
    st.none(),
    st.sampled_from([0, 1, 0x400000, 0x401000, BASE, (1 << 63), (1 << 64) - 1]),
    st.integers(0, (1 << 64) - 1),
).map(lambda value: None if value is None else hex(value))
MODULES = st.fixed_dictionaries(
    {
        "name": WORDS.filter(lambda word: word is not None),
        "base": ADDRESSES.filter(lambda value: value is not None),
        "end": ADDRESSES.filter(lambda value: value is not None),
        "kind": st.sampled_from(["elf", "pe", "vdso", "jit", "wasm", "what"]),
    },
    optional={
        "path": WORDS, "bias": ADDRESSES, "code_id": WORDS, "debug_id": WORDS, "debug_file": WORDS,
    },
)  # fmt: skip
FRAMES = st.fixed_dictionaries(
    {"pc": ADDRESSES.filter(lambda value: value is not None)},
    optional={
        "sp": ADDRESSES, "exact": st.booleans(), "module": st.integers(0, 3), "function": WORDS,
        "function_offset": st.integers(0, 99), "file": WORDS, "line": st.integers(0, 99),
    },
)  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program and debug files of DLLs, by every name that a report may give them."""
    folder = tmp_path_factory.mktemp("symbols")
    for path in BUNDLED.rglob("*"):
        if path.is_file() and path.stat().st_size < 1 << 20:
            shutil.copy(path, folder / path.name)
    return str(folder)


@settings(max_examples=examples(150))
@given(
    modules=st.lists(MODULES, max_size=4),
    frames=st.lists(FRAMES, max_size=12),
    lines=st.booleans(),
)
def test_any_report(
    files: str, modules: list[dict[str, object]], frames: list[dict[str, object]], lines: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    for index, module in enumerate(modules):
        module["index"] = index
    for index, frame in enumerate(frames):
        frame.update(index=index, trust="cfi", segment=0)
        if frame.get("module", 0) not in range(len(modules)):
            frame.pop("module", None)
    document = {
        "schema": "unspool.report/1",
        "target": {"kind": "core", "arch": "x86_64", "os": "linux"},
        "modules": modules,
        "threads": [{
            "index": 0, "tid": 1, "crashed": True, "segments": [{"kind": "unix"}],
            "stop": {"reason": "root"}, "frames": frames,
        }],
    }  # fmt: skip
    try:
        report = loads(json.dumps(document))
    except InputError:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        named, missing = api.symbolicate(report, symbols=[files], lines=lines)
    assert len(missing) <= 2 * len(modules)
    again = loads(dumps(named))
    assert [stack.frames for stack in again.stacks] == [stack.frames for stack in report.stacks]
    # What it said is still there, or something better.
    for pc, location in report.locations.items():
        if location.function is not None:
            assert named.locations[pc].function is not None
