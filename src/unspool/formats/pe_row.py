"""The row of a pc from x86-64 PE unwind data: where a frame's caller has its registers.

Three cases (Microsoft, "x64 exception handling"): a function without an entry is a leaf and
has not moved the stack pointer; in an epilogue, which only code that is executing can be in,
what is left of it says all; anywhere else the prologue's codes are undone, as far as they
have been executed.
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.formats.pe_epilogue import JUMP, RETURN, Epilogue, epilogue_at
from unspool.formats.pe_unwind import (
    ALLOC_LARGE,
    ALLOC_SMALL,
    INDIRECT,
    PUSH_MACHFRAME,
    PUSH_NONVOL,
    RAX,
    RCX,
    RIP,
    RSP,
    SAVE_NONVOL,
    SAVE_NONVOL_FAR,
    SET_FPREG,
    RuntimeFunction,
    UnwindInfo,
    parse_unwind_info,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.formats.pe_unwind import FunctionTable, Read

# Windows' own limit (UNWIND_CHAIN_LIMIT).
_MAX_CHAIN = 32
# How ___chkstk_ms begins: push %rcx; push %rax; cmp $4096, %rax; lea 24(%rsp), %rcx. How far
# into it the registers are still pushed, at most.
_PROBE = b"\x51\x50\x48\x3d\0\x10\0\0\x48\x8d\x4c\x24\x18"
PROBE_SIZE = 48
# Where an offset in a prologue would be, for code that lies behind all of it.
_BEHIND = 1 << 32
# What a processor pushes for an interrupt: rip, cs, flags, rsp, ss.
_MACHINE_FRAME, _MACHINE_RSP = 40, 24

# A function, or a part of one, with its unwind info. The first has the pc, the last the
# beginning of the function; those between are parts that the first one's frame builds on.
Part = tuple[RuntimeFunction, UnwindInfo]


class PeRow:
    """The caller's rsp is `register` + `offset`, and the (register, offset) in `saved` lie
    that far from it; RIP is always among them, by PE's numbers of registers.

    `interrupted`: a machine frame was pushed. The caller's rip is exact, and its rsp is a
    word in memory, among `saved` too. `begin` is the RVA of the function's first instruction
    if that is known.
    """

    __slots__ = ("begin", "interrupted", "offset", "register", "saved")

    def __init__(self, register: int, offset: int, saved: dict[int, int]) -> None:
        self.register = register
        self.offset = offset
        self.saved = saved
        self.interrupted = False
        self.begin: int | None = None


def leaf_row(before: bytes, code: bytes, rva: int) -> PeRow:
    """The row of executing code that no RUNTIME_FUNCTION covers: `code`, at an RVA, and what
    lies `before` it.

    Hand-written code may have pushed something all the same: where it is about to pop it
    and return, that is what counts.
    """
    ahead = epilogue_at(code, rva)
    if ahead is None or ahead.kind != RETURN:
        ahead = Epilogue(RSP, 0, _pushed_by_probe(before, code))
    return _epilogue_row(ahead)


def _pushed_by_probe(before: bytes, code: bytes) -> list[int]:
    """What MinGW's `___chkstk_ms` has pushed at the end of `before`, if that is in it.

    It touches the pages of a large frame in turn, so that is where a program stops whose
    stack overflows; and it has no unwind data (libgcc, cygwin.S; compiler-rt, chkstk.S).
    """
    at = len(before)
    start = (before + code).rfind(_PROBE, max(at - PROBE_SIZE, 0), at + len(_PROBE))
    return [[], [RCX], [RAX, RCX]][min(at - start, 2)] if start >= 0 else []


def row_at(
    table: FunctionTable, read: Read, function: RuntimeFunction, rva: int, code: bytes | None
) -> PeRow:
    """The row of the code at an RVA of a function, or of the part of one.

    `code` are the bytes there if the pc is executing, empty if they are not at hand; it is
    None for a return address, which is in no epilogue. Raises `FormatError`, and whatever
    `read` does.
    """
    parts = _parts(read, function)
    ahead = epilogue_at(code, rva) if code else None
    if ahead is not None and not _stays(table, read, parts[0], rva, ahead):
        row = _epilogue_row(ahead)
    elif code == b"" and _recorded(parts[0], rva) is not None:
        row = _recorded_row(parts, rva)
    else:
        row = _codes_row(parts, rva)
    row.begin = parts[-1][0].begin
    return row


def _parts(read: Read, function: RuntimeFunction) -> list[Part]:
    """A function's unwind info and those that it is chained to, the outermost last."""
    parts: list[Part] = []
    for _ in range(_MAX_CHAIN):
        if function.unwind & INDIRECT:
            entry = read(function.unwind - INDIRECT, RuntimeFunction.SIZE)
            function = RuntimeFunction.parse(entry, 0)
            continue
        info = parse_unwind_info(read, function.unwind)
        parts.append((function, info))
        if info.parent is None:
            return parts
        function = info.parent
    raise FormatError(f"UNWIND_INFO at 0x{function.unwind:x}", "too long a chain")


# --- codes --------------------------------------------------------------------------------


class _Frame:
    """Undoes unwind codes, with rsp as `register` + `offset` of the frame's own registers.

    `places` are where registers are saved, in the same form. `shift` turns offsets from rsp
    into offsets from the frame register, once it is known that rsp comes from that.
    """

    def __init__(self) -> None:
        self.register = RSP
        self.offset = 0
        self.places: dict[int, tuple[int, int]] = {}
        self.shift = 0
        self.interrupted = False

    def push(self, register: int) -> None:
        if register == RSP:
            raise FormatError("UNWIND_INFO", "pushes rsp")
        self.places[register] = self.register, self.offset
        self.offset += 8

    def set_frame_register(self, info: UnwindInfo) -> None:
        if self.register == RSP:
            self.shift = -info.frame_offset - self.offset
        elif self.register != info.frame_register:
            raise FormatError("UNWIND_INFO", "two frame registers")
        self.register, self.offset = info.frame_register, -info.frame_offset

    def push_machine_frame(self, error_code: int) -> None:
        at = self.offset + (8 if error_code else 0)
        self.places[RIP] = self.register, at
        self.places[RSP] = self.register, at + _MACHINE_RSP
        self.offset = at + _MACHINE_FRAME
        self.interrupted = True

    def row(self) -> PeRow:
        if not self.interrupted:
            self.push(RIP)
        saved = {}
        for register, (base, offset) in self.places.items():
            if base != self.register:
                if base != RSP:
                    raise FormatError("UNWIND_INFO", "uses a frame register that it does not set")
                # Registers pushed after the frame register was set: MinGW's -O0. Windows
                # takes them from rsp. That is the same, unless memory was allocated since
                # (alloca), and then only the frame register still tells where they are.
                offset += self.shift
            saved[register] = offset - self.offset
        row = PeRow(self.register, self.offset, saved)
        row.interrupted = self.interrupted
        return row


def _codes_row(parts: Sequence[Part], rva: int) -> PeRow:
    frame = _Frame()
    for index, (function, info) in enumerate(parts):
        # Of a part's parents all has been executed, wherever they lie. So it has been of the
        # function that an indirect entry leads to.
        done = _BEHIND
        if index == 0 and function.begin <= rva < function.end:
            done = rva - function.begin
        _undo(frame, info, done)
    return frame.row()


def _undo(frame: _Frame, info: UnwindInfo, done: int) -> None:
    base, base_offset = _frame_base(info, done)
    for offset, operation, argument, value in info.codes:
        if offset > done:
            continue
        if frame.interrupted:
            raise FormatError("UNWIND_INFO", "pushes something before a machine frame")
        if operation == PUSH_NONVOL:
            frame.push(argument)
        elif operation in (ALLOC_SMALL, ALLOC_LARGE):
            frame.offset += value
        elif operation in (SAVE_NONVOL, SAVE_NONVOL_FAR):
            if argument == RSP:
                raise FormatError("UNWIND_INFO", "saves rsp")
            frame.places[argument] = base, base_offset + value
        elif operation == SET_FPREG:
            if info.frame_register in (0, RSP):
                raise FormatError("UNWIND_INFO", "sets no frame register")
            frame.set_frame_register(info)
        elif operation == PUSH_MACHFRAME:
            frame.push_machine_frame(argument)


def _frame_base(info: UnwindInfo, done: int) -> tuple[int, int]:
    """What registers that were saved by `mov` lie relative to: (register, offset).

    The frame register, once it is set: after the prologue, in a part of a function whose
    beginning has set it, or after the instruction that does.
    """
    if info.frame_register and (
        done >= info.prologue
        or info.chained
        or any(code[1] == SET_FPREG and code[0] <= done for code in info.codes)
    ):
        return info.frame_register, -info.frame_offset
    return RSP, 0


# --- epilogues ----------------------------------------------------------------------------


def _epilogue_row(ahead: Epilogue) -> PeRow:
    frame = _Frame()
    frame.register, frame.offset = ahead.register, ahead.offset
    for register in ahead.pops:
        frame.push(register)
    row = frame.row()
    if ahead.release:
        row.offset += ahead.release
        row.saved = {register: offset - ahead.release for register, offset in row.saved.items()}
    return row


def _stays(table: FunctionTable, read: Read, part: Part, rva: int, ahead: Epilogue) -> bool:
    """Whether a jump that could end an epilogue stays in the frame after all.

    Windows takes any that leaves the RUNTIME_FUNCTION for an epilogue. But GCC gives a
    function's cold part an entry of its own, and jumps there and back with the frame in
    place. What the target's unwind data expects tells the one from the other.
    """
    if ahead.kind != JUMP:
        return False
    function, info = part
    if info.epilogues is not None:
        return _recorded(part, rva) is None
    target = ahead.target
    if not function.begin <= target < function.end:
        other = table.find(target)
        if other is None:
            return False  # a leaf function, or a jump to another module
        if other.unwind & INDIRECT:
            return True
        try:
            function, info = other, parse_unwind_info(read, other.unwind)
        except FormatError:
            return False  # as Windows would have it
    done = target - function.begin
    return info.chained or any(offset <= done for offset, _, _, _ in info.codes)


def _recorded(part: Part, rva: int) -> int | None:
    """How far into one of the epilogues that version 2 records an RVA is."""
    function, info = part
    for distance in info.epilogues or ():
        into = rva - (function.end - distance)
        if 0 <= into < info.epilogue_size:
            return into
    return None


def _recorded_row(parts: Sequence[Part], rva: int) -> PeRow:
    """The row in a recorded epilogue, whose code is not at hand.

    It begins after the stack pointer was set free, and pops what the prologue pushed, one
    byte for each register, two from r8 on. All pushes are in one of the parts.
    """
    into = _recorded(parts[0], rva)
    assert into is not None
    frame = _Frame()
    for _, info in parts:
        if any(code[1] in (PUSH_NONVOL, PUSH_MACHFRAME) for code in info.codes):
            _pop_rest(frame, info, into)
            break
    return frame.row()


def _pop_rest(frame: _Frame, info: UnwindInfo, into: int) -> None:
    at, pushes = 0, False
    for _, operation, argument, value in info.codes:
        if operation == PUSH_NONVOL:
            if at >= into:
                frame.push(argument)
            at += 2 if argument >= 8 else 1
            pushes = True
        elif operation == PUSH_MACHFRAME:
            frame.push_machine_frame(0)
            return
        elif pushes and operation == ALLOC_SMALL and value == 8:
            # pushfq, undone by a pop of any register.
            if at >= into:
                frame.offset += 8
            at += 1
