from __future__ import annotations

import re

import pytest

from tests import dumps
from tests.build import minidump_records as r
from tests.build.minidump import Minidump
from unspool.analyses.anatomy import dissect
from unspool.render import inspect_text
from unspool.render.style import Style


def shown(data: bytes, **options: object) -> str:
    return "\n".join(inspect_text.lines(dissect(data), data, name="a.dmp", **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", dumps.ALL)
@pytest.mark.parametrize("hexadecimal", [False, True])
def test_nothing_of_a_dump_reaches_the_terminal_raw(name: str, hexadecimal: bool) -> None:
    text = shown(dumps.ALL[name](), hexadecimal=hexadecimal, whole=True)
    assert all(line.isprintable() for line in text.split("\n"))
    assert "\\x1b" in text or name != "lying"


def test_the_hex_view_has_every_byte_in_its_place() -> None:
    data = dumps.windows()
    seen = bytearray(len(data))
    at = 0
    for line in shown(data, hexadecimal=True, whole=True).split("\n"):
        # A structure of memory has addresses between the offset and the bytes.
        found = re.match(r"0x([0-9a-f]{4})  (?:[0-9a-f]{16}  )?((?:[0-9a-f]{2} ?)+)", line)
        if found:
            assert int(found[1], 16) == at
            row = bytes.fromhex(found[2])
            seen[at : at + len(row)] = row
            at += len(row)
    assert at == len(data)
    assert seen == data


def test_all_shows_long_things_whole() -> None:
    dump = Minidump()
    dump.memory(0x1000, bytes(range(256)))
    dump.stream(r.LINUX_MAPS, b"".join(b"line %d\n" % n for n in range(50)))
    data = dump.build()
    short, whole = shown(data), shown(data, whole=True)
    assert "… 192 more bytes; --all shows them" in short
    assert "… 38 more lines; --all shows them" in short
    assert "line 49" not in short
    assert "line 49" in whole
    assert "0000000000001ff0" not in short
    assert "00000000000010f0" in whole
    assert "--all" not in whole


def test_long_lists_of_simple_things_are_lines() -> None:
    dump = Minidump(system="windows")
    for n in range(30):
        dump.region(n << 12, 4096)
    text = shown(dump.build())
    assert len(re.findall(r"^ +0x\w+ +8  u64 +BaseAddress", text, re.MULTILINE)) == 14
    assert "  Regions[29]  0x1d000–0x1e000 COMMIT READWRITE PRIVATE" in text
    assert shown(dump.build(), whole=True).count("BaseAddress") == 30


def test_a_meaning_is_said_once() -> None:
    text = shown(dumps.crash())
    assert text.count("the thread environment block") == 1
    assert text.count("MINIDUMP_THREAD, ") == 2


def test_what_is_pointed_to_is_shown_once_below_what_points_to_it() -> None:
    lines = shown(dumps.crash()).split("\n")
    (at,) = (n for n, line in enumerate(lines) if line.startswith("  Threads[0]"))
    (stack,) = (n for n, line in enumerate(lines) if line.strip().startswith("stack of thread 0"))
    (other,) = (n for n, line in enumerate(lines) if line.startswith("  Threads[1]"))
    assert at < stack < other
    assert any("→ stack of thread 0" in line for line in lines[other:])


def test_problems_are_in_the_overview_and_beside_the_field() -> None:
    text = shown(dumps.lying(), style=Style(color=True))
    assert "\x1b[33m9 problems:\x1b[0m" in text
    assert "\x1b[33m  ← says 2,147,483,648 entries, has room for 2\x1b[0m" in text


def test_an_ascii_terminal_gets_ascii() -> None:
    assert shown(dumps.lying(), style=Style(encoding="ascii")).isascii()


def test_lying_ranges_do_not_multiply_what_all_shows() -> None:
    dump = Minidump()
    for n in range(500):
        dump.memory(n << 20, b"", DataSize=8000, Rva=100 + n)
    data = dump.build()
    assert len(shown(data, whole=True)) < 100 * len(data)
