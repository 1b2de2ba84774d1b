"""What the settings let into a report, and that the list of it is whole."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from unspool.capture.classes import CLASSES, explain
from unspool.capture.config import BY_KEY, Config, Value
from unspool.capture.privacy import Policy, Salt
from unspool.memory import Memory, Region
from unspool.model import (
    Crash,
    Finding,
    Frame,
    Gap,
    Module,
    Segment,
    Stack,
    Stop,
    TargetInfo,
    WasmIdentity,
)

SCHEMA = Path(__file__).parents[3] / "src/unspool/render/report-1.schema.json"
SECRET = 0x5EC2E75EC2E7
MEMORY = Memory([Region(0x1000, 0x5000, None, executable=True), Region(0x10000, 0x20000, None)])


def policy(tmp_path: Path, **values: Value) -> Policy:
    return Policy(Config({"salt_file": str(tmp_path / "salt"), **values}), MEMORY)


def schema_keys() -> set[str]:
    """The keys of a report, with dots: those that hold something themselves."""
    schema = json.loads(SCHEMA.read_text())
    found: set[str] = set()

    def visit(node: dict[str, Any], path: str) -> None:
        ref = node.get("$ref", "")
        if ref:
            node = schema["$defs"][ref.rpartition("/")[2]]
        items = node.get("items", {})
        if "$ref" in items or "properties" in items:
            visit(items, path)
        elif "properties" in node:
            if path == "target.wine" or path.endswith(("inlines", "trail")):
                found.add(path)
            for name, child in node["properties"].items():
                visit(child, f"{path}.{name}" if path else name)
        elif path != "schema":
            found.add(path)

    visit(schema, "")
    return found


def test_every_key_of_a_report_is_in_one_class() -> None:
    listed = [key for each in CLASSES for key in each.keys]
    assert len(listed) == len(set(listed))
    # Whether a list is there says nothing more than what is in it.
    containers = {"target.wine", "threads.frames.inlines", "threads.frames.trail"}
    assert set(listed) - schema_keys() - containers == set()
    assert schema_keys() - set(listed) == set()


def test_every_setting_of_privacy_decides_on_a_class() -> None:
    decided = {each.setting for each in CLASSES if each.setting}
    assert decided == {
        key for key, each in BY_KEY.items() if each.section == "privacy" and each.choices
    }
    assert all(bool(each.setting) != bool(each.always) for each in CLASSES)


@pytest.mark.parametrize(
    ("value", "words"), [("in", "in"), ("hashed", "hashed"), ("out", "out")]
)
def test_it_is_explained_what_the_settings_do(value: str, words: str) -> None:
    lines = list(explain(Config({"arguments": value, "minidump": "full"})))
    (line,) = [each for each in lines if each.startswith("  command line: ")]
    assert line.split(": ")[1].startswith(words)
    assert any("stacks as they are" in each for each in lines)
    for each in CLASSES:
        assert any(line.startswith(f"  {each.name}: ") for line in lines)


def test_hashes_are_of_this_device(tmp_path: Path) -> None:
    one = policy(tmp_path, paths="hashed")
    first = one.value("paths", "/usr/bin/x")
    assert first is not None
    assert first.startswith("hmac:")
    assert len(first) == 21
    assert policy(tmp_path, paths="hashed").value("paths", "/usr/bin/x") == first
    assert one.value("paths", "/usr/bin/y") != first
    (tmp_path / "b").mkdir()
    assert policy(tmp_path / "b", paths="hashed").value("paths", "/usr/bin/x") != first
    assert stat.S_IMODE((tmp_path / "salt").stat().st_mode) == 0o600


def test_a_secret_that_others_can_read_is_none(tmp_path: Path) -> None:
    salt = tmp_path / "salt"
    salt.write_bytes(bytes(32))
    salt.chmod(0o644)
    with pytest.raises(PermissionError):
        Salt(str(salt)).value()
    assert policy(tmp_path, paths="hashed").value("paths", "/x") == "hmac:unavailable"
    salt.chmod(0o600)
    salt.write_bytes(b"short")
    assert policy(tmp_path, paths="hashed").value("paths", "/x") == "hmac:unavailable"


def test_arguments_and_environment_are_out_by_default(tmp_path: Path) -> None:
    info = TargetInfo("core", "x86_64", command_line=["a", "--password=x"], executable="/bin/a")
    result = policy(tmp_path).target(info)
    assert result.command_line is None
    assert result.executable == "/bin/a"
    assert policy(tmp_path).environment(b"A=secret\0") is None
    shown = policy(tmp_path, arguments="in", environment="in", paths="out")
    assert shown.target(info).command_line == ["a", "--password=x"]
    assert shown.target(info).executable is None
    assert shown.environment(b"A=secret\0B\0C=\0") == {"A": "secret", "C": ""}
    hashed = policy(tmp_path, arguments="hashed", environment="hashed")
    assert all(each.startswith("hmac:") for each in hashed.target(info).command_line or [])
    assert "secret" not in str(hashed.environment(b"A=secret\0"))


def test_the_system_is_in_unless_it_is_put_out(tmp_path: Path) -> None:
    system: dict[str, object] = {"os_version": "6.1.0", "distribution": {"id": "debian"}}
    info = TargetInfo("core", "x86_64", system=system)
    assert policy(tmp_path).target(info).system == system
    assert policy(tmp_path, system="out").target(info).system is None


def test_names_of_modules(tmp_path: Path) -> None:
    module = Module(3, "libsecret.so", 0, 9, path="/opt/libsecret.so", debug_file="/d/libsecret")
    vdso = Module(4, "[vdso]", 0, 9, kind="vdso")
    (out, other) = policy(tmp_path, paths="out", module_names="out").modules([module, vdso])
    assert (out.name, out.path, out.debug_file) == ("module 3", None, None)
    assert other.name == "[vdso]"
    assert module.name == "libsecret.so", "the target's own stays"
    (hashed, _) = policy(tmp_path, paths="hashed", module_names="hashed").modules([module, vdso])
    assert "secret" not in f"{hashed.name}{hashed.path}{hashed.debug_file}"


def test_names_of_modules_of_webassembly(tmp_path: Path) -> None:
    known = WasmIdentity([2, 3], modules={1: "secret"})
    module = Module(0, "module-1.wasm", 0x1000, 0x2000, kind="wasm", wasm=known)
    shown = []
    for setting in ("in", "out", "hashed"):
        (made,) = policy(tmp_path, module_names=setting).modules([module])
        assert made.wasm is not None
        shown.append(made.wasm.modules)
    assert shown[:2] == [{1: "secret"}, {}]
    assert "secret" not in shown[2][1]
    assert known.modules == {1: "secret"}


def test_numbers_that_are_no_addresses_are_left_out(tmp_path: Path) -> None:
    kept = policy(tmp_path)
    text = f"no stack can be read at 0x{SECRET:x} or 0x1234, 0x20 bytes, 0x{1 << 80:x}"
    assert kept.sentence(text) == "no stack can be read at 0x… or 0x1234, 0x20 bytes, 0x…"
    assert kept.sentence(None) is None
    assert policy(tmp_path, paths="out").sentence("/home/me/x") is None


def test_a_stack_that_was_smashed_tells_no_word_of_it(tmp_path: Path) -> None:
    frames = [
        Frame(SECRET, SECRET, "context", True),
        Frame(0x1010, 0x10100, "cfi"),
        Frame(SECRET, SECRET, "frame_pointer"),
    ]
    stack = Stack(
        0, 1, frames, [Segment("unix", 0x10000, 0x20000, f"at 0x{SECRET:x}")],
        Stop("fault", f"0x{SECRET:x}"), gaps=[Gap(1, f"0x{SECRET:x}")], name="t",
    )  # fmt: skip
    result = policy(tmp_path).stack(stack)
    assert [frame.pc for frame in result.frames] == [SECRET, 0x1010, 0]
    assert [frame.sp for frame in result.frames] == [None, 0x10100, None]
    texts = f"{result.segments[0].switch}{result.stop.detail}{result.gaps[0].detail}"
    assert f"{SECRET:x}" not in texts
    out = policy(tmp_path, fault_address="out").stack(stack)
    assert out.frames[0].pc == 0


def test_the_stack_pointer_of_an_overflow_stays(tmp_path: Path) -> None:
    stack = Stack(0, 1, [Frame(0x1010, 0xF000, "context", True)], [], Stop("root"))
    assert policy(tmp_path).stack(stack).frames[0].sp == 0xF000


def test_the_address_of_the_fault(tmp_path: Path) -> None:
    crash = Crash("SIGSEGV", 11, 1, SECRET, 0)
    kept = policy(tmp_path).crash(crash)
    assert kept is not None
    assert kept.address == SECRET
    out = policy(tmp_path, fault_address="out").crash(crash)
    assert out is not None
    assert out.address is None
    assert policy(tmp_path).crash(None) is None


def test_findings_keep_their_kind(tmp_path: Path) -> None:
    finding = Finding("file_refused", "/home/me/x is not it", detail="give x", incomplete=True)
    (kept,) = policy(tmp_path, paths="hashed").findings([finding])
    assert (kept.kind, kept.title, kept.detail) == ("file_refused", "file refused", None)
    assert kept.incomplete
    (same,) = policy(tmp_path).findings([finding])
    assert same.title == finding.title
