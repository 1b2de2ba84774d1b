"""LinuxCpuInfo: /proc/cpuinfo of the machine on which the process ran."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.write.draft import Draft
    from unspool.write.output import Output


def write(draft: Draft, output: Output) -> bytes | None:
    """The file as it was. A core does not tell, and this machine may be another one."""
    return draft.facts.cpu_info
