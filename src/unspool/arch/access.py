"""Does an AArch64 load or store read memory, or write it?

The encoding says it in a few bits. x86 has no such order: there a library decodes
(`targets/fault.py`).
"""

from __future__ import annotations

READ, WRITE, UNKNOWN = "read", "write", ""


def aarch64_access(word: int) -> str:
    """Whether an A64 instruction reads or writes memory; what does both counts as a write.

    Arm ARM, C4.1 "A64 instruction set encoding", loads and stores.
    """
    if word & 0xFFFFFFE0 in (0xD50B7420, 0xD50B7460, 0xD50B7480):
        return WRITE  # dc zva, gva, gzva: memset
    if word >> 25 & 0b0101 != 0b0100:
        return UNKNOWN
    load = READ if word >> 22 & 1 else WRITE
    kind = word >> 27 & 7
    if kind == 0b011 and word >> 24 & 3 == 0:
        return READ if word >> 30 < 3 else UNKNOWN  # a literal; a prefetch never faults
    if kind == 0b001 and word >> 24 & 3 == 0:  # exclusive and ordered
        is_swap = word >> 21 & 1 and (word >> 23 & 1 or not word >> 31)
        return WRITE if is_swap else load
    if kind == 0b001 and word >> 26 & 1:
        return load  # vectors of structures
    if kind == 0b101:
        return load  # pairs
    if kind == 0b111:
        return _register_access(word)
    if kind == 0b011 and word >> 24 & 3 == 1 and not word >> 21 & 1 and not word >> 10 & 3:
        return WRITE if word >> 22 & 3 == 0 else READ  # ldapur, stlur
    return UNKNOWN


def _register_access(word: int) -> str:
    size, is_vector, opc = word >> 30, word >> 26 & 1, word >> 22 & 3
    if word >> 24 & 1 == 0 and word >> 21 & 1:
        form = word >> 10 & 3
        if form == 0:  # atomic operations; ldapr alone just reads
            return READ if word >> 12 & 0xF == 0b1100 else WRITE
        if form & 1:
            return READ  # ldraa, ldrab
    if is_vector:
        return READ if opc & 1 else WRITE
    if size == 3 and opc == 2:
        return UNKNOWN  # a prefetch never faults
    return WRITE if opc == 0 else READ
