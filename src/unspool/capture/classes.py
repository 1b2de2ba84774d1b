"""Every class of data that a report can hold, for `unspool capture --explain-privacy`.

A test keeps their keys equal to those of the report's schema: no key without a class.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.capture.config import Config


class DataClass:
    """A class of data, the keys of a report that hold it, and the setting that decides on it."""

    __slots__ = ("always", "keys", "name", "setting")

    def __init__(self, name: str, keys: str, *, setting: str = "", always: str = "") -> None:
        self.name = name
        self.keys = tuple(keys.split())
        self.setting = setting
        self.always = always


CLASSES = (
    DataClass("command line", "target.command_line", setting="arguments"),
    DataClass("environment", "capture.environment", setting="environment"),
    DataClass(
        "paths", "target.executable modules.path modules.debug_file", setting="paths"
    ),
    DataClass(
        "file names, and names of WebAssembly modules",
        "modules.name modules.pdb_name modules.wasm.modules",
        setting="module_names",
    ),
    DataClass("names of threads", "threads.name", setting="thread_names"),
    DataClass("the device's name", "capture.host_name", setting="host_name"),
    DataClass("user and group", "capture.uid capture.gid", setting="user"),
    DataClass("address of the fault", "crash.address", setting="fault_address"),
    DataClass(
        "sentences",
        "threads.stop.detail threads.segments.switch threads.gaps.detail findings.title "
        "findings.detail",
        always="in, without numbers that are no mapped addresses; out unless paths and "
        "module_names are in",
    ),
    DataClass(
        "program counters and stack pointers",
        "threads.frames.pc threads.frames.sp threads.frames.module threads.frames.module_offset "
        "threads.frames.index threads.frames.trust threads.frames.segment threads.frames.exact",
        always="in, if they are mapped addresses",
    ),
    DataClass(
        "where modules and stacks are",
        "modules.index modules.base modules.end modules.bias modules.kind modules.code_base "
        "modules.code_end threads.segments.kind threads.segments.low threads.segments.high",
        always="in",
    ),
    DataClass("ids of modules' files", "modules.code_id modules.debug_id", always="in"),
    DataClass(
        "signal", "crash.signal crash.number crash.code crash.thread_index crash.access",
        always="in",
    ),
    DataClass(
        "ids of processes and threads",
        "target.pid threads.tid threads.windows_tid crash.sender_pid capture.host_pid "
        "capture.host_tid",
        always="in",
    ),
    DataClass(
        "kind of system",
        "target.kind target.arch target.os target.wine target.wine.version target.wine.bitness "
        "target.wine.build target.wine.wow64 capture.version capture.dump_mode",
        always="in",
    ),
    DataClass("time", "target.captured_at capture.crashed_at", always="in"),
    DataClass(
        "how complete it is",
        "target.truncated threads.index threads.crashed threads.stop.reason threads.gaps.before "
        "findings.kind findings.threads findings.incomplete",
        always="in",
    ),
    DataClass(
        "places in WebAssembly binaries",
        "threads.frames.wasm_module threads.frames.wasm_function threads.frames.wasm_offset "
        "modules.wasm.functions modules.wasm.names modules.wasm.points",
        always="in: numbers, and a hash of all functions' names, as ids of files are",
    ),
    DataClass(
        "functions, files and lines of generated code; of all other code never: symbols are for "
        "`unspool symbolicate`, elsewhere",
        "threads.frames.function threads.frames.function_offset threads.frames.file "
        "threads.frames.line threads.frames.subject threads.frames.inlines "
        "threads.frames.inlines.function threads.frames.inlines.file threads.frames.inlines.line",
        setting="code_names",
    ),
    DataClass(
        "what was tried for each frame",
        "threads.frames.trail threads.frames.trail.strategy threads.frames.trail.answer",
        always="out",
    ),
    DataClass(
        "the system",
        "target.system.cpu target.system.cpu_count target.system.os_version "
        "target.system.memory_maps target.system.distribution.id "
        "target.system.distribution.release target.system.distribution.codename "
        "target.system.distribution.description",
        setting="system",
    ),
    DataClass("the file that was read", "target.path", always="out: there is none"),
)  # fmt: skip

# What is in no key, and must be told all the same.
NEVER = (
    ("memory of the process, but for names of generated code", "out"),
    ("registers but pc and stack pointer", "out"),
)
MINIDUMP = {
    "sanitized": "stacks, where all words but pointers are blanked, and all registers",
    "full": "stacks as they are, and all registers",
}
_WORDS = {"in": "in", "hashed": "hashed with this device's secret", "out": "out"}


def explain(config: Config) -> Iterator[str]:
    """A line for each class: what it is and what the configuration does with it."""
    yield "What a report of unspool capture can hold, and what these settings do with it:"
    yield ""
    for each in CLASSES:
        what = _WORDS[config.text(each.setting)] if each.setting else each.always
        how = f"  (privacy.{each.setting})" if each.setting else ""
        yield f"  {each.name}: {what}{how}"
        yield f"      {', '.join(each.keys)}"
    for name, what in NEVER:
        yield f"  {name}: {what}"
    yield ""
    if config.text("minidump") == "none":
        yield "  No minidump is made beside it (report.minidump)."
    else:
        strings = config.text("environment") == config.text("arguments") == "in"
        yield f"  A minidump beside it holds {MINIDUMP[config.text('minidump')]};"
        yield "  paths and names of threads; " + (
            "the command line and the environment." if strings else "no arguments or environment."
        )
    if config.text("format") != "json":
        yield ""
        yield f"  Reports are written as {config.text('format')}, which has fewer keys."
