"""Exception chains of made-up processes: every rule, and what hostile memory may hold."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import unspool
from tests.build.minidump import Minidump
from tests.build.pe import Image
from tests.build.seh import (
    BASE,
    DATA,
    END,
    FINAL,
    GOOD,
    LIMIT,
    NO_SEH,
    OTHER,
    PROGRAM,
    TEB,
    SehProcess,
    load_config,
    safe_image,
)
from unspool.analyses import seh as package
from unspool.analyses.seh import seh
from unspool.analyses.seh.records import BAD, Chain, Check, End, Seh, Verdict

FIRST, LAST = LIMIT + 0x200, BASE - 0x20
HEAP = 0x14_0000


def answer(process: SehProcess, folder: Path, **how: bool) -> Seh:
    path = folder / "a.dmp"
    path.write_bytes(process.dump(**how))
    with unspool.open(str(path)) as target:
        return seh(target, unspool.unwind(target))


def chain_of(process: SehProcess, folder: Path, **how: bool) -> Chain:
    (chain,) = answer(process, folder, **how).chains
    return chain


def verdicts(chain: Chain) -> dict[str, str]:
    return {each.system: each.verdict for each in chain.judgements}


def same(verdict: str) -> dict[str, str]:
    return dict.fromkeys(("server_2003", "vista", "sehop"), verdict)


ACCEPTED, REFUSED = same(Verdict.ACCEPTED), same(Verdict.REFUSED)


def test_a_good_chain(tmp_path: Path) -> None:
    process = SehProcess()
    process.chain([(FIRST, GOOD), (LAST, FINAL)])
    found = answer(process, tmp_path)
    (chain,) = found.chains
    assert (chain.teb, chain.head, chain.end) == (TEB, FIRST, End.MARKER)
    assert (chain.stack_limit, chain.stack_base) == (LIMIT, BASE)
    first, last = chain.records
    assert (first.address, first.next, first.handler) == (FIRST, LAST, GOOD)
    assert (last.address, last.next, last.handler) == (LAST, END, FINAL)
    assert all(all(each.checks.values()) for each in chain.records)
    assert [each.table for each in chain.records] == ["listed", "no_table"]
    assert not first.faults
    assert first.overwritten is None
    assert verdicts(chain) == ACCEPTED
    location = found.report.locations[FINAL]
    assert (location.function, location.function_offset) == ("FinalExceptionHandlerPad12", 0)
    assert found.complete
    assert not [each for each in found.report.findings if each.kind.startswith("seh")]


def test_an_empty_chain(tmp_path: Path) -> None:
    chain = chain_of(SehProcess(), tmp_path)
    assert (chain.records, chain.end) == ([], End.MARKER)
    assert verdicts(chain) == ACCEPTED


@pytest.mark.parametrize(
    ("address", "wrong", "verdict"),
    [
        (LIMIT, None, ACCEPTED),
        (BASE - 12, None, ACCEPTED),
        (BASE - 4, Check.BELOW_STACK_BASE, REFUSED),
        (BASE, Check.BELOW_STACK_BASE, REFUSED),
        (FIRST + 2, Check.ALIGNED, REFUSED),
        (LIMIT - 8, Check.ABOVE_STACK_LIMIT, REFUSED | {"vista": Verdict.ACCEPTED}),
        (LIMIT - 4, Check.ABOVE_STACK_LIMIT, REFUSED | {"vista": Verdict.ACCEPTED}),
    ],
)
def test_where_a_record_may_lie(
    address: int, wrong: str | None, verdict: dict[str, str], tmp_path: Path
) -> None:
    process = SehProcess()
    data = struct.pack("<II", LAST, GOOD)
    if address == BASE - 12:
        process.record(address, END, FINAL)
    elif LIMIT <= address <= BASE - 8:
        process.write(address, data)
    elif address < LIMIT:
        process.others.append((LIMIT - 0x100, (bytes(address - LIMIT + 0x100) + data)[:0x100]))
        process.write(LIMIT, data[LIMIT - address :])
    else:
        process.write(address, data[: BASE - address])
        process.others.append((BASE, data[BASE - address :].ljust(16, b"\0")))
    process.record(LAST, END, FINAL)
    process.head = address
    chain = chain_of(process, tmp_path)
    record = chain.records[0]
    assert [name for name, value in record.checks.items() if not value] == [wrong] * bool(wrong)
    assert verdicts(chain) == verdict
    assert bool(record.faults) == bool(wrong)


def test_a_record_that_was_left_behind(tmp_path: Path) -> None:
    process = SehProcess()
    process.sp = FIRST + 8
    process.chain([(FIRST, GOOD), (FIRST + 8, GOOD), (LAST, FINAL)])
    left, *others = chain_of(process, tmp_path).records
    assert left.frame is None
    assert left.place.startswith("below the stack pointer")
    assert not any(each.place.startswith("below") for each in others)


@pytest.mark.parametrize("members", [[FIRST], [FIRST, FIRST - 8], [FIRST, LAST - 8]])
def test_a_circle_is_followed_once(members: list[int], tmp_path: Path) -> None:
    process = SehProcess()
    for at, following in zip(members, [*members[1:], FIRST], strict=True):
        process.record(at, following, GOOD)
    process.head = FIRST
    found = answer(process, tmp_path)
    (chain,) = found.chains
    assert (chain.end, found.complete) == (End.CIRCLE, True)
    assert [each.address for each in chain.records] == [*members, FIRST]
    assert chain.records[-1].faults[-1] == "it is record 0 again: the chain has no end"
    assert verdicts(chain) == same(Verdict.ENDLESS)
    assert [each.kind for each in found.own_findings] == ["seh_chain_broken"]


def test_a_chain_that_leads_down_is_searched_but_not_unwound(tmp_path: Path) -> None:
    """As Wine does it: it calls the handler of the lower record, and RtlUnwind refuses it."""
    process = SehProcess()
    process.record(FIRST, FIRST - 8, GOOD)
    process.record(FIRST - 8, LAST, GOOD)
    process.record(LAST, END, FINAL)
    process.head = FIRST
    found = answer(process, tmp_path)
    (chain,) = found.chains
    assert chain.end == End.MARKER
    assert [each.address for each in chain.records] == [FIRST, FIRST - 8, LAST]
    assert [each.checks[Check.ASCENDING] for each in chain.records] == [True, False, True]
    assert verdicts(chain) == same(Verdict.NOT_UNWOUND)
    assert [each.record for each in chain.judgements] == [1, 1, 1]
    assert [each.kind for each in found.own_findings] == ["seh_chain_broken"]


@pytest.mark.parametrize(
    ("handler", "wrong", "accepts"),
    [
        (OTHER, {Check.HANDLER_ALLOWED}, {"sehop"}),
        (DATA, {Check.HANDLER_ALLOWED, Check.HANDLER_EXECUTABLE}, {"sehop"}),
        (LIMIT, {Check.HANDLER_NOT_IN_STACK, Check.HANDLER_IN_IMAGE}, set()),
        (BASE - 1, {Check.HANDLER_NOT_IN_STACK, Check.HANDLER_IN_IMAGE}, set()),
        (HEAP, {Check.HANDLER_IN_IMAGE}, {"server_2003", "sehop"}),
        (0, {Check.HANDLER_IN_IMAGE}, {"server_2003", "sehop"}),
    ],
)
def test_what_may_be_a_handler(
    handler: int, wrong: set[str], accepts: set[str], tmp_path: Path
) -> None:
    process = SehProcess()
    process.chain([(FIRST, handler), (LAST, FINAL)])
    chain = chain_of(process, tmp_path)
    checks = chain.records[0].checks
    found = {name for name, value in checks.items() if value is False}
    # What is executable where nobody says so is not known, or by the stack's own mapping.
    assert found - {Check.HANDLER_EXECUTABLE} == wrong - {Check.HANDLER_EXECUTABLE}
    assert Check.HANDLER_EXECUTABLE in found or Check.HANDLER_EXECUTABLE not in wrong
    assert {name for name, verdict in verdicts(chain).items() if verdict == "accepted"} == accepts
    assert chain.end == End.MARKER
    assert len(chain.records) == 2


@pytest.mark.parametrize(
    ("made", "table", "allowed"),
    [
        (safe_image([OTHER - PROGRAM, GOOD - PROGRAM]), "listed", True),
        (safe_image([OTHER - PROGRAM]), "not_listed", False),
        (safe_image(directory=None), "no_table", True),
        (safe_image([]), "no_table", True),
        (safe_image(config=load_config(PROGRAM + 0x2100, 1, size=0x40)), "no_table", True),
        (safe_image(config=load_config(0, 5)), "no_table", True),
        (safe_image(config=load_config(PROGRAM + 0x2100, 1 << 20)), "unknown", None),
        (safe_image(config=load_config(0x10, 1)), "unknown", None),
        (safe_image(config=load_config(PROGRAM + 0x2100, 0xFFFF)), "unknown", None),
        (safe_image(directory=(0x7000_0000, 64)), "unknown", None),
        (safe_image(DllCharacteristics=NO_SEH), "no_seh", False),
        (safe_image(directory=None, managed=1), "il_only", False),
        (safe_image(directory=None, managed=2), "no_table", True),
        (safe_image(Machine=0x1C4), "not_x86", False),
    ],
)
def test_what_an_image_says(made: Image, table: str, allowed: bool | None, tmp_path: Path) -> None:
    process = SehProcess(made)
    process.chain([(FIRST, GOOD), (LAST, FINAL)])
    found = answer(process, tmp_path)
    (chain,) = found.chains
    assert chain.records[0].table == table
    assert chain.records[0].checks[Check.HANDLER_ALLOWED] is allowed
    words = {True: Verdict.ACCEPTED, False: Verdict.REFUSED, None: Verdict.UNKNOWN}
    assert verdicts(chain)["vista"] == words[allowed]
    assert found.complete is (allowed is not None)


def test_the_address_of_a_table_is_by_the_images_base(tmp_path: Path) -> None:
    """In memory that is where it lies; in a file, of which nothing is relocated, the preferred."""
    for base in (PROGRAM, 0x1000_0000):
        process = SehProcess(safe_image(base=base))
        process.chain([(FIRST, GOOD), (LAST, FINAL)])
        assert chain_of(process, tmp_path).records[0].table == "listed"


def test_an_image_that_is_not_held(tmp_path: Path) -> None:
    process = SehProcess()
    process.chain([(FIRST, GOOD), (LAST, FINAL)])
    found = answer(process, tmp_path, without_image=True)
    (chain,) = found.chains
    assert chain.records[0].checks[Check.HANDLER_IN_IMAGE] is True
    assert chain.records[0].checks[Check.HANDLER_ALLOWED] is None
    assert verdicts(chain)["server_2003"] == Verdict.UNKNOWN
    assert not found.complete
    assert any(each.kind == "seh_unknown" for each in found.report.findings)


def test_the_last_handler(tmp_path: Path) -> None:
    process = SehProcess()
    process.chain([(FIRST, GOOD)])
    found = answer(process, tmp_path)
    assert verdicts(found.chains[0]) == ACCEPTED | {"sehop": Verdict.REFUSED}
    assert [each.kind for each in found.report.findings] == ["seh_last_handler"]
    old = SehProcess(final="_except_handler4")
    old.chain([(FIRST, GOOD), (LAST, FINAL)])
    assert verdicts(chain_of(old, tmp_path)) == ACCEPTED | {"sehop": Verdict.UNKNOWN}


def test_the_text_that_overwrote_a_record(tmp_path: Path) -> None:
    process = SehProcess()
    process.chain([(FIRST, GOOD), (LAST, FINAL)])
    text = b"GET /a/path/that/is/too/long HTTP/1.1"
    process.write(FIRST - 12, text)
    found = answer(process, tmp_path)
    (chain,) = found.chains
    bad, beyond = chain.records
    assert chain.end == End.BROKEN
    assert bad.next == int.from_bytes(text[12:16], "little") == beyond.address
    shown = bad.overwritten
    assert shown is not None
    assert shown.text == (FIRST - 12, text)
    assert shown.start == FIRST - 16
    assert shown.data[4:16] + shown.data[16:41] == text
    kinds = {word.address: (word.kind, word.words) for word in shown.words}
    assert kinds[FIRST] == ("text", text[12:16].decode())
    assert kinds[FIRST - 16] == ("zero", "")
    assert beyond.overwritten is None
    assert [each.kind for each in found.report.findings] == ["seh_handler"]


def test_words_that_are_pointers(tmp_path: Path) -> None:
    process = SehProcess()
    process.chain([(FIRST, OTHER), (LAST, FINAL)])
    process.write(FIRST + 8, struct.pack("<5I", GOOD, LAST, END, 7, HEAP))
    process.others.append((HEAP, bytes(16)))
    shown = chain_of(process, tmp_path).records[0].overwritten
    assert shown is not None
    kinds = [(word.kind, word.words) for word in shown.words if word.address >= FIRST]
    assert kinds == [
        ("pointer", "this stack"), ("pointer", "program.exe+0x1020"),
        ("pointer", "program.exe+0x1010"), ("pointer", "this stack"), ("marker", ""),
        ("value", ""), ("pointer", "mapped memory"), ("zero", ""),
    ]  # fmt: skip
    assert shown.text is None


def test_memory_that_is_not_held_is_not_known(tmp_path: Path) -> None:
    process = SehProcess()
    process.chain([(FIRST, GOOD)], end=LIMIT - 0x1000)
    process.head = LIMIT - 0x1000
    found = answer(process, tmp_path)
    (chain,) = found.chains
    assert chain.end == End.NOT_HELD
    assert chain.records[0].checks[Check.READABLE] is None
    assert verdicts(chain) == REFUSED | {"vista": Verdict.UNKNOWN}
    assert not found.complete


def test_without_a_teb(tmp_path: Path) -> None:
    found = answer(SehProcess(), tmp_path, without_teb=True)
    (chain,) = found.chains
    assert chain.head is None
    assert chain.incomplete
    assert chain.verdict is None
    assert chain.teb == TEB
    assert not found.complete
    process = SehProcess()
    process.teb = bytes(0x1000)
    assert "contradicts itself" in chain_of(process, tmp_path).missing


@pytest.mark.parametrize("how", ["first word", "offset", "neither", "not held"])
def test_a_32_bit_program_in_64_bit_windows(how: str, tmp_path: Path) -> None:
    """The list has the 64-bit TEB, whose first word, or an offset in it, leads to the other."""
    teb64, code = 0x7EF_0000, 0x7700_0000
    process = SehProcess()
    process.chain([(FIRST, GOOD), (LAST, FINAL)])
    made = Minidump("amd64", "windows")
    made.thread(1, {"rip": code + 8, "rsp": 0x8_F000}, (0x8_F000, bytes(64)), Teb=teb64)
    made.module(PROGRAM, process.program.size_of_image, "C:\\program.exe")
    made.module(code, 0x1000, "C:\\Windows\\System32\\wow64cpu.dll")
    made.memory(PROGRAM, process.program.memory())
    made.memory(LIMIT, bytes(process.stack))
    made.memory(TEB, process.teb_bytes())
    teb = bytearray(0x1838)
    struct.pack_into("<QQQ", teb, 0, TEB if how == "first word" else 0, 0x9_0000, 0x8_0000)
    struct.pack_into("<Q", teb, 0x30, teb64)
    struct.pack_into("<Q", teb, 0x60, teb64 + 0x3000)
    if how == "offset":
        near = teb64 + 0x2000
        struct.pack_into("<i", teb, 0x180C, 0x2000)
        tib = struct.pack("<III12xI", FIRST, BASE, LIMIT, near)
        made.memory(near, tib.ljust(0x1000, b"\0"))
    if how != "not held":
        made.memory(teb64, bytes(teb))
    path = tmp_path / "a.dmp"
    path.write_bytes(made.build())
    with unspool.open(str(path)) as target:
        found = seh(target, unspool.unwind(target))
    (chain,) = found.chains
    if how in ("neither", "not held"):
        assert (chain.head, chain.incomplete) == (None, how == "not held")
        return
    assert [each.address for each in chain.records] == [FIRST, LAST]
    assert chain.records[0].table == "listed"
    assert chain.records[0].place == "no frame on this stack was found"


def test_too_many_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = SehProcess()
    process.chain([(FIRST + 16 * index, GOOD) for index in range(100)] + [(LAST, FINAL)])
    assert len(chain_of(process, tmp_path).records) == 101
    monkeypatch.setattr(package, "MAX_RECORDS", 50)
    found = answer(process, tmp_path)
    assert (len(found.chains[0].records), found.chains[0].end) == (50, End.LIMIT)
    assert not found.complete
    assert verdicts(found.chains[0]) == same(Verdict.UNKNOWN)

    monkeypatch.setattr(package, "MAX_ALL_RECORDS", 0)
    found = answer(process, tmp_path)
    assert (found.chains[0].records, found.chains[0].end) == ([], End.LIMIT)
    assert verdicts(found.chains[0]) == same(Verdict.UNKNOWN)


words = st.one_of(
    st.integers(0, 0xFFFFFFFF),
    st.integers(LIMIT // 4 - 4, BASE // 4 + 4).map(lambda value: 4 * value),
    st.sampled_from([END, 0, GOOD, OTHER, FINAL, DATA, 0x41414141, LIMIT, BASE]),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(head=words, records=st.lists(st.tuples(words, words, words), max_size=12))
def test_whatever_the_stack_holds(
    head: int, records: list[tuple[int, int, int]], tmp_path: Path
) -> None:
    process = SehProcess()
    process.head = head
    for address, following, handler in records:
        if LIMIT <= address <= BASE - 8:
            process.record(address, following, handler)
    chain = chain_of(process, tmp_path)
    places = [each.address for each in chain.records]
    # No record is followed twice.
    assert len(set(places[:-1])) == len(places[:-1])
    assert (chain.end == End.CIRCLE) == (len(set(places)) < len(places))
    assert (chain.end == End.MARKER) == (not places or chain.records[-1].next == END)
    for record in chain.records:
        # Some system refuses a record exactly if something is said to be wrong with it.
        assert bool(record.faults) == (False in record.checks.values())
    if any(each.faults for each in chain.records):
        assert chain.verdict in BAD
