"""Generated code by the runtime's jitdump: names, lines, unwind data, and the code itself.

Node.js writes it with --perf-prof (and unwind data with --perf-prof-unwinding-info), CPython
with -X perf_jit, LLVM's and Julia's JITs with their listeners for perf, the JVM with an agent.
Each maps the file's first page executable, so that perf sees its path: that is how it is found.
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.formats.cfi import CfiSection
from unspool.formats.jitdump import Jitdump
from unspool.generated import own_files
from unspool.generated.latest import Latest
from unspool.generated.written import fits, modules_for
from unspool.image import Image
from unspool.model import Finding, Location

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.formats.jitdump import JitCode
    from unspool.generated.code import GeneratedModule, Process
    from unspool.generated.own_files import OwnFile
    from unspool.memory import Memory

_MAX_SIZE = 512 << 20
_MOST_FILES = 16
# Of code that was written, so much may have been patched since.
_SAME = 0.75
_MOST_COMPARED = 1 << 16


def find(process: Process) -> list[GeneratedModule]:
    """Modules for the code that the process's jitdumps describe."""
    dumps = []
    for file in _files(process):
        try:
            dump = Jitdump(file.read())
            functions = dump.functions()
        except FormatError as error:
            _refuse(process, file.path, str(error))
            continue
        why = _why_not(process, file, dump, functions)
        if why:
            _refuse(process, file.path, why)
            continue
        if dump.problem and not dump.cut:
            process.findings.append(Finding("jitdump", f"{file.path}: {dump.problem}"))
        dumps.append((file, dump, functions))
    if not dumps:
        return []
    code = _Code([(dump, each) for _, dump, functions in dumps for each in functions], process)
    return modules_for(process, dumps[0][0].path, code, code.latest, code)


def _why_not(
    process: Process, file: OwnFile, dump: Jitdump, functions: list[JitCode]
) -> str | None:
    if dump.pid not in own_files.pids_of(process) and process.info.pid is not None:
        return f"it is of process {dump.pid}"
    if not file.certain and not fits(process, [each.start for each in functions]):
        return "its code lies where this process has no memory" if functions else "it is empty"
    return None


class _Code(Image):
    """The code of all dumps of a process: names by address, and unwind data of each function."""

    def __init__(self, functions: list[tuple[Jitdump, JitCode]], process: Process) -> None:
        super().__init__(process.now, 0)
        self.functions = functions
        self.latest = Latest(
            [each.start for _, each in functions], [each.end for _, each in functions]
        )
        self.address_size = process.space.arch.pointer_size
        self.problems.append("its jitdump has none for this function")
        self._sections: dict[int, CfiSection | None] = {}
        self._genuine: dict[int, bool] = {}

    def locate(self, pc: int) -> Location | None:
        index = self._index(pc)
        if index is None:
            return None
        dump, code = self.functions[index]
        file, line = dump.line(code, pc) or (None, None)
        return Location(None, dump.name(code), pc - code.start, file, line)

    def eh_frame_at(self, address: int) -> tuple[None, CfiSection | None]:
        """The unwind data of the function at an address."""
        index = self._index(address)
        if index is None:
            return None, None
        if index not in self._sections:
            self._sections[index] = self._unwind_data(*self.functions[index])
        return None, self._sections[index]

    def _unwind_data(self, dump: Jitdump, code: JitCode) -> CfiSection | None:
        data = dump.unwind_data(code)
        if data is None:
            return None
        # perf makes a file of each function, with the unwind data behind the code; the
        # addresses in it are relative to that place.
        at = code.end + -(code.end - code.start) % 8
        return CfiSection(data, 0, len(data), at, is_eh=True, address_size=self.address_size)

    def eh_frame(self) -> tuple[None, None]:
        return None, None

    def debug_frames(self) -> list[CfiSection]:
        return []

    def _index(self, address: int) -> int | None:
        """The last function that was written for an address, if its code is still there."""
        index = self.latest.find(address)
        if index is None:
            return None
        if index not in self._genuine:
            self._genuine[index] = _is_there(self.memory, *self.functions[index])
        return index if self._genuine[index] else None


def _is_there(memory: Memory, dump: Jitdump, code: JitCode) -> bool:
    """Whether memory holds a function's code, as far as there is memory to compare."""
    written = dump.code_bytes(code)[:_MOST_COMPARED]
    actual = memory.read_available(code.start, len(written))
    same = sum(map(int.__eq__, written, actual))
    return same >= len(actual) * _SAME


def _files(process: Process) -> Iterator[OwnFile]:
    """The jitdumps that the process maps, then those that the user has given."""
    pids = own_files.pids_of(process)
    names = {f"jit-{pid}.dump" for pid in pids}
    paths = dict.fromkeys(
        region.path.removesuffix(" (deleted)")
        for region in process.space.memory.regions
        if region.executable and _is_jitdump(region.path)
    )
    for path in list(paths)[:_MOST_FILES]:
        folder, _, name = path.rpartition("/")
        names.discard(name)
        given = list(own_files.given_files(process, name, folder, _MAX_SIZE))
        if given:
            yield given[0]
            continue
        try:
            file = own_files.own_file(process, path, _MAX_SIZE, certain=True)
        except own_files.Refused as why:
            _refuse(process, path, str(why))
            continue
        if file is not None:
            yield file
    for name in names:
        yield from list(own_files.given_files(process, name, "tmp", _MAX_SIZE))[:1]


def _is_jitdump(path: str) -> bool:
    name = path.rpartition("/")[2].removesuffix(" (deleted)")
    return name.startswith("jit-") and name.endswith(".dump")


def _refuse(process: Process, path: str, why: str) -> None:
    process.findings.append(Finding("jitdump", f"{path} is not used: {why}"))
