"""What a minidump is of where its SystemInfoStream is lost: by what else it holds."""

from __future__ import annotations

from itertools import islice

from unspool.errors import FormatError
from unspool.formats.minidump import names, streams
from unspool.formats.minidump.contexts import find_table
from unspool.formats.minidump.records import System
from unspool.formats.minidump.structures import SYSTEM_INFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.formats.minidump.reader import Minidump

# A processor's contexts have these sizes; extended state may follow that of AMD64.
_SIZES = (
    (names.X86, (716,)), (names.ARM64, (912, 796)), (names.ARM, (368, 416)),
    (names.AMD64, range(1232, 1 << 16)),
)  # fmt: skip
_MOST_CONTEXTS = 64


def guess_system(dump: Minidump) -> System | None:
    """Processor and system, all else 0; None if no thread's context tells the processor.

    Breakpad on Linux writes threads and their stacks first and SystemInfo behind them, and so
    an upload that was cut short has all that a walk needs but that: of symbolicator's
    linux.dmp, 27 kB, the first thread is whole at 14,024 bytes, and SystemInfo is at 15,880.
    """
    cpu = _processor(dump)
    if cpu is None:
        return None
    values = SYSTEM_INFO.unpack(bytes(SYSTEM_INFO.size))
    values["ProcessorArchitecture"] = cpu
    values["PlatformId"] = names.LINUX if _is_linux(dump) else names.WIN32_NT
    name = names.ARCHITECTURES[cpu]
    dump.file.note("SystemInfoStream", f"is missing; the threads' registers are of {name}")
    return System(values, "")


def _processor(dump: Minidump) -> int | None:
    """The processor whose context the first whole one is; they are told by flags and size."""
    places = (thread.context for thread in dump.threads() if thread.context is not None)
    for rva, size in islice(places, _MOST_CONTEXTS):
        for cpu, sizes in _SIZES:
            if size not in sizes:
                continue
            try:
                find_table(dump.file.buffer[rva : rva + size], cpu)
            except FormatError:
                continue
            return cpu
    return None


def _is_linux(dump: Minidump) -> bool:
    """Streams that only Linux has are in the directory even where their bytes are lost."""
    linux = range(streams.LINUX_CPU_INFO, streams.LINUX_DSO_DEBUG + 1)
    if any(stream.type in linux for stream in dump.streams):
        return True
    return any(module.name.startswith("/") for module in dump.modules()[:1])
