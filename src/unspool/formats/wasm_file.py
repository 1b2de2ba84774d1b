"""WebAssembly files: what is where in the binary of a module or of a component.

WebAssembly core specification, 5.5; the name section is 7.4.1. A component (layer 1 of the binary
format) holds modules whole, and is read for these. All offsets count from the file's beginning:
so do those that a runtime has of its code.
"""

from __future__ import annotations

from unspool.cursor import Cursor
from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer

MAGIC = b"\0asm"
_HEADER = 8
_MODULE, _COMPONENT = b"\1\0\0\0", b"\x0d\0\1\0"
_CUSTOM, _IMPORT, _CODE = 0, 2, 10
_CORE_MODULE, _NESTED = 1, 4
_MODULE_NAME, _FUNCTIONS = 0, 1
_MAX_MODULES, _MAX_DEPTH, _MAX_SECTIONS = 1000, 16, 10_000
# The specification's JavaScript interface allows 1,000,000 functions and 100,000 imports.
_MAX_FUNCTIONS, _MAX_IMPORTS = 1_000_000, 100_000

Range = tuple[int, int]


class WasmModule:
    """A module: `code` is the code section's contents, `bodies` are the functions' own, each as
    (start, end); the first of them is the function with the number `imported`.

    `custom` are the contents of custom sections by name, the first of each.
    """

    def __init__(self, data: Buffer) -> None:
        self.data = data
        self.custom: dict[str, Range] = {}
        self.code: Range | None = None
        self.imported = 0
        self.bodies: list[Range] = []
        self._names: dict[int, bytes] | None = None

    def bytes_of(self, name: str) -> bytes:
        """A custom section's contents; empty if there is none."""
        start, end = self.custom.get(name, (0, 0))
        return bytes(self.data[start:end])

    def body(self, function: int) -> Range | None:
        """Where the code of a function is, by its number among all; None for imported ones."""
        index = function - self.imported
        return self.bodies[index] if 0 <= index < len(self.bodies) else None

    @property
    def name(self) -> str:
        """The module's own name out of the name section; empty if it has none."""
        try:
            found = _subsection(self.bytes_of("name"), _MODULE_NAME)
            text = found.take(found.uleb()).decode() if found is not None else ""
        except (FormatError, UnicodeDecodeError):
            return ""
        return text if text.isprintable() else ""

    @property
    def names(self) -> dict[int, bytes]:
        """Names of functions by their numbers, as they are. Empty if they cannot be read."""
        if self._names is None:
            try:
                self._names = _function_names(self.bytes_of("name"))
            except FormatError:
                self._names = {}
        return self._names

    @property
    def build_id(self) -> str | None:
        """The id that linkers write on request (tool-conventions, BuildId.md), in hex."""
        try:
            cursor = Cursor(self.bytes_of("build_id"))
            found = cursor.take(cursor.uleb())
        except FormatError:
            return None
        return found.hex() if 0 < len(found) <= 64 else None


def is_wasm(data: Buffer) -> bool:
    """Whether a file begins as a module or a component does."""
    return bytes(data[:4]) == MAGIC and bytes(data[4:_HEADER]) in (_MODULE, _COMPONENT)


def is_component(data: Buffer) -> bool:
    """Whether a WebAssembly file is a component, and no module itself."""
    return bytes(data[4:_HEADER]) == _COMPONENT


def read_modules(data: Buffer) -> list[WasmModule]:
    """The file's modules in their order: one, or those of a component. Raises `FormatError`."""
    found: list[WasmModule] = []
    _read(data, 0, len(data), found, 0)
    return found


def _read(data: Buffer, start: int, end: int, found: list[WasmModule], depth: int) -> None:
    if end - start < _HEADER or bytes(data[start : start + 4]) != MAGIC:
        raise FormatError("WebAssembly file", "no header")
    layer = bytes(data[start + 4 : start + _HEADER])
    if layer == _MODULE:
        if len(found) >= _MAX_MODULES:
            raise FormatError("WebAssembly file", f"more than {_MAX_MODULES} modules")
        found.append(_read_module(data, start, end))
        return
    if layer != _COMPONENT or depth >= _MAX_DEPTH:
        raise FormatError("WebAssembly file", f"version {layer.hex()}")
    for kind, low, high in _sections(data, start, end):
        if kind in (_CORE_MODULE, _NESTED):
            _read(data, low, high, found, depth + 1)


def _sections(data: Buffer, start: int, end: int) -> list[tuple[int, int, int]]:
    """The sections of a module or component, as (number, start, end) of their contents."""
    cursor = Cursor(data, start + _HEADER, end)
    found = []
    while cursor.offset < end:
        kind, size = cursor.u8(), cursor.uleb()
        found.append((kind, cursor.offset, cursor.offset + size))
        cursor.skip(size)
        if len(found) > _MAX_SECTIONS:
            raise FormatError("WebAssembly file", f"more than {_MAX_SECTIONS} sections")
    return found


def _read_module(data: Buffer, start: int, end: int) -> WasmModule:
    module = WasmModule(data)
    for kind, low, high in _sections(data, start, end):
        cursor = Cursor(data, low, high)
        if kind == _CUSTOM:
            name = cursor.take(cursor.uleb()).decode("utf-8", "replace")
            module.custom.setdefault(name, (cursor.offset, high))
        elif kind == _IMPORT:
            module.imported = _imported_functions(cursor)
        elif kind == _CODE and module.code is None:
            module.code = (low, high)
            module.bodies = _bodies(cursor)
    return module


def _bodies(cursor: Cursor) -> list[Range]:
    count = cursor.uleb()
    if count > _MAX_FUNCTIONS:
        raise FormatError("code section", f"{count} functions")
    found = []
    for _ in range(count):
        size = cursor.uleb()
        found.append((cursor.offset, cursor.offset + size))
        cursor.skip(size)
    return found


def _imported_functions(cursor: Cursor) -> int:
    count = cursor.uleb()
    if count > _MAX_IMPORTS:
        raise FormatError("import section", f"{count} imports")
    functions = 0
    for _ in range(count):
        cursor.skip(cursor.uleb())
        cursor.skip(cursor.uleb())
        kind = cursor.u8()
        if kind == 0:
            functions += 1
            cursor.uleb()
        elif kind == 1:
            value_type(cursor)
            _limits(cursor)
        elif kind == 2:
            _limits(cursor)
        elif kind == 3:
            value_type(cursor)
            cursor.u8()
        elif kind == 4:
            cursor.u8()
            cursor.uleb()
        else:
            raise FormatError("import section", f"an import of kind {kind}")
    return functions


def value_type(cursor: Cursor) -> None:
    """Passes over a value type: one byte, but for references to a type of the module's own."""
    if cursor.u8() in (0x63, 0x64):
        cursor.sleb()


def _limits(cursor: Cursor) -> None:
    flags = cursor.uleb()
    cursor.uleb()
    if flags & 1:
        cursor.uleb()
    if flags & 8:
        cursor.uleb()  # the size of a page


def _subsection(section: bytes, wanted: int) -> Cursor | None:
    """The first part of a name section with a number."""
    cursor = Cursor(section)
    while cursor.offset < cursor.end:
        kind, size = cursor.u8(), cursor.uleb()
        if kind == wanted:
            return Cursor(section, cursor.offset, cursor.offset + size)
        cursor.skip(size)
    return None


def _function_names(section: bytes) -> dict[int, bytes]:
    inside = _subsection(section, _FUNCTIONS)
    names: dict[int, bytes] = {}
    if inside is None:
        return names
    count = inside.uleb()
    if count > _MAX_FUNCTIONS + _MAX_IMPORTS:
        raise FormatError("name section", f"{count} names")
    for _ in range(count):
        number = inside.uleb()
        names[number] = inside.take(inside.uleb())
    return names
