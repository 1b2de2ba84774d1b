"""Code of HotSpot, the JVM of OpenJDK: found by the tables that libjvm.so exports."""

from __future__ import annotations

from unspool.generated.code import GeneratedModule
from unspool.model import Module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.generated.code import Process

_ARCHITECTURES = ("x86-64", "aarch64")


def find(process: Process) -> list[GeneratedModule]:
    """The heaps of the code cache of each JVM that is loaded.

    What is read of a running process is read after its threads were stopped: code that was
    compiled or freed since may be missing, which no frame that was copied can be in.
    """
    arch = process.space.arch
    found: list[GeneratedModule] = []
    if arch.name not in _ARCHITECTURES:
        return found
    for library in list(process.space.modules):
        if library.name != "libjvm.so" or library.kind != "elf":
            continue
        from functools import partial

        from unspool.generated.hotspot.jvm import Jvm
        from unspool.generated.hotspot.tables import VmTables
        from unspool.generated.reader import Reader

        tables = VmTables(Reader(process.now), partial(process.symbol, library))
        jvm = Jvm(tables)
        for heap in jvm.heaps.heaps:
            module = Module(0, heap.name, heap.low, heap.high, kind="jit")
            found.append(GeneratedModule(module, names=jvm, runtime=jvm, tables=jvm.memory_read))
    return found
