"""Where Wine's dispatchers lie: the code that joins a thread's Windows and Unix stacks.

A system call dispatcher and, since 8.0, one for calls of Unix libraries. They are found by
every way there is, and what is found must be code of ntdll.so: a pointer in a dump can point
anywhere.
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.image import Image
from unspool.unwind.strategies.dwarf_cfi import find_fde
from unspool.wine import layouts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.wine.process import WineProcess

_SYSCALL, _UNIX_CALL = layouts.DISPATCHER_VARIABLES
# Symbols in or at a dispatcher, and whose. 8.0 has labels in their middles alone.
_SYMBOLS = {
    _SYSCALL: _SYSCALL,
    _UNIX_CALL: _UNIX_CALL,
    f"{_SYSCALL}_return": f"{_SYSCALL}_return",
    f"{_SYSCALL}_instrumentation": f"{_SYSCALL}_instrumentation",
    f"{_SYSCALL}_prolog_end": _SYSCALL,
    f"{_UNIX_CALL}_prolog_end": _UNIX_CALL,
}

# Of a dispatcher without an FDE; real ones have 0x260 to 0x300 bytes.
_SIZE = 0x300


class Dispatcher:
    """A range of code, its name in Wine's source, and how it was found.

    `has_end`: where it ends is known, and not a guess.
    """

    __slots__ = ("end", "has_end", "how", "name", "start")

    def __init__(self, start: int, end: int, name: str, how: str, has_end: bool = True) -> None:
        self.has_end = has_end
        self.name = name
        self.start = start
        self.end = end
        self.how = how

    @property
    def is_unix_call(self) -> bool:
        """Whether it is called with a return address that is one, and not by a stub."""
        return self.name == _UNIX_CALL


def find_dispatchers(wine: WineProcess) -> list[Dispatcher]:
    """Every dispatcher, once, with all the ways that led to it."""
    found: dict[int, Dispatcher] = {}
    for address, name, how in _pointers(wine):
        dispatcher = _range(wine, address, name, how)
        if dispatcher is None:
            continue
        known = found.setdefault(dispatcher.start, dispatcher)
        if how not in known.how:
            known.how += f", {how}"
    return list(found.values())


def _pointers(wine: WineProcess) -> Iterator[tuple[int, str, str]]:
    """Addresses of dispatchers by what points at them, unchecked: address, name, how."""
    space = wine.space
    word, read = space.arch.pointer_size, space.memory.maybe_uint
    if word == 8:
        pointed = read(layouts.DISPATCHER_POINTER, word)
        if pointed:
            yield pointed, _SYSCALL, f"the pointer at 0x{layouts.DISPATCHER_POINTER:x}"
    else:
        for thread in wine.threads.values():
            pointed = read(thread.teb.address + thread.teb.layout.wow32_reserved, word)
            if pointed:
                yield pointed, _SYSCALL, "the TEB's WOW32Reserved"
                break
    if wine.ntdll is not None:
        image = space.image(wine.ntdll)
        for name in (_SYSCALL, _UNIX_CALL):
            if image is None or isinstance(image, Image):
                break
            rva = image.export(name)
            pointed = read(wine.ntdll.base + rva, word) if rva is not None else None
            if pointed:
                yield pointed, name, f"ntdll.dll's variable {name}"
    if wine.ntdll_so is not None and wine.find_symbol is not None:
        for symbol, name in _SYMBOLS.items():
            address = wine.find_symbol(wine.ntdll_so, symbol)
            if address is not None:
                yield address, name, f"ntdll.so's symbol {symbol}"


def _range(wine: WineProcess, address: int, name: str, how: str) -> Dispatcher | None:
    """The function at an address of ntdll.so, by its FDE or, without one, by its size."""
    space = wine.space
    module = space.module_at(address)
    if module is None or module.kind != "elf" or not space.is_code(address):
        return None
    if wine.ntdll_so is not None and module is not wine.ntdll_so:
        return None
    image = space.image(module)
    if isinstance(image, Image):
        try:
            found = find_fde(image, address - image.bias)
        except FormatError:
            found = None
        if found is not None:
            fde = found[1]
            return Dispatcher(fde.start + image.bias, fde.end + image.bias, name, how)
    return Dispatcher(address, address + _SIZE, name, how, has_end=False)
