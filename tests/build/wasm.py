"""Builds WebAssembly files by the core specification, and components as far as they hold modules.

    module = Module([Function("inner", bytes.fromhex("2000 0b")), Function(None, b"\\x0b")])
    data = module.build()
    data[slice(*module.bodies[0])]      # the body, as it is in the file
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.build.encoding import uleb

MODULE, COMPONENT = b"\0asm\1\0\0\0", b"\0asm\x0d\0\1\0"
CUSTOM, TYPES, IMPORTS, DECLARED, CODE = 0, 1, 2, 3, 10
# What may be imported: a function, a table with a maximum, a shared memory, a global of a
# reference to a type of the module's own, a tag.
IMPORT = {
    "function": b"\0\0", "table": b"\1\x70\1\1\2", "memory": b"\2\3\1\2",
    "global": b"\3\x63\2\1", "tag": b"\4\0\0",
}  # fmt: skip


@dataclass
class Function:
    """A function's name and its code, up to the `end`; groups of locals as (count, type)."""

    name: str | None
    code: bytes
    local: Sequence[tuple[int, bytes]] = ()

    @property
    def body(self) -> bytes:
        groups = b"".join(uleb(count) + kind for count, kind in self.local)
        return uleb(len(self.local)) + groups + self.code


class Module:
    """A module; `pad` is how many bytes more than needed the sizes of its sections take.

    After `build`, `bodies` are the places of the functions' bodies in the module and `code` that
    of the code section's contents.
    """

    def __init__(
        self,
        functions: Sequence[Function],
        imports: Sequence[str] = ("function",),
        *,
        names: bool = True,
        custom: Mapping[str, bytes] | None = None,
        pad: int = 0,
        name: str = "demo",
    ) -> None:
        self.functions = functions
        self.imports = imports
        self.names = names
        self.custom = dict(custom or {})
        self.pad = pad
        self.name = name
        self.bodies: list[tuple[int, int]] = []
        self.code = 0

    def build(self) -> bytes:
        count = len(self.functions)
        out = bytearray(MODULE)
        out += section(TYPES, b"\1\x60\0\0", self.pad)
        imports = [b"\4host" + sized(kind.encode()) + IMPORT[kind] for kind in self.imports]
        out += section(IMPORTS, uleb(len(imports)) + b"".join(imports), self.pad)
        out += section(DECLARED, uleb(count) + bytes(count), self.pad)
        out += self._code(len(out))
        for name, data in self.custom.items():
            out += section(CUSTOM, sized(name.encode()) + data, self.pad)
        if self.names:
            out += section(CUSTOM, b"\4name" + self._names(), self.pad)
        return bytes(out)

    def _code(self, at: int) -> bytes:
        contents = bytearray(uleb(len(self.functions)))
        places = []
        for each in self.functions:
            contents += uleb(len(each.body))
            places.append((len(contents), len(contents) + len(each.body)))
            contents += each.body
        made = section(CODE, bytes(contents), self.pad)
        self.code = at + len(made) - len(contents)
        self.bodies = [(self.code + start, self.code + end) for start, end in places]
        return made

    def _names(self) -> bytes:
        first = list(self.imports).count("function")
        named = [
            uleb(first + index) + sized(each.name.encode())
            for index, each in enumerate(self.functions)
            if each.name is not None
        ]
        functions = uleb(len(named)) + b"".join(named)
        return b"\0" + sized(sized(self.name.encode())) + b"\1" + sized(functions)


def component(*modules: bytes, nested: int = 0) -> bytes:
    """A component with these modules, inside of so many others."""
    made = COMPONENT + section(CUSTOM, b"\1x") + b"".join(section(1, each) for each in modules)
    for _ in range(nested):
        made = COMPONENT + section(4, made)
    return made


def section(kind: int, contents: bytes, pad: int = 0) -> bytes:
    return bytes([kind]) + uleb(len(contents), pad) + contents


def sized(data: bytes) -> bytes:
    return uleb(len(data)) + data
