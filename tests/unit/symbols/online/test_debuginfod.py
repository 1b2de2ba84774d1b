"""Downloading by build id, and everything that a server can do wrong.

Limits are short where a server is slow, and no test depends on how short: what is checked is
that there is an end, what is said of it, and that the rest is named all the same.
"""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from base64 import b64encode
from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.unit.symbols.online import server as faults
from tests.unit.symbols.online.conftest import Serve
from tests.unit.symbols.online.server import Fault, Server
from tests.unit.symbols.test_elsewhere import build_id_of, here, sent
from unspool import api
from unspool.model import Location, Module, Report
from unspool.render.json import dumps
from unspool.render.json_reader import loads
from unspool.symbols.online import fetch, settings
from unspool.symbols.online import servers as servers_


class Case:
    """A report, what it is with names, and the build id and bytes of its program."""

    def __init__(self, program: Path, tool: Tool) -> None:
        self.build_id = build_id_of(program)
        self.data = program.read_bytes()
        bare, self.expected = here(program, tool)
        self.sent = dumps(sent(bare, program))
        self.path = f"/buildid/{self.build_id}/debuginfo"
        self.other = f"/buildid/{self.build_id}/executable"

    def fresh(self) -> Case:
        self.report = loads(self.sent)
        return self


_cases: list[Case] = []


@pytest.fixture
def case(classes: Path, tool: Tool, tmp_path: Path) -> Case:
    """Made once, by the first test; its program is nowhere any more."""
    if not _cases:
        _cases.append(Case(Path(shutil.copy(classes, tmp_path / "classes")), tool))
    return _cases[0].fresh()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "debuginfod_client"


def ask(monkeypatch: pytest.MonkeyPatch, *servers: Server, **limits: float) -> None:
    """These are the servers; the limits are those of the first."""
    monkeypatch.setenv("DEBUGINFOD_URLS", " ".join(each.url for each in servers))
    if limits:
        limited(monkeypatch, servers[0].url, **limits)


def limited(monkeypatch: pytest.MonkeyPatch, url: str, **limits: float) -> None:
    """Other servers have the time that they need, however busy the machine is."""

    def servers(of: settings.Settings) -> list[servers_.Server]:
        found = servers_.servers_of(of)
        for server in found:
            if server.url == url:
                server.limits = settings.Limits(**limits)  # type: ignore[arg-type]
        return found

    monkeypatch.setattr(fetch, "servers_of", servers)


def name(report: Report) -> tuple[Report, list[str], int]:
    named, missing = api.symbolicate(report, online=True)
    told = [each.title for each in named.findings if each.kind == "download"]
    return named, told, len(missing)


def test_a_file_comes_into_the_cache_of_debuginfods_client(
    case: Case, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files[case.path] = case.data
    ask(monkeypatch, server)
    named, told, missing = name(case.report)
    assert (named.locations, told, missing) == (case.expected.locations, [], 0)
    kept = cache / case.build_id / "debuginfo"
    assert kept.read_bytes() == case.data
    assert kept.stat().st_mode & 0o777 == 0o400
    assert list(kept.parent.iterdir()) == [kept]
    assert list((cache.parent / "unspool" / "partial").iterdir()) == []
    name(case.report)
    assert server.asked == [case.path]
    assert api.symbolicate(case.report)[0].locations == case.expected.locations


def test_nothing_is_asked_without_online(
    case: Case, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(monkeypatch, server)
    assert len(api.symbolicate(case.report)[1]) == 1
    assert server.asked == []


def test_a_program_where_there_is_no_debug_file(
    case: Case, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files[case.other] = case.data
    ask(monkeypatch, server)
    named, told, missing = name(case.report)
    assert (named.locations, told, missing) == (case.expected.locations, [], 0)
    assert server.asked == [case.path, case.other]


def test_a_file_that_nobody_has_is_not_asked_for_again_for_a_while(
    case: Case, serve: Serve, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = serve(), serve()
    ask(monkeypatch, first, second)
    _, told, missing = name(case.report)
    assert (told, missing) == ([], 1)
    assert first.asked == second.asked == [case.path, case.other]
    mark = cache / case.build_id / "debuginfo"
    assert mark.stat().st_size == 0
    first.files[case.path] = case.data
    name(case.report)
    assert len(first.asked) == 2
    os.utime(mark, (time.time() - 601, time.time() - 601))
    named, _, missing = name(case.report)
    assert (named.locations, missing) == (case.expected.locations, 0)


def test_how_long_a_file_counts_as_absent(
    case: Case, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(monkeypatch, server)
    name(case.report)
    (cache / "cache_miss_s").write_text("100000\n")
    for mark in (cache / case.build_id).iterdir():
        os.utime(mark, (time.time() - 5000, time.time() - 5000))
    name(case.report)
    assert len(server.asked) == 2


FAULTS: dict[str, tuple[Fault, str]] = {
    "hangs": (faults.hangs, "it sent less than 100 KB"),
    "hangs in the body": (faults.hangs_in_the_body, "it sent less than 100 KB"),
    "drips the head": (faults.drips_the_head, "it sent less than 100 KB"),
    "drips the body": (faults.drips_the_body, "it sent less than 100 KB"),
    "drips without end": (faults.drips_without_end, "it sent less than 100 KB"),
    "resets": (faults.resets, "the connection broke"),
    "resets in the body": (faults.resets_in_the_body, "the connection broke"),
    "ends early": (faults.ends_early, "the connection broke"),
    "ends early, unsaid": (faults.ends_early_and_claims_it_is_all, "was refused: "),
    "no HTTP": (faults.speaks_no_http, "the connection broke"),
    "endless headers": (faults.has_endless_headers, "the connection broke"),
    "huge": (faults.is_huge, "larger than"),
    "less than nothing": (faults.lies_of_the_length, "it sent less than 100 KB"),
    "never stops": (faults.never_stops, "larger than"),
    "redirects for ever": (faults.redirects_for_ever, "redirects for ever"),
    "redirects to a file": (faults.redirects_to("file:///etc/passwd"), "which is not followed"),
    "redirects nowhere": (faults.redirects_to(""), "which is not followed"),
    "redirects to nonsense": (faults.redirects_to("http://[::"), ""),
    "wrong file": (faults.gives(b"\x7fELF garbage"), "was refused: it is no ELF file"),
    "a page": (faults.gives(b"<html>404</html>"), "was refused: it is no ELF file"),
    "nothing": (faults.gives(b""), "was refused: it is no ELF file"),
    "bad gzip": (faults.gives(b"garbage", Content_Encoding="gzip"), "cannot be unpacked"),
    "unknown encoding": (faults.gives(b"abc", Content_Encoding="br"), "nobody asked for: br"),
    "500": (faults.answers(500), "it answered 500"),
    "503": (faults.answers(503), "it answered 503"),
    "403": (faults.answers(403), "it answered 403"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_said_and_the_next_server_is_asked(
    fault: str, case: Case, serve: Serve, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = serve(), serve()
    bad.fault, words = FAULTS[fault]
    bad.files[case.path] = case.data
    good.files[case.path] = case.data
    # The time is short where it is the time that is waited for.
    short = {"connect": 0.4, "start": 0.4} if "less than 100 KB" in words else {}
    ask(monkeypatch, bad, good, most_bytes=1 << 20, **short)
    named, told, missing = name(case.report)
    assert (named.locations, missing) == (case.expected.locations, 0)
    [title] = told
    assert title.startswith(f"{bad.url}: ")
    assert words in title
    assert (cache / case.build_id / "debuginfo").read_bytes() == case.data


@pytest.mark.parametrize("fault", ["hangs", "drips the head", "wrong file", "500", "resets"])
def test_a_fault_of_the_only_server_is_no_absence(
    fault: str, case: Case, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.fault, words = FAULTS[fault]
    short = {"connect": 0.3, "start": 0.3} if "less than 100 KB" in words else {}
    ask(monkeypatch, server, **short)
    named, told, missing = name(case.report)
    assert missing == 1
    assert words in told[0]
    assert not list(cache.rglob("*"))
    assert [each.kind for each in named.findings] == ["download"] * len(told) + ["missing_files"]


def test_a_file_of_another_id_is_refused_and_not_kept(
    case: Case, server: Server, cache: Path, compiled: object, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    other = case.data.replace(bytes.fromhex(case.build_id), bytes(20))
    assert other != case.data
    server.files[case.path] = server.files[case.other] = other
    ask(monkeypatch, server)
    _, told, missing = name(case.report)
    assert missing == 1
    assert told == [
        f"{server.url}: what it gave for classes was refused: its build id is {'00' * 20} (2 times)"
    ]
    assert not list(cache.rglob("*"))
    assert not list((cache.parent / "unspool" / "partial").iterdir())


def test_a_server_that_hangs_costs_its_time_once(
    case: Case, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty modules: each worker waits once, at the same time, and the rest is not asked."""
    server.fault = faults.hangs
    ask(monkeypatch, server, connect=0.3, start=0.3)
    _, told, missing = name(many(case.report, 40))
    assert missing == 41
    assert len(server.asked) <= 6
    assert any("not asked for" in each for each in told)
    assert all(each.startswith(server.url) for each in told)


def test_a_server_with_faults_is_asked_three_times(
    case: Case, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.fault = faults.answers(500)
    ask(monkeypatch, server)
    name(many(case.report, 40))
    # Six workers can have asked before the third answer.
    assert 3 <= len(server.asked) <= 9


def many(report: Report, count: int) -> Report:
    """The report with more modules, and a frame in each."""
    from unspool.model import Frame

    for index in range(1, count + 1):
        base = 0x10_0000 * index
        report.modules.append(
            Module(index, f"lib{index}.so", base, base + 0x1000, bias=base,
                   code_id=f"{index:040x}")
        )  # fmt: skip
        report.stacks[0].frames.append(Frame(base + 16, None, "cfi", True))
        report.locations[base + 16] = Location(index)
    return report


def test_many_files(case: Case, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files[case.path] = case.data
    ask(monkeypatch, server)
    _, told, missing = name(many(case.report, 40))
    assert (told, missing) == ([], 40)
    assert sorted(server.asked) == sorted(
        [case.path]
        + [f"/buildid/{index:040x}/{kind}" for index in range(1, 41)
           for kind in ("debuginfo", "executable")]
    )  # fmt: skip


def test_a_report_of_more_modules_than_a_process_has(
    case: Case, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_MOST_FILES", 10)
    ask(monkeypatch, server)
    _, told, missing = name(many(case.report, 40))
    assert (len(server.asked), missing) == (20, 41)
    assert told == ["more than 10 files are missing; only so many are asked for in one run"]


def test_without_a_home(case: Case, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files[case.path] = case.data
    ask(monkeypatch, server)
    monkeypatch.setenv("HOME", "nowhere")
    monkeypatch.delenv("XDG_CACHE_HOME")
    _, told, missing = name(case.report)
    assert (told, missing) == (["there is no directory to keep files in: HOME is not set"], 1)
    assert server.asked == []


# --- going on ------------------------------------------------------------------------------


def test_a_second_run_goes_on_where_the_first_one_broke_off(
    case: Case, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files[case.path] = case.data
    server.faults[case.path] = faults.resets_in_the_body
    ask(monkeypatch, server, attempts=1)
    assert name(case.report)[2] == 1
    del server.faults[case.path]
    named, told, missing = name(case.report)
    assert (named.locations, told, missing) == (case.expected.locations, [], 0)
    [asked] = server.ranges
    assert 0 < int(asked.removeprefix("bytes=").rstrip("-")) <= len(case.data) // 2
    assert (cache / case.build_id / "debuginfo").read_bytes() == case.data


@pytest.mark.parametrize("change", ["another file", "no validator", "a wrong part"])
def test_parts_of_different_files_are_not_put_together(
    change: str, case: Case, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files[case.path] = case.data[:-200] + bytes(200)
    server.faults[case.path] = faults.resets_in_the_body
    ask(monkeypatch, server, attempts=1)
    name(case.report)
    del server.faults[case.path]
    server.files[case.path] = case.data
    if change == "another file":
        server.validator = '"two"'
    elif change == "no validator":
        server.validator = None
    else:
        server.faults[case.path] = faults.lies_of_the_range
        name(case.report)
        del server.faults[case.path]
    named, _, missing = name(case.report)
    assert (named.locations, missing) == (case.expected.locations, 0)
    assert (cache / case.build_id / "debuginfo").read_bytes() == case.data


def test_a_connection_that_breaks_is_tried_again_at_once(
    case: Case, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    broke = []

    def once(handler: faults.Handler, data: bytes) -> None:
        if broke:
            handler.give(data)
        else:
            broke.append(True)
            faults.resets_in_the_body(handler, data)

    server.files[case.path] = case.data
    server.faults[case.path] = once
    ask(monkeypatch, server)
    named, told, missing = name(case.report)
    assert (named.locations, told, missing) == (case.expected.locations, [], 0)
    assert len(server.ranges) == 1


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_ends_at_once_and_is_gone_on_with(
    how: signal.Signals, case: Case, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent_half = threading.Event()

    def half(handler: faults.Handler, data: bytes) -> None:
        handler.answer(
            200, data[: len(data) // 2], Content_Length=str(len(data)), ETag=str(server.validator)
        )
        handler.wfile.flush()
        sent_half.set()
        handler.hang()

    server.files[case.path] = case.data
    server.faults[case.path] = half
    ask(monkeypatch, server)
    path = tmp_path / "report.json"
    path.write_text(dumps(case.report))
    command = [sys.executable, "-m", "unspool", "symbolicate", str(path), "--online"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert sent_half.wait(60)
        partial = tmp_path / "cache" / "unspool" / "partial"
        # Until what was sent has come: all but what is still on its way through buffers.
        end = time.monotonic() + 60
        while time.monotonic() < end and not has_bytes(partial):
            time.sleep(0.01)
        process.send_signal(how)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == ((130, b"") if how == signal.SIGINT else (-how, b""))
    del server.faults[case.path]
    named, told, missing = name(case.report)
    assert (named.locations, told, missing) == (case.expected.locations, [], 0)
    assert len(server.ranges) == 1


def has_bytes(partial: Path) -> bool:
    return any(each.stat().st_size for each in partial.iterdir() if each.suffix != ".of")


# --- what is sent ----------------------------------------------------------------------------


def test_redirects_are_followed_and_headers_stay_with_their_server(
    case: Case, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = serve(), serve()
    first.faults[case.path] = faults.redirects_to(f"{second.url}/elsewhere?a=b")
    second.files["/elsewhere?a=b"] = case.data
    headers = tmp_path / "headers"
    headers.write_text("Authorization: Bearer secret\nnonsense\nX-More:  1 \n")
    monkeypatch.setenv("DEBUGINFOD_HEADERS_FILE", str(headers))
    monkeypatch.setenv("DEBUGINFOD_MAXSIZE", "100000000")
    ask(monkeypatch, first)
    named, told, missing = name(case.report)
    assert (named.locations, told, missing) == (case.expected.locations, [], 0)
    [sent_first] = first.headers
    assert sent_first["Authorization"] == "Bearer secret"
    assert sent_first["X-More"] == "1"
    assert sent_first["X-DEBUGINFOD-MAXSIZE"] == "100000000"
    assert sent_first["User-Agent"] == "unspool"
    [sent_second] = second.headers
    assert not {"Authorization", "X-More"} & set(sent_second)


def test_gzip_is_unpacked_and_bounded(
    case: Case, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.fault = faults.gives(gzip.compress(case.data), Content_Encoding="gzip")
    ask(monkeypatch, server)
    named, told, missing = name(case.report)
    assert (named.locations, told, missing) == (case.expected.locations, [], 0)
    shutil.rmtree(cache)
    server.fault = faults.gives(gzip.compress(bytes(4 << 20)), Content_Encoding="gzip")
    ask(monkeypatch, server, most_bytes=1 << 20)
    _, told, missing = name(case.report)
    assert missing == 1
    assert "unpacks to more than 1,048,576 bytes" in told[0]


def test_a_proxy_is_used(case: Case, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUGINFOD_URLS", "http://debuginfod.invalid/")
    monkeypatch.setenv("http_proxy", server.url)
    server.files[f"http://debuginfod.invalid{case.path}"] = case.data
    named, told, missing = name(case.report)
    assert (named.locations, told, missing) == (case.expected.locations, [], 0)


def test_users_and_passwords_of_urls(
    case: Case, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files[case.path] = case.data
    url = server.url.replace("http://", "http://me:p%40ss@")
    monkeypatch.setenv("DEBUGINFOD_URLS", url)
    assert name(case.report)[1:] == ([], 0)
    sent_headers = {key.lower(): value for key, value in server.headers[0].items()}
    assert sent_headers["authorization"] == f"Basic {b64encode(b'me:p@ss').decode()}"


def test_a_password_is_in_no_finding(
    case: Case, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.fault = faults.answers(500)
    monkeypatch.setenv("DEBUGINFOD_URLS", server.url.replace("http://", "http://me:secret@"))
    _, told, _ = name(case.report)
    assert told == [f"{server.url}: it answered 500 (2 times)"]


def test_a_proxy_with_a_password(
    case: Case, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEBUGINFOD_URLS", "http://debuginfod.invalid/")
    monkeypatch.setenv("http_proxy", server.url.replace("http://", "http://me:you@"))
    server.files[f"http://debuginfod.invalid{case.path}"] = case.data
    assert name(case.report)[1:] == ([], 0)
    sent_headers = {key.lower(): value for key, value in server.headers[0].items()}
    assert sent_headers["proxy-authorization"] == f"Basic {b64encode(b'me:you').decode()}"


def test_connections_are_used_again(
    case: Case, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(monkeypatch, server)
    name(many(case.report, 40))
    assert len(server.asked) == 82
    assert 1 <= len(server.clients) <= 6


def test_nobody_listens(case: Case, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = serve()
    ask(monkeypatch, gone)
    gone.close()
    _, told, missing = name(case.report)
    assert missing == 1
    assert "no connection" in told[0]
    assert "refused" in told[0].lower()


def test_what_the_log_says(case: Case, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files[case.other] = case.data
    ask(monkeypatch, server)
    said: list[str] = []
    api.symbolicate(case.report, online=True, log=said.append)
    assert said == []
    monkeypatch.setenv("DEBUGINFOD_VERBOSE", "1")
    for mark in list(Path(os.environ["XDG_CACHE_HOME"]).rglob("debuginfo")):
        mark.unlink()
    for mark in list(Path(os.environ["XDG_CACHE_HOME"]).rglob("executable")):
        mark.unlink()
    api.symbolicate(case.report, online=True, log=said.append)
    assert said[0] == f"{server.url}{case.path}: it answered 404"
    assert said[1] == f"{server.url}{case.other}: {len(case.data):,} bytes"
    assert said[2].endswith(f"/executable: {len(case.data):,} bytes")


def test_how_far_it_is(case: Case, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files[case.path] = case.data
    ask(monkeypatch, server)
    said: list[str] = []
    api.symbolicate(case.report, online=True, progress=said.append)
    assert said[-1] == f"downloading symbols: 1 of 1 files, {len(case.data) / 1e3:.0f} kB"


def test_stack_downloads_too(
    case: Case, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from unspool.cli import main

    server.files[case.path] = case.data
    ask(monkeypatch, server)
    path = tmp_path / "report.json"
    path.write_text(dumps(case.report))
    assert main(["stack", str(path)]) == 0
    assert "classes.cpp" not in capsys.readouterr().out
    assert server.asked == []
    assert main(["stack", str(path), "--online", "--format=json"]) == 0
    assert "classes.cpp" in capsys.readouterr().out
    server.files.clear()
    assert main(["stack", str(path), "--online", "--no-symbols"]) == 0
    assert len(server.asked) == 1


def test_no_servers_at_all(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "DEBUGINFOD_URLS", "ima:enforcing file:///srv ftp://a nonsense http://[a http://"
    )
    _, told, missing = name(case.report)
    assert missing == 1
    assert told == [
        "there is no server to download from; DEBUGINFOD_URLS, _NT_SYMBOL_PATH and "
        "UNSPOOL_BREAKPAD_URLS name them"
    ]


def test_without_the_library(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from unspool.errors import MissingDependency

    monkeypatch.setitem(sys.modules, "urllib3", None)
    with pytest.raises(MissingDependency, match=r"unspool\[online\]"):
        api.symbolicate(case.report, online=True)


def test_a_disk_that_is_full_or_closed(
    case: Case, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files[case.path] = case.data
    ask(monkeypatch, server)
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text("in the way")
    _, told, missing = name(case.report)
    assert missing == 1
    assert any("cannot be kept" in each for each in told)


def test_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "a.urls").write_text("https://a.example/\nhttps://b.example/ ima:ignore\n")
    (folder / "b.urls").write_text("https://c.example/ https://a.example/\n")
    pattern = str(folder / "*.urls")
    assert settings.debuginfod_urls(pattern) == [
        "https://a.example/", "https://b.example/", "https://c.example/",
    ]  # fmt: skip
    monkeypatch.setenv("DEBUGINFOD_URLS", "")
    assert settings.debuginfod_urls(pattern) == []
    monkeypatch.setenv("DEBUGINFOD_TIMEOUT", "5")
    monkeypatch.setenv("DEBUGINFOD_MAXTIME", "60")
    monkeypatch.setenv("DEBUGINFOD_MAXSIZE", "1000")
    monkeypatch.setenv("DEBUGINFOD_RETRY_LIMIT", "4")
    limits = settings.debuginfod_limits()
    assert (limits.start, limits.connect, limits.total) == (5, 5, 60)
    assert (limits.most_bytes, limits.attempts) == (1000, 4)
    monkeypatch.setenv("DEBUGINFOD_TIMEOUT", "0")
    monkeypatch.setenv("DEBUGINFOD_MAXTIME", "nonsense")
    limits = settings.debuginfod_limits()
    assert (limits.start, limits.total) == (900, 900)
    monkeypatch.setenv("DEBUGINFOD_HEADERS_FILE", str(tmp_path / "none"))
    assert "No such file" in str(settings.Settings().problem)
