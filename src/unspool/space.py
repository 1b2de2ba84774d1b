"""A target's address space as the unwinder sees it: memory, modules, their unwind data.

Targets fill it; the unwinder reads it; neither knows of the other.
"""

from __future__ import annotations

from bisect import bisect_right

from unspool.arch.calls import LOOK_BEHIND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from unspool.arch.base import Arch
    from unspool.image import Image
    from unspool.memory import Memory
    from unspool.model import Module


class AddressSpace:
    """Memory and modules of one process.

    `load_image` gives a module's `Image`, or None; it is asked once a module.
    `entry_points` are addresses of code that nothing has called: a frame there is a root.
    """

    def __init__(
        self,
        arch: Arch,
        memory: Memory,
        modules: Iterable[Module],
        load_image: Callable[[Module], Image | None],
        entry_points: Iterable[int] = (),
    ) -> None:
        self.arch = arch
        self.memory = memory
        self.modules = sorted(modules, key=_base)
        self.entry_points = tuple(entry_points)
        # A frame names its module by position in the report's list, which is this one.
        for index, module in enumerate(self.modules):
            module.index = index
        self._bases = [module.base for module in self.modules]
        self._load_image = load_image
        self._images: dict[int, Image | None] = {}

    def module_at(self, address: int) -> Module | None:
        """The module whose range contains `address`."""
        index = bisect_right(self._bases, address) - 1
        if index >= 0 and address < self.modules[index].end:
            return self.modules[index]
        return None

    def image(self, module: Module) -> Image | None:
        """The module's unwind data, or None if neither its file nor its memory is at hand."""
        if module.index not in self._images:
            self._images[module.index] = self._load_image(module)
        return self._images[module.index]

    def is_code(self, address: int) -> bool:
        """Whether `address` can be a pc: it is mapped executable."""
        return self.memory.is_executable(address)

    def code_before(self, address: int) -> bytes:
        """The last bytes of code before an address; empty if they are not at hand."""
        code = self.memory.read_available(address - LOOK_BEHIND, LOOK_BEHIND)
        return code if len(code) == LOOK_BEHIND else b""

    def after_call(self, address: int) -> bool | None:
        """Whether a call ends right before an address; None if its code is not at hand."""
        code = self.code_before(address)
        return self.arch.is_return_address(code, LOOK_BEHIND) if code else None


def _base(module: Module) -> int:
    return module.base
