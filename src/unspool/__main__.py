"""`python -m unspool`: the command line."""

from __future__ import annotations

from unspool.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
