"""The kernel's core handler: `unspool capture`. See docs/capture.md."""

from __future__ import annotations
