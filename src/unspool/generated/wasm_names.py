"""What WebAssembly code is called, by the image that Wasmtime has made of it: functions, and the
modules of a component.

Of both the image has more than one form. Symbols have functions' names cut, and whole ones are in
a list that is not said to be whose: a whole name counts if the symbol is what becomes of it.
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.formats import wasmtime, wasmtime_info, wasmtime_modules
from unspool.memory import Fault
from unspool.model import Location

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.formats.wasmtime import Function
    from unspool.generated.wasmtime import WasmCode

# Lists of functions' names in one image: of a component's modules each may have one.
_MAX_LISTS = 1000
# Since this version symbols have the functions' names.
_NAMED_SYMBOLS = (22,)


def module_names(code: WasmCode) -> dict[int, str]:
    """What the modules of a component are called, by their numbers, where that is sure."""
    if not code.image.flags & wasmtime.EF_COMPONENT:
        return {}
    try:
        info = code.section(".wasmtime.info")
        return wasmtime_modules.module_names(info, code.version or (), code.owners)
    except (FormatError, Fault):
        return {}


class WasmNames:
    """Names of the code in an image."""

    def __init__(self, code: WasmCode) -> None:
        self.code = code
        self._lists: list[dict[int, tuple[int, int]]] | None = None

    def locate(self, pc: int) -> Location | None:
        code = self.code
        function = code.function_at(pc)
        if function is None:
            return None
        name: str | None = function.symbol
        position = None
        if function.kind == wasmtime.WASM:
            # As the runtime itself calls functions without a name.
            name = self.full_name(function) or f"<wasm function {function.index}>"
            position = code.position(pc)
        offset = pc - code.text_start - function.start
        return Location(None, name, offset, wasm_offset=position, wasm_module=function.module or 0)

    def full_name(self, function: Function) -> str | None:
        """A Wasm function's name from the name section. Raises `FormatError` and `Fault`.

        Symbols have it cut, and without what is not ASCII; those of versions before 22 not at all.
        """
        name = function.name
        if function.module is None or function.index is None:
            return None
        if name is not None and len(name) < wasmtime.MAX_NAME and "?" not in name:
            return name
        if name is None and (
            len(self.code.owners) > 1 or (self.code.version or _NAMED_SYMBOLS) >= _NAMED_SYMBOLS
        ):
            # It has none, or nothing says which of a component's lists is its module's.
            return None
        found = {
            text
            for names in self._all_lists()
            if (place := names.get(function.index)) is not None
            and (text := self._name_at(*place))
            and name in (None, wasmtime.as_in_symbols(text))
        }
        return found.pop() if len(found) == 1 else name

    def _all_lists(self) -> list[dict[int, tuple[int, int]]]:
        if self._lists is None:
            _, size = self.code.image.sections.get(".name.wasm", (0, 0))
            most = _MAX_LISTS if self.code.image.flags & wasmtime.EF_COMPONENT else 1
            info = self.code.section(".wasmtime.info")
            self._lists = wasmtime_info.function_names(info, size, most)
        return self._lists

    def _name_at(self, offset: int, size: int) -> str:
        start, _ = self.code.image.sections[".name.wasm"]
        return self.code.read(start + offset, size).decode("utf-8", "replace")
