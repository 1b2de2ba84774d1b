"""Walks the frames of one WebAssembly activation by their frame pointers: a library by itself.

A runtime such as Wasmtime enters Wasm code through a trampoline and leaves it through another
one. Between the two every function keeps a frame pointer, whatever the code outside does with
that register: the saved frame pointers are a list, linked from newer to older frames, that ends
at the frame of the trampoline that was the entry.

    >>> walk = frames(X86_64, memory.read, pc, fp, trampoline_fp)
    >>> for frame in walk:
    ...     print(hex(frame.pc), hex(frame.fp))
    >>> walk.end.reason
    'entry'

`pc` and `fp` are those of the newest Wasm frame, and `trampoline_fp` is the frame pointer of the
entry trampoline. What the runtime itself only asserts is a reason to stop here, since the
memory may be of a process that overwrote its stack: see `End`. `visit` is the same as a visitor.

Nothing is imported: the walk needs a function that reads memory, and nothing else of unspool.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Literal

    Reader = Callable[[int, int], bytes]

# More frames than 256 MB of stack can hold, which is more than any runtime gives to Wasm.
LIMIT = 16 << 20


class Traits:
    """Where a CPU's frames keep what links them, as offsets in bytes from the frame pointer.

    `older_fp` is where the older frame's frame pointer is saved and `return_address` where its pc
    is. `older_sp` is the older frame's stack pointer itself, less the frame pointer. `alignment`
    is that of every frame pointer. `code_mask` are the bits of a return address that are one:
    the others may hold a signature.
    """

    __slots__ = (
        "alignment", "byteorder", "code_mask", "name", "older_fp", "older_sp", "return_address",
        "word",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        *,
        older_fp: int,
        older_sp: int,
        return_address: int,
        alignment: int,
        word: int = 8,
        byteorder: Literal["little", "big"] = "little",
        code_mask: int = (1 << 64) - 1,
    ) -> None:
        self.name = name
        self.older_fp = older_fp
        self.older_sp = older_sp
        self.return_address = return_address
        self.alignment = alignment
        self.word = word
        self.byteorder = byteorder
        self.code_mask = code_mask

    def with_code_mask(self, mask: int) -> Traits:
        """The same for a process whose code addresses have just these bits."""
        return Traits(
            self.name, older_fp=self.older_fp, older_sp=self.older_sp,
            return_address=self.return_address, alignment=self.alignment, word=self.word,
            byteorder=self.byteorder, code_mask=mask,
        )  # fmt: skip


# The numbers are Wasmtime's (crates/unwinder/src/arch): NEXT_OLDER_FP_FROM_FP_OFFSET,
# NEXT_OLDER_SP_FROM_FP_OFFSET, get_next_older_pc_from_fp and assert_fp_is_aligned of each CPU.
X86_64 = Traits("x86-64", older_fp=0, older_sp=16, return_address=8, alignment=16)
# Return addresses may be signed (PAC), and Linux gives a program 48 bits of address unless it
# asks for more; AAPCS64 6.4.6 has the frame record.
AARCH64 = Traits(
    "aarch64", older_fp=0, older_sp=16, return_address=8, alignment=16, code_mask=(1 << 48) - 1
)
RISCV64 = Traits("riscv64", older_fp=0, older_sp=16, return_address=8, alignment=16)
# There is no frame pointer: the back chain takes its place, and slot 14 of the register save area
# that it points at has register 14, the link register. The back chain is the older stack pointer.
S390X = Traits("s390x", older_fp=0, older_sp=0, return_address=14 * 8, alignment=8, byteorder="big")
TRAITS = {each.name: each for each in (X86_64, AARCH64, RISCV64, S390X)}


class WasmFrame:
    """One frame: its pc is a return address, but for a newest one that was stopped there."""

    __slots__ = ("fp", "pc")

    def __init__(self, pc: int, fp: int) -> None:
        self.pc = pc
        self.fp = fp

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WasmFrame) and (self.pc, self.fp) == (other.pc, other.fp)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"WasmFrame(pc=0x{self.pc:x}, fp=0x{self.fp:x})"


class End:
    """Why a walk ended: a reason of those below, and the details in words.

    `pc` and `fp` are where the walk was: at the reason `ENTRY` those of the entry trampoline.
    """

    ENTRY = "entry"  # at the entry trampoline's frame, as it should be
    LEFT = "left"  # at code that is not Wasm code, where no trampoline was given
    NULL = "null"  # one of the three addresses to start from is null
    PASSED = "passed"  # above the entry trampoline's frame, without having been at it
    UNALIGNED = "unaligned"
    NOT_OLDER = "not_older"  # the list loops, or goes down the stack
    OUTSIDE = "outside"  # not in the stack
    NOT_CODE = "not_code"  # a pc that is no return address in Wasm code
    UNREADABLE = "unreadable"
    LIMIT = "limit"

    __slots__ = ("detail", "fp", "pc", "reason")

    def __init__(self, reason: str, detail: str, pc: int, fp: int) -> None:
        self.reason = reason
        self.detail = detail
        self.pc = pc
        self.fp = fp

    @property
    def complete(self) -> bool:
        """Whether the walk saw all frames of the activation, be that none."""
        return self.reason in (End.ENTRY, End.LEFT)


class Frames:
    """Iterates over one activation's frames, newest first; `end` says afterwards why it ended."""

    __slots__ = (
        "_bounds", "_is_code", "_limit", "_pc_of", "_read", "_start", "_trampoline", "end",
        "traits",
    )  # fmt: skip

    def __init__(
        self,
        traits: Traits,
        read: Reader,
        pc: int,
        fp: int,
        trampoline_fp: int | None,
        *,
        is_code: Callable[[int], bool] | None = None,
        stack: tuple[int, int] | None = None,
        limit: int = LIMIT,
    ) -> None:
        self.traits = traits
        self._read = read
        self._start = (pc, fp)
        self._trampoline = trampoline_fp
        self._is_code = is_code
        self._bounds = stack
        self._limit = limit
        self.end: End | None = None

    def __iter__(self) -> Iterator[WasmFrame]:
        for pc, fp in self.pairs():
            yield WasmFrame(pc, fp)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """The same frames as (pc, fp), for who has millions of them."""
        traits, trampoline, is_code = self.traits, self._trampoline, self._is_code
        alignment, mask = traits.alignment, traits.code_mask
        # A frame is both words: at the very top of a stack there is no room for one.
        span = max(traits.older_fp, traits.return_address) + traits.word
        low, high = self._bounds or (0, 1 << 8 * traits.word)
        self.end = None
        pc, fp = self._start
        why = _null(pc, fp, trampoline)
        if why:
            return self._stop(End.NULL, why, pc, fp)
        words = _reader(traits, self._read)
        known = set()
        for _ in range(self._limit):
            if fp == trampoline:
                return self._stop(End.ENTRY, "at the entry trampoline's frame", pc, fp)
            if trampoline is not None and fp > trampoline:
                detail = f"0x{fp:x} is above the entry trampoline's 0x{trampoline:x}"
                return self._stop(End.PASSED, f"the frame pointer {detail}", pc, fp)
            if pc not in known:
                if is_code is not None and not is_code(pc):
                    return self._left(pc, fp)
                known.add(pc)
            if fp % alignment:
                detail = f"the frame pointer 0x{fp:x} is no multiple of {alignment}"
                return self._stop(End.UNALIGNED, detail, pc, fp)
            if not low <= fp <= high - span:
                detail = f"the frame pointer 0x{fp:x} is not in the stack 0x{low:x}-0x{high:x}"
                return self._stop(End.OUTSIDE, detail, pc, fp)
            try:
                older, address = words(fp)
            except Exception as error:
                if not _is_fault(error):
                    raise
                detail = f"the frame at 0x{fp:x} cannot be read"
                return self._stop(End.UNREADABLE, detail, pc, fp)
            yield pc, fp
            if older <= fp:
                address &= mask
                if trampoline is None and is_code is not None and not is_code(address):
                    # What is no Wasm code need not have a frame pointer.
                    return self._left(address, older)
                detail = f"the older frame pointer 0x{older:x} is not above 0x{fp:x}"
                return self._stop(End.NOT_OLDER, detail, pc, fp)
            pc, fp = address & mask, older
        return self._stop(End.LIMIT, f"the limit of {self._limit:,} frames", pc, fp)

    def _left(self, pc: int, fp: int) -> None:
        if self._trampoline is None:
            return self._stop(End.LEFT, f"0x{pc:x} is not in Wasm code", pc, fp)
        detail = f"0x{pc:x} is no return address in Wasm code"
        return self._stop(End.NOT_CODE, detail, pc, fp)

    def _stop(self, reason: str, detail: str, pc: int, fp: int) -> None:
        self.end = End(reason, detail, pc, fp)


def frames(
    traits: Traits,
    read: Reader,
    pc: int,
    fp: int,
    trampoline_fp: int | None,
    *,
    is_code: Callable[[int], bool] | None = None,
    stack: tuple[int, int] | None = None,
    limit: int = LIMIT,
) -> Frames:
    """The frames of the activation whose newest frame has this pc and frame pointer.

    `read(address, size)` gives bytes, or raises `memory.Fault`, `OSError` or `ValueError`; fewer
    bytes than asked for are as good as a fault. `trampoline_fp` is the frame pointer of the
    entry trampoline; if it is `fp` the activation has no frames, which is legal: Wasm code that
    replaced its last frame by a tail call left none. Where it is None, the walk ends at the first
    pc that `is_code` refuses.

    `is_code(pc)` says whether a pc is a return address in Wasm code (the first may be one where
    the thread was stopped), and is asked once for each; without it every pc is believed. `stack`
    are the bounds (low, high) of the stack. Never raises for what the memory holds.
    """
    return Frames(
        traits, read, pc, fp, trampoline_fp, is_code=is_code, stack=stack, limit=limit
    )  # fmt: skip


def visit(
    traits: Traits,
    read: Reader,
    pc: int,
    fp: int,
    trampoline_fp: int | None,
    visitor: Callable[[int, int], object],
    *,
    is_code: Callable[[int], bool] | None = None,
    stack: tuple[int, int] | None = None,
    limit: int = LIMIT,
) -> tuple[object, End | None]:
    """Calls `visitor(pc, fp)` for each frame, newest first, until it gives anything but None.

    The answer is what the visitor gave, and why the walk ended: one of the two is None.
    """
    walk = Frames(traits, read, pc, fp, trampoline_fp, is_code=is_code, stack=stack, limit=limit)
    for each in walk.pairs():
        answer = visitor(*each)
        if answer is not None:
            return answer, None
    return None, walk.end


def _null(pc: int, fp: int, trampoline: int | None) -> str:
    for name, value in (("pc", pc), ("frame pointer", fp), ("trampoline's frame", trampoline)):
        if value == 0:
            return f"the {name} is null"
    return ""


def _is_fault(error: Exception) -> bool:
    """Whether that is how a reader says that there is no such memory."""
    return isinstance(error, (OSError, ValueError)) or type(error).__name__ == "Fault"


def _reader(traits: Traits, read: Reader) -> Callable[[int], tuple[int, int]]:
    """What reads the older frame pointer and the return address of a frame."""
    first = min(traits.older_fp, traits.return_address)
    fp_at, address_at = traits.older_fp - first, traits.return_address - first
    word, order = traits.word, traits.byteorder
    size = max(fp_at, address_at) + word
    convert = int.from_bytes

    def words(fp: int) -> tuple[int, int]:
        data = read(fp + first, size)
        if len(data) != size:
            raise ValueError("cut short")
        older = convert(data[fp_at : fp_at + word], order)
        return older, convert(data[address_at : address_at + word], order)

    return words
