"""Recorded cores of Wasmtime hosts with their memory falsified: frame records, code images.

Whatever it is that memory claims, each stack ends with a reason and the others are as they were.
"""

from __future__ import annotations

import lzma
import random
import struct
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import unspool
from tests.programs.wasm_hosts import LIBRARY
from unspool.model import Report, Stack, StopReason

from .reduce.core_file import CoreFile, Segment

HERE = Path(__file__).parent / "wasm"
NAMES = ("wasmtime-50-x86_64-levels", "wasmtime-50-aarch64-levels")
PT_GNU_EH_FRAME = 0x6474E550
GUESSES = ("scan", "frame_pointer")
LONGEST = 200  # frames of any stack here, falsified or not; the longest true one has 49


@dataclass(frozen=True)
class Case:
    """A core as bytes, where its memory is in them, and its stacks as they are."""

    data: bytes
    segments: list[Segment]
    report: Report

    def place(self, address: int) -> int:
        for each in self.segments:
            if each.address <= address < each.address + each.held:
                return each.offset + address - each.address
        raise AssertionError(hex(address))

    def word(self, address: int) -> int:
        (value,) = struct.unpack_from("<Q", self.data, self.place(address))
        return int(value)

    @property
    def crashed(self) -> Stack:
        return next(stack for stack in self.report.stacks if stack.crashed)

    def records(self, stack: Stack) -> list[tuple[int, int]]:
        """Of each Wasm frame but the activation's last (number of the frame, its frame record)."""
        found = []
        for number, (frame, older) in enumerate(zip(stack.frames, stack.frames[1:], strict=False)):
            is_wasm = stack.segments[frame.segment].kind == "wasm"
            if is_wasm and frame.segment == older.segment:
                assert older.sp is not None
                found.append((number, older.sp - 16))
        return found

    def walk(self, path: Path, changes: dict[int, bytes]) -> Report:
        """The stacks of the core with other bytes at some addresses."""
        data = bytearray(self.data)
        for address, new in changes.items():
            at = self.place(address)
            data[at : at + len(new)] = new
        path.write_bytes(data)
        with unspool.open(str(path)) as target:
            return unspool.unwind(target)


_CASES: dict[str, Case] = {}


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return case_of(request.param, tmp_path)


def case_of(name: str, folder: Path) -> Case:
    if name not in _CASES:
        data = lzma.decompress((HERE / f"{name}.core.xz").read_bytes())
        path = folder / "core"
        path.write_bytes(data)
        with unspool.open(str(path)) as target:
            report = unspool.unwind(target)
        _CASES[name] = Case(data, CoreFile(path).segments, report)
    return _CASES[name]


def frames(stack: Stack) -> list[tuple[int, int | None]]:
    return [(frame.pc, frame.sp) for frame in stack.frames]


def check_others(case: Case, report: Report) -> Stack:
    """All threads but the crashed one are as before; that one is given back."""
    for mine, theirs in zip(report.stacks, case.report.stacks, strict=True):
        if not theirs.crashed:
            assert (frames(mine), mine.stop.reason) == (frames(theirs), theirs.stop.reason)
        assert mine.stop.reason == StopReason.ROOT or mine.stop.detail
        assert len(mine.frames) <= LONGEST
    return next(stack for stack in report.stacks if stack.crashed)


def check_not_whole(stack: Stack, case: Case, number: int) -> None:
    """The frames up to the falsified one are right, and nobody says that these are all.

    What comes after them is right as well, as far as it is not said to be a guess.
    """
    true = frames(case.crashed)
    assert frames(stack)[: number + 1] == true[: number + 1]
    assert stack.stop.reason != StopReason.ROOT or stack.gaps, stack.stop
    later = [frame for frame in stack.frames[number + 1 :] if frame.trust not in GUESSES]
    assert {(frame.pc, frame.sp) for frame in later} <= {*true, *_falsified(case, number, stack)}


def _falsified(case: Case, number: int, stack: Stack) -> list[tuple[int, int | None]]:
    """The next frame, which the falsified record itself names: its pc or its place may be off."""
    return [(frame.pc, frame.sp) for frame in stack.frames[number + 1 : number + 2]]


LIES = {
    "itself": lambda fp, stack: fp,
    "a newer frame": lambda fp, stack: fp - 0x40,
    "unaligned": lambda fp, stack: fp + 0x48,
    "odd": lambda fp, stack: fp + 0x41,
    "null": lambda fp, stack: 0,
    "all ones": lambda fp, stack: (1 << 64) - 1,
    "not canonical": lambda fp, stack: 0x1234_5678_9ABC_DEF0,
    "above the stack": lambda fp, stack: stack.segments[0].high + 0x1000,
    "the stack's last bytes": lambda fp, stack: stack.segments[0].high - 8,
    "nothing that is mapped": lambda fp, stack: 0x10,
}


@pytest.mark.parametrize("lie", LIES)
def test_frame_pointers_that_lie(case: Case, lie: str, tmp_path: Path) -> None:
    records = case.records(case.crashed)
    assert len(records) >= 9
    for number, fp in records[::4]:
        value = LIES[lie](fp, case.crashed)
        report = case.walk(tmp_path / "core", {fp: value.to_bytes(8, "little")})
        stack = check_others(case, report)
        check_not_whole(stack, case, number)


@pytest.mark.parametrize("what", ["a native function", "data", "null", "the middle of nowhere"])
def test_return_addresses_that_lie(case: Case, what: str, tmp_path: Path) -> None:
    value = {
        "a native function": case.crashed.frames[2].pc + 1,
        "data": case.crashed.frames[0].sp or 0,
        "null": 0,
        "the middle of nowhere": 0x5555_0000_0000,
    }[what]
    for number, fp in case.records(case.crashed)[::4]:
        report = case.walk(tmp_path / "core", {fp + 8: value.to_bytes(8, "little")})
        stack = check_others(case, report)
        check_not_whole(stack, case, number)


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 1 << 32))
def test_overwritten_stacks(name: str, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("overwritten")
    case, chance = case_of(name, folder), random.Random(seed)
    low, high = case.crashed.frames[0].sp or 0, case.crashed.frames[-2].sp or 0
    changes = {}
    pointers = [word for _, fp in case.records(case.crashed) for word in (fp, case.word(fp + 8))]
    for _ in range(chance.randrange(1, 40)):
        at = chance.randrange(low, high) & ~7
        word = chance.choice([chance.getrandbits(64), chance.choice(pointers), at - 16, at + 32, 0])
        changes[at] = (word & (1 << 64) - 1).to_bytes(8, "little")
    check_others(case, case.walk(folder / "core", changes))


def images(case: Case) -> list[int]:
    return [module.base for module in case.report.modules if module.kind == "wasm"]


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 1 << 32))
def test_code_images_that_lie(
    name: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Header, sections, symbols, names and maps of the images: native threads do not care."""
    folder = tmp_path_factory.mktemp("images")
    case, chance = case_of(name, folder), random.Random(seed)
    changes = {}
    for base in images(case):
        module = next(each for each in case.report.modules if each.base == base)
        table = base + case.word(base + 40)
        count = struct.unpack_from("<H", case.data, case.place(base + 60))[0]
        for _ in range(chance.randrange(0, 12)):
            at = chance.choice(
                [
                    base + chance.randrange(64),
                    table + chance.randrange(64 * count),
                    chance.randrange(base, module.end),
                ]
            )
            changes[at] = bytes([chance.choice([0, 1, 0x7F, 0xFF, chance.randrange(256)])])
    report = case.walk(folder / "core", changes)
    plain = {each.index for each in case.report.stacks if is_native(each)}
    assert plain
    for mine, theirs in zip(report.stacks, case.report.stacks, strict=True):
        if theirs.index in plain:
            assert frames(mine) == frames(theirs)
        assert len(mine.frames) <= LONGEST
        assert mine.stop.reason == StopReason.ROOT or mine.stop.detail


def is_native(stack: Stack) -> bool:
    return all(segment.kind == "unix" for segment in stack.segments)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (40, (1 << 63).to_bytes(8, "little")),  # e_shoff
        (40, (1 << 64) - 1),
        (58, 0xFFFF), (60, 0xFFFF), (62, 0xFFFF),  # e_shentsize, e_shnum, e_shstrndx
        (18, 0x0101), (4, 1), (5, 2), (7, 0),  # machine, class, byte order, operating system
    ],
)  # fmt: skip
def test_headers_of_images_that_lie(
    case: Case, offset: int, value: int | bytes, tmp_path: Path
) -> None:
    """Then the images are none: what is left is guessed, and said to be."""
    size = 8 if offset == 40 else 2 if offset >= 16 else 1
    new = value if isinstance(value, bytes) else value.to_bytes(size, "little")
    report = case.walk(tmp_path / "core", {base + offset: new for base in images(case)})
    for mine, theirs in zip(report.stacks, case.report.stacks, strict=True):
        if is_native(theirs):
            assert frames(mine) == frames(theirs)
            continue
        # Up to the first frame of Wasm code.
        first = next(i for i, f in enumerate(theirs.frames) if not native(theirs, i))
        assert frames(mine)[:first] == frames(theirs)[:first]
        known = dict(frames(theirs))
        for frame in mine.frames:
            assert frame.pc in known or frame.trust in GUESSES, frame
        assert len(mine.frames) <= LONGEST


def native(stack: Stack, number: int) -> bool:
    return stack.segments[stack.frames[number].segment].kind == "unix"


@pytest.mark.parametrize("name", [*NAMES, *(f"wasmtime-{n}-x86_64-levels" for n in (36, 24, 20))])
def test_a_runtime_without_unwind_tables(name: str, tmp_path: Path) -> None:
    """What is not said to be a guess is right, and no Wasm frame that is shown was made up."""
    case = case_of(name, tmp_path)
    base = next(m.base for m in case.report.modules if m.name == LIBRARY)
    (count,) = struct.unpack_from("<H", case.data, case.place(base + 56))
    headers = [base + 64 + 56 * index for index in range(count)]
    table = [at for at in headers if case.word(at) & 0xFFFF_FFFF == PT_GNU_EH_FRAME]
    assert table
    report = case.walk(tmp_path / "core", {at: bytes(4) for at in table})
    for mine, theirs in zip(report.stacks, case.report.stacks, strict=True):
        true = set(frames(theirs))
        known = [frame for frame in mine.frames if frame.trust not in GUESSES]
        assert {(frame.pc, frame.sp) for frame in known} <= true
        assert mine.stop.reason == StopReason.ROOT or mine.stop.detail
        assert len(mine.frames) <= LONGEST
