"""memfaultd's stack trace, version "1": its schema, and a reader that takes nothing else.

Written by Memfault's "Linux Coredumps (Part 3) - On Device Unwinding" and by what memfaultd
itself writes, not by what unspool does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

HEX = {"type": "string", "pattern": "^0x(0|[1-9a-f][0-9a-f]{0,15})$"}


def _strict(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [key for key in properties if key != "core_handler_logs"],
        "additionalProperties": False,
    }


SCHEMA = _strict(
    version={"const": "1"},
    signal={"type": "string"},
    cmdline={"type": "string"},
    symbols={
        "type": "array",
        "items": _strict(
            pc_range=_strict(start=HEX, end=HEX),
            build_id={"type": "string", "pattern": "^([0-9a-f]{2})+$"},
            compiled_offset=HEX,
            runtime_offset=HEX,
            path={"type": "string", "minLength": 1},
        ),
    },
    threads={
        "type": "array",
        "items": _strict(active={"type": "boolean"}, pcs={"type": "array", "items": HEX}),
    },
    core_handler_logs={"type": "array", "items": {"type": "string"}, "minItems": 1},
)


@dataclass(frozen=True)
class Place:
    """Where a reader is to look: an address of the file with this build id."""

    path: str
    build_id: str
    address: int


class StackTrace:
    """A document that follows the schema, and what pipelines make of it."""

    def __init__(self, text: str) -> None:
        self.document: dict[str, Any] = json.loads(text)
        Draft202012Validator(SCHEMA).validate(self.document)

    @property
    def symbols(self) -> list[dict[str, Any]]:
        return list(self.document["symbols"])

    @property
    def active(self) -> list[str]:
        [thread] = [each for each in self.document["threads"] if each["active"]]
        return list(thread["pcs"])

    def place(self, pc: str) -> Place | None:
        """The first symbol whose range holds the pc, and pc - runtime_offset + compiled_offset."""
        value = int(pc, 16)
        for symbol in self.symbols:
            span = symbol["pc_range"]
            if int(span["start"], 16) <= value < int(span["end"], 16):
                moved = int(symbol["compiled_offset"], 16) - int(symbol["runtime_offset"], 16)
                return Place(symbol["path"], symbol["build_id"], value + moved)
        return None
