"""WebAssembly compiled by Wasmtime: code images found in a process that nobody prepared.

The runtime maps an image as it is, `formats/wasmtime.py`, and makes its text executable. So
before executable memory of no file there is the image's header: that is all there is to look
for. What is needed of an image is read when it is first asked for.
"""

from __future__ import annotations

from zlib import crc32

from unspool.errors import FormatError
from unspool.formats import wasmtime, wasmtime_info, wasmtime_modules
from unspool.formats.cfi import CfiSection
from unspool.formats.wasm import wasm_binary
from unspool.generated.code import GeneratedModule
from unspool.generated.wasm_names import WasmNames
from unspool.generated.wasmtime_state import STATE_SIZE
from unspool.image import Image
from unspool.memory import Fault
from unspool.model import Finding, Module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.formats.cfi import EhFrameHdr
    from unspool.formats.wasmtime import AddressMap, Function, Functions
    from unspool.generated.code import Process
    from unspool.memory import Memory, Region
    from unspool.space import AddressSpace

# The text begins at the first page after the header and what the engine says of itself, which
# is 1 to 2 kB. Pages may have 64 kB.
_PAGE, _PAGES_BEFORE = 4096, 16
_MAX_IMAGES = 4096
_MAX_LOOKS = 1 << 18
# Of any one section. The tables of a module of 100 MB have some 20 MB each.
_MAX_SECTION = 64 << 20
# Places of the runtime's state.
_MAX_KEPT = 4096
# Before the first function's first instruction: the code section's and its own sizes, and locals.
_MAX_BEFORE_CODE, _MAX_PROLOGUE = 4096, 512
# Sections that walking and naming need.
_TABLES = (
    ".wasmtime.engine", ".eh_frame", ".wasmtime.addrmap", ".name.wasm", ".wasmtime.info",
    ".wasmtime.dwarf", ".symtab", ".strtab",
)  # fmt: skip


def find(process: Process) -> list[GeneratedModule]:
    """The code images of a process."""
    found: list[GeneratedModule] = []
    lost: list[int] = []
    end = 0
    for region in _new_code(process.space):
        if region.mapping[0] < end:
            continue
        code = _image_of(process.now, region)
        if isinstance(code, Lost):
            lost.append(code.base)
            end = region.mapping[1]
            continue
        if code is None or len(found) >= _MAX_IMAGES:
            continue
        end = code.end
        module = Module(-1, code.name, code.base, code.end, kind="wasm", bias=code.base)
        found.append(
            GeneratedModule(
                module,
                image=CodeTables(code),
                names=WasmNames(code),
                runtime=code,
                tables=code.tables,
                dwarf=code.dwarf if ".wasmtime.dwarf" in code.image.sections else None,
            )
        )
    if lost:
        title = f"WebAssembly at 0x{lost[0]:x}"
        title += f" and {len(lost) - 1} other places" if len(lost) > 1 else ""
        title += ": the file that its code is mapped from is not at hand (--symbols, --sysroot)"
        process.findings.append(Finding("generated_code", title))
    return found


def are_there(space: AddressSpace, memory: Memory) -> bool:
    """Whether a process has images, of which nothing is read but beginnings."""
    return any(_base_of(memory, region) is not None for region in _new_code(space))


def _new_code(space: AddressSpace) -> Iterator[Region]:
    """Executable memory of no module, as much as can be looked at."""
    looks = 0
    for region in space.memory.regions:
        if region.executable and space.module_at(region.start) is None:
            looks += 1
            if looks > _MAX_LOOKS:
                return
            yield region


class Lost:
    """An image of which the target has its header alone.

    Modules that were compiled before (`Module.deserialize_file`) are mapped from their files, and
    of these a kernel's core has the first page.
    """

    def __init__(self, base: int) -> None:
        self.base = base


def _image_of(memory: Memory, region: Region) -> WasmCode | Lost | None:
    """The image whose text is that region."""
    base = _base_of(memory, region)
    if base is None:
        return None
    try:
        code = WasmCode(memory, base)
    except FormatError:
        return None
    except Fault:
        is_there = memory.peek(region.start, 1)
        return None if is_there else Lost(base)
    low, high = region.mapping
    return code if code.text_start < high and low < code.text_end else None


def _base_of(memory: Memory, region: Region) -> int | None:
    """Where an image begins whose text may be that region."""
    for page in range(_PAGES_BEFORE + 1):
        base = region.mapping[0] - page * _PAGE
        if base > 0 and wasmtime.is_image(memory.peek(base, wasmtime.HEADER_SIZE)):
            return base
    return None


class WasmCode:
    """One image in memory, at `base`: its text is `[text_start, text_end)`.

    Raises `FormatError` and `Fault` if it is none.
    """

    kind = "wasmtime"

    def __init__(self, memory: Memory, base: int) -> None:
        self.memory = memory
        self.base = base
        self.image = wasmtime.read_image(self.read)
        at, size = self.image.text
        self.text_start = base + at
        self.text_end = self.text_start + size
        self.end = base + (self.image.end + _PAGE - 1) // _PAGE * _PAGE
        if not size or self.image.flags & wasmtime.EF_PULLEY or self.end > 1 << 64:
            raise FormatError("code image", "no code of this machine")
        self._kept: set[int] = set()
        self._functions: Functions | None = None
        self._positions: list[AddressMap | None] = []
        self._owners: dict[int, tuple[int, int]] | None = None
        self._dwarf: dict[int, tuple[int, dict[str, tuple[int, int]]]] | None = None

    def read(self, offset: int, size: int) -> bytes:
        if size > _MAX_SECTION:
            raise FormatError("code image", f"{size} bytes of tables")
        return self.memory.read(self.base + offset, size) if size else b""

    def section(self, name: str) -> bytes:
        """A section's bytes; empty if there is none. Raises `Fault` and `FormatError`."""
        return self.read(*self.image.sections.get(name, (0, 0)))

    @property
    def version(self) -> tuple[int, ...] | None:
        """The runtime's version, if the image says it."""
        try:
            return wasmtime_info.version(self.section(".wasmtime.engine"))
        except (FormatError, Fault):
            return None

    @property
    def name(self) -> str:
        """The module's name from its name section, else one that the same code has again."""
        try:
            info, version = self.section(".wasmtime.info"), self.version
            is_module = self.image.flags & wasmtime.EF_MODULE and version is not None
            name = wasmtime_modules.module_name(info, version or ()) if is_module else None
            number = crc32(self.section(".symtab"), crc32(self.section(".wasmtime.addrmap")))
        except (FormatError, Fault):
            name, number = None, 0
        return f"{name}.wasm" if name else f"module-{number:08x}.wasm"

    @property
    def functions(self) -> Functions:
        """The image's functions by their offsets in the text; none if they cannot be read."""
        if self._functions is None:
            try:
                self._functions = wasmtime.read_functions(
                    self.section(".symtab"), self.section(".strtab"), self.image.text[1]
                )
            except (FormatError, Fault):
                self._functions = wasmtime.Functions([])
        return self._functions

    def function_at(self, address: int) -> Function | None:
        """The function that has the code at an address of the process."""
        return self.functions.at(address - self.text_start)

    def position(self, address: int) -> int | None:
        """Where in the Wasm binary code at an address is from. Raises `FormatError`, `Fault`."""
        if not self._positions:
            data = self.section(".wasmtime.addrmap")
            self._positions.append(wasmtime.AddressMap(data) if data else None)
        found = self._positions[0]
        return found.position(address - self.text_start) if found is not None else None

    @property
    def owners(self) -> dict[int, tuple[int, int]]:
        """For each module the numbers of its first and its last own function."""
        if self._owners is None:
            owners: dict[int, tuple[int, int]] = {}
            for each in self.functions.all:
                if each.module is not None and each.index is not None:
                    first, last = owners.get(each.module, (each.index, each.index))
                    owners[each.module] = (min(first, each.index), max(last, each.index))
            self._owners = owners
        return self._owners

    def dwarf(self, module: int) -> tuple[int, bytes] | None:
        """Of a module of the image: where its code section begins in the Wasm binary, and a
        binary with its DWARF alone.

        The runtime keeps that if it is told to show it (wasm_backtrace_details, or
        WASMTIME_BACKTRACE_DETAILS=1 in the environment).
        """
        try:
            if self._dwarf is None:
                self._dwarf = self._read_dwarf()
            if module not in self._dwarf:
                return None
            start, sections = self._dwarf[module]
            data = self.section(".wasmtime.dwarf")
        except (FormatError, Fault):
            return None
        return start, wasm_binary({name: data[low:high] for name, (low, high) in sections.items()})

    def _read_dwarf(self) -> dict[int, tuple[int, dict[str, tuple[int, int]]]]:
        """The modules that have DWARF, and where that is.

        Not all modules of a component need have any. What one has says where its code section
        begins: right before the first function. Adapters that the runtime makes count from 0
        again, and come last.
        """
        _, size = self.image.sections.get(".wasmtime.dwarf", (0, 0))
        lists = wasmtime_info.dwarf_sections(
            self.section(".wasmtime.info"), size, self.version or ()
        )
        firsts: dict[int, Function] = {}
        for each in self.functions.all:
            if each.module is not None and each.index is not None:
                known = firsts.setdefault(each.module, each)
                if each.index < (known.index or 0):
                    firsts[each.module] = each
        if len(firsts) == 1:
            return dict(zip(firsts, lists[:1], strict=False))
        modules = iter(sorted(firsts.items()))
        found = {}
        for position, sections in lists:
            for module, function in modules:
                first = self._first_position(function)
                if first is not None and 0 <= first - position < _MAX_BEFORE_CODE:
                    found[module] = (position, sections)
                    break
        return found

    def _first_position(self, function: Function) -> int | None:
        """Where in the Wasm binary the first code of a function is from; its prologue is not."""
        start = self.text_start + function.start
        for address in range(start, start + min(function.size, _MAX_PROLOGUE)):
            position = self.position(address)
            if position is not None:
                return position
        return None

    def tables(self) -> list[tuple[int, int]]:
        """Where in the process what walking and naming need is: (start, end), code aside."""
        sections = self.image.sections
        parts = [*self.image.table, *(sections[name] for name in _TABLES if name in sections)]
        tables = [(self.base + at, self.base + at + size) for at, size in parts if size]
        return tables + [(each, each + STATE_SIZE) for each in sorted(self._kept)]

    def keep(self, *addresses: int) -> None:
        """Adds what was read of the runtime's own state to the tables."""
        self._kept.update(addresses[: _MAX_KEPT - len(self._kept)])


class CodeTables(Image):
    """An image's unwind data. Sections of a relocatable file have no addresses: they lie at
    their offsets."""

    def __init__(self, code: WasmCode) -> None:
        super().__init__(code.memory, code.base)
        self.code = code

    def eh_frame(self) -> tuple[EhFrameHdr | None, CfiSection | None]:
        if self._eh_frame is None:
            self._eh_frame = (None, self._read_eh_frame())
        return self._eh_frame

    def _read_eh_frame(self) -> CfiSection | None:
        try:
            data = self.code.section(".eh_frame")
        except (FormatError, Fault) as error:
            self.problems.append(f".eh_frame cannot be read: {error}")
            return None
        if not data:
            return None
        at, _ = self.code.image.sections[".eh_frame"]
        return CfiSection(data, 0, len(data), at, is_eh=True, address_size=8)

    def debug_frames(self) -> list[CfiSection]:
        return []
