"""Pointers to Wine's dispatchers, which a running process keeps in variables of ntdll.dll.

Wine's Unix half writes them when the process starts and never again. So they can be read
after the threads were held, when the module's exports say where they are.
"""

from __future__ import annotations

from unspool.image import Image
from unspool.targets.live.stacks import Copied, merged
from unspool.wine.layouts import DISPATCHER_VARIABLES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.memory import Memory
    from unspool.space import AddressSpace


def dispatcher_variables(space: AddressSpace, now: Memory) -> Copied:
    """The variables as they are in `now`, the process's memory; maybe none."""
    word = space.arch.pointer_size
    addresses = set()
    for module in space.modules:
        if module.kind != "pe" or module.name.lower() != "ntdll.dll":
            continue
        image = space.image(module)
        # In a WoW64 process there is a second one, whose variables lead to wow64cpu.dll.
        if image is None or isinstance(image, Image) or image.headers.is_64 != (word == 8):
            continue
        for name in DISPATCHER_VARIABLES:
            rva = image.export(name)
            if rva is not None:
                addresses.add(module.base + rva)
    ranges = []
    data = bytearray()
    for low, high in merged((address, address + word) for address in addresses):
        part = now.read_available(low, high - low)
        if len(part) == high - low:
            ranges.append((low, high))
            data += part
    return Copied(ranges, data)
