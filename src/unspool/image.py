"""A module's unwind data, wherever it is to be had: its file, its memory, its debug file."""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.formats.cfi import CfiSection, EhFrameHdr
from unspool.formats.elf import PT_ARM_EXIDX, PT_GNU_EH_FRAME, PT_LOAD, SHT_NOBITS, Elf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from unspool.cursor import Buffer
    from unspool.formats.exidx import ExidxTable
    from unspool.memory import Memory


class Image:
    """CFI sections of one module, found when they are first asked for.

    `file` is the module's own file if there is one, `mapped` the ELF headers as they lie
    in memory (one of the two is needed); `find_debug` gives the separate debug file, which
    may hold a .debug_frame. Addresses in the sections are file addresses: the pc less `bias`.
    """

    def __init__(
        self,
        memory: Memory,
        bias: int,
        *,
        file: Elf | None = None,
        mapped: Elf | None = None,
        find_debug: Callable[[], Elf | None] | None = None,
    ) -> None:
        self.memory = memory
        self.bias = bias
        self.file = file
        self.elf = file or mapped
        self._find_debug = find_debug
        self.problems: list[str] = []
        self._eh_frame: tuple[EhFrameHdr | None, CfiSection | None] | None = None
        self._debug_frames: list[CfiSection] | None = None
        self._exidx: tuple[ExidxTable | None] | None = None

    def eh_frame(self) -> tuple[EhFrameHdr | None, CfiSection | None]:
        """The search table and .eh_frame; either can be missing."""
        if self._eh_frame is None:
            try:
                self._eh_frame = self._find_eh_frame()
            except FormatError as error:
                self.problems.append(str(error))
                self._eh_frame = (None, self._section(".eh_frame", is_eh=True))
        return self._eh_frame

    def eh_frame_at(self, address: int) -> tuple[EhFrameHdr | None, CfiSection | None]:
        """The search table and .eh_frame that are for a file address."""
        return self.eh_frame()

    def debug_frames(self) -> list[CfiSection]:
        """.debug_frame of the file and of its separate debug file."""
        if self._debug_frames is None:
            debug = self._find_debug() if self._find_debug else None
            found = (
                self._section(".debug_frame", is_eh=False, elf=elf)
                for elf in (self.file, debug)
                if elf is not None
            )
            self._debug_frames = [section for section in found if section is not None]
        return self._debug_frames

    def exidx(self) -> ExidxTable | None:
        """The exception index of a 32-bit Arm module, if it has one."""
        if self._exidx is None:
            self._exidx = (self._find_exidx(),)
        return self._exidx[0]

    def _find_exidx(self) -> ExidxTable | None:
        from unspool.formats.exidx import ExidxTable

        assert self.elf is not None
        for header in self.elf.program_headers():
            if header.type == PT_ARM_EXIDX:
                located = self.bytes_at(header.vaddr)
                if located is None:
                    continue
                buffer, start, end = located
                return ExidxTable(buffer, start, min(end, start + header.memsz), header.vaddr)
        return None

    def _find_eh_frame(self) -> tuple[EhFrameHdr | None, CfiSection | None]:
        elf = self.elf
        assert elf is not None
        size = elf.address_size
        for header in elf.program_headers():
            if header.type != PT_GNU_EH_FRAME:
                continue
            located = self.bytes_at(header.vaddr)
            if located is None:
                break
            buffer, start, end = located
            end = min(end, start + header.memsz)
            hdr = EhFrameHdr(buffer, start, end, header.vaddr, size)
            frames = self.bytes_at(hdr.eh_frame)
            if frames is None:
                break
            section = CfiSection(
                *frames, hdr.eh_frame, is_eh=True, address_size=size, data_base=header.vaddr
            )
            return (hdr if len(hdr) else None), section
        return None, self._section(".eh_frame", is_eh=True)

    def bytes_at(self, address: int) -> tuple[Buffer, int, int] | None:
        """The bytes from a file address to the end of its segment, as (buffer, start, end)."""
        if self.file is not None:
            for header in self.file.program_headers():
                delta = address - header.vaddr
                if header.type == PT_LOAD and 0 <= delta < header.filesz:
                    return self.file.buffer, header.offset + delta, header.offset + header.filesz
        window = self.memory.window(address + self.bias)
        if window is None:
            return None
        return window.buffer, address + self.bias - window.base, window.high - window.base

    def _section(self, name: str, *, is_eh: bool, elf: Elf | None = None) -> CfiSection | None:
        elf = elf or self.file
        section = elf.section(name) if elf else None
        if elf is None or section is None or section.type == SHT_NOBITS:
            return None
        try:
            buffer, start, end = elf.section_data(section)
        except FormatError as error:
            self.problems.append(str(error))
            return None
        return CfiSection(
            buffer, start, end, section.address, is_eh=is_eh, address_size=elf.address_size
        )
