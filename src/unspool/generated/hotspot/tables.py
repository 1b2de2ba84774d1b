"""The tables in which libjvm.so describes its own data: where each field of each class lies.

HotSpot exports them for its serviceability agent, see vmStructs.hpp of OpenJDK, and they are
complete enough to find the code cache, the methods and the threads of a process or a core without
anything beside libjvm.so's own data. Whatever they say is checked where it is used: memory that was
overwritten, or that lies, costs names and frames and nothing else.
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unspool.generated.reader import Reader

# JDK 17 has 1,100 fields, 700 types, 240 constants.
_MOST_ENTRIES = 8192
_MOST_STRIDE = 256

# The classes that are looked at; reading the names of all would take most of the time.
_TYPES = frozenset((
    "AbstractInterpreter", "Abstract_VM_Version", "BufferBlob", "CodeBlob", "CodeCache", "CodeHeap",
    "CompiledMethod", "ConstMethod", "ConstantPool", "ContinuationEntry", "GrowableArray<int>",
    "GrowableArrayBase", "GenericGrowableArray", "HeapBlock", "HeapBlock::Header", "InstanceKlass",
    "InterpreterCodelet", "JavaCallWrapper", "JavaFrameAnchor", "JavaThread", "Klass", "Method",
    "OSThread", "PcDesc", "StubQueue", "StubRoutines", "Symbol", "Thread", "ThreadsList",
    "ThreadsSMRSupport", "VirtualSpace", "nmethod",
))  # fmt: skip
# And those that `locks` looks at besides.
OF_LOCKS = frozenset((
    "Abstract_VM_Version", "Array<u1>", "Array<u2>", "CompressedKlassPointers", "CompressedOops",
    "ConstMethod", "ConstantPool", "InstanceKlass", "JVMFlag", "JavaThread", "Klass", "LockStack",
    "Method", "OSThread", "ObjectMonitor", "Symbol", "Thread", "ThreadsList", "ThreadsSMRSupport",
    "Universe", "oopDesc",
))  # fmt: skip

_SIZES = {
    "u1": (1, False), "bool": (1, False), "u2": (2, False), "int16_t": (2, True),
    "short": (2, True), "u4": (4, False), "int": (4, True), "jint": (4, True),
    "uint": (4, False), "const uint": (4, False), "unsigned int": (4, False), "pid_t": (4, True),
    "OSThread::thread_id_t": (4, True), "CodeBlobKind": (1, False), "size_t": (8, False),
}  # fmt: skip


class Field:
    """Where a field lies: `offset` in its object, or its `address` if it is static."""

    __slots__ = ("address", "offset", "signed", "size")

    def __init__(self, offset: int, address: int | None, kind: str) -> None:
        self.offset = offset
        self.address = address
        self.size, self.signed = _SIZES.get(kind, (8, False))


class VmTables:
    """The tables of one libjvm.so. Raises `FormatError` if there are none that can be read."""

    def __init__(
        self, reader: Reader, symbol: Callable[[str], int | None],
        classes: frozenset[str] = _TYPES,
    ) -> None:  # fmt: skip
        self.reader = reader
        self._classes = classes
        self._symbol = symbol
        self._strings: dict[int, str] = {}
        self.sizes: dict[str, int] = {}
        self.fields: dict[tuple[str, str], Field] = {}
        try:
            self._read_fields()
            self._read_types()
        except Fault as fault:
            raise FormatError(f"a table at {fault} cannot be read", "HotSpot's tables") from None

    def field(self, *names: str) -> Field:
        """A field by "Class.field"; of several names the first that there is."""
        found = self.maybe(*names)
        if found is None:
            raise FormatError(f"no field {names[0]}", "HotSpot's tables")
        return found

    def maybe(self, *names: str) -> Field | None:
        for name in names:
            owner, _, field = name.partition(".")
            found = self.fields.get((owner, field))
            if found is not None:
                return found
        return None

    def offset(self, *names: str) -> int:
        return self.field(*names).offset

    def static(self, *names: str) -> int:
        """The value of a static pointer."""
        field = self.field(*names)
        if field.address is None:
            raise FormatError(f"{names[0]} is not static", "HotSpot's tables")
        return self.reader.pointer(field.address)

    def size(self, name: str) -> int:
        """The size of a class in bytes."""
        size = self.sizes.get(name, 0)
        if not 0 < size <= 1 << 16:
            raise FormatError(f"the size of {name} is {size}", "HotSpot's tables")
        return size

    def get(self, address: int, field: Field) -> int:
        """The value of an object's field."""
        if field.signed:
            return self.reader.signed(address + field.offset, field.size)
        return self.reader.unsigned(address + field.offset, field.size)

    def _value(self, name: str) -> int:
        address = self._symbol(name)
        if address is None:
            raise FormatError(f"no symbol {name}", "HotSpot's tables")
        return self.reader.pointer(address)

    def _entries(self, table: str, entry: str) -> Iterator[tuple[int, str]]:
        """The address of each entry whose class is looked at, and the name of the class."""
        start, stride = self._value(table), self._value(entry + "ArrayStride")
        at = self._value(entry + "TypeNameOffset")
        if not (8 <= stride <= _MOST_STRIDE and at <= stride - 8):
            raise FormatError(f"entries of {stride} bytes", "HotSpot's tables")
        for number in range(_MOST_ENTRIES):
            address = start + number * stride
            pointer = self.reader.pointer(address + at)
            if not pointer:
                return
            name = self._string(pointer)
            if name in self._classes:
                yield address, name

    def _read_fields(self) -> None:
        entry = "gHotSpotVMStructEntry"
        name, kind, static, offset, place = (
            self._value(f"{entry}{what}Offset")
            for what in ("FieldName", "TypeString", "IsStatic", "Offset", "Address")
        )
        reader = self.reader
        for at, owner in self._entries("gHotSpotVMStructs", entry):
            field = self._string(reader.pointer(at + name))
            what = reader.pointer(at + kind)
            is_static = reader.unsigned(at + static, 4) != 0
            self.fields[owner, field] = Field(
                0 if is_static else reader.unsigned(at + offset, 4),
                reader.pointer(at + place) if is_static else None,
                self._string(what) if what else "",
            )

    def _read_types(self) -> None:
        entry = "gHotSpotVMTypeEntry"
        size = self._value(entry + "SizeOffset")
        for at, name in self._entries("gHotSpotVMTypes", entry):
            self.sizes[name] = self.reader.pointer(at + size)

    def _string(self, address: int) -> str:
        text = self._strings.get(address)
        if text is None:
            text = self._strings[address] = self.reader.string(address, 128)
        return text
