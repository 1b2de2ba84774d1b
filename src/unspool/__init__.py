"""unspool: every thread's whole call stack from what is left of a process."""

from __future__ import annotations

__version__ = "0.1.0"
