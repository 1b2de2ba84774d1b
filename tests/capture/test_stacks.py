"""Real crashes through the kernel's handler: the stacks are those of a core of the same crash."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.programs.build import build, compiler_command
from tests.programs.cores import arguments
from tests.programs.table import BY_NAME, PROGRAMS, Program

from .kernel import Handler, check_same, crash

pytestmark = pytest.mark.oracle

NATIVE = [each.name for each in PROGRAMS if "kernel" in each.kinds and each.language == "c"]
OTHERS = [each.name for each in PROGRAMS if "kernel" in each.kinds and each.language != "c"]


def made(program: Program, root: Path) -> Path:
    return build(program, root)


def compiled(source: str, folder: Path, *flags: str, name: str = "program") -> Path:
    """A program of a few lines."""
    path = folder / name
    (folder / f"{name}.c").write_text(source)
    key = "gcc-m32" if "-m32" in flags else "gcc"
    command = [*compiler_command(key), "-O1", "-g", *[each for each in flags if each != "-m32"]]
    subprocess.run([*command, "-o", path, path.with_suffix(".c")], check=True)
    return path


@pytest.mark.parametrize("name", [*NATIVE, *OTHERS])
def test_the_stacks_are_the_cores(name: str, handler: Handler, programs_root: Path) -> None:
    program = BY_NAME[name]
    path = made(program, programs_root)
    if name == "deleted":  # by the program itself
        path = Path(shutil.copy2(path, handler.folder / "deleted"))
    command = [path, *arguments(program, path)]
    pid = crash(
        command, getattr(signal, program.signal), env=dict(program.environment),
        cwd=handler.folder,
    )  # fmt: skip
    report = check_same(handler, pid)
    assert report["target"]["pid"] == pid
    assert report["crash"]["signal"] == program.signal
    if program.root:
        (crashed,) = [each for each in report["threads"] if each["crashed"]]
        assert crashed["stop"]["reason"] == "root"


THREADS = """
#include <pthread.h>
#include <unistd.h>
static pthread_barrier_t started;
static int deep(int left) { return left ? deep(left - 1) + 1 : pause(); }
static void *work(void *number)
{
    char name[16] = "w000";
    int n = (long)number;
    name[1] += n / 100; name[2] += n / 10 % 10; name[3] += n % 10;
    pthread_setname_np(pthread_self(), name);
    pthread_barrier_wait(&started);
    return (void *)(long)deep(n % 7);
}
int main(void)
{
    pthread_barrier_init(&started, 0, COUNT);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    for (long each = 1; each < COUNT; each++) {
        pthread_t thread;
        if (pthread_create(&thread, &small, work, (void *)each)) return 1;
    }
    pthread_barrier_wait(&started);
    *(volatile int *)8 = 1;
}
"""


@pytest.mark.parametrize("flags", [(), ("-m32",)], ids=["64", "32"])
@pytest.mark.parametrize("count", [200, 2000])
def test_many_threads(
    count: int, flags: tuple[str, ...], handler: Handler, tmp_path: Path
) -> None:
    program = compiled(THREADS, tmp_path, "-pthread", f"-DCOUNT={count}", *flags)
    pid = crash([program])
    report = check_same(handler, pid)
    assert len(report["threads"]) == count
    names = {thread["name"] for thread in report["threads"]}
    assert {"w001", "w199"} <= names


BIG = """
#include <stdlib.h>
#include <string.h>
int main(void)
{
    char *memory = malloc(2000ul << 20);
    for (long at = 0; at < 2000l << 20; at += 4096) memory[at] = 0;
    *(volatile int *)8 = 1;
}
"""


@pytest.mark.slow
def test_a_process_of_two_gigabytes(handler: Handler, tmp_path: Path) -> None:
    program = compiled(BIG, tmp_path, "-fno-builtin")
    text = Path("/proc/meminfo").read_text()
    free = next(int(line.split()[1]) for line in text.splitlines() if "MemAvailable" in line)
    if free < 3 << 20 or shutil.disk_usage(handler.folder).free < 4 << 30:
        pytest.skip("no room for 2 GB")
    pid = crash([program])
    check_same(handler, pid)
    assert handler.core(pid).stat().st_size > 2000 << 20


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("abort();", signal.SIGABRT),
        ("raise(SIGQUIT);", signal.SIGQUIT),
        ("kill(getpid(), SIGBUS);", signal.SIGBUS),
        ("__builtin_trap();", signal.SIGILL),
        ("((void (*)(void))0x4141414141)();", signal.SIGSEGV),
    ],
)
def test_signals(text: str, number: int, handler: Handler, tmp_path: Path) -> None:
    head = "#include <signal.h>\n#include <stdlib.h>\n#include <unistd.h>\n"
    program = compiled(f"{head}int main(void) {{ {text} return 0; }}", tmp_path)
    report = check_same(handler, crash([program], number))
    assert report["crash"]["number"] == number


@pytest.mark.parametrize("how", ["deleted", "replaced", "upgraded"])
def test_files_that_are_not_there_any_more(
    how: str, handler: Handler, programs_root: Path, tmp_path: Path
) -> None:
    """The program and a library, as a package's upgrade while it runs."""
    source = "int crash(int *p) { return *p = 1; }\n"
    (tmp_path / "lib.c").write_text(source)
    library = tmp_path / "libcrash.so"
    subprocess.run(["gcc", "-O1", "-shared", "-o", library, tmp_path / "lib.c"], check=True)
    change = {
        "deleted": 'remove(argv[0]); remove("libcrash.so");',
        "replaced": 'remove(argv[0]); remove("libcrash.so"); write_it(argv[0]); '
        'write_it("libcrash.so");',
        "upgraded": 'write_it("new"); rename("new", "libcrash.so");',
    }[how]
    program = compiled(
        '#include <stdio.h>\nint crash(int *);\n'
        'static void write_it(const char *path) { FILE *f = fopen(path, "w"); '
        'fputs("\\x7f" "ELF rubbish", f); fclose(f); }\n'
        f"int main(int argc, char **argv) {{ {change} if (argc > 5) write_it(argv[1]); "
        "return crash((int *)8) + argc; }",
        tmp_path, "-L.", "-Wl,-rpath,$ORIGIN", f"-L{tmp_path}", "-Wl,--no-as-needed", "-lcrash",
    )  # fmt: skip
    check_same(handler, crash([program], cwd=tmp_path))


def test_two_crashes_at_once(handler: Handler, programs_root: Path) -> None:
    program = made(BY_NAME["threads"], programs_root)
    with ThreadPoolExecutor(6) as pool:
        pids = list(pool.map(lambda _: crash([program]), range(6)))
    assert len(handler.files("crasher")) == len(pids)
    for pid in pids:
        check_same(handler, pid)
    assert {path.stat().st_mode & 0o777 for path in handler.files()} == {0o600}
    assert not [each for each in os.listdir(handler.spool) if each.endswith(".tmp")]
