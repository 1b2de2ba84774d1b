"""Reads a process's memory in pages, each once: a JVM's data are small and lie close together."""

from __future__ import annotations

from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.memory import Memory

_PAGE = 4096

# 128 MB. The tables, the headers of a few thousand methods and their metadata take a tenth; what
# lying pointers lead to is spread over as many pages as there are pointers.
_MOST_PAGES = 32768


class Reader:
    """Little-endian integers and strings at addresses. All methods raise `Fault`."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._pages: dict[int, bytes] = {}

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes."""
        at = address & (_PAGE - 1)
        if at + size <= _PAGE:
            data = self._page(address - at)[at : at + size]
        else:
            parts = [self._page(address - at)[at:]]
            end = address + size
            for start in range(address - at + _PAGE, end, _PAGE):
                parts.append(self._page(start)[: end - start])
            data = b"".join(parts)
        if len(data) < size:
            raise Fault(address, size)
        return data

    def unsigned(self, address: int, size: int) -> int:
        return int.from_bytes(self.read(address, size), "little")

    def signed(self, address: int, size: int) -> int:
        return int.from_bytes(self.read(address, size), "little", signed=True)

    def pointer(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8), "little")

    def string(self, address: int, limit: int = 256) -> str:
        """A string that ends with a zero byte, or at the limit."""
        parts = []
        while limit > 0:
            at = address & (_PAGE - 1)
            part = self._page(address - at)[at : at + limit]
            end = part.find(b"\0")
            if end >= 0 or not part:
                parts.append(part[: max(end, 0)])
                break
            parts.append(part)
            address += len(part)
            limit -= len(part)
        return b"".join(parts).decode("utf-8", "replace")

    def _page(self, start: int) -> bytes:
        page = self._pages.get(start)
        if page is None:
            if len(self._pages) >= _MOST_PAGES:
                raise Fault(start, _PAGE)
            page = self._pages[start] = self.memory.read_available(start, _PAGE)
        return page
