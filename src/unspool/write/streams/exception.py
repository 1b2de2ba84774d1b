"""ExceptionStream: the signal that ended the process, in the fields of a Windows exception."""

from __future__ import annotations

from unspool.formats.minidump.names import DUMP_REQUESTED
from unspool.formats.minidump.structures import EXCEPTION, EXCEPTION_STREAM
from unspool.write.context import write_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.model import Crash, Thread
    from unspool.write.draft import Draft
    from unspool.write.output import Output


def write(draft: Draft, output: Output) -> bytes | None:
    """MINIDUMP_EXCEPTION_STREAM as Breakpad fills it on Linux.

    The code is the signal's number and the flags its `si_code`. Where nothing crashed, the
    stream says that somebody wanted a dump, and that of the first thread: readers take it for
    the one to show. A process's id that sent the signal is the only parameter;
    two parameters, both zero, say that the core does not tell the fault's address (those of
    qemu-user do not), which an address of 0 would.
    """
    threads, crash = draft.target.threads, draft.target.crash
    if not threads:
        return None
    thread = threads[_index(threads, crash)]
    record = {"ExceptionCode": DUMP_REQUESTED, "ExceptionAddress": _pc(draft, thread)}
    if crash is not None:
        known = [] if crash.sender_pid is None else [crash.sender_pid & 0xFFFFFFFF]
        if crash.code is None and crash.address is None:
            known = [0, 0]
        record = {
            "ExceptionCode": crash.number & 0xFFFFFFFF,
            "ExceptionFlags": (crash.code or 0) & 0xFFFFFFFF,
            "ExceptionAddress": crash.address or 0,
        }
        return _stream(draft, output, thread, EXCEPTION.pack(
            **record, NumberParameters=len(known), ExceptionInformation=known
        ))  # fmt: skip
    return _stream(draft, output, thread, EXCEPTION.pack(**record))


def _stream(draft: Draft, output: Output, thread: Thread, record: bytes) -> bytes:
    context = draft.contexts.get(thread.index) or write_context(draft, output, thread)
    return EXCEPTION_STREAM.pack(
        ThreadId=thread.tid & 0xFFFFFFFF, ExceptionRecord=record, ThreadContext=context
    )


def _index(threads: list[Thread], crash: Crash | None) -> int:
    if crash is None or crash.thread_index is None:
        return next((thread.index for thread in threads if thread.crashed), 0)
    return crash.thread_index if 0 <= crash.thread_index < len(threads) else 0


def _pc(draft: Draft, thread: Thread) -> int:
    registers = thread.registers
    return (registers[draft.target.arch.pc] or 0) if registers else 0
