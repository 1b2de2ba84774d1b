"""Compressed data as a stream of small pieces: zstd, lz4 frames, xz and gzip.

All four formats allow several members (zstd: frames) after each other, and tools use
that: `pzstd`, `pixz`, `cat a.gz b.gz`. Whatever the input, no more than about one piece
and the format's own window are in memory: every decoder is asked for a bounded amount.

| format | library                                   | window accepted             |
|--------|-------------------------------------------|-----------------------------|
| zstd   | `compression.zstd` (3.14) or `zstandard`  | 128 MiB, as the zstd tool's |
| lz4    | `lz4`                                     | 4 MiB blocks, the format's  |
| xz     | `lzma`                                    | 160 MiB of memory (`xz -9`: 65) |
| gzip   | `zlib`                                    | 32 KiB, the format's        |
"""

from __future__ import annotations

from unspool.errors import MissingDependency
from unspool.targets.input.feed import Damage, Feed, skip_frame
from unspool.targets.input.magic import HEAD, compression_of, is_skippable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    class Decoder(Protocol):
        """One member's decoder, as `lzma`, `bz2` and `compression.zstd` shape it."""

        @property
        def eof(self) -> bool: ...
        @property
        def needs_input(self) -> bool: ...
        @property
        def unused_data(self) -> bytes: ...
        def decompress(self, data: bytes, max_length: int, /) -> bytes: ...

    class FrameDecoder(Protocol):
        def decompress(self, data: bytes, /) -> bytes: ...

    Errors = tuple[type[Exception], ...]


_PIECE = 64 << 10
MAX_WINDOW = 128 << 20
_MAX_XZ_MEMORY = 160 << 20
_MAX_ZSTD_BLOCK = 128 << 10
# A member without content takes a dozen bytes of input and microseconds of work. No tool
# writes many in a row.
_MAX_EMPTY_MEMBERS = 1000


_CUT = "compressed data end early"
_DAMAGED = "compressed data are damaged"


class Unpacker:
    """Iterates over the content of compressed data in pieces of at most 128 KiB.

    Raises `MissingDependency` at once, `Damage` while iterating. `note` tells afterwards
    of oddities that lose nothing.
    """

    __slots__ = ("_feed", "_kind", "_member", "note")

    def __init__(self, kind: str, feed: Feed, name: str) -> None:
        self._kind = kind
        self._feed = feed
        try:
            self._member = _MEMBERS[kind]()
        except ImportError:
            raise _missing(kind, name) from None
        self.note = ""

    def __iter__(self) -> Iterator[bytes]:
        _keep_freed_memory()
        feed, member = self._feed, self._member
        empty = 0
        while self._at_member():
            empty += 1
            for piece in member(feed):
                if piece:
                    empty = 0
                    yield piece
            if empty > _MAX_EMPTY_MEMBERS:
                raise Damage(_DAMAGED, "nothing but empty members")

    def _at_member(self) -> bool:
        """Moves to the next member, over skippable frames and padding."""
        feed = self._feed
        while head := feed.peek(HEAD):
            if compression_of(head) == self._kind:
                return True
            if is_skippable(head):
                skip_frame(feed, head)
            elif head[0] == 0:
                # xz pads streams to multiples of four bytes, tar and tapes pad anything.
                feed.skip_zeros()
            else:
                self.note = f"data other than {self._kind} follow the compressed data; ignored"
                return False
        return False


def _keep_freed_memory() -> None:
    """Has the C library keep the memory of a piece for the next one.

    glibc gives memory back to the kernel whenever 128 KiB are free at the heap's end, so
    that each piece is paid with page faults: two thirds of the time for a core of zeros.
    The bound rises to twice the largest block that was mapped for itself and freed again
    (mallopt(3), M_MMAP_THRESHOLD). This one is never touched, so it costs no memory.
    """
    bytes(1 << 20)


def _missing(kind: str, name: str) -> MissingDependency:
    tool = {"zstd": "zstd", "lz4": "lz4", "xz": "xz", "gzip": "gzip"}[kind]
    needs, package = {
        "zstd": ("the 'zstandard' package", True),
        "lz4": ("the 'lz4' package", True),
        "xz": ("a Python with the lzma module", False),
        "gzip": ("a Python with the zlib module", False),
    }[kind]
    first = f"decompress it first: {tool} -d {name}"
    return MissingDependency(
        f"{name} is compressed with {kind}, which needs {needs}",
        f"pip install 'unspool[compression]', or {first}" if package else first,
    )


def _drain(feed: Feed, decoder: Decoder, errors: Errors) -> Iterator[bytes]:
    """The content of one member, asked for in bounded pieces."""
    try:
        while not decoder.eof:
            data = feed.some() if decoder.needs_input else b""
            cut = decoder.needs_input and not data
            piece = decoder.decompress(data, _PIECE)
            yield piece
            # lz4 may hold back decoded bytes although it asks for input.
            if cut and not piece and not decoder.eof:
                raise Damage(_CUT)
    except errors as error:
        raise _damage(error) from None
    feed.unread(decoder.unused_data or b"")


def _damage(error: Exception) -> Damage:
    if isinstance(error, MemoryError):
        return Damage("compressed data need more memory than there is")
    detail = " ".join(str(error).split())[:100]
    if "emory usage limit" in detail:
        return Damage(
            f"compressed data need more than {_MAX_XZ_MEMORY >> 20} MiB of memory to unpack",
            hint="decompress the file first: xz -d",
        )
    return Damage(_DAMAGED, detail)


def _gzip() -> Callable[[Feed], Iterator[bytes]]:
    import zlib

    class Inflate:
        """`zlib`'s decoder in the shape of the others."""

        def __init__(self) -> None:
            self._zlib = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)

        @property
        def eof(self) -> bool:
            return self._zlib.eof

        @property
        def needs_input(self) -> bool:
            return not self._zlib.unconsumed_tail

        @property
        def unused_data(self) -> bytes:
            return self._zlib.unused_data

        def decompress(self, data: bytes, max_length: int, /) -> bytes:
            return self._zlib.decompress(data or self._zlib.unconsumed_tail, max_length)

    return lambda feed: _drain(feed, Inflate(), (zlib.error, MemoryError))


def _xz() -> Callable[[Feed], Iterator[bytes]]:
    from lzma import FORMAT_XZ, LZMADecompressor, LZMAError

    def member(feed: Feed) -> Iterator[bytes]:
        decoder = LZMADecompressor(FORMAT_XZ, memlimit=_MAX_XZ_MEMORY)
        return _drain(feed, decoder, (LZMAError, MemoryError, EOFError))

    return member


def _lz4() -> Callable[[Feed], Iterator[bytes]]:
    from lz4.frame import LZ4FrameDecompressor

    def member(feed: Feed) -> Iterator[bytes]:
        return _drain(feed, LZ4FrameDecompressor(), (RuntimeError, MemoryError, EOFError))

    return member


def _zstd() -> Callable[[Feed], Iterator[bytes]]:
    new_decoder: Callable[[], FrameDecoder]
    try:
        from compression import zstd
    except ImportError:
        import zstandard

        context = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
        new_decoder, error = context.decompressobj, zstandard.ZstdError
    else:
        options = {zstd.DecompressionParameter.window_log_max: MAX_WINDOW.bit_length() - 1}
        new_decoder, error = lambda: zstd.ZstdDecompressor(options=options), zstd.ZstdError

    return lambda feed: _zstd_frame(feed, new_decoder(), (error, MemoryError, EOFError))


def _zstd_frame(feed: Feed, decoder: FrameDecoder, errors: Errors) -> Iterator[bytes]:
    """The content of one frame, block by block (RFC 8878, 3.1.1).

    The blocks are cut out here, since `zstandard` offers no decoder that both bounds what
    it answers and tells a frame that ends early from one that is complete: `decompressobj`
    answers all that its input gives, up to 2 GiB for 64 KiB; `stream_reader` takes the end
    of its source for the end of the frame. A block gives 128 KiB at most.
    """
    header, has_checksum = _zstd_header(feed)
    try:
        yield decoder.decompress(header)
        last = False
        while not last:
            head = feed.exactly(3)
            if len(head) < 3:
                raise Damage(_CUT)
            value = int.from_bytes(head, "little")
            last, kind, size = bool(value & 1), value >> 1 & 3, value >> 3
            if kind == 3 or size > _MAX_ZSTD_BLOCK:
                raise Damage(_DAMAGED, "impossible block header")
            stored = 1 if kind == 1 else size  # kind 1 repeats one byte
            body = feed.exactly(stored)
            if len(body) < stored:
                raise Damage(_CUT)
            yield decoder.decompress(head + body)
        if has_checksum:
            checksum = feed.exactly(4)
            if len(checksum) < 4:
                raise Damage(_CUT)
            yield decoder.decompress(checksum)
    except errors as error:
        raise _damage(error) from None


def _zstd_header(feed: Feed) -> tuple[bytes, bool]:
    """A frame's header and whether a checksum follows its blocks (RFC 8878, 3.1.1.1)."""
    start = feed.exactly(5)
    if len(start) < 5:
        raise Damage(_CUT)
    descriptor = start[4]
    single_segment = bool(descriptor & 0x20)
    id_size = (0, 1, 2, 4)[descriptor & 3]
    content_size = (int(single_segment), 2, 4, 8)[descriptor >> 6]
    rest_size = (not single_segment) + id_size + content_size
    rest = feed.exactly(rest_size)
    if len(rest) < rest_size:
        raise Damage(_CUT)
    if single_segment:
        window = int.from_bytes(rest[id_size:], "little") + (256 if content_size == 2 else 0)
    else:
        base = 1 << (10 + (rest[0] >> 3))
        window = base + (base >> 3) * (rest[0] & 7)
    if window > MAX_WINDOW:
        raise Damage(
            f"compressed data need a window of {window >> 20:,} MiB,"
            f" more than {MAX_WINDOW >> 20} MiB",
            hint="decompress the file first: zstd -d --long=31",
        )
    return start + rest, bool(descriptor & 4)


_MEMBERS = {"zstd": _zstd, "lz4": _lz4, "xz": _xz, "gzip": _gzip}
