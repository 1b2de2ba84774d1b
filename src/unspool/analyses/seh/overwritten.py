"""The bytes of a bad record and around it, and what they look like."""

from __future__ import annotations

from struct import unpack_from

from unspool.analyses.seh.records import END_MARKER, Overwritten, Word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.analyses.seh.records import Chain
    from unspool.targets.base import Target

# Bytes shown before and behind a record's first byte, and bytes searched for the run of text.
_BEFORE, _BEHIND = 16, 32
_TEXT_REACH = 512
_SHORTEST_TEXT = 8
_TEXT = frozenset((*range(0x20, 0x7F), 0x09, 0x0A, 0x0D))
_RECORD = 8


def overwritten(target: Target, chain: Chain, address: int) -> Overwritten | None:
    """What lies at a record and around it; None if nothing can be read there."""
    start = max(address - _BEFORE, 0)
    data = _around(target, start, address, address + _BEHIND)
    if not data[1]:
        return None
    start, held = data
    text = _run_of_text(target, address)
    low, high = (text[0], text[0] + len(text[1])) if text is not None else (0, 0)
    words = []
    for offset in range(0, len(held) - 3, 4):
        at, value = start + offset, *unpack_from("<I", held, offset)
        words.append(_word(target, chain, at, value, low <= at and at + 4 <= high))
    return Overwritten(start, held, words, text)


def _around(target: Target, low: int, address: int, high: int) -> tuple[int, bytes]:
    """The bytes in `[low, high)` that lie without a gap around an address, and their start."""
    memory = target.space.memory
    while low < address and not memory.read_available(low, 1):
        low += 1
    data = memory.read_available(low, high - low)
    return (low, data) if len(data) > address - low else (address, b"")


def _word(target: Target, chain: Chain, address: int, value: int, in_text: bool) -> Word:
    """`in_text` says that the word is part of a run of text: then that it is, whatever else."""
    raw = value.to_bytes(4, "little")
    if in_text:
        return Word(address, value, "text", raw.decode("ascii"))
    if value == END_MARKER:
        return Word(address, value, "marker")
    if value == 0:
        return Word(address, value, "zero")
    module = target.space.module_at(value)
    if module is not None:
        return Word(address, value, "pointer", f"{module.name}+0x{value - module.base:x}")
    if chain.stack_limit <= value < chain.stack_base:
        return Word(address, value, "pointer", "this stack")
    # Four letters can be an address as well; it is the rarer one.
    if all(byte in _TEXT for byte in raw):
        return Word(address, value, "text", raw.decode("ascii"))
    if target.space.memory.region(value) is not None:
        return Word(address, value, "pointer", "mapped memory")
    return Word(address, value, "value")


def _run_of_text(target: Target, address: int) -> tuple[int, bytes] | None:
    """The run of text that covers a byte of the record, if it is long enough to be one."""
    start, data = _around(
        target, max(address - _TEXT_REACH, 0), address, address + _RECORD + _TEXT_REACH
    )
    middle = address - start
    record = data[middle : middle + _RECORD]
    inside = [middle + at for at, byte in enumerate(record) if byte in _TEXT]
    if not inside:
        return None
    low = high = inside[0]
    while low > 0 and data[low - 1] in _TEXT:
        low -= 1
    while high < len(data) and data[high] in _TEXT:
        high += 1
    return (start + low, data[low:high]) if high - low >= _SHORTEST_TEXT else None
