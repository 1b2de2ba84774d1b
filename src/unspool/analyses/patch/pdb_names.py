"""The functions of a PE module that a PDB file names.

Nothing lists them: the library that reads PDB files answers what is at an address. Compilers
begin functions at multiples of 16, so that asking for each of these finds all but tiny ones; and
unwind data say where others begin. Where one ends, the next one says.
"""

from __future__ import annotations

from unspool.symbols.pe.module import PeModuleSymbols

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.model import Module
    from unspool.pe_image import PeImage
    from unspool.symbols.finders import DebugFiles

_STEP = 16
# A million look-ups take some seconds.
_MOST_CODE = 16 << 20


def pdb_functions(
    module: Module, image: PeImage, files: DebugFiles
) -> Iterator[tuple[int, str]]:
    """(RVA, name) of functions; none if there is no PDB file of the module."""
    if (image.file or image.headers).codeview() is None and not module.pdb_name:
        return
    symbols = PeModuleSymbols(module, image, files, lines=True)
    if not symbols.from_pdb:
        return
    left = _MOST_CODE
    known: set[int] = set()
    for rva in _places(image):
        left -= _STEP
        if left < 0:
            return
        found = symbols.lookup(image.base + rva)
        if found is not None and found[1] is not None and found[1] not in known:
            known.add(found[1])
            yield found[1] - image.base, found[0]


def _places(image: PeImage) -> Iterator[int]:
    """Where functions may begin, as RVAs."""
    table = image.function_table()
    for index in range(len(table) if table else 0):
        assert table is not None
        yield table[index].begin
    for section in image.headers.sections:
        if section.executable:
            size = section.virtual_size or section.raw_size
            yield from range(section.rva, section.rva + size, _STEP)
