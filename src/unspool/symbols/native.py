"""Functions, files, lines and inlined calls out of DWARF, by way of the library `symbolic`.

This is the one module that imports it. A module's DWARF is converted once into a symcache,
a file that answers look-ups without being read as a whole, and kept (`symcache_store`).
The library reads PE files with DWARF and PDB files as well: `pe_lines`.

What `symbolic` 13 does not do: it reads no split DWARF (.dwo, .dwp) and no file that dwz
moved shared parts to (.gnu_debugaltlink); names and lines that lie there are missing.
"""

from __future__ import annotations

import os

from unspool.formats.elf import PT_LOAD, SHF_COMPRESSED, Elf
from unspool.symbols.library import part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from unspool.cursor import Buffer
    from unspool.symbols.symcache_store import SymcacheStore

# A symcache's addresses are 32-bit offsets; this one stands for "no address".
_NO_ADDRESS = 0xFFFF_FFFF
# Larger than this takes long enough to convert that somebody wonders.
_LARGE = 32 << 20
# zlib compresses 1000:1 at best, zstd without bound: what claims more is an attack.
_MAX_RATIO = 1100
_MAX_SECTION = 8 << 30


class SourcePlace:
    """A function as DWARF names it (mangled, if its language does that), a file, a line.

    `language` is the library's word for it, such as "c" and "cpp".
    """

    __slots__ = ("file", "function", "language", "line")

    def __init__(
        self, function: str, file: str | None, line: int | None, language: str = ""
    ) -> None:
        self.function = function
        self.file = file
        self.line = line
        self.language = language


class NativeLines:
    """Look-ups in one module's symcache; file addresses are from `load_address` on."""

    def __init__(self, cache: Any, load_address: int) -> None:
        self._cache = cache
        self._load_address = load_address

    def lookup(self, address: int) -> tuple[list[SourcePlace], int | None]:
        """What is at a file address: places, innermost first, and the function's start.

        The last place is in the function whose code it is; those before it are calls that
        the compiler expanded there, each place being in the next one's callee. The list is
        empty where DWARF knows nothing.
        """
        found = self._found(address)
        if not found or (not found[-1].line and not found[-1].full_path):
            return [], None  # a symbol table's name: `elf_symbols` knows better
        places = [
            SourcePlace(each.symbol, folder_once(each.full_path), each.line or None, each.lang)
            for each in found
        ]
        return places, self._start(found)

    def label(self, address: int) -> tuple[str, int] | None:
        """The nearest symbol before an address that has no line, and where it starts.

        Of a PDB file that is all there is of code in assembly language, and of everything
        in those that Microsoft gives away.
        """
        found = self._found(address)
        start = self._start(found)
        if not found or found[-1].line or not found[-1].symbol or start is None:
            return None
        return found[-1].symbol, start

    def _found(self, address: int) -> Any:
        offset = address - self._load_address
        if not 0 <= offset < _NO_ADDRESS:
            return []
        try:
            return self._cache.lookup(offset)
        except part("symbolic.exceptions").SymbolicError:
            return []

    def _start(self, found: Any) -> int | None:
        start: int = found[-1].sym_addr if found else _NO_ADDRESS
        return None if start == _NO_ADDRESS else start + self._load_address


def folder_once(path: str | None) -> str | None:
    """A relative path without the doubling of its first folders.

    DWARF 5 lists the compilation's own folder among the others. Where a build made it
    relative (Debian's glibc: `-ffile-prefix-map`, so that it is `./nptl`), the library joins
    it to itself: `nptl/nptl/pthread_kill.c`.
    """
    if not path or path.startswith("/"):
        return path
    parts = path.split("/")
    for count in range(1, len(parts) // 2 + 1):
        if parts[:count] == parts[count : 2 * count]:
            return "/".join(parts[count:])
    return path


def available() -> bool:
    """Whether the library is installed. Does not import it."""
    import sys

    if "symbolic" in sys.modules:
        return True
    # `importlib.util.find_spec` does the same, after half a millisecond of imports.
    return any(finder.find_spec("symbolic", None) for finder in sys.meta_path)


def open_lines(
    elf: Elf,
    path: str,
    *,
    store: SymcacheStore | None = None,
    progress: Callable[[str], None] | None = None,
    problems: list[str] | None = None,
) -> NativeLines | None:
    """The lines of the file `path` that `elf` is over, or None if they cannot be had.

    `store` is the user's own if not given. `progress` is called with a sentence before
    something that takes seconds. Why there is nothing is appended to `problems`.
    """
    problems = problems if problems is not None else []
    objection = _compression_bomb(elf)
    if objection:
        problems.append(f"{path}: {objection}")
        return None
    return open_file(
        path, elf.build_id(), _load_address(elf), store=store, progress=progress, problems=problems
    )


def open_file(
    path: str,
    identity: str | None,
    load_address: int = 0,
    *,
    what: str = "DWARF",
    content: Callable[[], Buffer] | None = None,
    store: SymcacheStore | None = None,
    progress: Callable[[str], None] | None = None,
    problems: list[str],
) -> NativeLines | None:
    """The lines of a file of any format that `symbolic` reads.

    `identity` is an id that no other build has and that can be a file's name; without one
    the path has to do. `what` is the file's debug information, in words; `content` gives
    what is to be read in place of the file's bytes, where that is not the same.
    """
    try:
        symcache = part("symbolic.symcache")
        status = os.stat(path)
    except (ImportError, OSError) as error:
        problems.append(f"{path}: no lines: {error}")
        return None
    key = _key(path, status, identity, symcache)
    if store is None:
        from unspool.symbols.symcache_store import default_store

        store = default_store()
    cache = _kept(store, key, symcache)
    if cache is None:
        if progress and status.st_size >= _LARGE:
            name, size = os.path.basename(path), status.st_size >> 20
            progress(f"reading the debug information of {name} ({size} MB)")
        try:
            cache = _convert(path, content, key, store)
        except part("symbolic.exceptions").SymbolicError as error:
            problems.append(f"{path}: its {what} cannot be read: {_first_line(error)}")
    return NativeLines(cache, load_address) if cache is not None else None


def open_object(elf: Elf, problems: list[str]) -> NativeLines | None:
    """The lines of a file that lies in memory alone: nothing is kept of it. As `open_lines`."""
    objection = _compression_bomb(elf)
    if objection:
        problems.append(objection)
        return None
    # The library keeps the bytes' address and nothing that keeps them alive.
    data = bytes(elf.buffer)
    try:
        thing = _first_object(part("symbolic.debuginfo").Archive.from_bytes(data))
        return NativeLines(thing.make_symcache(), _load_address(elf)) if thing else None
    except part("symbolic.exceptions").SymbolicError as error:
        problems.append(f"its DWARF cannot be read: {_first_line(error)}")
        return None


def open_wasm(data: bytes) -> NativeLines | None:
    """The lines of a WebAssembly binary without code; addresses count from its code section.

    None if it has none, or if the library is not installed.
    """
    if not available():
        return None
    try:
        thing = _first_object(part("symbolic.debuginfo").Archive.from_bytes(data))
        return NativeLines(thing.make_symcache(), 0) if thing else None
    except part("symbolic.exceptions").SymbolicError:
        return None


def debug_id(path: str) -> str | None:
    """The debug id in a file, as `symbolic` writes it: GUID in lower case, age if it is not 0.

    Raises `ImportError` without the library.
    """
    archive = part("symbolic.debuginfo").Archive
    try:
        thing = _first_object(_by_path(archive.open, path))
        return str(thing.debug_id) if thing else None
    except part("symbolic.exceptions").SymbolicError:
        return None


def stack_win_text(path: str) -> bytes | None:
    """What a PDB file says of i386 stack frames, as STACK WIN lines (`formats/stack_win.py`).

    None if it cannot be read, or the library is not installed. An empty answer: nothing.
    """
    if not available():
        return None
    archive = part("symbolic.debuginfo").Archive
    try:
        thing = _first_object(_by_path(archive.open, path))
        if thing is None:
            return None
        if thing.arch != "x86":
            return b""
        text: bytes = thing.make_cficache().open_stream().read()
        return text
    except part("symbolic.exceptions").SymbolicError:
        return None


def _by_path(opener: Callable[[str], Any], path: str) -> Any:
    """What the library opens. It takes paths in UTF-8 alone.

    A folder of an old disk or archive can have a name in Latin-1, /games/Pok\\xe9mon. Such a
    file is opened here, and the library gets another name of it.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise part("symbolic.exceptions").SymbolicError(error.strerror) from None
        try:
            return opener(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
    return opener(path)


def _first_object(archive: Any) -> Any:
    """The only object that such files have; None if there is none."""
    return next(iter(archive.iter_objects()), None)


def _kept(store: SymcacheStore | None, key: str, symcache: Any) -> Any:
    """A symcache of an earlier run, None without one that the library reads."""
    kept = store.get(key) if store else None
    try:
        return _by_path(symcache.SymCache.open, kept) if kept else None
    except part("symbolic.exceptions").SymbolicError:
        return None  # of a version that calls itself the same; it will be replaced


def _convert(
    path: str, content: Callable[[], Buffer] | None, key: str, store: SymcacheStore | None
) -> Any:
    opener = part("symbolic.debuginfo").Archive
    # The library keeps the bytes' address and nothing that keeps them alive.
    data = bytes(content()) if content else b""
    archive = opener.from_bytes(data) if content else _by_path(opener.open, path)
    thing = _first_object(archive)
    if thing is None:
        return None
    cache = thing.make_symcache()
    if store:
        store.put(key, cache.dump_into)
    return cache


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason is given"])[0]


def _key(path: str, status: os.stat_result, identity: str | None, symcache: Any) -> str:
    """Names a file's symcache: another file, or another version of the library, another name.

    The size of its shared library stands for the version: reading the installed package's
    metadata takes longer than all look-ups of a crash.
    """
    if identity is None:
        from zlib import crc32

        identity = f"path{crc32(os.fsencode(os.path.realpath(path))):08x}"
    library = os.path.join(os.path.dirname(symcache.__file__), "_lowlevel__lib.so")
    try:
        build = os.stat(library).st_size
    except OSError:
        build = 0
    version = f"{symcache.SYMCACHE_LATEST_VERSION}.{build:x}"
    return f"{identity}-{status.st_size:x}-{status.st_mtime_ns:x}-{version}"


def _load_address(elf: Elf) -> int:
    """The address that a symcache counts from: that of the first segment in the table."""
    return next((header.vaddr for header in elf.program_headers() if header.type == PT_LOAD), 0)


def _compression_bomb(elf: Elf) -> str | None:
    """Why the sections are not to be decompressed, in words; None if they may be."""
    word = elf.address_size
    for section in elf.sections():
        if not section.flags & SHF_COMPRESSED or not section.name.startswith(".debug"):
            continue
        at = section.offset + word  # behind ch_type (Elf64_Chdr has four bytes of padding)
        claimed = int.from_bytes(elf.buffer[at : at + word], "little")
        if claimed > min(_MAX_SECTION, max(section.size, 64) * _MAX_RATIO):
            return f"section {section.name} of {section.size} bytes claims to unpack to {claimed}"
    return None
