"""A V8 in made-up memory: its constants, strings, functions with bytecode, and a stack of frames.

`era` is "late" (positions of a scope behind its names, tables of positions with signs: Node.js 20)
or "early" (before them, and with flags: Node.js 26).
"""

from __future__ import annotations

import struct

LIB, HEAP, STACK, STACK_SIZE = 0x7F00_0000_0000, 0x2000_0000_0000, 0x7F30_0000_0000, 0x2000
TRAMPOLINE, MADE = LIB + 0x3C00, 0x7F20_0000_0000
CALL = b"\xe8\0\0\0\0"
HEADER = 54

_TYPES = {
    "JSFunction__JS_FUNCTION": 2066, "SharedFunctionInfo__SHARED_FUNCTION_INFO": 262,
    "ScopeInfo__SCOPE_INFO": 261, "Script__SCRIPT": 167, "Code__CODE": 245,
    "BytecodeArray__BYTECODE_ARRAY": 191, "ByteArray__BYTE_ARRAY": 190,
    "FixedArray__FIXED_ARRAY": 175, "Oddball__ODDBALL": 131,
    "InterpreterData__INTERPRETER_DATA": 159, "FeedbackVector__FEEDBACK_VECTOR": 256,
}  # fmt: skip
_ONE_BYTE, _TWO_BYTE, _CONS, _EXTERNAL, _SLICED, _THIN = 0x28, 0x20, 0x21, 0x22, 0x23, 0x25
_SYMBOLS = {
    "SmiTag": 0, "SmiTagMask": 1, "SmiShiftSize": 31, "HeapObjectTag": 1, "HeapObjectTagMask": 3,
    "StringEncodingMask": 8, "StringRepresentationMask": 7, "ConsStringTag": 1,
    "ExternalStringTag": 2, "SlicedStringTag": 3, "ThinStringTag": 5, "IsNotStringMask": -128,
    "TaggedSize": 8, "SystemPointerSize": 8,
    "off_fp_context_or_frame_type": -8, "off_fp_function": -16, "off_fp_bytecode_array": -32,
    "off_fp_bytecode_offset": -40, "class_BytecodeArray__data__uintptr_t": HEADER,
    "class_Map__instance_type__uint16_t": 12, "class_FixedArrayBase__length__SMI": 8,
    "class_FixedArray__data__uintptr_t": 16, "class_JSFunction__shared__SharedFunctionInfo": 24,
    "class_SharedFunctionInfo__function_data__Object": 8,
    "class_SharedFunctionInfo__name_or_scope_info__Object": 16,
    "class_SharedFunctionInfo__script_or_debug_info__HeapObject": 32,
    "scopeinfo_idx_ncontextlocals": 2, "class_Script__name__Object": 16,
    "class_Script__line_ends__Object": 56, "class_Script__source__Object": 8,
    **{f"type_{name}_TYPE": value for name, value in _TYPES.items()},
}  # fmt: skip


def small(value: int) -> int:
    return (value & 0xFFFFFFFF) << 32


def unsigned(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*made, value))


def signed(value: int) -> bytes:
    return unsigned(value << 1 if value >= 0 else (-value << 1) - 1)


def table(entries: list[tuple[int, int]], flags: bool) -> bytes:
    """A table of source positions: (offset in the bytecode, position), the first at -1."""
    made, at, place = b"", -1, 0
    for number, (offset, position) in enumerate(entries):
        step, statement = offset - at, number % 2
        if flags:
            made += unsigned(step << 2 | 2 | statement)
        else:
            made += signed(step if statement else -step - 1)
        encoded = position + 1 << 1
        made += signed(encoded - place)
        at, place = offset, encoded
    return made


class FakeV8:
    """Objects are given as tagged pointers."""

    def __init__(self, era: str = "late", **constants: int) -> None:
        self.era = era
        self.heap = bytearray(0x100)
        self.library = bytearray(CALL * 0x1000)
        self.made = bytearray(CALL * 0x200)
        self.stack = bytearray(STACK_SIZE)
        values = {**_SYMBOLS, "scopeinfo_idx_first_vars": 3 if era == "late" else 5, **constants}
        if era == "early":
            values["type_TrustedByteArray__TRUSTED_BYTE_ARRAY_TYPE"] = 196
        self.symbols = {}
        for number, (name, value) in enumerate(values.items()):
            struct.pack_into("<i", self.library, 4 * number, value)
            self.symbols[f"v8dbg_{name}"] = LIB + 4 * number
        self._maps: dict[int, int] = {}
        self.undefined = self.object(_TYPES["Oddball__ODDBALL"], 0, 0)

    @property
    def areas(self) -> dict[int, bytearray]:
        return {LIB: self.library, HEAP: self.heap, MADE: self.made, STACK: self.stack}

    def raw(self, data: bytes) -> int:
        """Bytes in the heap; their address."""
        self.heap += bytes(-len(self.heap) % 8)
        at = HEAP + len(self.heap)
        self.heap += data
        return at

    def object(self, kind: int, *words: int, tail: bytes = b"") -> int:
        if kind not in self._maps:
            chart = bytearray(24)
            struct.pack_into("<H", chart, 12, kind)
            self._maps[kind] = self.raw(bytes(chart)) + 1
        words = tuple(word & (1 << 64) - 1 for word in words)
        return self.raw(struct.pack(f"<{1 + len(words)}Q", self._maps[kind], *words) + tail) + 1

    def string(self, text: str) -> int:
        wide = not text.isascii()
        data = text.encode("utf-16-le") if wide else text.encode()
        count = len(data) // 2 if wide else len(data)
        return self.object(_TWO_BYTE if wide else _ONE_BYTE, count << 32, tail=data)

    def cons(self, first: int, second: int, length: int) -> int:
        return self.object(_CONS, length << 32, first, second)

    def sliced(self, parent: int, start: int, length: int) -> int:
        return self.object(_SLICED, length << 32, parent, small(start))

    def thin(self, actual: int, length: int) -> int:
        return self.object(_THIN, length << 32, actual)

    def external(self, text: str) -> int:
        return self.object(_EXTERNAL | 8, len(text) << 32, 0, self.raw(text.encode("latin-1")))

    def bytes(self, data: bytes) -> int:
        return self.object(_TYPES["ByteArray__BYTE_ARRAY"], small(len(data)), tail=data)

    def numbers(self, *values: int) -> int:
        kind = _TYPES["FixedArray__FIXED_ARRAY"]
        return self.object(kind, small(len(values)), *map(small, values))

    def script(
        self, name: str | None, source: int, *, line_ends: int = 0, lines: int = 0, columns: int = 0
    ) -> int:
        named = self.string(name) if name is not None else self.undefined
        return self.object(
            _TYPES["Script__SCRIPT"], source, named, small(lines), small(columns), 0, 0,
            line_ends or self.undefined,
        )  # fmt: skip

    def scope(self, own: int, inferred: int, start: int, end: int, variables: int = 1) -> int:
        """`own` and `inferred` are names, or 0 for no name, -1 for no place of a name."""
        head = [small(1), small(2), small(variables)]
        place = [small(start), small(end)]
        # Of many variables the names are in a table.
        names = [self.string("variable")] * (variables if variables < 75 else 1)
        names += [small(77)] * variables
        own_part = [] if own == -1 else [own, small(-1)]
        rest = [] if inferred == -1 else [inferred or self.undefined]
        kind = _TYPES["ScopeInfo__SCOPE_INFO"]
        outer = self.object(kind, 0, 0, 0)
        if self.era == "early":
            return self.object(kind, *head, *place, *names, *own_part, *rest, outer)
        return self.object(kind, *head, *names, *own_part, *rest, *place, outer)

    def bytecodes(self, length: int, positions: bytes, code: bytes = b"") -> int:
        head = small(length), 0, self.bytes(b""), self.bytes(positions), 0
        return self.object(
            _TYPES["BytecodeArray__BYTECODE_ARRAY"], *head,
            tail=bytes(HEADER - 48) + code.ljust(length, b"\0"),
        )  # fmt: skip

    def code(self, bytecodes: int, steps: int, start: int, size: int) -> int:
        """Baseline code, and the table of how much of it each bytecode has."""
        words = self.undefined, bytecodes, steps, 0, start, 0
        return self.object(_TYPES["Code__CODE"], *words, tail=struct.pack("<2I", size, 0))

    def function(self, scope: int, script: int, data: int, context: int = 0) -> int:
        kind = _TYPES["SharedFunctionInfo__SHARED_FUNCTION_INFO"]
        shared = self.object(kind, data, scope, 0, script)
        kind = _TYPES["JSFunction__JS_FUNCTION"]
        return self.object(kind, 0, 0, shared, context or self.undefined)

    def simple(
        self, name: str, source: str, *, file: str = "/srv/a.js", start: int = 0,
        positions: list[tuple[int, int]] | None = None,
    ) -> tuple[int, int]:
        """A function and its bytecode, of a script of its own."""
        script = self.script(file, self.string(source))
        scope = self.scope(self.string(name), 0, start, len(source))
        made = table(positions, self.era == "early") if positions else b""
        code = self.bytecodes(0x60, made)
        return self.function(scope, script, code), code

    def vector(self, function: int) -> int:
        """What counts a function's calls, and knows what all its closures share."""
        at = function - 1 - HEAP + 24
        [shared] = struct.unpack_from("<Q", self.heap, at)
        return self.object(_TYPES["FeedbackVector__FEEDBACK_VECTOR"], 0, shared)

    def frame(self, fp: int, link: int, address: int, *below: int) -> None:
        """A frame record, and the words below it from the frame pointer down."""
        at = fp - STACK
        struct.pack_into("<2Q", self.stack, at, link, address)
        for number, word in enumerate(below, 1):
            struct.pack_into("<Q", self.stack, at - 8 * number, word & (1 << 64) - 1)

    def interpreted(
        self, fp: int, link: int, address: int, function: int, code: int, offset: int
    ) -> None:
        """A frame of the interpreter, that has called at an offset in its bytecode."""
        place = small(offset + HEADER - 1)
        self.frame(fp, link, address, self.undefined, function, small(1), code, place)
