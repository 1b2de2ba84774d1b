"""A target's address space as the unwinder sees it: memory, modules, their unwind data.

Targets fill it; the unwinder reads it; neither knows of the other.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise

from unspool.arch.calls import LOOK_BEHIND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from unspool.arch.base import Arch
    from unspool.image import Image
    from unspool.memory import Memory
    from unspool.model import Module
    from unspool.pe_image import PeImage

    AnyImage = Image | PeImage


class KnownStack:
    """A stack whose bounds somebody knows: `kind` as a segment's, `thread` its owner's index."""

    __slots__ = ("high", "kind", "low", "thread")

    def __init__(self, kind: str, low: int, high: int, thread: int | None = None) -> None:
        self.kind = kind
        self.low = low
        self.high = high
        self.thread = thread


class AddressSpace:
    """Memory and modules of one process.

    `load_image` gives a module's `Image`, or None; it is asked once a module.
    `entry_points` are addresses of code that nothing has called: a frame there is a root. `holes`
    are parts of modules' ranges that are not theirs.
    """

    def __init__(
        self,
        arch: Arch,
        memory: Memory,
        modules: Iterable[Module],
        load_image: Callable[[Module], AnyImage | None],
        entry_points: Iterable[int] = (),
        holes: Iterable[tuple[int, int]] = (),
    ) -> None:
        self.arch = arch
        self.memory = memory
        self.modules = sorted(modules, key=_base)
        self.entry_points = tuple(entry_points)
        # A frame names its module by position in the report's list, which is this one.
        for index, module in enumerate(self.modules):
            module.index = index
        self._by_base = self.modules.copy()
        self._bases = [module.base for module in self.modules]
        self._ends = [module.end for module in self.modules]
        for start, end in holes:
            self._cut(start, end)
        self._load_image = load_image
        self._images: dict[int, AnyImage | None] = {}
        self._stacks: list[KnownStack] = []
        self._stack_lows: list[int] = []

    def in_mode(self, arch: Arch) -> AddressSpace:
        """The same memory and modules as code of another architecture sees them."""
        other = AddressSpace.__new__(AddressSpace)
        other.__dict__.update(self.__dict__)
        other.arch = arch
        return other

    def _cut(self, start: int, end: int) -> None:
        """Takes a part out of the module that has it, which is in two parts then."""
        at = bisect_right(self._bases, start) - 1
        if at < 0 or not self._bases[at] < start < end <= self._ends[at]:
            return
        if at + 1 < len(self._bases) and self._bases[at + 1] < end:
            return
        module, module_end = self._by_base[at], self._ends[at]
        self._ends[at] = start
        if end < module_end:
            self._insert(at + 1, module, end, module_end)

    def _insert(self, at: int, module: Module, start: int, end: int) -> None:
        # Lists and not copies: `in_mode` has made others that share them.
        self._by_base.insert(at, module)
        self._bases.insert(at, start)
        self._ends.insert(at, end)

    def module_at(self, address: int) -> Module | None:
        """The module whose range contains `address`, but for holes."""
        index = bisect_right(self._bases, address) - 1
        if index >= 0 and address < self._ends[index]:
            return self._by_base[index]
        return None

    def taken(self) -> list[tuple[int, int]]:
        """What the modules have of the address space, holes aside, by address: (start, end)."""
        return list(zip(self._bases, self._ends, strict=True))

    def add_modules(
        self, modules: Iterable[Module], images: Mapping[int, AnyImage | None]
    ) -> list[Module]:
        """Appends modules that were found later; gives those that overlap no other one.

        The others keep their indexes. `images` are by `id` of the module.
        """
        added = []
        for module in sorted(modules, key=_base):
            at = bisect_right(self._bases, module.base)
            if (
                module.base >= module.end
                or (at and self._ends[at - 1] > module.base)
                or (at < len(self._bases) and self._bases[at] < module.end)
            ):
                continue
            module.index = len(self.modules)
            self.modules.append(module)
            self._images[module.index] = images.get(id(module))
            self._insert(at, module, module.base, module.end)
            added.append(module)
        return added

    def complete(self, module: Module, image: AnyImage) -> None:
        """Gives a module that has no unwind data these."""
        if self.image(module) is None:
            self._images[module.index] = image

    def image(self, module: Module) -> AnyImage | None:
        """The module's unwind data, or None if neither its file nor its memory is at hand."""
        if module.index not in self._images:
            self._images[module.index] = self._load_image(module)
        return self._images[module.index]

    def know_stacks(self, stacks: Iterable[KnownStack]) -> None:
        """Takes stacks whose bounds the mappings do not show. One ends where the next begins."""
        ordered = sorted((each for each in stacks if each.low < each.high), key=_low)
        for stack, following in pairwise(ordered):
            stack.high = min(stack.high, following.low)
        self._stacks = ordered
        self._stack_lows = [stack.low for stack in ordered]

    @property
    def known_stacks(self) -> list[KnownStack]:
        """The stacks whose bounds somebody knows, by address."""
        return self._stacks

    def stack_at(self, address: int) -> KnownStack | None:
        """The known stack that an address is in."""
        index = bisect_right(self._stack_lows, address) - 1
        if index >= 0 and address < self._stacks[index].high:
            return self._stacks[index]
        return None

    def is_code(self, address: int) -> bool:
        """Whether `address` can be a pc: it is mapped executable."""
        return self.memory.is_executable(address)

    def code_before(self, address: int) -> bytes:
        """The last bytes of code before an address; empty if they are not at hand."""
        code = self.memory.read_available(address - LOOK_BEHIND, LOOK_BEHIND)
        return code if len(code) == LOOK_BEHIND else b""

    def after_call(self, address: int, word: int | None = None) -> bool | None:
        """Whether a call ends right before an address; None if its code is not at hand.

        `word` is the address as it was found, with bits that are no part of it, if it was.
        """
        code = self.code_before(address)
        if not code:
            return None
        if word is not None and self.arch.is_return_word is not None:
            return self.arch.is_return_word(code, LOOK_BEHIND, word)
        return self.arch.is_return_address(code, LOOK_BEHIND)


def _low(stack: KnownStack) -> int:
    return stack.low


def _base(module: Module) -> int:
    return module.base
