"""Cores of Wine processes with bytes and fields changed: TEB, PEB, loader's list, PE headers."""

from __future__ import annotations

import struct
from functools import cache

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.build.pe import AMD64, I386, CodeView, Section, image
from tests.build.windows_process import LDR, PEB, STACK, TEB, WindowsProcess
from tests.conftest import examples
from tests.fuzz.harness import examine, within
from tests.fuzz.mutants import Mutant, patched, rearranged
from unspool.model import Report

SECONDS = 10
EXE, DLL = 0x40_0000, 0x7BC0_0000
CODE = b"\xe8\0\0\0\0\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\xc3" * 0x50  # functions that call
processes = st.tuples(st.sampled_from([8, 4]), st.booleans())


@cache
def seed(word: int, lists: bool) -> bytes:
    """A thread in a DLL that the program called."""
    machine = AMD64 if word == 8 else I386
    process = WindowsProcess(word, lists=lists)
    for base, name, dll in ((EXE, "a.exe", False), (DLL, "ntdll.dll", True)):
        functions = [(0x1000, 0x1400, 0x2000), (0x1400, 0x1500, 0x2000)] if word == 8 else None
        made = image(
            machine,
            [Section(".text", CODE, "rx"), Section(".xdata", b"\1\4\1\0\4\x42\0\0", "r"),
             Section(".data", bytes(64), "rw")],
            functions=functions, exports=[("NtWait", 0x1000)], dll=dll, codeview=CodeView("a.pdb"),
            image_base=base, entry=0x1000,
        )  # fmt: skip
        process.add(made, base, f"/nonexistent/{name}", copied=True, hold_header=True)
    if word == 8:
        process.entries32 = list(process.entries)
    core = process.core()
    sp = STACK[1] - 0x100
    words = [0x1000 + n for n in range(32)]
    words[0 if word == 4 else 5], words[11] = DLL + 0x1105, EXE + 0x1105
    core.load(sp, struct.pack(f"<32{'Q' if word == 8 else 'I'}", *words), flags="rw")
    names = ("rip", "rsp", "gs_base") if word == 8 else ("eip", "esp", "cs")
    values = (DLL + 0x1005, sp, TEB if word == 8 else 0x23)
    core.thread(101, dict(zip(names, values, strict=True)))
    return core.build()


def places(data: bytes) -> list[range]:
    """Headers and notes, PE headers, and where the process's environment lies."""
    found = [range(64), range(64, 1800)]
    wide = data[4] == 2
    [table] = struct.unpack_from("<Q" if wide else "<I", data, 32 if wide else 28)
    size = 56 if wide else 32
    for index in range(struct.unpack_from("<H", data, 56 if wide else 44)[0]):
        at = table + size * index
        if wide:
            offset, address = struct.unpack_from("<QQ", data, at + 8)
        else:
            offset, address = struct.unpack_from("<II", data, at + 4)
        if address in (EXE, DLL, TEB, PEB, LDR) and offset + 0x400 <= len(data):
            found.append(range(offset, offset + 0x400))
    return found


def run(data: bytes) -> None:
    with within(SECONDS):
        examine(data, symbols=True)


def test_the_seed_has_its_modules() -> None:
    for word in (8, 4):
        assert len(places(seed(word, True))) == 7
        report = examine(seed(word, True))
        assert isinstance(report, Report)
        assert [module.name for module in report.modules] == ["a.exe", "ntdll.dll"]
        assert len(report.stacks[-1].frames) == (3 if word == 8 else 2)


@settings(max_examples=examples(50), suppress_health_check=list(HealthCheck))
@given(patched(seed, processes, places))
def test_patched_wine_cores(core: Mutant) -> None:
    run(core.build())


@settings(max_examples=examples(30), suppress_health_check=list(HealthCheck))
@given(rearranged(seed, processes, places))
def test_rearranged_wine_cores(core: Mutant) -> None:
    run(core.build())
