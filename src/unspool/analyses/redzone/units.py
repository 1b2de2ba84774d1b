"""Which code to look at: a file's functions, what lies between them, and their CFI."""

from __future__ import annotations

from bisect import bisect_left

from unspool.errors import FormatError
from unspool.unwind.strategies.dwarf_cfi import find_fde

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from unspool.arch.base import Arch
    from unspool.formats.cfi import CfiSection
    from unspool.image import Image
    from unspool.pe_image import PeImage
    from unspool.symbols.functions import Function

    # A function's name (None: not known), its start and its end.
    Unit = tuple[str | None, int, int]

_PADDING = (b"\x00", b"\x90", b"\xcc")


def cfa_finder(image: Image | PeImage, arch: Arch) -> Callable[[int], tuple[str, int] | None]:
    """What says of a file address how far the CFA is from the stack or frame pointer."""
    from unspool.formats.cfi_row import row_at

    names = {arch.sp: "sp", arch.fp: "fp"}

    def cfa_at(address: int) -> tuple[str, int] | None:
        try:
            found = find_fde(image, address)
            row = row_at(*found, address) if found else None
        except FormatError:
            return None
        if row is None or row.cfa_expression is not None or row.cfa_register not in names:
            return None
        return names[row.cfa_register], row.cfa_offset

    return cfa_at


def fde_ranges(tables: Iterable[CfiSection | None]) -> Iterator[tuple[int, int]]:
    from unspool.formats.cfi_index import index_of

    for section in tables:
        for offset in index_of(section)[1] if section is not None else ():
            try:
                fde = section.fde_at(offset) if section is not None else None
            except FormatError:
                continue
            if fde is not None:
                yield fde.start, fde.end


def function_start(function: Function) -> int:
    """What `units_of` wants functions sorted by."""
    return function.start


def units_of(
    functions: Sequence[Function], unnamed: Sequence[tuple[int, int]], low: int, high: int
) -> list[Unit]:
    """Disjoint ranges of code in `[low, high)`, by address; what is before one is cut off.

    Both are in the order of their starts. Of one start symbols with a size come first, then FDEs,
    then symbols without.
    """
    ranked: list[tuple[int, int, int, str | None]] = []
    first = bisect_left(functions, low, key=function_start)
    for each in functions[first : bisect_left(functions, high, key=function_start)]:
        ranked.append((each.start, 0 if each.sized else 2, -each.end, each.name))
    for start, end in unnamed[bisect_left(unnamed, (low, 0)) : bisect_left(unnamed, (high, 0))]:
        ranked.append((start, 1, -end, None))
    units: list[Unit] = []
    covered = low
    for start, _, end, name in sorted(ranked, key=_by_start):
        # The rest of a function whose begin another one covers is nobody's entry.
        if start >= covered and -end > start:
            units.append((name, start, min(-end, high)))
            covered = units[-1][2]
    return units


def _by_start(ranked: tuple[int, int, int, str | None]) -> tuple[int, int, int]:
    return ranked[:3]


def kind_of(between: bytes, bits: int) -> str:
    """What bytes between functions are: "padding" (nops and such), "code", or "data".

    Hand-written code keeps its tables beside it; some of their bytes are no instruction.
    """
    if not any(between.strip(pad) for pad in _PADDING):
        return "padding"
    from iced_x86 import Decoder, Mnemonic

    nothing = (Mnemonic.NOP, Mnemonic.INT3, Mnemonic.XCHG)
    kind = "padding"
    for each in Decoder(bits, between):
        if each.is_invalid:
            return "data"
        if each.mnemonic not in nothing:
            kind = "code"
    return kind
