"""The JSON of rust-minidump's minidump-stackwalk: its schema, by json-schema.md of version 0.26.

Every key that its print_json writes must be there, and no other may be. Values may be null
unless it never writes null there.
"""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

TEXT = {"type": ["string", "null"]}
COUNT = {"type": "integer", "minimum": 0, "maximum": 2**64 - 1}
MAYBE_COUNT = {**COUNT, "type": ["integer", "null"]}
FLAG = {"type": "boolean"}
NOTHING = {"type": "null"}


def _object(optional: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [key for key in properties if key not in optional],
        "additionalProperties": False,
    }


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, NOTHING]}


def schema(digits: int) -> dict[str, Any]:
    """The schema for pointers of so many digits."""
    pointer = {"type": "string", "pattern": f"^0x[0-9a-f]{{{digits}}}$"}
    maybe_pointer = _or_null(pointer)
    registers = {"type": ["object", "null"], "additionalProperties": pointer}
    inline = _object(function={"type": "string"}, file=TEXT, line=MAYBE_COUNT)
    frame = {
        "frame": COUNT,
        "trust": {"enum": ["context", "cfi", "frame_pointer", "scan"]},
        "offset": pointer,
        "module": TEXT,
        "module_offset": maybe_pointer,
        "unloaded_modules": NOTHING,
        "function": TEXT,
        "function_offset": maybe_pointer,
        "file": TEXT,
        "line": MAYBE_COUNT,
        "inlines": _or_null({**_list(inline), "minItems": 1}),
        "missing_symbols": FLAG,
    }
    thread = {
        "thread_name": TEXT,
        "thread_id": {"type": "integer"},
        "last_error_value": TEXT,
        "frame_count": COUNT,
    }
    debug_id = {"type": ["string", "null"], "pattern": "^[0-9A-F]{32}[0-9a-f]+$"}
    module = _object(
        base_addr=pointer, end_addr=pointer, filename={"type": "string"}, code_id=TEXT,
        debug_file=TEXT, debug_id=debug_id,
        version=TEXT, cert_subject=TEXT, missing_symbols=FLAG, loaded_symbols=FLAG,
        corrupt_symbols=FLAG, symbol_url=TEXT,
    )  # fmt: skip
    return _object(
        ("crashing_thread",),
        status={"const": "OK"},
        pid=MAYBE_COUNT,
        process_uptime=MAYBE_COUNT,
        crash_info=_object(
            type=TEXT, address=maybe_pointer, adjusted_address=NOTHING, instruction=TEXT,
            memory_accesses=NOTHING, instruction_pointer_update=NOTHING,
            possible_bit_flips=NOTHING, crash_inconsistencies=NOTHING,
            crashing_thread=MAYBE_COUNT, assertion=TEXT,
        ),
        system_info=_object(
            os={"enum": ["Linux", "Windows NT", "Mac OS X", "iOS"]}, os_ver=TEXT,
            cpu_arch={"enum": ["x86", "amd64", "arm", "arm64"]}, cpu_info=TEXT,
            cpu_count=MAYBE_COUNT, cpu_microcode_version=NOTHING,
        ),
        linux_memory_map_count=MAYBE_COUNT,
        lsb_release=_or_null(_object(id=TEXT, release=TEXT, codename=TEXT, description=TEXT)),
        proc_limits=NOTHING,
        soft_errors=NOTHING,
        mac_crash_info=NOTHING,
        mac_boot_args=NOTHING,
        handles=NOTHING,
        main_module=MAYBE_COUNT,
        modules_contains_cert_info=FLAG,
        modules=_list(module),
        unloaded_modules={"const": []},
        thread_count=COUNT,
        threads=_list(_object(**thread, frames=_list(_object(**frame)))),
        crashing_thread=_object(
            **thread,
            threads_index=COUNT,
            frames=_list(_object(("registers",), **frame, registers=registers)),
        ),
    )  # fmt: skip


def check(document: dict[str, Any]) -> None:
    """The schema, and what a schema cannot say: that counts and copies agree."""
    digits = 8 if document["system_info"]["cpu_arch"] in ("x86", "arm") else 16
    Draft202012Validator(schema(digits)).validate(document)
    assert document["thread_count"] == len(document["threads"])
    for thread in document["threads"]:
        assert thread["frame_count"] == len(thread["frames"])
        assert [frame["frame"] for frame in thread["frames"]] == list(range(len(thread["frames"])))
    names = {module["filename"] for module in document["modules"]}
    frames = [frame for thread in document["threads"] for frame in thread["frames"]]
    assert {frame["module"] for frame in frames} <= names | {None}
    crashed = document.get("crashing_thread")
    if crashed is not None:
        copy = {key: value for key, value in crashed.items() if key != "threads_index"}
        first, *rest = copy["frames"]
        copy["frames"] = [{k: v for k, v in first.items() if k != "registers"}, *rest]
        assert copy == document["threads"][crashed["threads_index"]]
        assert crashed["threads_index"] == document["crash_info"]["crashing_thread"]
