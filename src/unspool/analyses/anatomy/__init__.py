"""What a minidump is made of: every structure and field, and every byte, of the whole file."""

from __future__ import annotations

from unspool.analyses.anatomy.node import Anatomy, Node, Problem, StreamEntry

__all__ = ["Anatomy", "Node", "Problem", "StreamEntry"]
