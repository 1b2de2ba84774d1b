"""What the PDB file of a 32-bit PE module says of its stack frames."""

from __future__ import annotations

from unspool.formats.pe import MACHINE_I386

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.formats.pe import Pe
    from unspool.formats.stack_win import StackWin
    from unspool.model import Module
    from unspool.symbols.finders import DebugFiles


def find_stack_win(module: Module, pe: Pe, files: DebugFiles) -> StackWin | None:
    """The STACK WIN records of the PDB file that `pe` names, if that is found."""
    codeview = pe.codeview() if pe.machine == MACHINE_I386 else None
    if codeview is None or not codeview.path:
        return None
    from unspool.symbols import native
    from unspool.symbols.pe.finders import PeDebugFiles

    if not native.available():
        return None
    found = PeDebugFiles(files).pdb(module, pe, native.debug_id)
    text = native.stack_win_text(found[0]) if found is not None else None
    if not text:
        return None
    from unspool.formats.stack_win import StackWin

    return StackWin(text)
