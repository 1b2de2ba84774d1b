"""Whether a downloaded file is the one that was asked for, and whole."""

from __future__ import annotations

from struct import unpack_from

from unspool.errors import FormatError
from unspool.formats.elf import SHT_NOBITS
from unspool.symbols.files import is_pdb, map_file, open_elf, sym_id
from unspool.symbols.pe.files import open_pe


def objection(path: str, kind: str, identity: str) -> str | None:
    """Why a file is not that one, in words; None if it is. `kind` is a `MissingFile`'s, or
    "sym" for Breakpad's symbol file of a module that is known by this id of symbol stores."""
    check = {"pdb": _pdb, "image": _image, "sym": _sym}.get(kind, _elf)
    return check(path, identity)


def _elf(path: str, identity: str) -> str | None:
    elf = open_elf(path)
    if elf is None:
        return "it is no ELF file"
    found = elf.build_id()
    if found != identity:
        return f"its build id is {found or 'missing'}"
    try:
        end = max(
            (each.offset + each.size for each in elf.sections() if each.type != SHT_NOBITS),
            default=0,
        )
    except FormatError as error:
        return str(error)
    if not elf.sections() or end > len(elf.buffer):
        return "it is cut off"
    return None


def _image(path: str, identity: str) -> str | None:
    pe = open_pe(path)
    if pe is None:
        return "it is no PE file"
    if pe.code_id.lower() != identity.lower():
        return f"its time stamp and size are {pe.code_id}"
    if any(each.raw_offset + each.raw_size > len(pe.buffer) for each in pe.sections):
        return "it is cut off"
    return None


def _sym(path: str, identity: str) -> str | None:
    buffer = map_file(path)
    found = sym_id(buffer) if buffer is not None else None
    if buffer is None or found is None:
        return "it is no symbol file"
    if found != identity.upper():
        return f"its id is {found}"
    return None if buffer[-1:] == b"\n" else "it is cut off"


def _pdb(path: str, identity: str) -> str | None:
    buffer = map_file(path)
    if buffer is None or not is_pdb(buffer) or len(buffer) < 56:
        return "it is no PDB file"
    # The superblock of a multi-stream file: page size, free page map, number of pages.
    page, _, pages = unpack_from("<III", buffer, 32)
    if page * pages > len(buffer):
        return "it is cut off"
    from unspool.symbols import native
    from unspool.symbols.ids import store_id

    found = native.debug_id(path)
    if found is None or store_id(found).upper() != identity.upper():
        return f"its id is {store_id(found) if found else 'missing'}"
    return None
