"""What V8 says of its own data: offsets, types and tags, each an exported `int`.

They are made for debuggers of dead processes (tools/gen-postmortem-metadata.py of V8; mdb_v8 and
llnode read them), and Node.js exports them in every release. Names change with V8's source: a field
is there under one of several, or not at all; then its place is one that it has had in all versions
without the name.
"""

from __future__ import annotations

from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from unspool.generated.reader import Reader

_WHO = "V8's metadata"
_MOST = 1 << 16  # no offset and no type is larger


class Metadata:
    """The constants of one V8. Raises `FormatError` if it is none that can be read, and `Fault`."""

    def __init__(self, reader: Reader, symbols: Mapping[str, int]) -> None:
        self.reader = reader
        self._symbols = symbols
        self._check()
        # From the frame pointer.
        self.context = self.number("off_fp_context_or_frame_type", "off_fp_context")
        self.function = self.number("off_fp_function")
        # Before V8 8.9 frames had no number of arguments, and bytecode was a word higher.
        self.bytecodes = self._bytecodes()
        self.offset = self.number("off_fp_bytecode_offset", default=0)
        # In the place of the offset, or behind it; nothing says where.
        self.vectors = (self.offset, self.offset - 8) if self.offset else ()
        self.header = self.number("class_BytecodeArray__data__uintptr_t", default=0)

        self.map_type = self.number("class_Map__instance_type__uint16_t")
        self.length = self.number("class_FixedArrayBase__length__SMI")
        self.elements = self.number("class_FixedArray__data__uintptr_t")

        self.function_shared = self.number("class_JSFunction__shared__SharedFunctionInfo")
        self.shared_data = self.number("class_SharedFunctionInfo__function_data__Object", default=8)
        self.shared_name = self.field("class_SharedFunctionInfo__name_or_scope_info__")
        self.shared_script = self.field(
            "class_SharedFunctionInfo__script__", "class_SharedFunctionInfo__script_or_debug_info__"
        )
        self.first_variable = self.number("scopeinfo_idx_first_vars")
        self.locals = self.number("scopeinfo_idx_ncontextlocals")
        self.scope_is_array = "v8dbg_parent_ScopeInfo__FixedArray" in symbols

        self.script_name = self.field("class_Script__name__")
        self.script_line_ends = self.field("class_Script__line_ends__")
        self.script_source = self.number("class_Script__source__Object", default=8)

        self.type_function = self.type("JSFunction__JS_FUNCTION")
        self.type_shared = self.type("SharedFunctionInfo__SHARED_FUNCTION_INFO")
        self.type_scope_info = self.type("ScopeInfo__SCOPE_INFO")
        self.type_script = self.type("Script__SCRIPT")
        self.type_code = self.type("Code__CODE")
        self.type_bytecodes = self.type("BytecodeArray__BYTECODE_ARRAY")
        self.types_bytes = (
            self.type("ByteArray__BYTE_ARRAY"),
            self.number("type_TrustedByteArray__TRUSTED_BYTE_ARRAY_TYPE", default=-1),
        )
        # From V8 14 on; nothing says so, but the frame of that name went away then.
        self.positions_have_flags = (
            self.types_bytes[1] >= 0 and "v8dbg_frametype_StackSwitchFrame" not in symbols
        )
        self.type_numbers = self.type("FixedArray__FIXED_ARRAY")
        self.type_oddball = self.type("Oddball__ODDBALL")
        self.type_vector = self.number("type_FeedbackVector__FEEDBACK_VECTOR_TYPE", default=-1)
        self.type_debug_info = self.number("type_DebugInfo__DEBUG_INFO_TYPE", default=-1)
        self.type_trampoline = self.number(
            "type_InterpreterData__INTERPRETER_DATA_TYPE", default=-1
        )

    def number(self, *names: str, default: int | None = None) -> int:
        """The value of the first constant that there is."""
        for name in names:
            address = self._symbols.get("v8dbg_" + name)
            if address is not None:
                value = self.reader.signed(address, 4)
                if abs(value) > _MOST:
                    raise FormatError(f"{name} is {value}", _WHO)
                return value
        if default is None:
            raise FormatError(f"no {names[0]}", _WHO)
        return default

    def field(self, *prefixes: str) -> int:
        """The offset of a field, whatever type the source gives it this year."""
        for prefix in prefixes:
            for name in self._symbols:
                if name.startswith("v8dbg_" + prefix):
                    return self.number(name[6:])
        raise FormatError(f"no {prefixes[0]}", _WHO)

    def type(self, name: str) -> int:
        return self.number(f"type_{name}_TYPE")

    def _bytecodes(self) -> tuple[int, ...]:
        known = self.number("off_fp_bytecode_array", default=0)
        return (known,) if known else (-32, -24)

    def _check(self) -> None:
        """Refuses heaps of other kinds: with compressed pointers, as Chromium and Electron have."""
        if self.number("TaggedSize", default=8) != 8 or self.number("SystemPointerSize") != 8:
            raise FormatError("its heap has compressed pointers, which are not known", _WHO)
        wanted = {
            "SmiTag": 0, "SmiTagMask": 1, "SmiShiftSize": 31, "HeapObjectTag": 1,
            "HeapObjectTagMask": 3, "StringEncodingMask": 8, "StringRepresentationMask": 7,
            "ConsStringTag": 1, "ExternalStringTag": 2, "SlicedStringTag": 3, "ThinStringTag": 5,
        }  # fmt: skip
        for name, value in wanted.items():
            if self.number(name) != value:
                raise FormatError(f"{name} is {self.number(name)}, and not {value}", _WHO)
