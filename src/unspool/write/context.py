"""Threads' registers as CONTEXT structures, those that Breakpad writes for each processor.

Of aarch64 that is Breakpad's own old form: its reader, LLDB and rust-minidump know that one, and
LLDB no other.
"""

from __future__ import annotations

from struct import Struct, pack_into

from unspool.formats.minidump import contexts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from unspool.formats.minidump.contexts import ContextTable
    from unspool.model import Thread
    from unspool.write.draft import Draft
    from unspool.write.output import Output

TABLES = {
    "x86": contexts.X86_TABLE,
    "x86_64": contexts.AMD64_TABLE,
    "aarch64": contexts.ARM64_OLD_TABLE,
    "arm": contexts.ARM_BREAKPAD_TABLE,
}

_NOTHING = bytes(8)


def context(
    table: ContextTable,
    thread: Thread,
    floating: bytes | None,
    keep_word: Callable[[int, int], bool],
) -> bytes:
    """The structure of a thread that has registers.

    `keep_word` is asked for each register's number and value; those that may not stay are 0.
    """
    registers = thread.registers or []
    data = bytearray(table.layout.size)
    flags = table.cpu
    for key, start, end, mask, bits in table.places():
        value: int | None
        if isinstance(key, str):
            value = thread.special.get(key)
        else:
            value = registers[key] if key < len(registers) else None
            if value and not keep_word(key, value):
                value = 0
        if value is not None:
            size = end - start
            data[start:end] = (value & mask & (1 << 8 * size) - 1).to_bytes(size, "little")
            flags |= bits
    if floating is not None:
        flags |= _FLOATING[table.layout.name](table, data, floating)
    at = table.layout.field("ContextFlags").offset
    pack_into("<I", data, at, flags)
    return bytes(data)


def write_contexts(draft: Draft, output: Output) -> None:
    """Puts all threads' registers into the output and their places into `draft.contexts`."""
    for thread in draft.target.threads:
        if thread.index not in draft.contexts:
            draft.contexts[thread.index] = write_context(draft, output, thread)


def write_context(draft: Draft, output: Output, thread: Thread) -> bytes:
    """Puts a thread's registers into the output; a location, empty if there are none.

    Sanitized are all registers but the instruction's address, the stack pointer, segments and
    flags; vectors hold keys and pieces of strings, and are left out.
    """
    if thread.registers is None:
        return _NOTHING
    arch, keep_word = draft.target.arch, draft.keep_word
    floating = draft.target.floating_point(thread) if keep_word is None else None

    always = {arch.pc, arch.sp, *draft.keep_registers.get(thread.index, ())}

    def keeps(number: int, value: int) -> bool:
        return keep_word is None or number in always or keep_word(value)

    return output.location(context(TABLES[arch.report_name], thread, floating, keeps), 16)


def _amd64(table: ContextTable, data: bytearray, image: bytes) -> int:
    start = table.layout.field("FltSave").offset
    data[start : start + 512] = image[:512]
    mxcsr = table.layout.field("MxCsr").offset
    data[mxcsr : mxcsr + 4] = image[24:28]
    return contexts.X86_FLOATING_POINT


def _x86(table: ContextTable, data: bytearray, image: bytes) -> int:
    start = table.layout.field("ExtendedRegisters").offset
    data[start : start + 512] = image[:512]
    start = table.layout.field("FloatSave").offset
    area = fsave(image)
    data[start : start + len(area)] = area
    return contexts.X86_FLOATING_POINT | contexts.X86_EXTENDED_REGISTERS


def _arm64(table: ContextTable, data: bytearray, image: bytes) -> int:
    """`user_fpsimd_state` has the vectors first, then status and control; here they are last."""
    start = table.layout.field("V0").offset
    data[start : start + 512] = image[:512]
    start = table.layout.field("Fpsr").offset
    data[start : start + 8] = image[512:520]
    return contexts.ARM_FLOATING_POINT


def _arm(table: ContextTable, data: bytearray, image: bytes) -> int:
    """`user_vfp` has the registers first, then the status; here that is before them."""
    start = table.layout.field("D0").offset
    data[start : start + 256] = image[:256]
    start = table.layout.field("Fpscr").offset
    data[start : start + 4] = image[256:260]
    return contexts.ARM_FLOATING_POINT


_FLOATING = {
    contexts.ARM.name: _arm,
    contexts.AMD64.name: _amd64,
    contexts.X86.name: _x86,
    contexts.ARM64_OLD.name: _arm64,
}


def fsave(image: bytes) -> bytes:
    """What FSAVE would have stored, by what FXSAVE did: 108 bytes.

    (Intel's manual, volume 1, 8.1.10.) Registers of 10 bytes follow each other; unused halves
    of control words are ones. FXSAVE only tells which registers are in use, so what they hold
    is to be looked at.
    """
    control, status, used, opcode, ip, cs, dp, ds = Struct("<HHBxHIHxxIH").unpack_from(image)
    top = status >> 11 & 7
    registers = [image[32 + 16 * n : 42 + 16 * n] for n in range(8)]
    tags = 0
    for physical in range(8):
        in_use = used >> physical & 1
        tag = _tag(registers[physical - top & 7]) if in_use else 3
        tags |= tag << 2 * physical
    high = 0xFFFF0000
    head = Struct("<7I").pack(
        high | control, high | status, high | tags, ip, cs | (opcode & 0x7FF) << 16, dp, high | ds
    )
    return head + b"".join(registers)


def _tag(register: bytes) -> int:
    """0 for a number, 1 for zero, 2 for what is neither: infinite, denormal, not a number."""
    exponent = int.from_bytes(register[8:10], "little") & 0x7FFF
    fraction = int.from_bytes(register[:8], "little")
    if exponent == 0x7FFF:
        return 2
    if exponent == 0:
        return 2 if fraction else 1
    return 0 if fraction >> 63 else 2
