"""Reads a process's memory in pages, each once: what runtimes keep of their code lies close."""

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
        self.reads: set[tuple[int, int]] = set()
        self._pages: dict[int, bytes] = {}

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes; `reads` gets them as (start, end)."""
        at = address & (_PAGE - 1)
        end = address + size
        data = self._page(address - at)[at : at + size]
        for start in range(address - at + _PAGE, end, _PAGE):
            data += self._page(start)[: end - start]
        if len(data) < size:
            # A minidump holds parts of pages.
            data = self.memory.read(address, size)
        self.reads.add((address, end))
        return data

    def unsigned(self, address: int, size: int) -> int:
        return int.from_bytes(self.read(address, size), "little")

    def signed(self, address: int, size: int) -> int:
        return int.from_bytes(self.read(address, size), "little", signed=True)

    def pointer(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8), "little")

    def string(self, address: int, limit: int = 256) -> str:
        """A string that ends with a zero byte, or at the limit."""
        at = address & (_PAGE - 1)
        data = self._page(address - at)[at : at + limit]
        if len(data) < limit and b"\0" not in data:
            data = self.memory.read_available(address, limit)
        data = data.partition(b"\0")[0]
        self.reads.add((address, address + len(data) + 1))
        return data.decode("utf-8", "replace")

    def _page(self, start: int) -> bytes:
        page = self._pages.get(start)
        if page is None:
            if len(self._pages) >= _MOST_PAGES:
                raise Fault(start, _PAGE)
            page = self._pages[start] = self.memory.read_available(start, _PAGE)
        return page
