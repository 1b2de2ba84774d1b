"""What a target is made of: modules, threads, the crash, and facts about it as a whole."""

from __future__ import annotations

from bisect import bisect_right

from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


# Modules of code that a program has made may lie between the segments of a file's.
_MADE = ("jit", "wasm")


class WasmIdentity(Record):
    """What tells which WebAssembly binary the code of a module was made from.

    `functions` is how many functions of its own each of the binary's modules has: one of a module,
    more of a component. `names` is the SHA-256 of all its functions' names, one behind the other in
    their order, in hex; None if the runtime keeps none. `points` are places where code was made
    from: the number of the module, of the function, and the offset in the binary. `modules` are the
    names of a component's modules, by their numbers, as far as they are known.
    """

    __slots__ = ("functions", "modules", "names", "points")

    def __init__(
        self,
        functions: Sequence[int],
        names: str | None = None,
        points: Sequence[tuple[int, int, int]] = (),
        modules: Mapping[int, str] | None = None,
    ) -> None:
        self.modules = modules or {}
        self.functions = functions
        self.names = names
        self.points = points

    def part(self, number: int) -> str:
        """Which of a component's modules one is, in brackets: its name, or its number. Of a
        binary that is one module nothing."""
        name = self.modules.get(number)
        return f"[{name or number}]" if name or len(self.functions) > 1 else ""


class Module(Record):
    """An image mapped in the target. `bias` is its addresses' distance from the file's.

    `code_id` is the ELF build id in lower-case hex; `debug_id` as `CodeView.debug_id`;
    `pdb_name` what the linker called a PE module's PDB file. `code_base` and `code_end` bound
    its first executable segment, by whole pages. `file` is where the target found the
    module's own bytes outside of the dump, if it did. `wasm` is for modules of kind "wasm" that
    a frame is in.
    """

    __slots__ = (
        "base", "bias", "code_base", "code_end", "code_id", "debug_file", "debug_id", "end", "file",
        "index", "kind", "name", "path", "pdb_name", "wasm",
    )  # fmt: skip

    def __init__(
        self, index: int, name: str, base: int, end: int, *,
        path: str | None = None, kind: str = "elf", bias: int | None = None,
        code_base: int | None = None, code_end: int | None = None, code_id: str | None = None,
        debug_id: str | None = None, debug_file: str | None = None,
        pdb_name: str | None = None, file: str | None = None, wasm: WasmIdentity | None = None,
    ) -> None:  # fmt: skip
        self.wasm = wasm
        self.index = index
        self.name = name
        self.path = path
        self.kind = kind
        self.base = base
        self.end = end
        self.bias = bias
        self.code_base = code_base
        self.code_end = code_end
        self.code_id = code_id
        self.debug_id = debug_id
        self.debug_file = debug_file
        self.pdb_name = pdb_name
        self.file = file


class ModuleRanges:
    """Modules by address. Where made code lies inside of a file's module, it is in the former."""

    def __init__(self, modules: Iterable[Module]) -> None:
        self._modules = sorted(modules, key=_base)
        self._bases = [module.base for module in self._modules]
        # For modules that lie inside of another one its position.
        self._around: dict[int, int] = {}
        outer = -1
        for at, module in enumerate(self._modules):
            if module.kind not in _MADE:
                outer = at
            elif outer >= 0 and module.end <= self._modules[outer].end:
                self._around[at] = outer

    def at(self, address: int) -> Module | None:
        """The module that has the address."""
        at: int | None = bisect_right(self._bases, address) - 1
        while at is not None and at >= 0:
            if address < self._modules[at].end:
                return self._modules[at]
            at = self._around.get(at)
        return None


def _base(module: Module) -> int:
    return module.base


class Thread(Record):
    """A thread as the target found it. Its identity is `index`: ids can repeat.

    `registers` are indexed by DWARF number, None where unknown; the whole list is None
    if the target holds no context for the thread. `special` are registers that no unwinding
    needs, by name: segments, their bases, flags ("cs", "fs_base", "eflags", "pstate").
    `windows_tid` is its id in Windows, under Wine.
    """

    __slots__ = ("crashed", "index", "name", "registers", "special", "tid", "windows_tid")

    def __init__(
        self,
        index: int,
        tid: int,
        registers: list[int | None] | None,
        *,
        name: str | None = None,
        crashed: bool = False,
        special: dict[str, int] | None = None,
    ) -> None:
        self.index = index
        self.tid = tid
        self.registers = registers
        self.name = name
        self.crashed = crashed
        self.special = special or {}
        self.windows_tid: int | None = None


class Crash(Record):
    """The signal that ended the process. `address` is the fault address if it has one.

    `sender_pid` is who sent it, for codes that have a sender (kill, tgkill, sigqueue).
    `access` is "read", "write" or "execute", if the faulting instruction tells.
    """

    __slots__ = ("access", "address", "code", "number", "sender_pid", "signal", "thread_index")

    def __init__(
        self, signal: str, number: int, code: int | None = None, address: int | None = None,
        thread_index: int | None = None, sender_pid: int | None = None, access: str | None = None,
    ) -> None:  # fmt: skip
        self.signal = signal
        self.number = number
        self.code = code
        self.address = address
        self.thread_index = thread_index
        self.sender_pid = sender_pid
        self.access = access


class TargetInfo(Record):
    """The facts that a report carries: `arch` by its name there, the dicts by their keys."""

    __slots__ = (
        "arch", "capture", "captured_at", "command_line", "executable", "kind", "os", "path", "pid",
        "system", "truncated", "wine",
    )  # fmt: skip

    def __init__(
        self, kind: str, arch: str, os: str = "linux", *,
        path: str | None = None, pid: int | None = None, executable: str | None = None,
        command_line: Sequence[str] | None = None, wine: dict[str, object] | None = None,
        captured_at: str | None = None, truncated: bool | None = None,
        system: dict[str, object] | None = None,
    ) -> None:  # fmt: skip
        self.kind = kind
        self.arch = arch
        self.os = os
        self.path = path
        self.pid = pid
        self.executable = executable
        self.command_line = command_line
        self.wine = wine
        self.captured_at = captured_at
        self.truncated = truncated
        self.system = system
        self.capture: dict[str, object] | None = None
