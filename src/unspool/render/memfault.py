"""A report as memfaultd's stack trace, version "1", which pipelines behind devices read.

Its addresses are those to look up: a caller's is its return address less one. A reader finds
the symbol whose `pc_range` holds an address; address - `runtime_offset` + `compiled_offset`
is the address in the file that `build_id` and `path` name. The keys are exactly those that
memfaultd writes (docs/decisions/0022-formats-of-others-to-the-key.md). Source: Memfault,
"Linux Coredumps (Part 3) - On Device Unwinding".
"""

from __future__ import annotations

from unspool.model import StopReason
from unspool.render.json import quote
from unspool.render.modules_of import ModulesOf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.model import Frame, Module, Report

_BATCH = 512
_ADDRESSES = (1 << 64) - 1
_LOG_LINES = 64

# Kinds of modules whose `code_id` is a build id.
_WITH_BUILD_ID = ("elf", "vdso")


def chunks(report: Report) -> Iterator[str]:
    """The document in pieces, in constant memory; they end with a line feed."""
    crash = report.crash
    yield (
        f'{{"version":"1",\n"signal":{quote(crash.signal if crash else "")},\n'
        f'"cmdline":{quote(_command_line(report))},\n"symbols":['
    )
    comma = "\n"
    for module, in_code in _modules(report):
        yield comma + _symbol(module, *(_code(module) if in_code else (module.base, module.end)))
        comma = ",\n"
    yield '],\n"threads":['
    comma = "\n"
    for stack in report.stacks:
        yield f'{comma}{{"active":{"true" if stack.crashed else "false"},"pcs":['
        yield from _pcs(stack.frames)
        yield "]}"
        comma = ",\n"
    log = ",\n".join(quote(line) for line in _log(report))
    # memfaultd leaves out an empty one.
    yield f'],\n"core_handler_logs":[\n{log}]}}\n' if log else "]}\n"


def _command_line(report: Report) -> str:
    """As /proc/PID/cmdline has it. Where the arguments were left out, the program alone."""
    target = report.target
    words = target.command_line or ([target.executable] if target.executable else [])
    return "".join(f"{word}\0" for word in words)


def _modules(report: Report) -> list[tuple[Module, bool]]:
    """Modules with a build id that a frame is in, and whether all of its frames are in `_code`."""
    modules = ModulesOf(report)
    inside: dict[int, tuple[Module, bool]] = {}
    for pc in {frame.lookup_pc for stack in report.stacks for frame in stack.frames}:
        module = modules.at(pc)
        if module is None or module.kind not in _WITH_BUILD_ID:
            continue
        if module.bias is None or not _is_build_id(module.code_id):
            continue
        low, high = _code(module)
        _, before = inside.get(module.index, (module, True))
        inside[module.index] = module, before and low <= pc < high
    return sorted(inside.values(), key=_base)


def _is_build_id(code_id: str | None) -> bool:
    """Whether an id is one that readers can take: a report from elsewhere can say anything."""
    return bool(code_id) and not (code_id or "").strip("0123456789abcdef")


def _base(entry: tuple[Module, bool]) -> int:
    return entry[0].base


def _code(module: Module) -> tuple[int, int]:
    """The first executable segment, or the whole module where that is not known."""
    if module.code_base is None or module.code_end is None:
        return module.base, module.end
    return module.code_base, module.code_end


def _symbol(module: Module, low: int, high: int) -> str:
    # The file's address of the range's first byte. memfaultd takes p_vaddr, which differs where
    # a segment starts inside a page: lld's may have p_vaddr 0x1640, while `runtime_offset` is
    # the mapping's start, and every name is taken from 0x640 bytes past its place.
    compiled = low - (module.bias or 0) & _ADDRESSES
    return (
        f'{{"pc_range":{{"start":"{low:#x}","end":"{high:#x}"}},'
        f'"build_id":{quote(module.code_id or "")},"compiled_offset":"{compiled:#x}",'
        f'"runtime_offset":"{low:#x}","path":{quote(module.path or module.name)}}}'
    )


def _pcs(frames: Sequence[Frame]) -> Iterator[str]:
    for start in range(0, len(frames), _BATCH):
        batch = [
            f'"{frame.pc - (not frame.exact) & _ADDRESSES:#x}"'
            for frame in frames[start : start + _BATCH]
        ]
        yield ("," if start else "") + ",".join(batch)


def _log(report: Report) -> list[str]:
    """What is to be known of the answer, such as why a stack is not whole: one line each."""
    lines = [finding.title for finding in report.findings]
    for stack in report.stacks:
        thread = f"thread {stack.index} (tid {stack.tid})"
        lines += [f"{thread}: before frame {gap.before}: {gap.detail}" for gap in stack.gaps]
        if stack.stop.reason != StopReason.ROOT:
            lines.append(f"{thread}: {stack.stop.detail or stack.stop.reason}")
    if len(lines) > _LOG_LINES:
        lines[_LOG_LINES:] = [f"and {len(lines) - _LOG_LINES:,} lines more"]
    return lines
