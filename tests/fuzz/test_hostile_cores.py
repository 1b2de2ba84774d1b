"""Cores made to take forever, to take all memory, or to make a reader fall over.

Each is examined in a process of its own under limits. What is here was found by reading,
by fuzzing or by accident; every name says what the core does.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.build import cfi
from tests.build import expression as e
from tests.build.core import NT_FILE, NT_PRSTATUS, Core, prstatus
from tests.build.elf import PT_LOAD, PT_NOTE, Elf
from tests.build.notes import note
from tests.build.process import IMAGE_SIZE, MACHINES, Process, Program
from tests.fuzz.harness import examine, examine_apart
from unspool.api import walking
from unspool.model import Report, StopReason

Make = Callable[[], bytes]
CASES: dict[str, Make] = {}


def case(make: Make) -> Make:
    CASES[make.__name__] = make
    return make


def process(**instructions: bytes) -> Process:
    """A process whose functions have the given CFI, with one thread through all of them."""
    made = Process(program=Program(MACHINES["x86_64"], instructions=instructions))
    made.thread(1, ["inner", "middle", "main", "_start"], signal=11)
    return made


def headers(count: int, make: Callable[[int], dict[str, int]], tail: bytes = b"") -> bytes:
    """A core of nothing but program headers with the given fields, and bytes behind them."""
    out = bytearray()
    for i in range(count):
        fields = {"type": PT_LOAD, "flags": 5, "offset": 0, "vaddr": 0, "filesz": 0, "memsz": 0}
        fields |= make(i)
        out += struct.pack(
            "<II6Q", fields["type"], fields["flags"], fields["offset"], fields["vaddr"], 0,
            fields["filesz"], fields["memsz"], 4096,
        )  # fmt: skip
    head = bytearray(Elf(64, kind=4).build())
    head[32:40] = (64).to_bytes(8, "little")
    head[56:58] = min(count, 0xFFFE).to_bytes(2, "little")
    return bytes(head + out) + tail


# --- program headers and memory -------------------------------------------------------


@case
def segments_that_all_cover_everything() -> bytes:
    """Each of 4,000 segments spans 4,000 mapped images."""
    core = Core()
    core.thread(1, {"rip": 0x1000, "rsp": 0x2000})
    core.files([(i << 12, (i + 1) << 12, 0, sys.executable) for i in range(1, 4000)])
    for _ in range(4000):
        core.load(0x1000, b"", memsz=1 << 46, flags="rx")
    return core.build()


@case
def segments_beyond_the_address_space() -> bytes:
    core = Core()
    core.thread(1, {"rip": (1 << 64) - 8, "rsp": (1 << 64) - 16})
    core.load((1 << 64) - 0x1000, bytes(0x1000), memsz=(1 << 64) - 1, flags="rwx")
    core.load((1 << 63), b"abc", memsz=(1 << 64) - 1, filesz=(1 << 64) - 1)
    core.load(0, b"abc", memsz=0, filesz=(1 << 64) - 1, offset=(1 << 64) - 1)
    return core.build()


@case
def a_table_of_headers_that_overlaps_itself() -> bytes:
    """Entries of 56 bytes each, all counted from the same table with a stride of one entry."""
    return headers(5000, lambda i: {"vaddr": 0x1000 * (i // 2), "memsz": 0x1800, "filesz": 0x1800})


@case
def sixty_thousand_images_in_one_place() -> bytes:
    """Every segment shows the same ELF header, with a thousand program headers of its own."""
    inner = Elf(64)
    for _ in range(1100):
        inner.load(b"", address=0, memsz=0x1000)
    image = inner.build()
    count = 60_000
    at = 64 + 56 * count
    return headers(
        count,
        lambda i: {"vaddr": (i + 1) << 20, "offset": at, "filesz": len(image), "memsz": len(image)},
        image,
    )


@case
def sixty_thousand_small_images() -> bytes:
    inner = Elf(64)
    for i in range(8):
        inner.load(b"x", address=i << 12, flags="rx")
    image = inner.build()
    at = 64 + 56 * 60_000
    return headers(
        60_000,
        lambda i: {"vaddr": (i + 1) << 20, "offset": at, "filesz": len(image), "memsz": len(image)},
        image,
    )


@case
def images_at_addresses_that_their_headers_deny() -> bytes:
    """A header at 0x10000 says that it belongs at 0x400000: once an IndexError."""
    inner = Elf(64, kind=2)
    inner.load(b"", address=0x40_0000, offset=0, filesz=0x1000)
    core = Core()
    core.thread(1, {"rip": 0x10800, "rsp": 0x2_0000})
    core.load(0x1_0000, inner.build().ljust(0x1000, b"\0"), flags="rx")
    return core.build()


@case
def an_image_of_no_extent() -> bytes:
    """A module whose end was its start; found by the coverage-guided fuzzer."""
    inner = Elf(64)
    inner.load(b"", address=0, offset=0, filesz=0x1000, memsz=0)
    core = Core()
    core.thread(1, {"rip": 0x10800, "rsp": 0x2_0000})
    core.load(0x1_0000, inner.build().ljust(0x1000, b"\0"), flags="rx")
    return core.build()


@case
def a_core_in_its_own_memory() -> bytes:
    """The core's own header, shown at address 0: a module below zero. Found by the fuzzer."""
    core = Core()
    core.thread(1, {"rip": 0x800, "rsp": 0x900})
    core.load(0x5660_0000, b"x", flags="rx", p_vaddr=0x5660_0000, p_offset=0x1000)
    core.load(0, b"", flags="rx", offset=0, filesz=0x1000, memsz=0x1000)
    return core.build()


@case
def an_image_below_zero() -> bytes:
    inner = Elf(64)
    inner.load(b"", address=0x5660_0000, offset=0, filesz=0x1000, memsz=0x1000)
    inner.load(b"x", address=0x1000)
    core = Core()
    core.thread(1, {"rip": 0x10800, "rsp": 0x2_0000})
    core.load(0x1_0000, inner.build().ljust(0x2000, b"\0"), flags="rx")
    return core.build()


@case
def images_of_absurd_extent() -> bytes:
    inner = Elf(64)
    inner.load(b"x", address=0, memsz=(1 << 64) - 1)
    inner.load(b"x", address=(1 << 64) - 1, memsz=(1 << 64) - 1)
    core = Core()
    core.thread(1, {"rip": 0x10_0800, "rsp": 0x20_0000})
    core.load(0x10_0000, inner.build(), flags="rx")
    core.load(0x20_0000, bytes(64))
    return core.build()


# --- notes ----------------------------------------------------------------------------


@case
def note_segments_that_all_show_the_same_notes() -> bytes:
    """60,000 note segments over the same 1,000 threads claim 60 million threads."""
    notes = note("CORE", NT_PRSTATUS, prstatus("x86_64", 1, {})) * 1000
    count = 60_000
    at = 64 + 56 * count
    return headers(count, lambda i: {"type": PT_NOTE, "offset": at, "filesz": len(notes)}, notes)


@case
def note_segments_that_repeat_a_large_file_list() -> bytes:
    core = Core()
    core.files([(i << 12, (i + 1) << 12, 0, f"/nonexistent/{i}") for i in range(1, 20_000)])
    notes = core.note_bytes()
    at = 64 + 56 * 2000
    return headers(2000, lambda i: {"type": PT_NOTE, "offset": at, "filesz": len(notes)}, notes)


@case
def notes_of_nothing() -> bytes:
    """16 MB of notes without name and content."""
    core = Core()
    core.raw_notes = bytes(16 << 20)
    return core.build()


@case
def a_file_list_of_a_hundred_thousand_lines() -> bytes:
    rows = b"".join(struct.pack("<QQQ", i << 12, (i + 1) << 12, 0) for i in range(1, 100_000))
    core = process().core()
    del core.notes[-1]
    core.note("CORE", NT_FILE, struct.pack("<QQ", 99_999, 4096) + rows + b"/x\0" * 100_000)
    return core.build()


@case
def file_offsets_beyond_all_bounds() -> bytes:
    core = Core()
    core.thread(1, {"rip": 0x401000, "rsp": 0x402000})
    core.files(
        [
            (0x401000, 0x402000, ((1 << 64) - 1) * 4096, "/bin/sh"),
            (0x402000, 1 << 63, 0, "/bin/x"),
        ],
        page_size=(1 << 64) - 1,
    )
    core.load(0x401000, b"", memsz=0x1000, flags="rx")
    return core.build()


@case
def names_that_are_no_files() -> bytes:
    names = [
        "", "/", "/dev/zero", "/dev/stdin", "/proc/self/mem", "/proc/self/fd/0", "..", "\udcff",
        "/" * 5000, "a\nb", "/proc/kmsg", "/proc/self/environ", "\x1b[31m", "/dev/tty",
    ]  # fmt: skip
    core = Core()
    core.thread(1, {"rip": 0x401000, "rsp": 0x402000})
    core.files([((i + 1) << 16, (i + 2) << 16, 0, name) for i, name in enumerate(names)])
    return core.build()


@case
def a_program_of_endless_headers() -> bytes:
    """AT_PHNUM says 2**64 - 1, and there is no NT_FILE to go by instead."""
    core = Core()
    core.thread(1, {"rip": 0x401000, "rsp": 0x402000})
    core.auxv({3: 0x400040, 4: 56, 5: (1 << 64) - 1, 9: 0x401000, 6: 4096, 31: 0x400000})
    core.load(0x400000, bytes(0x3000), flags="rx")
    return core.build()


@case
def a_link_map_that_bites_its_tail() -> bytes:
    dynamic, r_debug, first = 0x400200, 0x400300, 0x400400
    page = bytearray(0x1000)
    page[0x40:0xB0] = struct.pack("<II6Q", 6, 4, 64, 0x40, 0, 112, 112, 8) + struct.pack(
        "<II6Q", 2, 4, 0x200, dynamic - 0x400000, 0, 32, 32, 8
    )
    page[0x200:0x220] = struct.pack("<4Q", 21, r_debug, 0, 0)
    page[0x300:0x310] = struct.pack("<2Q", 1, first)
    page[0x400:0x420] = struct.pack("<4Q", 0, 0x400500, 0, first)
    page[0x500:0x504] = b"/x\0\0"
    core = Core()
    core.thread(1, {"rip": 0x401000, "rsp": 0x402000})
    core.auxv({3: 0x400040, 4: 56, 5: 2, 9: 0x401000, 6: 4096})
    core.load(0x400000, bytes(page), flags="rw")
    return core.build()


@case
def a_link_map_of_ten_thousand_names() -> bytes:
    count = 9_999
    dynamic, r_debug, first = 0x400200, 0x400300, 0x401000
    page = bytearray(0x1000)
    page[0x40:0xB0] = struct.pack("<II6Q", 6, 4, 64, 0x40, 0, 112, 112, 8) + struct.pack(
        "<II6Q", 2, 4, 0x200, dynamic - 0x400000, 0, 32, 32, 8
    )
    page[0x200:0x220] = struct.pack("<4Q", 21, r_debug, 0, 0)
    page[0x300:0x310] = struct.pack("<2Q", 1, first)
    page[0x500:0x540] = b"/nonexistent/library.so".ljust(64, b"\0")
    chain = b"".join(
        struct.pack("<4Q", 0x400000, 0x400500, 0, first + 32 * (i + 1)) for i in range(count)
    )
    core = Core()
    core.thread(1, {"rip": 0x401000, "rsp": 0x402000})
    core.auxv({3: 0x400040, 4: 56, 5: 2, 9: 0x401000, 6: 4096})
    core.load(0x400000, bytes(page) + chain, flags="rw")
    return core.build()


# --- unwind data ----------------------------------------------------------------------


@case
def a_cfa_that_never_moves() -> bytes:
    return process(inner=cfi.def_cfa(7, 0), middle=cfi.def_cfa(7, 0)).core().build()


@case
def a_cfa_that_goes_down() -> bytes:
    return process(inner=cfi.def_cfa_sf(7, 4)).core().build()


@case
def functions_that_return_into_each_other() -> bytes:
    """Every return address is the same as the pc; only the stack's end ends it."""
    made = process()
    made.thread(2, ["inner"] * 3000)
    return made.core().build()


@case
def expressions_that_loop() -> bytes:
    loop = e.assemble(("label", "x"), e.lit(1), ("bra", "x"))
    steady = e.assemble(("label", "x"), e.lit(0), e.op("drop"), ("skip", "x"))
    return (
        process(inner=cfi.def_cfa_expression(loop), middle=cfi.val_expression(16, steady))
        .core()
        .build()
    )


@case
def an_expression_that_loops_asked_for_by_every_thread() -> bytes:
    steady = e.assemble(("label", "x"), e.lit(0), e.op("drop"), ("skip", "x"))
    made = process(inner=cfi.def_cfa_expression(steady))
    for i in range(300):
        made.threads.append((i, made.threads[0][1], 0))
    return made.core().build()


@case
def a_chain_of_frames_whose_expressions_loop_almost() -> bytes:
    """Each frame's expression takes 9,000 steps before it answers."""
    slow = e.assemble(
        e.breg(7, 16), e.constu(2200), ("label", "x"), e.lit(1), e.op("minus"), e.op("dup"),
        ("bra", "x"), e.op("drop"),
    )  # fmt: skip
    made = process(inner=cfi.def_cfa_expression(slow))
    made.thread(2, ["inner"] * 500)
    return made.core().build()


@case
def registers_that_hold_each_other() -> bytes:
    rules = b"".join(cfi.register(n, (n + 1) % 16) for n in range(16))
    return process(inner=rules, middle=cfi.register(16, 16), main=cfi.register(7, 7)).core().build()


@case
def registers_that_no_cpu_has() -> bytes:
    return (
        process(
            inner=cfi.def_cfa(255, 8),
            middle=cfi.offset_extended(200, 1),
            main=cfi.register(16, 1 << 40),
        )
        .core()
        .build()
    )


def no_return_address(arch: str, rule: bytes) -> bytes:
    """Each frame is its own caller, and the stack pointer moves up through nothing."""
    machine = MACHINES[arch]
    program = Program(machine)
    frames = cfi.def_cfa(machine.sp_column, 16) + rule
    program.frame_rules = lambda: frames  # type: ignore[method-assign]
    made = Process(arch, program=program)
    made.thread(1, ["inner", "middle", "main", "_start"], signal=11)
    pc = made.at("inner")
    registers = {"x86_64": ("rip", "rsp", "rbx"), "aarch64": ("pc", "sp", "x30")}[arch]
    made.threads[0] = (1, dict(zip(registers, (pc, made.stacks[0].base, pc), strict=True)), 11)
    return made.core().build()


@case
def frames_without_a_rule_for_the_return_address() -> bytes:
    """Once two million frames, in a minute; found by fuzzing."""
    return no_return_address("x86_64", b"")


@case
def frames_without_a_rule_for_the_link_register() -> bytes:
    return no_return_address("aarch64", b"")


@case
def a_return_address_in_a_register_for_ever() -> bytes:
    return no_return_address("x86_64", cfi.register(16, 3))


@case
def a_return_address_by_an_expression_for_ever() -> bytes:
    return no_return_address("x86_64", cfi.val_expression(16, e.breg(3)))


@case
def offsets_of_any_size() -> bytes:
    return (
        process(
            inner=cfi.def_cfa(7, (1 << 64) - 1),
            middle=cfi.offset_extended(16, 1 << 62),
            main=cfi.def_cfa_offset_sf(-(1 << 63)),
        )
        .core()
        .build()
    )


@case
def saved_registers_all_over_the_place() -> bytes:
    rules = b"".join(cfi.offset_extended_sf(n, -(n * n * 37)) for n in range(16))
    return process(inner=rules, middle=b"".join(cfi.offset(n, 1) for n in range(17))).core().build()


@case
def a_frame_table_that_leads_to_itself() -> bytes:
    made = process()
    image = bytearray(made.program.build())
    image[0x2004:0x2008] = (-4).to_bytes(4, "little", signed=True)  # eh_frame_ptr
    core = made.core(hold_image=False)
    core._loads[0] = (made.base, bytes(image), {"memsz": IMAGE_SIZE, "flags": "rx"})
    return core.build()


@case
def an_eh_frame_of_a_gigabyte_of_zeros() -> bytes:
    """A header without a table, and an .eh_frame that is nothing but terminators."""
    made = process()
    image = bytearray(made.program.build())
    image[0x2002:0x2004] = bytes([cfi.OMIT, cfi.OMIT])
    image[0x3000:0x4000] = bytes(0x1000)
    core = made.core(hold_image=False)
    data = bytes(image) + bytes(64 << 20)
    core._loads[0] = (made.base, data, {"flags": "rx"})
    return core.build()


def full_of_fdes(count: int, table: bool) -> bytes:
    """An image whose .eh_frame is many small FDEs that cover nothing of interest."""
    frames = cfi.FrameSection(address=0x3000)
    cie = frames.cie()
    first = len(frames.out)
    frames.fde(cie, 1, 1)
    entry = bytes(frames.out[first:])
    out = bytearray(frames.out[:first])
    for _ in range(count):
        raw = bytearray(entry)
        raw[4:8] = (len(out) + 4).to_bytes(4, "little")
        out += raw
    made = process()
    image = bytearray(made.program.build())
    if not table:
        image[0x2002:0x2004] = bytes([cfi.OMIT, cfi.OMIT])
    core = made.core(hold_image=False)
    core._loads[0] = (made.base, bytes(image[:0x3000]) + bytes(out), {"flags": "rx"})
    return core.build()


@case
def a_hundred_thousand_fdes_without_a_table() -> bytes:
    return full_of_fdes(100_000, table=False)


@case
def overlapping_fdes_everywhere() -> bytes:
    frames = cfi.FrameSection(address=0x3000)
    cie = frames.cie()
    for i in range(20_000):
        frames.fde(cie, 0x1000 - i % 64, 0x800)
    made = process()
    image = bytearray(made.program.build())
    image[0x2002:0x2004] = bytes([cfi.OMIT, cfi.OMIT])
    core = made.core(hold_image=False)
    core._loads[0] = (made.base, bytes(image[:0x3000]) + frames.build(), {"flags": "rx"})
    return core.build()


def expensive_rows(stack_words: int, threads: int = 1) -> bytes:
    """An FDE of nearly a megabyte over all of the code, and a stack full of addresses in it."""
    frames = cfi.FrameSection(address=0x3000)
    cie = frames.cie(initial=cfi.def_cfa(7, 8) + cfi.offset(16, 1))
    frames.fde(cie, 0x1000, 0x1000, cfi.def_cfa_offset(8) * 500_000)
    made = process()
    image = bytearray(made.program.build())
    image[0x2002:0x2004] = bytes([cfi.OMIT, cfi.OMIT])
    data = bytes(image[:0x3000]) + frames.build()
    core = Core()
    for i in range(threads):
        core.thread(i, {"rip": made.base + 0x1001, "rsp": 0x7000_0000})
    core.files([(made.base, made.base + len(data), 0, "/nonexistent/prog")])
    core.load(made.base, data, flags="rx")
    words = [made.base + 0x1000 + i * 5 % 0xFF0 for i in range(stack_words)]
    core.load(0x7000_0000, struct.pack(f"<{len(words)}Q", *words))
    return core.build()


@case
def rows_that_take_long_for_every_pc() -> bytes:
    return expensive_rows(4000)


@case
def a_scan_over_addresses_whose_rows_take_long() -> bytes:
    """The scan asks for the row of each of a thousand candidates, at every frame."""
    frames = cfi.FrameSection(address=0x3000)
    cie = frames.cie(initial=cfi.def_cfa(7, 8) + cfi.offset(16, 1))
    # The caller of each candidate is unreadable: no candidate leads on.
    frames.fde(cie, 0x1100, 0xF00, cfi.def_cfa_offset(8) * 5_000 + cfi.def_cfa_offset(1 << 40))
    made = process()
    image = bytearray(made.program.build())
    image[0x2002:0x2004] = bytes([cfi.OMIT, cfi.OMIT])
    data = bytes(image[:0x3000]) + frames.build()
    core = Core()
    for i in range(20):
        core.thread(i, {"rip": made.base + 0x1001, "rsp": 0x7000_0000 + 8 * i})
    core.files([(made.base, made.base + len(data), 0, "/nonexistent/prog")])
    core.load(made.base, data, flags="rx")
    words = [made.base + 0x1100 + i * 5 % 0xEFB for i in range(4000)]
    core.load(0x7000_0000, struct.pack(f"<{len(words)}Q", *words))
    return core.build()


# --- stacks ---------------------------------------------------------------------------


def deep(words: int, threads: int) -> bytes:
    """A stack of nothing but return addresses, that many threads share."""
    made = process(inner=cfi.def_cfa_offset(8) + cfi.offset(16, 1) + cfi.same_value(3))
    address = made.at("inner")
    core = made.core()
    core.load(0x7000_0000, address.to_bytes(8, "little") * words)
    for i in range(threads):
        core.thread(i, {"rip": address, "rsp": 0x7000_0000 + 8 * i})
    return core.build()


@case
def half_a_million_frames() -> bytes:
    return deep(500_000, 1)


@case
def thirty_thousand_threads_of_nothing() -> bytes:
    core = Core()
    core.raw_notes = note("CORE", NT_PRSTATUS, prstatus("x86_64", 1, {})) * 30_000
    return core.build()


@case
def frame_pointers_in_a_circle() -> bytes:
    core = Core()
    made = process()
    core.thread(1, {"rip": 0x1234, "rsp": 0x7000_0000, "rbp": 0x7000_0010})
    words = [0, 0, 0x7000_0010, made.at("inner"), 0x7000_0000, made.at("inner")]
    core.load(made.base, made.program.build(), flags="rx")
    core.load(0x7000_0000, struct.pack("<6Q", *words))
    return core.build()


def signal_frames(jump: Callable[[int], int], count: int = 2000) -> bytes:
    """A stack of signal frames, the n-th of which says that the stack pointer was `jump(n)`."""
    code = b"\x48\xc7\xc0\x0f\0\0\0\x0f\x05".ljust(64, b"\x90")
    size = 320
    out = bytearray()
    for i in range(count):
        frame = bytearray(size)
        frame[16:40] = struct.pack("<QQQ", 0x7000_0000 + size * i, 0, size)  # uc_stack
        frame[40 + 8 * 15 : 40 + 8 * 17] = struct.pack("<QQ", jump(i), 0x40_0000)  # rsp, rip
        out += frame
    core = Core()
    core.thread(1, {"rip": 0x40_0000, "rsp": 0x7000_0000})
    core.load(0x40_0000, code, flags="rx")
    core.load(0x7000_0000, bytes(out))
    return core.build()


@case
def signal_frames_that_lead_to_themselves() -> bytes:
    return signal_frames(lambda i: 0x7000_0000 + 320 * i)


@case
def signal_frames_in_a_circle() -> bytes:
    return signal_frames(lambda i: 0x7000_0000 + 320 * ((i + 1) % 3))


@case
def signal_frames_that_switch_stacks_without_end() -> bytes:
    return signal_frames(lambda i: 0x7000_0000 + 320 * (i * 7919 % 2000))


@case
def signal_frames_that_go_up_for_ever() -> bytes:
    return signal_frames(lambda i: 0x7000_0000 + 320 * (i + 1), 20_000)


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_core_gets_an_answer_in_bounded_time_and_memory(
    tmp_path: Path, name: str
) -> None:
    result = examine_apart(CASES[name](), tmp_path)
    assert result.returncode in (0, 2), f"exit {result.returncode}\n{result.stderr[-2000:]}"
    assert "Traceback" not in result.stderr


def test_all_threads_together_have_no_more_frames_than_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """1,000 threads on one stack of 100,000 frames: 100 million from a core of a megabyte."""
    monkeypatch.setattr(walking, "MAX_TOTAL_FRAMES", 150_000)
    report = examine(deep(100_000, 1000))
    assert isinstance(report, Report)
    assert len(report.stacks) == 1001
    assert 150_000 <= sum(len(stack.frames) for stack in report.stacks) <= 151_001
    assert report.stacks[-1].stop.reason == StopReason.DEPTH
