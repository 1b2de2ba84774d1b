"""Has a stream of a minidump written, and takes it apart by hand."""

from __future__ import annotations

import struct
from importlib import import_module
from pathlib import Path

from tests.build.core import Core
from unspool.targets.base import Options, Target
from unspool.targets.core.target import CoreTarget
from unspool.targets.input.source import open_source
from unspool.write.draft import Draft
from unspool.write.output import Output


def open_core(core: Core, folder: Path, **options: object) -> Target:
    path = folder / "core"
    path.write_bytes(core.build())
    return CoreTarget(open_source(str(path)), Options(**options))  # type: ignore[arg-type]


def draft_of(target: Target, **keywords: object) -> Draft:
    return Draft(target, {}, target.facts(), **keywords)  # type: ignore[arg-type]


class Written:
    """A file of some streams; `self[name]` is the body of one, None where it is left out."""

    def __init__(self, draft: Draft, *names: str) -> None:
        output = Output(len(names))
        self.bodies: dict[str, bytes | None] = {}
        for name in names:
            write = import_module(f"unspool.write.streams.{name}").write
            self.bodies[name] = write(draft, output)
        self.data = b"".join(bytes(chunk) for chunk in output.finish(0))

    def __getitem__(self, name: str) -> bytes:
        body = self.bodies[name]
        assert body is not None
        return body

    def located(self, location: bytes) -> bytes:
        """What a MINIDUMP_LOCATION_DESCRIPTOR leads to."""
        size, rva = struct.unpack("<II", location)
        assert rva + size <= len(self.data)
        return self.data[rva : rva + size]

    def string(self, rva: int) -> str:
        """A MINIDUMP_STRING."""
        (size,) = struct.unpack_from("<I", self.data, rva)
        text = self.data[rva + 4 : rva + 4 + size]
        assert self.data[rva + 4 + size : rva + 6 + size] == b"\0\0"
        return text.decode("utf-16-le", "surrogatepass")

    def entries(self, name: str, size: int, header: int = 4) -> list[bytes]:
        """The entries of a list whose header ends with their number."""
        body = self[name]
        (count,) = struct.unpack_from("<I", body, 0 if header == 4 else 8)
        assert len(body) == header + count * size
        return [body[at : at + size] for at in range(header, len(body), size)]


def write_stream(draft: Draft, name: str) -> bytes | None:
    return Written(draft, name).bodies[name]
