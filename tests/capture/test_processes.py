"""Crashes of processes that are special: in containers, setuid, with secrets, under Wine."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs.build import build, tool
from tests.programs.running import eventually, has_ended
from tests.programs.table import BY_NAME, Program
from tests.wine.expected import scenarios
from tests.wine.flavours import FLAVOURS
from tests.wine.running import run_zoo
from tests.wine.zoo import VARIANTS
from tests.wine.zoo import build as build_zoo

from .kernel import Handler, check_same, crash, prepare
from .test_stacks import compiled

pytestmark = pytest.mark.oracle


def host_pid(handler: Handler, name: str) -> int:
    """The process of the program whose core there is."""
    pids = [int(core.name) for core in handler.cores.iterdir()]
    (pid,) = [
        pid
        for pid in pids
        if list(handler.spool.glob(f"*-{pid}.json.gz"))
        and handler.report(pid)["target"]["executable"].endswith(f"/{name}")
    ]
    return pid


@pytest.mark.parametrize("is_root_another", [False, True], ids=["same root", "root of its own"])
def test_a_process_in_namespaces_of_its_own(
    is_root_another: bool, handler: Handler, programs_root: Path, tmp_path: Path
) -> None:
    """As in a container: ids, mounts and paths are others there."""
    program = build(BY_NAME["threads"], programs_root)
    command = ["unshare", "--pid", "--fork", "--mount"]
    if is_root_another:
        root = tmp_path / "root"
        (root / "opt").mkdir(parents=True)
        shutil.copy2(program, root / "opt" / "inside")
        for library in ("lib", "lib64", "usr"):
            if Path("/", library).is_dir():
                (root / library).mkdir()
        binds = "; ".join(
            f"mount --rbind /{each} {root}/{each}" for each in ("lib", "lib64", "usr")
            if Path("/", each).is_dir()
        )  # fmt: skip
        # The file system is one that there is inside alone.
        inner = f"mount -t tmpfs none {root}/opt; cp {program} {root}/opt/inside; {binds}"
        command += ["sh", "-c", f"{inner}; exec chroot {root} /opt/inside"]
    else:
        command += [str(program)]
    done = subprocess.run(command, preexec_fn=prepare, capture_output=True, check=False)
    if b"unshare failed" in done.stderr or not list(handler.cores.iterdir()):
        pytest.skip(f"no namespaces here: {done.stderr!r}")
    pid = host_pid(handler, "inside" if is_root_another else program.name)
    report = check_same(handler, pid)
    assert report["capture"]["host_pid"] == pid
    assert report["target"]["pid"] != pid
    tids = {thread["tid"] for thread in report["threads"]}
    assert max(tids) < 100 < pid
    assert report["capture"]["host_tid"] not in tids
    names = {thread.get("name") for thread in report["threads"]}
    assert {"crasher", "worker-1"} <= names
    # Files were found: without them unwind data would come from memory, but no build ids.
    assert all(module.get("code_id") for module in report["modules"])


SETUID = """
#include <stdlib.h>
#include <unistd.h>
int main(void) { if (getuid() != 1234 || geteuid() != 0) return 3; abort(); }
"""


@contextlib.contextmanager
def suid_dumpable(value: str) -> Iterator[None]:
    path = Path("/proc/sys/fs/suid_dumpable")
    before = path.read_text()
    try:
        path.write_text(value)
    except OSError:
        pytest.skip("only root may set fs.suid_dumpable")
    try:
        yield
    finally:
        path.write_text(before)


def as_user(command: list[str | Path], folder: Path) -> None:
    folder.chmod(0o755)
    words = [tool("setpriv"), "--reuid=1234", "--regid=1235", "--clear-groups", *map(str, command)]
    subprocess.run(words, preexec_fn=prepare, capture_output=True, check=False, cwd="/")


@pytest.mark.parametrize("handler", [("--users-may-read", "true")], indirect=True)
def test_a_setuid_programs_report_is_roots(handler: Handler, tmp_path: Path) -> None:
    built = compiled(SETUID, tmp_path)
    program = Path(shutil.copy2(built, handler.folder / "setuid"))
    program.chmod(0o4755)
    with suid_dumpable("2"):
        as_user([program], handler.folder)
    pid = host_pid(handler, "setuid")
    report = check_same(handler, pid)
    status = handler.report_file(pid).stat()
    assert (status.st_uid, status.st_mode & 0o7777) == (0, 0o600)
    assert report["capture"]["dump_mode"] == 2
    assert report["capture"]["uid"] == "1234"


@pytest.mark.parametrize("handler", [("--users-may-read", "true")], indirect=True)
def test_a_users_program(handler: Handler, programs_root: Path) -> None:
    built = build(BY_NAME["chain-O2"], programs_root)
    program = shutil.copy2(built, handler.folder / "chain")
    as_user([program], handler.folder)
    pid = host_pid(handler, "chain")
    check_same(handler, pid)
    status = handler.report_file(pid).stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1234, 1235, 0o600)
    assert handler.spool.stat().st_mode & 0o7777 == 0o711


# --- secrets -------------------------------------------------------------------------------

MEMORY = (b"SecretONstack", b"VectorSecret", b"HeapSecr")
ENVIRONMENT, ARGUMENT = b"value-of-a-variable", b"--token=hunter2"
SECRETS = Program(
    name="secrets", source="secrets.c", flags=("-O1", "-g"), ours=("inner", "outer", "main")
)


def secrets_in(data: bytes) -> set[bytes]:
    """Which secrets there are in bytes: as text, in hex of either order, or the half of one."""
    found = set()
    for secret in (*MEMORY, ENVIRONMENT, ARGUMENT):
        for part in (secret[:8], secret[-8:]):
            forms = (part, part.hex().encode(), part[::-1].hex().encode())
            if any(form in data.lower() or form in data for form in forms):
                found.add(secret)
    return found


@pytest.mark.parametrize("compiler", ["gcc", "gcc-m32"])
@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        ((), set()),
        (("--arguments", "hashed", "--environment", "hashed"), set()),
        (("--arguments", "in", "--environment", "in"), {ENVIRONMENT, ARGUMENT}),
    ],
    indirect=["handler"],
    ids=["default", "hashed", "in"],
)
def test_secrets_stay_on_the_device(
    expected: set[bytes], compiler: str, handler: Handler, programs_root: Path
) -> None:
    variant = SECRETS.variant(f"secrets-{compiler}", compiler=compiler)
    program = build(variant, programs_root)
    command = [program, "crash", ARGUMENT.decode()]
    pid = crash(command, env={"SECRET": ENVIRONMENT.decode()})
    core = handler.core(pid).read_bytes()
    assert secrets_in(core) >= {*MEMORY[:2], ENVIRONMENT, ARGUMENT}, "they were there"
    data = gzip.decompress(handler.report_file(pid).read_bytes())
    assert secrets_in(data) == expected
    if expected == set():
        everything = b"".join(
            path.read_bytes() for path in handler.spool.rglob("*") if path.is_file()
        )
        assert not secrets_in(everything)


SMASHED = """
#include <string.h>
__attribute__((noinline)) static void smash(const char *what)
{
    volatile char local[8];
    for (int at = 0; at < 64; at++) local[at] = what[at % 8];
    asm volatile("mov (%0), %%rbx; mov (%0), %%r12; mov (%0), %%rax" : : "r"(what)
                 : "rbx", "r12", "rax");
}
int main(void) { char what[9]; for (int at = 0; at < 8; at++) what[at] = "SECRETWO"[at] ^ 1;
                 what[8] = 0; smash(what); return 0; }
"""


@pytest.mark.parametrize("handler", [("--fault-address", "out")], indirect=True)
def test_a_stack_that_was_overwritten_tells_nothing(handler: Handler, tmp_path: Path) -> None:
    program = compiled(SMASHED, tmp_path, "-fno-stack-protector", "-fno-omit-frame-pointer")
    pid = crash([program])
    word = bytes(each ^ 1 for each in b"SECRETWO")
    assert word in handler.core(pid).read_bytes()
    data = gzip.decompress(handler.report_file(pid).read_bytes())
    reverse = word[::-1].hex().encode()
    for part in (word, word.hex().encode(), reverse, reverse[2:]):
        assert part not in data
    assert handler.report(pid)["threads"][0]["frames"]


NAMELESS = ("--paths", "hashed", "--module-names", "hashed", "--thread-names", "out")


@pytest.mark.parametrize("handler", [NAMELESS], indirect=True)
def test_names_and_paths_stay_too_if_that_is_wanted(handler: Handler, programs_root: Path) -> None:
    program = build(BY_NAME["threads"], programs_root)
    pid = crash([program])
    data = gzip.decompress(handler.report_file(pid).read_bytes())
    for word in (b"threads\"", b"libc", b"ld-linux", b"worker", b"crasher", b"pytest"):
        assert word not in data.replace(b'"threads":', b"")
    assert "crasher" not in handler.report_file(pid).name
    assert all(module["code_id"] for module in handler.report(pid)["modules"])


# --- minidumps and other forms -----------------------------------------------------------------


@pytest.mark.parametrize(
    "handler", [("--minidump", "full"), ("--minidump", "sanitized")], indirect=True
)
def test_a_minidump_beside_the_report(handler: Handler, programs_root: Path) -> None:
    from .kernel import stack_of

    program = build(BY_NAME["threads"], programs_root)
    pid = crash([program])
    check_same(handler, pid)
    (dump,) = handler.spool.glob(f"*-{pid}.dmp")
    assert dump.stem == handler.report_file(pid).name.removesuffix(".json.gz")
    assert dump.stat().st_mode & 0o777 == 0o600
    there = [
        [frame["pc"] for frame in thread["frames"]] for thread in stack_of(dump)["threads"]
    ]
    expected = [
        [frame["pc"] for frame in thread["frames"]] for thread in handler.report(pid)["threads"]
    ]
    assert sorted(there) == sorted(expected)


@pytest.mark.parametrize("handler", [("--format", "memfault")], indirect=True)
def test_the_form_of_memfault(handler: Handler, programs_root: Path) -> None:
    program = build(BY_NAME["chain-O2"], programs_root)
    report = handler.report(crash([program, ARGUMENT.decode()]))
    assert report["version"] == "1"
    assert report["signal"] == "SIGSEGV"
    assert "hunter2" not in str(report)
    assert len(report["threads"][0]["pcs"]) >= 5


@pytest.mark.parametrize("handler", [("--format", "minidump-stackwalk")], indirect=True)
def test_the_form_of_minidump_stackwalk(handler: Handler, programs_root: Path) -> None:
    program = build(BY_NAME["threads"], programs_root)
    report = handler.report(crash([program]))
    assert report["crash_info"]["crashing_thread"] == 0
    assert len(report["threads"]) == 6


@pytest.mark.parametrize("handler", [("--minidump", "full", "--quota-mb", "1")], indirect=True)
def test_a_minidump_that_is_too_big_is_left_out(handler: Handler, tmp_path: Path) -> None:
    source = (
        "int deep(int left) { volatile char room[4096]; room[0] = left; room[4095] = 1;"
        " return left ? deep(left - 1) + room[0] : *(volatile int *)8; }"
        "int main(void) { return deep(700); }"
    )
    pid = crash([compiled(source, tmp_path)])
    assert len(handler.report(pid)["threads"][0]["frames"]) > 700
    assert not list(handler.spool.glob(f"*-{pid}.dmp"))


# --- Wine ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FLAVOURS)
def test_wine(name: str, handler: Handler, wine_root: Path) -> None:
    flavour, variant = FLAVOURS[name], VARIANTS["O2"]
    zoo = build_zoo(flavour, variant, wine_root)
    with run_zoo(flavour, zoo, scenarios(flavour, variant, (2, 40)), wine_root) as running:
        Path(f"/proc/{running.pid}/coredump_filter").write_text("0x33")
        os.kill(running.pid, signal.SIGXCPU)
        assert eventually(lambda: has_ended(running.pid))
        sysroot = ("--sysroot", str(flavour.sysroot)) if flavour.sysroot else ()
        report = check_same(handler, running.pid, "--symbols", str(zoo.folder), *sysroot)
    assert report["target"]["wine"]["version"]
    assert len(report["threads"]) >= len(running.threads)
    kinds = {segment["kind"] for each in report["threads"] for segment in each["segments"]}
    assert {"unix", "windows"} <= kinds
