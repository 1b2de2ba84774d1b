"""Reads a JSON report back, from anywhere: every value is checked before it is believed.

The work is linear in the size of the document. Keys that are not known are skipped, as
the contract allows new ones; a known key with a wrong value is an error that names it.
"""

from __future__ import annotations

import json

from unspool.errors import InputError
from unspool.model import (
    SUBJECT,
    Attempt,
    Crash,
    Finding,
    Frame,
    Gap,
    Inline,
    Location,
    Module,
    Report,
    Segment,
    Stack,
    Stop,
    TargetInfo,
    WasmIdentity,
)
from unspool.render.escape import well_formed
from unspool.render.json import SCHEMA
from unspool.render.json_values import MOST, JsonObject, numbers, wrong

_FAMILY = SCHEMA.rpartition("/")[0]


def loads(data: bytes | str) -> Report:
    """The report in a JSON document. Raises `InputError` if it is none."""
    try:
        document = json.loads(data, parse_constant=_no_constant)
    except RecursionError:
        raise InputError("not a report: its JSON is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"not a report: {_short(str(error))}", "is the file whole?") from None
    return from_json(document)


def from_json(document: object) -> Report:
    """The report in a decoded JSON document. Raises `InputError` if it is none."""
    if not isinstance(document, dict):
        raise InputError("not a report: a JSON object was expected")
    schema = document.get("schema")
    if schema != SCHEMA:
        if isinstance(schema, str) and schema.startswith(_FAMILY + "/"):
            raise InputError(
                f"a report of the kind {_short(schema)}, which this version does not read",
                "use the version of unspool that made it, or a newer one",
            )
        hint = "unspool stack --format json makes reports"
        raise InputError(f"not a report: its schema is not {SCHEMA}", hint)
    root = JsonObject(document, "")
    report = Report(
        _target(root.child("target")),
        [_module(each) for each in root.children("modules", required=True)],
        [],
        crash=_crash(root),
        findings=[_finding(each) for each in root.children("findings")],
    )
    known = {module.index for module in report.modules}
    if len(known) != len(report.modules):
        raise wrong("modules", "indices that differ")
    frames = _Frames(known)
    if document.get("capture") is not None:
        report.target.capture = _capture(root.child("capture"))
    report.stacks = [_stack(each, frames) for each in root.children("threads", required=True)]
    report.locations = frames.locations
    return report


class _Frames:
    """Reads frames, and gathers what they say of addresses.

    The first frame that names an address's function is believed; what others say of the
    same address is not looked at.
    """

    def __init__(self, modules: set[int]) -> None:
        self.modules = modules
        self.locations: dict[int, Location] = {}
        self._named: set[int] = set()

    def frame(
        self, values: JsonObject, index: int, segments: int, subjects: dict[int, int]
    ) -> Frame:
        """The frame; `subjects` gets its subject, if it has one."""
        get = values.values.get
        if get("index") != index or get("index") is True:
            raise wrong(values.place("index"), str(index))
        segment = values.integer("segment")
        if segment >= segments:
            raise wrong(values.place("segment"), "the index of a segment")
        exact = values.flag("exact") if "exact" in values.values else None
        subject = values.maybe_integer("subject")
        if subject is not None:
            subjects[index] = SUBJECT + subject
        frame = Frame(
            values.address("pc"),
            values.maybe_address("sp"),
            values.text("trust"),
            index == 0 if exact is None else exact,
            segment,
        )
        if get("trail") is not None:
            frame.trail = [
                Attempt(each.text("strategy"), each.text("answer"))
                for each in values.children("trail")
            ]
        key = subjects.get(index, frame.lookup_pc)
        if key not in self._named:
            self._locate(values, frame, key)
        return frame

    def _locate(self, values: JsonObject, frame: Frame, key: int) -> None:
        module = values.maybe_integer("module")
        function = values.maybe_text("function")
        if module is not None and module not in self.modules:
            raise wrong(values.place("module"), "the index of a module")
        if function is not None:
            self._named.add(key)
        elif module is None or key in self.locations:
            return
        offset = values.maybe_integer("function_offset")
        self.locations[key] = Location(
            module,
            function,
            None if offset is None else max(0, offset - (frame.pc - frame.lookup_pc)),
            values.maybe_text("file"),
            values.maybe_integer("line"),
            tuple(
                Inline(each.text("function"), each.maybe_text("file"), each.maybe_integer("line"))
                for each in values.children("inlines")
            ),
            values.maybe_integer("wasm_offset"),
            values.maybe_integer("wasm_function"),
            values.maybe_integer("wasm_module") or 0,
        )


def _target(values: JsonObject) -> TargetInfo:
    line = values.values.get("command_line")
    words = values.texts("command_line")
    wine, system = values.values.get("wine"), values.values.get("system")
    return TargetInfo(
        values.text("kind"),
        values.text("arch"),
        values.text("os"),
        path=values.maybe_text("path"),
        pid=values.maybe_integer("pid"),
        executable=values.maybe_text("executable"),
        command_line=None if line is None else words,
        wine=None if wine is None else _wine(values.child("wine")),
        captured_at=values.maybe_text("captured_at"),
        truncated=values.flag("truncated"),
        system=None if system is None else _system(values.child("system")),
    )


def _system(values: JsonObject) -> dict[str, object]:
    found: dict[str, object] = {
        "os_version": values.maybe_text("os_version"), "cpu": values.maybe_text("cpu"),
        "cpu_count": values.maybe_integer("cpu_count"),
        "memory_maps": values.maybe_integer("memory_maps"),
    }  # fmt: skip
    if values.values.get("distribution") is not None:
        names = values.child("distribution")
        found["distribution"] = {
            key: names.maybe_text(key)
            for key in ("id", "release", "codename", "description")
            if names.values.get(key) is not None
        }
    return {key: value for key, value in found.items() if value is not None}


def _wine(values: JsonObject) -> dict[str, object]:
    found: dict[str, object] = {
        "version": values.maybe_text("version"), "bitness": values.maybe_integer("bitness"),
        "build": values.maybe_text("build"), "wow64": values.flag("wow64"),
    }  # fmt: skip
    return {key: value for key, value in found.items() if value is not None}


def _capture(values: JsonObject) -> dict[str, object]:
    found: dict[str, object] = {
        key: values.maybe_text(key)
        for key in ("version", "crashed_at", "uid", "gid", "host_name")
    }
    found |= {key: values.maybe_integer(key) for key in ("host_pid", "host_tid", "dump_mode")}
    if values.values.get("environment") is not None:
        variables = values.child("environment")
        found["environment"] = {
            well_formed(name): variables.text(name) for name in variables.values
        }
    return {key: value for key, value in found.items() if value is not None}


def _crash(root: JsonObject) -> Crash | None:
    if root.values.get("crash") is None:
        return None
    values = root.child("crash")
    number = values.maybe_integer("number") or 0
    return Crash(
        values.maybe_text("signal") or f"signal {number}",
        number,
        values.maybe_integer("code", low=-MOST),
        values.maybe_address("address"),
        values.maybe_integer("thread_index"),
        values.maybe_integer("sender_pid"),
        values.maybe_text("access"),
    )


def _module(values: JsonObject) -> Module:
    return Module(
        values.integer("index"),
        values.text("name"),
        values.address("base"),
        values.address("end"),
        path=values.maybe_text("path"),
        kind=values.text("kind"),
        bias=values.maybe_address("bias"),
        code_base=values.maybe_address("code_base"),
        code_end=values.maybe_address("code_end"),
        code_id=values.maybe_text("code_id"),
        debug_id=values.maybe_text("debug_id"),
        debug_file=values.maybe_text("debug_file"),
        pdb_name=values.maybe_text("pdb_name"),
        wasm=None if values.values.get("wasm") is None else _wasm(values.child("wasm")),
    )


def _wasm(values: JsonObject) -> WasmIdentity:
    place = values.place("points")
    points = [numbers(each, place) for each in values.items("points")]
    if any(len(point) != 3 for point in points):
        raise wrong(place, "a list of three numbers each")
    return WasmIdentity(
        numbers(values.items("functions", required=True), values.place("functions")),
        values.maybe_text("names"),
        [(point[0], point[1], point[2]) for point in points],
        {number: name for number, name in enumerate(values.texts("modules")) if name},
    )


def _stack(values: JsonObject, frames: _Frames) -> Stack:
    segments = [
        Segment(
            each.text("kind"),
            each.maybe_address("low"),
            each.maybe_address("high"),
            each.maybe_text("switch"),
        )
        for each in values.children("segments", required=True)
    ]
    stop = values.child("stop")
    crashed = values.flag("crashed")
    if crashed is None:
        raise wrong(values.place("crashed"), "true or false")
    subjects: dict[int, int] = {}
    return Stack(
        values.integer("index"),
        values.integer("tid", low=-MOST),
        [
            frames.frame(each, index, len(segments), subjects)
            for index, each in enumerate(values.children("frames", required=True))
        ],
        segments,
        Stop(stop.text("reason"), stop.maybe_text("detail") or ""),
        name=values.maybe_text("name"),
        crashed=crashed,
        windows_tid=values.maybe_integer("windows_tid"),
        gaps=tuple(
            Gap(each.integer("before"), each.text("detail")) for each in values.children("gaps")
        ),
        subjects=subjects,
    )


def _finding(values: JsonObject) -> Finding:
    threads = values.items("threads")
    if not all(type(each) is int and 0 <= each <= MOST for each in threads):
        raise wrong(values.place("threads"), "a list of threads' indices")
    return Finding(
        values.text("kind"),
        values.text("title"),
        detail=values.maybe_text("detail"),
        threads=tuple(each for each in threads if isinstance(each, int)),
        incomplete=bool(values.flag("incomplete")),
    )


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _short(text: str) -> str:
    return text if len(text) <= 100 else text[:100] + "…"
