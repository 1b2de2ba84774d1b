"""A report as the JSON of rust-minidump's minidump-stackwalk, which crash servers read.

Its schema is minidump-processor/json-schema.md, its habits those of print_json in
process_state.rs. What a report does not know is null, as the schema allows everywhere; keys
are exactly those of the original (docs/decisions/0022-formats-of-others-to-the-key.md).
"""

from __future__ import annotations

from unspool.model import Trust
from unspool.render.crash_reason import crash_reason
from unspool.render.json import quote
from unspool.render.modules_of import ModulesOf
from unspool.symbols.ids import debug_id, store_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.model import Frame, Inline, Module, Report, Stack

_BATCH = 512
_ADDRESSES = (1 << 64) - 1

_SYSTEMS = {"linux": "Linux", "windows": "Windows NT", "macos": "Mac OS X", "ios": "iOS"}
_PROCESSORS = {"x86_64": "amd64", "x86": "x86", "aarch64": "arm64", "arm": "arm"}
# Program counter and stack pointer, which are all that a report has of a frame's registers.
_REGISTERS = {
    "x86_64": ("rip", "rsp"), "x86": ("eip", "esp"), "aarch64": ("pc", "sp"), "arm": ("pc", "sp"),
}  # fmt: skip
# How far before a return address rust-minidump looks for the call.
_CALL = {"aarch64": 4, "arm": 2}

# Its words for a frame's trust are four, and tell how it walks. These stand for as much trust.
_TRUSTS = {
    Trust.CONTEXT: "context",
    Trust.CFI: "cfi",
    Trust.UNWIND_INFO: "cfi",
    Trust.SIGNAL: "cfi",
    Trust.SEGMENT_SWITCH: "cfi",
    Trust.WASM: "cfi",
    Trust.LEAF: "frame_pointer",
    Trust.FRAME_POINTER: "frame_pointer",
}


def chunks(report: Report) -> Iterator[str]:
    """The document in pieces, in constant memory; they end with a line feed."""
    writer = _Writer(report)
    crashed = _crashed(report)
    yield '{"status":"OK"'
    for key, value in writer.facts(crashed):
        yield f',\n"{key}":{value}'
    yield ',\n"threads":['
    for position, stack in enumerate(report.stacks):
        yield ",\n" if position else "\n"
        yield from writer.thread(stack)
    yield "]"
    if crashed is not None and report.stacks[crashed].frames:
        # A copy, with its place and what is known of its registers.
        yield ',\n"crashing_thread":'
        yield from writer.thread(report.stacks[crashed], crashed)
    yield "}\n"


def _crashed(report: Report) -> int | None:
    """The position of the thread that crashed, if it is in the report."""
    if report.crash is None:
        return None
    index = report.crash.thread_index
    for position, stack in enumerate(report.stacks):
        if stack.index == index or (index is None and stack.crashed):
            return position
    return None


class _Writer:
    def __init__(self, report: Report) -> None:
        self.report = report
        self.arch = report.target.arch
        self.width = 8 if self.arch in ("x86", "arm") else 16
        self.at = ModulesOf(report).at
        self._frames: dict[tuple[int, bool, int | None], str] = {}

    # --- the process ------------------------------------------------------------------------

    def facts(self, crashed: int | None) -> Iterator[tuple[str, str]]:
        target = self.report.target
        system = target.system or {}
        yield "pid", _number(target.pid)
        yield "process_uptime", "null"
        yield "crash_info", self._crash(crashed)
        yield "system_info", _object(
            os=quote(_SYSTEMS.get(target.os, target.os)),
            os_ver=_text(system.get("os_version")),
            cpu_arch=quote(_PROCESSORS.get(self.arch, "unknown")),
            cpu_info=_text(system.get("cpu")),
            cpu_count=_number(system.get("cpu_count")),
            cpu_microcode_version="null",
        )
        yield "linux_memory_map_count", _number(system.get("memory_maps"))
        distribution = system.get("distribution")
        yield "lsb_release", "null" if not isinstance(distribution, dict) else _object(
            **{key: _text(distribution.get(key)) for key in _DISTRIBUTION}
        )
        for key in ("proc_limits", "soft_errors", "mac_crash_info", "mac_boot_args", "handles"):
            yield key, "null"
        # Its readers rely on it that the program comes first.
        yield "main_module", "0" if self.report.modules else "null"
        yield "modules_contains_cert_info", "false"
        yield "modules", self._modules()
        yield "unloaded_modules", "[]"
        yield "thread_count", str(len(self.report.stacks))

    def _crash(self, crashed: int | None) -> str:
        crash = self.report.crash
        nothing = dict.fromkeys(_OF_THE_INSTRUCTION, "null")
        return _object(
            type=_text(crash_reason(crash, self.report.target.os) if crash else None),
            address=self._hex(crash.address if crash else None),
            **nothing,
            crashing_thread=_number(crashed),
            assertion="null",
        )

    def _modules(self) -> str:
        report = self.report
        used: dict[int, bool] = {}
        for pc in {frame.lookup_pc for stack in report.stacks for frame in stack.frames}:
            module, location = self.at(pc), report.locations.get(pc)
            if module is not None:
                named = location is not None and location.function is not None
                used[module.index] = used.get(module.index, False) or named
        ordered = sorted(report.modules, key=_base)
        main = _program(ordered, report.target.executable)
        ordered.sort(key=lambda module: module is not main)
        records = [self._module(module, used.get(module.index)) for module in ordered]
        return "[" + ",".join(f"\n{record}" for record in records) + "]"

    def _module(self, module: Module, named: bool | None) -> str:
        """`named` tells whether any frame in it has a name; None if it has no frames."""
        return _object(
            filename=quote(_filename(module)),
            code_id=_text(module.code_id and module.code_id.lower()),
            debug_file=_text(_debug_file(module)),
            debug_id=_text(_debug_id(module)),
            base_addr=self._hex(module.base),
            end_addr=self._hex(module.end),
            version="null",
            cert_subject="null",
            missing_symbols=_flag(named is False),
            loaded_symbols=_flag(bool(named)),
            corrupt_symbols="false",
            symbol_url="null",
        )

    # --- threads ----------------------------------------------------------------------------

    def thread(self, stack: Stack, position: int | None = None) -> Iterator[str]:
        """A thread; its copy as the crashed one with its `position`."""
        head = _object(
            thread_name=_text(stack.name),
            thread_id=_number(stack.tid),
            last_error_value="null",
            frame_count=str(len(stack.frames)),
        )
        place = "" if position is None else f',"threads_index":{position}'
        yield f'{head[:-1]}{place},"frames":['
        for start in range(0, len(stack.frames), _BATCH):
            batch = [
                f'{{"frame":{index},"trust":"{_TRUSTS.get(frame.trust, "scan")}",'
                f"{self._registers(frame) if position is not None and not index else ''}"
                f"{self._known(frame, stack.subjects.get(index))}}}"
                for index, frame in enumerate(stack.frames[start : start + _BATCH], start)
            ]
            yield (",\n" if start else "\n") + ",\n".join(batch)
        yield "]}"

    def _registers(self, frame: Frame) -> str:
        names = _REGISTERS.get(self.arch)
        if names is None:
            return '"registers":null,'
        values = {names[0]: self._hex(frame.pc)}
        if frame.sp is not None:
            values[names[1]] = self._hex(frame.sp)
        return f'"registers":{_object(**values)},'

    def _known(self, frame: Frame, subject: int | None) -> str:
        """What is known of the frame's address or subject, which many frames can share."""
        key = frame.pc, frame.exact, subject
        known = self._frames.get(key)
        if known is None:
            known = self._frames[key] = self._describe(frame, subject)
        return known

    def _describe(self, frame: Frame, subject: int | None) -> str:
        lookup = frame.lookup_pc
        instruction = frame.pc if frame.exact else frame.pc - _CALL.get(self.arch, 1)
        module = self.at(lookup)
        location = self.report.locations.get(lookup if subject is None else subject)
        function = location.function if location else None
        offset = location.function_offset if location and function is not None else None
        return _object(
            offset=self._hex(instruction),
            module=_text(_filename(module) if module else None),
            module_offset=self._hex(instruction - module.base if module else None),
            unloaded_modules="null",
            function=_text(function),
            function_offset=self._hex(
                None if offset is None else max(offset + instruction - lookup, 0)
            ),
            file=_text(location.file if location else None),
            line=_number(location.line if location else None),
            inlines=_inlines(location.inlines if location else ()),
            missing_symbols=_flag(function is None),
        )[1:-1]

    def _hex(self, value: int | None) -> str:
        return "null" if value is None else f'"0x{value & _ADDRESSES:0{self.width}x}"'


# What rust-minidump finds out by the crashing instruction.
_OF_THE_INSTRUCTION = (
    "adjusted_address", "instruction", "memory_accesses", "instruction_pointer_update",
    "possible_bit_flips", "crash_inconsistencies",
)  # fmt: skip
_DISTRIBUTION = ("id", "release", "codename", "description")


def _program(modules: Sequence[Module], executable: str | None) -> Module | None:
    """The module of the program: by its path, or its name if that is all there is."""
    if not executable:
        return None
    for module in modules:
        if module.path == executable:
            return module
    # Of a process under Wine it is a path of Windows.
    names = executable.rpartition("/")[2], executable.rpartition("\\")[2]
    return next((module for module in modules if module.name in names), None)


def _filename(module: Module) -> str:
    # Breakpad's name for it, which symbol files of it have as well.
    return "linux-gate.so" if module.kind == "vdso" else module.name


def _debug_file(module: Module) -> str | None:
    """The file that symbol servers have it by: a PDB file's, or on Linux the module's own name."""
    return module.pdb_name if module.kind == "pe" else _filename(module)


def _debug_id(module: Module) -> str | None:
    known = module.debug_id
    if known is None and module.code_id and module.kind in ("elf", "vdso"):
        try:
            known = debug_id(module.code_id)
        except ValueError:
            return None  # a report from elsewhere can say anything
    return store_id(known or "") or None


def _base(module: Module) -> int:
    return module.base


def _inlines(calls: Sequence[Inline]) -> str:
    records = [
        _object(function=quote(call.function), file=_text(call.file), line=_number(call.line))
        for call in calls
    ]
    return f"[{','.join(records)}]" if records else "null"


def _object(**values: str) -> str:
    """An object on one line; its values are JSON already."""
    return "{" + ",".join(f'"{key}":{value}' for key, value in values.items()) + "}"


def _text(value: object) -> str:
    return quote(value) if isinstance(value, str) else "null"


def _number(value: object) -> str:
    return str(value) if isinstance(value, int) else "null"


def _flag(value: bool) -> str:
    return "true" if value else "false"
