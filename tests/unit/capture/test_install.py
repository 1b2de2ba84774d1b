"""What the installation does, and what it refuses."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from unspool.capture import install
from unspool.capture.config import Config
from unspool.cli import main
from unspool.errors import InputError


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder of a short name, however long those of other tests are: the kernel takes 127
    bytes, the program's path among them."""
    with tempfile.TemporaryDirectory(prefix="u", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def system(short: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel's settings as files, and a program to install."""
    tmp_path = short
    kernel = tmp_path / "sys" / "kernel"
    kernel.mkdir(parents=True)
    (kernel / "core_pattern").write_text("|/usr/lib/other %p\n")
    (kernel / "core_pipe_limit").write_text("0\n")
    (tmp_path / "sys/fs").mkdir()
    (tmp_path / "sys/fs/suid_dumpable").write_text("2\n")
    (tmp_path / "etc").mkdir()
    monkeypatch.setattr(install, "SYSCTLS", str(kernel))
    monkeypatch.setattr(install, "STATE", str(tmp_path / "lib/state.json"))
    monkeypatch.setattr(install, "SYSCTL_FILE", str(tmp_path / "etc/99-unspool.conf"))
    monkeypatch.setattr("unspool.capture.config.PATH", str(tmp_path / "none.toml"))
    monkeypatch.setattr(install, "_HOMES", ("/home/",))
    # What a test's folder is on is not what is tested.
    monkeypatch.setattr(install, "_check_only_root_writes", lambda path, what: None)
    program(tmp_path)
    return tmp_path


def program(folder: Path, first: str = f"#!{os.path.realpath(sys.executable)}") -> Path:
    path = folder / "unspool"
    path.write_text(f"{first}\n")
    path.chmod(0o755)
    return path


def setting(system: Path, name: str = "core_pattern") -> str:
    return (system / "sys/kernel" / name).read_text().strip()


def run(system: Path, *words: str) -> int:
    return main(["capture", *words, *(("--program", f"{system}/unspool") if words[0] == "install"
                                      else ())])  # fmt: skip


def test_what_is_said_is_what_the_installed_handler_does(
    system: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its options are in core_pattern, and count more than the file."""
    spool = system / "r"
    spool.mkdir()
    (spool / "1-a-1.json.gz").write_bytes(b"abc")
    (system / "o").write_text('[privacy]\nuser = "out"\n')
    assert run(system, "install", f"--directory={spool}") == 0
    capsys.readouterr()
    assert run(system, "status") == 0
    assert f"spool            {spool}, 1 file, 3 bytes" in capsys.readouterr().out
    assert run(system, "status", f"--directory={system}/x") == 0
    assert f"{system}/x, which the first crash makes" in capsys.readouterr().out
    assert run(system, "install", f"--config={system}/o", "--arguments=in") == 0
    capsys.readouterr()
    assert main(["capture", "--explain-privacy"]) == 0
    told = capsys.readouterr().out
    assert "  command line: in  (privacy.arguments)\n" in told
    assert "  user and group: out  (privacy.user)\n" in told
    assert run(system, "uninstall") == 0
    (system / "sys/kernel/core_pattern").write_text("|/x/unspool capture handle --new=1 %P\n")
    assert run(system, "status") == 0, "options of another version are left out"


def test_there_and_back(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(system, "status") == 1
    assert run(system, "install", "--sysctl") == 0
    pattern = f"|{system}/unspool capture handle %P %I %s %u %g %d %t %h %e"
    assert (setting(system), setting(system, "core_pipe_limit")) == (pattern, "8")
    written = (system / "etc/99-unspool.conf").read_text()
    assert f"kernel.core_pattern = {pattern}\n" in written
    assert "kernel.core_pipe_limit = 8\n" in written
    capsys.readouterr()
    assert run(system, "status") == 0
    told = capsys.readouterr().out
    assert "former setting   |/usr/lib/other %p" in told
    assert "reports, for root alone" in told
    assert run(system, "uninstall") == 0
    assert setting(system) == "|/usr/lib/other %p"
    assert setting(system, "core_pipe_limit") == "0"
    assert not list((system / "etc").iterdir())
    assert not list((system / "lib").iterdir())


def test_twice_keeps_what_was_before_the_first(system: Path) -> None:
    run(system, "install")
    run(system, "install", "--at-once", "3")
    run(system, "install")
    run(system, "uninstall")
    assert setting(system) == "|/usr/lib/other %p"
    assert run(system, "uninstall") == 0
    assert setting(system) == "|/usr/lib/other %p"


def test_a_dry_run_changes_nothing(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(system, "install", "--sysctl", "--dry-run") == 0
    assert "core_pattern = |" in capsys.readouterr().out
    assert setting(system) == "|/usr/lib/other %p"
    assert not (system / "lib").exists()
    run(system, "install")
    run(system, "uninstall", "--dry-run")
    assert " capture handle " in setting(system)


def test_what_somebody_else_has_set_since_stays(system: Path) -> None:
    run(system, "install")
    (system / "sys/kernel/core_pattern").write_text("|/third %p")
    assert run(system, "uninstall") == 0
    assert setting(system) == "|/third %p"


def test_options_become_a_part_of_the_pattern(system: Path) -> None:
    assert run(system, "install", "--quota-mb", "7") == 0
    assert " capture handle --quota-mb=7 %P " in setting(system)


def refused(words: list[str]) -> str:
    with pytest.raises(InputError) as caught:
        install.plan_install(words[0], Config(), options=words[1:])
    return str(caught.value)


def test_what_would_not_work_is_refused(system: Path) -> None:
    good = f"{system}/unspool"
    assert "the kernel takes 127" in refused([good, "--config=/" + "x" * 100])
    assert "splits core_pattern at spaces" in refused([good, "--config=/a b"])
    assert "% means something" in refused([good, "--config=/%d"])
    assert "no absolute path" in refused(["unspool"])
    assert "No such file" in refused([f"{system}/nothing"])
    assert "no regular file" in refused([str(system)])
    program(system, "#!/usr/bin/env python3")
    assert "looked for by env" in refused([good])
    program(system, "#!/nonexistent/python3")
    assert "the interpreter of" in refused([good])
    program(system, "#!python3")
    assert "no absolute path" in refused([good])
    program(system, "echo")
    assert "neither an ELF program nor a script" in refused([good])
    program(system).chmod(0o644)
    assert "not executable" in refused([good])


def test_places_that_come_and_go(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "_HOMES", (f"{system}/",))
    good = f"{system}/unspool"
    assert "comes and goes" in refused([good])
    assert install.plan_install(good, Config(), force=True)
    monkeypatch.setattr(install, "_HOMES", ())
    mounts = system / "mounts"
    mounts.write_text(
        f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / {system} rw - nfs4 server:/x rw\n"
    )
    monkeypatch.setattr(install, "MOUNTS", str(mounts))
    assert "a file system of the kind nfs4" in refused([good])
    monkeypatch.setattr(install, "INIT_ROOT", f"{system}/nowhere")
    assert "not there outside of this container" in refused([good])


def test_a_program_that_others_can_change(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    path = program(folder)
    install._check_only_root_writes(str(path), "it")
    folder.chmod(0o777)
    with pytest.raises(InputError, match="can be written to by others"):
        install._check_only_root_writes(str(path), "it")
    folder.chmod(0o755)
    path.chmod(0o775)
    with pytest.raises(InputError, match="can be written to by others"):
        install._check_only_root_writes(str(path), "it")
    if os.geteuid() == 0:
        path.chmod(0o755)
        os.chown(path, 1234, 1234)
        with pytest.raises(InputError, match="belongs to another user"):
            install._check_only_root_writes(str(path), "it")


def test_a_state_that_is_broken(system: Path) -> None:
    run(system, "install")
    (system / "lib/state.json").write_text("{")
    with pytest.raises(InputError, match="is broken"):
        install.plan_uninstall()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
def test_who_is_not_root(system: Path) -> None:
    (system / "sys/kernel/core_pattern").chmod(0o444)
    assert "run as root" in refused([f"{system}/unspool"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no ACTION"),
        (["reinstall"], "reinstall: no action"),
        (["install", "now"], "now: too much"),
        (["handle"], "no arguments of the kernel's"),
        (["handle", "1", "2"], "no arguments of the kernel's"),
        (["--seconds", "0", "status"], "--seconds 0: it is at least 1"),
        (["status", "--paths=maybe"], "--paths maybe: it is in, hashed or out"),
    ],
)
def test_usage(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", *words]) == 64
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_broken_file_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[spool]\nquota = 1\n")
    assert main(["capture", "--explain-privacy", "--config", str(path)]) == 2
    assert "did you mean" in capsys.readouterr().err
