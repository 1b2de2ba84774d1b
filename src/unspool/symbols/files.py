"""Files on this machine that may belong to the target: opened safely, found by id or name.

Known layouts of directories are asked first, since that costs a look-up or two: `.build-id`
trees, the unified layout of debug-symbol servers (`ab/cdef…/debuginfo`), the cache of a
debuginfod client (`abcdef…/debuginfo`), Microsoft symbol stores, Breakpad's trees.
"""

from __future__ import annotations

import os
from mmap import ACCESS_READ, MADV_DONTNEED, mmap
from stat import S_ISREG

from unspool.errors import FormatError
from unspool.formats.elf import Elf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed import StrPath

    from unspool.cursor import Buffer
    from unspool.symbols.pe.files import PeFiles

# Files looked at in one --symbols directory.
_MAX_FILES = 50_000

_ELF_MAGIC, _PE_MAGIC = b"\x7fELF", b"MZ"
_PDB_MAGIC = b"Microsoft C/C++ MSF 7.00\r\n"
_SYM_MAGIC = b"MODULE "
_WASM_MAGIC = b"\0asm"


def map_file(path: str) -> mmap | None:
    """A regular file's bytes, mapped read-only; None for anything else, or an empty one.

    A dump names files as it likes: a FIFO would block us, a device could do anything.
    O_NONBLOCK makes opening these return, and the check follows on what was opened.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(fd)
        if not S_ISREG(status.st_mode) or status.st_size == 0:
            return None
        return mmap(fd, 0, access=ACCESS_READ)
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)


def forget(buffer: Buffer) -> None:
    """Takes a mapped file that was read as a whole out of our memory; it is read anew if need be.

    The system still has it in its cache, but lets us count it as ours no more.
    """
    if isinstance(buffer, mmap):
        buffer.madvise(MADV_DONTNEED)


def cache_home() -> str | None:
    """`$XDG_CACHE_HOME`, `~/.cache` if it is not set; None without a home directory."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the XDG specification: ignore a relative one
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return base if os.path.isabs(base) else None


def debuginfod_cache() -> str | None:
    """The directory that debuginfod's clients share, whether it is there or not.

    `DEBUGINFOD_CACHE_PATH`, else `~/.debuginfod_client_cache` if it is there (the place of
    clients before elfutils 0.181), else `debuginfod_client` in the user's cache directory.
    """
    path = os.environ.get("DEBUGINFOD_CACHE_PATH", "")
    if path:
        return path
    old = os.path.join(os.path.expanduser("~"), ".debuginfod_client_cache")
    if os.path.isdir(old):
        return old
    base = cache_home()
    return os.path.join(base, "debuginfod_client") if base else None


def is_pdb(buffer: Buffer) -> bool:
    """Whether a file starts as PDB files do since Visual C++ 7."""
    return buffer[: len(_PDB_MAGIC)] == _PDB_MAGIC


def sym_id(buffer: Buffer) -> str | None:
    """The id in a Breakpad symbol file, as symbol stores write it; None if it is none.

    Its first line is `MODULE Linux x86_64 44E4EC8C2F41EDC5A4C4E8D5D0D8B1E50 libc.so.6`.
    """
    words = bytes(buffer[:1024]).partition(b"\n")[0].split(None, 4)
    if len(words) < 5 or words[0] != b"MODULE":
        return None
    return words[3].decode("ascii", "replace").upper()


def _build_id_paths(folder: str, build_id: str) -> Iterator[str]:
    """Where a directory may keep files of a build id, debug files before programs."""
    for tree in (folder, os.path.join(folder, ".build-id")):
        for suffix in (".debug", "/debuginfo", "", "/executable"):
            yield os.path.join(tree, build_id[:2], build_id[2:] + suffix)
    for name in ("debuginfo", "executable"):
        yield os.path.join(folder, build_id, name)


def open_elf(path: str) -> Elf | None:
    """The ELF file at `path`, or None if there is none that can be read."""
    buffer = map_file(path)
    if buffer is None:
        return None
    try:
        return Elf(buffer)
    except FormatError:
        buffer.close()
        return None


def under_sysroot(sysroot: str, path: str) -> str | None:
    """`path` inside `sysroot`, or None if it would lead out of it.

    Symbolic links are followed as the target would: absolute ones start at the sysroot.
    """
    # Not resolved: /proc/4000/root is a link that leads where its text ("/") does not say.
    root = os.path.abspath(sysroot)
    if path.startswith(f"{root}/"):
        # gcore names the files of a process in a chroot as they are outside.
        path = path[len(root) :]
    current = root
    parts = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    for _ in range(4096):
        if not parts:
            return current
        part = parts.pop()
        if part == "..":
            current = root if current == root else os.path.dirname(current)
            continue
        step = os.path.join(current, part)
        try:
            link = os.readlink(step)
        except (OSError, ValueError):
            current = step
            continue
        if link.startswith("/"):
            current = root
        parts.extend(part for part in reversed(link.split("/")) if part not in ("", "."))
    return None


class SymbolPaths:
    """The directories and files that the user gave with `--symbols`, indexed once."""

    def __init__(self, paths: StrPath | Iterable[StrPath]) -> None:
        # One path that is text is iterable as well: its letters are none.
        if isinstance(paths, (str, os.PathLike)):
            paths = (paths,)
        self.paths = tuple([os.fspath(path) for path in paths])
        self._by_id: dict[str, list[str]] | None = None
        self._by_name: dict[str, list[str]] = {}
        self._elfs: list[str] = []
        self._pes: list[str] = []
        self._pdbs: list[str] = []
        self._wasms: list[str] = []
        self._syms: dict[str, list[str]] = {}
        self._stores: tuple[str, ...] | None = None
        self._pe_files: PeFiles | None = None

    def by_build_id(self, build_id: str) -> Iterator[str]:
        """Files with that build id: `.build-id` trees first, then any file that has it.

        The directories are searched through only if the trees were not enough.
        """
        for path in self.paths:
            for candidate in _build_id_paths(path, build_id):
                if os.path.isfile(candidate):
                    yield candidate
        self._index()
        assert self._by_id is not None
        yield from self._by_id.get(build_id, [])

    def by_name(self, name: str) -> list[str]:
        """Files whose last path component is `name`."""
        self._index()
        return self._by_name.get(name, [])

    def all_elfs(self) -> list[str]:
        """Every ELF file there is."""
        self._index()
        return self._elfs

    def pe_candidates(self, name: str, code_id: str | None) -> Iterator[str]:
        """Files that may be the PE module `name`, the likeliest first; none is checked.

        `code_id` is the module's time stamp and size as `Pe.code_id` has them. Symbol-store
        trees come first (`ntdll.dll/5E0D1A2B1c5000/ntdll.dll`), then files of that name, then
        any PE file of that code id. The case of letters does not matter. Without a code id
        files of that name are all there is.
        """
        if self.paths or self.stores:
            yield from self._pe().images(name, code_id)

    def pdb_candidates(self, name: str, store_id: str | None) -> Iterator[str]:
        """Files that may be the PDB file `name`, the likeliest first; none is checked.

        `store_id` is the file's GUID and age as symbol stores write them (`CodeView.store_id`).
        """
        if self.paths or self.stores:
            yield from self._pe().pdbs(name, store_id)

    def sym_candidates(self, name: str, store_id: str) -> Iterator[str]:
        """Breakpad's symbol files of that id: `name/ID/name.sym` first, then any that has it.

        `name` is the module's, or that of its PDB file. None is checked.
        """
        if self.paths or self.stores:
            yield from self._pe().syms(name, store_id)
        if self.paths:
            self._index()
            yield from self._syms.get(store_id.upper(), [])

    def pe_files(self) -> list[str]:
        """Every PE file there is (and whatever else starts as one)."""
        self._index()
        return self._pes

    def pdb_files(self) -> list[str]:
        """Every PDB file there is."""
        self._index()
        return self._pdbs

    def wasm_files(self) -> list[str]:
        """Every WebAssembly file there is."""
        self._index()
        return self._wasms

    @property
    def stores(self) -> tuple[str, ...]:
        """Symbol stores of this machine: those of `_NT_SYMBOL_PATH`, and our own."""
        if self._stores is None:
            from unspool.symbols.places import local_stores

            self._stores = tuple(local_stores())
        return self._stores

    def problems(self) -> list[tuple[str, str]]:
        """Files of symbol stores that could not be unpacked, and why."""
        return self._pe_files.problems if self._pe_files else []

    def _pe(self) -> PeFiles:
        if self._pe_files is None:
            from unspool.symbols.pe.files import PeFiles

            self._pe_files = PeFiles(self)
        return self._pe_files

    def _index(self) -> None:
        if self._by_id is not None:
            return
        self._by_id = {}
        for path in self._files():
            buffer = map_file(path)
            if buffer is None:
                continue
            if buffer[:4] == _ELF_MAGIC:
                self._add_elf(path, buffer)
            elif buffer[:2] == _PE_MAGIC:
                self._pes.append(path)
            elif buffer[:4] == _WASM_MAGIC:
                self._wasms.append(path)
            elif is_pdb(buffer):
                self._pdbs.append(path)
            elif buffer[: len(_SYM_MAGIC)] == _SYM_MAGIC:
                identity = sym_id(buffer)
                if identity:
                    self._syms.setdefault(identity, []).append(path)

    def _add_elf(self, path: str, buffer: mmap) -> None:
        assert self._by_id is not None
        try:
            build_id = Elf(buffer).build_id()
        except FormatError:
            return
        self._elfs.append(path)
        self._by_name.setdefault(os.path.basename(path), []).append(path)
        if build_id:
            self._by_id.setdefault(build_id, []).append(path)

    def _files(self) -> Iterator[str]:
        count = 0
        for root in self.paths:
            if os.path.isfile(root):
                yield root
                continue
            for folder, folders, names in os.walk(root):
                folders.sort()
                for name in sorted(names):
                    count += 1
                    if count > _MAX_FILES:
                        return
                    yield os.path.join(folder, name)
