"""An ELF core as a target: threads, memory, modules, the crash, and what else it tells."""

from __future__ import annotations
