"""What the reader makes of a minidump's streams: plain data, with places in the file as RVAs."""

from __future__ import annotations

from unspool.formats.codeview import CodeView
from unspool.formats.minidump import names
from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Problem(Record):
    """Something that is cut, or that cannot be as the file says: where, and what."""

    __slots__ = ("what", "where")

    def __init__(self, where: str, what: str) -> None:
        self.where = where
        self.what = what

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class Stream(Record):
    """An entry of the directory. `size` bytes of the stream are in the file, of `claimed`."""

    __slots__ = ("claimed", "index", "name", "rva", "size", "type")

    def __init__(self, index: int, type: int, name: str, rva: int, size: int, claimed: int) -> None:
        self.index = index
        self.type = type
        self.name = name
        self.rva = rva
        self.size = size
        self.claimed = claimed


class Range(Record):
    """Memory: `size` bytes at the address `start` are at `rva` in the file."""

    __slots__ = ("rva", "size", "start")

    def __init__(self, start: int, size: int, rva: int) -> None:
        self.start = start
        self.size = size
        self.rva = rva

    @property
    def end(self) -> int:
        return self.start + self.size


class System(Record):
    """The machine and its system. `os` and `arch_name` are None where their numbers are unknown.

    `arch_name` is a `report_name` of `arch`, or "arm". `csd` is the service pack, or what uname
    says. `cpu` are the 24 bytes of CPU_INFORMATION.
    """

    __slots__ = (
        "arch_name", "cpu", "cpu_count", "csd", "os", "platform_id", "processor_architecture",
        "processor_level", "processor_revision", "version",
    )  # fmt: skip

    def __init__(self, values: dict[str, Any], csd: str) -> None:
        self.processor_architecture: int = values["ProcessorArchitecture"]
        self.processor_level: int = values["ProcessorLevel"]
        self.processor_revision: int = values["ProcessorRevision"]
        self.cpu_count: int = values["NumberOfProcessors"]
        self.platform_id: int = values["PlatformId"]
        self.version: tuple[int, int, int] = (
            values["MajorVersion"], values["MinorVersion"], values["BuildNumber"],
        )  # fmt: skip
        self.csd = csd
        self.cpu: bytes = values["Cpu"]
        self.os = names.SYSTEMS.get(self.platform_id)
        self.arch_name = names.ARCHITECTURES.get(self.processor_architecture)


class ThreadRecord(Record):
    """A thread. `stack` is what of it is in the file, `context` the RVA and size of its registers.

    Both are None where the file has nothing of it. `stack_start` is where the stack starts even
    so, 0 where that is unknown.
    """

    __slots__ = (
        "context", "priority", "priority_class", "stack", "stack_start", "suspend_count", "teb",
        "tid",
    )  # fmt: skip

    def __init__(
        self, tid: int, suspend_count: int, priority_class: int, priority: int, teb: int,
        stack_start: int, stack: Range | None, context: tuple[int, int] | None,
    ) -> None:  # fmt: skip
        self.tid = tid
        self.suspend_count = suspend_count
        self.priority_class = priority_class
        self.priority = priority
        self.teb = teb
        self.stack_start = stack_start
        self.stack = stack
        self.context = context


class CodeViewRecord(Record):
    """Which debug file belongs to a module.

    `kind` is "pdb70" (`guid`, `age`, `name`), "pdb20" (`timestamp`, `age`, `name`), "elf"
    (`build_id`) or "unknown". Breakpad before 2016 and Crashpad before 2020 wrote "pdb70" of ELF
    modules, too: the GUID's bytes are the build id's first 16, the name is the module's.
    """

    __slots__ = ("age", "build_id", "guid", "kind", "name", "timestamp")

    def __init__(
        self,
        kind: str,
        *,
        guid: bytes | None = None,
        age: int | None = None,
        name: str | None = None,
        timestamp: int | None = None,
        build_id: bytes | None = None,
    ) -> None:
        self.kind = kind
        self.guid = guid
        self.age = age
        self.name = name
        self.timestamp = timestamp
        self.build_id = build_id

    @property
    def debug_id(self) -> str | None:
        """The GUID and the age as `formats.codeview.CodeView.debug_id`; None without a GUID."""
        return CodeView("", self.guid, self.age or 0).debug_id if self.guid else None


class ModuleRecord(Record):
    """An image that was loaded. `version` is the file version's four numbers, None without one."""

    __slots__ = ("base", "checksum", "codeview", "name", "size", "timestamp", "version")

    def __init__(
        self, base: int, size: int, checksum: int, timestamp: int, name: str,
        version: tuple[int, int, int, int] | None = None, codeview: CodeViewRecord | None = None,
    ) -> None:  # fmt: skip
        self.base = base
        self.size = size
        self.checksum = checksum
        self.timestamp = timestamp
        self.name = name
        self.version = version
        self.codeview = codeview


class MemoryInfo(Record):
    """A region of the address space: bits as VirtualQuery gives them (`names.FLAGS`)."""

    __slots__ = (
        "allocation_base", "allocation_protect", "base", "protect", "size", "state", "type",
    )  # fmt: skip

    def __init__(
        self, base: int, size: int, allocation_base: int, allocation_protect: int,
        state: int, protect: int, type: int,
    ) -> None:  # fmt: skip
        self.base = base
        self.size = size
        self.allocation_base = allocation_base
        self.allocation_protect = allocation_protect
        self.state = state
        self.protect = protect
        self.type = type


class ExceptionRecord(Record):
    """Why the process ended.

    On Linux `code` is the signal, `flags` its code, `address` that of the fault.
    `record` is the address of the exception that led to this one, 0 without one.
    """

    __slots__ = ("address", "code", "context", "flags", "parameters", "record", "tid")

    def __init__(
        self, tid: int, code: int, flags: int, record: int, address: int,
        parameters: tuple[int, ...], context: tuple[int, int] | None,
    ) -> None:  # fmt: skip
        self.tid = tid
        self.code = code
        self.flags = flags
        self.record = record
        self.address = address
        self.parameters = parameters
        self.context = context


class BreakpadInfo(Record):
    """The threads that wrote the dump and that asked for it; None where that is not said."""

    __slots__ = ("requesting_tid", "writer_tid")

    def __init__(self, writer_tid: int | None, requesting_tid: int | None) -> None:
        self.writer_tid = writer_tid
        self.requesting_tid = requesting_tid


class MiscInfo(Record):
    """Facts about the process. What the file does not vouch for is None.

    Times are seconds: since 1970, and of CPU. `values` are all fields of the structure that it
    has, valid or not.
    """

    __slots__ = (
        "build_string", "create_time", "debug_build_string", "integrity_level", "kernel_time",
        "pid", "user_time", "values",
    )  # fmt: skip

    def __init__(self, values: dict[str, Any]) -> None:
        flags = values.get("Flags1", 0)

        def valid(bit: int, field: str) -> Any:
            return values.get(field) if flags & bit else None

        self.values = values
        self.pid: int | None = valid(0x1, "ProcessId")
        self.create_time: int | None = valid(0x2, "ProcessCreateTime")
        self.user_time: int | None = valid(0x2, "ProcessUserTime")
        self.kernel_time: int | None = valid(0x2, "ProcessKernelTime")
        self.integrity_level: int | None = valid(0x10, "ProcessIntegrityLevel")
        self.build_string: str | None = valid(0x100, "BuildString")
        self.debug_build_string: str | None = valid(0x100, "DbgBldStr")


class ThreadInfo(Record):
    """Times and start of a thread: 100 ns since 1601 and 100 ns of CPU."""

    __slots__ = (
        "affinity", "create_time", "exit_status", "exit_time", "flags", "kernel_time",
        "start_address", "tid", "user_time",
    )  # fmt: skip

    def __init__(
        self, tid: int, flags: int, _error: int, exit_status: int, create_time: int,
        exit_time: int, kernel_time: int, user_time: int, start_address: int, affinity: int,
    ) -> None:  # fmt: skip
        self.tid = tid
        self.flags = flags
        self.exit_status = exit_status
        self.create_time = create_time
        self.exit_time = exit_time
        self.kernel_time = kernel_time
        self.user_time = user_time
        self.start_address = start_address
        self.affinity = affinity


class Handle(Record):
    """An open handle; on Linux a file descriptor. `type` and `name` are of its object."""

    __slots__ = ("access", "attributes", "handle", "name", "type")

    def __init__(self, handle: int, type: str, name: str, attributes: int, access: int) -> None:
        self.handle = handle
        self.type = type
        self.name = name
        self.attributes = attributes
        self.access = access


class FunctionTable(Record):
    """Functions of code that was made at run time: `count` entries of `entry_size` bytes at `rva`.

    The functions lie from `start` to `end`; their entries' offsets are from `base`.
    """

    __slots__ = ("base", "count", "end", "entry_size", "rva", "start")

    def __init__(
        self, start: int, end: int, base: int, count: int, entry_size: int, rva: int
    ) -> None:
        self.start = start
        self.end = end
        self.base = base
        self.count = count
        self.entry_size = entry_size
        self.rva = rva


class LinkMap(Record):
    """A module of the dynamic linker's list: struct link_map."""

    __slots__ = ("addr", "ld", "name")

    def __init__(self, addr: int, name: str, ld: int) -> None:
        self.addr = addr
        self.name = name
        self.ld = ld


class DsoDebug(Record):
    """struct r_debug of the process. `section` is the executable's dynamic section, as bytes."""

    __slots__ = ("brk", "dynamic", "ldbase", "links", "section", "version")

    def __init__(
        self, version: int, brk: int, ldbase: int, dynamic: int, links: list[LinkMap],
        section: bytes,
    ) -> None:  # fmt: skip
        self.version = version
        self.brk = brk
        self.ldbase = ldbase
        self.dynamic = dynamic
        self.links = links
        self.section = section


class CrashpadModule(Record):
    """What a module has left for Crashpad; `index` is its number in the module list."""

    __slots__ = ("annotations", "index", "lines", "objects")

    def __init__(
        self, index: int, lines: list[str], annotations: dict[str, str],
        objects: list[tuple[str, int, bytes]],
    ) -> None:  # fmt: skip
        self.index = index
        self.lines = lines
        self.annotations = annotations
        self.objects = objects  # name, type, value


class CrashpadInfo(Record):
    """What Crashpad adds. `address_mask` are the bits of pointers that are no address; 0: none."""

    __slots__ = ("address_mask", "annotations", "client_id", "modules", "report_id")

    def __init__(
        self, report_id: bytes, client_id: bytes, annotations: dict[str, str],
        modules: list[CrashpadModule], address_mask: int,
    ) -> None:  # fmt: skip
        self.report_id = report_id
        self.client_id = client_id
        self.annotations = annotations
        self.modules = modules
        self.address_mask = address_mask
