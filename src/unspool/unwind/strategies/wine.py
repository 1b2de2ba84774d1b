"""What a stepper needs for a Wine process: the switches between its stacks."""

from __future__ import annotations

from unspool.unwind.strategies.wine_callback import WineCallback
from unspool.unwind.strategies.wine_exception import WineException
from unspool.unwind.strategies.wine_rescue import WineBorders
from unspool.unwind.strategies.wine_syscall import WineSyscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.unwind.step import Stepper
    from unspool.unwind.strategies.dwarf_cfi import DwarfCfi
    from unspool.wine.process import WineProcess


def add_wine(stepper: Stepper, wine: WineProcess, cfi: DwarfCfi) -> None:
    """Adds strategies for the ways between Windows code and Unix code."""
    stepper.early += [
        WineSyscall(wine, cfi),
        WineCallback(wine, stepper),
        WineException(stepper.space, wine.ntdll),
    ]
    stepper.reviewers.append(WineBorders(wine))
    if wine.is_wow64:
        _add_wow64(stepper, wine)


def _add_wow64(native: Stepper, wine: WineProcess) -> None:
    """Adds a stepper for the 32-bit code of the same process, and the ways to it and back."""
    from unspool.arch.x86 import X86
    from unspool.unwind.strategies.order import default_stepper
    from unspool.unwind.strategies.wow64 import Wow64, Wow64Borders, Wow64Callback

    compat = default_stepper(native.space.in_mode(X86))
    compat.early += [
        Wow64Callback(compat, wine),
        WineException(compat.space, wine.ntdll32),
    ]
    compat.reviewers.append(Wow64Borders(wine))
    native.early.append(Wow64(wine, native, compat))
