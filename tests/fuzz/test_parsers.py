"""Each parser by itself on broken input: a value or a `FormatError`, and soon."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.build import cfi
from tests.conftest import examples
from tests.fuzz.harness import within
from tests.fuzz.mutants import Mutant, patched, rearranged
from tests.fuzz.seeds import ARCHES, busy_program, seed
from tests.fuzz.test_mutated_programs import places, program
from unspool import arch as architectures
from unspool.errors import FormatError
from unspool.formats import elf, notes
from unspool.formats.cfi import CfiSection, EhFrameHdr
from unspool.formats.cfi_row import row_at
from unspool.memory import Fault, Memory, Region
from unspool.symbols.elf.symbols import ElfSymbols
from unspool.targets.link_map import program_bias, read_link_map

SECONDS = 5
names = st.sampled_from(ARCHES)


# --- ELF ------------------------------------------------------------------------------


def read_elf(data: bytes) -> None:
    with suppress(FormatError):
        file = elf.Elf(data)
        file.segment_count()
        for header in file.program_headers():
            assert header.offset >= 0
        for section in file.sections():
            with suppress(FormatError):
                buffer, start, end = file.section_data(section)
                assert 0 <= start <= end <= len(buffer)
        for note in file.notes():
            assert note.offset + note.size <= len(data)
        assert (file.build_id() or "0").isalnum()
        file.debug_link()
        file.load_bias(0x5555_0000)


@settings(max_examples=examples(200), suppress_health_check=list(HealthCheck))
@given(patched(program, st.tuples(names), places) | rearranged(program, st.tuples(names), places))
def test_elf(file: Mutant) -> None:
    with within(SECONDS):
        read_elf(file.build())


@given(st.binary(max_size=300), st.sampled_from([1, 2]))
def test_elf_of_random_bytes(rest: bytes, elf_class: int) -> None:
    with within(SECONDS):
        read_elf(b"\x7fELF" + bytes([elf_class, 1, 1]) + bytes(9) + rest)


@settings(max_examples=examples(150), suppress_health_check=list(HealthCheck))
@given(patched(program, st.tuples(names), places), st.lists(st.integers(0, 1 << 40), max_size=5))
def test_symbol_tables(file: Mutant, probes: list[int]) -> None:
    with within(SECONDS):
        try:
            image = elf.Elf(file.build())
        except FormatError:
            return
        symbols = ElfSymbols(image)
        for probe in [*range(0x1000, 0x1500, 0x33), *probes]:
            found = symbols.lookup(probe)
            assert found is None or found.start <= probe


# --- CFI ------------------------------------------------------------------------------


def frames_of(arch: str) -> bytes:
    """Many CIEs and FDEs of every sort: .eh_frame, then a search table."""
    made = busy_program(arch).frames()
    for version in (1, 3, 4):
        for augmentation in ("", "z", "zPLR", "zRS", "eh"):
            cie = made.cie(
                version=version, augmentation=augmentation, personality=(cfi.SDATA4, 5),
                initial=cfi.def_cfa(7, 8) + cfi.offset(16, 1),
            )  # fmt: skip
            for i in range(3):
                start = 0x4000 + 0x100 * (i + 3 * version)
                code = cfi.advance_loc(9) + cfi.remember_state() + cfi.def_cfa_expression(b"\x77\0")
                made.fde(cie, start, 0x80, code + cfi.restore_state(), lsda=3)
    return made.build()


def frame_places(data: bytes) -> list[range]:
    return [range(len(data)), range(0x30), range(0x30, 0xC0)]


def read_frames(data: bytes, is_eh: bool, size: int) -> None:
    section = CfiSection(data, 0, len(data), 0x3000, is_eh=is_eh, address_size=size)
    for offset in range(0, len(data), 4):
        with suppress(FormatError):
            fde = section.fde_at(offset)
            if fde is not None:
                assert fde.start < 1 << 64
                for probe in (fde.start, fde.start + 9, fde.end - 1):
                    with suppress(FormatError):
                        row_at(section, fde, probe)
    for probe in (0, 0x1000, 0x4000, 0x4444, 1 << 63):
        with suppress(FormatError):
            found = section.find(probe)
            assert found is None or found.start <= probe < found.end


frame_mutants = st.one_of(
    patched(frames_of, st.tuples(names), frame_places),
    rearranged(frames_of, st.tuples(names), frame_places),
)


@settings(max_examples=examples(200), suppress_health_check=list(HealthCheck))
@given(frame_mutants, st.booleans(), st.sampled_from([4, 8]))
def test_frames(frames: Mutant, is_eh: bool, size: int) -> None:
    with within(SECONDS):
        read_frames(frames.build(), is_eh, size)


@given(st.binary(max_size=200), st.booleans(), st.sampled_from([4, 8]))
def test_frames_of_random_bytes(data: bytes, is_eh: bool, size: int) -> None:
    with within(SECONDS):
        read_frames(data, is_eh, size)


def table_of(arch: str) -> bytes:
    return cfi.eh_frame_header(busy_program(arch).frames(), 0x2000)


@settings(max_examples=examples(200), suppress_health_check=list(HealthCheck))
@given(
    patched(table_of, st.tuples(names), lambda data: [range(len(data)), range(12)]),
    st.integers(0, 1 << 64),
)
def test_search_tables(table: Mutant, probe: int) -> None:
    data = table.build()
    with within(SECONDS), suppress(FormatError):
        hdr = EhFrameHdr(data, 0, len(data), 0x2000, 8)
        for address in (0, 0x1000, 0x1234, probe):
            at = hdr.find(address)
            assert at is None or isinstance(at, int)


# --- notes ----------------------------------------------------------------------------


def notes_of(arch: str) -> bytes:
    data = seed(arch)
    [header] = [h for h in elf.Elf(data).program_headers() if h.type == elf.PT_NOTE]
    return data[header.offset : header.offset + header.filesz]


@settings(max_examples=examples(200), suppress_health_check=list(HealthCheck))
@given(
    st.one_of(
        patched(notes_of, st.tuples(names), lambda data: [range(len(data))]),
        rearranged(notes_of, st.tuples(names), lambda data: [range(len(data))]),
    ),
    st.sampled_from([(62, 2), (3, 1), (183, 2)]),
    st.sampled_from([4, 8, 0, 3]),
)
def test_notes(raw: Mutant, machine: tuple[int, int], align: int) -> None:
    arch = architectures.by_machine(*machine)
    assert arch is not None
    data = raw.build()
    with within(SECONDS):
        for note in elf.iter_notes(data, 0, len(data), align):
            content = data[note.offset : note.offset + note.size]
            assert len(content) == note.size
            notes.parse_prstatus(arch, content)
            notes.parse_prpsinfo(arch, content)
            notes.parse_siginfo(arch, content)
            notes.parse_auxv(arch, content)
            notes.parse_file_note(arch, content)


# --- the link map ---------------------------------------------------------------------


@given(
    st.binary(max_size=600),
    st.integers(0, 600),
    st.one_of(st.integers(0, 20), st.sampled_from([1000, 1 << 32, (1 << 64) - 1])),
    st.sampled_from([4, 8]),
    st.lists(st.tuples(st.integers(0, 590), st.integers(0, 590)), max_size=20),
)
def test_link_maps(
    data: bytes, phdr: int, count: int, word: int, pointers: list[tuple[int, int]]
) -> None:
    """Random memory at a low address, with pointers into itself."""
    held = bytearray(data.ljust(600, b"\0"))
    held[64:72] = (2).to_bytes(4, "little") + (4).to_bytes(4, "little")  # PT_DYNAMIC
    for at, value in pointers:
        held[at : at + word] = (0x1000 + value).to_bytes(word, "little")
    content = bytes(held)
    memory = Memory([Region(0x1000, 0x1000 + len(content), lambda: (content, 0, len(content)))])
    with within(SECONDS), suppress(Fault):
        program_bias(memory, 0x1000 + phdr, count, None)
        for entry in read_link_map(memory, 0x1000 + phdr, count, word, None):
            assert isinstance(entry.name, str)
