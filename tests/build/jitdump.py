"""jitdump files, record by record (linux/tools/perf/Documentation/jitdump-specification.txt)."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack

MAGIC = 0x4A695444
LOAD, MOVE, DEBUG, CLOSE, UNWINDING = range(5)


class JitdumpBuilder:
    """Collects records in the given byte order; `bytes(...)` is the file."""

    def __init__(
        self, order: str = "<", *, pid: int = 7, machine: int = 62, pad: int = 0, header: int = 40
    ) -> None:
        self.order = order
        self.pid = pid
        self.head = pack(f"{order}6IQQ", MAGIC, 1, header, machine, pad, pid, 1, 0)
        self.head += bytes(header - len(self.head))
        self.records: list[bytes] = []

    def record(self, kind: int, body: bytes, *, claims: int | None = None) -> None:
        size = 16 + len(body) if claims is None else claims
        self.records.append(pack(f"{self.order}IIQ", kind, size, len(self.records)) + body)

    def load(
        self, address: int, code: bytes, name: bytes, *, index: int = 0, size: int | None = None
    ) -> None:
        size = len(code) if size is None else size
        body = pack(f"{self.order}IIQQQQ", self.pid, self.pid, address, address, size, index)
        self.record(LOAD, body + name + b"\0" + code)

    def move(self, old: int, new: int, size: int, *, index: int = 0) -> None:
        body = pack(f"{self.order}IIQQQQQ", self.pid, self.pid, new, old, new, size, index)
        self.record(MOVE, body)

    def lines(
        self, address: int, lines: Sequence[tuple[int, int, bytes]], *, count: int | None = None
    ) -> None:
        """`lines` are (address, line, file)."""
        body = pack(f"{self.order}QQ", address, len(lines) if count is None else count)
        for at, line, file in lines:
            body += pack(f"{self.order}QII", at, line, 0) + file + b"\0"
        self.record(DEBUG, body)

    def unwinding(self, eh_frame: bytes, header: bytes = bytes(20), *, pad: int = 0) -> None:
        size = len(eh_frame) + len(header)
        sizes = pack(f"{self.order}QQQ", size, len(header), size)
        self.record(UNWINDING, sizes + eh_frame + header + bytes(pad))

    def close(self) -> None:
        self.record(CLOSE, b"")

    def __bytes__(self) -> bytes:
        return self.head + b"".join(self.records)
