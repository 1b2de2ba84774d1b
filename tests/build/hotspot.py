"""A HotSpot JVM in made-up memory: its tables, a code cache, methods, and the stack of a thread.

`era` is "pointers" (headers of JDK 11 to 22) or "offsets" (from JDK 23 on).
"""

from __future__ import annotations

import struct

LIB, CACHE, HEAP, CODE = 0x7F00_0000_0000, 0x7F10_0000_0000, 0x7F10_0010_0000, 0x40_0000
STACK, STACK_SIZE = 0x7F30_0000_0000, 0x4000
SEGMENT = 128
CALL = {"x86_64": b"\xe8\0\0\0\0", "aarch64": b"\x00\x00\x00\x94"}

_ENTRY = "gHotSpotVMStructEntry"
_TYPE = "gHotSpotVMTypeEntry"
# Class, field, type, offset; static ones have a name for their place.
_FIELDS = (
    "Method._constMethod ConstMethod* 8", "ConstMethod._constants ConstantPool* 8",
    "ConstMethod._constMethod_size int 24", "ConstMethod._flags u2 28",
    "ConstMethod._code_size u2 32", "ConstMethod._name_index u2 34",
    "ConstantPool._pool_holder InstanceKlass* 24", "ConstantPool._length int 60",
    "ConstantPool._source_file_name_index u2 54", "Klass._name Symbol* 24",
    "Symbol._length u2 4", "Symbol._body[0] u1 6",
    "CodeHeap._memory VirtualSpace 8", "CodeHeap._segmap VirtualSpace 120",
    "CodeHeap._log2_segment_size int 256", "VirtualSpace._low char* 16",
    "VirtualSpace._high char* 24",
    "GrowableArrayBase._len int 0", "GrowableArray<int>._data int* 8",
    "HeapBlock::Header._used bool 8", "PcDesc._pc_offset int 0",
    "PcDesc._scope_decode_offset int 4",
    "StubQueue._stub_buffer address 8", "StubQueue._queue_end int 28",
    "InterpreterCodelet._size int 8", "InterpreterCodelet._description char* 0",
    "CodeBlob._name char* 96",
)  # fmt: skip
_POINTERS = (
    "CodeBlob._code_begin address 32", "CodeBlob._code_end address 40",
    "CodeBlob._data_offset int 24", "CodeBlob._frame_size int 28",
    "CodeBlob._frame_complete_offset int 20", "CompiledMethod._method Method* 112",
    "CompiledMethod._deopt_handler_begin address 128",
    "CompiledMethod._scopes_data_begin address 120", "nmethod._orig_pc_offset int 300",
    "nmethod._scopes_pcs_offset int 268", "nmethod._dependencies_offset int 272",
    "nmethod._metadata_offset int 260", "nmethod._comp_level int 308",
)  # fmt: skip
_OFFSETS = (
    "CodeBlob._code_offset int 36", "CodeBlob._data_offset int 40", "CodeBlob._frame_size int 44",
    "CodeBlob._frame_complete_offset int16_t 54", "CodeBlob._relocation_size int 28",
    "CodeBlob._mutable_data address 16", "nmethod._method Method* 112",
    "nmethod._deopt_handler_offset int 176", "nmethod._orig_pc_offset int 208",
    "nmethod._scopes_pcs_offset int 196", "nmethod._scopes_data_offset int 200",
    "nmethod._immutable_data address 120", "nmethod._comp_level CompLevel 216",
)  # fmt: skip
_SIZES = {
    "ConstMethod": 48, "ConstantPool": 72, "CodeHeap": 344, "HeapBlock": 16, "PcDesc": 16,
    "InterpreterCodelet": 16,
}  # fmt: skip


def packed(value: int, excluded: int) -> bytes:
    """UNSIGNED5."""
    result = bytearray()
    low = 192 - excluded
    for _ in range(4):
        if value < low:
            break
        value -= low
        result.append(excluded + low + value % 64)
        value >>= 6
    result.append(excluded + value)
    return bytes(result)


class FakeJvm:
    """Memory by regions: `areas` are bytes by their address."""

    def __init__(self, machine: str = "x86_64", era: str = "pointers", version: int = 17) -> None:
        self.machine = machine
        self.era = era
        self.excluded = 1 if version >= 20 else 0
        self.areas = {
            LIB: bytearray(0x8000), HEAP: bytearray(0x8000), CACHE: bytearray(0x8000),
            STACK: bytearray(STACK_SIZE), CODE: bytearray(CALL[machine] * 0x200),
        }  # fmt: skip
        self._next = {LIB: LIB + 0x4000, HEAP: HEAP + 0x100}
        self._free = CACHE
        self.symbols: dict[str, int] = {}
        self.map_at = HEAP + 0x7000
        self.areas[HEAP][0x7000 : 0x7000 + 0x8000 // SEGMENT] = b"\xff" * (0x8000 // SEGMENT)
        self.call_stub_return = 0
        self._tables(version)

    def put(self, address: int, data: bytes) -> None:
        for base, area in self.areas.items():
            if base <= address and address + len(data) <= base + len(area):
                area[address - base : address - base + len(data)] = data
                return
        raise AssertionError(hex(address))

    def word(self, address: int, *values: int) -> None:
        self.put(address, struct.pack(f"<{len(values)}Q", *values))

    def number(self, address: int, value: int, size: int = 4) -> None:
        self.put(address, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))

    def room(self, size: int, area: int = HEAP) -> int:
        at = self._next[area]
        self._next[area] = at + size + 15 & -16
        return at

    def string(self, text: str) -> int:
        at = self.room(len(text) + 1, LIB)
        self.put(at, text.encode() + b"\0")
        return at

    def _tables(self, version: int) -> None:
        self.statics = {
            name: self.room(8, LIB)
            for name in (
                "Abstract_VM_Version._vm_major_version int",
                "CodeCache._heaps GrowableArray<CodeHeap*>*",
                "StubRoutines._call_stub_return_address address",
                "AbstractInterpreter._code StubQueue*",
            )
        }  # fmt: skip
        rows = []
        for text in (*_FIELDS, *(_POINTERS if self.era == "pointers" else _OFFSETS)):
            name, kind, offset = text.split()
            rows.append((*name.split("."), kind, 0, int(offset), 0))
        for text, place in self.statics.items():
            name, kind = text.split()
            rows.append((*name.split("."), kind, 1, 0, place))
        table = self.room(48 * (len(rows) + 1), LIB)
        for at, (owner, field, kind, static, offset, place) in enumerate(rows):
            base = table + 48 * at
            self.word(base, self.string(owner), self.string(field), self.string(kind))
            self.word(base + 24, static, offset, place)
        types = self.room(24 * (len(_SIZES) + 1), LIB)
        for at, (name, size) in enumerate(_SIZES.items()):
            self.word(types + 24 * at, self.string(name), 0, size)
        for name, value in (
            ("gHotSpotVMStructs", table), (f"{_ENTRY}ArrayStride", 48),
            (f"{_ENTRY}TypeNameOffset", 0), (f"{_ENTRY}FieldNameOffset", 8),
            (f"{_ENTRY}TypeStringOffset", 16), (f"{_ENTRY}IsStaticOffset", 24),
            (f"{_ENTRY}OffsetOffset", 32), (f"{_ENTRY}AddressOffset", 40),
            ("gHotSpotVMTypes", types), (f"{_TYPE}ArrayStride", 24),
            (f"{_TYPE}TypeNameOffset", 0), (f"{_TYPE}SizeOffset", 16),
        ):  # fmt: skip
            self.symbols[name] = self.room(8, LIB)
            self.word(self.symbols[name], value)
        self.static("Abstract_VM_Version._vm_major_version", version)
        array, data, heap = self.room(16), self.room(8), self.room(344)
        self.static("CodeCache._heaps", array)
        self.word(array, 1, data)
        self.word(data, heap)
        self.word(heap + 8 + 16, CACHE, CACHE + 0x8000)
        self.word(heap + 120 + 16, self.map_at)
        self.number(heap + 256, 7)
        self.word(heap + 320, self.string("CodeHeap 'made up'"))

    def static(self, name: str, value: int) -> None:
        (place,) = (at for text, at in self.statics.items() if text.startswith(name + " "))
        self.word(place, value)

    # --- methods ------------------------------------------------------------------------------

    def symbol(self, text: str) -> int:
        data = text.encode()
        at = self.room(6 + len(data))
        self.number(at + 4, len(data), 2)
        self.put(at + 6, data)
        return at

    def method(
        self, owner: str, name: str, *, file: str = "", code: int = 40, lines: bytes = b""
    ) -> int:
        """A method; `lines` is its line table. Its bytecodes are at `bytecodes`."""
        klass, pool = self.room(64), self.room(72 + 8 * 4)
        self.word(klass + 24, self.symbol(owner))
        self.word(pool + 24, klass)
        self.number(pool + 60, 4)
        self.number(pool + 54, 2 if file else 0, 2)
        self.word(pool + 72 + 8, self.symbol(name), self.symbol(file or "none"))
        size = 48 + code + len(lines) + 7 & -8
        const, method = self.room(size), self.room(88)
        self.word(const + 8, pool)
        self.number(const + 24, size // 8)
        self.number(const + 28, 1 if lines else 0, 2)
        self.number(const + 32, code, 2)
        self.number(const + 34, 1, 2)
        self.put(const + 48 + code, lines)
        self.word(method + 8, const)
        return method

    def bytecodes(self, method: int) -> int:
        area = self.areas[HEAP]
        return int.from_bytes(area[method + 8 - HEAP : method + 16 - HEAP], "little") + 48

    # --- code ---------------------------------------------------------------------------------

    def blob(
        self, name: str, size: int, *, frame: int = 0, complete: int = -1, method: int = 0,
        scopes: list[tuple[int, list[tuple[int, int]]]] | None = None, level: int = 4,
    ) -> int:  # fmt: skip
        """Code of calls alone, in a block of its own; gives where it begins.

        `scopes` are (offset in the code, [(method, index of a bytecode)], innermost first).
        """
        header = 384 if method else 128
        start = self._free
        segments = (16 + header + size + SEGMENT - 1) // SEGMENT
        self._free += segments * SEGMENT
        first = (start - CACHE) // SEGMENT
        hops = [0, *((index - 1) % 254 + 1 for index in range(1, segments))]
        self.put(self.map_at + first, bytes(hops))
        self.word(start, segments, 1)
        at = start + 16
        code = at + header
        self.put(code, (CALL[self.machine] * size)[:size])
        self.word(at + 96, self.string(name))
        if self.era == "pointers":
            self.word(at + 32, code, code + size)
            self.number(at + 24, header + size)
            self.number(at + 28, frame)
            self.number(at + 20, complete)
        else:
            self.number(at + 36, header)
            self.number(at + 40, header + size)
            self.number(at + 44, frame)
            self.number(at + 54, complete, 2)
        if method:
            self._compiled(at, code, size, method, scopes or [], level)
        return code

    def _compiled(
        self, at: int, code: int, size: int, method: int,
        scopes: list[tuple[int, list[tuple[int, int]]]], level: int,
    ) -> None:  # fmt: skip
        self.word(at + 112, method)
        data, descriptions, methods = bytearray(b"\1"), [], []
        for offset, path in scopes:
            sender = 0
            for each, bci in reversed(path):
                methods += [each] if each not in methods else []
                here = len(data)
                for value in (sender, methods.index(each) + 1, bci + 1):
                    data += packed(value, self.excluded)
                sender = here
            descriptions.append(struct.pack("<4i", offset, sender, 0, 0))
        pcs = b"".join(descriptions)
        place = self.room(len(pcs) + len(data) + 8 * len(methods) + 32)
        self.put(place, pcs + bytes(data) + bytes(16))
        metadata = place + len(pcs) + len(data) + 16
        self.word(metadata, *methods)
        if self.era == "pointers":
            self.word(at + 120, place + len(pcs), code + size - 8)
            self.number(at + 260, metadata - at)
            self.number(at + 268, place - at)
            self.number(at + 272, place + len(pcs) - at)
            self.number(at + 300, 8)
            self.number(at + 308, level)
        else:
            self.word(at + 120, place)
            self.number(at + 196, 0)
            self.number(at + 200, len(pcs))
            self.word(at + 16, metadata)
            self.number(at + 176, code + size - 8 - at)
            self.number(at + 208, 8)
            self.number(at + 216, level)
