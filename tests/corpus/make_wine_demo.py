"""Makes the core that demo/ and the documents show: of demo/editor.c, in Wine 8.0.

python -m tests.wine.install        # as root, once
python -m tests.corpus.make_wine_demo
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.programs.build import check, run, tool
from tests.wine.cores import made_by_kernel
from tests.wine.flavours import FLAVOURS, Flavour, make_prefix
from tests.wine.running import (
    Running,
    Thread,
    end_all,
    prepare,
    remove_server_folder,
    wait_until_settled,
)
from tests.wine.zoo import VARIANTS, Zoo

from .make_wine import ROOT
from .reduce.names import unpack
from .reduce.reduction import reduce

DEMO = Path(__file__).parents[2] / "demo"
EDITOR_FLAGS = (
    *("-O2", "-g", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-nostdlib"),
    *("-fno-partial-inlining", "-Wall", "-Wextra", "-Werror"),
    *("-Wl,--entry=start", "-Wl,--no-insert-timestamp"),
    "-ffile-prefix-map=/tmp/unspool-corpus/editor=demo",
)


def main() -> None:
    flavour = FLAVOURS["8.0-x86_64"]
    shutil.rmtree(ROOT, ignore_errors=True)
    ROOT.mkdir()
    program = build_editor(ROOT / "editor")
    with started(flavour, program) as running:
        made_by_kernel(running, program.parent / "core")
    core = program.parent / "core"
    made = reduce(core, [str(program)], None, [program])
    print(f"{core.stat().st_size:,} bytes become {len(made.core):,}")
    assert [stack.stop.reason for stack in made.report.stacks] == ["root", "root"]
    target = DEMO / "bundled" / "wine"
    shutil.rmtree(target, ignore_errors=True)
    (DEMO / "bundled" / "wine.core.xz").write_bytes(made.core)
    (program.parent / "names").write_bytes(made.names)
    unpack(program.parent / "names", target)
    shutil.rmtree(ROOT)


def build_editor(folder: Path) -> Path:
    folder.mkdir()
    shutil.copy(DEMO / "editor.c", folder)
    program = folder / "editor.exe"
    command = [tool("x86_64-w64-mingw32-gcc"), *EDITOR_FLAGS, "editor.c", "-o", program]
    check(run([*command, "-luser32", "-lkernel32"], cwd=folder))
    return program


@contextlib.contextmanager
def started(flavour: Flavour, program: Path) -> Iterator[Running]:
    """The program under Wine, once it has said that it is where it belongs."""
    folder = Path(tempfile.mkdtemp(dir=ROOT))
    prefix = folder / "prefix"
    make_prefix(flavour, prefix)
    try:
        with subprocess.Popen(
            flavour.command(folder, ROOT, [str(program)]),
            cwd=folder,
            env=flavour.environment(prefix, ROOT),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            preexec_fn=prepare,  # noqa: PLW1509 - limits can be set in no other way
        ) as process:
            assert process.stdout
            assert process.stdout.readline() == "crashed\n"
            thread = Thread(process.pid, 0, "editor", 0, 0, main=True)
            zoo = Zoo(VARIANTS["O2"], flavour.machine, program.parent)
            running = Running(flavour, zoo, (thread,), folder, str(prefix))
            try:
                wait_until_settled(running, ())
                yield running
            finally:
                process.kill()
    finally:
        end_all(str(prefix))
        remove_server_folder(prefix)


if __name__ == "__main__":
    main()
