"""JavaScript of V8 (Node.js): the functions that frames hold, by the metadata that V8 exports."""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.image import Image
from unspool.memory import Fault
from unspool.model import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.generated.code import GeneratedModule, Process
    from unspool.model import Module
    from unspool.space import AddressSpace

_ARCHITECTURES = ("x86-64", "aarch64")
_PREFIX = "v8dbg_"
_ONE = "v8dbg_SmiTag"  # every V8 that exports anything has this


def find(process: Process) -> list[GeneratedModule]:
    """Nothing: V8's builtins are in a file, and what it compiles is found by others or by none.

    Who names its frames is appended to the process's `namers`.
    """
    if process.space.arch.name not in _ARCHITECTURES:
        return []
    for module in list(process.space.modules):
        if not exports_metadata(process.space, module):
            continue
        from functools import partial

        from unspool.generated.reader import Reader
        from unspool.generated.v8.metadata import Metadata
        from unspool.generated.v8.runtime import V8

        symbols = process.symbols_of(module, _PREFIX)
        if not symbols:
            continue
        try:
            metadata = Metadata(Reader(process.now), symbols)
            symbol = partial(process.symbol, module)
            whole = process.live is None and process.info.kind != "minidump"
            now = process.now if process.live is not None else None
            v8 = V8(metadata, process.space, module, symbol, whole=whole, now=now)
            process.namers.append(v8)
        except (FormatError, Fault) as error:
            title = f"JavaScript's names are not known: {module.name}: {error}"
            process.findings.append(Finding("generated_code", title))
    return []


def exports_metadata(space: AddressSpace, module: Module) -> bool:
    """Whether a module has a V8 in it that says where its data lie."""
    image = space.image(module) if module.kind == "elf" else None
    if not isinstance(image, Image) or image.elf is None:
        return False
    # Without sections an image may have any symbol: memory whose file is not at hand.
    if not image.elf.sections():
        return module.name.startswith(("node", "libnode"))
    return image.elf.may_name(_ONE)
