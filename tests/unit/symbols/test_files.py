"""Files that are mapped, and taken out of memory again."""

from __future__ import annotations

from pathlib import Path

from unspool.symbols.files import forget, map_file

SIZE = 4 << 20


def resident(path: Path) -> int:
    """Bytes of a mapped file that are in this process's memory."""
    found, size = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            found = line.endswith(f" {path}")
        elif found and line.startswith("Rss:"):
            size += int(line.split()[1]) << 10
    return size


def test_a_file_is_forgotten_and_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789abcdef" * (SIZE // 16))
    buffer = map_file(str(path))
    assert buffer is not None
    before = bytes(buffer)
    assert resident(path) == SIZE
    forget(buffer)
    assert resident(path) == 0
    assert bytes(buffer) == before


def test_what_is_not_mapped_stays() -> None:
    data = b"abc"
    forget(data)
    assert data == b"abc"
