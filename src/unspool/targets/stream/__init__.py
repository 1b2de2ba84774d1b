"""A process that crashed a moment ago, as the kernel shows it to its core handler."""

from __future__ import annotations
