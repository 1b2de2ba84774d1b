"""Whole stacks of every release's layout: those that no machine at hand can run as well."""

from __future__ import annotations

import pytest

from tests.build.wine_eras import ERAS, WITH_CALLBACKS
from tests.unit.unwind.wine_walks import check, made

WITH_UNIX_CALLS = [each for each in ERAS if int(each[0].split(".")[0]) >= 8]
every = pytest.mark.parametrize(("version", "bits"), ERAS)
with_callbacks = pytest.mark.parametrize(("version", "bits"), WITH_CALLBACKS)
with_unix_calls = pytest.mark.parametrize(("version", "bits"), WITH_UNIX_CALLS)


@every
def test_threads_that_wait_in_a_system_call(version: str, bits: int) -> None:
    """Each caller needs another register that the switch has to bring back."""
    process = made(version, bits)
    process.thread().call("main", "recurse", "work", "odd").syscall()
    process.thread().call("window_procedure", "deep", "filter").syscall(
        "NtUserGetMessage", "server_wait", "read"
    )
    process.thread().call(*["recurse"] * 40).syscall("NtCreateWindow", "send_message")
    check(process)


@every
def test_a_thread_in_windows_code_has_a_stale_frame(version: str, bits: int) -> None:
    """Its newest frame describes the last system call, which is over."""
    process = made(version, bits)
    process.thread().call("main", "recurse").syscall().go_back().call("work", "deep")
    process.thread().call("odd", "odd", "odd").syscall().go_back()
    process.thread().call("main")
    check(process)


@with_unix_calls
def test_calls_of_unix_libraries(version: str, bits: int) -> None:
    process = made(version, bits)
    process.thread().call("main", "unix_caller").unix_call()
    process.thread().call("work", "odd").unix_call("unix call", "read")
    process.thread().call("main", "RtlFirst").unix_call("read")
    check(process)


@with_callbacks
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_callbacks(version: str, bits: int, depth: int) -> None:
    process = made(version, bits)
    for last in ("syscall", "windows", "stale"):
        thread = process.thread().call("main", "recurse", "odd")
        for level in range(depth):
            thread.syscall("NtCreateWindow", *["send_message"] * (level + 1))
            thread.callback("window_procedure", "deep", "work")
        if last != "windows":
            thread.syscall("NtUserGetMessage", "server_wait")
        if last == "stale":
            thread.go_back().call("filter")
    check(process)


@with_callbacks
def test_a_callback_with_much_to_say(version: str, bits: int) -> None:
    process = made(version, bits)
    thread = process.thread().call("main").syscall("NtCreateWindow")
    thread.callback("window_procedure", length=0x3000).syscall()
    check(process)


@with_unix_calls
def test_callbacks_out_of_unix_libraries(version: str, bits: int) -> None:
    """A driver that calls back: both dispatchers on one stack."""
    process = made(version, bits)
    thread = process.thread().call("main", "unix_caller").unix_call("unix call", "send_message")
    thread.callback("window_procedure", "unix_caller").unix_call("read")
    check(process)


@every
def test_exceptions(version: str, bits: int) -> None:
    """The interrupted code's registers are in the CONTEXT alone."""
    process = made(version, bits)
    process.thread().call("main", "odd", "deep").exception("dispatch_exception", "filter").syscall()
    process.thread().call("main", "work").exception()
    thread = process.thread().call("recurse").exception("dispatch_exception", "recurse")
    thread.exception("dispatch_exception", "odd").syscall("NtUserGetMessage")
    check(process)


@with_callbacks
def test_an_exception_in_a_callback(version: str, bits: int) -> None:
    process = made(version, bits)
    thread = process.thread().call("main").syscall("NtCreateWindow", "send_message")
    thread.callback("window_procedure").exception("dispatch_exception").syscall()
    check(process)


@every
def test_apcs(version: str, bits: int) -> None:
    process = made(version, bits)
    process.thread().call("main", "deep", "odd").apc("work").syscall()
    check(process)


@every
def test_suspended_threads(version: str, bits: int) -> None:
    """Blocked in a signal handler, on the third of their stacks."""
    process = made(version, bits)
    process.thread().call("main", "odd").signal("handler", "wait_suspend")
    process.thread().call("main", "deep").syscall("NtWaitForSingleObject", "read").signal()
    process.thread().call("recurse").syscall().go_back().call("work").signal("wait_suspend")
    check(process)


@with_callbacks
def test_suspended_threads_in_callbacks(version: str, bits: int) -> None:
    process = made(version, bits)
    thread = process.thread().call("main").syscall("NtCreateWindow", "send_message")
    thread.callback("window_procedure", "odd").signal("wait_suspend")
    thread = process.thread().call("main").syscall("NtCreateWindow", "send_message")
    thread.callback("window_procedure", "odd").syscall("NtUserGetMessage", "read").signal()
    check(process)


@with_callbacks
@pytest.mark.parametrize("label", ["", "tkg", "99.9", "6.0", "8.16", "10.0-rc1"])
def test_versions_that_are_unknown_or_wrong(version: str, bits: int, label: str) -> None:
    """Forks name themselves as they like: what the memory holds counts."""
    process = made(version, bits, label=f"{label} (Fork)")
    thread = process.thread().call("main", "odd").syscall("NtCreateWindow", "send_message")
    thread.callback("window_procedure", "deep").syscall("NtCreateWindow", "send_message")
    thread.callback("work").syscall()
    process.thread().call("main").exception("dispatch_exception").syscall()
    check(process)
