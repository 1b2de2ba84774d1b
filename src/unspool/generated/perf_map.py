"""Names from a perf map, which a runtime writes to /tmp when it is asked to.

Node.js does with --perf-basic-prof, CPython with -X perf, the JVM with
-XX:+DumpPerfMapAtExit or jcmd's Compiler.perfmap, .NET with DOTNET_PerfMapEnabled=1.
"""

from __future__ import annotations

from unspool.formats.perf_map import PerfMap
from unspool.generated import own_files
from unspool.generated.latest import Latest
from unspool.generated.written import fits, modules_for
from unspool.model import Finding, Location

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.generated.code import GeneratedModule, Process
    from unspool.generated.own_files import OwnFile

# Four million lines; what there is more is not read.
_MAX_SIZE = 256 << 20


def find(process: Process) -> list[GeneratedModule]:
    """Modules for the code that the process's map names."""
    for file in _files(process):
        names = _Names(process, file)
        if not file.certain:
            # To be sure the map must be read, else only once a name is asked for.
            if not fits(process, names.lines.starts):
                if names.lines:
                    _refuse(process, file.path, "its code lies where this process has no memory")
                continue
            modules = modules_for(process, file.path, names, code=names.code)
        else:
            modules = modules_for(process, file.path, names)
        if modules:
            return modules
    return []


class _Names:
    """Names by address, see `CodeNames`. The map is read for the first one."""

    def __init__(self, process: Process, file: OwnFile) -> None:
        self.process = process
        self.file = file
        self._lines: PerfMap | None = None
        self._code: Latest | None = None

    @property
    def lines(self) -> PerfMap:
        if self._lines is None:
            self._lines = PerfMap(self.file.read())
        return self._lines

    @property
    def code(self) -> Latest:
        if self._code is None:
            self._code = Latest(self.lines.starts, self.lines.ends)
        return self._code

    def locate(self, pc: int) -> Location | None:
        index = self.code.find(pc)
        if index is None:
            return None
        return Location(None, self.lines.name(index), pc - self.lines.starts[index])


def _files(process: Process) -> Iterator[OwnFile]:
    """Maps that may be the process's, the one that is most surely meant first."""
    for number, pid in enumerate(own_files.pids_of(process)):
        name = f"perf-{pid}.map"
        yield from own_files.given_files(process, name, "tmp", _MAX_SIZE)
        path = f"/tmp/{name}"
        try:
            # Its id outside of its container may be another process's inside.
            file = own_files.own_file(process, path, _MAX_SIZE, certain=number == 0)
        except own_files.Refused as why:
            _refuse(process, path, str(why))
            continue
        if file is not None:
            yield file


def _refuse(process: Process, path: str, why: str) -> None:
    process.findings.append(Finding("perf_map", f"{path} is not used: {why}"))
