"""Writes docs/comparison-wine.md anew: what gdb, LLDB, eu-stack and unspool say of the same cores.

    python -m tests.wine.comparison [FOLDER]

as root, with both versions of Wine (`python -m tests.wine.install`), gdb, lldb and elfutils.
FOLDER keeps programs and cores for the next time. The page's prose stays as it is; what lies
between `<!-- run: NAME -->` and `<!-- end of run -->` is replaced.

Addresses differ from run to run, so this is not a test. What the page's table says is counted
from what the tools print, by where the test program's functions are.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.peers.lldb import program as newest_lldb
from tests.programs.build import run, tool

from .cores import ZooCore, make_core
from .flavours import FLAVOURS, Flavour
from .install import RELEASES
from .zoo import VARIANTS

PAGE = Path(__file__).parents[2] / "docs" / "comparison-wine.md"
# Three of the four threads; the last is the test program's own, which waits in its first function.
SCENARIOS = ("@wait_event:3", "wndproc:2:2", "null_deref:2")
FRAMES, CALLBACKS, THREADS = 3 + 2 * 2 + 2, 2, 4
WAITING = ("NtWaitForMultipleObjects", "NtSignalAndWaitForSingleObject")  # of ntdll.so
UNSPOOL = (sys.executable, "-m", "unspool")
TOOLS = ("gdb", "LLDB", "eu-stack", "unspool")
# In what each tool prints: a thread's first line, its id, a frame's address, "this is not all".
THREAD = {
    "gdb": r"Thread \d+ \(.*LWP (\d+)\)",
    "LLDB": r"\*? +thread #(\d+)",
    "eu-stack": r"TID (\d+):",
}
ADDRESS = {"gdb": r"#\d+ +0x([0-9a-f]+) in", "LLDB": r"frame #\d+: 0x([0-9a-f]+)",
           "eu-stack": r"#\d+ +0x([0-9a-f]+)"}  # fmt: skip
COMPLAINT = {"gdb": "Backtrace stopped", "LLDB": "error", "eu-stack": "eu-stack: "}


@dataclass
class Thread:
    """A thread as a tool shows it."""

    tid: int
    lines: list[str] = field(default_factory=list)
    pcs: list[int] = field(default_factory=list)  # those that it prints
    complains: bool = False

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass
class Answer:
    command: str
    status: int
    text: str  # all that the tool prints
    threads: list[Thread]

    def thread(self, tid: int) -> Thread:
        return next(thread for thread in self.threads if thread.tid == tid)


# --- running the tools ------------------------------------------------------------------------


def commands(core: ZooCore) -> dict[str, list[str]]:
    """The command of each tool, with all that its manual offers to find the process's files."""
    flavour = core.flavour
    loader = flavour.release.root / "usr/lib/wine" / flavour.loader
    gdb = ["gdb", "-nx", "-q", "-batch"]
    lldb = [newest_lldb(), "--no-lldbinit", "--batch"]
    unspool = [*UNSPOOL, str(core.path), "--symbols", str(core.zoo.folder)]
    if flavour.sysroot:
        # gcore wrote paths as they are outside. Of those that the dynamic linker keeps, and
        # these two tools read, each begins at the directory that the process takes for /.
        gdb += ["-iex", f"set sysroot {flavour.sysroot}"]
        lldb += ["-o", f"platform select --sysroot {flavour.sysroot} remote-linux"]
    gdb += ["-ex", "thread apply all bt", str(loader), str(core.path)]
    lldb += ["-o", f"target create --core {core.path} {loader}", "-o", "bt all"]
    stack = ["eu-stack", "--core", str(core.path), "-e", str(loader)]
    return {"gdb": gdb, "LLDB": lldb, "eu-stack": stack, "unspool": unspool}


def ask(name: str, core: ZooCore) -> Answer:
    command = commands(core)[name]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}
    mixed = name != "LLDB"  # which says on standard error that its Python is not installed
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if mixed else subprocess.DEVNULL,
        text=True,
        timeout=300,
        check=False,
    )
    words = ["unspool", *command[len(UNSPOOL) :]] if name == "unspool" else command
    shown = neutral(core, " ".join(f'"{word}"' if " " in word else word for word in words))
    text = neutral(core, done.stdout)
    split = unspool_threads if name == "unspool" else threads_of
    return Answer(shown, done.returncode, text, split(name, text, core))


def neutral(core: ZooCore, text: str) -> str:
    """Without this machine's folders: `core`, `zoo`, and `WINE` for where Wine was unpacked."""
    for path, name in (
        (core.path, "core"),
        (core.zoo.folder, "zoo"),
        (core.flavour.release.root, "WINE"),
    ):
        text = text.replace(str(path), name)
    return text


def threads_of(name: str, text: str, core: ZooCore) -> list[Thread]:
    """A tool's output by threads; what it prints before the first one is left out."""
    found: list[Thread] = []
    for line in text.splitlines():
        start = re.match(THREAD[name], line)
        if start:
            number = int(start[1])  # LLDB prints no ids, but numbers in the core's order
            tid = core.threads[number - 1].tid if name == "LLDB" else number
            found.append(Thread(tid))
        if found:
            found[-1].lines.append(line)
            found[-1].complains |= COMPLAINT[name] in line
            found[-1].pcs += [int(each, 16) for each in re.findall(ADDRESS[name], line)]
    return found


def unspool_threads(_: str, text: str, core: ZooCore) -> list[Thread]:
    """The same of unspool, whose text has no addresses of frames: its JSON has them."""
    found = []
    parts = {re.match(r"Thread.* tid (\d+)", part): part for part in text.split("\n\n")}
    lines = {int(match[1]): part.splitlines() for match, part in parts.items() if match}
    for stack in report(core)["threads"]:
        complains = stack["stop"]["reason"] != "root" or bool(stack.get("gaps"))
        pcs = [int(frame["pc"], 16) for frame in stack["frames"]]
        found.append(Thread(stack["tid"], lines[stack["tid"]], pcs, complains))
    return found


def report(core: ZooCore) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        run([*commands(core)["unspool"], "--format", "json"]).stdout
    )
    return document


# --- counting -----------------------------------------------------------------------------------


@dataclass
class Places:
    """Where things are in one core, by `nm` and by the modules' addresses."""

    recurse: range
    null_deref: range
    modules: list[tuple[range, str, str]]  # addresses, kind, name

    def kind(self, pc: int) -> str:
        return next((kind for span, kind, _ in self.modules if pc in span), "")

    def name(self, pc: int) -> str:
        return next((name for span, _, name in self.modules if pc in span), "")


def places(core: ZooCore) -> Places:
    modules = report(core)["modules"]
    spans = [
        (range(int(each["base"], 16), int(each["end"], 16)), each["kind"], each["name"])
        for each in modules
    ]
    program = next(each for each in modules if each["name"] == "zoo.exe")
    listing = run([f"{core.zoo.machine}-w64-mingw32-nm", "-n", core.zoo.executable]).stdout
    symbols = []
    for line in listing.splitlines():
        address, kind, name = line.rpartition(" ")[0].split()[0], line.split()[-2], line.split()[-1]
        if kind in "tT":
            symbols.append((int(address, 16) + int(program["bias"], 16), name.lstrip("_")))
    starts = [address for address, _ in symbols]

    def span(name: str) -> range:
        start = next(address for address, each in symbols if each == name)
        return range(start, next(address for address in starts if address > start))

    return Places(span("recurse"), span("null_deref_leaf"), spans)


def row(core: ZooCore, where: Places, name: str, answer: Answer) -> list[str]:
    """What a tool shows of the four threads."""
    window, fault = (
        answer.thread(next(each.tid for each in core.threads if each.scenario == scenario))
        for scenario in ("wndproc", "null_deref")
    )
    unix = sum(any(name in thread.text for name in WAITING) for thread in answer.threads)
    pcs = [pc for thread in answer.threads for pc in thread.pcs]
    windows = sum(where.kind(pc) == "pe" for pc in pcs)
    frames = sum(pc in where.recurse for pc in pcs)
    crossed = callbacks(where, window)
    faulting = any(pc in where.null_deref for pc in fault.pcs)
    whole = [thread for thread in answer.threads if is_whole(core, where, thread)]
    others = [thread for thread in answer.threads if thread not in whole]
    said = sum(thread.complains for thread in others)
    wow64 = "–" if not core.flavour.wow64 else "yes" if frames else "no"
    return [
        name, f"{unix} of {THREADS}", str(windows), f"{frames} of {FRAMES}",
        f"{crossed} of {CALLBACKS}",
        "yes" if faulting else "no", wow64, f"{len(whole)} of {THREADS}",
        f"in {said} of {len(others)}" if others else "nothing is missing",
    ]  # fmt: skip


def callbacks(where: Places, thread: Thread) -> int:
    """How often the stack goes from Windows code to win32u.so and on to Windows code."""
    kinds = [
        "unix" if where.name(pc) == "win32u.so" else where.kind(pc)
        for pc in thread.pcs
        if where.kind(pc) == "pe" or where.name(pc) == "win32u.so"
    ]
    changes = [kind for index, kind in enumerate(kinds) if kinds[index - 1 : index] != [kind]]
    return max(changes.count("pe") - 1, 0)


def is_whole(core: ZooCore, where: Places, thread: Thread) -> bool:
    """Whether a stack has its frames of `recurse` and goes on to ntdll.dll's first function."""
    about = next(each for each in core.threads if each.tid == thread.tid)
    wanted = about.depth * about.nesting
    if about.scenario == "null_deref" and not any(pc in where.null_deref for pc in thread.pcs):
        return False
    modules = [where.name(pc) for pc in thread.pcs]
    root = "kernel32.dll" in modules and modules[-1] == "ntdll.dll"
    return root and sum(pc in where.recurse for pc in thread.pcs) == wanted


# --- writing ------------------------------------------------------------------------------------


def title(flavour: Flavour) -> str:
    how = "WoW64" if flavour.wow64 else "i386" if flavour.machine == "i686" else "x86-64"
    return f"{flavour.version} {how}"


def table(rows: list[list[str]]) -> str:
    head = ["Wine", "tool", "Unix half", "Windows frames", "`recurse`", "callbacks crossed",
            "faulting frame", "32-bit stack", "whole threads", "says so of the others"]  # fmt: skip
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def block(answer: Answer, threads: Sequence[Thread] = ()) -> str:
    """The command and what it printed: all of it, or of these threads alone."""
    text = "…\n" + "\n".join(thread.text for thread in threads) if threads else answer.text
    return f"```console\n$ {answer.command}\n{text.rstrip()}\n$ echo $?\n{answer.status}\n```\n"


def versions() -> str:
    lines = [
        run([tool("gdb"), "--version"]).stdout.splitlines()[0],
        run([newest_lldb(), "--version"]).stdout.splitlines()[0].replace("lldb", "LLDB"),
        run([tool("eu-stack"), "--version"]).stdout.splitlines()[0],
        run([*UNSPOOL, "--version"]).stdout.strip(),
        *(f"Wine {release.version} of Debian {release.suite}" for release in RELEASES),
        f"Linux {os.uname().release.partition('-')[0]}, {os.uname().machine}",
    ]
    day = time.strftime("%Y-%m-%d")
    return f"Made on {day} with\n\n" + "".join(f"- {line}\n" for line in lines)


def parts(root: Path) -> dict[str, str]:
    """The generated parts of the page by their names."""
    found = {"versions": versions()}
    rows = []
    for flavour in FLAVOURS.values():
        core = make_core(flavour, VARIANTS["O2"], SCENARIOS, "gcore", root)
        where = places(core)
        for name in TOOLS:
            answer = ask(name, core)
            rows.append([title(flavour), *row(core, where, name, answer)])
            found[f"{flavour.name} {name}"] = block(
                answer, () if name == "unspool" else answer.threads
            )
            for about in core.threads:
                found[f"{flavour.name} {name} {about.scenario}"] = block(
                    answer, [answer.thread(about.tid)]
                )
    found["table"] = table(rows)
    return found


def filled(text: str, found: dict[str, str]) -> str:
    def renewed(match: re.Match[str]) -> str:
        return f"{match[1]}{found[match[2]]}{match[3]}"

    mark = r"(<!-- run: ([^>]+) -->\n).*?(<!-- end of run -->)"
    return re.sub(mark, renewed, text, flags=re.DOTALL)


def main(arguments: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(arguments[0]).resolve() if arguments else Path(folder)
        root.mkdir(exist_ok=True)
        found = parts(root)
    PAGE.write_text(filled(PAGE.read_text("utf-8"), found), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
