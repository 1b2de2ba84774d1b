"""Unpacks a stream into a spool, no further than makes sense.

A few kilobytes can unpack to terabytes. How much a core may hold is in its program
headers, which come first: unpacking ends where they end. What is no core ends at a fixed
size, and the spool bounds what is stored.
"""

from __future__ import annotations

from unspool.errors import FormatError, InputError
from unspool.targets.input.decompress import Unpacker
from unspool.targets.input.feed import Damage, Feed, recognise
from unspool.targets.input.magic import HEAD, refuse_foreign, sniff
from unspool.targets.input.spool import Full, Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from mmap import mmap

    Progress = Callable[[int], None]

_STOPPED = "unpacking stopped"
_PROGRESS_STEP = 4 << 20

_MAX_ELF = 1 << 40
_MAX_MINIDUMP = 64 << 30
_MAX_OTHER = 1 << 30
_MAX_TABLE = 16 << 20
# Some writers of cores round up, and some append.
_SLACK = 1 << 20
_NEVER = 1 << 63


class Unpacked:
    """What came out: `buffer`; `truncated` in words, "" if all of it; harmless oddities."""

    __slots__ = ("buffer", "compression", "notes", "truncated")

    def __init__(self, buffer: mmap, compression: str, truncated: str, notes: list[str]) -> None:
        self.buffer = buffer
        self.compression = compression
        self.truncated = truncated
        self.notes = notes


def unpack(
    fd: int, name: str, progress: Progress | None = None, *, plain: bool = False
) -> Unpacked | None:
    """Unpacks what can be read of `fd`; `name` is for messages.

    Data that are not compressed are copied if `plain`, else the answer is None. Raises
    `InputError` if not one byte comes out, and `MissingDependency`.
    """
    feed = Feed(fd)
    try:
        compression = recognise(feed)
        head = feed.peek(HEAD)
    except Damage as damage:
        raise InputError(f"{name}: {damage.what} ({damage.detail})") from None
    if compression:
        unpacker = Unpacker(compression, feed, name)
        result = _fill(unpacker, compression, name, progress)
        result.notes += [unpacker.note] if unpacker.note else []
        return result
    if not plain:
        return None
    refuse_foreign(head, name)
    return _fill(iter(feed.some, b""), "", name, progress)


def _fill(
    pieces: Iterable[bytes], compression: str, name: str, progress: Progress | None
) -> Unpacked:
    spool = Spool()
    notes: list[str] = []
    try:
        ending = _pump_all(pieces, spool, notes, progress)
    except BaseException:
        spool.close()
        raise
    size = spool.size
    if not size:
        spool.close()
        raise _nothing(name, ending)
    return Unpacked(spool.map(), compression, ending.sentence(f"after {size:,} bytes"), notes)


class _Ending:
    """Why the data end early, in words; empty if they do not."""

    __slots__ = ("clause", "detail", "hint")

    def __init__(self, clause: str = "", detail: str = "", hint: str = "") -> None:
        self.clause = clause
        self.detail = detail
        self.hint = hint

    def sentence(self, where: str) -> str:
        if not self.clause:
            return ""
        detail = f" ({self.detail})" if self.detail else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.clause} {where}{detail}{hint}"


def _nothing(name: str, ending: _Ending) -> InputError:
    if not ending.clause:
        return InputError(f"{name} is empty", "did the program that wrote it fail?")
    whole = ending.clause == _STOPPED  # as far as we know
    hint = ending.hint or ("give it more room" if whole else "is it complete? copy it again")
    ending.hint = ""
    return InputError(f"{name}: {ending.sentence('before the first byte')}", hint)


def _pump_all(
    pieces: Iterable[bytes], spool: Spool, notes: list[str], progress: Progress | None
) -> _Ending:
    """Writes the pieces into the spool as far as that goes."""
    extent = _Extent()
    try:
        is_all = _pump(pieces, spool, extent, progress)
    except Damage as damage:
        if damage.hint:  # nothing is wrong with them, it is too much for us
            return _Ending(_STOPPED, damage.what, damage.hint)
        return _Ending(damage.what, damage.detail)
    except Full as full:
        return _Ending(_STOPPED, str(full))
    if is_all:
        return _Ending()
    if not extent.is_told:
        return _Ending(_STOPPED, "nothing of its kind is longer")
    notes.append("data after the end that the ELF headers tell are ignored")
    return _Ending()


def _pump(
    pieces: Iterable[bytes], spool: Spool, extent: _Extent, progress: Progress | None
) -> bool:
    """Writes the pieces into the spool; false if there were more than `extent` allows."""
    next_report = _PROGRESS_STEP
    for piece in pieces:
        room = extent.limit - spool.size
        if len(piece) > room:
            spool.write(piece[:room])
            return False
        spool.write(piece)
        if spool.size >= extent.needed:
            extent.look(spool)
        if progress and spool.size >= next_report:
            progress(spool.size)
            next_report = spool.size + _PROGRESS_STEP
    return True


class _Extent:
    """How many bytes there can be: `limit`. `is_told` if it comes from ELF headers.

    It is worth a `look` when `needed` bytes have arrived.
    """

    __slots__ = ("is_told", "limit", "needed")

    def __init__(self) -> None:
        self.limit = _MAX_OTHER
        self.is_told = False
        self.needed = 64

    def look(self, spool: Spool) -> None:
        head = spool.read(0, min(spool.size, self.needed))
        self.needed = _NEVER
        kind = sniff(head)
        if kind == "minidump":
            self.limit = _MAX_MINIDUMP
        elif kind == "elf":
            self._look_at_elf(head)

    def _look_at_elf(self, head: bytes) -> None:
        from unspool.formats.elf import PN_XNUM, Elf

        try:
            elf = Elf(head)
        except FormatError:
            return
        self.limit = _MAX_ELF
        table_end = elf.phoff + elf.phnum * elf.phentsize
        if len(head) < table_end <= _MAX_TABLE:
            self.needed = table_end
            return
        section_end = elf.shoff + max(elf.shnum, 1) * elf.shentsize
        if elf.phnum == PN_XNUM and not elf.shoff:
            return
        end = max(table_end, section_end)
        for header in elf.program_headers():
            end = max(end, header.offset + header.filesz)
        self.limit = min(end + _SLACK, _MAX_ELF)
        self.is_told = True
