"""A report as JSON: the contract `unspool.report/1` (docs/json-report.md).

One record a line, so that reports can be searched and compared with ordinary tools.
Frames are written by hand, from pieces that are kept for each address: that is several
times as fast as the json module, and no more than a few hundred frames of text exist at a
time. `json_reader` reads reports back.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii

from unspool.render.escape import well_formed
from unspool.render.modules_of import ModulesOf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from unspool.model import (
        Crash,
        Finding,
        Frame,
        Inline,
        Module,
        Report,
        Stack,
        TargetInfo,
        WasmIdentity,
    )

    Json = Mapping[str, object]

SCHEMA = "unspool.report/1"

_BATCH = 512
_ADDRESSES = (1 << 64) - 1


def chunks(report: Report) -> Iterator[str]:
    """The document in pieces, in constant memory; they end with a line feed."""
    yield f'{{"schema":{quote(SCHEMA)},\n"target":{_record(_target(report.target))}'
    if report.crash is not None:
        yield f',\n"crash":{_record(_crash(report.crash))}'
    yield from _array("modules", (_record(_module(module)) for module in report.modules))
    yield ',\n"threads":['
    frames = _Frames(report)
    comma = "\n"
    for stack in report.stacks:
        head = _record(_stack(stack))
        subject = stack.subjects.get
        yield f'{comma}{head[:-1]},"frames":['
        comma = ",\n"
        for start in range(0, len(stack.frames), _BATCH):
            batch = enumerate(stack.frames[start : start + _BATCH], start)
            yield (",\n" if start else "\n") + ",\n".join(
                [frames.record(index, frame, subject(index)) for index, frame in batch]
            )
        yield "]}"
    yield "]"
    if report.findings:
        yield from _array("findings", (_record(_finding(each)) for each in report.findings))
    if report.target.capture is not None:
        yield f',\n"capture":{_record(report.target.capture)}'
    yield "}\n"


def dumps(report: Report) -> str:
    """The whole document as one string."""
    return "".join(chunks(report))


# Other documents are made of the same records.


def records_array(key: str, records: Iterable[str]) -> Iterator[str]:
    """A key with an array, one record a line; it begins with the comma after what is before."""
    return _array(key, records)


def record_text(values: Json) -> str:
    """An object on one line, without its absent values."""
    return _record(values)


def hexadecimal(value: int | None) -> str | None:
    """An address as it is written; None stays None."""
    return _hex(value)


def finding_record(finding: Finding) -> str:
    """A finding as one line."""
    return _record(_finding(finding))


def frame_record(report: Report, stack: Stack, index: int) -> Json | None:
    """One frame with what is known of its address; None if the stack is shorter."""
    if index >= len(stack.frames):
        return None
    made = json.loads(_Frames(report).record(index, stack.frames[index], None))
    assert isinstance(made, dict)
    return made


def quote(text: str) -> str:
    """A JSON string in ASCII. What no encoding can carry is written as `\\xff` in words."""
    return encode_basestring_ascii(well_formed(text))


class _Frames:
    """Writes frames; keeps what belongs to an address as text."""

    def __init__(self, report: Report) -> None:
        self.locations = report.locations
        self.modules = ModulesOf(report)
        self._tails: dict[int | tuple[int, int], str] = {}
        self._subjects: dict[int, int] = {}
        self._trusts: dict[str, str] = {}

    def record(self, index: int, frame: Frame, subject: int | None) -> str:
        exact, trust = frame.exact, frame.trust
        key = frame.pc << 1 | exact if subject is None else (frame.pc, subject)
        tail = self._tails.get(key)
        if tail is None:
            tail = self._tails[key] = self._tail(frame, subject)
        quoted = self._trusts.get(trust)
        if quoted is None:
            quoted = self._trusts[trust] = quote(trust)
        sp = f'"sp":"{frame.sp:#x}",' if frame.sp is not None else ""
        # A thread's first frame is exact unless said otherwise, all others are not.
        mark = "" if exact is (index == 0) else ',"exact":true' if exact else ',"exact":false'
        text = (
            f'{{"index":{index},"pc":"{frame.pc:#x}",{sp}"trust":{quoted},'
            f'"segment":{frame.segment}{mark}{tail}'
        )
        if frame.trail is None:
            return text + "}"
        trail = [{"strategy": each.strategy, "answer": each.answer} for each in frame.trail]
        return f'{text},"trail":[{",".join(map(_record, trail))}]}}'

    def _tail(self, frame: Frame, subject: int | None) -> str:
        """What is known of the frame's address or subject, from the comma on."""
        lookup = frame.lookup_pc
        location = self.locations.get(lookup if subject is None else subject)
        known: dict[str, object] = {}
        if subject is not None:
            known["subject"] = self._subjects.setdefault(subject, len(self._subjects))
        module = self.modules.at(lookup)
        if module is not None:
            known["module"] = module.index
            known["module_offset"] = _hex(frame.pc - module.base)
        if location is not None:
            known["function"] = location.function
            if location.function_offset is not None:
                # As `module_offset`, from the pc itself, not from the look-up pc.
                known["function_offset"] = location.function_offset + frame.pc - lookup
            if location.wasm_function is not None:
                known["wasm_module"] = location.wasm_module or None
                known["wasm_function"] = location.wasm_function
            known["wasm_offset"] = location.wasm_offset
            known["file"] = location.file
            known["line"] = location.line
            known["inlines"] = [_inline(call) for call in location.inlines] or None
        text = _record(known)[1:-1]
        return "," + text if text else ""


def _array(key: str, records: Iterable[str]) -> Iterator[str]:
    comma = f',\n"{key}":[\n'
    empty = True
    for record in records:
        yield comma + record
        comma, empty = ",\n", False
    yield f',\n"{key}":[]' if empty else "]"


def _record(values: Json) -> str:
    """An object on one line, without its absent values."""
    return json.dumps(_clean(values), separators=(",", ":"))


def _clean(value: object) -> object:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {str(key): _clean(each) for key, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [_clean(each) for each in value]
    return value


def _hex(value: int | None) -> str | None:
    return None if value is None else f"{value & _ADDRESSES:#x}"


def _target(target: TargetInfo) -> Json:
    return {
        "kind": target.kind,
        "arch": target.arch,
        "os": target.os,
        "path": target.path,
        "pid": target.pid,
        "executable": target.executable,
        "command_line": target.command_line,
        "wine": target.wine,
        "system": target.system,
        "captured_at": target.captured_at,
        "truncated": target.truncated,
    }


def _crash(crash: Crash) -> Json:
    return {
        "signal": crash.signal,
        "number": crash.number,
        "code": crash.code,
        "address": _hex(crash.address),
        "thread_index": crash.thread_index,
        "sender_pid": crash.sender_pid,
        "access": crash.access,
    }


def _module(module: Module) -> Json:
    return {
        "index": module.index,
        "name": module.name,
        "path": module.path,
        "kind": module.kind,
        "base": _hex(module.base),
        "end": _hex(module.end),
        "bias": _hex(module.bias),
        "code_base": _hex(module.code_base),
        "code_end": _hex(module.code_end),
        "code_id": module.code_id,
        "debug_id": module.debug_id,
        "debug_file": module.debug_file,
        "pdb_name": module.pdb_name,
        "wasm": None if module.wasm is None else _wasm(module.wasm),
    }


def _wasm(known: WasmIdentity) -> Json:
    modules = [known.modules.get(number, "") for number in range(len(known.functions))]
    return {
        "functions": known.functions,
        "names": known.names,
        "points": known.points,
        "modules": modules if any(modules) else None,
    }


def _stack(stack: Stack) -> Json:
    """A thread without its frames, which follow as the last key."""
    return {
        "index": stack.index,
        "tid": stack.tid,
        "name": stack.name,
        "crashed": stack.crashed,
        "windows_tid": stack.windows_tid,
        "segments": [
            {
                "kind": segment.kind,
                "low": _hex(segment.low),
                "high": _hex(segment.high),
                "switch": segment.switch,
            }
            for segment in stack.segments
        ],
        "stop": {"reason": stack.stop.reason, "detail": stack.stop.detail or None},
        "gaps": [{"before": gap.before, "detail": gap.detail} for gap in stack.gaps] or None,
    }


def _inline(call: Inline) -> Json:
    return {"function": call.function, "file": call.file, "line": call.line}


def _finding(finding: Finding) -> Json:
    return {
        "kind": finding.kind,
        "title": finding.title,
        "threads": list(finding.threads) or None,
        "detail": finding.detail,
        "incomplete": finding.incomplete or None,
    }
