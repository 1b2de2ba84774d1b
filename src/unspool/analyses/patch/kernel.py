"""Functions of the kernel: is a thread of this process in one, by the kernel's own stack traces?

/proc/PID/task/TID/stack (proc_pid_stack(5)) is there for root, and lists the return addresses of
a thread that waits in the kernel. Words of kernel stacks cannot be read, other processes and the
kernel's own threads are not looked at, and a thread that runs has no trace: the answer is `unsafe`
or `not proven`, never `safe`. Whoever replaces the kernel's code has its livepatch look at all.
"""

from __future__ import annotations

from bisect import bisect_right

from unspool.analyses.patch.records import CodeRange, Hit
from unspool.targets.facts import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.analyses.patch.records import Checked
    from unspool.targets.base import Target

PREFIX = "kernel!"
_OTHERS = "kernel threads and other processes may be in it, and kernel stacks are not scanned"


def of_kernel(target: Target, checked: Checked, name: str) -> None:
    """Fills in where the function is, and which threads have it on their kernel stacks."""
    if target.info.kind != "live" or target.info.pid is None:
        checked.unknown.append("a dump holds no kernel stacks")
        return
    for start, end in _symbol(name):
        checked.ranges.append(CodeRange(name, start, end, sized=False))
    if not checked.ranges:
        checked.unknown.append(f"no function {name} in /proc/kallsyms, or addresses are hidden")
        return
    checked.unknown.append(_OTHERS)
    lost = 0
    for thread in target.threads:
        text = read_text(f"/proc/{target.info.pid}/task/{thread.tid}/stack")
        if text is None:
            lost += 1
            continue
        for number, line in enumerate(text.decode("ascii", "replace").splitlines()):
            found = _entry(line)
            if found is not None and found[0] == name:
                code = checked.ranges[0]
                checked.kernel_hits.append(
                    Hit("kernel", thread.index, thread.tid, code.start + found[1], code,
                        frame=number)
                )  # fmt: skip
    if lost:
        checked.unknown.append(f"of {lost:,} threads the kernel stack cannot be read (root can)")


def _entry(line: str) -> tuple[str, int] | None:
    """`[<0>] hrtimer_nanosleep+0x74/0xf0` as name and offset."""
    _, _, text = line.partition("] ")
    name, plus, rest = text.partition("+")
    try:
        return (name, int(rest.split("/")[0], 16)) if plus else None
    except ValueError:
        return None


def _symbol(name: str) -> list[tuple[int, int]]:
    """The function's ranges: each ends where the next symbol begins."""
    wanted, starts = [], []
    for line in (read_text("/proc/kallsyms") or b"").splitlines():
        fields = line.split()
        if len(fields) >= 3 and fields[1] in b"tTwW":
            address = int(fields[0], 16)
            starts.append(address)
            if fields[2] == name.encode() and address:
                wanted.append(address)
    if not wanted:
        return []
    ordered = sorted(set(starts))
    found = []
    for start in wanted:
        at = bisect_right(ordered, start)
        found.append((start, ordered[at] if at < len(ordered) else start + 1))
    return found
