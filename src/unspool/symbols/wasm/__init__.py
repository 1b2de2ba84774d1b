"""Names, files and lines of WebAssembly, out of the binaries that it was compiled from."""

from __future__ import annotations
