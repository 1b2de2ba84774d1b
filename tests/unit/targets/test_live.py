"""Reading live processes: whatever happens, they go on as if nothing had been."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.programs.running import (
    LIVE,
    LIVE_32,
    RESTLESS,
    eventually,
    is_free,
    is_parked,
    running,
    running_program,
    states,
)
from tests.programs.table import Program
from unspool.errors import InputError
from unspool.targets.base import Options
from unspool.targets.live import freeze
from unspool.targets.live.target import LiveTarget, open_live

SOURCE = Path(__file__).parents[3] / "src"
Start = Callable[..., contextlib.AbstractContextManager[subprocess.Popen[str]]]

pytestmark = pytest.mark.skipif(
    os.uname().machine not in ("x86_64", "aarch64"), reason="live processes of other hosts"
)


@pytest.fixture
def start(programs_root: Path) -> Start:
    """Runs a mode of live.c; skips the test where there is no compiler."""

    @contextlib.contextmanager
    def start_program(
        *arguments: str, program: Program = LIVE
    ) -> Iterator[subprocess.Popen[str]]:
        runs_on = arguments[0] in RESTLESS
        with running_program(program, programs_root, *arguments, runs_on=runs_on) as process:
            yield process
            if process.poll() is None:
                assert eventually(lambda: is_free(process.pid) or process.poll() is not None)

    return start_program


def capture(pid: int) -> LiveTarget:
    target = open_live(pid, Options())
    target.close()
    return target


def drain(process: subprocess.Popen[str]) -> list[str]:
    """The lines that a process goes on to say, as they come."""
    said: list[str] = []
    assert process.stdout is not None
    output = process.stdout

    def read() -> None:
        with contextlib.suppress(ValueError, OSError):  # closed at the test's end
            said.extend(output)

    threading.Thread(target=read, daemon=True).start()
    return said


def while_held(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Has something done in the moment in which all threads of the next target are stopped."""
    original = freeze._Work.check_program

    def check_program(work: Any, held: Any) -> None:
        action()
        original(work, held)

    monkeypatch.setattr(freeze._Work, "check_program", check_program)


# --- what is read -----------------------------------------------------------------------


@pytest.mark.parametrize("program", [LIVE, LIVE_32], ids=["64", "32"])
def test_reads_facts_threads_and_stacks(start: Start, program: Program) -> None:
    with start("park", program=program) as process, open_live(process.pid, Options()) as target:
        info = target.info
        assert (info.kind, info.pid) == ("live", process.pid)
        assert info.executable == os.path.realpath(str(process.args[0]))  # type: ignore[index]
        assert info.command_line is not None and info.command_line[1:] == ["park"]
        assert sorted(states(process.pid)) == [thread.tid for thread in target.threads]
        assert {thread.name for thread in target.threads} == {program.name[:15]}
        assert target.findings == [] and target.crash is None
        for thread in target.threads:
            assert thread.registers is not None
            pc = thread.registers[target.arch.pc]
            sp = thread.registers[target.arch.sp]
            assert pc is not None and sp is not None
            assert target.space.is_code(pc)
            assert target.space.memory.read(sp, 64)
            module = target.space.module_at(pc)
            assert module is not None and module.name in ("libc.so.6", "[vdso]")
        names = [module.name for module in target.modules]
        assert names[0] == program.name and "[vdso]" in names
        assert all(module.code_id for module in target.modules)


def test_takes_the_words_of_the_stack_as_they_are(start: Start) -> None:
    with start("park") as process:
        target = capture(process.pid)
        with open(f"/proc/{process.pid}/mem", "rb", buffering=0) as memory:
            for thread in target.threads:
                assert thread.registers is not None
                sp = thread.registers[target.arch.sp]
                assert sp is not None
                window = target.space.memory.window(sp)
                assert window is not None and window.low == sp - 128
                memory.seek(window.low)
                theirs = memory.read(window.high - window.low)
                assert target.space.memory.read(window.low, len(theirs)) == theirs


def test_leaves_other_writable_memory_unread(start: Start) -> None:
    with start("park") as process:
        target = capture(process.pid)
        held = [region for region in target.space.memory.regions if region.load]
        assert {region.path for region in held if region.writable} <= {"", "[stack]"}
        assert sum(region.writable for region in held) == len(target.threads)


def test_a_thread_id_means_its_process(start: Start) -> None:
    with start("park") as process:
        tid = max(states(process.pid))
        target = capture(tid)
        assert target.info.pid == process.pid and len(target.threads) == 3
        assert [finding.kind for finding in target.findings] == ["thread_id"]
        assert not target.findings[0].incomplete


def test_process_whose_first_thread_has_ended(start: Start) -> None:
    with start("leader") as process:
        assert eventually(lambda: "Z" in states(process.pid).values())
        with open_live(process.pid, Options()) as target:
            assert [thread.tid for thread in target.threads] == [max(states(process.pid))]
            assert target.findings == []
            assert target.info.executable is not None
            for module in target.modules:
                assert target.elf(module) is not None


# --- stacks that are not where one looks -----------------------------------------------


def test_a_huge_stack_is_cut_and_it_says_so(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    from unspool.targets.live import stacks

    monkeypatch.setattr(stacks, "_BUDGET", 1 << 20)
    monkeypatch.setattr(stacks, "_LEAST", 64 << 10)
    with start("deep", str(3 << 20)) as process:
        target = capture(process.pid)
        assert [finding.kind for finding in target.findings] == ["stack_cut"]
        assert "gcore" in (target.findings[0].detail or "")
        assert target.findings[0].incomplete and target.findings[0].threads == [1]
        copied = [r for r in target.space.memory.regions if r.writable and r.load]
        assert 1_000_000 < sum(region.end - region.start for region in copied) <= 1 << 20


def test_a_deep_stack_is_copied_whole(start: Start) -> None:
    with start("deep", str(5 << 20)) as process:
        target = capture(process.pid)
        assert target.findings == []
        copied = [r for r in target.space.memory.regions if r.writable and r.load]
        assert max(region.end - region.start for region in copied) > 5 << 20


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="where x86-64's kernel maps")
def test_a_stack_where_only_chance_puts_it(start: Start) -> None:
    """Go would ask for these addresses if 127 others were taken: see `_is_arena`."""
    with start("deep", "300000", "0x7fc0a3a2b000") as process:
        target = capture(process.pid)
        assert target.findings == []
        copied = [r for r in target.space.memory.regions if r.writable and r.load]
        assert max(region.end - region.start for region in copied) > 300_000


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="machine code of x86-64")
def test_code_made_at_run_time(start: Start) -> None:
    with start("jit") as process, open_live(process.pid, Options()) as target:
        codes = [
            region
            for region in target.space.memory.regions
            if region.executable and not region.path
        ]
        (code,) = codes
        assert target.space.memory.read(code.start, 8) == b"\x55\x48\x89\xe5\xff\xd7\x5d\xc3"


def test_without_process_vm_readv(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters of containers forbid it; /proc/PID/mem does the same more slowly."""
    from unspool.targets.live.ptrace import Calls

    with start("park") as process:
        expected = capture(process.pid)
        monkeypatch.setattr(Calls, "read_memory", lambda *_: -1)
        found = capture(process.pid)
        for thread in expected.threads:
            assert thread.registers is not None
            sp = thread.registers[expected.arch.sp] or 0
            window = expected.space.memory.window(sp)
            assert window is not None and window.high - window.low > 256
            size = window.high - window.low
            assert found.space.memory.read(window.low, size) == expected.space.memory.read(
                window.low, size
            )


# --- what happens to the process --------------------------------------------------------


def test_no_signal_is_lost_or_doubled(start: Start) -> None:
    with start("count") as process:
        with sender(process.pid) as sending:
            for _ in range(50):
                assert len(capture(process.pid).threads) == 16
            sent = finished(sending)
        assert sent[0] > 100
        assert eventually(lambda: counted(process) == sent)


def test_no_signal_is_lost_when_we_are_killed(start: Start) -> None:
    """Also: at no moment does killing unspool leave a thread stopped."""
    generator = random.Random(7)
    with start("count") as process, sender(process.pid) as sending:
        for _ in range(20):
            with forever_capturing(process.pid) as unspool:
                time.sleep(generator.random() * 0.03)
                unspool.kill()
                unspool.wait()
            assert eventually(lambda: is_free(process.pid))
        sent = finished(sending)
        assert sent[0] > 100
        assert eventually(lambda: counted(process) == sent)


@pytest.mark.parametrize("where", ["hold", "held_threads", "check_program", "results"])
def test_killed_while_it_holds(start: Start, where: str) -> None:
    with start("count") as process:
        with forever_capturing(process.pid, hang_in=where) as unspool:
            stopped = set(states(process.pid).values())
            assert stopped == {"t"} if where in ("held_threads", "check_program") else True
            unspool.kill()
            unspool.wait()
        assert eventually(lambda: is_free(process.pid))
        assert counted(process) == (0, 0)


def test_interrupted_from_the_keyboard(start: Start) -> None:
    with start("count") as process:
        with forever_capturing(process.pid) as unspool:
            time.sleep(0.05)
            unspool.send_signal(signal.SIGINT)
            unspool.wait(20)
        assert eventually(lambda: is_free(process.pid))


def test_an_error_while_it_holds_lets_go(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise MemoryError

    with start("park") as process:
        while_held(monkeypatch, fail)
        with pytest.raises(MemoryError):
            capture(process.pid)
        assert is_free(process.pid)


def test_a_stopped_process_stays_stopped(start: Start) -> None:
    with start("park") as process:
        os.kill(process.pid, signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        for _ in range(3):
            assert len(capture(process.pid).threads) == 3
            assert eventually(lambda: set(states(process.pid).values()) == {"T"})
            # Its parent is not told of another stop.
            assert os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG) is None
        os.kill(process.pid, signal.SIGCONT)
        assert eventually(lambda: is_parked(process.pid))


def test_stopped_while_held(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with start("park") as process:
        while_held(monkeypatch, lambda: os.kill(process.pid, signal.SIGSTOP))
        capture(process.pid)
        assert eventually(lambda: set(states(process.pid).values()) == {"T"})
        os.kill(process.pid, signal.SIGCONT)


def test_continued_while_held(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with start("park") as process:
        os.kill(process.pid, signal.SIGSTOP)
        assert eventually(lambda: set(states(process.pid).values()) == {"T"})
        while_held(monkeypatch, lambda: os.kill(process.pid, signal.SIGCONT))
        capture(process.pid)
        assert eventually(lambda: is_parked(process.pid))


def test_killed_itself_while_held(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with start("park") as process:
        while_held(monkeypatch, lambda: os.kill(process.pid, signal.SIGKILL))
        with contextlib.suppress(InputError):
            capture(process.pid)
        assert process.wait(20) == -signal.SIGKILL  # its parent still gets to know how


def test_threads_that_come_and_go(start: Start) -> None:
    """On a busy machine they may come faster than they are stopped, which is then said."""
    with start("spawn") as process:
        whole = 0

        def five_are_whole() -> bool:
            nonlocal whole
            target = capture(process.pid)
            assert target.threads and all(thread.registers for thread in target.threads)
            lacking = [each.kind for each in target.findings if each.incomplete]
            assert set(lacking) <= {"threads_missing"}
            whole += not lacking
            return whole == 5

        assert eventually(five_are_whole)


def test_threads_that_end_at_once(start: Start) -> None:
    with start("short") as process:
        for _ in range(30):
            target = capture(process.pid)
            assert target.threads[0].tid == process.pid
            assert all(thread.registers for thread in target.threads)


def test_a_process_that_becomes_another_program(start: Start) -> None:
    """execve ends all threads but one, which takes over the first one's id."""
    programs = set()

    def captured() -> bool:
        with contextlib.suppress(InputError):
            target = capture(process.pid)
            for thread in target.threads:
                pc = thread.registers[target.arch.pc] if thread.registers else None
                assert pc is None or target.space.is_code(pc)
            programs.add(str(target.info.command_line))
        return len(programs) > 10

    with start("exec", "1000000") as process:
        drain(process)
        assert eventually(captured)


def test_a_process_that_became_another_program(start: Start) -> None:
    with start("exec", "20") as process:
        said = drain(process)
        assert eventually(lambda: "done\n" in said)
        assert eventually(lambda: is_parked(process.pid))
        assert len(capture(process.pid).threads) == 17


def test_another_program_while_it_is_copied(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registers of the old program with memory of the new one would be a wrong answer."""
    ended = freeze.memory_ended
    answers = iter([False, True])
    asked = []

    def memory_ended(descriptor: int) -> bool:
        asked.append(next(answers, None))
        return ended(descriptor) if asked[-1] is None else asked[-1]

    monkeypatch.setattr(freeze, "memory_ended", memory_ended)
    with start("park") as process:
        assert len(capture(process.pid).threads) == 3
    assert asked == [False, True, None, None]


def test_a_thread_that_cannot_stop_is_let_go(start: Start) -> None:
    with start("vfork") as process:
        assert eventually(lambda: states(process.pid)[process.pid] == "D")
        target = capture(process.pid)
        assert target.held < 0.5
        first, second = target.threads
        assert first.registers is None and second.registers is not None
        (finding,) = target.findings
        assert finding.incomplete and finding.threads == [0]
        assert "vfork" in finding.title
        assert eventually(lambda: is_free(process.pid))


def test_a_process_that_does_not_answer(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seizing waits for as long as an execve takes, from a network disk for example."""
    from unspool.targets.live.ptrace import Calls

    released = threading.Event()
    monkeypatch.setattr(Calls, "seize", lambda *_: int(released.wait(20)))
    monkeypatch.setattr(freeze, "_GIVE_UP", 0.1)
    monkeypatch.setattr(freeze, "_PATIENCE", 0.01)
    with start("park") as process:
        with pytest.raises(InputError, match="did not answer"):
            capture(process.pid)
        released.set()


# --- what cannot be read ----------------------------------------------------------------


def test_no_such_process() -> None:
    for pid in (0, -1, 1 << 22, 1 << 40):
        with pytest.raises(InputError, match="no process"):
            open_live(pid, Options())


def test_itself() -> None:
    with pytest.raises(InputError, match="its own stacks"):
        open_live(os.getpid(), Options())
    with pytest.raises(InputError, match="its own stacks"):
        open_live(threading.get_native_id(), Options())


def test_its_parent(start: Start) -> None:
    """Nothing waits for the other here: the parent is stopped for a moment like any process."""
    done = run_unspool_code("open_live(os.getppid(), Options()); print('fine')")
    assert done.stdout == "fine\n", done.stderr


def test_a_process_that_has_ended() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(InputError, match="has ended"):
        open_live(process.pid, Options())
    assert process.wait() == 0


def test_a_thread_of_the_kernel() -> None:
    threads = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end meanwhile
            if not os.path.exists(path / "exe") and "kthreadd" in (path / "comm").read_text():
                threads.append(int(path.name))
    if not threads:
        pytest.skip("the kernel's threads are not visible here")
    with pytest.raises(InputError, match="thread of the kernel"):
        open_live(threads[0], Options())


def test_a_traced_process(start: Start) -> None:
    with start("park") as process:
        with tracer(*states(process.pid)) as other, pytest.raises(InputError) as refused:
            open_live(process.pid, Options())
        assert "already traced by python" in str(refused.value)
        assert f"(process {other.pid})" in str(refused.value)
        assert len(capture(process.pid).threads) == 3


def test_a_process_with_a_traced_thread(start: Start) -> None:
    with start("park") as process:
        traced = max(states(process.pid))
        with tracer(traced) as other:
            target = capture(process.pid)
            assert [bool(thread.registers) for thread in target.threads] == [True, True, False]
            (finding,) = target.findings
            assert finding.incomplete and f"process {other.pid}" in finding.title


def test_a_thread_that_is_traced_for_a_moment(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wine's server traces a thread that is being suspended; then it lets it go."""
    with start("park") as process:
        traced = max(states(process.pid))
        with tracer(traced) as other:
            original = freeze._Work.seize_refused

            def seize_refused(work: Any) -> None:
                assert list(work.snapshot.refused) == [traced]
                other.kill()
                other.wait()
                original(work)

            monkeypatch.setattr(freeze._Work, "seize_refused", seize_refused)
            target = capture(process.pid)
        assert all(thread.registers for thread in target.threads)
        assert target.findings == []


def test_no_permission() -> None:
    """What another user is told; one who may read no file any more, either."""
    if os.geteuid() == 0:
        with running(["sh", "-c", "echo ready; exec sleep 100"]) as process:
            said = run_unspool_code(
                "os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3)\n"
                f"open_live({process.pid}, Options())"
            ).stderr
        assert f"no permission to read process {process.pid}" in said
        assert "of user root" in said and "sudo" in said
    else:
        with pytest.raises(InputError, match="no permission to read process 1 "):
            open_live(1, Options())


@pytest.mark.parametrize(
    ("scope", "advice"), [("1", "ptrace_scope is 1"), ("2", "root alone"), ("3", "nobody")]
)
def test_yama_is_named(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scope: str, advice: str
) -> None:
    from unspool.targets.live import access

    path = tmp_path / "ptrace_scope"
    path.write_text(f"{scope}\n")
    monkeypatch.setattr(access, "_PTRACE_SCOPE", str(path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert advice in access._permission_hint({"Uid": "1000\t1000\t1000\t1000"})
    assert "that user" in access._permission_hint({"Uid": "0\t0\t0\t0"})


# --- files -----------------------------------------------------------------------------


def test_a_deleted_program(start: Start, programs_root: Path, tmp_path: Path) -> None:
    path = copy_of_live(programs_root, tmp_path)
    with running([path, "park"]) as process:
        path.unlink()
        with open_live(process.pid, Options()) as target:
            module = target.modules[0]
            elf = target.elf(module)
            assert elf is not None and elf.section(".symtab") is not None
            assert elf.build_id() == module.code_id
            assert module.path is not None and module.path.endswith("(deleted)")


def test_a_replaced_program(start: Start, programs_root: Path, tmp_path: Path) -> None:
    path = copy_of_live(programs_root, tmp_path)
    with running([path, "park"]) as process:
        path.unlink()
        path.write_bytes(Path("/bin/sh").read_bytes())
        with open_live(process.pid, Options()) as target:
            elf = target.elf(target.modules[0])
            assert elf is not None and elf.build_id() == target.modules[0].code_id
            assert target.modules[0].file != str(path)


def test_a_replaced_program_without_a_way_to_it(
    start: Start, programs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unspool.targets.live.modules import MappedPaths

    path = copy_of_live(programs_root, tmp_path)
    monkeypatch.setattr(MappedPaths, "candidates", lambda *_args, **_keywords: [str(path)])
    with running([path, "park"]) as process:
        path.unlink()
        path.write_bytes(Path("/bin/sh").read_bytes())
        with open_live(process.pid, Options()) as target:
            program = target.modules[0]
            elf = target.elf(program)  # what its memory holds
            assert elf is not None and elf.build_id() == program.code_id
            assert program.file is None
            assert "file_refused" in [finding.kind for finding in target.findings]
            start_of_code = target.space.entry_points[0]
            with open(f"/proc/{process.pid}/mem", "rb") as memory:
                memory.seek(start_of_code)
                code = memory.read(16)
            assert target.space.memory.read(start_of_code, 16) == code


def copy_of_live(root: Path, folder: Path) -> Path:
    from tests.programs.build import build

    original = build(LIVE, root)
    path = folder / "live"
    path.write_bytes(original.read_bytes())
    path.chmod(0o755)
    return path


def test_a_process_in_namespaces_of_its_own(
    start: Start, programs_root: Path, tmp_path: Path
) -> None:
    """Other ids inside, and a file system that is not mounted where we are."""
    path = copy_of_live(programs_root, tmp_path)
    inside = tmp_path / "inside"
    inside.mkdir()
    script = (
        f"mount -t tmpfs none {inside} && cp {path} {inside}/hidden && exec {inside}/hidden park"
    )
    command = ["unshare", "--pid", "--fork", "--mount", "sh", "-c", script]
    allowed = subprocess.run([*command[:-3], "true"], capture_output=True, check=False)
    if allowed.returncode:
        pytest.skip(f"no namespaces here: {allowed.stderr.decode().strip()}")
    with running(command) as outer:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        with open_live(int(children[0]), Options()) as target:
            assert len(target.threads) == 3
            assert target.threads[0].tid == int(children[0])
            program = target.modules[0]
            assert program.name == "hidden"
            elf = target.elf(program)
            assert elf is not None and elf.section(".symtab") is not None
        assert is_free(int(children[0]))


# --- helpers ---------------------------------------------------------------------------


def run_unspool_code(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"{_PRELUDE}\n{code}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


_PRELUDE = f"""
import os, sys, time
sys.path.insert(0, {str(SOURCE)!r})
from unspool.targets.live import freeze
from unspool.targets.base import Options
from unspool.targets.live.target import open_live
"""


@contextlib.contextmanager
def forever_capturing(pid: int, hang_in: str = "") -> Iterator[subprocess.Popen[str]]:
    """Another unspool that takes stacks all the time, or hangs in one of its steps."""
    code = textwrap.dedent(
        f"""
        def hang(*_):
            print("ready", flush=True)
            time.sleep(60)
        if {hang_in!r}:
            setattr(freeze._Work, {hang_in!r}, hang)
        else:
            print("ready", flush=True)
        while True:
            open_live({pid}, Options()).close()
        """
    )
    with running([sys.executable, "-c", f"{_PRELUDE}\n{code}"], stderr=subprocess.DEVNULL) as other:
        yield other


@contextlib.contextmanager
def sender(pid: int) -> Iterator[subprocess.Popen[str]]:
    """Queues real-time signals to a process all the time, many at once now and then."""
    code = f"""
import ctypes, os, signal, time
queue = ctypes.CDLL(None).sigqueue
queue.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
going = True
def end(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
count = total = 0
while going:
    if queue({pid}, signal.SIGRTMIN + 1, count % 1000) == 0:
        total += count % 1000
        count += 1
    if count % 50 > 10:
        time.sleep(0.00005)
print(count, total, flush=True)
"""
    with running([sys.executable, "-c", code]) as process:
        yield process


def finished(sending: subprocess.Popen[str]) -> tuple[int, int]:
    """Ends a sender: how many signals it has sent, and the sum of their values."""
    sending.send_signal(signal.SIGTERM)
    return two_numbers(sending)


def two_numbers(process: subprocess.Popen[str]) -> tuple[int, int]:
    assert process.stdout is not None
    first, second = process.stdout.readline().split()
    return int(first), int(second)


def counted(process: subprocess.Popen[str]) -> tuple[int, int]:
    """What the `count` program says: how many signals came, and the sum of their values."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return two_numbers(process)


@contextlib.contextmanager
def tracer(*tids: int) -> Iterator[subprocess.Popen[str]]:
    """Another program that traces threads."""
    code = f"""
import ctypes, time
ptrace = ctypes.CDLL(None).ptrace
ptrace.argtypes = (ctypes.c_long,) * 4
for tid in {tids!r}:
    ptrace(0x4206, tid, 0, 0)
print("ready", flush=True)
time.sleep(60)
"""
    with running([sys.executable, "-c", code]) as process:
        yield process


