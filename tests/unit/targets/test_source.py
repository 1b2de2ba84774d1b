"""Opening a target's bytes: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import unspool
from tests.build import compressed
from tests.conftest import open_terminal
from unspool.errors import InputError
from unspool.targets.input.source import Source, open_source, sniff

ELF = b"\x7fELF" + bytes(100)

SHOW = (
    "from unspool.targets.input.source import open_source\n"
    "from unspool.errors import UnspoolError\n"
    "try:\n"
    "    s = open_source('-')\n"
    "    print(s.size, s.compression or 'plain', s.kind, bytes(s.buffer[:20]), s.truncated)\n"
    "except UnspoolError as error: print('refused:', error)\n"
)


def read(path: Path) -> bytes:
    with open_source(str(path)) as source:
        assert source.size == len(source.buffer)
        return bytes(source.buffer)


def refusal(path: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        open_source(str(path))
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_plain_file_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "core"
    path.write_bytes(ELF)
    source = open_source(str(path))
    assert (source.size, source.compression, source.truncated) == (len(ELF), "", "")
    assert (bytes(source.buffer), source.kind, source.notes) == (ELF, "elf", [])
    assert (source.path, source.name) == (str(path), str(path))
    source.close()


@pytest.mark.parametrize("packed", [False, True])
def test_a_look_at_some_bytes(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "core"
    path.write_bytes(compressed.compress("gzip", ELF) if packed else ELF)
    with open_source(str(path)) as source:
        path.unlink()
        assert source.peek(0, 4) == b"\x7fELF"
        assert source.peek(len(ELF) - 2, 4) == b"\0\0"
        assert source.peek(len(ELF) + 10, 4) == b""
        assert source.peek(1 << 62, 4) == b""
        assert source.peek(1 << 64, 4) == b""
        assert source.peek(0, 0) == b""


def test_a_source_leaves_no_descriptor_open(tmp_path: Path) -> None:
    path = tmp_path / "core"
    path.write_bytes(ELF)
    before = len(os.listdir("/proc/self/fd"))
    closed, forgotten = open_source(str(path)), open_source(str(path))
    closed.close()
    closed.close()
    del forgotten
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("holes", [False, True])
def test_of_a_file_full_of_holes_nothing_is_read_ahead(tmp_path: Path, holes: bool) -> None:
    path = tmp_path / "core"
    with path.open("wb") as file:
        file.write(b"\x7fELF" * 1024)
        if holes:
            file.truncate(64 << 20)
    if holes and path.stat().st_blocks * 512 > 1 << 20:
        pytest.skip("the file system knows no holes")
    with open_source(str(path)):
        text = Path("/proc/self/smaps").read_text().partition(f" {path}\n")[2]
        flags = text.partition("VmFlags:")[2].partition("\n")[0].split()
    assert ("rr" in flags) == holes


def test_a_plain_file_loads_nothing_of_compression(tmp_path: Path) -> None:
    path = tmp_path / "core"
    path.write_bytes(ELF)
    code = (
        "import sys\n"
        "from unspool.targets.input.source import open_source\n"
        f"open_source({str(path)!r})\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in"
        " ('zlib', 'lzma', '_lzma', 'zstandard', 'lz4', 'tempfile', 'typing')"
        " or m == 'unspool.targets.input.unpack'))"
    )
    assert run(sys.executable, "-S", "-c", code) == "[]\n"


def run(*command: str, **how: Any) -> str:
    """What a process with the package on its path prints, errors included."""
    root = Path(unspool.__file__).parents[1]
    result = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
        timeout=60,
        **how,
    )
    return str(result.stdout, "utf-8")


@pytest.mark.parametrize("kind", compressed.KINDS)
def test_compression_is_told_by_content_and_not_by_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "core.txt"
    path.write_bytes(compressed.compress(kind, ELF))
    with open_source(str(path)) as source:
        assert (source.compression, source.kind, bytes(source.buffer)) == (kind, "elf", ELF)


def test_a_name_that_lies_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "core.zst"
    path.write_bytes(ELF)
    assert read(path) == ELF


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x7fELF\2", "elf"),
        (b"MDMP\x93\xa7", "minidump"),
        (b'{"schema": 1}', "json"),
        (b"\xef\xbb\xbf \n\t{", "json"),
        ("käse\n".encode(), "text"),
        (b"#!/bin/sh\n\x1b[1m", "text"),
        (b"\x7fEL\0", "unknown"),
        (b"\x00\x01", "unknown"),
        (b"", "unknown"),
    ],
)
def test_kinds(data: bytes, kind: str) -> None:
    assert sniff(data) == kind


def test_a_missing_file(tmp_path: Path) -> None:
    assert "gone does not exist; " in refusal(tmp_path / "gone")
    assert "core_pattern" in refusal(tmp_path / "gone")


def test_a_directory(tmp_path: Path) -> None:
    assert "is a directory; give one core" in refusal(tmp_path)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "core"
    path.touch()
    assert "core is empty; " in refusal(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert f"is a pipe; read it from standard input: unspool … - < {path}" in refusal(path)


def test_a_pipe_that_takes_the_place_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "core"
    path.write_bytes(ELF)
    was = os.stat(path)
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(os, "stat", lambda path: was)
    before = len(os.listdir("/proc/self/fd"))
    assert "is a pipe" in refusal(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_devices_and_sockets_are_not_opened(tmp_path: Path) -> None:
    assert "/dev/null is a device, not a file" in refusal("/dev/null")
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert "is a socket" in refusal(path)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "core"
    path.write_bytes(ELF)
    path.chmod(0)

    def denied(*_arguments: object, **_keywords: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)  # root may read anything
    assert "permission denied; run as the file's owner or with sudo" in refusal(path)


def test_files_that_only_look_regular() -> None:
    # /proc says that its files are regular, and gives most no size.
    assert "is empty" in refusal("/proc/self/status")
    assert "is empty" in refusal("/proc/self/mem")


def test_names_that_are_none() -> None:
    assert "cannot be opened" in refusal("a\0b")
    assert "cannot be opened" in refusal("x" * 5000)
    assert r"'two\nlines' does not exist" in refusal("two\nlines")
    assert r"\udcff" in refusal("byte-\udcff")


@pytest.mark.parametrize(
    ("head", "what"), [(b"BZh91AY&SY", "bzip2 -dk"), (b"PK\3\4..", "unzip"), (b"LZIP..", "lzip")]
)
def test_other_compression_is_named(head: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "core"
    path.write_bytes(head)
    assert f"decompress it first: {what}" in refusal(path)


def test_closing_with_views_left(tmp_path: Path) -> None:
    path = tmp_path / "core"
    path.write_bytes(ELF)
    source = open_source(str(path))
    view = memoryview(source.buffer)
    source.close()
    assert bytes(view) == ELF
    view.release()
    source.close()
    with pytest.raises(ValueError, match="closed"):
        source.buffer[0]


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    path = tmp_path / "core"
    before = len(os.listdir("/proc/self/fd"))
    for data in (ELF, compressed.compress("xz", ELF), compressed.compress("xz", ELF)[:30]):
        path.write_bytes(data)
        try:
            source: Source | None = open_source(str(path))
        except InputError:
            source = None
        if source:
            source.close()
        assert len(os.listdir("/proc/self/fd")) == before


# Standard input


def from_standard_input(stdin: int) -> str:
    return run(sys.executable, "-c", SHOW, stdin=stdin)


def piped(data: bytes) -> str:
    return run(sys.executable, "-c", SHOW, input=data)


def test_standard_input_plain_and_compressed() -> None:
    expected = f"elf {ELF[:20]!r} \n"
    assert piped(ELF) == f"{len(ELF)} plain {expected}"
    assert piped(compressed.compress("gzip", ELF)) == f"{len(ELF)} gzip {expected}"
    assert piped(compressed.skippable(b"?") + compressed.compress("gzip", b"")).startswith(
        "refused: standard input is empty"
    )


def test_standard_input_that_is_bad() -> None:
    assert piped(b"").startswith("refused: standard input is empty")
    assert piped(b"BZh9").startswith("refused: standard input is compressed with bzip2")
    assert "before the first byte" in piped(compressed.compress("xz", ELF)[:20])


def test_standard_input_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "core"
    path.write_bytes(b"first line\n" + ELF)
    with path.open("rb") as stream:
        assert from_standard_input(stream.fileno()).startswith("115 plain unknown")
    with path.open("rb") as stream:
        os.lseek(stream.fileno(), 11, os.SEEK_SET)
        assert from_standard_input(stream.fileno()).startswith("104 plain elf")
    with open("/dev/null", "rb") as stream:
        assert "refused: standard input is empty" in from_standard_input(stream.fileno())


def test_standard_input_that_is_a_terminal() -> None:
    master, slave = open_terminal()
    assert "refused: standard input is a terminal" in from_standard_input(slave)
    os.close(master)
    os.close(slave)


def test_standard_input_that_is_closed() -> None:
    out = run("sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-c", SHOW)
    assert out.startswith("refused: standard input cannot be read: Bad file descriptor")


def test_standard_input_that_does_not_block() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)

    def later() -> None:
        for start in range(0, len(ELF), 40):
            time.sleep(0.05)
            os.write(writer, ELF[start : start + 40])
        os.close(writer)

    thread = threading.Thread(target=later)
    thread.start()
    out = from_standard_input(reader)
    thread.join()
    os.close(reader)
    assert out.startswith(f"{len(ELF)} plain elf")


def test_an_address_space_too_small(tmp_path: Path) -> None:
    path = tmp_path / "core"
    with path.open("wb") as stream:
        stream.write(ELF)
        stream.truncate(8 << 30)
    code = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n" + SHOW
    out = run(sys.executable, "-c", code.replace("'-'", repr(str(path))))
    assert out.startswith(f"refused: {path} cannot be mapped: Cannot allocate memory; check")


def test_standard_input_that_only_writes(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    out = from_standard_input(writer)
    os.close(reader)
    os.close(writer)
    assert "refused: standard input: the data cannot be read (Bad file descriptor)" in out
