"""Java objects on the heap: their classes, and where a class keeps its fields.

`oopDesc`, `InstanceKlass` and `FieldInfo` of OpenJDK 11 to 25. References of ZGC from JDK 23 on,
which have colours in their lowest bits, are not read.
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.generated.hotspot.methods import Methods, external
from unspool.generated.hotspot.packed import Packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.generated.hotspot.tables import VmTables

# From this JDK on no byte of a packed number is zero (JDK-8292758).
_NO_ZEROS = 20
# From this one on the VM holds objects by handles (JDK-8244997 and its like).
_HANDLES = 16
# The bit of an object's first word that its class begins at, where it has no word of its own.
_COMPACT = 42
_MOST_SUPERS = 64
_MOST_FIELDS = 4096
_MOST_FLAGS = 4096
# A FieldInfo of u2 words: flags, name, signature, initial value, and the offset in two halves,
# whose lowest two bits are a tag.
_RECORD, _INTERNAL, _TAG = 6, 0x400, 2
# Of a field's flags in a stream: what follows (fieldInfo.hpp).
_INITIALISED, _INJECTED, _GENERIC, _CONTENDED = 1, 2, 4, 16


class Objects:
    """Reads objects. All methods raise `FormatError` and `Fault`."""

    def __init__(self, tables: VmTables) -> None:
        self.tables = tables
        self.reader = tables.reader
        major = tables.field("Abstract_VM_Version._vm_major_version")
        self.version = self.reader.signed(major.address or 0, 4)
        self.excluded = 1 if self.version >= _NO_ZEROS else 0
        self.methods = Methods(tables, self.excluded)
        flags = self._flags(
            "UseCompressedOops", "UseCompressedClassPointers", "UseCompactObjectHeaders"
        )
        self.oop_size = 4 if flags.get("UseCompressedOops") else 8
        self.compact = bool(flags.get("UseCompactObjectHeaders"))
        self.narrow_classes = bool(flags.get("UseCompressedClassPointers"))
        self._oops = self._packing("CompressedOops._base", "CompressedOops._shift", "_narrow_oop")
        self._klasses = self._packing(
            "CompressedKlassPointers._base", "CompressedKlassPointers._shift", "_narrow_klass"
        )
        self._names: dict[int, str] = {}
        self._offsets: dict[tuple[int, str, str], int | None] = {}

    def _packing(self, base: str, shift: str, old: str) -> tuple[int, int]:
        owner = base.partition(".")[0]
        fields = [
            self.tables.field(name, f"{owner}.{old}.{part}", f"Universe.{old}.{part}")
            for name, part in ((base, "_base"), (shift, "_shift"))
        ]
        values = [self.tables.get(field.address or 0, field) for field in fields]
        return values[0], values[1] & 31

    def _flags(self, *names: str) -> dict[str, int]:
        """The values of flags of the command line, by their names."""
        tables, reader = self.tables, self.reader
        start = tables.static("JVMFlag.flags")
        count = tables.static("JVMFlag.numFlags")
        size = tables.size("JVMFlag")
        name, value = tables.offset("JVMFlag._name"), tables.offset("JVMFlag._addr")
        found: dict[str, int] = {}
        for number in range(min(count, _MOST_FLAGS)):
            at = start + number * size
            pointer = reader.pointer(at + name)
            text = reader.string(pointer, 64) if pointer else ""
            if text in names:
                found[text] = reader.unsigned(reader.pointer(at + value), 1)
                if len(found) == len(names):
                    break
        return found

    def handle(self, address: int) -> int:
        """The object that a field of the VM holds, by a handle in newer versions."""
        value = self.reader.pointer(address)
        return self.reader.pointer(value) if value and self.version >= _HANDLES else value

    def reference(self, address: int) -> int:
        """The object that a field of an object refers to."""
        if self.oop_size == 8:
            return self.reader.pointer(address)
        value = self.reader.unsigned(address, 4)
        base, shift = self._oops
        return base + (value << shift) if value else 0

    def klass(self, oop: int) -> int:
        if self.compact:
            base, shift = self._klasses
            mark = self.reader.pointer(oop + self.tables.offset("oopDesc._mark"))
            return base + (mark >> _COMPACT << shift)
        field = self.tables.offset("oopDesc._metadata._klass")
        if not self.narrow_classes:
            return self.reader.pointer(oop + field)
        base, shift = self._klasses
        return base + (self.reader.unsigned(oop + field, 4) << shift)

    def class_name(self, klass: int) -> str:
        """As programs see it: `java.lang.Object`."""
        if klass not in self._names:
            pointer = self.reader.pointer(klass + self.tables.offset("Klass._name"))
            self._names[klass] = external(self.methods.symbol(pointer))
        return self._names[klass]

    def field(self, oop: int, owner: str, name: str) -> int | None:
        """The object in a field that a class of this name defines; None if `oop` is of no such."""
        klass = self.klass(oop)
        key = klass, owner, name
        if key not in self._offsets:
            self._offsets[key] = self._find(klass, owner, name)
        offset = self._offsets[key]
        return self.reference(oop + offset) if offset is not None else None

    def _find(self, klass: int, owner: str, name: str) -> int | None:
        above = self.tables.offset("Klass._super")
        for _ in range(_MOST_SUPERS):
            if not klass:
                return None
            if self.class_name(klass) == owner:
                return self._offset(klass, name)
            klass = self.reader.pointer(klass + above)
        raise FormatError("too many classes above each other", "a Java object")

    def _offset(self, klass: int, name: str) -> int:
        pool = self.reader.pointer(klass + self.tables.offset("InstanceKlass._constants"))
        stream = self.tables.maybe("InstanceKlass._fieldinfo_stream")
        found = self._of_array(klass, pool, name) if stream is None else None
        if stream is not None:
            found = self._of_stream(self.reader.pointer(klass + stream.offset), pool, name)
        if found is None:
            raise FormatError(f"no field {name}", "a Java class")
        return found

    def _of_array(self, klass: int, pool: int, name: str) -> int | None:
        tables, reader = self.tables, self.reader
        array = reader.pointer(klass + tables.offset("InstanceKlass._fields"))
        count = tables.get(klass, tables.field("InstanceKlass._java_fields_count"))
        data = array + tables.offset("Array<u2>._data")
        for number in range(min(count, _MOST_FIELDS)):
            flags, index, _, _, low, high = (
                reader.unsigned(data + 2 * (number * _RECORD + at), 2) for at in range(_RECORD)
            )
            if not flags & _INTERNAL and self.methods.constant(pool, index) == name:
                return (high << 16 | low) >> _TAG
        return None

    def _of_stream(self, array: int, pool: int, name: str) -> int | None:
        length = self.reader.unsigned(array, 4)
        if length > 32 * _MOST_FIELDS:
            raise FormatError(f"fields of {length:,} bytes", "a Java class")
        start = array + self.tables.offset("Array<u1>._data")
        packed = Packed(self.reader.read(start, length), self.excluded)
        count = packed.unsigned()
        packed.unsigned()  # how many of them the VM has injected, which come last
        for _ in range(min(count, _MOST_FIELDS)):
            index, _, offset, _, flags = (packed.unsigned() for _ in range(5))
            for bit in (_INITIALISED, _GENERIC, _CONTENDED):
                if flags & bit:
                    packed.unsigned()
            if not flags & _INJECTED and self.methods.constant(pool, index) == name:
                return offset
        return None
