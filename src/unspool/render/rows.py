"""The columns of a frame's line: function, file and line, module.

A column is as wide as the report needs, up to a limit beyond which a long name pushes the
rest of its own line aside.
"""

from __future__ import annotations

from unspool.model import Trust
from unspool.model.target import ModuleRanges
from unspool.render.escape import printable
from unspool.render.names import base_name, short_file, short_function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from unspool.model import Frame, Inline, Location, Module, Report
    from unspool.render.style import Style

    Row = list[str]

_FUNCTION_WIDTH = 56
_FILE_WIDTH = 36


class Rows:
    """Makes frames' columns, and answers what lies at an address."""

    def __init__(self, report: Report, style: Style, *, verbose: bool = False) -> None:
        self.style = style
        self.verbose = verbose
        self.locations = report.locations
        self.modules = {module.index: module for module in report.modules}
        self._ranges = ModuleRanges(report.modules)
        self.digits = 8 if report.target.arch in ("x86", "arm") else 16
        self.function_width, self.file_width = self._widths()
        # Where handlers return to: a frame there is the kernel's, and it may have no name.
        self.trampolines = {pc for stack in report.stacks for pc in _trampolines(stack.frames)}

    def row(self, frame: Frame, key: int) -> Row:
        """A frame's lines: calls that were expanded in place, innermost first, then its own.

        `key` is what its location goes by, see `fold.location_keys`. The same for all frames with
        its pc and key, unless their own addresses are shown (`verbose`).
        """
        lookup = frame.lookup_pc
        location = self.locations.get(key)
        addresses = ""
        if self.verbose:
            sp = f"sp 0x{frame.sp:0{self.digits}x}" if frame.sp is not None else ""
            addresses = f"0x{frame.pc:0{self.digits}x}  {sp:{self.digits + 5}}  "
        module = self._module(lookup)
        if location is None or location.function is None:
            return [addresses + self._unnamed(frame, module, location)]
        name = _module_name(module, location) if module else ""
        if location.wasm_offset is not None:
            name += f"+0x{location.wasm_offset:x}"
        lines = []
        for call in location.inlines:
            columns = self._columns(call.function, self._file(call), name)
            lines.append(addresses + columns + self.style.paint("dim", "  (inlined)"))
            addresses = " " * len(addresses)
        file = self._file(location)
        offset = ""
        if not file and location.function_offset is not None and location.wasm_offset is None:
            start = lookup - location.function_offset
            offset = f"+0x{frame.pc - start:x}" if frame.pc != start else ""
        lines.append(addresses + self._columns(location.function, file, name, offset))
        return lines

    def module_of(self, frame: Frame) -> Module | None:
        return self._module(frame.pc if frame.exact else frame.pc - 1)

    def function_of(self, pc: int) -> Hashable:
        """What recursion is recognised by: the function at a look-up pc, else the pc itself."""
        location = self.locations.get(pc)
        if location is None or location.function is None:
            return pc
        return location.module, location.function

    def call_name(self, pc: int) -> str:
        """The function at a look-up pc, or of a subject, as in a sentence: `down()`."""
        location = self.locations.get(pc)
        if location is None or location.function is None:
            module = self._module(pc)
            return f"0x{pc + 1:x}" + (f" in {printable(module.name)}" if module else "")
        name = short_function(printable(location.function))
        return name if name.endswith((")", "}")) else f"{name}()"

    def _columns(self, function: str, file: str, module: str, offset: str = "") -> str:
        paint = self.style.paint
        name = self._function(function)
        text = paint("name", name) + paint("dim", offset)
        text += " " * (self.function_width - len(name) - len(offset))
        if self.file_width:
            text += f"  {file:{self.file_width}}"
        return (text + "  " + paint("dim", module)).rstrip()

    def _unnamed(self, frame: Frame, module: Module | None, location: Location | None) -> str:
        is_trampoline = frame.pc in self.trampolines
        if is_trampoline:
            text = "(signal trampoline)"
        else:
            text = "(no name)" if self.verbose else f"0x{frame.pc:0{self.digits}x}"
        text = text.ljust(self.function_width)
        if module is None:
            where = "" if is_trampoline else "in no module"
        elif location is not None and location.wasm_function is not None:
            where = f"{_module_name(module, location)}:{_wasm_place(location)}"
        else:
            where = f"{printable(base_name(module.name))}+0x{frame.pc - module.base:x}"
        if self.file_width:
            text += f"  {'':{self.file_width}}"
        return (text + "  " + self.style.paint("dim", where)).rstrip()

    def _function(self, name: str) -> str:
        name = printable(name)
        return name if self.verbose else short_function(name)

    def _file(self, place: Location | Inline) -> str:
        if not place.file:
            return ""
        file = printable(place.file if self.verbose else short_file(place.file))
        return f"{file}:{place.line}" if place.line else file

    def _module(self, address: int) -> Module | None:
        location = self.locations.get(address)
        if location is not None and location.module is not None:
            return self.modules.get(location.module)
        return self._ranges.at(address)

    def _widths(self) -> tuple[int, int]:
        functions = [self.digits + 2]
        files = [0]
        for location in self.locations.values():
            if location.function is None:
                continue
            file = self._file(location)
            files.append(len(file))
            functions.append(len(self._function(location.function)) + (0 if file else 6))
            for call in location.inlines:
                files.append(len(self._file(call)))
                functions.append(len(self._function(call.function)))
        return _width(functions, _FUNCTION_WIDTH), _width(files, _FILE_WIDTH)


def _module_name(module: Module, location: Location) -> str:
    """The module's name; of a component's code with that of the module in it."""
    name = base_name(module.name)
    if location.wasm_function is not None and module.wasm is not None:
        name += module.wasm.part(location.wasm_module)
    return printable(name)


def _wasm_place(location: Location) -> str:
    """A place in a WebAssembly binary in the form of browsers (WebAssembly Web API, 6.2)."""
    place = f"wasm-function[{location.wasm_function}]"
    return place if location.wasm_offset is None else f"{place}:0x{location.wasm_offset:x}"


def _trampolines(frames: list[Frame]) -> Iterator[int]:
    """The pcs of frames whose caller was interrupted by a signal."""
    trusts = [frame.trust for frame in frames]
    at = 0
    for _ in range(trusts[1:].count(Trust.SIGNAL)):
        at = trusts.index(Trust.SIGNAL, at + 1)
        yield frames[at - 1].pc


def _width(lengths: list[int], limit: int) -> int:
    """The longest that stays within the limit: one name of 300 letters widens no column."""
    return max(length for length in [0, *lengths] if length <= limit)
