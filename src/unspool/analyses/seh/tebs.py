"""Where the heads of the chains are: the 32-bit TEB of each thread, and its NT_TIB."""

from __future__ import annotations

from struct import Struct

from unspool.memory import Fault
from unspool.wine import layouts
from unspool.wine.teb import read_teb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.model import Thread
    from unspool.targets.base import Target
    from unspool.targets.minidump.target import MinidumpTarget

_NATIVE = "no TEB: a thread of native code, or the target does not say where it is"
_NOT_HELD = "the target does not hold its TEB, where the chain begins"
# ExceptionList, StackBase, StackLimit; Self.
_TIB = Struct("<III12xI")


class Tib:
    """An NT_TIB: the head of the chain, and the stack's bounds."""

    __slots__ = ("address", "head", "stack_base", "stack_limit")

    def __init__(self, address: int, head: int, stack_base: int, stack_limit: int) -> None:
        self.address = address
        self.head = head
        self.stack_base = stack_base
        self.stack_limit = stack_limit


class NoTib(Exception):
    """There is none. `lost` is true if there must be one, that the target does not hold."""

    def __init__(self, why: str, address: int | None, *, lost: bool) -> None:
        super().__init__(why)
        self.address = address
        self.lost = lost


def no_chains(target: Target) -> str | None:
    """Why the threads of a target have no chains, in words; None if they have."""
    name = target.info.arch
    windows = target.info.os == "windows"
    if target.wine is None and not windows:
        return "exception chains are Windows': this is no Windows program, and not Wine's"
    if target.arch.name == "i386":
        return None
    if target.wine is not None and target.wine.is_wow64:
        return None
    if windows and target.arch.name == "x86-64" and _has_wow64(target):
        return None
    return f"64-bit code ({name}) has tables of its exception handlers (.pdata), and no chain"


def tib_of(target: Target, thread: Thread) -> Tib:
    """The thread's 32-bit NT_TIB. Raises `NoTib`."""
    address = _address(target, thread)
    try:
        data = target.space.memory.read(address, _TIB.size)
    except Fault:
        raise NoTib(_NOT_HELD, address, lost=True) from None
    head, base, limit, own = _TIB.unpack(data)
    if own != address or not limit < base:
        raise NoTib("what lies there is no TEB: it contradicts itself", address, lost=True)
    return Tib(address, head, base, limit)


def _address(target: Target, thread: Thread) -> int:
    if target.info.os == "windows":
        from unspool.targets.minidump.target import MinidumpTarget

        assert isinstance(target, MinidumpTarget)
        return _windows_address(target, thread)
    known = target.wine.threads.get(thread.index) if target.wine is not None else None
    if known is None:
        raise NoTib(_NATIVE, None, lost=thread.registers is None)
    if known.teb32 is not None:
        return known.teb32.address
    if known.teb.layout is layouts.TEB32:
        return known.teb.address
    raise NoTib("it has no 32-bit TEB, or one that contradicts itself", None, lost=True)


def _windows_address(target: MinidumpTarget, thread: Thread) -> int:
    """Of a WoW64 thread the list has the 64-bit TEB, which the 32-bit one lies behind."""
    address = target.dump.threads()[thread.index].teb
    if not address:
        raise NoTib("the dump does not say where its TEB is", None, lost=True)
    if target.arch.pointer_size == 4:
        return address
    try:
        # The first word of a WoW64 thread's 64-bit TEB leads to the 32-bit one.
        pointer = target.space.memory.read_uint(address, 8)
    except Fault:
        raise NoTib(_NOT_HELD, address, lost=True) from None
    teb = read_teb(target.space.memory, address, layouts.TEB64)
    if teb is not None and teb.wow_offset:
        return address + teb.wow_offset
    if not 0 < pointer < 1 << 32:
        raise NoTib("it has no 32-bit TEB", None, lost=False)
    return pointer


def _has_wow64(target: Target) -> bool:
    return any(module.name.lower() == "wow64cpu.dll" for module in target.modules)
