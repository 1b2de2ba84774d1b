"""Data table: threads' registers in minidumps, a CONTEXT of Windows for each processor.

A layout's fields are the structure's; `ContextTable.registers` says which DWARF number each
general register has (the numbers of `arch`), for reading and for writing. Sources: winnt.h,
Breakpad's minidump_cpu_*.h.
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.formats.minidump import names
from unspool.formats.minidump.layout import Layout

TYPE_CHECKING = False
if TYPE_CHECKING:

    from unspool.cursor import Buffer

    # DWARF number or name, start and end, bits that count, bits of ContextFlags that vouch for it
    Place = tuple[int | str, int, int, int, int]

# Bits of ContextFlags. FLOATING_POINT and what follows lie elsewhere on ARM.
CONTROL, INTEGER, SEGMENTS = 1, 2, 4
X86_FLOATING_POINT, X86_DEBUG_REGISTERS, X86_EXTENDED_REGISTERS, XSTATE = 8, 0x10, 0x20, 0x40
ARM_FLOATING_POINT, ARM_DEBUG_REGISTERS = 4, 8


class ContextTable:
    """A context's layout and what its fields are.

    `cpu` is the bit of ContextFlags that says whose context it is, `registers` DWARF number ->
    field, `special` name of `model.Thread.special` -> field. `parts` says which bit of
    ContextFlags vouches for which fields. `floating` is the field of the floating point state
    and the bit that vouches for it.
    """

    __slots__ = (
        "_places", "cpu", "flags_table", "floating", "layout", "parts", "registers", "special",
    )  # fmt: skip

    def __init__(
        self,
        layout: Layout,
        cpu: int,
        flags_table: str,
        registers: dict[int, str],
        parts: tuple[tuple[int, frozenset[str]], ...],
        *,
        special: dict[str, str] | None = None,
        floating: tuple[int, str] | None = None,
    ) -> None:
        self.layout = layout
        self.cpu = cpu
        self.flags_table = flags_table
        self.registers = registers
        self.parts = parts
        self.special = special or {}
        self.floating = floating
        self._places: list[Place] | None = None

    @property
    def register_count(self) -> int:
        return max(self.registers) + 1

    def mask(self, field: str) -> int:
        """The bits of a register of `special` that count: 16 of selectors, 32 of flags."""
        return 0xFFFF if field.startswith("Seg") else 0xFFFFFFFF

    def places(self) -> list[Place]:
        """Where `registers` and `special` are in the bytes of a context."""
        if self._places is None:
            self._places = [self._place(number, name) for number, name in self.registers.items()]
            self._places += [self._place(key, name) for key, name in self.special.items()]
        return self._places

    def _place(self, key: int | str, name: str) -> Place:
        field = self.layout.field(name)
        bits = sum(bit for bit, fields in self.parts if name in fields)
        mask = self.mask(name) if isinstance(key, str) else (1 << 64) - 1
        return key, field.offset, field.offset + field.size, mask, bits


class Context:
    """A thread's registers: by DWARF number, None where they are not in the context.

    `special` has those of `model.Thread.special` that a context holds. `table` says where the
    other fields are; `floating` is the x87 and SSE state as FXSAVE stores it (x86, 512 bytes),
    None where there is none.
    """

    __slots__ = ("flags", "floating", "registers", "special", "table")

    def __init__(
        self, table: ContextTable, flags: int, registers: list[int | None],
        special: dict[str, int], floating: bytes | None,
    ) -> None:  # fmt: skip
        self.table = table
        self.flags = flags
        self.registers = registers
        self.special = special
        self.floating = floating


_FLOATING_SAVE_AREA = Layout(
    "FLOATING_SAVE_AREA",
    "x87 state as FSAVE stores it",
    (
        ("ControlWord", "u32", "hex", "rounding, precision, masked exceptions"),
        ("StatusWord", "u32", "hex", "exceptions, condition codes, top of the stack"),
        ("TagWord", "u32", "hex", "which registers are empty"),
        ("ErrorOffset", "u32", "address", "the last instruction"),
        ("ErrorSelector", "u32", "hex", "its code segment and opcode"),
        ("DataOffset", "u32", "address", "the last operand"),
        ("DataSelector", "u32", "hex", "its segment"),
        ("RegisterArea", "bytes[80]", "raw", "st0 to st7, 10 bytes each"),
        ("Cr0NpxState", "u32", "hex", "unused"),
    ),
)

X86 = Layout(
    "CONTEXT (x86)",
    "registers of a thread of 32-bit x86",
    (
        ("ContextFlags", "u32", "flags:CONTEXT_X86", "which registers are valid"),
        *((f"Dr{n}", "u32", "hex", "debug register") for n in (0, 1, 2, 3, 6, 7)),
        ("FloatSave", _FLOATING_SAVE_AREA, "", "x87 state"),
        *((f"Seg{n}s", "u32", "hex", f"selector {n.lower()}s") for n in "GFED"),
        ("Edi", "u32", "hex", "register edi"),
        ("Esi", "u32", "hex", "register esi"),
        ("Ebx", "u32", "hex", "register ebx"),
        ("Edx", "u32", "hex", "register edx"),
        ("Ecx", "u32", "hex", "register ecx"),
        ("Eax", "u32", "hex", "register eax"),
        ("Ebp", "u32", "address", "register ebp, the frame pointer"),
        ("Eip", "u32", "address", "register eip, the instruction"),
        ("SegCs", "u32", "hex", "selector cs"),
        ("EFlags", "u32", "hex", "flags"),
        ("Esp", "u32", "address", "register esp, the stack pointer"),
        ("SegSs", "u32", "hex", "selector ss"),
        ("ExtendedRegisters", "bytes[512]", "raw", "x87 and SSE state as FXSAVE stores it"),
    ),
)

_XMM_SAVE_AREA = Layout(
    "XMM_SAVE_AREA32",
    "x87 and SSE state as FXSAVE stores it",
    (
        ("ControlWord", "u16", "hex", "rounding, precision, masked exceptions"),
        ("StatusWord", "u16", "hex", "exceptions, condition codes, top of the stack"),
        ("TagWord", "u8", "hex", "which registers are in use"),
        ("Reserved1", "u8", "reserved", "unused"),
        ("ErrorOpcode", "u16", "hex", "the last instruction's opcode"),
        ("ErrorOffset", "u32", "address", "the last instruction"),
        ("ErrorSelector", "u16", "hex", "its code segment"),
        ("Reserved2", "u16", "reserved", "unused"),
        ("DataOffset", "u32", "address", "the last operand"),
        ("DataSelector", "u16", "hex", "its segment"),
        ("Reserved3", "u16", "reserved", "unused"),
        ("MxCsr", "u32", "hex", "SSE's rounding and exceptions"),
        ("MxCsr_Mask", "u32", "hex", "which bits of it there are"),
        *((f"St{n}", "bytes[16]", "raw", f"register st{n}, 10 bytes of it") for n in range(8)),
        *((f"Xmm{n}", "bytes[16]", "raw", f"register xmm{n}") for n in range(16)),
        ("Reserved4", "bytes[96]", "reserved", "unused"),
    ),
)

_AMD64_INTEGER = (
    "Rax", "Rcx", "Rdx", "Rbx", "Rsp", "Rbp", "Rsi", "Rdi",
    "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15",
)  # fmt: skip

AMD64 = Layout(
    "CONTEXT (AMD64)",
    "registers of a thread of x86-64; extended state may follow",
    (
        *((f"P{n}Home", "u64", "hex", "room for an argument; unused") for n in range(1, 7)),
        ("ContextFlags", "u32", "flags:CONTEXT_AMD64", "which registers are valid"),
        ("MxCsr", "u32", "hex", "SSE's rounding and exceptions"),
        *((f"Seg{n}s", "u16", "hex", f"selector {n.lower()}s") for n in "CDEFGS"),
        ("EFlags", "u32", "hex", "flags"),
        *((f"Dr{n}", "u64", "hex", "debug register") for n in (0, 1, 2, 3, 6, 7)),
        *((name, "u64", "hex", f"register {name.lower()}") for name in _AMD64_INTEGER[:4]),
        ("Rsp", "u64", "address", "register rsp, the stack pointer"),
        *((name, "u64", "hex", f"register {name.lower()}") for name in _AMD64_INTEGER[5:]),
        ("Rip", "u64", "address", "register rip, the instruction"),
        ("FltSave", _XMM_SAVE_AREA, "", "x87 and SSE state"),
        *((f"Vector{n}", "bytes[16]", "raw", "vector register") for n in range(26)),
        ("VectorControl", "u64", "hex", "of the vector registers; unused"),
        ("DebugControl", "u64", "hex", "which branches are recorded"),
        ("LastBranchToRip", "u64", "address", "where the last branch went"),
        ("LastBranchFromRip", "u64", "address", "where the last branch was"),
        ("LastExceptionToRip", "u64", "address", "where the last exception went"),
        ("LastExceptionFromRip", "u64", "address", "where the last exception was"),
    ),
)

_ARM64_REGISTERS = (
    *((f"X{n}", "u64", "hex", f"register x{n}") for n in range(29)),
    ("Fp", "u64", "address", "register x29, the frame pointer"),
    ("Lr", "u64", "address", "register x30, the return address"),
    ("Sp", "u64", "address", "register sp, the stack pointer"),
    ("Pc", "u64", "address", "the instruction"),
)
_ARM64_VECTORS = tuple((f"V{n}", "bytes[16]", "raw", f"register v{n}") for n in range(32))

ARM64 = Layout(
    "CONTEXT (ARM64)",
    "registers of a thread of 64-bit ARM",
    (
        ("ContextFlags", "u32", "flags:CONTEXT_ARM64", "which registers are valid"),
        ("Cpsr", "u32", "hex", "flags"),
        *_ARM64_REGISTERS,
        *_ARM64_VECTORS,
        ("Fpcr", "u32", "hex", "floating point control"),
        ("Fpsr", "u32", "hex", "floating point status"),
        ("Bcr", "u32[8]", "hex", "control of breakpoints"),
        ("Bvr", "u64[8]", "address", "addresses of breakpoints"),
        ("Wcr", "u32[2]", "hex", "control of watchpoints"),
        ("Wvr", "u64[2]", "address", "addresses of watchpoints"),
    ),
)

# Breakpad had a context of its own before Windows ran on the processor, and still writes it on
# Linux and Android (MDRawContextARM64_Old, packed).
ARM64_OLD = Layout(
    "MDRawContextARM64_Old",
    "registers of a thread of 64-bit ARM, as Breakpad writes them",
    (
        ("ContextFlags", "u64", "flags:CONTEXT_ARM64_OLD", "which registers are valid"),
        *_ARM64_REGISTERS,
        ("Cpsr", "u32", "hex", "flags"),
        ("Fpsr", "u32", "hex", "floating point status"),
        ("Fpcr", "u32", "hex", "floating point control"),
        *_ARM64_VECTORS,
    ),
)

# Microsoft's has 48 bytes of debug registers where Breakpad's has 32 bytes of its own.
ARM = Layout(
    "CONTEXT (ARM)",
    "registers of a thread of 32-bit ARM",
    (
        ("ContextFlags", "u32", "flags:CONTEXT_ARM", "which registers are valid"),
        *((f"R{n}", "u32", "hex", f"register r{n}") for n in range(13)),
        ("Sp", "u32", "address", "register r13, the stack pointer"),
        ("Lr", "u32", "address", "register r14, the return address"),
        ("Pc", "u32", "address", "register r15, the instruction"),
        ("Cpsr", "u32", "hex", "flags"),
        ("Fpscr", "u32", "hex", "floating point status and control"),
        ("Padding", "u32", "reserved", "unused"),
        *((f"D{n}", "u64", "hex", f"register d{n}") for n in range(32)),
        ("Extra", "bytes[32]", "raw", "control words"),
    ),
)

# System V ABI, Intel386 supplement, table 2.14.
_X86_NUMBERS = dict(enumerate(("Eax", "Ecx", "Edx", "Ebx", "Esp", "Ebp", "Esi", "Edi", "Eip")))
X86_TABLE = ContextTable(
    X86,
    0x10000,
    "CONTEXT_X86",
    _X86_NUMBERS,
    (
        (CONTROL, frozenset(("Ebp", "Eip", "SegCs", "EFlags", "Esp", "SegSs"))),
        (INTEGER, frozenset(("Edi", "Esi", "Ebx", "Edx", "Ecx", "Eax"))),
        (SEGMENTS, frozenset(("SegGs", "SegFs", "SegEs", "SegDs"))),
    ),
    special={**{f"{n}s": f"Seg{n.upper()}s" for n in "cdefgs"}, "eflags": "EFlags"},
    floating=(X86_EXTENDED_REGISTERS, "ExtendedRegisters"),
)

# System V ABI, AMD64 supplement, figure 3.36.
_AMD64_NUMBERS = (
    "Rax",
    "Rdx",
    "Rcx",
    "Rbx",
    "Rsi",
    "Rdi",
    "Rbp",
    "Rsp",
    *_AMD64_INTEGER[8:],
    "Rip",
)
_AMD64_CONTROL = frozenset(("SegSs", "Rsp", "SegCs", "Rip", "EFlags"))
AMD64_TABLE = ContextTable(
    AMD64,
    0x100000,
    "CONTEXT_AMD64",
    dict(enumerate(_AMD64_NUMBERS)),
    (
        (CONTROL, _AMD64_CONTROL),
        (INTEGER, frozenset(_AMD64_NUMBERS) - _AMD64_CONTROL),
        (SEGMENTS, frozenset(("SegDs", "SegEs", "SegFs", "SegGs"))),
    ),
    special={**{f"{n}s": f"Seg{n.upper()}s" for n in "cdefgs"}, "eflags": "EFlags"},
    floating=(X86_FLOATING_POINT, "FltSave"),
)

# AADWARF64, table 4: x0 to x30, sp 31, pc 32.
_ARM64_NAMES = tuple(row[0] for row in _ARM64_REGISTERS)
_ARM64_CONTROL = frozenset(("Fp", "Lr", "Sp", "Pc", "Cpsr"))
ARM64_TABLE = ContextTable(
    ARM64,
    0x400000,
    "CONTEXT_ARM64",
    dict(enumerate(_ARM64_NAMES)),
    ((CONTROL, _ARM64_CONTROL), (INTEGER, frozenset(_ARM64_NAMES) - _ARM64_CONTROL)),
    special={"pstate": "Cpsr"},
)
ARM64_OLD_TABLE = ContextTable(
    ARM64_OLD,
    0x80000000,
    "CONTEXT_ARM64_OLD",
    dict(enumerate(_ARM64_NAMES)),
    ((INTEGER, frozenset((*_ARM64_NAMES, "Cpsr"))),),
    special={"pstate": "Cpsr"},
)

# AADWARF32: r0 to r15.
_ARM_NAMES = (*(f"R{n}" for n in range(13)), "Sp", "Lr", "Pc")
_ARM_CONTROL = frozenset(("Sp", "Lr", "Pc", "Cpsr"))
_ARM_ALL = frozenset((*_ARM_NAMES, "Cpsr"))
# Breakpad's flags have no CONTROL: INTEGER is for all registers.
ARM_TABLE = ContextTable(
    ARM,
    0x200000 | 0x40000000,
    "CONTEXT_ARM",
    dict(enumerate(_ARM_NAMES)),
    ((CONTROL, _ARM_CONTROL), (INTEGER, _ARM_ALL)),
    special={"cpsr": "Cpsr"},
)

# Of the two bits Breakpad and its readers write and want the one, Windows the other.
ARM_BREAKPAD_TABLE = ContextTable(
    ARM, 0x40000000, "CONTEXT_ARM", dict(enumerate(_ARM_NAMES)),
    ((INTEGER, _ARM_ALL),), special={"cpsr": "Cpsr"},
)  # fmt: skip

_TABLES = {
    names.X86: (X86_TABLE,),
    names.X86_ON_WIN64: (X86_TABLE,),
    names.AMD64: (AMD64_TABLE,),
    names.ARM64: (ARM64_TABLE, ARM64_OLD_TABLE),
    names.ARM64_OLD: (ARM64_OLD_TABLE, ARM64_TABLE),
    names.ARM: (ARM_TABLE,),
}
# For dumps that do not say what processor they are of. Each keeps its flags in a place and with
# a bit of its own, but for chance; the one with the strictest size comes first.
_ANY = (AMD64_TABLE, ARM64_TABLE, ARM64_OLD_TABLE, X86_TABLE, ARM_TABLE)


def find_table(data: Buffer, processor_architecture: int | None) -> ContextTable:
    """The table for a context: its flags and its size say which of a processor's it is.

    Raises `FormatError` if it is of none. None for the processor means that any will do.
    """
    if processor_architecture is None:
        candidates: tuple[ContextTable, ...] = _ANY
    else:
        candidates = _TABLES.get(processor_architecture, ())
        if not candidates:
            what = f"of processor architecture {processor_architecture}, whose layout is not known"
            raise FormatError("context", what)
    for table in candidates:
        # Old writers leave out the end: x86 without its extended registers.
        if len(data) >= _least(table) and _flags(table, data) & table.cpu:
            return table
    if len(data) < min(_least(table) for table in candidates):
        raise FormatError("context", f"cut short: {len(data)} bytes")
    flags = _flags(candidates[0], data) if len(data) >= 52 else 0
    raise FormatError("context", f"flags 0x{flags:x} are not of this processor")


def _least(table: ContextTable) -> int:
    """Bytes up to the end of the last register that a walk needs."""
    if table is X86_TABLE:
        return X86.size - 512
    if table is ARM_TABLE:
        return 72
    return table.layout.field("FltSave").offset if table is AMD64_TABLE else 272


def _flags(table: ContextTable, data: Buffer) -> int:
    field = table.layout.field("ContextFlags")
    return int.from_bytes(data[field.offset : field.offset + 4], "little")


def parse_context(data: Buffer, processor_architecture: int | None) -> Context:
    """A thread's registers from the bytes of its context.

    `processor_architecture` is that of the dump's system info, None if it has none. Raises
    `FormatError` if the bytes are too few or of another processor.
    """
    table = find_table(data, processor_architecture)
    flags, size = _flags(table, data), len(data)
    registers: list[int | None] = [None] * table.register_count
    special: dict[str, int] = {}
    for key, start, end, mask, bits in table.places():
        if flags & bits and end <= size:
            value = int.from_bytes(data[start:end], "little") & mask
            if isinstance(key, str):
                special[key] = value
            else:
                registers[key] = value
    return Context(table, flags, registers, special, _floating(table, flags, data))


def _floating(table: ContextTable, flags: int, data: Buffer) -> bytes | None:
    if table.floating is None or not flags & table.floating[0]:
        return None
    field = table.layout.field(table.floating[1])
    state = bytes(data[field.offset : field.offset + field.size])
    return state if len(state) == field.size else None
