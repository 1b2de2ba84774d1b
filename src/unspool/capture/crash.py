"""What the kernel tells its core handler in arguments: core(5), "Naming of core dump files"."""

from __future__ import annotations

from unspool.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# The arguments in their order: core_pattern's specifiers.
SPECIFIERS = "%P %I %s %u %g %d %t %h %e"

_NUMBERS = 7
# %d, the process's dumpable flag: prctl(2), PR_SET_DUMPABLE, and proc(5), suid_dumpable.
_USERS_OWN = 1


class KernelCrash:
    """A crash as the kernel announces it. Ids are those of the initial namespaces."""

    __slots__ = ("dump_mode", "gid", "host_name", "name", "pid", "signal", "tid", "time", "uid")

    def __init__(self, arguments: Sequence[str]) -> None:
        """Raises `UsageError` if these are not the arguments of `SPECIFIERS`."""
        numbers = arguments[:_NUMBERS]
        if len(numbers) < _NUMBERS or not all(map(_is_number, numbers)):
            raise UsageError(
                "these are no arguments of the kernel's",
                f"it gives {SPECIFIERS}; unspool capture install sets them",
            )
        (self.pid, self.tid, self.signal, self.uid, self.gid, self.dump_mode, self.time) = map(
            int, numbers
        )
        more = arguments[_NUMBERS:]
        self.host_name = more[0] if more else ""
        # Kernels before 5.3 split a name at its spaces.
        self.name = " ".join(more[1:])

    @property
    def is_users_own(self) -> bool:
        """Whether the user may see it: not if the program was setuid, or changed its user."""
        return self.dump_mode == _USERS_OWN


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 18
