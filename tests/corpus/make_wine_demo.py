"""Makes the core that demo/ and the documents show: of demo/editor.c, in Wine 8.0.

python -m tests.wine.install        # as root, once
python -m tests.corpus.make_wine_demo
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.programs.build import check, run, tool
from tests.programs.cores import written_by_kernel
from tests.wine.flavours import FLAVOURS
from tests.wine.prefixes import new_prefix
from tests.wine.running import wait_until_settled

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
    core = program.parent / "core"
    with new_prefix(flavour, ROOT) as prefix, prefix.start(program) as process:
        assert process.stdout
        assert process.stdout.readline() == "crashed\n"
        wait_until_settled(prefix, process.pid)
        written_by_kernel(process.pid, prefix.folder).rename(core)
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


if __name__ == "__main__":
    main()
