"""The rules for where the kernel puts things: how high, in which direction, below which stack."""

from __future__ import annotations

from unspool.analyses.layout.records import Kind, Rule, Verdict
from unspool.analyses.layout.rules import GIB, describe, size_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.analyses.layout.records import Layout
    from unspool.analyses.layout.system import System

_LINKERS = ("ld-linux", "ld-musl", "ld-2.", "ld.so", "libc.musl-")
# Bits of addresses that 64-bit programs get unless they ask for more.
USUAL_BITS = {"x86_64": 47, "aarch64": 48}


def top(layout: Layout) -> Rule:
    """How high addresses go."""
    highest = next((area for area in reversed(layout.areas) if area.end <= 1 << 63), None)
    if highest is None:
        return Rule("vm-split", Verdict.UNKNOWN, "no mapping is known")
    evidence = [f"the highest mapping: {describe(highest)}"]
    system = layout.system
    if system is not None and system.has_3gb_limit:
        evidence.append("the process asked for ADDR_LIMIT_3GB (personality)")
    if layout.pointer_size == 8:
        arch = layout.target.arch
        bits, usual = (highest.end - 1).bit_length(), USUAL_BITS.get(arch, 47)
        if bits <= usual:
            says = f"all is within {usual} bits, which every {arch} program expects"
            return Rule("vm-split", Verdict.OK, says, evidence)
        says = f"addresses reach {bits} bits: programs that keep data in high bits break"
        return Rule("vm-split", Verdict.NOTE, says, evidence)
    if highest.end > 3 * GIB:
        says = "the process can use more than 3 GiB: a 64-bit kernel, or one with a 4G/4G split"
    elif highest.end > 2 * GIB:
        says = "the highest address fits a 3G/1G split (a 32-bit kernel's usual one)"
    else:
        says = "all is below 2 GiB: a 2G/2G split, or a dump that does not list everything"
    return Rule("vm-split", Verdict.OK, says, evidence)


def direction(layout: Layout, interpreter: int) -> Rule:
    """Whether the kernel maps from high addresses down, or from low ones up (its legacy layout).

    The kernel maps the dynamic linker first, which then maps libraries: they tell. A stack
    without a limit does not: for it old x86 kernels map upwards, and those of other CPUs; those
    of today (seen with Linux 6.18) downwards, from a sixth of the address space: 0x2aaaa000 of
    4 GiB. And the limit is today's, the layout that of the program's start.
    """
    evidence = _reasons(layout.system)
    libraries = [area for area in layout.areas if area.kind == Kind.LIBRARY]
    linker = next((a for a in libraries if a.start <= interpreter < a.end), None)
    if linker is None:
        # Wine's preloader is what the kernel starts, and maps the dynamic linker itself.
        linker = next((a for a in libraries if a.name.startswith(_LINKERS)), None)
    others = [area for area in libraries if linker is None or area.module != linker.module]
    wide = layout.pointer_size == 8
    if linker is None or not others:
        if layout.system is not None and layout.system.has_compat_layout:
            return _upwards(wide, evidence)
        says = "there is no dynamic linker and library by which it could be told"
        return Rule("mmap-direction", Verdict.UNKNOWN, says, evidence)
    first = linker.start
    near = min(others, key=lambda area: abs(area.start - first))
    evidence += [describe(linker), describe(near)]
    if all(area.start > first for area in others):
        return _upwards(wide, evidence)
    if not all(area.start < first for area in others):
        says = "libraries are above and below the dynamic linker, which the kernel mapped first"
        return Rule("mmap-direction", Verdict.UNKNOWN, says, evidence)
    if not wide and first < 2 * GIB:
        says = "the kernel maps from low addresses down: it leaves what is above to the first stack"
        return Rule("mmap-direction", Verdict.WARNING, says, evidence)
    says = "the kernel maps from high addresses down, as it usually does"
    return Rule("mmap-direction", Verdict.OK, says, evidence)


def _upwards(wide: bool, evidence: list[str]) -> Rule:
    says = "the kernel maps from low addresses up (its legacy layout)"
    return Rule("mmap-direction", Verdict.NOTE if wide else Verdict.WARNING, says, evidence)


def _reasons(system: System | None) -> list[str]:
    reasons = []
    if system is not None and system.has_compat_layout:
        reasons.append("the process asked for ADDR_COMPAT_LAYOUT (personality)")
    if system is not None and system.legacy:
        reasons.append(f"vm.legacy_va_layout is {system.legacy}")
    if system is not None and system.stack_limit == -1:
        reasons.append("Max stack size is unlimited")
    return reasons


def stack_room(layout: Layout) -> Rule:
    """How far the first stack can grow: the kernel keeps 256 pages free below it."""
    stack = next((area for area in layout.areas if area.path == "[stack]"), None)
    limit = layout.system.stack_limit if layout.system is not None else None
    if stack is None:
        return Rule("stack-rlimit", Verdict.UNKNOWN, "the first stack is not known")
    below = [area for area in layout.areas if area.end <= stack.start]
    room = stack.end - (below[-1].end if below else 0)
    evidence = [describe(stack), f"the next mapping below it ends {size_of(room)} below its end"]
    if below:
        evidence.append(f"that is {describe(below[-1])}")
    if limit is None:
        says = "how large the stack may get is not known (no limits of the process)"
        return Rule("stack-rlimit", Verdict.UNKNOWN, says, evidence)
    if limit < 0:
        evidence.append("Max stack size is unlimited")
        says = f"there is no limit: the stack can grow by {size_of(room)}, to the next mapping"
        return Rule("stack-rlimit", Verdict.NOTE, says, evidence)
    evidence.append(f"Max stack size is {size_of(limit)}")
    if room < limit and layout.is_windows and not stack.threads:
        # Wine's threads have stacks of their own; the first one only starts.
        says = "something is mapped where the stack may grow to; no thread of Wine's is on it"
        return Rule("stack-rlimit", Verdict.NOTE, says, evidence)
    if room < limit and layout.is_windows and not below[-1].accessible:
        says = "Wine holds what the first stack could grow into; only its own start runs there"
        return Rule("stack-rlimit", Verdict.NOTE, says, evidence)
    if room < limit:
        says = "something is mapped where the stack may grow to"
        return Rule("stack-rlimit", Verdict.WARNING, says, evidence)
    return Rule("stack-rlimit", Verdict.OK, "the stack can grow to its limit", evidence)
