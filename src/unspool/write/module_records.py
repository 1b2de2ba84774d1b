"""What a minidump says of a module beside where it is: name, CodeView record, version.

Debuggers find a module's symbols by this. Of an ELF image it is Breakpad's record with the build
id, of a PE image Microsoft's with the GUID of its PDB file.
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.formats.codeview import find_codeview
from unspool.formats.minidump.structures import (
    CV_ELF,
    CV_INFO_ELF,
    CV_PDB70,
    CV_RSDS,
    FIXED_FILE_INFO,
)  # fmt: skip
from unspool.formats.pe import DEBUG, RESOURCE
from unspool.formats.pe_version import fixed_file_info
from unspool.memory import Fault
from unspool.record import Record
from unspool.symbols.elf.dynamic import soname
from unspool.symbols.ids import code_hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from unspool.formats.codeview import CodeView
    from unspool.formats.elf import Elf
    from unspool.model import Module
    from unspool.pe_image import PeImage
    from unspool.write.draft import Draft

_DELETED = " (deleted)"


class ModuleRecord(Record):
    """A module's fields of MINIDUMP_MODULE; `codeview` is b"" where there is none."""

    __slots__ = ("checksum", "codeview", "name", "size", "timestamp", "version")

    def __init__(
        self,
        name: str,
        size: int,
        *,
        codeview: bytes = b"",
        version: bytes | None = None,
        checksum: int = 0,
        timestamp: int = 0,
    ) -> None:
        self.name = name
        self.size = size
        self.codeview = codeview
        self.version = version or bytes(FIXED_FILE_INFO.size)
        self.checksum = checksum
        self.timestamp = timestamp


def elf_record(draft: Draft, module: Module) -> ModuleRecord:
    """An ELF image, or the kernel's vdso, which Breakpad calls linux-gate.so.

    An image without a build id gets the id that Breakpad makes of its code.
    """
    elf = draft.target.elf(module)
    code_id = bytes.fromhex(module.code_id or "") or (code_hash(elf) if elf else b"")
    codeview = CV_INFO_ELF.pack(CvSignature=CV_ELF) + code_id if code_id else b""
    name = "linux-gate.so" if module.kind == "vdso" else _elf_name(module, elf)
    return ModuleRecord(name, module.end - module.base, codeview=codeview)


def _elf_name(module: Module, elf: Elf | None) -> str:
    """The path of the mapped file, with the library's own name as its last part.

    Symbol files are made by that name. Where the file is called otherwise, libz.so.1.2.13, there
    is as a rule a link of that name beside it.
    """
    path = (module.path or module.name).removesuffix(_DELETED)
    try:
        name = soname(elf) if elf is not None else None
    except FormatError:
        name = None
    if not name or "/" in name:
        return path
    folder, slash, _ = path.rpartition("/")
    return f"{folder}{slash}{name}"


def pe_record(draft: Draft, module: Module) -> ModuleRecord:
    """A PE image, by the path of the mapped file; of one that is mapped from none, by the path
    that the Windows loader has for it.

    LLDB takes all of `C:\\windows\\system32\\ntdll.dll` for the name of a file where the dump is
    of Linux, and finds none; other readers part names at either slash.
    """
    name = module.path or module.name
    image = draft.target.pe(module)
    if image is None:
        # The loader noted when it was linked, which is the first half of its id.
        timestamp = int(module.code_id[:8], 16) if module.code_id else 0
        return ModuleRecord(name, module.end - module.base, timestamp=timestamp)
    headers = image.headers
    return ModuleRecord(
        name,
        headers.size_of_image,
        codeview=_codeview(image, module),
        version=_version(image),
        checksum=headers.checksum,
        timestamp=headers.timestamp,
    )


def _codeview(image: PeImage, module: Module) -> bytes:
    found: CodeView | None
    if image.file is not None:
        found = image.file.codeview()
    else:
        directory = image.headers.directory(DEBUG)
        found = find_codeview(_reader(image), directory) if directory else None
    if found is None:
        return b""
    # GNU ld leaves the name out (--build-id). Symbol files are then made by the image's name.
    path = (found.path or module.name).encode("utf-8", "replace") + b"\0"
    return CV_PDB70.pack(CvSignature=CV_RSDS, Signature=found.guid, Age=found.age) + path


def _version(image: PeImage) -> bytes | None:
    directory = image.headers.directory(RESOURCE)
    return fixed_file_info(_reader(image), directory) if directory else None


def _reader(image: PeImage) -> Callable[[int, int], bytes]:
    """Reads an image, in memory or in its file; as much as there is where neither has all."""

    def read(rva: int, size: int) -> bytes:
        try:
            return image.read(rva, size)
        except Fault:
            return image.memory.read_available(image.base + rva, size)

    return read
