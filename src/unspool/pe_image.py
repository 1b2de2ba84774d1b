"""A PE module's unwind data, wherever it is to be had: the process's memory, its file.

The counterpart of `image.Image` for Windows modules. Both answer `eh_frame` and
`debug_frames`, so that DWARF unwinding does not care which of them it has.
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.formats.pe import EXCEPTION, EXPORT, MACHINE_AMD64, Pe
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from unspool.cursor import Buffer
    from unspool.formats.cfi import CfiSection
    from unspool.formats.pe_exports import Export
    from unspool.formats.pe_unwind import FunctionTable
    from unspool.formats.stack_win import StackWin
    from unspool.memory import Memory

# An .eh_frame or .pdata larger than this is no image's; that of Chromium's DLL has 12 MB.
_MAX_TABLE = 64 << 20


class PeImage:
    """One PE module at `base`: headers, unwind tables, exports.

    `headers` are of the memory or the file; `file` is the module's own file, verified, if it
    was found. Relative virtual addresses (RVA) count from `base`; file addresses, as DWARF
    has them, from the preferred image base: they are the pc less `bias`.
    """

    def __init__(
        self,
        memory: Memory,
        base: int,
        headers: Pe,
        file: Pe | None = None,
        *,
        find_stack_win: Callable[[], StackWin | None] | None = None,
    ) -> None:
        self.memory = memory
        self.base = base
        self.headers = headers
        self.file = file
        self.bias = base - headers.image_base
        self.problems: list[str] = []
        self._find_stack_win = find_stack_win
        self._stack_win: StackWin | None = None
        self._function_table: FunctionTable | None = None
        self._has_function_table: bool | None = None
        self._exports: list[Export] | None = None
        self._by_name: dict[str, int] | None = None
        self._eh_frame: tuple[CfiSection | None] | None = None
        self._debug_frames: list[CfiSection] | None = None

    def read(self, rva: int, size: int) -> bytes:
        """`size` bytes at an RVA, of the process's memory, else of the file. Raises `Fault`."""
        try:
            return self.memory.read(self.base + rva, size)
        except Fault:
            if self.file is None:
                raise
        try:
            return self.file.read(rva, size)
        except FormatError:
            raise Fault(self.base + rva, size) from None

    def function_table(self) -> FunctionTable | None:
        """The RUNTIME_FUNCTIONs of an x86-64 image, or None if there are none at hand."""
        if self._has_function_table is None:
            self._has_function_table = False
            directory = self.headers.directory(EXCEPTION)
            if directory is not None and self.headers.machine == MACHINE_AMD64:
                found = self._located(*directory)
                if found is not None:
                    from unspool.formats.pe_unwind import FunctionTable

                    self._function_table = FunctionTable(*found)
                else:
                    self.problems.append("its .pdata is not at hand")
        return self._function_table

    def eh_frame(self) -> tuple[None, CfiSection | None]:
        """DWARF of a PE file: MinGW's for i386. There is never a search table."""
        if self._eh_frame is None:
            self._eh_frame = (None,)
            if self.headers.machine != MACHINE_AMD64:
                from unspool.pe_eh_frame import find_eh_frame

                found = find_eh_frame(self.memory, self.base, self.headers, self.file)
                self._eh_frame = (found,)
        return None, self._eh_frame[0]

    def eh_frame_at(self, address: int) -> tuple[None, CfiSection | None]:
        """The .eh_frame that is for a file address."""
        return self.eh_frame()

    def debug_frames(self) -> list[CfiSection]:
        """.debug_frame of the file: MinGW's for code without .eh_frame."""
        if self._debug_frames is None:
            from unspool.pe_eh_frame import find_debug_frame

            found = find_debug_frame(self.headers, self.file)
            self._debug_frames = [found] if found is not None else []
        return self._debug_frames

    def exports(self) -> list[Export]:
        """Exported functions and data; empty if the table is broken or not at hand."""
        if self._exports is None:
            self._exports = []
            directory = self.headers.directory(EXPORT)
            if directory is not None:
                from unspool.formats.pe_exports import exports

                try:
                    _, self._exports = exports(self.read, directory)
                except (FormatError, Fault) as error:
                    self.problems.append(f"its export table cannot be read: {error}")
        return self._exports

    def export(self, name: str) -> int | None:
        """The RVA of what is exported by that name."""
        if self._by_name is None:
            self._by_name = {each.name: each.rva for each in self.exports() if each.name}
        return self._by_name.get(name)

    def stack_win(self) -> StackWin | None:
        """The FPO records of the module's PDB file, if that was found."""
        if self._find_stack_win is not None:
            self._stack_win, self._find_stack_win = self._find_stack_win(), None
        return self._stack_win

    def _located(self, rva: int, size: int) -> tuple[Buffer, int, int] | None:
        """A table as (buffer, start, end): in memory, which relocation has made true, or file."""
        size = min(size, _MAX_TABLE)
        window = self.memory.window(self.base + rva)
        if window is not None and self.base + rva + size <= window.high:
            start = self.base + rva - window.base
            return window.buffer, start, start + size
        if self.file is not None:
            found = self.file.located(rva)
            if found is not None and found[1] + size <= found[2]:
                return found[0], found[1], found[1] + size
        data = self.memory.read_available(self.base + rva, size)
        return (data, 0, len(data)) if data else None
