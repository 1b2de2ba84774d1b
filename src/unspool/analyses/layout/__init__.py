"""What is where in a process's address space, checked against the rules that it should keep."""

from __future__ import annotations

from unspool.analyses.layout.build import layout
from unspool.analyses.layout.records import Area, Hole, Layout, Rule

__all__ = ["Area", "Hole", "Layout", "Rule", "layout"]
