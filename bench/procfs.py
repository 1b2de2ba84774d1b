"""Files as in /proc/PID, out of a core: what core2md wants beside one.

usage: procfs.py CORE FOLDER, with the Python that unspool is installed for.
"""

from __future__ import annotations

import sys
from pathlib import Path

import unspool

NAMES = {
    "auxv": "auxv",
    "cmdline": "command_line",
    "environ": "environ",
    "maps": "maps",
    "status": "status",
}


def main(core: str, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    with unspool.open(core) as target:
        facts = target.facts()
        for name, attribute in NAMES.items():
            (folder / name).write_bytes(getattr(facts, attribute) or b"")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
