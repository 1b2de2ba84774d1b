"""What lies in the code cache: each piece of code with a header that says how large its frame is.

`CodeBlob` and `nmethod` of OpenJDK. Until JDK 22 the header has addresses of the code's parts, then
offsets; JDK 23 moved what describes the code out of the cache.
"""

from __future__ import annotations

from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.generated.hotspot.heaps import CodeHeap, CodeHeaps
    from unspool.generated.hotspot.tables import VmTables

_WORD = 8
_MOST_FRAME = 1 << 20  # words; the JVM's own limit for one frame is far below
_MOST_NAME = 64


class Blob:
    """A piece of generated code: `[begin, end)`.

    `frame` is the size of its frames in bytes, from where the stack pointer is in its body to
    where it was before the call; 0 if it has none of a fixed size. From `complete` on the frame
    is there; for stubs it is not known, and is their end.
    """

    __slots__ = ("address", "begin", "compiled", "complete", "end", "frame", "name")

    def __init__(
        self, address: int, name: str, begin: int, end: int, frame: int, complete: int
    ) -> None:
        self.address = address
        self.name = name
        self.begin = begin
        self.end = end
        self.frame = frame
        self.complete = complete
        self.compiled: Compiled | None = None

    @property
    def interpreter(self) -> bool:
        return self.name == "Interpreter"


class Compiled:
    """What there is beside of code that was compiled of a method.

    Calls go on at one of `deoptimized` when the code has been given up since; where they would
    have gone on is then `original` bytes above the frame's stack pointer. `level` is 1 to 4, or
    None.
    """

    __slots__ = (
        "deoptimized", "level", "metadata", "method", "native", "original", "pcs", "pcs_end",
        "scopes",
    )  # fmt: skip

    def __init__(
        self,
        method: int,
        native: bool,
        deoptimized: frozenset[int],
        original: int,
        level: int | None,
    ) -> None:
        self.method = method
        self.native = native
        self.deoptimized = deoptimized
        self.original = original
        self.level = level
        self.pcs = self.pcs_end = self.scopes = self.metadata = 0


class Blobs:
    """Finds and reads headers; each once."""

    def __init__(self, tables: VmTables, heaps: CodeHeaps) -> None:
        self.tables = tables
        self.heaps = heaps
        self._blobs: dict[int, Blob | None] = {}
        field, maybe = tables.field, tables.maybe
        self._name = field("CodeBlob._name")
        self._begin = maybe("CodeBlob._code_begin")
        self._end = maybe("CodeBlob._code_end")
        self._code_offset = maybe("CodeBlob._code_offset")
        self._data_offset = field("CodeBlob._data_offset")
        self._frame = field("CodeBlob._frame_size")
        self._complete = field("CodeBlob._frame_complete_offset")

    def at(self, pc: int) -> Blob | None:
        """The code around an address. Raises `FormatError` and `Fault`."""
        address = self.heaps.block(pc)
        if address is None:
            return None
        if address not in self._blobs:
            self._blobs[address] = None
            self._blobs[address] = self._read(address)
        blob = self._blobs[address]
        return blob if blob is not None and blob.begin <= pc < blob.end else None

    def _read(self, address: int) -> Blob:
        tables = self.tables
        get, pointer = tables.get, tables.reader.pointer
        if self._begin is not None and self._end is not None:
            begin, end = get(address, self._begin), get(address, self._end)
        elif self._code_offset is not None:
            begin = address + get(address, self._code_offset)
            end = address + get(address, self._data_offset)
        else:
            raise FormatError("no field CodeBlob._code_offset", "HotSpot's tables")
        heap = self.heaps.at(address)
        if heap is None or not address < begin <= end <= heap.high:
            raise FormatError(f"code from 0x{begin:x} to 0x{end:x}", "HotSpot's code cache")
        words = get(address, self._frame)
        if words > _MOST_FRAME:
            raise FormatError(f"a frame of {words:,} words", "HotSpot's code cache")
        name = tables.reader.string(pointer(address + self._name.offset), _MOST_NAME)
        complete = get(address, self._complete)
        # -1 says that one cannot tell.
        complete = begin + complete if complete >= 0 else end
        blob = Blob(address, name, begin, end, max(words, 0) * _WORD, complete)
        if name in ("nmethod", "native nmethod"):
            blob.compiled = self._compiled(blob, heap)
        return blob

    def _compiled(self, blob: Blob, heap: CodeHeap) -> Compiled:
        tables, address = self.tables, blob.address
        get, maybe = tables.get, tables.maybe
        method = get(address, tables.field("nmethod._method", "CompiledMethod._method"))
        handlers = set()
        for kind in ("handler", "mh_handler"):
            absolute = maybe(f"CompiledMethod._deopt_{kind}_begin", f"nmethod._deopt_{kind}_begin")
            offset = maybe(f"nmethod._deopt_{kind}_offset")
            if absolute is not None:
                handlers.add(get(address, absolute))
            elif offset is not None:
                handlers.add(address + get(address, offset))
        # There is no second one unless the method has calls through method handles.
        handlers = {each for each in handlers if blob.begin <= each <= blob.end}
        original = get(address, tables.field("nmethod._orig_pc_offset"))
        level = maybe("nmethod._comp_level")
        number = tables.reader.signed(address + level.offset, 1) if level is not None else -1
        compiled = Compiled(
            method, blob.name != "nmethod", frozenset(handlers), original,
            number if 1 <= number <= 4 else None,
        )  # fmt: skip
        self._find_scopes(blob, compiled)
        return compiled

    def _find_scopes(self, blob: Blob, compiled: Compiled) -> None:
        """Where the tables lie that say which method and bytecode a pc belongs to."""
        tables, address = self.tables, blob.address
        get, maybe = tables.get, tables.maybe
        pcs = get(address, tables.field("nmethod._scopes_pcs_offset"))
        constant = maybe("nmethod._immutable_data")
        if constant is not None:
            base = get(address, constant)
            scopes = get(address, tables.field("nmethod._scopes_data_offset"))
            compiled.scopes, compiled.pcs_end = base + scopes, base + scopes
            changing = maybe("CodeBlob._mutable_data")
            relocations = maybe("CodeBlob._relocation_size")
            if changing is not None and relocations is not None:
                compiled.metadata = get(address, changing) + get(address, relocations)
        else:
            base = address
            compiled.pcs_end = base + get(address, tables.field("nmethod._dependencies_offset"))
            scopes_at = maybe("CompiledMethod._scopes_data_begin", "nmethod._scopes_data_begin")
            if scopes_at is not None:
                compiled.scopes = get(address, scopes_at)
            compiled.metadata = base + get(address, tables.field("nmethod._metadata_offset"))
        compiled.pcs = base + pcs
