"""Exception chains as text and as JSON."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import unspool
from tests.build.seh import BASE, END, FINAL, GOOD, LIMIT, NTDLL, OTHER, SehProcess
from unspool.analyses.seh import seh
from unspool.analyses.seh.records import Seh
from unspool.render.seh_json import chunks
from unspool.render.seh_text import lines
from unspool.render.style import Style

FIRST, LAST = LIMIT + 0x200, BASE - 0x20
SCHEMA = json.loads(files("unspool.render").joinpath("seh-1.schema.json").read_text())


def answer(process: SehProcess, folder: Path, **how: bool) -> Seh:
    path = folder / "a.dmp"
    path.write_bytes(process.dump(**how))
    with unspool.open(str(path)) as target:
        return seh(target, unspool.unwind(target))


def document(found: Seh) -> dict[str, Any]:
    text = "".join(chunks(found))
    assert text.endswith("}\n")
    made: dict[str, Any] = json.loads(text)
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator(SCHEMA).validate(made)
    return made


def overflown() -> SehProcess:
    process = SehProcess()
    process.chain([(FIRST, GOOD), (FIRST + 0x40, OTHER), (LAST, FINAL)])
    process.write(FIRST + 0x30, b"a name that is far too long")
    return process


def test_text_of_a_good_chain(tmp_path: Path) -> None:
    process = SehProcess()
    process.chain([(FIRST, GOOD), (LAST, FINAL)])
    text = list(lines(answer(process, tmp_path)))
    at = text.index("Thread 0  tid 1")
    assert text[at + 1 : at + 5] == [
        "  TEB 0x7ffde000, stack 0x12c000–0x130000",
        "     0  0x0012c200  → 0x0012ffe0  program.exe+0x1010                  "
        "  (above the last frame that was found)",
        "     1  0x0012ffe0  → end         ntdll.dll!FinalExceptionHandlerPad12"
        "  (above the last frame that was found)",
        "  accepted by Windows Server 2003 SP1, Windows Vista and SEHOP",
    ]


def test_text_of_a_broken_chain(tmp_path: Path) -> None:
    text = list(lines(answer(overflown(), tmp_path)))
    at = next(index for index, line in enumerate(text) if line.startswith("     1  "))
    assert (
        text[at + 1 :][:5]
        == [
            "        bad: its handler 0x6c206f6f lies in no Windows image",
            "        0x0012c230  61 20 6e 61 6d 65 20 74 68 61 74 20 69 73 20 66  a name that is f",
            "        0x0012c240  61 72 20 74 6f 6f 20 6c 6f 6e 67 00 00 00 00 00  ar too long....."
            '  Next "ar t", Handler "oo l"',
            "        0x0012c250  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................",
            '        it lies in 27 bytes of text from 0x12c230: "a name that is far too long"',
        ]
    )
    assert any(line.startswith("  refused by ") for line in text)


def test_alike_records_are_folded(tmp_path: Path) -> None:
    process = SehProcess()
    process.chain([(FIRST + 16 * index, GOOD) for index in range(100)] + [(LAST, FINAL)])
    text = list(lines(answer(process, tmp_path)))
    assert "        … 94 more records with this handler" in text
    assert sum("  → 0x" in line or "  → end" in line for line in text) == 7
    assert len(document(answer(process, tmp_path))["threads"][0]["records"]) == 101


def test_records_with_the_same_fault_are_folded(tmp_path: Path) -> None:
    """A list of ten thousand bad records was 20,000 lines."""
    process = SehProcess()
    process.chain([(FIRST + 16 * index, OTHER) for index in range(100)] + [(LAST, FINAL)])
    text = list(lines(answer(process, tmp_path)))
    assert "        … 86 more records with this handler" in text
    # Eight are shown with their bytes, six around what is left out.
    assert len([line for line in text if line.startswith("        bad: ")]) == 14


def test_without_a_chain(tmp_path: Path) -> None:
    found = answer(SehProcess(), tmp_path, without_teb=True)
    text = list(lines(found))
    assert "  TEB 0x7ffde000: the target does not hold its TEB, where the chain begins" in text
    made = document(found)
    assert made["complete"] is False
    (thread,) = made["threads"]
    assert thread["teb"] == "0x7ffde000"
    assert thread["records"] == []
    assert "head" not in thread
    assert "  the chain is empty" in lines(answer(SehProcess(), tmp_path))


def test_json(tmp_path: Path) -> None:
    made = document(answer(overflown(), tmp_path))
    (thread,) = made["threads"]
    assert (thread["end"], thread["verdict"]) == ("broken", "refused")
    first, bad, beyond = thread["records"]
    assert first["handler"]["address"] == hex(GOOD)
    assert first["image_handlers"] == "listed"
    assert set(first["checks"].values()) == {True}
    assert bad["overwritten"]["text"]["text"] == "a name that is far too long"
    assert bytes.fromhex(bad["overwritten"]["bytes"]).startswith(b"a name that is far")
    assert "readable" not in beyond["checks"]
    assert "handler" not in beyond
    kinds = [each["kind"] for each in made["findings"]]
    assert kinds.count("seh_handler") == 1


def test_the_name_of_a_handler(tmp_path: Path) -> None:
    process = SehProcess()
    process.chain([(LAST, FINAL)])
    (record,) = document(answer(process, tmp_path))["threads"][0]["records"]
    assert record["next"] == hex(END)
    assert record["handler"] == {
        "address": hex(FINAL), "module": "ntdll.dll", "module_offset": hex(FINAL - NTDLL),
        "function": "FinalExceptionHandlerPad12", "function_offset": 0,
    }  # fmt: skip


def test_hostile_text_drives_no_terminal(tmp_path: Path) -> None:
    process = SehProcess(final="\x1b]0;owned\x07")
    process.chain([(LAST, FINAL)])
    found = answer(process, tmp_path)
    assert "\x1b" not in "".join(lines(found))
    assert "\x1b[" in "".join(lines(found, style=Style(color=True)))
    plain = "".join(lines(found, style=Style(encoding="ascii")))
    assert plain.isascii()
    document(found)
