"""What a minidump of Linux says of its process beside memory and threads, to write it again."""

from __future__ import annotations

from unspool.formats.minidump import streams
from unspool.formats.minidump.contexts import ARM, ARM64, ARM64_OLD, ARM_FLOATING_POINT
from unspool.targets.facts import Facts
from unspool.targets.link_map import Linker, LinkMapEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.formats.minidump.contexts import Context
    from unspool.formats.minidump.reader import Minidump


def minidump_facts(dump: Minidump) -> Facts:
    """The dump's own streams, as facts."""
    described, misc = dump.system(), dump.misc()
    times = None
    if misc is not None and misc.create_time is not None:
        times = misc.create_time, misc.user_time or 0, misc.kernel_time or 0
    return Facts(
        auxv=dump.text(streams.LINUX_AUXV) or None,
        maps=dump.text(streams.LINUX_MAPS) or None,
        command_line=dump.text(streams.LINUX_CMD_LINE) or None,
        environ=dump.text(streams.LINUX_ENVIRON) or None,
        status=dump.text(streams.LINUX_PROC_STATUS) or None,
        cpu_info=dump.text(streams.LINUX_CPU_INFO) or None,
        lsb_release=dump.text(streams.LINUX_LSB_RELEASE) or None,
        linker=_linker(dump),
        thread_names=dump.thread_names(),
        version=described.version if described and any(described.version) else None,
        system=described.csd or None if described else None,
        times=times,
    )


def _linker(dump: Minidump) -> Linker | None:
    found = dump.dso_debug()
    if found is None:
        return None
    entries = [LinkMapEntry(each.addr, each.name, each.ld) for each in found.links]
    return Linker(
        found.version, found.brk, found.ldbase, found.dynamic, found.section, entries
    )


def floating_state(context: Context, data: bytes) -> bytes | None:
    """Vector registers of a context, as `Target.floating_point` gives them; `data` are its bytes.

    None if there are none. Contexts of ARM64 do not tell those that are zero from those that
    are missing.
    """
    if context.table.layout is ARM:
        return _vfp(context, data)
    if context.table.layout not in (ARM64, ARM64_OLD):
        return context.floating
    layout = context.table.layout
    first, status, control = (layout.field(name).offset for name in ("V0", "Fpsr", "Fpcr"))
    state = data[first : first + 512] + data[status : status + 4] + data[control : control + 4]
    return state + bytes(8) if len(state) == 520 and any(state) else None


def _vfp(context: Context, data: bytes) -> bytes | None:
    """Those of 32-bit Arm as `user_vfp`: d0 to d31, then the status."""
    first, status = (context.table.layout.field(name).offset for name in ("D0", "Fpscr"))
    state = data[first : first + 256] + data[status : status + 4]
    has_them = context.flags & ARM_FLOATING_POINT and len(state) == 260
    return state if has_them else None
