"""What the kernel was told about address spaces. A core does not say; a running system does."""

from __future__ import annotations

from unspool.record import Record
from unspool.targets.facts import ProcDirectory, read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.targets.base import Target

# Bits of personality(2).
_NO_RANDOMIZE, _PAGE_ZERO, _COMPAT_LAYOUT, _LIMIT_3GB = 0x40000, 0x100000, 0x200000, 0x8000000


class System(Record):
    """Settings as numbers, None where they are not known.

    `randomize` is kernel.randomize_va_space, `overcommit` vm.overcommit_memory, `legacy`
    vm.legacy_va_layout, `min_address` vm.mmap_min_addr, `max_maps` vm.max_map_count.
    `stack_limit` is the soft RLIMIT_STACK in bytes, -1 for unlimited. `personality` are the
    bits of personality(2); `commit_limit` and `committed` are bytes of the whole system.
    """

    __slots__ = (
        "commit_limit", "committed", "legacy", "max_maps", "min_address", "overcommit",
        "personality", "randomize", "stack_limit",
    )  # fmt: skip

    def __init__(
        self,
        *,
        randomize: int | None = None,
        overcommit: int | None = None,
        legacy: int | None = None,
        min_address: int | None = None,
        max_maps: int | None = None,
        stack_limit: int | None = None,
        personality: int | None = None,
        commit_limit: int | None = None,
        committed: int | None = None,
    ) -> None:
        self.randomize = randomize
        self.overcommit = overcommit
        self.legacy = legacy
        self.min_address = min_address
        self.max_maps = max_maps
        self.stack_limit = stack_limit
        self.personality = personality
        self.commit_limit = commit_limit
        self.committed = committed

    @property
    def is_random(self) -> bool | None:
        """Whether this process's addresses are random; None if that is not known."""
        if (self.personality or 0) & _NO_RANDOMIZE:
            return False
        return self.randomize > 0 if self.randomize is not None else None

    @property
    def has_compat_layout(self) -> bool:
        """Whether the process asked for ADDR_COMPAT_LAYOUT: mappings from low addresses up."""
        return bool((self.personality or 0) & _COMPAT_LAYOUT)

    @property
    def has_page_zero(self) -> bool:
        """Whether the process asked for MMAP_PAGE_ZERO: a page at 0 that can be read."""
        return bool((self.personality or 0) & _PAGE_ZERO)

    @property
    def has_3gb_limit(self) -> bool:
        """Whether the process asked for ADDR_LIMIT_3GB."""
        return bool((self.personality or 0) & _LIMIT_3GB)


def system_of(target: Target) -> System:
    """The settings of the running system, if the target runs on it; else what was kept of it.

    A directory as /proc/PID has limits and personality, which are the process's own.
    """
    if target.info.kind != "live" or target.info.pid is None:
        if target.options.procfs is None:
            return System()
        kept = ProcDirectory(target.options.procfs)
        return System(
            stack_limit=stack_limit(kept.read("limits") or b""),
            personality=_number(kept.read("personality"), 16),
        )
    folder = f"/proc/{target.info.pid}"
    memory = _lines(read_text("/proc/meminfo") or b"")
    return System(
        randomize=_number(read_text("/proc/sys/kernel/randomize_va_space")),
        overcommit=_number(read_text("/proc/sys/vm/overcommit_memory")),
        legacy=_number(read_text("/proc/sys/vm/legacy_va_layout")),
        min_address=_number(read_text("/proc/sys/vm/mmap_min_addr")),
        max_maps=_number(read_text("/proc/sys/vm/max_map_count")),
        stack_limit=stack_limit(read_text(f"{folder}/limits") or b""),
        personality=_number(read_text(f"{folder}/personality"), 16),
        commit_limit=memory.get(b"CommitLimit"),
        committed=memory.get(b"Committed_AS"),
    )


def stack_limit(limits: bytes) -> int | None:
    """The soft limit of stacks in /proc/PID/limits: bytes, -1 for unlimited."""
    for line in limits.splitlines():
        if line.startswith(b"Max stack size"):
            value = line[len(b"Max stack size") :].split()[0:1]
            if value == [b"unlimited"]:
                return -1
            return _number(value[0]) if value else None
    return None


def _lines(text: bytes) -> dict[bytes, int]:
    """/proc/meminfo in bytes."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(b":")
        number = _number(value.split()[0]) if value.split() else None
        if number is not None:
            found[name] = number * 1024
    return found


def _number(text: bytes | None, base: int = 10) -> int | None:
    try:
        return int((text or b"").strip(), base)
    except ValueError:
        return None
