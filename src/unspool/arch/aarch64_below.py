"""Which A64 instructions read or write below the stack pointer?

Loads and stores that name it with a negative offset; one that moves the stack pointer first
(`[sp, #-16]!`) or afterwards does not. Few forms have such offsets, and each is known by its bits
(Arm Architecture Reference Manual for A-profile, C4.1.88, "Loads and Stores"). Other registers
that hold addresses of the stack are not followed: compilers have no reason to, since no ABI for
Linux gives them anything below. Nor are SVE's loads and stores, whose sizes are the processor's.
"""

from __future__ import annotations

from unspool.arch.x86_below import Below

_SP = 31
_NOTHING = frozenset((0, 0xD503201F))  # udf #0, nop
_WIDTHS = "bhsdq"
# Of integers, by size and opc: mnemonic's end, register; opc 0 is a store.
_LOADS = {
    (0, 1): ("b", "w"), (0, 2): ("sb", "x"), (0, 3): ("sb", "w"), (1, 1): ("h", "w"),
    (1, 2): ("sh", "x"), (1, 3): ("sh", "w"), (2, 1): ("", "w"), (2, 2): ("sw", "x"),
    (3, 1): ("", "x"),
}  # fmt: skip
_STORES = (("b", "w"), ("h", "w"), ("", "w"), ("", "x"))


def below_stack(code: bytes, address: int) -> list[Below]:
    """The operands below the stack pointer in code that begins at `address`, a multiple of 4."""
    words = memoryview(code)[: len(code) // 4 * 4].cast("I")
    found = []
    for index, word in enumerate(words):
        if word >> 5 & 31 != _SP:
            continue
        what = _single(word) or _pair(word) or _authenticated(word)
        if what is not None and what[0] < 0:
            offset, size, access, text = what
            found.append(Below(address + 4 * index, -offset, size, access, "operand", text))
    return found


def is_padding(code: bytes) -> bool:
    """Whether there are nothing but instructions that do nothing, and zeros."""
    words = memoryview(code)[: len(code) // 4 * 4].cast("I")
    return all(word in _NOTHING for word in words)


def _single(word: int) -> tuple[int, int, str, str] | None:
    """One register, with an offset of -256 to 255: LDUR, STUR, LDTR, STTR, LDAPUR, STLUR."""
    kind = word & 0x3B200C00
    ordered = word & 0x3F200C00 == 0x19000000
    if kind not in (0x38000000, 0x38000800) and not ordered:
        return None
    size, opc, register = word >> 30, word >> 22 & 3, word & 31
    offset = (word >> 12 & 0x1FF ^ 0x100) - 0x100
    middle = "ur" if kind == 0x38000000 else "tr"
    if word >> 26 & 1:  # of the vector registers
        size |= opc << 1 & 4
        if size > 4 or kind != 0x38000000:
            return None
        load, end, name = opc & 1, "", _WIDTHS[size]
    else:
        load = opc
        form = _LOADS.get((size, opc)) if opc else _STORES[size]
        if form is None:  # a prefetch, or no instruction
            return None
        end, name = form
    front = ("ldapur" if load else "stlur") if ordered else ("ld" if load else "st") + middle
    zero = register == 31 and name in "wx"
    text = f"{front}{end} {name}{'zr' if zero else register}, [sp, #{offset}]"
    return offset, 1 << size, "read" if load else "write", text


def _authenticated(word: int) -> tuple[int, int, str, str] | None:
    """LDRAA, LDRAB: a pointer with its code."""
    if word & 0xFF200C00 != 0xF8200400:
        return None
    offset = ((word >> 13 & 0x200 | word >> 12 & 0x1FF) ^ 0x200) - 0x200
    register = "zr" if word & 31 == 31 else str(word & 31)
    text = f"ldra{'ab'[word >> 23 & 1]} x{register}, [sp, #{offset * 8}]"
    return offset * 8, 8, "read", text


def _pair(word: int) -> tuple[int, int, str, str] | None:
    """Two registers, with an offset of -64 to 63 times their size: LDP, STP, LDNP, STNP."""
    kind = word & 0x3B800000
    if kind not in (0x28000000, 0x29000000):
        return None
    opc, load = word >> 30, word >> 22 & 1
    offset = (word >> 15 & 0x7F ^ 0x40) - 0x40
    if opc == 3 or (word >> 26 & 1 == 0 and opc == 1 and (not load or kind == 0x28000000)):
        return None  # no instruction; STGP of memory tags
    if word >> 26 & 1:
        size, name, end = 4 << opc, "sdq"[opc], ""
    else:
        size, name, end = (8, "x", "") if opc == 2 else (4, "xw"[opc == 0], "sw" * (opc == 1))
    front = ("ld" if load else "st") + ("np" if kind == 0x28000000 else "p")
    one, other = (
        "zr" if each == 31 and name in "wx" else str(each) for each in (word & 31, word >> 10 & 31)
    )
    text = f"{front}{end} {name}{one}, {name}{other}, [sp, #{offset * size}]"
    return offset * size, 2 * size, "read" if load else "write", text
