"""Reads everything of a minidump, and says what must hold of it."""

from __future__ import annotations

from contextlib import suppress

from tests.build import minidump_records as r
from unspool.errors import FormatError
from unspool.formats.minidump.contexts import parse_context
from unspool.formats.minidump.reader import Minidump

TEXTS = range(r.LINUX_CPU_INFO, r.LINUX_DSO_DEBUG)


def read(data: bytes) -> None:
    """Everything that the reader gives: values that hold what they say, or a `FormatError`."""
    with suppress(FormatError):
        dump = Minidump(data)
        system = dump.system()
        for stream in dump.streams:
            assert 0 <= stream.rva <= stream.rva + stream.size
        for thread in dump.threads():
            if thread.context is not None:
                rva, size = thread.context
                assert 0 <= rva <= rva + size <= len(data)
                if system is not None:
                    with suppress(FormatError):
                        parse_context(data[rva : rva + size], system.processor_architecture)
        assert all(isinstance(name, str) for name in dump.thread_names().values())
        for module in dump.modules():
            assert 0 <= module.base < 1 << 64
            assert isinstance(module.name, str)
        dump.unloaded_modules()
        for block in dump.memory():
            assert 0 <= block.rva <= block.rva + block.size <= len(data)
            assert 0 <= block.start < block.start + block.size <= 1 << 64
        for kind in TEXTS:
            dump.text(kind)
        dump.read_all()
        assert all(problem.where and problem.what for problem in dump.problems)
        assert len(dump.problems) < 10_000
