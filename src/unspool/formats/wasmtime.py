"""Wasmtime's code images: a compiled WebAssembly module, in memory as `Module::serialize` has it.

An image is an ELF file of type ET_REL with operating system 200. It is mapped as it is, each byte
at its file offset, and its text is made executable: all addresses are offsets from the header.
Sections (crates/environ/src/obj.rs): .text, .eh_frame (whose addresses are relative, so that they
hold as it is), .wasmtime.addrmap, .wasmtime.info, .name.wasm with the names of functions, .symtab.
`wasmtime_info` reads those that serde has written.

Versions 8 to 50 of Wasmtime were looked at; the two encodings of the address map are told apart
by themselves.
"""

from __future__ import annotations

from bisect import bisect_right
from struct import Struct

from unspool.cursor import Cursor
from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    # Bytes of an image by their offset in it and their number; `Fault` if there are none.
    Reader = Callable[[int, int], bytes]

HEADER_SIZE = 64
OS_WASMTIME = 200
EF_MODULE, EF_COMPONENT, EF_PULLEY = 1, 2, 4 | 8
_ET_REL = 1
_EHDR = Struct("<HHIQQQIHHHHHH")
_SHDR = Struct("<IIQQQQIIQQ")
_SYM = Struct("<IBBHQQ")
_STT_FUNC = 2
_MAX_SECTIONS = 200
# Modules of a hundred megabytes have some hundred thousand functions.
_MAX_SYMBOLS, _MAX_NAMES = 1 << 20, 64 << 20
# Positions in one block of the newer address map (ADDRMAP_BLOCK_SIZE).
_BLOCK = 128
_NO_POSITION = 0xFFFF_FFFF

# Longer names of functions are cut in symbols (MAX_SYMBOL_LEN).
MAX_NAME = 96

# What a function of an image is, by its symbol.
WASM, ENTRY, EXIT, OTHER = "wasm", "entry", "exit", "other"


class Image:
    """The parts of an image: each section's (offset, size), and its flags. `end` is its size."""

    __slots__ = ("end", "flags", "machine", "sections", "table")

    def __init__(
        self,
        machine: int,
        flags: int,
        sections: dict[str, tuple[int, int]],
        table: list[tuple[int, int]],
    ) -> None:
        self.machine = machine
        self.flags = flags
        self.sections = sections
        # The header, the table of sections, and the names of those.
        self.table = table
        self.end = max(at + size for at, size in (*sections.values(), *table))

    @property
    def text(self) -> tuple[int, int]:
        """Offset and size of the code; size 0 if there is none."""
        return self.sections.get(".text", (0, 0))


def is_image(header: bytes) -> bool:
    """Whether an image begins with these bytes, 64 of them."""
    return (
        len(header) >= HEADER_SIZE
        and header[:4] == b"\x7fELF"
        and header[4:6] == b"\x02\x01"
        and header[7] == OS_WASMTIME
        and header[16:18] == _ET_REL.to_bytes(2, "little")
    )


def read_image(read: Reader) -> Image:
    """The parts of the image. Raises `FormatError` if they are none, or what `read` raises."""
    header = read(0, HEADER_SIZE)
    if not is_image(header):
        raise FormatError("code image", "no header of Wasmtime's")
    fields = _EHDR.unpack_from(header, 16)
    machine, table, flags = fields[1], fields[5], fields[6]
    entry_size, count, names_index = fields[10:13]
    if entry_size != _SHDR.size or not names_index < count <= _MAX_SECTIONS:
        raise FormatError("code image", f"{count} sections of {entry_size} bytes")
    size = count * entry_size
    rows = list(_SHDR.iter_unpack(read(table, size)))
    names_at, names_size = rows[names_index][4], min(rows[names_index][5], 1 << 16)
    names = read(names_at, names_size)
    sections: dict[str, tuple[int, int]] = {}
    for row in rows[1:]:
        end = names.find(b"\0", row[0])
        name = names[row[0] : end if end >= 0 else row[0]].decode("utf-8", "replace")
        sections.setdefault(name, (row[4], row[5]))
    parts = [(0, HEADER_SIZE), (table, size), (names_at, names_size)]
    if ".text" not in sections:
        raise FormatError("code image", "no .text")
    return Image(machine, flags, sections, parts)


class Function:
    """A function of an image: `start` and `size` in the text, its symbol, and what it is.

    `module` and `index` are those of Wasm functions, else None.
    """

    __slots__ = ("index", "kind", "module", "size", "start", "symbol")

    def __init__(self, start: int, size: int, symbol: str) -> None:
        self.start = start
        self.size = size
        self.symbol = symbol
        self.module, self.index = wasm_function(symbol)
        self.kind = kind_of(symbol)

    @property
    def name(self) -> str | None:
        """The function's name as far as the symbol has it: up to 96 ASCII characters."""
        return self.symbol.partition("]::function[")[2].partition("]::")[2] or None


def as_in_symbols(name: str) -> str:
    """A function's name as symbols have it (`clean_symbol` in crates/wasmtime/src/compile.rs):
    whatever is not graphic ASCII is one `?`, however long."""
    import re

    if not re.fullmatch(r"[!-~]*", name):
        name = re.sub(r"[^!->@-~]+", "?", name)
    return name[:MAX_NAME]


def kind_of(symbol: str) -> str:
    """What the function of that symbol is (crates/wasmtime/src/compile.rs of many versions).

    `ENTRY`: host code enters by it. `EXIT`: Wasm code leaves by it. Up to version 8, entry and
    exit were in the runtime itself, and images had `_trampoline_N` for the arguments.
    """
    if wasm_function(symbol)[1] is not None:
        return WASM
    _, _, what = symbol.partition("]::")
    if what.startswith(("array_to_wasm_trampoline", "native_to_wasm_trampoline")):
        return ENTRY
    if symbol.startswith(("_trampoline_", "module_start[")) or "-array-call-" in symbol:
        return ENTRY
    if what.startswith(("wasm_to_array_trampoline", "wasm_to_native_trampoline")):
        return EXIT
    if symbol.startswith(("wasmtime_builtin_", "wasmtime_patchable_builtin_")):
        return EXIT
    # Up to version 20 each host function has an image of its own with the first of these.
    if symbol in ("wasm_to_array", "resource_drop_trampoline") or "-wasm-call-" in symbol:
        return EXIT
    return OTHER


def wasm_function(symbol: str) -> tuple[int | None, int | None]:
    """Numbers of module and function of a Wasm function's symbol: `wasm[0]::function[1]::name`."""
    if symbol.startswith("_wasm_function_"):
        number = symbol.removeprefix("_wasm_function_")
        return (0, int(number)) if _is_number(number) else (None, None)
    module, found, rest = symbol.removeprefix("wasm[").partition("]::function[")
    number = rest.partition("]")[0]
    if found and symbol.startswith("wasm[") and _is_number(module) and _is_number(number):
        return int(module), int(number)
    return None, None


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 11 and text.isascii()


class Functions:
    """The functions of an image by the places of their code."""

    def __init__(self, functions: Sequence[Function]) -> None:
        self.all = sorted(functions, key=_start)
        self._starts = [each.start for each in self.all]

    def at(self, offset: int) -> Function | None:
        """The function that has the byte at an offset in the text."""
        index = bisect_right(self._starts, offset) - 1
        if index >= 0:
            found = self.all[index]
            if offset < found.start + found.size:
                return found
        return None


def read_functions(symbols: bytes, strings: bytes, text_size: int) -> Functions:
    """The functions in .symtab and .strtab; symbols that do not fit the text are left out."""
    found = []
    whole = len(symbols) - len(symbols) % _SYM.size
    for name, info, _, _, start, size in _SYM.iter_unpack(
        symbols[: min(whole, _MAX_SYMBOLS * _SYM.size)]
    ):
        if info & 15 != _STT_FUNC or not size or start + size > text_size:
            continue
        end = strings.find(b"\0", name, name + 4096)
        if name < len(strings) and end >= 0:
            found.append(Function(start, size, strings[name:end].decode("utf-8", "replace")))
    return Functions(found)


class AddressMap:
    """Where in the Wasm binary the code of the text is from: .wasmtime.addrmap.

    Up to version 48 all offsets in the text (u32, sorted), then all positions. Later ones have
    blocks of 128 entries: an index of (first offset, place of the block), then for each entry
    a LEB128 token, the distance from the entry before and a bit that says that there is no
    position, and the position's distance from the position before.

    Raises `FormatError` if the data are neither.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        if len(data) < 4:
            raise FormatError(".wasmtime.addrmap", "cut short")
        self._count = int.from_bytes(data[:4], "little")
        self._blocks = int.from_bytes(data[4:8], "little") if len(data) >= 8 else 0
        self._is_flat = len(data) == 4 + 8 * self._count and self._is_sorted()
        blocks = -(-self._count // _BLOCK)
        if not self._is_flat and (self._blocks != blocks or len(data) < 8 + 8 * blocks):
            raise FormatError(".wasmtime.addrmap", f"{self._count} entries in {len(data)} bytes")

    def _is_sorted(self) -> bool:
        """Whether the first offsets are: a list of blocks has positions among them."""
        offsets = [self._word(4 + 4 * index) for index in range(min(self._count, 64))]
        return offsets == sorted(offsets)

    def _word(self, at: int) -> int:
        return int.from_bytes(self._data[at : at + 4], "little")

    def position(self, offset: int) -> int | None:
        """The position in the Wasm binary of the code at an offset in the text.

        None if it is from nowhere: prologues are. Raises `FormatError` for a broken block.
        """
        if self._is_flat:
            index = self._last(offset, self._count, 4, 4)
            found = self._word(4 + 4 * (self._count + index)) if index >= 0 else _NO_POSITION
            return None if found == _NO_POSITION else found
        index = self._last(offset, self._blocks, 8, 8)
        return self._in_block(offset, index) if index >= 0 else None

    def _last(self, offset: int, count: int, first: int, step: int) -> int:
        """The last of `count` sorted words that is not above an offset; -1 if all are."""
        low, high = 0, count
        while low < high:
            middle = (low + high) // 2
            if self._word(first + step * middle) <= offset:
                low = middle + 1
            else:
                high = middle
        return low - 1

    def _in_block(self, offset: int, block: int) -> int | None:
        at = self._word(8 + 8 * block)
        cursor = Cursor(self._data, 8 + 8 * self._blocks + self._word(12 + 8 * block))
        found = position = None
        for _ in range(min(_BLOCK, self._count - block * _BLOCK)):
            token = cursor.uleb()
            at += token >> 1
            if at > offset:
                break
            found = None
            if not token & 1:
                position = cursor.uleb() if position is None else position + cursor.sleb()
                found = position
        return found


def _start(function: Function) -> int:
    return function.start
