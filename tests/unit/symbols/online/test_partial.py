"""Files that are not whole yet: who may go on with them, and with what."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from unspool.symbols.online.partial import Partial, clean

URL = "https://a.example/b"


def begun(folder: Path, data: bytes = b"half", **headers: str) -> Partial:
    part = Partial(URL, str(folder))
    part.begin({"ETag": '"one"', **headers})
    part.write(data)
    return part


def test_what_nobody_took_is_gone_on_with(tmp_path: Path) -> None:
    with begun(tmp_path, **{"Content-Encoding": "GZIP"}):
        pass
    with Partial(URL, str(tmp_path)) as again:
        assert again.size == 4
        assert again.encoding == "gzip"
        assert again.range_headers() == {"Range": "bytes=4-", "If-Range": '"one"'}
        assert again.continues({"Content-Range": "bytes 4-9/10"})
        assert not again.continues({"Content-Range": "bytes 5-9/10"})
        assert not again.continues({})
        again.write(b" whole")
    assert Path(again.path).read_bytes() == b"half whole"


@pytest.mark.parametrize(
    "headers", [{}, {"ETag": 'W/"weak"'}, {"ETag": "x" * 600}, {"ETag": "a\nb"}]
)
def test_without_a_validator_nothing_stays(headers: dict[str, str], tmp_path: Path) -> None:
    with Partial(URL, str(tmp_path)) as part:
        part.begin(headers)
        part.write(b"half")
    assert list(tmp_path.iterdir()) == []


def test_a_date_is_a_validator_too(tmp_path: Path) -> None:
    with Partial(URL, str(tmp_path)) as part:
        part.begin({"ETag": 'W/"weak"', "Last-Modified": "Sat, 21 Nov 2026 10:00:00 GMT"})
        part.write(b"half")
    with Partial(URL, str(tmp_path)) as again:
        assert again.range_headers()["If-Range"] == "Sat, 21 Nov 2026 10:00:00 GMT"


def test_a_validator_is_forgotten_with_its_file(tmp_path: Path) -> None:
    """A run that was killed after the server had begun anew, without any."""
    with begun(tmp_path):
        pass
    part = Partial(URL, str(tmp_path))
    part.begin({})
    part.write(b"other")
    killed = Path(part.path).read_bytes()
    assert killed == b"other"
    assert not Path(f"{part.path}.of").exists()
    part.__exit__()


def test_two_at_once_do_not_write_to_one_file(tmp_path: Path) -> None:
    with begun(tmp_path) as first:
        with begun(tmp_path, b"second") as second:
            assert second.path != first.path
            first.write(b" of it")
        assert not Path(second.path).exists()
        assert Path(first.path).read_bytes() == b"half of it"


def test_a_file_that_got_its_name_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened by a second process just before the first one renamed it."""
    first = begun(tmp_path)
    kept = tmp_path / "kept"
    real = os.open
    moved = []

    def late(path: str, flags: int, mode: int = 0o777) -> int:
        fd = real(path, flags, mode)
        if not moved:
            moved.append(True)
            first.taken()
            os.replace(first.path, kept)
            first.__exit__()
        return fd

    monkeypatch.setattr(os, "open", late)
    with begun(tmp_path, b"not into the kept file"):
        pass
    assert kept.read_bytes() == b"half"


def test_old_parts_are_removed(tmp_path: Path) -> None:
    with begun(tmp_path):
        pass
    clean(str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 2
    for path in tmp_path.iterdir():
        os.utime(path, (time.time() - 8 * 86400,) * 2)
    clean(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    clean(str(tmp_path / "none"))
